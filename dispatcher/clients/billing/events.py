"""Rows as other systems want them. Pure: a row always gives the same events.

That is what makes sending them twice harmless: a receiver knows an event by its
id, and an id never comes with another content.
"""

from datetime import datetime
from typing import Any

from usage import QUANTITIES, TYPE, Row, text

# What Stripe meters are called, and the quantity in each: a whole number, as
# Stripe takes no other, so seconds go there as microseconds.
STRIPE_METERS = {
    "runs": "blockfleet_runs",
    "duration_seconds": "blockfleet_duration_microseconds",
    "input_bytes": "blockfleet_input_bytes",
    "output_bytes": "blockfleet_output_bytes",
    "vcpu_seconds": "blockfleet_vcpu_microseconds",
    "memory_gib_seconds": "blockfleet_memory_gib_microseconds",
}
DIMENSIONS = ("kind", "block_type", "fingerprint", "backend", "isolation")


def when(row: Row) -> str:
    """A correction belongs to the period in which it is made: the one of the
    row may have been invoiced."""
    return row.time if row.kind == "correction" else row.ended_at


def openmeter(row: Row, doc: dict[str, Any]) -> dict[str, Any]:
    """One CloudEvent for all meters; openmeter.yaml finds its values by JSONPath.

    doc: row.value, parsed. A meter whose value is missing makes the event
    invalid there, so that what nobody knows is "0".
    """
    told = {name: doc[name] for name in DIMENSIONS if doc.get(name) is not None}
    values = {name: text(name, row.quantities[name] or 0) for name in QUANTITIES}
    return {
        "specversion": "1.0",
        "id": row.id,
        "source": row.source,
        "type": TYPE,
        "time": when(row),
        "subject": row.workspace,
        "datacontenttype": "application/json",
        "data": {**told, **values},
    }


def stripe(row: Row) -> list[dict[str, str]]:
    """One event a meter, as fields of a form; a value of 0 says nothing. The
    customer (`payload[stripe_customer_id]`) is added when it is sent."""
    seconds = datetime.fromisoformat(when(row)).timestamp()
    return [
        {
            "event_name": name,
            "identifier": f"{row.id}/{meter}",
            "timestamp": str(int(seconds)),
            "payload[value]": str(row.quantities[meter]),
        }
        for meter, name in STRIPE_METERS.items()
        if row.quantities[meter]
    ]
