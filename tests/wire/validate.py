"""Is this record what PROTOCOL.md and schemas/*.v1.json promise?

Used on every record that the real-broker tests produce. What it checks: the
JSON Schema, the one spelling of our JSON, the derivations of ids, placement,
the signature against given keys, and that the `cloudevents` package reads it.
"""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any

import bfwire as w
import jsonschema_rs
from cloudevents.kafka import KafkaMessage, from_binary
from jsonschema import Draft202012Validator
from referencing import Registry, Resource

Json = Any
SCHEMAS = Path(__file__).resolve().parents[2] / "schemas"
BASE = "https://blockfleet.dev/schemas/"

# The page calls these bytes, not text.
BYTES = ("bf_original_headers", "kafka_correlationId")
# Types whose value is JSON of ours, and not a user's bytes.
OURS = ("usage", "callback", "control", "event", "state")
TYPE_OF_TOPIC = {
    "jobs": "job",
    "jobs.batch": "job",
    "results": "result",
    "usage": "usage",
    "deadletter": "deadletter",
    "callbacks": "callback",
    "control": "control",
    "events": "event",
    "state": "state",
}


class Invalid(Exception):
    """One record breaks one promise."""


def require(condition: bool, text: str) -> None:
    if not condition:
        raise Invalid(text)


@cache
def schemas() -> dict[str, Json]:
    """All of them, by $id."""
    found = [json.loads(path.read_text()) for path in SCHEMAS.glob("*.v1.json")]
    return {doc["$id"]: doc for doc in found}


@cache
def schema(name: str) -> Draft202012Validator:
    """name: a type of record, or block, or report."""
    resources = [(i, Resource.from_contents(doc)) for i, doc in schemas().items()]
    registry = Registry().with_resources(resources)
    return Draft202012Validator(schemas()[f"{BASE}{name}.v1.json"], registry=registry)


@cache
def quick_schema(name: str) -> jsonschema_rs.Validator:
    """The same by another implementation, a hundred times faster."""
    registry = jsonschema_rs.Registry(list(schemas().items()))
    contents = schemas()[f"{BASE}{name}.v1.json"]
    return jsonschema_rs.validator_for(contents, registry=registry)


def check_schema(name: str, document: Json) -> None:
    if not quick_schema(name).is_valid(document):
        raise Invalid(f"{name}.v1.json: {why_not(name, document)}")


def why_not(name: str, document: Json) -> str:
    for error in schema(name).iter_errors(document):
        where = "/".join(map(str, error.absolute_path))
        return f"{where}: {error.message[:300]}"
    first = next(quick_schema(name).iter_errors(document))
    return f"{first.message[:300]} (but jsonschema accepts it)"


def document(kind: str, rec: w.Record) -> Json:
    """What a schema describes: {headers, key, value}."""
    headers = {}
    for name, value in rec.headers:
        if w.covered(name) or name in ("bf_signature", "traceparent"):
            require(value is not None, f"{name} is null")
            headers[name] = header_text(name, value or b"")
    if kind == "deadletter":
        key = None if rec.key is None else w.b64(rec.key)
    else:
        key = None if rec.key is None else rec.key.decode()
    return {"headers": headers, "key": key, "value": document_value(kind, rec)}


def header_text(name: str, value: bytes) -> str:
    if name in BYTES:
        return w.b64(value)
    try:
        return value.decode()
    except UnicodeDecodeError:
        raise Invalid(f"{name} is not UTF-8") from None


def document_value(kind: str, rec: w.Record) -> Json:
    if rec.value is None:
        return None
    if kind not in OURS:
        return w.b64(rec.value)
    return w.load(rec.value, "bad_json", nul=kind == "event")


def check_spelling(value: Json, text: bytes) -> None:
    try:
        same = w.dump(value).encode() == text
    except TypeError as error:
        raise Invalid(str(error)) from None
    require(same, "JSON is not in its one spelling")


def kind_of(rec: w.Record) -> str:
    """By what it says it is."""
    name = rec.text("ce_type").removeprefix("dev.blockfleet.").removesuffix(".v1")
    require(name in w.TYPES, f"ce_type {rec.text('ce_type')}")
    return name


class Validator:
    """keys: what is trusted; None leaves signatures unchecked."""

    def __init__(
        self,
        keys: list[w.TrustedKey] | None,
        prefix: str = "bf.",
        shards: int | None = None,
    ) -> None:
        self.trust = None if keys is None else w.Trust(keys, prefix)
        self.prefix = prefix
        self.shards = shards

    def validate_record(self, rec: w.Record) -> None:
        """Invalid or WireError says what is wrong."""
        w.record_check(rec)
        kind = kind_of(rec)
        expected = TYPE_OF_TOPIC.get(rec.topic.removeprefix(self.prefix))
        require(kind == expected, f"a {kind} on {rec.topic}")
        doc = document(kind, rec)
        check_schema(kind, doc)
        if kind in OURS and rec.value is not None:
            check_spelling(doc["value"], rec.value)
        w.check_ceilings(rec)
        w.check_common(rec, kind, "bad_record")
        self._check_event(rec, doc)
        getattr(self, f"_{kind}")(rec, doc)
        self._check_signature(rec, kind)

    def _check_event(self, rec: w.Record, doc: Json) -> None:
        headers = {n: v or b"" for n, v in rec.headers}
        message = KafkaMessage(headers, rec.key, rec.value)
        event = from_binary(message, data_unmarshaller=lambda data: data)
        said = doc["headers"]
        for name in ("id", "source", "type", "time", "subject", "specversion"):
            require(event[name] == said[f"ce_{name}"], f"cloudevents: {name}")
        require(event.get_data() == rec.value, "cloudevents: data")
        content_type = event.get_attributes().get("datacontenttype")
        require(content_type == said.get("content-type"), "cloudevents: content-type")

    def _check_signature(self, rec: w.Record, kind: str) -> None:
        if kind == "event" or self.trust is None:
            return
        workspace = rec.get("bf_workspace") or b""
        now_ms = time.time_ns() // 1_000_000
        self.trust.verify(rec, workspace.decode(), now_ms)

    # ---- by type ------------------------------------------------------------

    def _job(self, rec: w.Record, doc: Json) -> None:
        job = w.job_parse(rec)
        check_block(job.block)
        require(doc["headers"]["ce_subject"] == f"{job.workspace}/{job.id}", "subject")
        if self.shards is not None:
            at = w.partition_of(
                job.workspace, job.order_key, job.id, job.spread, self.shards
            )
            require(at == rec.partition, f"belongs to partition {at}")

    def _result(self, rec: w.Record, doc: Json) -> None:
        result = w.result_parse(rec)
        said, subject = doc["headers"], result.subject
        require(said["ce_subject"] == f"{subject.workspace}/{subject.job}", "subject")
        require(result.source_partition == rec.partition, "another shard's result")
        if result.usage_id is not None:
            require(result.usage_id == subject.event_id("usage"), "bf_usage_id")
        if result.dead_letter is not None:
            where = result.source_topic, result.source_partition, result.source_offset
            dead = w.event_id_dead(subject.workspace, *where)
            require(result.dead_letter == dead, "bf_dead_letter")
        if result.run_id is not None:
            require(result.at_ms == result.ended_at_ms, "ce_time is not the end")
        report = w.load(result.report, "bad_report", nul=True)
        check_schema("report", report)
        check_spelling(report, result.report)

    def _usage(self, rec: w.Record, doc: Json) -> None:
        said, value = doc["headers"], doc["value"]
        workspace = value["workspace"]
        require(said["bf_workspace"] == workspace == doc["key"], "workspace")
        require(said.get("bf_job") == value["job"], "bf_job")
        require(said.get("bf_run_id") == value["run_id"], "bf_run_id")
        if value["kind"] == "run":
            parts = (value["job"], value["generation"], value["attempt"])
            derived = w.event_id("usage", workspace, "job", *parts)
            about = value["job"]
        elif value["kind"] == "idle":
            parts = (value["sandbox"], value["billed_until_ms"])
            derived = w.event_id("usage", workspace, "idle", *parts)
            about = value["sandbox"]
        else:
            parts = (value["correction_of"], value["correction_number"])
            derived = w.event_id("usage", workspace, "correction", *parts)
            about = value["correction_of"]
        require(said["ce_id"] == derived, "ce_id is not derived")
        require(said["ce_subject"] == f"{workspace}/{about}", "subject")
        in_order = [name for name in w.USAGE_MEMBERS if name in value]
        require(list(value) == in_order, "members are not in the page's order")

    def _deadletter(self, rec: w.Record, doc: Json) -> None:
        said = doc["headers"]
        where = [
            said[f"__connect.errors.{n}"] for n in ("topic", "partition", "offset")
        ]
        require(said["ce_subject"] == "/".join(where), "subject")
        workspace = said.get("bf_workspace", "")
        derived = w.event_id_dead(workspace, where[0], int(where[1]), int(where[2]))
        require(said["ce_id"] == derived, "ce_id is not derived")
        headers = w.original_parse(rec.get("bf_original_headers") or b"")
        if said["bf_trust"] == "trusted" and "bf_truncated" not in said:
            whole = w.Record(where[0], int(where[1]), rec.key, rec.value, headers)
            require(whole.get("bf_workspace") == workspace.encode(), "bf_workspace")
            self._check_signature(whole, "job")

    def _callback(self, rec: w.Record, doc: Json) -> None:
        said, data = doc["headers"], doc["value"]["data"]
        subject = w.Subject(
            data["workspace"], data["job"], data["generation"], data["attempt"]
        )
        require(said["ce_id"] == subject.event_id("callback"), "ce_id")
        require(data["result_id"] == subject.event_id("result"), "result_id")
        require(doc["key"] == data["workspace"] == said["bf_workspace"], "workspace")
        require(said["bf_job"] == data["job"], "bf_job")
        require(said["bf_generation"] == str(data["generation"]), "bf_generation")
        require(said["ce_subject"] == f"{data['workspace']}/{data['job']}", "subject")
        require(said["ce_time"] == doc["value"]["timestamp"], "timestamp")

    def _control(self, rec: w.Record, doc: Json) -> None:
        said = doc["headers"]
        workspace, name = said["bf_workspace"], said["bf_control_id"]
        require(doc["key"] == workspace, "key")
        require(said["ce_subject"] == f"{workspace}/{name}", "subject")
        derived = w.event_id("control", workspace, "control", name)
        require(said["ce_id"] == derived, "ce_id is not derived")

    def _event(self, rec: w.Record, doc: Json) -> None:
        said, value = doc["headers"], doc["value"]
        names = ("job", "generation", "attempt", "event", "seq")
        parts = [value[name] for name in names]
        derived = w.event_id("event", value["workspace"], "job", *parts)
        require(said["ce_id"] == derived, "ce_id is not derived")
        require(doc["key"] == value["workspace"], "key")
        require(said["ce_time"] == value["at"], "at")
        require(said["ce_subject"] == f"{value['workspace']}/{value['job']}", "subject")

    def _state(self, rec: w.Record, doc: Json) -> None:
        parse = w.fleet_parse if rec.key == b"m" else w.entry_parse
        entry, seq = parse(rec)
        said = doc["headers"]
        fleet = said["ce_source"].removeprefix("/blockfleet/")
        derived = w.state_id(fleet, rec.partition, entry.id(), seq)
        require(said["ce_id"] == derived, "ce_id is not derived")
        require(said["ce_subject"] == doc["key"] == entry.id(), "subject or key")
        if rec.value is not None:
            body = {"v": 1, "seq": seq, **(entry.value() or {})}
            require(w.dump(body).encode() == rec.value, "not in its one spelling")


def check_block(block: bytes) -> None:
    """A job's block may break a rule: the job is rejected then, not the record."""
    try:
        w.block_parse(block)
    except w.WireError:
        return
    check_schema("block", json.loads(block))


def validate_record(rec: w.Record, keys: list[w.TrustedKey] | None = None) -> None:
    """The same for one record; raises Invalid or WireError."""
    Validator(keys).validate_record(rec)
