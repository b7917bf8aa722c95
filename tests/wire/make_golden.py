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
from dataclasses import asdict, fields
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
    return {"id_hex": w.finished_id(i["workspace"], i["job"]).hex()}


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
        yield f"finished id: {workspace[:8]}", given
    for entry, seq in (("b/jobs", 0), ("r/jobs/17", 1), ("c/acme/all", w.U63)):
        about = {"fleet": FLEET, "shard": 3, "entry": entry, "seq": seq}
        yield f"state id: {entry} {seq}", {"op": "state_id", **about}


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


# ---- the files --------------------------------------------------------------

FILES: dict[str, tuple[str, Callable[[], Iterable[Case]]]] = {
    "ids": ("PROTOCOL.md §1, §2: hashes, identities, event ids", ids_cases),
    "partition": ("PROTOCOL.md §2: partition of a record", partition_cases),
    "meta": ("PROTOCOL.md §7: metadata of a committed offset", meta_cases),
    "sign": ("PROTOCOL.md §6: leaves, trees, signatures", sign_cases),
    "block": ("PROTOCOL.md §5.2: the block, code hash, fingerprint", block_cases),
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
