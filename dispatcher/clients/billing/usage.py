"""A record of bf.usage as a row: what is checked, what is counted. Pure.

Quantities are decimal strings on the wire and whole numbers here (seconds as
microseconds), never floats: what is summed exactly can be defended.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from cloudevents.kafka import KafkaMessage, from_binary

TYPE = "dev.blockfleet.usage.v1"
Headers = list[tuple[str, bytes]]
COUNTS = ("runs", "input_bytes", "output_bytes")
SECONDS = (
    "duration_seconds",
    "execution_seconds",
    "vcpu_seconds",
    "memory_gib_seconds",
)
QUANTITIES = (*COUNTS, *SECONDS)
KINDS = ("run", "idle", "correction")
COUNT = re.compile(r"0|-?[1-9][0-9]{0,17}", re.ASCII)
SECOND = re.compile(r"-?(0|[1-9][0-9]{0,11})\.[0-9]{6}", re.ASCII)
TIME = re.compile(r"\d{4}-(0[1-9]|1[0-2])-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", re.ASCII)
HEX128 = re.compile(r"[0-9a-f]{32}", re.ASCII)


class Refused(Exception):
    """This record is not counted, and why."""


@dataclass(frozen=True)
class Row:
    id: str  # ce_id: the same for ever, however often it is published
    source: str
    time: str  # ce_time: the run's end; of a correction, when it was made
    workspace: str
    kind: str
    billable: bool
    ended_at: str  # of a correction: that of the row it corrects
    corrects: str | None
    number: int | None
    quantities: dict[str, int | None]  # None: nobody knows
    value: str  # the record's value as it came

    @property
    def month(self) -> str:
        return self.ended_at[:7]


def require(condition: object, why: str) -> None:
    if not condition:
        raise Refused(why)


def whole(name: str, text: Any) -> int | None:
    """Seconds of "1.500000" are 1500000, bytes of "12" are 12."""
    if text is None:
        return None
    pattern = COUNT if name in COUNTS else SECOND
    require(isinstance(text, str) and pattern.fullmatch(text), f"{name} is {text!r}")
    return int(text.replace(".", ""))


def text(name: str, value: int) -> str:
    """The reverse of whole()."""
    if name in COUNTS:
        return str(value)
    sign, rest = "-" if value < 0 else "", abs(value)
    return f"{sign}{rest // 10**6}.{rest % 10**6:06d}"


def decimal(name: str, value: int) -> Decimal:
    return Decimal(text(name, value))


def parse(key: bytes | None, value: bytes | None, headers: Headers) -> Row:
    """Refused says why it cannot be counted."""
    try:
        event = from_binary(KafkaMessage(dict(headers), key, value), None, bytes)
        doc = json.loads(event.data)
    except Exception as error:  # hostile bytes make cloudevents raise anything
        raise Refused(f"not a CloudEvent of JSON: {error}") from None
    # What a newer fleet writes must wait for a newer reader.
    require(event["type"] == TYPE, f"type {event['type']}")
    require(isinstance(doc, dict), "the value is not an object")
    return row_of(dict(event.get_attributes()), key, doc, (value or b"").decode())


def row_of(
    event: dict[str, Any], key: bytes | None, doc: dict[str, Any], value: str
) -> Row:
    workspace, kind = doc.get("workspace"), doc.get("kind")
    corrects, number = doc.get("correction_of"), doc.get("correction_number")
    require(HEX128.fullmatch(event["id"]), "no id")
    require(
        isinstance(workspace, str) and workspace.encode() == key, "key is not workspace"
    )
    require(kind in KINDS, f"kind {kind!r}")
    require(type(doc.get("billable")) is bool, "billable")
    for time in (event.get("time"), doc.get("ended_at")):
        require(isinstance(time, str) and TIME.fullmatch(time), f"time {time!r}")
    if kind == "correction":
        require(isinstance(corrects, str) and HEX128.fullmatch(corrects), "corrects")
        require(type(number) is int and number >= 1, "correction_number")
    missing = [name for name in QUANTITIES if name not in doc]
    require(not missing, f"no {missing}")
    quantities = {name: whole(name, doc[name]) for name in QUANTITIES}
    if kind != "correction":
        negative = [name for name, n in quantities.items() if n is not None and n < 0]
        require(not negative, f"negative {negative} in a {kind}")
    return Row(
        event["id"],
        event["source"],
        event["time"],
        workspace,
        kind,
        doc["billable"],
        doc["ended_at"],
        corrects if kind == "correction" else None,
        number if kind == "correction" else None,
        quantities,
        value,
    )
