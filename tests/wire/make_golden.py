"""Writes schemas/golden/*.json: the bytes that both implementations produce.

    python tests/wire/make_golden.py            write the files
    python tests/wire/make_golden.py --check    exit 1 if one differs

A file is {"what", "cases": [{"name", "in", "out"}]}. `in.op` says what is to be
done with the other members of `in`, which have the names of the structs in
schemas/*.h; bytes are hex under names that end in `_hex`. A member that is null
or missing is absent (NULL, 0, false). `out` is {"error": code} when the input
must be refused. Everything is computed by bfwire.py from fixed inputs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import bfwire as w

Json = Any
Case = tuple[str, dict[str, Json]]
ROOT = Path(__file__).resolve().parents[2]
GOLDEN = ROOT / "schemas" / "golden"

FLEET = "main"
NOW = 1_795_266_000_123  # 2026-11-21T13:00:00.123Z
DAY = 86_400_000
SEED = bytes(range(32))
SEED2 = bytes(range(32, 64))
LONGEST = "a" * 64

OPS: dict[str, Callable[[dict[str, Json]], Json]] = {}


def op(name: str):
    def keep(function: Callable[[dict[str, Json]], Json]):
        OPS[name] = function
        return function

    return keep


def run(given: dict[str, Json]) -> Json:
    """What `in` must lead to."""
    try:
        return OPS[given["op"]](given)
    except w.WireError as error:
        return {"error": error.code}


def raw(given: dict[str, Json], name: str) -> bytes | None:
    text = given.get(f"{name}_hex")
    return None if text is None else bytes.fromhex(text)


def must(given: dict[str, Json], name: str) -> bytes:
    value = raw(given, name)
    assert value is not None, name
    return value


def to_json(thing: Any, hexed: Iterable[str]) -> dict[str, Json]:
    """A dataclass whose fields `hexed` are bytes."""
    out = {}
    for item in fields(thing):
        value = getattr(thing, item.name)
        if item.name in hexed:
            out[f"{item.name}_hex"] = None if value is None else value.hex()
        else:
            out[item.name] = value
    return out


def from_json(kind: Any, doc: dict[str, Json]) -> Any:
    """The inverse; null and missing are the field's default."""
    known = {item.name for item in fields(kind)}
    args = {}
    for name, value in doc.items():
        if value is None or name == "op":
            continue
        if name.endswith("_hex"):
            name, value = name[:-4], bytes.fromhex(value)
        if name in known:
            args[name] = value
    return kind(**args)


# ---- ids.json ---------------------------------------------------------------


@op("hash_hex")
def _(i):
    return {"hash": w.hash_hex(*map(bytes.fromhex, i["parts_hex"]))}


@op("ok")
def _(i):
    check = {
        "workspace": w.workspace_ok,
        "job_id": w.job_id_ok,
        "order_key": w.order_key_ok,
        "txn_id": w.txn_id_ok,
        "hex128": lambda text: w.hex_ok(text, 32),
    }
    return {"ok": check[i["what"]](must(i, "text"))}


@op("job_id_derive")
def _(i):
    return {"id": w.job_id_derive(i["workspace"], must(i, "key"), i["line"])}


def subject_of(i: dict[str, Json]) -> w.Subject:
    return w.Subject(i["workspace"], i["job"], i["generation"], i["attempt"])


@op("run_id")
def _(i):
    return {"id": w.run_id(subject_of(i), must(i, "random"))}


@op("event_id")
def _(i):
    return {"id": subject_of(i).event_id(i["type"])}


@op("event_id_of")
def _(i):
    return {"id": w.event_id(i["type"], i["workspace"], i["kind"], *i["parts"])}


@op("event_id_dead")
def _(i):
    where = i["topic"], i["partition"], i["offset"]
    return {"id": w.event_id_dead(i["workspace"], *where)}


@op("job_digest")
def _(i):
    return {"digest": w.job_digest(must(i, "block"), must(i, "inputs"))}


@op("finished_id")
def _(i):
    return {"id_hex": w.finished_id(i["workspace"], i["job"], i["generation"]).hex()}


@op("commit_id")
def _(i):
    if i["offset"] < 0:
        return {"id": w.commit_id(None)}
    return {"id": w.commit_id((i["offset"], bytes.fromhex(i["metadata_hex"])))}


@op("state_id")
def _(i):
    return {"id": w.state_id(i["fleet"], i["shard"], i["entry"], i["seq"])}


def ok_cases() -> list[Case]:
    texts = {
        "workspace": ["a", LONGEST, "A-Z_09", "", "a" * 65, "a.b", "a b", "é", "a\n"],
        "job_id": ["a", LONGEST, "..", "A.b-c_9", "", "a" * 65, "a/b", "a\0", "a\n"],
        "order_key": [
            "k",
            "käse/🧀 1",
            "x" * 128,
            "é" * 64,
            "",
            "x" * 129,
            "é" * 64 + "x",
            "a\x1f",
            "a\x7f",
            "a\0b",
            "\u0080\u2028",
        ],
        "txn_id": ["a", "!~", "x" * 200, "", "x" * 201, "a b", "a\x7f", "é"],
        "hex128": ["0f" * 16, "0" * 31, "0" * 33, "0F" * 16, "0g" * 16, ""],
    }
    cases = []
    for what, some in texts.items():
        for n, text in enumerate(some):
            given = {"op": "ok", "what": what, "text_hex": text.encode().hex()}
            cases.append((f"ok: {what} {n}", given))
    for n, bad in enumerate(
        (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80")
    ):
        given = {"op": "ok", "what": "order_key", "text_hex": bad.hex()}
        cases.append((f"ok: order_key is not UTF-8 {n}", given))
    return cases


def ids_cases() -> Iterable[Case]:
    for name, parts in {
        "no parts": [],
        "one empty part": [b""],
        "two empty parts": [b"", b""],
        "ab c": [b"ab", b"c"],
        "a bc": [b"a", b"bc"],
        "binary": [bytes(range(256)), b"\0"],
        "longer than a block of the hash": [b"x" * 300, b"y" * 129],
    }.items():
        yield f"hash: {name}", {"op": "hash_hex", "parts_hex": [p.hex() for p in parts]}
    yield from ok_cases()
    for name, workspace, key, line in (
        ("no line", "acme", b"order-17", None),
        ("line 0", "acme", b"order-17", 0),
        ("line 10", "acme", b"order-17", 10),
        ("UTF-8 key", "acme", "clé 🔑".encode(), None),
        ("hostile key", LONGEST, b'a\0\xff\n"', 2**53),
        ("empty key", "acme", b"", None),
    ):
        given = {"workspace": workspace, "key_hex": key.hex(), "line": line}
        yield f"derived job id: {name}", {"op": "job_id_derive", **given}
    subjects = {
        "plain": ("acme", "job-1", 0, 1),
        "second try of a replay": ("acme", "job-1", 1, 2),
        "maximal": (LONGEST, LONGEST, w.U32, w.U32),
    }
    for name, (workspace, job, generation, attempt) in subjects.items():
        about = {
            "workspace": workspace,
            "job": job,
            "generation": generation,
            "attempt": attempt,
        }
        random = bytes(range(16)).hex()
        yield f"run id: {name}", {"op": "run_id", **about, "random_hex": random}
        for kind in ("job", "result", "usage", "callback"):
            given = {"op": "event_id", "type": kind, **about}
            yield f"event id of a {kind}: {name}", given
    for kind, what, parts in (
        ("usage", "idle", ["sb-1", NOW]),
        ("usage", "correction", ["0f" * 16, 1]),
        ("control", "control", ["c-1"]),
        ("event", "job", ["job-1", 0, 1, "started", 0]),
        ("event", "job", ["job-1", 0, 1, "progress", 12]),
    ):
        about = {"type": kind, "workspace": "acme", "kind": what, "parts": parts}
        yield f"event id: {kind} of {what} {parts[-1]}", {"op": "event_id_of", **about}
    for name, workspace, offset in (
        ("trusted", "acme", 0),
        ("untrusted", "", 0),
        ("last offset", "acme", w.U63),
    ):
        where = {"topic": "bf.jobs", "partition": 3, "offset": offset}
        given = {"op": "event_id_dead", "workspace": workspace, **where}
        yield f"dead letter: {name}", given
    for name, block, inputs in (
        ("plain", b'{"run_function_code":"x"}', b"{}"),
        ("moved boundary", b'{"run_function_code":"x"', b"}{}"),
        ("bytes", bytes(range(256)), b'{"a":NaN}'),
    ):
        given = {"block_hex": block.hex(), "inputs_hex": inputs.hex()}
        yield f"digest: {name}", {"op": "job_digest", **given}
    for workspace, job in (("acme", "job-1"), (LONGEST, LONGEST)):
        given = {"op": "finished_id", "workspace": workspace, "job": job}
        for generation in (0, 7):
            name = f"finished id: {workspace[:8]} {generation}"
            yield name, {**given, "generation": generation}
    for entry, seq in (("b/jobs", 0), ("r/jobs/17", 1), ("c/acme/all", w.U63)):
        about = {"fleet": FLEET, "shard": 3, "entry": entry, "seq": seq}
        yield f"state id: {entry} {seq}", {"op": "state_id", **about}
    for offset, metadata in ((-1, b""), (0, b""), (41, b"garbage"), (w.U63, b"\0")):
        about = {"offset": offset, "metadata_hex": metadata.hex()}
        yield f"commit id: {offset}", {"op": "commit_id", **about}


# ---- partition.json ---------------------------------------------------------


@op("partition")
def _(i):
    order_key = raw(i, "order_key")
    where = i["spread"], i["shards"]
    return {"partition": w.partition_of(i["workspace"], order_key, i["job"], *where)}


def partition_cases() -> Iterable[Case]:
    keys = {
        "no key": None,
        "key": b"cam-1",
        "UTF-8 key": "caméra/🎥".encode(),
        "key like the job": b"job-1",
    }
    for workspace in ("acme", "a", LONGEST, "_-"):
        for name, key in keys.items():
            for spread, shards in ((1, 1), (1, 12), (4, 12), (4096, 4096), (7, 5)):
                given = {
                    "op": "partition",
                    "workspace": workspace,
                    "order_key_hex": None if key is None else key.hex(),
                    "job": "job-1",
                    "spread": spread,
                    "shards": shards,
                }
                yield f"{workspace[:8]}, {name}, {spread} of {shards}", given


# ---- meta.json --------------------------------------------------------------


@op("meta_encode")
def _(i):
    meta = w.Meta(i["base"], i["txn_seq"], i["writer"], must(i, "map"))
    return {"text": w.meta_encode(meta)}


@op("meta_decode")
def _(i):
    meta = w.meta_decode(i["text"])
    return {
        "base": meta.base,
        "txn_seq": meta.txn_seq,
        "writer": meta.writer,
        "map_hex": meta.map.hex(),
    }


def meta_raw(
    version: int = 1,
    base: int = 5,
    writer: bytes = b"g-h-0",
    bitmap: bytes = b"\x02",
    size: int | None = None,
    after: bytes = b"",
) -> bytes:
    out = bytes([version]) + base.to_bytes(8, "big") + (9).to_bytes(8, "big")
    out += bytes([len(writer)]) + writer
    out += (len(bitmap) if size is None else size).to_bytes(2, "big") + bitmap + after
    return out + w.h128(out)[:4]


def meta_cases() -> Iterable[Case]:
    goods = {
        "fresh": (0, 0, "bf-h-0", []),
        "one ahead": (41, 7, "bf-host.example-3", [1]),
        "eight": (41, 7, "bf-h-0", [8]),
        "scattered": (2**40 + 1, 2**33, "bf-h-0", [1, 2, 7, 9, 63, 64, 4095, 8191]),
        "last bit alone": (w.U63 - w.WINDOW, w.U63, "x" * 200, [w.WINDOW - 1]),
        "full": (12, 3, "!" * 200, list(range(1, w.WINDOW))),
        "largest base": (w.U63, 1, "~", []),
    }
    for name, (base, seq, writer, bits) in goods.items():
        bitmap = w.map_of(bits)
        given = {"base": base, "txn_seq": seq, "writer": writer}
        given["map_hex"] = bitmap.hex()
        yield f"encode: {name}", {"op": "meta_encode", **given}
        text = w.meta_encode(w.Meta(base, seq, writer, bitmap))
        yield f"decode: {name}", {"op": "meta_decode", "text": text}
    whole = meta_raw()
    bads = {
        "empty": "",
        "not base64": "!!!!",
        "no padding": w.b64(meta_raw(writer=b"g")).rstrip("="),
        "a line break": w.b64(whole) + "\n",
        "url alphabet": w.b64(meta_raw(bitmap=b"\xfe\xff\xff")).replace("/", "_"),
        "short": w.b64(whole[:10]),
        "one byte less": w.b64(whole[:-1]),
        "one byte more": w.b64(whole + b"\0"),
        "version 0": w.b64(meta_raw(version=0)),
        "version 2": w.b64(meta_raw(version=2)),
        "checksum": w.b64(whole[:-1] + bytes([whole[-1] ^ 1])),
        "a flipped bit": w.b64(bytes([1, 0x80]) + whole[2:]),
        "base 2^63": w.b64(meta_raw(base=2**63)),
        "no writer": w.b64(meta_raw(writer=b"")),
        "writer of 201": w.b64(meta_raw(writer=b"x" * 201)),
        "space in the writer": w.b64(meta_raw(writer=b"a b")),
        "NUL in the writer": w.b64(meta_raw(writer=b"a\0b")),
        "bit 0": w.b64(meta_raw(bitmap=b"\x03")),
        "trailing zero": w.b64(meta_raw(bitmap=b"\x02\0")),
        "bitmap too long": w.b64(meta_raw(bitmap=b"\x02" * 2049)),
        "bitmap shorter than said": w.b64(meta_raw(size=2)),
        "bytes after the bitmap": w.b64(meta_raw(after=b"\x01")),
        "4,100 characters": "A" * 4100,
    }
    unused = w.b64(meta_raw(writer=b"g-h-01"))
    assert unused.endswith("=")
    letter = unused.rstrip("=")[-1]
    other = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
    flipped = other[other.index(letter) ^ 1]
    bads["unused bits set"] = flipped.join(unused.rsplit(letter, 1))
    for name, text in bads.items():
        yield f"refuse: {name}", {"op": "meta_decode", "text": text}


# ---- sign.json --------------------------------------------------------------


@op("key_id")
def _(i):
    return {"key_id": w.key_id(must(i, "public_key"))}


@op("leaf")
def _(i):
    leaf = w.leaf(i["purpose"], w.record_from_json(i["record"]))
    return {"leaf_hex": leaf.hex()}


@op("sign_tree")
def _(i):
    key = w.private_key(must(i, "seed"))
    records = [w.record_from_json(doc) for doc in i["records"]]
    w.sign_tree(i["purpose"], key, i["created_ms"], records)
    return {
        "key_id": w.key_id(w.public_bytes(key)),
        "public_key_hex": w.public_bytes(key).hex(),
        "signatures": [rec.text("bf_signature") for rec in records],
    }


@op("signature_parse")
def _(i):
    made = w.signature_parse(i["text"])
    return {
        "purpose": made.purpose,
        "key_id": made.key_id,
        "created_ms": made.created_ms,
        "count": made.count,
        "index": made.index,
        "path_hex": [part.hex() for part in made.path],
        "bytes_hex": made.bytes.hex(),
    }


@op("verify")
def _(i):
    keys = [
        w.TrustedKey(
            bytes.fromhex(key["public_key_hex"]),
            key["purpose"],
            None if key["workspaces"] is None else frozenset(key["workspaces"]),
        )
        for key in i["keys"]
    ]
    rec = w.record_from_json(i["record"])
    w.Trust(keys).verify(rec, i["workspace"], i["now_ms"])
    return {"ok": True}


def small(n: int, topic: str = "bf.jobs") -> w.Record:
    rec = w.Record(topic, n % 12, b"acme", f'{{"n":{n}}}'.encode())
    rec.put("ce_id", f"{n:032x}")
    rec.put("traceparent", "not covered")
    rec.put("bf_workspace", "acme")
    return rec


def leaf_cases() -> Iterable[Case]:
    odd = w.Record("bf.results", 0, "wörk".encode(), bytes(range(256)))
    odd.headers = [
        ("ce_id", b""),
        ("bf_null", None),
        ("x-other", b"ignored"),
        ("Content-Type", b"ignored"),
        ("content-type", b"application/json"),
        ("__connect.errors.stage", b"run"),
        ("__connect.errorsX", b"ignored"),
        ("kafka_correlationId", b"\xff\0"),
        ("ce", b"ignored"),
        ("bf_signature", b"ignored"),
        ("bf_", b"covered"),
    ]
    records = {
        "plain": small(1),
        "hostile headers": odd,
        "empty value": w.Record("bf.results", 0, b"acme", b"", []),
        "tombstone": w.Record("bf.results", 0, b"acme", None, []),
        "null key": w.Record("bf.results", 0, None, b"", []),
        "empty key": w.Record("bf.results", 0, b"", b"", []),
        "another partition": w.Record("bf.results", 10, b"acme", b"", []),
        "another topic": w.Record("bf.usage", 0, b"acme", b"", []),
    }
    for name, rec in records.items():
        purpose = "job" if rec.topic == "bf.jobs" else "result"
        given = {"purpose": purpose, "record": w.record_to_json(rec)}
        yield f"leaf: {name}", {"op": "leaf", **given}
    given = {"purpose": "control", "record": w.record_to_json(small(1))}
    yield "leaf: another purpose", {"op": "leaf", **given}


def signed(count: int, created: int = NOW) -> list[w.Record]:
    records = [small(n) for n in range(count)]
    w.sign_tree("job", w.private_key(SEED), created, records)
    return records


def signature_cases() -> Iterable[Case]:
    for count in (1, 2, 3, 5, 64):
        for index in sorted({0, count // 2, count - 1}):
            text = signed(count)[index].text("bf_signature")
            name = f"parse: {index} of {count}"
            yield name, {"op": "signature_parse", "text": text}
    good = signed(3)[0].text("bf_signature").split(".")

    def bad(**changes: str) -> str:
        names = ("v", "purpose", "key", "created", "count", "index", "path", "sig")
        parts = dict(zip(names, good, strict=True)) | changes
        return ".".join(parts.values())

    path, sig = good[6], good[7]
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    bads = {
        "empty": "",
        "version 2": bad(v="v2"),
        "unknown purpose": bad(purpose="jobs"),
        "upper-case key id": bad(key="0F" * 8),
        "short key id": bad(key="0f" * 7),
        "signed number": bad(created="+1"),
        "leading zero": bad(created="01"),
        "created 2^53": bad(created=str(2**53)),
        "count 0": bad(count="0"),
        "count 65": bad(count="65"),
        "index = count": bad(index="3"),
        "path too short": bad(path=path[:43]),
        "path too long": bad(path=path + "A" * 43),
        "path of another index": bad(index="2"),
        "path of 63 bytes": bad(path=path[:84]),
        "padding": bad(sig=sig + "=="),
        "b64 alphabet": bad(sig="+" + sig[1:]),
        "unused bits set": bad(sig=sig[:-1] + alphabet[alphabet.index(sig[-1]) ^ 1]),
        "short signature": bad(sig=sig[:-2]),
        "one part more": bad(sig=sig + "."),
        "one part less": ".".join(good[:-1]),
        "trailing line break": bad(sig=sig + "\n"),
    }
    for name, text in bads.items():
        yield f"refuse: {name}", {"op": "signature_parse", "text": text}


def verify_cases() -> Iterable[Case]:
    public = w.public_bytes(w.private_key(SEED)).hex()
    other = w.public_bytes(w.private_key(SEED2)).hex()

    def given(rec: w.Record, **changes: Json) -> dict[str, Json]:
        key = {"public_key_hex": public, "purpose": "job", "workspaces": None}
        return {
            "op": "verify",
            "record": w.record_to_json(rec),
            "keys": [key | changes.pop("key", {})],
            "workspace": "acme",
            "now_ms": NOW,
        } | changes

    for count in (1, 2, 7, 64):
        yield f"verify: last of {count}", given(signed(count)[-1])
    one = signed(3)
    yield "verify: bound key", given(one[0], key={"workspaces": ["b", "acme"]})
    yield "verify: 5 minutes ahead", given(one[0], now_ms=NOW - w.CLOCK_AHEAD_MS)
    yield "verify: a year later", given(one[0], now_ms=NOW + 365 * DAY)
    reordered = small(9)
    w.sign_tree("job", w.private_key(SEED), NOW, [reordered])
    reordered.headers.insert(0, ("tracestate", b"a=b"))
    yield "verify: a proxy added a header", given(reordered)

    def changed(what: Callable[[w.Record], None]) -> w.Record:
        rec = signed(3)[1]
        what(rec)
        return rec

    def header(n: int, name: str, value: bytes) -> Callable[[w.Record], None]:
        return lambda rec: rec.headers.__setitem__(n, (name, value))

    forged = {
        "value": changed(lambda r: setattr(r, "value", b"{}")),
        "null value": changed(lambda r: setattr(r, "value", None)),
        "key": changed(lambda r: setattr(r, "key", b"acmf")),
        "partition": changed(lambda r: setattr(r, "partition", 2)),
        "topic of the same purpose": changed(
            lambda r: setattr(r, "topic", "bf.jobs.batch")
        ),
        "header value": changed(header(2, "bf_workspace", b"acmf")),
        "header name": changed(header(2, "bf_workspacE", b"acme")),
        "header order": changed(lambda r: r.headers.reverse()),
        "header added": changed(lambda r: r.headers.append(("bf_x", b""))),
        "header removed": changed(lambda r: r.headers.pop(0)),
        "someone else's signature": changed(
            header(3, "bf_signature", one[0].get("bf_signature") or b"")
        ),
        "cut signature": changed(header(3, "bf_signature", b"v1.job")),
    }
    for name, rec in forged.items():
        yield f"refuse: forged {name}", given(rec)
    yield "refuse: unsigned", given(changed(lambda r: r.headers.pop(3)))
    wrong = changed(lambda r: setattr(r, "topic", "bf.control"))
    yield "refuse: job signature on control", given(wrong)
    yield "refuse: unknown key", given(one[0], key={"public_key_hex": other})
    yield "refuse: key of another purpose", given(one[0], key={"purpose": "result"})
    yield "refuse: key of other workspaces", given(one[0], key={"workspaces": ["b"]})
    yield "refuse: key of no workspace", given(one[0], key={"workspaces": []})
    early = NOW - w.CLOCK_AHEAD_MS - 1
    yield "refuse: more than 5 minutes ahead", given(one[0], now_ms=early)


def sign_cases() -> Iterable[Case]:
    for seed in (SEED, SEED2, bytes(32)):
        public = w.public_bytes(w.private_key(seed)).hex()
        yield f"key id: {public[:6]}", {"op": "key_id", "public_key_hex": public}
    yield from leaf_cases()
    for count in (1, 2, 3, 4, 5, 7, 8, 33, 63, 64):
        records = [w.record_to_json(small(n)) for n in range(count)]
        given = {"seed_hex": SEED.hex(), "created_ms": NOW, "records": records}
        yield f"tree of {count}", {"op": "sign_tree", "purpose": "job", **given}
    yield from signature_cases()
    yield from verify_cases()


# ---- block.json -------------------------------------------------------------


@op("block_parse")
def _(i):
    block = w.block_parse(must(i, "text"))
    return asdict(block) | {
        "imports": list(block.imports),
        "code_hash": block.code_hash(),
        "fingerprint": block.fingerprint(),
    }


def block_cases() -> Iterable[Case]:
    code = 'def run(a, b):\n    return {"sum": a + b}\n'

    def block(**members: Json) -> str:
        return json.dumps({"run_function_code": code} | members)

    deep = "[" * 40 + "]" * 40
    goods = {
        "least": block(),
        "imports": block(imports=["import re", "import math"]),
        "everything": block(
            run_function_name="go",
            imports=["import re"],
            init_function_code="def init():\n    return 1\n",
            init_function_name="start",
            block_type="acme/blur@v1",
        ),
        "null init": block(init_function_code=None),
        "empty init": block(init_function_code=""),
        "empty code": block(run_function_code=""),
        "UTF-8": json.dumps(
            {"run_function_code": "# é🎥\u2028\x7f", "block_type": "blöck"},
            ensure_ascii=False,
        ),
        "escapes": r'{"run_function_code":"\u00e9\ud83c\udfa5\/\b\f\t\u001f\u007f\""}',
        "escaped name": r'{"run_function_c\u006fde":"x"}',
        "white space": ' \t\r\n{ "run_function_code" : "x" } \n',
        "longest names": block(
            run_function_name="r" * 256, block_type="é" * 128, imports=[""]
        ),
    }
    for name, text in goods.items():
        given = {"op": "block_parse", "text_hex": text.encode().hex()}
        yield f"parse: {name}", given
    bads = {
        "empty": "",
        "null": "null",
        "array": "[]",
        "no code": "{}",
        "code is null": block(run_function_code=None),
        "code is a number": block(run_function_code=1),
        "another name": block(timeout=1),
        "a name twice": '{"run_function_code":"x","run_function_code":"x"}',
        "a name twice, escaped": r'{"block_type":"","block\u005ftype":"",'
        r'"run_function_code":"x"}',
        "imports is null": block(imports=None),
        "imports is a string": block(imports="re"),
        "import is null": block(imports=[None]),
        "nested imports": '{"run_function_code":"x","imports":' + deep + "}",
        "init is false": block(init_function_code=False),
        "init is 0": block(init_function_code=0),
        "name is null": block(run_function_name=None),
        "name is empty": block(run_function_name=""),
        "init name is empty": block(init_function_name=""),
        "name of 257": block(run_function_name="r" * 257),
        "type of 257 bytes": block(block_type="é" * 128 + "x"),
        "type is null": block(block_type=None),
        "NUL": r'{"run_function_code":"a\u0000b"}',
        "lone surrogate": r'{"run_function_code":"\ud83c"}',
        "low surrogate first": r'{"run_function_code":"\udfa5\ud83c"}',
        "byte order mark": "\ufeff" + block(),
        "bare control character": '{"run_function_code":"a\nb"}',
        "comma too many": '{"run_function_code":"x",}',
        "two values": block() + "{}",
        "NaN": '{"run_function_code":NaN}',
        "single quotes": "{'run_function_code':'x'}",
        "cut": block()[:-1],
    }
    for name, text in bads.items():
        given = {"op": "block_parse", "text_hex": text.encode().hex()}
        yield f"refuse: {name}", given
    for name, data in {
        "not UTF-8": b'{"run_function_code":"\xff"}',
        "overlong": b'{"run_function_code":"\xc0\xaf"}',
        "surrogate in UTF-8": b'{"run_function_code":"\xed\xa0\x80"}',
        "UTF-16": '{"run_function_code":"x"}'.encode("utf-16-le"),
    }.items():
        yield f"refuse: {name}", {"op": "block_parse", "text_hex": data.hex()}


# ---- job.json ---------------------------------------------------------------

JOB_BYTES = ("block", "inputs", "order_key", "labels", "context", "correlation_id")


def job_to_json(job: w.Job) -> Json:
    doc = to_json(job, JOB_BYTES)
    if job.batch_index is not None:
        doc["batch_index"] = str(job.batch_index)
    return doc


def job_from_json(doc: Json) -> w.Job:
    job = from_json(w.Job, doc)
    if job.batch_index is not None:
        job.batch_index = int(job.batch_index)
    return job


def place(i: dict[str, Json]) -> tuple[str, int]:
    return i["topic"], i["partition"]


@op("job_build")
def _(i):
    rec = w.job_build(job_from_json(i["job"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("job_parse")
def _(i):
    return {"job": job_to_json(w.job_parse(w.record_from_json(i["record"])))}


CODE = 'def run(a, b):\n    return {"sum": a + b}\n'
BLOCK = json.dumps({"run_function_code": CODE}).encode()


def job_of(**changes: Any) -> w.Job:
    given = {
        "workspace": "acme",
        "id": "job-1",
        "block": BLOCK,
        "inputs": b'{"a":1,"b":2}',
        "accepted_at_ms": NOW,
        "expires_at_ms": NOW + DAY,
    }
    return w.Job(**given | changes)


def full_job(**changes: Any) -> w.Job:
    given = {
        "generation": 2,
        "id_origin": "key",
        "execution": "at_most_once",
        "not_before_ms": NOW + 1,
        "order_key": "caméra/🎥".encode(),
        "backend": "local",
        "batch": "clip-7.mp4",
        "batch_index": 41,
        "callback_url": "https://example.com/hook?x=1&y=%20",
        "labels": '{"who":"Zoë","n":"1","":"\\ud83c\\udfa5"}'.encode(),
        "context": b'{"step_name":"s","step_selector":null,"block_type":"b",'
        b'"workflow_execution_id":"w"}',
        "dead_of": "0f" * 16,
        "correlation_id": b"\x00\xff not UTF-8",
        "traceparent": "00-" + "4b" * 16 + "-" + "0a" * 8 + "-01",
    }
    return job_of(**given | changes)


def jobs() -> dict[str, w.Job]:
    hostile = (
        b'{"n":NaN,"i":9223372036854775808,"z":"\\u0000\\ud800","z":-0.0, "e":1E400}'
    )
    return {
        "least": job_of(),
        "everything": full_job(),
        "maximal": full_job(
            workspace=LONGEST,
            id=LONGEST,
            generation=w.U32,
            spread=4096,
            expires_at_ms=NOW + 8 * DAY,
            not_before_ms=NOW + 8 * DAY,
            timeout_ms=86_400_000,
            max_attempts=100,
            order_key=b"x" * 128,
            backend="b" * 32,
            batch=LONGEST,
            batch_index=w.U32,
            callback_url="http://" + "u" * 2041,
            labels=b'{"l":"' + b"x" * 4088 + b'"}',
            correlation_id=b"c" * 1024,
        ),
        "least numbers": job_of(spread=1, timeout_ms=1, max_attempts=1),
        "empty object": job_of(inputs=b"{}"),
        "inputs that are not parsed": job_of(inputs=hostile),
        "inputs that are not UTF-8": job_of(inputs=b'{"a":"\xff\xfe"}'),
        "inputs that are not JSON": job_of(inputs=b"\0"),
        "block that is not JSON": job_of(block=b"?"),
        "empty block": job_of(block=b""),
        "server id": job_of(
            id="019e2b7c-8a00-7cc3-98c4-dc0c0c07398f", id_origin="server"
        ),
        "derived id": job_of(
            id=w.job_id_derive("acme", "clé".encode(), 3), id_origin="key"
        ),
        "empty labels and context": job_of(labels=b"{}", context=b"{}"),
        "labels with white space": job_of(labels=b' { "a" : "b" } '),
        "empty correlation id": job_of(correlation_id=b""),
        "expired before it was accepted": job_of(expires_at_ms=1),
        "year 1970": job_of(accepted_at_ms=0, expires_at_ms=1),
    }


def with_header(rec: w.Record, name: str, value: bytes | None) -> w.Record:
    """Replaced where it stands, or appended."""
    at = next((n for n, (h, _) in enumerate(rec.headers) if h == name), None)
    if at is None:
        rec.headers.append((name, value))
    else:
        rec.headers[at] = (name, value)
    return rec


def without(rec: w.Record, name: str) -> w.Record:
    rec.headers = [h for h in rec.headers if h[0] != name]
    return rec


def job_record(**changes: Any) -> w.Record:
    return w.job_build(job_of(**changes), FLEET, ("bf.jobs", 3))


REQUIRED = (
    "ce_specversion",
    "ce_id",
    "ce_source",
    "ce_type",
    "ce_time",
    "ce_subject",
    "content-type",
    "bf_kind",
    "bf_workspace",
    "bf_job",
    "bf_generation",
    "bf_id_origin",
    "bf_spread",
    "bf_execution",
    "bf_expires_at_ms",
    "bf_timeout_ms",
    "bf_max_attempts",
    "bf_block",
)

BAD_JOB_HEADERS: dict[str, tuple[str | bytes, ...]] = {
    "ce_specversion": ("0.3", "1.0 ", ""),
    "ce_id": ("0f" * 16, "", "x"),
    "ce_type": ("dev.blockfleet.job.v2", "dev.blockfleet.result.v1"),
    "ce_time": (
        "2026-11-21T13:00:00Z",
        "2026-11-21T13:00:00.123+00:00",
        "2026-11-21t13:00:00.123z",
        "2026-02-29T13:00:00.123Z",
        "2026-11-21T24:00:00.000Z",
        "2026-11-21T13:00:60.000Z",
        "1969-12-31T23:59:59.999Z",
        "",
    ),
    "content-type": ("application/cloudevents+json", "text/plain"),
    "bf_kind": ("",),
    "bf_workspace": ("", "acme ", "a.b", "other"),
    "bf_job": ("", "a/b", "j" * 65, b"a\0"),
    "bf_generation": ("", "-1", "+1", "01", "1.0", "4294967296", " 1", "0x1"),
    "bf_id_origin": ("", "Client", "none"),
    "bf_spread": ("0", "4097", "04"),
    "bf_execution": ("", "exactly_once", "at_least_once\n"),
    "bf_expires_at_ms": ("", "-1", str(NOW + 8 * DAY + 1), str(2**53), "9" * 30),
    "bf_not_before_ms": ("", "-1", str(NOW + DAY + 1)),
    "bf_timeout_ms": ("0", "86400001", "1e3"),
    "bf_max_attempts": ("0", "101"),
    "bf_order_key": ("", "a\nb", "\x7f", b"\xff", b"a\0b"),
    "bf_backend": ("", "Local", "a_b", "b" * 33),
    "bf_callback_url": (
        "",
        "ftp://x/",
        "HTTPS://x/",
        "https://",
        "https://a b/",
        "https://é/",
        "//x",
    ),
    "bf_labels": ("", "[]", '{"a":1}', '{"a":null}', '{"a":"b","a":"b"}', "{", "null")
    + ('{"a":"\\u0000"}', b'{"a":"\xff"}', '{"a":"b"}x', "\ufeff{}", '{"a":{}}'),
    "bf_context": ("[]", '{"other":"x"}', '{"step_name":1}', "", '{"step_name":{}}'),
    "bf_dead_of": ("", "0F" * 16, "0f" * 15),
}

TOO_LARGE = {
    "bf_labels": b'{"l":"' + b"x" * 4_089 + b'"}',
    "bf_context": b'{"step_name":"' + b"x" * 4_081 + b'"}',
    "bf_order_key": b"x" * 129,
    "bf_callback_url": b"https://" + b"u" * 2_041,
    "kafka_correlationId": b"x" * 1_025,
    "bf_unknown": b"x" * 1_025,
    "ce_source": b"/" + b"x" * 1_024,
}


def job_refusals() -> Iterable[tuple[str, w.Record]]:
    for name in REQUIRED:
        yield f"no {name}", without(job_record(), name)
        yield f"{name} is null", with_header(job_record(), name, None)
        twice = job_record()
        twice.headers.append((name, twice.get(name)))
        yield f"{name} twice", twice
    for name, values in BAD_JOB_HEADERS.items():
        for n, value in enumerate(values):
            data = value if isinstance(value, bytes) else value.encode()
            yield f"{name} {n}", with_header(job_record(), name, data)
    for name in ("bf_order_key", "bf_labels", "bf_backend", "kafka_correlationId"):
        yield f"{name} is null", with_header(job_record(), name, None)
    alone = {"bf_batch": b"clip", "bf_batch_index": b"0"}
    for name, value in alone.items():
        yield f"{name} alone", with_header(job_record(), name, value)
    for index in ("", "-1", "4294967296"):
        rec = job_record(batch="clip", batch_index=1)
        rec = with_header(rec, "bf_batch_index", index.encode())
        yield f"bf_batch_index {index!r}", rec
    for batch in ("", "a/b", "b" * 65):
        rec = job_record(batch="clip", batch_index=1)
        yield f"bf_batch {batch[:4]!r}", with_header(rec, "bf_batch", batch.encode())
    rec = job_record()
    rec.value = None
    yield "null inputs", rec
    yield "no inputs", without(job_record(inputs=b""), "content-type")
    rec = job_record()
    rec.headers.append(("bf_x", b"1"))
    rec.headers.append(("bf_x", b"1"))
    yield "unknown covered header twice", rec
    rec = with_header(job_record(), "bf_signature", b"v1")
    rec.headers.append(("bf_signature", b"v1"))
    yield "bf_signature twice", rec
    for name, value in TOO_LARGE.items():
        yield f"{name} is too large", with_header(job_record(), name, value)
    for kind in ("sandbox", "Block", "block "):
        rec = with_header(job_record(), "bf_kind", kind.encode())
        yield f"kind {kind!r}", rec
    rec = without(job_record(), "bf_block")
    yield "another kind has other headers", with_header(rec, "bf_kind", b"sandbox.exec")


def job_acceptances() -> Iterable[tuple[str, w.Record]]:
    rec = job_record()
    rec.headers.reverse()
    yield "headers in another order", rec
    rec = job_record()
    rec.headers += [("tracestate", b"a"), ("tracestate", b"b"), ("x", None)]
    yield "headers of a proxy", rec
    yield "an unknown covered header", with_header(job_record(), "bf_new", b"1")
    for name, value in {
        "upper case": b"00-" + b"4B" * 16 + b"-" + b"0a" * 8 + b"-01",
        "too long": b"00-" + b"4b" * 16 + b"-" + b"0a" * 8 + b"-01-x",
        "huge": b"x" * 2_000,
        "empty": b"",
    }.items():
        rec = with_header(job_record(), "traceparent", value)
        yield f"traceparent is dropped: {name}", rec
    rec = job_record()
    yield (
        "expires at the last moment",
        with_header(rec, "bf_expires_at_ms", str(NOW + 8 * DAY).encode()),
    )
    yield (
        "Content-Type is another header",
        with_header(job_record(), "Content-Type", b"text/plain"),
    )
    rec = with_header(job_record(), "bf_signature", b"not looked at here")
    yield "signature is another module's", rec


def job_cases() -> Iterable[Case]:
    for name, job in jobs().items():
        given = {"fleet": FLEET, "topic": "bf.jobs", "partition": 3}
        yield f"build: {name}", {"op": "job_build", **given, "job": job_to_json(job)}
        rec = w.record_to_json(w.job_build(job, FLEET, ("bf.jobs", 3)))
        yield f"parse: {name}", {"op": "job_parse", "record": rec}
    for name, rec in job_acceptances():
        yield f"parse: {name}", {"op": "job_parse", "record": w.record_to_json(rec)}
    for name, rec in job_refusals():
        yield f"refuse: {name}", {"op": "job_parse", "record": w.record_to_json(rec)}


# ---- result.json, usage.json, callback.json ---------------------------------

REPORT_BYTES = (
    "message",
    "error",
    "error_type",
    "function_name",
    "code_hash",
    "standard_output",
    "standard_error",
)


def end_to_json(end: w.End) -> Json:
    doc = to_json(end, ("result",))
    doc["job"] = job_to_json(end.job)
    doc["source"] = w.record_to_json(end.source)
    doc["report"] = to_json(end.report, REPORT_BYTES)
    return doc


def end_from_json(doc: Json) -> w.End:
    end = from_json(w.End, doc)
    end.job = job_from_json(doc["job"])
    end.source = w.record_from_json(doc["source"])
    end.report = from_json(w.Report, doc["report"])
    return end


@op("result_build")
def _(i):
    rec = w.result_build(end_from_json(i["end"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("usage_build")
def _(i):
    rec = w.usage_build(end_from_json(i["end"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("callback_build")
def _(i):
    rec = w.callback_build(end_from_json(i["end"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("result_parse")
def _(i):
    result = w.result_parse(w.record_from_json(i["record"]))
    doc = to_json(result, ("report", "labels", "correlation_id", "value"))
    doc["subject"] = asdict(result.subject)
    if result.batch_index is not None:
        doc["batch_index"] = str(result.batch_index)
    return {"result": doc}


@op("idle_build")
def _(i):
    rec = w.idle_build(w.Idle(**i["idle"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("correction_build")
def _(i):
    rec = w.correction_build(w.Correction(**i["correction"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


def source_of(topic: str = "bf.jobs", partition: int = 3, offset: int = 41) -> w.Record:
    """Only its coordinates count in a result."""
    return w.Record(topic, partition, b"acme", b"", [], offset)


def ran(**changes: Any) -> w.End:
    job = changes.get("job") or job_of()
    given = {
        "job": job,
        "source": source_of(),
        "outcome": "succeeded",
        "delivery": "ran",
        "ended_at_ms": NOW + 1_250,
        "worker": "bf-host-1-0",
        "result": b'{"sum":3}',
        "run_id": w.run_id(job.subject(changes.get("attempt", 1)), bytes(range(16))),
        "backend": "local",
        "isolation": "process",
        "fingerprint": w.fingerprint(CODE, None, []),
        "block_type": "",
        "started_at_ms": NOW + 50,
        "duration_us": 1_200_345,
        "billable": True,
        "has_usage": True,
    }
    return w.End(**given | changes)


def not_run(**changes: Any) -> w.End:
    given = {
        "job": job_of(),
        "source": source_of(),
        "outcome": "expired",
        "delivery": "did_not_run",
        "ended_at_ms": NOW + DAY,
        "worker": "bf-host-1-0",
    }
    return w.End(**given | changes)


def hostile_report() -> w.Report:
    return w.Report(
        message=b"said \xff\xfe here",
        error=b'\x00\x1f\x7f"\\/\b\f\n\r\t \xe2\x80\xa8 \xf0\x9f\x8e\xa5',
        error_type=b'Evil"}',
        function_name="fün".encode(),
        standard_output=b"\xf0\x9f\x8e \xe2\x82 \xc0\xaf \xed\xa0\x80 \xf4\x90\x80\x80",
        standard_error=b"\x80\xbf\xf8\x88\x80\x80\x80\xe1\x80\xe2\xf0\x91\x92\xf1\xbfA",
        line_number=2**31,
        execution_us=1,
    )


def long_report() -> w.Report:
    return w.Report(
        message="é".encode() * 513,
        error=b"\x01" * 3_000,
        error_type=b'"' * 129,
        function_name=b"f" * 256,
        code_hash=b"c" * 257,
        standard_output=b"a" * 49_151 + "é".encode(),
        standard_error=b"\xff" * 16_385,
    )


def exact_report() -> w.Report:
    return w.Report(
        message="é".encode() * 512,
        error=b"\x01" * 2_730 + b"abcd",
        error_type=b'"' * 128,
        standard_output=b"a" * 49_150 + "é".encode(),
        standard_error=b"\xff" * 16_384,
    )


def ends() -> dict[str, w.End]:
    said = w.Report(
        standard_output=b"hello\n",
        standard_error=b"",
        execution_us=1_100_000,
        code_hash=w.code_hash(CODE, []).encode(),
    )
    raised = w.Report(
        error=b"division by zero",
        error_type=b"ZeroDivisionError",
        line_number=2,
        function_name=b"run",
        execution_us=12,
    )
    full = full_job(workspace=LONGEST, id=LONGEST)
    hostile = b'{"n":NaN,"i":9223372036854775808,"z":"\\u0000\\ud800\xff"}'
    refused = job_of(labels=b'{"a":"b"}')
    return {
        "succeeded": ran(report=said),
        "succeeded, hostile result": ran(result=hostile),
        "everything": ran(
            job=full,
            report=said,
            attempt=2,
            provider={"sandbox_id": "sb-é", "app": "x", "": ""},
            vcpu_us=2_400_690,
            memory_gib_us=1,
            backend="b" * 32,
            isolation="gvisor",
            block_type='blöck"\n',
            worker="!" * 200,
            source=source_of("bf.jobs.batch", 3, w.U63),
        ),
        "failed": ran(
            outcome="failed", reason="user_error", report=raised, result=b"ignored"
        ),
        "hostile report": ran(
            outcome="failed", reason="user_error", report=hostile_report()
        ),
        "report over its ceilings": ran(
            outcome="failed", reason="user_error", report=long_report()
        ),
        "report at its ceilings": ran(
            outcome="failed", reason="user_error", report=exact_report()
        ),
        "truncated by the runner": ran(
            report=w.Report(
                standard_output=b"x",
                standard_output_truncated=True,
                standard_error_truncated=True,
            )
        ),
        "out of memory": ran(outcome="failed", reason="oom"),
        "too large": ran(
            outcome="failed",
            reason="output_too_large",
            report=w.Report(message=b"the result has 20000000 bytes"),
        ),
        "timed out": ran(
            outcome="timed_out", reason="deadline", duration_us=20_000_001
        ),
        "cancelled while it ran": ran(outcome="cancelled", duration_us=0),
        "cancelled before": not_run(outcome="cancelled"),
        "expired": not_run(),
        "rejected": not_run(
            outcome="rejected",
            reason="bad_block",
            has_dead_letter=True,
            job=refused,
            report=w.Report(message=b"bf_block: imports is not an array of strings"),
        ),
        "unknown, taken over": ran(
            outcome="unknown",
            reason="worker_lost",
            delivery="unknown",
            billable=False,
            started_at_ms=0,
            duration_us=0,
            job=job_of(execution="at_most_once"),
            fingerprint=None,
            block_type=None,
        ),
        "unknown, backend forgotten": ran(
            outcome="unknown",
            reason="worker_lost",
            delivery="unknown",
            billable=False,
            started_at_ms=0,
            duration_us=0,
            backend=None,
            isolation=None,
        ),
        "dead": ran(
            outcome="dead",
            reason="attempts_exhausted",
            delivery="unknown",
            billable=False,
            attempt=3,
            has_dead_letter=True,
        ),
        "dead, never ran": ran(
            outcome="dead",
            reason="backend_refused",
            delivery="did_not_run",
            billable=False,
            has_usage=False,
            has_dead_letter=True,
        ),
        "a did_not_run with a row": ran(
            outcome="failed",
            reason="init_error",
            delivery="did_not_run",
            billable=False,
        ),
        "no reason": ran(outcome="failed"),
    }


def is_long(end: w.End) -> bool:
    """A report that only a result need repeat."""
    return len(end.report.standard_error or b"") > 16_000


def end_cases(kind: str, topic: str, wanted: Callable[[w.End], bool]):
    for name, end in ends().items():
        if wanted(end):
            given = {"fleet": FLEET, "topic": topic, "partition": 3}
            given["end"] = end_to_json(end)
            yield f"build: {name}", {"op": f"{kind}_build", **given}


def result_record(**changes: Any) -> w.Record:
    end = ran(has_dead_letter=True, **changes)
    return w.result_build(end, FLEET, ("bf.results", 3))


BAD_RESULT_HEADERS: dict[str, tuple[str, ...]] = {
    "bf_outcome": ("", "Succeeded", "ok"),
    "bf_delivery": ("", "maybe"),
    "bf_reason": ("", "because"),
    "bf_execution": ("", "exactly_once"),
    "bf_attempt": ("0", "4294967296", ""),
    "bf_run_id": ("", "0F" * 16),
    "bf_usage_id": ("x",),
    "bf_dead_letter": ("x",),
    "bf_source_partition": ("", "-1"),
    "bf_source_offset": ("", "9223372036854775808"),
    "bf_started_at_ms": ("", "9007199254740992"),
    "bf_worker": ("", "a b"),
    "ce_id": ("0f" * 16,),
    "ce_type": ("dev.blockfleet.result.v2",),
    "ce_time": ("now",),
}


def result_cases() -> Iterable[Case]:
    yield from end_cases("result", "bf.results", lambda end: True)
    for name, end in ends().items():
        if not is_long(end):
            rec = w.record_to_json(w.result_build(end, FLEET, ("bf.results", 3)))
            yield f"parse: {name}", {"op": "result_parse", "record": rec}
    for name in (
        *REQUIRED[:7],
        "bf_workspace",
        "bf_job",
        "bf_generation",
        "bf_attempt",
        "bf_execution",
        "bf_outcome",
        "bf_delivery",
        "bf_worker",
        "bf_source_topic",
        "bf_source_partition",
        "bf_source_offset",
        "bf_report",
    ):
        rec = w.record_to_json(without(result_record(), name))
        yield f"refuse: no {name}", {"op": "result_parse", "record": rec}
    for name, values in BAD_RESULT_HEADERS.items():
        for n, value in enumerate(values):
            rec = with_header(result_record(), name, value.encode())
            given = {"op": "result_parse", "record": w.record_to_json(rec)}
            yield f"refuse: {name} {n}", given
    rec = result_record()
    rec.headers.append(("bf_outcome", b"succeeded"))
    given = {"op": "result_parse", "record": w.record_to_json(rec)}
    yield "refuse: bf_outcome twice", given


def usage_cases() -> Iterable[Case]:
    yield from end_cases(
        "usage", "bf.usage", lambda end: end.has_usage and not is_long(end)
    )
    given = {"fleet": FLEET, "topic": "bf.usage", "partition": 3}
    idle = w.Idle(
        "acme",
        "sb-1",
        "e2b",
        "microvm",
        NOW,
        NOW + 61_001,
        vcpu_us=122_002_000,
        provider={"sandbox_id": "é"},
    )
    yield "build: idle", {"op": "idle_build", **given, "idle": asdict(idle)}
    idle = w.Idle("acme", "sb-1", "local", "process", NOW, NOW, billable=False)
    yield "build: idle for no time", {"op": "idle_build", **given, "idle": asdict(idle)}
    row = w.usage_value(ends()["everything"])
    fixes = {
        "build: correction": {
            "duration_seconds": "-0.200000",
            "vcpu_seconds": "1.500000",
        },
        "build: nothing is corrected": {},
        "build: struck out": {
            "runs": "-1",
            "duration_seconds": "-1.200345",
            "execution_seconds": "-1.100000",
            "input_bytes": "-13",
            "output_bytes": "-9",
        },
    }
    for number, (name, differences) in enumerate(fixes.items(), 1):
        event = ends()["everything"].subject().event_id("usage")
        fix = w.Correction(row, event, number, NOW + DAY, differences)
        yield name, {"op": "correction_build", **given, "correction": asdict(fix)}


def callback_cases() -> Iterable[Case]:
    for name, end in ends().items():
        if is_long(end):
            continue
        end.job.callback_url = end.job.callback_url or "http://127.0.0.1:8080/done"
        given = {"fleet": FLEET, "topic": "bf.callbacks", "partition": 3}
        given["end"] = end_to_json(end)
        yield f"build: {name}", {"op": "callback_build", **given}


# ---- dead.json --------------------------------------------------------------


@op("dead_build")
def _(i):
    doc = i["death"]
    source = w.record_from_json(doc["source"])
    job = None if doc["job"] is None else job_from_json(doc["job"])
    death = w.Death(**doc | {"source": source, "job": job})
    rec = w.dead_build(death, i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("original_headers")
def _(i):
    rec = w.record_from_json(i["record"])
    return {"bytes_hex": w.original_headers(rec.headers)[0].hex()}


@op("original_parse")
def _(i):
    headers = w.original_parse(must(i, "bytes"))
    return {"headers": [[n, None if v is None else v.hex()] for n, v in headers]}


def deaths() -> dict[str, w.Death]:
    whole = w.job_build(full_job(), FLEET, ("bf.jobs", 3))
    w.sign_tree("job", w.private_key(SEED), NOW, [whole])
    whole.offset = 41
    forged = w.Record("bf.jobs", 3, "nobody é".encode(), b"\xff\0junk", [], 7)
    forged.headers = [
        ("bf_workspace", b"acme"),
        ("bf_workspace", b"other"),
        ("", b""),
        ("näme", None),
        ("bf_original_headers", b"\0\0\0\1x"),
        ("bf_signature", b"v1.job"),
        ("bf_trust", b"trusted"),
    ]
    naked = w.Record("bf.jobs.batch", 4_095, None, None, [], w.U63)
    empty = w.Record("bf.control", 0, b"", b"", [], 0)
    keyed = w.Record("bf.jobs", 3, b"k" * 1_025, b"{}", [("a", b"b")], 8)
    lost = w.Record("bf.jobs", 3, None, None, [], 1_000)
    nobody = replace(full_job(), id="", generation=0)
    long = "é" * 600
    return {
        "trusted": w.Death(whole, full_job(), "decode", "bad_block", "imports", NOW),
        "died at produce": w.Death(
            whole, full_job(), "produce", "refused_by_broker", "", NOW
        ),
        "truncated": w.Death(whole, full_job(), "run", "too_large", "x", NOW, True),
        "untrusted": w.Death(forged, None, "verify", "bad_signature", "no", NOW),
        "untrusted, nothing in it": w.Death(
            naked, None, "verify", "unsigned", "no bf_signature", NOW
        ),
        "trusted, nobody to answer": w.Death(
            whole, nobody, "decode", "bad_record", "bf_job is missing", NOW
        ),
        "lost": w.Death(lost, None, "consume", "lost_records", "24 records", NOW),
        "untrusted, all empty": w.Death(empty, None, "verify", "unsigned", "", NOW),
        "untrusted, a key that is too long": w.Death(
            keyed, None, "verify", "unsigned", "no bf_signature", NOW
        ),
        "message is cut": w.Death(
            whole, None, "verify", "unknown_key", "x" + long, NOW
        ),
        "message fits": w.Death(whole, None, "verify", "unknown_key", long[:512], NOW),
    }


def dead_cases() -> Iterable[Case]:
    for name, death in deaths().items():
        doc = to_json(death, ())
        doc["source"] = w.record_to_json(death.source)
        doc["job"] = None if death.job is None else job_to_json(death.job)
        given = {"fleet": FLEET, "topic": "bf.deadletter", "partition": 3}
        yield f"build: {name}", {"op": "dead_build", **given, "death": doc}
        rec = w.record_to_json(death.source)
        yield f"headers: {name}", {"op": "original_headers", "record": rec}
    ends_of = {
        "nothing": b"",
        "one": w.original_headers([("a", b"b")])[0],
        "null and empty": w.original_headers([("a", None), ("a", b""), ("", b"")])[0],
    }
    for name, data in ends_of.items():
        yield f"parse: {name}", {"op": "original_parse", "bytes_hex": data.hex()}
    one = ends_of["one"]
    for name, data in {
        "cut in the first length": one[:3],
        "cut in the name": one[:4],
        "cut before the value": one[:5],
        "cut in the value": one[:-1],
        "length of 4 GiB - 2": one[:5] + b"\xff\xff\xff\xfe" + b"b",
        "name of 4 GiB - 1": b"\xff\xff\xff\xff",
        "a byte more": one + b"\0",
    }.items():
        yield f"refuse: {name}", {"op": "original_parse", "bytes_hex": data.hex()}


# ---- control.json, event.json -----------------------------------------------


@op("control_build")
def _(i):
    rec = w.control_build(w.Control(**i["control"]), i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


@op("control_parse")
def _(i):
    """What was read, written again."""
    control = w.control_parse(w.record_from_json(i["record"]))
    return {"record": w.record_to_json(w.control_build(control, i["fleet"], place(i)))}


@op("event_parse")
def _(i):
    event = w.event_parse(w.record_from_json(i["record"]))
    return {"record": w.record_to_json(w.event_build(event, i["fleet"], place(i)))}


@op("event_build")
def _(i):
    event = from_json(w.Event, i["event"])
    event.subject = w.Subject(**i["event"]["subject"])
    rec = w.event_build(event, i["fleet"], place(i))
    return {"record": w.record_to_json(rec)}


def controls() -> dict[str, w.Control]:
    def control(what: str, **more: Any) -> w.Control:
        return w.Control("acme", what, f"c-{what}", NOW, **more)

    ends_ = {"jobs": [[3, 41], [4, 0]], "batch": [[3, w.U63]]}
    until = NOW + DAY
    return {
        "cancel a job": control("cancel", job="job-1", until_ms=until),
        "cancel a generation": control(
            "cancel", job="job-1", generation=0, until_ms=until
        ),
        "cancel a batch": control("cancel", batch="clip", ends=ends_, until_ms=until),
        "cancel everything": control("cancel", ends=ends_, until_ms=until),
        "cancel on no shard": control("cancel", ends={}, until_ms=until),
        "replay": control("replay", job="job-1", generation=1, dead_letter="0f" * 16),
        "open a batch": control("batch_open", batch=LONGEST, until_ms=until),
        "open a batch that may fail": control(
            "batch_open", batch="clip", until_ms=until, max_failure_ppm=50_000
        ),
        "seal a batch": control("batch_seal", batch="clip", count=300),
        "seal an empty batch": control("batch_seal", batch="clip", count=0),
        "pause": control("pause"),
        "pause until": control("pause", until_ms=until),
        "resume": control("resume"),
    }


def control_cases() -> Iterable[Case]:
    for name, control in controls().items():
        given = {"fleet": FLEET, "topic": "bf.control", "partition": 3}
        given["control"] = asdict(control)
        yield f"build: {name}", {"op": "control_build", **given}
        del given["control"]
        rec = control_record(name)
        rec.headers.reverse()
        rec.value = spaced(rec)
        given["record"] = w.record_to_json(rec)
        yield f"parse: {name}", {"op": "control_parse", **given}
    for name, rec in control_refusals():
        given = {"fleet": FLEET, "topic": "bf.control", "partition": 3}
        given["record"] = w.record_to_json(rec)
        yield f"refuse: {name}", {"op": "control_parse", **given}


def spaced(rec: w.Record) -> bytes:
    """Another spelling of its JSON, which a reader takes."""
    return json.dumps(json.loads(rec.value or b""), indent=1).encode()


def control_record(name: str) -> w.Record:
    return w.control_build(controls()[name], FLEET, ("bf.control", 3))


CONTROL_EDITS: dict[str, list[dict[str, Json]]] = {
    "cancel a job": [
        {"until": None},
        {"until": "2026-11-22T13:00:00Z"},
        {"until": NOW},
        {"job": ""},
        {"job": "a/b"},
        {"job": None},
        {"batch": "clip"},
        {"v": 2},
        {"v": "1"},
        {"v": True},
        {"x": 1},
    ],
    "open a batch that may fail": [
        {"max_failure_ppm": -1},
        {"max_failure_ppm": 10**6 + 1},
        {"max_failure_ppm": "0"},
        {"max_failure_ppm": 0.5},
        {"max_failure_ppm": None},
    ],
    "cancel a generation": [{"generation": -1}, {"generation": 2**32}]
    + [{"generation": "0"}, {"generation": 0.5}, {"generation": None}],
    "cancel a batch": [
        {"ends": []},
        {"ends": None},
        {"ends": {"lane": [[0, 1]]}},
        {"ends": {"jobs": [[0]]}},
        {"ends": {"jobs": [[0, 1, 2]]}},
        {"ends": {"jobs": [0, 1]}},
        {"ends": {"jobs": [[0, -1]]}},
        {"ends": {"jobs": [[-1, 0]]}},
        {"ends": {"jobs": [["0", 1]]}},
        {"ends": {"jobs": 1}},
        {"batch": "b" * 65},
    ],
    "replay": [{"dead_letter": "0F" * 16}, {"dead_letter": ""}, {"until": "x"}],
    "seal a batch": [{"count": -1}, {"count": "300"}, {"count": 2**63}],
    "pause": [{"job": "job-1"}, {"count": 1}],
    "resume": [{"until": "2026-11-22T13:00:00.000Z"}],
}
CONTROL_HEADERS = (*REQUIRED[:7], "bf_workspace", "bf_control", "bf_control_id")


def control_refusals() -> Iterable[tuple[str, w.Record]]:
    for name, edits in CONTROL_EDITS.items():
        for n, changes in enumerate(edits):
            rec = control_record(name)
            value = json.loads(rec.value or b"") | changes
            rec.value = json.dumps(value).encode()
            yield f"{name}, {next(iter(changes))} {n}", rec
    for name in controls():
        value = json.loads(control_record(name).value or b"")
        for member in value:
            rec = control_record(name)
            lacks = {n: v for n, v in value.items() if n != member}
            if set(lacks) - {"v"} in w.CONTROLS[controls()[name].control]:
                if "v" in lacks:
                    continue  # another good one
            rec.value = json.dumps(lacks).encode()
            yield f"{name} without {member}", rec
    for header in CONTROL_HEADERS:
        yield f"no {header}", without(control_record("pause"), header)
        twice = control_record("pause")
        twice.headers.append((header, twice.get(header)))
        yield f"{header} twice", twice
    for header, text in (
        ("bf_control", "halt"),
        ("bf_control", ""),
        ("bf_control_id", "a/b"),
        ("bf_workspace", "other"),
        ("ce_id", "0f" * 16),
        ("ce_type", "dev.blockfleet.control.v2"),
        ("content-type", "text/plain"),
    ):
        rec = with_header(control_record("pause"), header, text.encode())
        yield f"{header} {text!r}", rec
    for n, data in enumerate((b"", b"[]", b"null", b'{"v":1,"v":1}', b"{", b"\xff")):
        rec = control_record("pause")
        rec.value = data
        yield f"value {n}", rec if data else without(rec, "content-type")
    rec = control_record("pause")
    rec.value = None
    yield "null value", without(rec, "content-type")


def events() -> dict[str, w.Event]:
    subject = w.Subject("acme", "job-1", 0, 1)
    return {
        "started": w.Event(subject, "started", 0, NOW, {"run_id": "0f" * 16}),
        "progress": w.Event(subject, "progress", 12, NOW, {"done": 3, "of": 7}),
        "output": w.Event(
            subject, "output", 1, NOW, {"stream": "stdout", "text": "é\n\x1f\0"}
        ),
        "duplicate": w.Event(subject, "duplicate", 0, NOW, {"first": "0f" * 16}),
        "conflict": w.Event(subject, "conflict", 0, NOW, {}),
        "parked": w.Event(
            w.Subject(LONGEST, LONGEST, w.U32, w.U32), "parked", w.U63, NOW
        ),
    }


def event_cases() -> Iterable[Case]:
    for name, event in events().items():
        given = {"fleet": FLEET, "topic": "bf.events", "partition": 3}
        given["event"] = asdict(event)
        yield f"build: {name}", {"op": "event_build", **given}
        del given["event"]
        rec = event_record(name)
        rec.headers.reverse()
        rec.value = spaced(rec)
        given["record"] = w.record_to_json(rec)
        yield f"parse: {name}", {"op": "event_parse", **given}
    for name, rec in event_refusals():
        given = {"fleet": FLEET, "topic": "bf.events", "partition": 3}
        given["record"] = w.record_to_json(rec)
        yield f"refuse: {name}", {"op": "event_parse", **given}


def event_record(name: str) -> w.Record:
    return w.event_build(events()[name], FLEET, ("bf.events", 3))


def event_refusals() -> Iterable[tuple[str, w.Record]]:
    for n, changes in enumerate(
        (
            {"v": 2},
            {"workspace": "a.b"},
            {"workspace": "other"},
            {"job": ""},
            {"generation": "0"},
            {"generation": 2**32},
            {"attempt": 0},
            {"event": "ended"},
            {"event": "progress"},
            {"seq": -1},
            {"seq": 1},
            {"seq": 0.0},
            {"at": NOW},
            {"data": []},
            {"data": None},
            {"x": 1},
        )
    ):
        rec = event_record("started")
        value = json.loads(rec.value or b"") | changes
        rec.value = json.dumps(value).encode()
        yield f"{next(iter(changes))} {n}", rec
    value = json.loads(event_record("started").value or b"")
    for member in value:
        rec = event_record("started")
        lacks = {n: v for n, v in value.items() if n != member}
        rec.value = json.dumps(lacks).encode()
        yield f"no {member}", rec
    for header in REQUIRED[:7]:
        yield f"no {header}", without(event_record("started"), header)
    rec = with_header(event_record("started"), "ce_id", b"0f" * 16)
    yield "ce_id is not derived", rec


# ---- state.json -------------------------------------------------------------

ENTRIES = {
    "base": w.BaseEntry,
    "run": w.RunEntry,
    "range": w.RangeEntry,
    "finished": w.FinishedEntry,
    "cancel": w.CancelEntry,
    "tombstone": w.Tombstone,
}


def entry_to_json(entry: w.Entry, seq: int) -> Json:
    kind = next(name for name, cls in ENTRIES.items() if type(entry) is cls)
    doc = to_json(entry, ("map",))
    if isinstance(entry, w.FinishedEntry):
        doc.pop("ids")
        doc["ids_hex"] = b"".join(entry.ids).hex()
    return {"kind": kind, "seq": seq} | doc


def entry_from_json(doc: Json) -> w.Entry:
    kind = ENTRIES[doc["kind"]]
    if kind is not w.FinishedEntry:
        return from_json(kind, doc)
    ids = bytes.fromhex(doc["ids_hex"])
    parts = tuple(ids[n : n + 16] for n in range(0, len(ids), 16))
    return w.FinishedEntry(doc["segment"], parts, doc["from_ms"], doc["to_ms"])


@op("entry_build")
def _(i):
    entry = entry_from_json(i["entry"])
    seq = i["entry"]["seq"]
    rec = w.entry_build(entry, seq, i["fleet"], place(i), i["now_ms"])
    return {"record": w.record_to_json(rec)}


@op("entry_parse")
def _(i):
    return {"entry": entry_to_json(*w.entry_parse(w.record_from_json(i["record"])))}


@op("fleet_build")
def _(i):
    fleet = w.FleetEntry(**i["entry"])
    where = i["topic"], 0
    rec = w.entry_build(fleet, 0, fleet.fleet, where, fleet.created_ms)
    return {"record": w.record_to_json(rec)}


@op("fleet_parse")
def _(i):
    fleet, _ = w.fleet_parse(w.record_from_json(i["record"]))
    return {"entry": asdict(fleet)}


def fleet_cases() -> Iterable[Case]:
    fleets = {
        "fleet": w.FleetEntry("main", 12, 4, NOW),
        "fleet, maximal": w.FleetEntry("f" * 32, 4_096, 4_096, NOW),
        "fleet, least": w.FleetEntry("a", 1, 1, 0),
    }
    for name, fleet in fleets.items():
        given = {"op": "fleet_build", "topic": "bf.state", "entry": asdict(fleet)}
        yield f"build: {name}", given
        rec = fleet_record(fleet)
        given = {"op": "fleet_parse", "record": w.record_to_json(rec)}
        yield f"parse: {name}", given
    plain = fleets["fleet"]
    for n, changes in enumerate(
        (
            {"v": 2},
            {"seq": 1},
            {"shards": 0},
            {"shards": 4_097},
            {"shards": "12"},
            {"spread": 0},
            {"created": NOW},
            {"fleet": None},
            {"fleet": ""},
            {"fleet": "f" * 33},
            {"fleet": "Main"},
            {"x": 1},
        )
    ):
        rec = fleet_record(plain)
        rec.value = json.dumps(json.loads(rec.value or b"") | changes).encode()
        given = {"op": "fleet_parse", "record": w.record_to_json(rec)}
        yield f"refuse: fleet, {next(iter(changes))} {n}", given
    for text in ("1", ""):
        rec = with_header(fleet_record(plain), "bf_seq", text.encode())
        given = {"op": "fleet_parse", "record": w.record_to_json(rec)}
        yield f"refuse: fleet, bf_seq {text!r}", given
    moved = fleet_record(plain)
    moved.partition = 1
    given = {"op": "fleet_parse", "record": w.record_to_json(moved)}
    yield "refuse: fleet in another partition", given


def fleet_record(fleet: w.FleetEntry) -> w.Record:
    return w.entry_build(fleet, 0, fleet.fleet, ("bf.state", 0), fleet.created_ms)


def entries() -> dict[str, tuple[w.Entry, int]]:
    def run(**changes: Any) -> w.RunEntry:
        given = {
            "lane": "jobs",
            "offset": 41,
            "state": "parked",
            "workspace": "acme",
            "job": "job-1",
            "generation": 0,
            "attempt": 1,
            "due_ms": 0,
            "expires_ms": NOW + DAY,
            "id_origin": "client",
        }
        return w.RunEntry(**given | changes)

    owner = ("host.example", 4711, "bf-host.example-0", NOW)
    some = w.map_of([1, 9, 16_383])
    ids = tuple(w.finished_id("acme", f"job-{n}", 0) for n in range(3))
    until = NOW + DAY
    return {
        "base of topics init": (w.BaseEntry("jobs", 0, b"", "h", 1, "init", NOW), 0),
        "base": (w.BaseEntry("control", 41, some, *owner), 17),
        "base, maximal": (
            w.BaseEntry("batch", w.U63, w.map_of([1]), "höst\n", w.U32, "!" * 200, NOW),
            w.U63,
        ),
        "base, confirmed": (
            w.BaseEntry("jobs", 41, some, *owner, w.commit_id((41, b"garbage"))),
            18,
        ),
        "parked": (run(), 5),
        "started": (
            run(
                state="started",
                run_id="0f" * 16,
                order_key='caméra"/🎥',
                digest="a0" * 16,
                id_origin="key",
            ),
            6,
        ),
        "running": (
            run(
                lane="batch",
                offset=w.U63,
                state="running",
                workspace=LONGEST,
                job=LONGEST,
                generation=w.U32,
                attempt=w.U32,
                due_ms=w.TIME_MAX_MS,
                expires_ms=w.TIME_MAX_MS,
                run_id="0f" * 16,
                handle={"z": "call-1", "a": "é\n", "": ""},
                id_origin="server",
            ),
            7,
        ),
        "running, empty handle": (run(state="running", handle={}), 8),
        "range": (w.RangeEntry("jobs", "acme", 0, 1, w.map_of([0]), until), 9),
        "range, maximal": (
            w.RangeEntry(
                "batch", LONGEST, w.U63, w.WINDOW, w.map_of([0, 7, 16_383]), until
            ),
            9,
        ),
        "range, nothing waits": (w.RangeEntry("jobs", "a-b_", 7, 9, b"", until), 9),
        "finished": (w.FinishedEntry(0, ids, NOW, until), 10),
        "finished, none": (w.FinishedEntry(12, (), 0, 0), 10),
        "cancel of a job": (w.CancelEntry("acme", until, {}, "c-1", job="job-1"), 11),
        "cancel of a batch": (
            w.CancelEntry("acme", until, {"jobs": 3, "batch": 0}, "c-2", batch="all"),
            12,
        ),
        "cancel of all": (
            w.CancelEntry("job", until, {"jobs": w.U63, "control": 9}, "c-3"),
            13,
        ),
        "end of a run": (w.Tombstone("r/jobs/41"), 14),
        "end of a range": (w.Tombstone("f/batch/acme/0"), 15),
        "end of a cancel": (w.Tombstone(f"c/{LONGEST}/job/{LONGEST}"), 16),
    }


def state_record(name: str) -> w.Record:
    entry, seq = entries()[name]
    return w.entry_build(entry, seq, FLEET, ("bf.state", 3), NOW)


def state_edits() -> Iterable[tuple[str, str, dict[str, Json]]]:
    """Of which entry, what is wrong, the members that are changed."""
    yield "base", "v 2", {"v": 2}
    yield "base", "v is a string", {"v": "1"}
    yield "base", "v is true", {"v": True}
    yield "base", "seq is not bf_seq", {"seq": 18}
    yield "base", "another name", {"x": 1}
    yield "base", "a float", {"base": 41.0}
    yield "base", "a negative base", {"base": -1}
    yield "base", "base 2^63", {"base": 2**63}
    yield "base", "base is true", {"base": True}
    yield "base", "bit 0", {"map": "Aw=="}
    yield "base", "a trailing zero byte", {"map": "AgA="}
    yield "base", "no padding", {"map": "Ag"}
    yield "base", "map too long", {"map": w.b64(b"\x02" * 2_049)}
    yield "base", "at without milliseconds", {"at": "2026-11-21T13:00:00Z"}
    yield "base", "owner lacks pid", {"owner": {"host": "h", "txn_id": "t"}}
    yield "base", "owner is null", {"owner": None}
    yield "base", "confirmed is null", {"confirmed": None}
    yield "base", "confirmed is a number", {"confirmed": 1}
    yield "base", "confirmed is short", {"confirmed": "0f" * 15}
    yield "base", "confirmed in upper case", {"confirmed": "0F" * 16}
    yield "started", "a state that is none", {"state": "done"}
    yield "started", "attempt 0", {"attempt": 0}
    yield "started", "generation 2^32", {"generation": 2**32}
    yield "started", "workspace", {"workspace": "a.b"}
    yield "started", "job", {"job": ""}
    yield "started", "run id", {"run_id": "0F" * 16}
    yield "started", "run id is empty", {"run_id": ""}
    yield "started", "digest", {"digest": "0"}
    yield "started", "order key", {"order_key": "a\nb"}
    yield "started", "id origin", {"id_origin": ""}
    yield "started", "due 2^53", {"due_ms": 2**53}
    yield "started", "handle of a number", {"handle": {"a": 1}}
    yield "started", "handle is an array", {"handle": []}
    yield "range", "width 0", {"width": 0}
    yield "range", "width 16385", {"width": 16_385}
    yield "range", "a bit at width", {"map": "Ag=="}
    yield "finished", "15 bytes", {"ids": w.b64(b"x" * 15)}
    yield "finished", "ids is null", {"ids": None}
    yield "cancel of all", "another lane", {"ends": {"lane": 1}}
    yield "cancel of all", "negative end", {"ends": {"jobs": -1}}
    yield "cancel of all", "end is a string", {"ends": {"jobs": "1"}}
    yield "cancel of all", "control id", {"control_id": "a/b"}


def state_refusals() -> Iterable[tuple[str, w.Record]]:
    for name, what, changes in state_edits():
        rec = state_record(name)
        value = json.loads(rec.value or b"") | changes
        rec.value = json.dumps(value).encode()
        yield f"{name}: {what}", rec
    rec = state_record("range")
    for member in ("v", "seq", "width", "map"):
        value = json.loads(rec.value or b"")
        del value[member]
        lacks = state_record("range")
        lacks.value = json.dumps(value).encode()
        yield f"range: no {member}", lacks
    keys = ("", "b/", "b/other", "b/jobs/", "r/jobs/", "r/jobs/01", "r/jobs/-1")
    keys += ("r/jobs/9223372036854775808", "x/1", "f/jobs/a.b/1", "c/acme/job/")
    keys += ("c/acme/alle", "c//all", "d/", "r/control/1 ", "b/jobs\n")
    for key in keys:
        bad = state_record("end of a run")
        bad.key = key.encode()
        yield f"key {key!r}", bad
    for name, value in {
        "array": b"[]",
        "twice": b'{"v":1,"v":1}',
        "empty value": b"",
        "not JSON": b"{",
    }.items():
        bad = state_record("base")
        bad.value = value
        if not value:
            without(bad, "content-type")
        yield name, bad
    yield "no bf_seq", without(state_record("base"), "bf_seq")
    yield (
        "bf_seq of a tombstone",
        with_header(state_record("end of a run"), "bf_seq", b"-1"),
    )
    bad = state_record("base")
    yield "ce_type", with_header(bad, "ce_type", b"dev.blockfleet.state.v2")
    bad = state_record("base")
    bad.key = None
    yield "null key", bad


def state_cases() -> Iterable[Case]:
    for name, (entry, seq) in entries().items():
        given = {"fleet": FLEET, "topic": "bf.state", "partition": 3, "now_ms": NOW}
        given["entry"] = entry_to_json(entry, seq)
        yield f"build: {name}", {"op": "entry_build", **given}
        rec = w.record_to_json(state_record(name))
        yield f"parse: {name}", {"op": "entry_parse", "record": rec}
    yield from fleet_cases()
    rec = state_record("started")
    rec.value = spaced(rec)
    given = {"op": "entry_parse", "record": w.record_to_json(rec)}
    yield "parse: white space and escapes", given
    for name, bad in state_refusals():
        given = {"op": "entry_parse", "record": w.record_to_json(bad)}
        yield f"refuse: {name}", given


# ---- httpsig.json -----------------------------------------------------------


@op("content_digest")
def _(i):
    return {"content_digest": w.content_digest(must(i, "body"))}


@op("http_sign")
def _(i):
    message = from_json(w.HttpMessage, i["message"])
    signature_input, signature = w.http_sign(message, w.private_key(must(i, "seed")))
    base = message.base()
    return {"base": base, "signature_input": signature_input, "signature": signature}


def httpsig_cases() -> Iterable[Case]:
    for name, body in {
        "of RFC 9530": b'{"hello": "world"}',
        "empty": b"",
        "bytes": bytes(range(256)),
    }.items():
        given = {"op": "content_digest", "body_hex": body.hex()}
        yield f"digest: {name}", given
    plain = w.HttpMessage(
        method="POST",
        target_uri="https://acme--webexec.modal.run/?workspace_id=acme",
        content_type="application/json",
        content_digest=w.content_digest(b"{}"),
        run_id="0f" * 16,
        created_s=NOW // 1000,
        expires_s=NOW // 1000 + 50,
        nonce="00112233445566778899aabbccddeeff",
        key_id=w.key_id(w.public_bytes(w.private_key(SEED))),
    )
    messages = {
        "plain": plain,
        "local": replace(plain, target_uri="http://127.0.0.1:8080/run"),
        "a day": replace(plain, expires_s=NOW // 1000 + 86_430),
        "other type": replace(plain, content_type="application/json; charset=utf-8"),
    }
    for name, message in messages.items():
        given = {"seed_hex": SEED.hex(), "message": asdict(message)}
        yield f"sign: {name}", {"op": "http_sign", **given}


# ---- the files --------------------------------------------------------------

FILES: dict[str, tuple[str, Callable[[], Iterable[Case]]]] = {
    "ids": ("PROTOCOL.md §1, §2: hashes, identities, event ids", ids_cases),
    "partition": ("PROTOCOL.md §2: partition of a record", partition_cases),
    "meta": ("PROTOCOL.md §7: metadata of a committed offset", meta_cases),
    "sign": ("PROTOCOL.md §6: leaves, trees, signatures", sign_cases),
    "block": ("PROTOCOL.md §5.2: the block, code hash, fingerprint", block_cases),
    "job": ("PROTOCOL.md §5.1: job records", job_cases),
    "result": ("PROTOCOL.md §5.3: results", result_cases),
    "usage": ("PROTOCOL.md §5.4: metering", usage_cases),
    "dead": ("PROTOCOL.md §5.5: dead letters", dead_cases),
    "callback": ("PROTOCOL.md §5.6: callbacks", callback_cases),
    "control": ("PROTOCOL.md §5.7: control", control_cases),
    "event": ("PROTOCOL.md §5.8: hints", event_cases),
    "state": ("PROTOCOL.md §8: state entries", state_cases),
    "httpsig": ("PROTOCOL.md §9: signatures of forwarded runs", httpsig_cases),
}


def document(name: str) -> str:
    what, cases = FILES[name]
    made, seen = [], set()
    for case, given in cases():
        assert case not in seen, f"{name}: {case} twice"
        seen.add(case)
        made.append({"name": case, "in": given, "out": run(given)})
    lines = ",\n".join(json.dumps(case) for case in made)
    return f'{{"what": {json.dumps(what)}, "cases": [\n{lines}\n]}}\n'


def main(argv: list[str]) -> int:
    GOLDEN.mkdir(exist_ok=True)
    differ = 0
    for name in FILES:
        path, text = GOLDEN / f"{name}.json", document(name)
        if "--check" not in argv:
            path.write_text(text)
        elif not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(ROOT)} differs")
            differ = 1
    return differ


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
