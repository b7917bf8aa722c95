"""The wire of schemas/PROTOCOL.md in Python: the second of two implementations.

Written from the page alone, never from the C: where the two disagree, one of
them or the page is wrong. Standard library, and `cryptography` for Ed25519.
Section numbers in comments are those of PROTOCOL.md.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NoReturn

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)

Json = Any
Header = tuple[str, bytes | None]

U32 = 2**32 - 1
U63 = 2**63 - 1
TIME_MAX_MS = 2**53 - 1
MIB = 1 << 20
MAX_TREE = 64
MAX_HEADERS = 48
WINDOW = 16_384
MAX_DEPTH = 16
MAX_CONTAINERS = 65_536
MAX_COMMAS = 262_144
CLOCK_AHEAD_MS = 300_000
MAX_EXPIRY_MS = 8 * 86_400_000

# §4: ceilings of header values; every other covered header has MAX_HEADER.
MAX_HEADER = 1_024
CEILINGS = {
    "bf_block": 262_144,
    "bf_report": 131_072,
    "bf_original_headers": MIB,
    "bf_labels": 4_096,
    "bf_context": 4_096,
    "bf_order_key": 128,
    "bf_callback_url": 2_048,
    "bf_signature": MAX_HEADER,
}
MAX_RECORD = 16 * MIB
MAX_INPUTS = 15 * MIB
MAX_RESULT = 15 * MIB

TYPES = (
    "job",
    "result",
    "usage",
    "deadletter",
    "callback",
    "control",
    "event",
    "state",
)
LANES = ("jobs", "batch", "control")
EXECUTIONS = ("at_least_once", "at_most_once")
ID_ORIGINS = ("client", "key", "server")
RUN_STATES = ("parked", "started", "running")
STAGES = ("consume", "verify", "decode", "dispatch", "run", "produce")
CONTEXT_NAMES = ("step_name", "step_selector", "block_type", "workflow_execution_id")
PURPOSES = ("job", "control", "state", "result", "run")
TOPIC_PURPOSE = {
    "jobs": "job",
    "jobs.batch": "job",
    "control": "control",
    "state": "state",
    "results": "result",
    "usage": "result",
    "deadletter": "result",
    "callbacks": "result",
}


class WireError(Exception):
    """What a reader refuses; code is the word that the C uses too."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


def refuse(code: str, text: str) -> NoReturn:
    raise WireError(code, text)


# ---- §1 notation ------------------------------------------------------------


def F(*parts: bytes | str | int) -> bytes:
    """Every part behind its length."""
    out = []
    for part in parts:
        data = part if isinstance(part, bytes) else str(part).encode()
        out += (len(data).to_bytes(4, "big"), data)
    return b"".join(out)


def h128(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=16).digest()


def h256(data: bytes) -> bytes:
    return hashlib.blake2b(data, digest_size=32).digest()


def h64(data: bytes) -> int:
    return int.from_bytes(h128(data)[:8], "big")


def hash_hex(*parts: bytes | str | int) -> str:
    return h128(F(*parts)).hex()


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def b64url(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def unb64(text: str, code: str) -> bytes:
    """Only what b64() would have written."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        refuse(code, "not base64")
    return data if b64(data) == text else refuse(code, "another spelling of base64")


def unb64url(text: str, code: str) -> bytes:
    """Only what b64url() would have written."""
    if not re.fullmatch(r"[A-Za-z0-9_-]*", text) or len(text) % 4 == 1:
        refuse(code, "not base64url")
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    return data if b64url(data) == text else refuse(code, "another spelling")


def number(text: bytes | str | None, most: int, code: str, least: int = 0) -> int:
    """Decimal digits, no sign, no leading zero."""
    if isinstance(text, bytes):
        text = text.decode("latin-1")
    if text is None or not re.fullmatch(r"0|[1-9][0-9]{0,19}", text):
        refuse(code, f"not a number: {text!r:.40}")
    value = int(text)
    return value if least <= value <= most else refuse(code, f"out of range: {value}")


def rfc3339(ms: int) -> str:
    when = datetime.fromtimestamp(ms // 1000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{ms % 1000:03d}Z"


def un_rfc3339(text: str, code: str) -> int:
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text, re.ASCII):
        refuse(code, f"not a time: {text!r:.40}")
    try:
        when = datetime.fromisoformat(text[:19] + "+00:00")
    except ValueError:
        refuse(code, f"no such time: {text}")
    ms = int(when.timestamp()) * 1000 + int(text[20:23])
    return ms if rfc3339(ms) == text and ms >= 0 else refuse(code, "no such time")


def micros(us: int) -> str:
    """Seconds with six decimals; negative only in corrections."""
    sign = "-" if us < 0 else ""
    return f"{sign}{abs(us) // 1_000_000}.{abs(us) % 1_000_000:06d}"


_ESCAPES = {
    '"': '\\"',
    "\\": "\\\\",
    "\b": "\\b",
    "\f": "\\f",
    "\n": "\\n",
    "\r": "\\r",
    "\t": "\\t",
}

_ESCAPED = re.compile(r'["\\\x00-\x1f]')


def escape(char: str) -> str:
    return _ESCAPES.get(char) or (char if char >= " " else f"\\u{ord(char):04X}")


def dump(value: Json) -> str:
    """JSON in its one spelling."""
    if isinstance(value, str):
        escaped = _ESCAPED.search(value)
        return f'"{"".join(map(escape, value)) if escaped else value}"'
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, int):
        return str(value)
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{dump(k)}:{dump(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ",".join(map(dump, value)) + "]"
    raise TypeError(f"{type(value).__name__} never stands in our JSON")


def load(data: bytes, code: str, nul: bool = False) -> Json:
    """Strict JSON: what the fleet accepts; nul: U+0000 may stand in it."""

    def pairs(items: list[tuple[str, Json]]) -> dict[str, Json]:
        out = dict(items)
        return out if len(out) == len(items) else refuse(code, "a name twice")

    def constant(name: str) -> NoReturn:
        refuse(code, f"{name} is not JSON")

    def integer(text: str) -> int:
        value = int(text) if len(text) <= 20 else 2**64
        return value if -(2**63) <= value <= U63 else refuse(code, "beyond 64 bits")

    sizes: list[int] = []  # of all objects and arrays

    def check(value: Json, depth: int) -> None:
        if isinstance(value, dict | list):
            sizes.append(len(value))
        if depth > MAX_DEPTH:
            refuse(code, "nested too deeply")
        if isinstance(value, str) and re.search("[\ud800-\udfff]", value):
            refuse(code, "a lone surrogate")
        if isinstance(value, str) and "\0" in value and not nul:
            refuse(code, "U+0000")
        if isinstance(value, dict):
            for name, member in value.items():
                check(name, 0)
                check(member, depth + 1)
        elif isinstance(value, list):
            for member in value:
                check(member, depth + 1)

    try:
        text = data.decode("utf-8")
        value = json.loads(
            text, object_pairs_hook=pairs, parse_constant=constant, parse_int=integer
        )
    except (ValueError, RecursionError) as error:
        refuse(code, f"not JSON: {error}")
    check(value, 0)
    commas = sum(size - 1 for size in sizes if size)
    if len(sizes) > MAX_CONTAINERS or commas > MAX_COMMAS:
        refuse(code, "too many values")
    return value


def members(value: Json, code: str, **types: Any) -> dict[str, Json]:
    """An object of exactly these members, each an instance of its type."""
    if not isinstance(value, dict):
        refuse(code, "not an object")
    if set(value) != set(types):
        refuse(code, f"members {sorted(set(value) ^ set(types))}")
    for name, kind in types.items():
        if isinstance(value[name], bool) or not isinstance(value[name], kind):
            refuse(code, f"{name} has the wrong type")
    return value


def strings(value: Json, code: str) -> dict[str, str]:
    """An object of strings."""
    if not isinstance(value, dict):
        refuse(code, "not an object")
    if not all(isinstance(v, str) for v in value.values()):
        refuse(code, "not an object of strings")
    return value


def ranged(value: int, most: int, code: str, least: int = 0) -> int:
    return value if least <= value <= most else refuse(code, f"out of range: {value}")


# ---- §2 identity ------------------------------------------------------------


def workspace_ok(text: bytes) -> bool:
    return re.fullmatch(rb"[A-Za-z0-9_-]{1,64}", text) is not None


def job_id_ok(text: bytes) -> bool:
    return re.fullmatch(rb"[A-Za-z0-9._-]{1,64}", text) is not None


def hex_ok(text: bytes, size: int) -> bool:
    return len(text) == size and re.fullmatch(rb"[0-9a-f]*", text) is not None


def txn_id_ok(text: bytes) -> bool:
    return re.fullmatch(rb"[\x21-\x7e]{1,200}", text) is not None


def order_key_ok(text: bytes) -> bool:
    if not 1 <= len(text) <= 128 or re.search(rb"[\x00-\x1f\x7f]", text):
        return False
    return utf8_ok(text)


def utf8_ok(text: bytes) -> bool:
    try:
        text.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def type_name(kind: str) -> str:
    assert kind in TYPES
    return f"dev.blockfleet.{kind}.v1"


def job_id_derive(workspace: str, key: bytes, line: int | None = None) -> str:
    more = () if line is None else (line,)
    return hash_hex("blockfleet/v1/job-id", workspace, key, *more)


def run_id(subject: Subject, random: bytes) -> str:
    assert len(random) == 16
    return hash_hex("blockfleet/v1/run", *subject.parts(), random)


def event_id(kind: str, workspace: str, what: str, *parts: str | int) -> str:
    """what: the subject kind of §2's table."""
    return hash_hex("blockfleet/v1/event", type_name(kind), workspace, what, *parts)


def event_id_dead(workspace: str, topic: str, partition: int, offset: int) -> str:
    return event_id("deadletter", workspace, "record", topic, partition, offset)


def state_id(fleet: str, shard: int, entry_id: str, seq: int) -> str:
    return hash_hex("blockfleet/v1/state", fleet, shard, entry_id, seq)


def commit_id(committed: tuple[int, bytes] | None) -> str:
    """Names a committed offset with its metadata, or that there is none."""
    return hash_hex("blockfleet/v1/commit", *(committed or ()))


def job_digest(block: bytes, inputs: bytes) -> str:
    return hash_hex("blockfleet/v1/digest", block, inputs)


def finished_id(workspace: str, job: str, generation: int) -> bytes:
    return h128(F("blockfleet/v1/finished", workspace, job, generation))


def partition_of(
    workspace: str, order_key: bytes | None, job: str, spread: int, shards: int
) -> int:
    inside = h64(job.encode() if order_key is None else order_key) % spread
    return (h64(workspace.encode()) + inside) % 2**64 % shards


def code_hash(code: str, imports: Sequence[str]) -> str:
    return hashlib.md5((code + "\n" + "\n".join(imports)).encode()).hexdigest()


def fingerprint(code: str, init: str | None, imports: Sequence[str]) -> str:
    text = json.dumps([code, init or "", list(imports)])
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


@dataclass(frozen=True)
class Subject:
    """What a result is about."""

    workspace: str
    job: str
    generation: int = 0
    attempt: int = 1

    def parts(self) -> tuple[str | int, ...]:
        return (self.workspace, self.job, self.generation, self.attempt)

    def event_id(self, kind: str) -> str:
        """Of a job, result, run usage or callback record."""
        parts: tuple[str | int, ...] = (self.job, self.generation)
        if kind in ("result", "usage"):
            parts += (self.attempt,)
        return event_id(kind, self.workspace, "job", *parts)


# ---- §5 records -------------------------------------------------------------


@dataclass
class Record:
    """A Kafka record without Kafka."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: list[Header] = field(default_factory=list)
    offset: int = -1

    def get(self, name: str) -> bytes | None:
        for found, value in self.headers:
            if found == name:
                return value
        return None

    def has(self, name: str) -> bool:
        return name in [found for found, _ in self.headers]

    def put(self, name: str, value: bytes | str | int | None) -> None:
        """Append a header, unless the value is None: absent."""
        if value is None:
            return
        if not isinstance(value, bytes):
            value = str(value).encode()
        self.headers.append((name, value))

    def text(self, name: str, code: str = "bad_record") -> str:
        value = self.get(name)
        if value is None or not utf8_ok(value):
            refuse(code, f"{name} is missing or not text")
        return value.decode()

    def text_or_none(self, name: str, code: str = "bad_record") -> str | None:
        return self.text(name, code) if self.has(name) else None


def record_to_json(rec: Record) -> Json:
    return {
        "topic": rec.topic,
        "partition": rec.partition,
        "key_hex": None if rec.key is None else rec.key.hex(),
        "value_hex": None if rec.value is None else rec.value.hex(),
        "headers": [[n, None if v is None else v.hex()] for n, v in rec.headers],
    } | ({} if rec.offset < 0 else {"offset": rec.offset})


def record_from_json(doc: Json) -> Record:
    def raw(text: str | None) -> bytes | None:
        return None if text is None else bytes.fromhex(text)

    return Record(
        doc["topic"],
        doc["partition"],
        raw(doc["key_hex"]),
        raw(doc["value_hex"]),
        [(n, raw(v)) for n, v in doc["headers"]],
        doc.get("offset", -1),
    )


@lru_cache(1024)
def covered(name: str) -> bool:
    """Does a signature cover this header?"""
    if name == "bf_signature":
        return False
    prefixes = ("ce_", "bf_", "kafka_", "__connect.errors.")
    return name == "content-type" or name.startswith(prefixes)


def record_check(rec: Record) -> None:
    if len(rec.headers) > MAX_HEADERS:
        refuse("too_many_headers", str(len(rec.headers)))
    if len(rec.value or b"") > MAX_RECORD:
        refuse("too_large", "larger than any record")
    seen: set[str] = set()
    for name, _ in rec.headers:
        if name in seen and (covered(name) or name == "bf_signature"):
            refuse("duplicate_header", name)
        seen.add(name)


def record_new(
    kind: str,
    fleet: str,
    place: tuple[str, int],
    key: bytes | None,
    value: bytes | None,
    attributes: tuple[str, int, str],
) -> Record:
    """A record with its common headers; attributes: id, time (ms), subject."""
    rec = Record(place[0], place[1], key, value)
    event, at_ms, subject = attributes
    rec.put("ce_specversion", "1.0")
    rec.put("ce_id", event)
    rec.put("ce_source", f"/blockfleet/{fleet}")
    rec.put("ce_type", type_name(kind))
    rec.put("ce_time", rfc3339(at_ms))
    rec.put("ce_subject", subject)
    if value:
        dead = kind == "deadletter"
        rec.put("content-type", "application/octet-stream" if dead else JSON_TYPE)
    return rec


JSON_TYPE = "application/json"


def check_common(rec: Record, kind: str, code: str) -> int:
    """§5's common headers; returns ce_time in ms."""
    try:
        record_check(rec)
    except WireError as error:
        refuse(code, str(error))
    if rec.get("ce_specversion") != b"1.0":
        refuse(code, "ce_specversion")
    if rec.get("ce_type") != type_name(kind).encode():
        refuse(code, "ce_type")
    for name in ("ce_id", "ce_source", "ce_subject"):
        if not rec.get(name):
            refuse(code, f"{name} is missing")
    dead = kind == "deadletter"
    expected = (b"application/octet-stream" if dead else b"application/json",)
    if rec.get("content-type") != (expected[0] if rec.value else None):
        refuse(code, "content-type")
    return un_rfc3339(rec.text("ce_time", code), code)


def check_ceilings(rec: Record) -> None:
    for name, value in rec.headers:
        if covered(name) and len(value or b"") > CEILINGS.get(name, MAX_HEADER):
            refuse("too_large", name)


# ---- §5.1 jobs --------------------------------------------------------------

TRACEPARENT = rb"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}"


@dataclass
class Job:
    workspace: str
    id: str
    block: bytes
    inputs: bytes
    accepted_at_ms: int
    expires_at_ms: int
    kind: str = "block"
    generation: int = 0
    id_origin: str = "client"
    spread: int = 4
    execution: str = "at_least_once"
    not_before_ms: int = 0
    timeout_ms: int = 20_000
    max_attempts: int = 3
    order_key: bytes | None = None
    backend: str | None = None
    batch: str | None = None
    batch_index: int | None = None
    callback_url: str | None = None
    labels: bytes | None = None
    context: bytes | None = None
    dead_of: str | None = None
    correlation_id: bytes | None = None
    traceparent: str | None = None

    def subject(self, attempt: int = 1) -> Subject:
        return Subject(self.workspace, self.id, self.generation, attempt)


def job_build(job: Job, fleet: str, place: tuple[str, int]) -> Record:
    event = job.subject().event_id("job")
    subject = f"{job.workspace}/{job.id}"
    rec = record_new(
        "job",
        fleet,
        place,
        job.workspace.encode(),
        job.inputs,
        (event, job.accepted_at_ms, subject),
    )
    rec.put("bf_kind", job.kind)
    rec.put("bf_workspace", job.workspace)
    rec.put("bf_job", job.id)
    rec.put("bf_generation", job.generation)
    rec.put("bf_id_origin", job.id_origin)
    rec.put("bf_spread", job.spread)
    rec.put("bf_execution", job.execution)
    rec.put("bf_expires_at_ms", job.expires_at_ms)
    rec.put("bf_not_before_ms", job.not_before_ms or None)
    rec.put("bf_timeout_ms", job.timeout_ms)
    rec.put("bf_max_attempts", job.max_attempts)
    rec.put("bf_block", job.block)
    rec.put("bf_order_key", job.order_key)
    rec.put("bf_backend", job.backend)
    rec.put("bf_batch", job.batch)
    rec.put("bf_batch_index", job.batch_index)
    rec.put("bf_callback_url", job.callback_url)
    rec.put("bf_labels", job.labels)
    rec.put("bf_context", job.context)
    rec.put("bf_dead_of", job.dead_of)
    rec.put("kafka_correlationId", job.correlation_id)
    rec.put("traceparent", job.traceparent)
    return rec


def _matching(rec: Record, name: str, pattern: bytes) -> str:
    value = rec.get(name)
    if value is None or not re.fullmatch(pattern, value):
        refuse("bad_record", name)
    return value.decode()


def _optional(rec: Record, name: str, pattern: bytes) -> str | None:
    return _matching(rec, name, pattern) if rec.has(name) else None


def _one_of(rec: Record, name: str, words: Iterable[str], code: str) -> str:
    value = rec.get(name)
    found = next((w for w in words if value == w.encode()), None)
    return found if found is not None else refuse(code, f"{name}: {value!r:.40}")


def _labels(rec: Record) -> bytes | None:
    if not rec.has("bf_labels"):
        return None
    labels = rec.get("bf_labels") or b""
    strings(load(labels, "bad_record"), "bad_record")
    return labels


def _context(rec: Record) -> bytes | None:
    if not rec.has("bf_context"):
        return None
    context = rec.get("bf_context") or b""
    value = load(context, "bad_record")
    if not isinstance(value, dict) or set(value) - set(CONTEXT_NAMES):
        refuse("bad_record", "bf_context")
    if not all(v is None or isinstance(v, str) for v in value.values()):
        refuse("bad_record", "bf_context")
    return context


ID = rb"[A-Za-z0-9._-]{1,64}"
WORKSPACE = rb"[A-Za-z0-9_-]{1,64}"
HEX128 = rb"[0-9a-f]{32}"


def job_identity(rec: Record) -> Subject:
    workspace = _matching(rec, "bf_workspace", WORKSPACE)
    job = _matching(rec, "bf_job", ID)
    generation = number(rec.get("bf_generation"), U32, "bad_record")
    if rec.key != workspace.encode():
        refuse("bad_record", "the key is not the workspace")
    return Subject(workspace, job, generation)


def job_parse(rec: Record) -> Job:
    """WireError's code is a reason: bad_record, unknown_kind or too_large."""
    bad = "bad_record"
    subject = job_identity(rec)
    if not rec.get("bf_kind"):
        refuse(bad, "bf_kind")
    if rec.get("bf_kind") != b"block":
        refuse("unknown_kind", repr(rec.get("bf_kind"))[:60])
    check_ceilings(rec)
    if not rec.value:
        refuse(bad, "no inputs")
    if len(rec.value) > MAX_INPUTS:
        refuse("too_large", "inputs")
    accepted = check_common(rec, "job", bad)
    if rec.get("ce_id") != subject.event_id("job").encode():
        refuse(bad, "ce_id is not derived")
    block = rec.get("bf_block")
    if block is None:
        refuse(bad, "bf_block")
    order_key = rec.get("bf_order_key")
    if rec.has("bf_order_key") and not order_key_ok(order_key or b""):
        refuse(bad, "bf_order_key")
    job = Job(
        workspace=subject.workspace,
        id=subject.job,
        generation=subject.generation,
        block=block,
        inputs=rec.value,
        accepted_at_ms=accepted,
        id_origin=_one_of(rec, "bf_id_origin", ID_ORIGINS, bad),
        spread=number(rec.get("bf_spread"), 4_096, bad, 1),
        execution=_one_of(rec, "bf_execution", EXECUTIONS, bad),
        expires_at_ms=number(rec.get("bf_expires_at_ms"), TIME_MAX_MS, bad),
        not_before_ms=(
            number(rec.get("bf_not_before_ms"), TIME_MAX_MS, bad)
            if rec.has("bf_not_before_ms")
            else 0
        ),
        timeout_ms=number(rec.get("bf_timeout_ms"), 86_400_000, bad, 1),
        max_attempts=number(rec.get("bf_max_attempts"), 100, bad, 1),
        order_key=order_key,
        backend=_optional(rec, "bf_backend", rb"[a-z0-9-]{1,32}"),
        batch=_optional(rec, "bf_batch", ID),
        batch_index=(
            number(rec.get("bf_batch_index"), U32, bad)
            if rec.has("bf_batch_index")
            else None
        ),
        callback_url=_optional(
            rec, "bf_callback_url", rb"https?://[\x21-\x7e]{1,2047}"
        ),
        labels=_labels(rec),
        context=_context(rec),
        dead_of=_optional(rec, "bf_dead_of", HEX128),
        correlation_id=rec.get("kafka_correlationId"),
        traceparent=_traceparent(rec),
    )
    _job_rules(rec, job)
    return job


def _job_rules(rec: Record, job: Job) -> None:
    """Rules over more than one header."""
    if job.expires_at_ms > job.accepted_at_ms + MAX_EXPIRY_MS:
        refuse("bad_record", "bf_expires_at_ms is too far ahead")
    if job.expires_at_ms < job.not_before_ms:
        refuse("bad_record", "bf_expires_at_ms before bf_not_before_ms")
    if (job.batch is None) != (job.batch_index is None):
        refuse("bad_record", "bf_batch without bf_batch_index, or the reverse")
    if rec.has("kafka_correlationId") and job.correlation_id is None:
        refuse("bad_record", "kafka_correlationId is null")


def _traceparent(rec: Record) -> str | None:
    value = rec.get("traceparent") or b""
    return value.decode() if re.fullmatch(TRACEPARENT, value) else None


@dataclass(frozen=True)
class Block:
    """§5.2"""

    run_function_code: str
    run_function_name: str = "run"
    imports: tuple[str, ...] = ()
    init_function_code: str | None = None
    init_function_name: str = "init"
    block_type: str = ""

    def code_hash(self) -> str:
        return code_hash(self.run_function_code, self.imports)

    def fingerprint(self) -> str:
        return fingerprint(
            self.run_function_code, self.init_function_code, self.imports
        )


def block_parse(text: bytes) -> Block:
    bad = "bad_block"
    value = load(text, bad)
    if not isinstance(value, dict) or "run_function_code" not in value:
        refuse(bad, "not an object with run_function_code")
    if set(value) - set(Block.__dataclass_fields__):
        refuse(bad, "a name that is not ours")
    imports = value.get("imports", [])
    if not isinstance(imports, list):
        refuse(bad, "imports")
    named = [value.get("init_function_code") or ""]
    named += [v for n, v in value.items() if n not in ("imports", "init_function_code")]
    if not all(isinstance(v, str) for v in named + imports):
        refuse(bad, "not a string")
    if value.get("init_function_code", "") not in (None, named[0]):
        refuse(bad, "init_function_code")
    block = Block(**{**value, "imports": tuple(imports)})
    for name in (block.run_function_name, block.init_function_name):
        if not 1 <= len(name.encode()) <= 256:
            refuse(bad, "a function's name")
    if len(block.block_type.encode()) > 256:
        refuse(bad, "block_type")
    return block


# ---- §5.3-§5.6 what a worker writes about a job -----------------------------

REPORT_CEILINGS = {
    "message": 1_024,
    "error": 16_384,
    "error_type": 256,
    "function_name": 256,
    "code_hash": 256,
    "stdout": 49_152,
    "stderr": 49_152,
}


@dataclass
class Report:
    """Text is any bytes; None, and a number below 1, is unknown."""

    message: bytes | None = None
    error: bytes | None = None
    error_type: bytes | None = None
    function_name: bytes | None = None
    code_hash: bytes | None = None
    standard_output: bytes | None = None
    standard_error: bytes | None = None
    standard_output_truncated: bool = False
    standard_error_truncated: bool = False
    line_number: int = 0
    execution_us: int = 0


def _cut(text: bytes, ceiling: int) -> tuple[str, bool]:
    """The longest prefix whose escaped form fits; whether it is shorter."""
    whole = text.decode("utf-8", errors="replace")
    size = 0
    for i, char in enumerate(whole):
        size += len(escape(char).encode())
        if size > ceiling:
            return whole[:i], True
    return whole, False


def report_value(report: Report) -> dict[str, Json]:
    texts = {
        "message": report.message,
        "error": report.error,
        "error_type": report.error_type,
        "function_name": report.function_name,
        "stdout": report.standard_output,
        "stderr": report.standard_error,
        "code_hash": report.code_hash,
    }
    cut = {n: _cut(t, REPORT_CEILINGS[n]) for n, t in texts.items() if t is not None}
    flags = {
        "stdout": report.standard_output_truncated,
        "stderr": report.standard_error_truncated,
    }
    known: dict[str, Json] = {n: text for n, (text, _) in cut.items()}
    if report.line_number > 0:
        known["line_number"] = report.line_number
    if report.execution_us > 0:
        known["execution_time_seconds"] = micros(report.execution_us)
    for name, flag in flags.items():
        if flag or cut.get(name, ("", False))[1]:
            known[f"{name}_truncated"] = True
    order = (
        "message",
        "error",
        "error_type",
        "line_number",
        "function_name",
        "stdout",
        "stderr",
        "stdout_truncated",
        "stderr_truncated",
        "execution_time_seconds",
        "code_hash",
    )
    return {name: known[name] for name in order if name in known}


@dataclass
class End:
    """How one job ended; source: the job's record, with its offset."""

    job: Job
    source: Record
    outcome: str
    delivery: str
    ended_at_ms: int
    worker: str
    attempt: int = 1
    reason: str = ""
    result: bytes = b""
    report: Report = field(default_factory=Report)
    run_id: str | None = None
    backend: str | None = None
    isolation: str | None = None
    fingerprint: str | None = None
    block_type: str | None = None
    started_at_ms: int = 0
    duration_us: int = 0
    vcpu_us: int = 0
    memory_gib_us: int = 0
    billable: bool = False
    has_usage: bool = False
    has_dead_letter: bool = False
    provider: dict[str, str] | None = None

    def subject(self) -> Subject:
        return self.job.subject(self.attempt)

    def value(self) -> bytes:
        return self.result if self.outcome == "succeeded" else b""

    def dead_letter(self) -> str:
        source = self.source
        return event_id_dead(
            self.job.workspace, source.topic, source.partition, source.offset
        )


def _about(kind: str, end: End, fleet: str, place: tuple[str, int], value: bytes):
    event = end.subject().event_id(kind)
    subject = f"{end.job.workspace}/{end.job.id}"
    return record_new(
        kind,
        fleet,
        place,
        end.job.workspace.encode(),
        value,
        (event, end.ended_at_ms, subject),
    )


def result_build(end: End, fleet: str, place: tuple[str, int]) -> Record:
    job, source = end.job, end.source
    begun = end.run_id is not None
    rec = _about("result", end, fleet, place, end.value())
    rec.put("bf_workspace", job.workspace)
    rec.put("bf_job", job.id)
    rec.put("bf_generation", job.generation)
    rec.put("bf_attempt", end.attempt)
    rec.put("bf_execution", job.execution)
    rec.put("bf_outcome", end.outcome)
    rec.put("bf_delivery", end.delivery)
    rec.put("bf_reason", end.reason or None)
    rec.put("bf_run_id", end.run_id)
    rec.put("bf_usage_id", end.subject().event_id("usage") if end.has_usage else None)
    if begun:
        rec.put("bf_backend", end.backend)
        rec.put("bf_isolation", end.isolation)
        rec.put("bf_started_at_ms", end.started_at_ms or None)
        rec.put("bf_ended_at_ms", end.ended_at_ms)
    rec.put("bf_worker", end.worker)
    rec.put("bf_source_topic", source.topic)
    rec.put("bf_source_partition", source.partition)
    rec.put("bf_source_offset", source.offset)
    rec.put("bf_report", dump(report_value(end.report)))
    rec.put("bf_dead_letter", end.dead_letter() if end.has_dead_letter else None)
    rec.put("bf_batch", job.batch)
    rec.put("bf_batch_index", job.batch_index)
    rec.put("bf_labels", job.labels)
    rec.put("kafka_correlationId", job.correlation_id)
    rec.put("traceparent", job.traceparent)
    return rec


def usage_value(end: End) -> dict[str, Json]:
    """The row of a run."""
    job = end.job

    def told(us: int) -> str | None:
        return micros(us) if us > 0 else None

    return {
        "workspace": job.workspace,
        "job": job.id,
        "generation": job.generation,
        "attempt": end.attempt,
        "run_id": end.run_id,
        "kind": "run",
        "block_type": end.block_type,
        "fingerprint": end.fingerprint,
        "backend": end.backend,
        "isolation": end.isolation,
        "provider": end.provider or {},
        "execution": job.execution,
        "outcome": end.outcome,
        "reason": end.reason or None,
        "delivery": end.delivery,
        "started_at": rfc3339(end.started_at_ms) if end.started_at_ms else None,
        "ended_at": rfc3339(end.ended_at_ms),
        "billable": end.billable,
        "runs": "0" if end.delivery == "did_not_run" else "1",
        "duration_seconds": micros(end.duration_us),
        "execution_seconds": told(end.report.execution_us),
        "input_bytes": str(len(job.inputs)),
        "output_bytes": str(len(end.value())),
        "vcpu_seconds": told(end.vcpu_us),
        "memory_gib_seconds": told(end.memory_gib_us),
    }


USAGE_MEMBERS = tuple(
    (
        "workspace job generation attempt run_id kind block_type fingerprint backend "
        "isolation provider execution outcome reason delivery started_at ended_at "
        "billable runs duration_seconds execution_seconds input_bytes output_bytes "
        "vcpu_seconds memory_gib_seconds sandbox billed_until_ms correction_of "
        "correction_number"
    ).split()
)


def _usage_headers(rec: Record, value: dict[str, Json]) -> Record:
    rec.put("bf_workspace", value["workspace"])
    rec.put("bf_job", value["job"])
    rec.put("bf_run_id", value["run_id"])
    return rec


def usage_build(end: End, fleet: str, place: tuple[str, int]) -> Record:
    value = usage_value(end)
    rec = _about("usage", end, fleet, place, dump(value).encode())
    return _usage_headers(rec, value)


@dataclass
class Idle:
    """A stretch in which a pooled sandbox cost something and ran nothing."""

    workspace: str
    sandbox: str
    backend: str
    isolation: str
    started_at_ms: int
    billed_until_ms: int
    billable: bool = True
    vcpu_us: int = 0
    memory_gib_us: int = 0
    provider: dict[str, str] | None = None


def idle_value(idle: Idle) -> dict[str, Json]:
    def told(us: int) -> str | None:
        return micros(us) if us > 0 else None

    duration = (idle.billed_until_ms - idle.started_at_ms) * 1000
    return {
        "workspace": idle.workspace,
        "job": None,
        "generation": None,
        "attempt": None,
        "run_id": None,
        "kind": "idle",
        "block_type": None,
        "fingerprint": None,
        "backend": idle.backend,
        "isolation": idle.isolation,
        "provider": idle.provider or {},
        "execution": None,
        "outcome": None,
        "reason": None,
        "delivery": None,
        "started_at": rfc3339(idle.started_at_ms),
        "ended_at": rfc3339(idle.billed_until_ms),
        "billable": idle.billable,
        "runs": "0",
        "duration_seconds": micros(duration),
        "execution_seconds": None,
        "input_bytes": "0",
        "output_bytes": "0",
        "vcpu_seconds": told(idle.vcpu_us),
        "memory_gib_seconds": told(idle.memory_gib_us),
        "sandbox": idle.sandbox,
        "billed_until_ms": idle.billed_until_ms,
    }


def idle_build(idle: Idle, fleet: str, place: tuple[str, int]) -> Record:
    value = idle_value(idle)
    until = idle.billed_until_ms
    event = event_id("usage", idle.workspace, "idle", idle.sandbox, until)
    rec = record_new(
        "usage",
        fleet,
        place,
        idle.workspace.encode(),
        dump(value).encode(),
        (event, until, f"{idle.workspace}/{idle.sandbox}"),
    )
    return _usage_headers(rec, value)


QUANTITIES = (
    "runs",
    "duration_seconds",
    "execution_seconds",
    "input_bytes",
    "output_bytes",
    "vcpu_seconds",
    "memory_gib_seconds",
)


@dataclass
class Correction:
    """Differences to a row that stands in the topic for ever."""

    corrected: dict[str, Json]
    corrected_id: str
    number: int
    at_ms: int
    differences: dict[str, str]


def correction_build(fix: Correction, fleet: str, place: tuple[str, int]) -> Record:
    workspace = fix.corrected["workspace"]
    value = {**fix.corrected, "kind": "correction"}
    for name in QUANTITIES:
        zero = "0" if name in ("runs", "input_bytes", "output_bytes") else "0.000000"
        default = None if value[name] is None else zero
        value[name] = fix.differences.get(name, default)
    value["correction_of"] = fix.corrected_id
    value["correction_number"] = fix.number
    parts = (fix.corrected_id, fix.number)
    event = event_id("usage", workspace, "correction", *parts)
    rec = record_new(
        "usage",
        fleet,
        place,
        workspace.encode(),
        dump(value).encode(),
        (event, fix.at_ms, f"{workspace}/{fix.corrected_id}"),
    )
    return _usage_headers(rec, value)


def callback_build(end: End, fleet: str, place: tuple[str, int]) -> Record:
    job = end.job
    value = {
        "type": "job.completed",
        "timestamp": rfc3339(end.ended_at_ms),
        "data": {
            "workspace": job.workspace,
            "job": job.id,
            "generation": job.generation,
            "attempt": end.attempt,
            "outcome": end.outcome,
            "reason": end.reason or None,
            "delivery": end.delivery,
            "result_id": end.subject().event_id("result"),
        },
    }
    rec = _about("callback", end, fleet, place, dump(value).encode())
    rec.put("bf_workspace", job.workspace)
    rec.put("bf_job", job.id)
    rec.put("bf_generation", job.generation)
    rec.put("bf_callback_url", job.callback_url)
    return rec


@dataclass
class Result:
    """What a reader of results gets."""

    subject: Subject
    id: str
    outcome: str
    reason: str
    delivery: str
    execution: str
    run_id: str | None
    usage_id: str | None
    backend: str | None
    isolation: str | None
    worker: str
    report: bytes
    labels: bytes | None
    batch: str | None
    batch_index: int | None
    correlation_id: bytes | None
    dead_letter: str | None
    source_topic: str
    source_partition: int
    source_offset: int
    at_ms: int
    started_at_ms: int
    ended_at_ms: int
    value: bytes


def result_parse(rec: Record, words: Words | None = None) -> Result:
    bad = "bad_record"
    check_ceilings(rec)
    at_ms = check_common(rec, "result", bad)
    found = job_identity(rec)
    subject = replace(found, attempt=number(rec.get("bf_attempt"), U32, bad, 1))
    if rec.get("ce_id") != subject.event_id("result").encode():
        refuse(bad, "ce_id is not derived")
    words = words or WORDS
    labels = rec.get("bf_labels")
    if not rec.get("bf_report"):
        refuse(bad, "bf_report")

    def when(name: str) -> int:
        return number(rec.get(name), TIME_MAX_MS, bad) if rec.has(name) else 0

    return Result(
        subject=subject,
        id=rec.text("ce_id"),
        outcome=_one_of(rec, "bf_outcome", words.outcomes, bad),
        reason=(
            _one_of(rec, "bf_reason", words.reasons, bad)
            if rec.has("bf_reason")
            else ""
        ),
        delivery=_one_of(rec, "bf_delivery", words.deliveries, bad),
        execution=_one_of(rec, "bf_execution", EXECUTIONS, bad),
        run_id=_optional(rec, "bf_run_id", HEX128),
        usage_id=_optional(rec, "bf_usage_id", HEX128),
        backend=_optional(rec, "bf_backend", rb"[a-z0-9-]{1,32}"),
        isolation=rec.text_or_none("bf_isolation"),
        worker=_matching(rec, "bf_worker", rb"[\x21-\x7e]{1,200}"),
        report=rec.get("bf_report") or b"",
        labels=labels,
        batch=_optional(rec, "bf_batch", ID),
        batch_index=(
            number(rec.get("bf_batch_index"), U32, bad)
            if rec.has("bf_batch_index")
            else None
        ),
        correlation_id=rec.get("kafka_correlationId"),
        dead_letter=_optional(rec, "bf_dead_letter", HEX128),
        source_topic=rec.text("bf_source_topic"),
        source_partition=number(rec.get("bf_source_partition"), 2**31 - 1, bad),
        source_offset=number(rec.get("bf_source_offset"), U63, bad),
        at_ms=at_ms,
        started_at_ms=when("bf_started_at_ms"),
        ended_at_ms=when("bf_ended_at_ms"),
        value=rec.value if rec.value is not None else refuse(bad, "null value"),
    )


@dataclass(frozen=True)
class Words:
    """§3, as schemas/outcome.h has it; a test compares."""

    outcomes: tuple[str, ...] = (
        "succeeded",
        "failed",
        "timed_out",
        "cancelled",
        "expired",
        "rejected",
        "unknown",
        "dead",
    )
    reasons: tuple[str, ...] = (
        "oom",
        "cpu_limit",
        "crashed",
        "output_too_large",
        "bad_output",
        "user_error",
        "init_error",
        "deadline",
        "bad_record",
        "bad_block",
        "unknown_kind",
        "too_large",
        "workspace_not_trusted",
        "no_backend",
        "worker_lost",
        "attempts_exhausted",
        "backend_refused",
        "refused_by_broker",
    )
    deliveries: tuple[str, ...] = ("did_not_run", "ran", "unknown")


WORDS = Words()


# ---- §5.5 dead letters ------------------------------------------------------


@dataclass
class Death:
    """job: None when the record is not trusted; its id "" when it has none."""

    source: Record
    job: Job | None
    stage: str
    reason: str
    message: str
    at_ms: int
    truncated: bool = False


def original_headers(headers: Sequence[Header]) -> tuple[bytes, bool]:
    """The bytes, and whether a header had to be left out."""
    out, cut = bytearray(), False
    for name, value in headers:
        raw = name.encode()
        size = 0xFFFFFFFF if value is None else len(value)
        one = len(raw).to_bytes(4, "big") + raw
        one += size.to_bytes(4, "big") + (value or b"")
        if len(out) + len(one) > CEILINGS["bf_original_headers"]:
            cut = True
        else:
            out += one
    return bytes(out), cut


def original_parse(data: bytes) -> list[Header]:
    bad, at, headers = "bad_record", 0, []

    def take(size: int) -> bytes:
        nonlocal at
        part = data[at : at + size]
        at += size
        return part if len(part) == size else refuse(bad, "bf_original_headers")

    while at < len(data):
        name = take(int.from_bytes(take(4), "big"))
        size = int.from_bytes(take(4), "big")
        value = None if size == 0xFFFFFFFF else take(size)
        headers.append((name.decode("utf-8", errors="surrogateescape"), value))
    return headers


def cut_text(text: str, most: int) -> str:
    """At a character's edge."""
    return text.encode()[:most].decode("utf-8", errors="ignore")


def dead_build(death: Death, fleet: str, place: tuple[str, int]) -> Record:
    source, job = death.source, death.job
    originals, cut = original_headers(source.headers)
    key = source.key
    if len(key or b"") > MAX_HEADER:
        key, cut = None, True
    where = (source.topic, source.partition, source.offset)
    event = event_id_dead(job.workspace if job else "", *where)
    rec = record_new(
        "deadletter",
        fleet,
        place,
        key,
        b"" if death.truncated else source.value,
        (event, death.at_ms, "/".join(map(str, where))),
    )
    rec.put("bf_original_headers", originals)
    rec.put("__connect.errors.topic", source.topic)
    rec.put("__connect.errors.partition", source.partition)
    rec.put("__connect.errors.offset", source.offset)
    rec.put("__connect.errors.stage", death.stage)
    rec.put("__connect.errors.exception.class.name", death.reason)
    message = cut_text(death.message, MAX_HEADER)
    rec.put("__connect.errors.exception.message", message)
    rec.put("bf_trust", "trusted" if job else "untrusted")
    rec.put("bf_truncated", "true" if death.truncated or cut else None)
    if job:
        rec.put("bf_workspace", job.workspace)
    if job and job.id:
        rec.put("bf_job", job.id)
        rec.put("bf_generation", job.generation)
    return rec


# ---- §5.7 control, §5.8 events ----------------------------------------------

CONTROLS = {
    "cancel": (
        {"job", "until"},
        {"job", "generation", "until"},
        {"batch", "ends", "until"},
        {"ends", "until"},
    ),
    "replay": ({"job", "generation", "dead_letter"},),
    "batch_open": ({"batch", "until"}, {"batch", "until", "max_failure_ppm"}),
    "batch_seal": ({"batch", "count"},),
    "pause": ({"until"}, set()),
    "resume": (set(),),
}


@dataclass
class Control:
    workspace: str
    control: str
    control_id: str
    at_ms: int
    job: str | None = None
    generation: int | None = None
    batch: str | None = None
    count: int | None = None
    ends: dict[str, list[list[int]]] | None = None
    until_ms: int | None = None
    dead_letter: str | None = None
    max_failure_ppm: int | None = None


def control_build(control: Control, fleet: str, place: tuple[str, int]) -> Record:
    until = control.until_ms
    every = {
        "v": 1,
        "job": control.job,
        "generation": control.generation,
        "batch": control.batch,
        "count": control.count,
        "ends": control.ends,
        "until": None if until is None else rfc3339(until),
        "dead_letter": control.dead_letter,
        "max_failure_ppm": control.max_failure_ppm,
    }
    value = {n: v for n, v in every.items() if v is not None}
    assert set(value) - {"v"} in CONTROLS[control.control]
    workspace, name = control.workspace, control.control_id
    rec = record_new(
        "control",
        fleet,
        place,
        workspace.encode(),
        dump(value).encode(),
        (
            event_id("control", workspace, "control", name),
            control.at_ms,
            f"{workspace}/{name}",
        ),
    )
    rec.put("bf_workspace", workspace)
    rec.put("bf_control", control.control)
    rec.put("bf_control_id", name)
    return rec


BAD_CONTROL = "bad_control"


def _ends_parse(value: Json) -> dict[str, list[list[int]]]:
    if not isinstance(value, dict) or set(value) - set(LANES):
        refuse(BAD_CONTROL, "ends")
    for pairs in value.values():
        if not isinstance(pairs, list):
            refuse(BAD_CONTROL, "ends")
        for pair in pairs:
            if not isinstance(pair, list) or [type(n) for n in pair] != [int, int]:
                refuse(BAD_CONTROL, "ends: not a pair")
            ranged(pair[0], 2**31 - 1, BAD_CONTROL)
            ranged(pair[1], U63, BAD_CONTROL)
    return value


def _whole(value: Json, most: int, code: str, least: int = 0) -> int:
    if type(value) is not int:
        refuse(code, "not an integer")
    return ranged(value, most, code, least)


def _word(value: Json, pattern: bytes, code: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(pattern, value.encode()):
        refuse(code, f"{value!r:.40}")
    return value


def control_parse(rec: Record) -> Control:
    bad = BAD_CONTROL
    at_ms = check_common(rec, "control", bad)
    workspace = _word(rec.text("bf_workspace", bad), WORKSPACE, bad)
    name = _word(rec.text("bf_control_id", bad), ID, bad)
    what = _one_of(rec, "bf_control", CONTROLS, bad)
    if rec.key != workspace.encode():
        refuse(bad, "the key is not the workspace")
    if rec.text("ce_id", bad) != event_id("control", workspace, "control", name):
        refuse(bad, "ce_id is not derived")
    value = load(rec.value or b"", bad)
    if not isinstance(value, dict) or type(value.get("v")) is not int:
        refuse(bad, "v")
    if value["v"] != 1 or set(value) - {"v"} not in CONTROLS[what]:
        refuse(bad, f"{what} with {sorted(value)}")
    parse: dict[str, Callable[[Json], Any]] = {
        "job": lambda v: _word(v, ID, bad),
        "generation": lambda v: _whole(v, U32, bad),
        "batch": lambda v: _word(v, ID, bad),
        "count": lambda v: _whole(v, U63, bad),
        "ends": _ends_parse,
        "until": lambda v: un_rfc3339(v if isinstance(v, str) else "", bad),
        "dead_letter": lambda v: _word(v, HEX128, bad),
        "max_failure_ppm": lambda v: _whole(v, 10**6, bad),
    }
    found = {n: parse[n](v) for n, v in value.items() if n != "v"}
    until = found.pop("until", None)
    return Control(workspace, what, name, at_ms, until_ms=until, **found)


@dataclass
class Event:
    subject: Subject
    event: str
    seq: int
    at_ms: int
    data: dict[str, Json] = field(default_factory=dict)


EVENTS = ("started", "progress", "output", "duplicate", "conflict", "parked")


def event_build(event: Event, fleet: str, place: tuple[str, int]) -> Record:
    subject = event.subject
    parts = (*subject.parts()[1:], event.event, event.seq)
    value = {
        "v": 1,
        "workspace": subject.workspace,
        "job": subject.job,
        "generation": subject.generation,
        "attempt": subject.attempt,
        "event": event.event,
        "seq": event.seq,
        "at": rfc3339(event.at_ms),
        "data": event.data,
    }
    return record_new(
        "event",
        fleet,
        place,
        subject.workspace.encode(),
        dump(value).encode(),
        (
            event_id("event", subject.workspace, "job", *parts),
            event.at_ms,
            f"{subject.workspace}/{subject.job}",
        ),
    )


def event_parse(rec: Record) -> Event:
    bad = "bad_record"
    at_ms = check_common(rec, "event", bad)
    value = load(rec.value or b"", bad, nul=True)
    names = {"workspace": str, "job": str, "generation": int, "attempt": int}
    names |= {"event": str, "seq": int, "at": str, "data": dict, "v": int}
    members(value, bad, **names)
    subject = Subject(
        _word(value["workspace"], WORKSPACE, bad),
        _word(value["job"], ID, bad),
        _whole(value["generation"], U32, bad),
        _whole(value["attempt"], U32, bad, 1),
    )
    seq = _whole(value["seq"], U63, bad)
    if value["v"] != 1 or value["event"] not in EVENTS:
        refuse(bad, "v or event")
    parts = (*subject.parts()[1:], value["event"], seq)
    if rec.text("ce_id") != event_id("event", subject.workspace, "job", *parts):
        refuse(bad, "ce_id is not derived")
    if rec.key != subject.workspace.encode():
        refuse(bad, "the key is not the workspace")
    if un_rfc3339(value["at"], bad) != at_ms:
        refuse(bad, "at is not ce_time")
    return Event(subject, value["event"], seq, at_ms, value["data"])


# ---- §6 signatures ----------------------------------------------------------


def key_id(public_key: bytes) -> str:
    return h128(public_key).hex()[:16]


def public_bytes(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()


def private_key(seed: bytes) -> Ed25519PrivateKey:
    return Ed25519PrivateKey.from_private_bytes(seed)


def topic_purpose(topic: str, prefix: str = "bf.") -> str | None:
    """Who may sign a record of this topic; None: nobody, it is unsigned."""
    return TOPIC_PURPOSE.get(topic.removeprefix(prefix))


def leaf(purpose: str, rec: Record) -> bytes:
    headers = [p for n, v in rec.headers if covered(n) for p in (n, v or b"")]
    has_value = "0" if rec.value is None else "1"
    return h256(
        F(
            "blockfleet/v1/leaf",
            purpose,
            rec.topic,
            rec.partition,
            rec.key or b"",
            has_value,
            rec.value or b"",
            *headers,
        )
    )


def node(left: bytes, right: bytes) -> bytes:
    return h256(F("blockfleet/v1/node", left, right))


def tree_levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """From the leaves to the root; the last of an odd level is promoted."""
    levels = [list(leaves)]
    while len(levels[-1]) > 1:
        level = levels[-1]
        pairs = [node(*level[i : i + 2]) for i in range(0, len(level) - 1, 2)]
        levels.append(pairs + (level[-1:] if len(level) % 2 else []))
    return levels


def tree_path(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    path = []
    for level in levels[:-1]:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        index //= 2
    return path


def tree_root(leaf_hash: bytes, count: int, index: int, path: list[bytes]) -> bytes:
    """The root that the path leads to; its length must be exact."""
    at, width, left = leaf_hash, count, list(path)
    while width > 1:
        if index ^ 1 < width:
            if not left:
                refuse("bad_signature", "the path is too short")
            sibling = left.pop(0)
            at = node(sibling, at) if index % 2 else node(at, sibling)
        index, width = index // 2, (width + 1) // 2
    return at if not left else refuse("bad_signature", "the path is too long")


def statement(purpose: str, kid: str, created: int, count: int, root: bytes) -> bytes:
    return F("blockfleet/v1/root", purpose, kid, created, count, root)


@dataclass(frozen=True)
class Signature:
    purpose: str
    key_id: str
    created_ms: int
    count: int
    index: int
    path: tuple[bytes, ...]
    bytes: bytes

    def text(self) -> str:
        path = b64url(b"".join(self.path))
        return (
            f"v1.{self.purpose}.{self.key_id}.{self.created_ms}.{self.count}"
            f".{self.index}.{path}.{b64url(self.bytes)}"
        )


def sign_tree(
    purpose: str, key: Ed25519PrivateKey, created_ms: int, records: Sequence[Record]
) -> None:
    """Put bf_signature into 1 to 64 records."""
    assert 1 <= len(records) <= MAX_TREE
    levels = tree_levels([leaf(purpose, rec) for rec in records])
    kid, count = key_id(public_bytes(key)), len(records)
    signed = key.sign(statement(purpose, kid, created_ms, count, levels[-1][0]))
    for index, rec in enumerate(records):
        path = tuple(tree_path(levels, index))
        made = Signature(purpose, kid, created_ms, count, index, path, signed)
        rec.put("bf_signature", made.text())


def signature_parse(text: str) -> Signature:
    bad = "bad_signature"
    parts = text.split(".")
    if len(parts) != 8 or parts[0] != "v1":
        refuse(bad, "not a v1 signature")
    _, purpose, kid, created, count, index, path, signed = parts
    if purpose not in PURPOSES or not hex_ok(kid.encode(), 16):
        refuse(bad, "purpose or key id")
    created_ms = number(created, TIME_MAX_MS, bad)
    leaves = number(count, MAX_TREE, bad, 1)
    raw, signature = unb64url(path, bad), unb64url(signed, bad)
    if len(raw) % 32 or len(signature) != 64:
        refuse(bad, "lengths")
    hashes = tuple(raw[i : i + 32] for i in range(0, len(raw), 32))
    at = number(index, leaves - 1, bad)
    tree_root(b"\0" * 32, leaves, at, list(hashes))
    return Signature(purpose, kid, created_ms, leaves, at, hashes, signature)


@dataclass(frozen=True)
class TrustedKey:
    """workspaces: None for all; a direct producer's key is bound to some."""

    public_key: bytes
    purpose: str
    workspaces: frozenset[str] | None = None


class Trust:
    """The keys that a reader believes."""

    def __init__(self, keys: Iterable[TrustedKey], prefix: str = "bf.") -> None:
        self.prefix = prefix
        self._keys = {key_id(key.public_key): key for key in keys}
        self._verified: dict[bytes, bytes] = {}

    def verify(self, rec: Record, workspace: str, now_ms: int) -> Signature:
        """WireError: unsigned, bad_signature, wrong_purpose, unknown_key, ..."""
        text = rec.get("bf_signature")
        if text is None:
            refuse("unsigned", rec.topic)
        signature = signature_parse(text.decode("utf-8", errors="replace"))
        purpose = topic_purpose(rec.topic, self.prefix)
        if signature.purpose != purpose:
            refuse("wrong_purpose", f"{signature.purpose} on {rec.topic}")
        key = self._keys.get(signature.key_id)
        if key is None or key.purpose != purpose:
            refuse("unknown_key", signature.key_id)
        if key.workspaces is not None and workspace not in key.workspaces:
            refuse("unknown_key", f"{signature.key_id} may not sign for {workspace}")
        if signature.created_ms > now_ms + CLOCK_AHEAD_MS:
            refuse("created_ahead", str(signature.created_ms))
        self._check(signature, key, leaf(purpose, rec))
        return signature

    def _check(self, made: Signature, key: TrustedKey, leaf_hash: bytes) -> None:
        root = tree_root(leaf_hash, made.count, made.index, list(made.path))
        said = statement(made.purpose, made.key_id, made.created_ms, made.count, root)
        if self._verified.get(said) == made.bytes:
            return
        try:
            Ed25519PublicKey.from_public_bytes(key.public_key).verify(made.bytes, said)
        except InvalidSignature:
            refuse("bad_signature", "the statement is not signed by this key")
        self._verified[said] = made.bytes


# ---- §7 offsets' metadata ---------------------------------------------------


@dataclass(frozen=True)
class Meta:
    """map: bit i, least significant first, says that base + i is complete."""

    base: int
    txn_seq: int
    writer: str
    map: bytes = b""


def map_of(bits: Iterable[int], most: int = WINDOW) -> bytes:
    out = bytearray(most // 8)
    for bit in bits:
        out[bit // 8] |= 1 << bit % 8
    return bytes(out).rstrip(b"\0")


def bits_of(bitmap: bytes) -> list[int]:
    return [8 * i + j for i, b in enumerate(bitmap) for j in range(8) if b >> j & 1]


def meta_encode(meta: Meta) -> str:
    writer, bitmap = meta.writer.encode(), meta.map.rstrip(b"\0")
    assert txn_id_ok(writer) and len(bitmap) <= WINDOW // 8
    assert not bitmap or not bitmap[0] & 1
    out = b"\x01" + meta.base.to_bytes(8, "big") + meta.txn_seq.to_bytes(8, "big")
    out += bytes([len(writer)]) + writer + len(bitmap).to_bytes(2, "big") + bitmap
    return b64(out + h128(out)[:4])


def meta_decode(text: str) -> Meta:
    bad = "bad_metadata"
    if len(text) > 4_096:
        refuse(bad, "too long")
    data = unb64(text, bad)
    if len(data) < 24 or data[0] != 1:
        refuse(bad, "version or length")
    body, check = data[:-4], data[-4:]
    if h128(body)[:4] != check:
        refuse(bad, "checksum")
    base, seq = (int.from_bytes(body[i : i + 8], "big") for i in (1, 9))
    end = 18 + body[17]
    writer, size = body[18:end], int.from_bytes(body[end : end + 2], "big")
    bitmap = body[end + 2 :]
    if len(body) < end + 2 or len(bitmap) != size or size > WINDOW // 8:
        refuse(bad, "length")
    if not txn_id_ok(writer) or base > U63 or seq > U63:
        refuse(bad, "writer, base or txn_seq")
    if bitmap and (bitmap[0] & 1 or not bitmap[-1]):
        refuse(bad, "bit 0, or a trailing zero byte")
    return Meta(base, seq, writer.decode(), bitmap)


# ---- §8 state ---------------------------------------------------------------


@dataclass(frozen=True)
class BaseEntry:
    lane: str
    base: int
    map: bytes
    host: str
    pid: int
    txn_id: str
    at_ms: int
    confirmed: str | None = None

    def id(self) -> str:
        return f"b/{self.lane}"

    def value(self) -> dict[str, Json]:
        owner = {"host": self.host, "pid": self.pid, "txn_id": self.txn_id}
        value: dict[str, Json] = {
            "base": self.base,
            "map": b64(self.map.rstrip(b"\0")),
            "owner": owner,
            "at": rfc3339(self.at_ms),
        }
        if self.confirmed is not None:
            value["confirmed"] = self.confirmed
        return value


@dataclass(frozen=True)
class FleetEntry:
    """What was decided for the whole fleet; partition 0 only."""

    fleet: str
    shards: int
    spread: int
    created_ms: int

    def id(self) -> str:
        return "m"

    def value(self) -> dict[str, Json]:
        return {
            "fleet": self.fleet,
            "shards": self.shards,
            "spread": self.spread,
            "created": rfc3339(self.created_ms),
        }


@dataclass(frozen=True)
class RunEntry:
    lane: str
    offset: int
    state: str
    workspace: str
    job: str
    generation: int
    attempt: int
    due_ms: int
    expires_ms: int
    id_origin: str
    order_key: str | None = None
    run_id: str | None = None
    handle: dict[str, str] | None = None
    digest: str | None = None

    def id(self) -> str:
        return f"r/{self.lane}/{self.offset}"

    def value(self) -> dict[str, Json]:
        names = (
            "state workspace job generation attempt due_ms expires_ms order_key "
            "run_id handle id_origin digest"
        )
        return {name: getattr(self, name) for name in names.split()}


@dataclass(frozen=True)
class RangeEntry:
    lane: str
    workspace: str
    offset: int
    width: int
    map: bytes
    earliest_expiry_ms: int

    def id(self) -> str:
        return f"f/{self.lane}/{self.workspace}/{self.offset}"

    def value(self) -> dict[str, Json]:
        return {
            "width": self.width,
            "map": b64(self.map.rstrip(b"\0")),
            "earliest_expiry_ms": self.earliest_expiry_ms,
        }


@dataclass(frozen=True)
class FinishedEntry:
    segment: int
    ids: tuple[bytes, ...]
    from_ms: int
    to_ms: int

    def id(self) -> str:
        return f"d/{self.segment}"

    def value(self) -> dict[str, Json]:
        ids = b64(b"".join(self.ids))
        return {"ids": ids, "from_ms": self.from_ms, "to_ms": self.to_ms}


@dataclass(frozen=True)
class CancelEntry:
    workspace: str
    until_ms: int
    ends: dict[str, int]
    control_id: str
    job: str | None = None
    batch: str | None = None

    def id(self) -> str:
        if self.job is not None:
            return f"c/{self.workspace}/job/{self.job}"
        if self.batch is not None:
            return f"c/{self.workspace}/batch/{self.batch}"
        return f"c/{self.workspace}/all"

    def value(self) -> dict[str, Json]:
        ends = {lane: self.ends[lane] for lane in LANES if lane in self.ends}
        return {"until_ms": self.until_ms, "ends": ends, "control_id": self.control_id}


@dataclass(frozen=True)
class Tombstone:
    """The end of an entry."""

    entry_id: str

    def id(self) -> str:
        return self.entry_id

    def value(self) -> None:
        return None


Entry = BaseEntry | RunEntry | RangeEntry | FinishedEntry | CancelEntry | Tombstone


def entry_build(
    entry: Entry, seq: int, fleet: str, place: tuple[str, int], now_ms: int
) -> Record:
    body = entry.value()
    value = None
    if body is not None:
        value = dump({"v": 1, "seq": seq, **body}).encode()
    event = state_id(fleet, place[1], entry.id(), seq)
    rec = record_new(
        "state", fleet, place, entry.id().encode(), value, (event, now_ms, entry.id())
    )
    rec.put("bf_seq", seq)
    return rec


BAD_STATE = "bad_state"


def entry_id_parse(text: str) -> tuple[str, dict[str, str]]:
    """The kind, a letter, and what the id says."""
    lane, ws, job = r"(?P<lane>jobs|batch|control)", r"[A-Za-z0-9_-]{1,64}", ID.decode()
    number_ = "(?:0|[1-9][0-9]{0,18})"
    patterns = (
        rf"b/{lane}",
        rf"r/{lane}/(?P<offset>{number_})",
        rf"f/{lane}/(?P<workspace>{ws})/(?P<offset>{number_})",
        rf"d/(?P<segment>{number_})",
        rf"c/(?P<workspace>{ws})/(?:job/(?P<job>{job})|batch/(?P<batch>{job})|all)",
    )
    for pattern in patterns:
        if found := re.fullmatch(pattern, text, re.ASCII):
            said = {k: v for k, v in found.groupdict().items() if v}
            for name in {"offset", "segment"} & set(said):
                number(said[name], U63, BAD_STATE)
            return text[0], said
    refuse(BAD_STATE, f"no such entry: {text!r:.60}")


def _map_parse(text: str, width: int, bit0: bool) -> bytes:
    data = unb64(text, BAD_STATE)
    if data and not data[-1]:
        refuse(BAD_STATE, "map has a trailing zero byte")
    bits = bits_of(data)
    if bits and (bits[-1] >= width or (bits[0] == 0 and not bit0)):
        refuse(BAD_STATE, "map has a bit that it may not have")
    return data


def _base_parse(said: dict[str, str], value: Json) -> BaseEntry:
    more = {"confirmed": str} if "confirmed" in value else {}
    members(
        value, BAD_STATE, v=int, seq=int, base=int, map=str, owner=dict, at=str, **more
    )
    owner = members(value["owner"], BAD_STATE, host=str, pid=int, txn_id=str)
    if not txn_id_ok(owner["txn_id"].encode()):
        refuse(BAD_STATE, "txn_id")
    if more and not hex_ok(value["confirmed"].encode(), 32):
        refuse(BAD_STATE, "confirmed")
    return BaseEntry(
        said["lane"],
        ranged(value["base"], U63, BAD_STATE),
        _map_parse(value["map"], WINDOW, False),
        owner["host"],
        ranged(owner["pid"], U32, BAD_STATE),
        owner["txn_id"],
        un_rfc3339(value["at"], BAD_STATE),
        value.get("confirmed"),
    )


def _run_parse(said: dict[str, str], value: Json) -> RunEntry:
    text, maybe = str, (str, type(None))
    members(
        value,
        BAD_STATE,
        v=int,
        seq=int,
        state=text,
        workspace=text,
        job=text,
        generation=int,
        attempt=int,
        due_ms=int,
        expires_ms=int,
        order_key=maybe,
        run_id=maybe,
        handle=(dict, type(None)),
        id_origin=text,
        digest=maybe,
    )
    if value["state"] not in RUN_STATES or value["id_origin"] not in ID_ORIGINS:
        refuse(BAD_STATE, "state or id_origin")
    if not workspace_ok(value["workspace"].encode()) or not job_id_ok(
        value["job"].encode()
    ):
        refuse(BAD_STATE, "workspace or job")
    for name in ("run_id", "digest"):
        if value[name] is not None and not hex_ok(value[name].encode(), 32):
            refuse(BAD_STATE, name)
    if value["order_key"] is not None and not order_key_ok(value["order_key"].encode()):
        refuse(BAD_STATE, "order_key")
    if value["handle"] is not None:
        strings(value["handle"], BAD_STATE)
    ranged(value["generation"], U32, BAD_STATE)
    ranged(value["attempt"], U32, BAD_STATE, 1)
    for name in ("due_ms", "expires_ms"):
        ranged(value[name], TIME_MAX_MS, BAD_STATE)
    body = {k: v for k, v in value.items() if k not in ("v", "seq")}
    return RunEntry(said["lane"], number(said["offset"], U63, BAD_STATE), **body)


def _range_parse(said: dict[str, str], value: Json) -> RangeEntry:
    members(
        value, BAD_STATE, v=int, seq=int, width=int, map=str, earliest_expiry_ms=int
    )
    width = ranged(value["width"], WINDOW, BAD_STATE, 1)
    return RangeEntry(
        said["lane"],
        said["workspace"],
        number(said["offset"], U63, BAD_STATE),
        width,
        _map_parse(value["map"], width, True),
        ranged(value["earliest_expiry_ms"], TIME_MAX_MS, BAD_STATE),
    )


def _finished_parse(said: dict[str, str], value: Json) -> FinishedEntry:
    members(value, BAD_STATE, v=int, seq=int, ids=str, from_ms=int, to_ms=int)
    raw = unb64(value["ids"], BAD_STATE)
    if len(raw) % 16 or len(raw) > 16 * 16_384:
        refuse(BAD_STATE, "ids")
    return FinishedEntry(
        number(said["segment"], U63, BAD_STATE),
        tuple(raw[i : i + 16] for i in range(0, len(raw), 16)),
        ranged(value["from_ms"], TIME_MAX_MS, BAD_STATE),
        ranged(value["to_ms"], TIME_MAX_MS, BAD_STATE),
    )


def _cancel_parse(said: dict[str, str], value: Json) -> CancelEntry:
    members(value, BAD_STATE, v=int, seq=int, until_ms=int, ends=dict, control_id=str)
    ends = value["ends"]
    if set(ends) - set(LANES) or not job_id_ok(value["control_id"].encode()):
        refuse(BAD_STATE, "ends or control_id")
    for end in ends.values():
        if isinstance(end, bool) or not isinstance(end, int):
            refuse(BAD_STATE, "ends")
        ranged(end, U63, BAD_STATE)
    until = ranged(value["until_ms"], TIME_MAX_MS, BAD_STATE)
    who = said["workspace"], until, ends, value["control_id"]
    return CancelEntry(*who, said.get("job"), said.get("batch"))


_ENTRIES: dict[str, Callable[[dict[str, str], Json], Entry]] = {
    "b": _base_parse,
    "r": _run_parse,
    "f": _range_parse,
    "d": _finished_parse,
    "c": _cancel_parse,
}


def entry_parse(rec: Record) -> tuple[Entry, int]:
    """The entry and its seq."""
    check_common(rec, "state", BAD_STATE)
    if rec.key is None or not utf8_ok(rec.key):
        refuse(BAD_STATE, "key")
    name = rec.key.decode()
    kind, said = entry_id_parse(name)
    seq = number(rec.get("bf_seq"), U63, BAD_STATE)
    if rec.value is None:
        return Tombstone(name), seq
    value = load(rec.value, BAD_STATE)
    if not isinstance(value, dict) or value.get("v") != 1 or value.get("v") is True:
        refuse(BAD_STATE, "v")
    entry = _ENTRIES[kind](said, value)
    return entry, seq if value["seq"] == seq else refuse(BAD_STATE, "seq")


def fleet_parse(rec: Record) -> tuple[FleetEntry, int]:
    """The entry `m`, which is none of a shard's own, and its seq."""
    check_common(rec, "state", BAD_STATE)
    if rec.key != b"m" or rec.partition != 0 or rec.value is None:
        refuse(BAD_STATE, "not the fleet's entry")
    value = load(rec.value, BAD_STATE)
    names = {"fleet": str, "shards": int, "spread": int, "created": str}
    members(value, BAD_STATE, v=int, seq=int, **names)
    seq = number(rec.get("bf_seq"), U63, BAD_STATE)
    if value["v"] != 1 or value["seq"] != 0 or seq != 0:
        refuse(BAD_STATE, "v or seq")
    _word(value["fleet"], rb"[a-z0-9-]{1,32}", BAD_STATE)
    shards = ranged(value["shards"], 4096, BAD_STATE, 1)
    spread = ranged(value["spread"], 4096, BAD_STATE, 1)
    created = un_rfc3339(value["created"], BAD_STATE)
    return FleetEntry(value["fleet"], shards, spread, created), seq


# ---- §9 forwarded runs ------------------------------------------------------


def content_digest(body: bytes) -> str:
    return f"sha-256=:{b64(hashlib.sha256(body).digest())}:"


def http_base(components: Sequence[tuple[str, str]], params: str) -> str:
    """RFC 9421 §2.5; params: the value of @signature-params."""
    lines = [f'"{name}": {value}' for name, value in components]
    return "\n".join([*lines, f'"@signature-params": {params}'])


@dataclass(frozen=True)
class HttpMessage:
    method: str
    target_uri: str
    content_type: str
    content_digest: str
    run_id: str
    created_s: int
    expires_s: int
    nonce: str
    key_id: str

    def components(self) -> list[tuple[str, str]]:
        return [
            ("@method", self.method),
            ("@target-uri", self.target_uri),
            ("content-type", self.content_type),
            ("content-digest", self.content_digest),
            ("idempotency-key", f'"{self.run_id}"'),
        ]

    def params(self) -> str:
        names = " ".join(f'"{name}"' for name, _ in self.components())
        return (
            f"({names});created={self.created_s};expires={self.expires_s}"
            f';nonce="{self.nonce}";keyid="{self.key_id}";alg="ed25519"'
        )

    def base(self) -> str:
        return http_base(self.components(), self.params())


def http_sign(message: HttpMessage, key: Ed25519PrivateKey) -> tuple[str, str]:
    """Values of signature-input and signature."""
    signature = key.sign(message.base().encode())
    return f"bf={message.params()}", f"bf=:{b64(signature)}:"


_INPUT = re.compile(
    r'bf=\("@method" "@target-uri" "content-type" "content-digest" "idempotency-key"\)'
    r";created=(?P<created>\d+);expires=(?P<expires>\d+)"
    r';nonce="(?P<nonce>[0-9a-f]+)";keyid="(?P<key>[0-9a-f]{16})";alg="ed25519"',
    re.ASCII,
)


def http_verify(
    method: str,
    target_uri: str,
    headers: Mapping[str, str],
    body: bytes,
    keys: Mapping[str, bytes],
    now_s: int,
) -> HttpMessage:
    """headers by lower-case name; keys: public keys by id."""
    bad = "bad_signature"
    said = _INPUT.fullmatch(headers.get("signature-input", ""))
    run = re.fullmatch(r'"([0-9a-f]{32})"', headers.get("idempotency-key", ""))
    if said is None or run is None:
        refuse(bad, "signature-input or idempotency-key")
    if headers.get("content-digest") != content_digest(body):
        refuse(bad, "content-digest")
    created, expires = int(said["created"]), int(said["expires"])
    if created > now_s + CLOCK_AHEAD_MS // 1000 or expires < now_s:
        refuse(bad, "not now")
    if said["key"] not in keys:
        refuse("unknown_key", said["key"])
    message = HttpMessage(
        method,
        target_uri,
        headers.get("content-type", ""),
        headers["content-digest"],
        run[1],
        created,
        expires,
        said["nonce"],
        said["key"],
    )
    text = re.fullmatch(r"bf=:([A-Za-z0-9+/=]+):", headers.get("signature", ""))
    signature = unb64(text[1] if text else "", bad)
    public = Ed25519PublicKey.from_public_bytes(keys[said["key"]])
    try:
        public.verify(signature, message.base().encode())
    except InvalidSignature:
        refuse(bad, "not signed by this key")
    return message
