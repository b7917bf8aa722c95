"""Rows of usage for tests of the billing example: made by bfwire, signed, read."""

import sys
from decimal import Decimal
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BILLING = ROOT / "dispatcher" / "clients" / "billing"
sys.path[:0] = [str(ROOT / "tests" / "wire"), str(BILLING)]
sys.path.insert(0, str(ROOT / "tests" / "providers"))

import bfwire as w  # noqa: E402
import usage  # noqa: E402
from store import Read, Store  # noqa: E402

NOW = 1_795_266_000_007  # 2026-11-21
KEY = w.private_key(b"r" * 32)
DAY = 86_400_000


def record(n: int, workspace: str = "acme", **more: object) -> w.Record:
    """A run of 1.5 s and some microseconds, every fifth not billable."""
    job = w.Job(workspace, f"job-{n}", b"{}", b"{}", NOW, NOW + 1000)
    told = {
        "outcome": "succeeded",
        "delivery": "ran",
        "ended_at_ms": NOW,
        "run_id": w.run_id(job.subject(1), n.to_bytes(16, "big")),
        "backend": "noop",
        "isolation": "none",
        "block_type": 'a "block"\x1f\x7f\\u001f',
        "started_at_ms": NOW - 1,
        "duration_us": 1_500_000 + n,
        "billable": n % 5 != 4,
        "has_usage": True,
        "result": b"1" * n,
        **more,
    }
    source = w.Record("bf.jobs", 3, workspace.encode(), b"{}", [])
    end = w.End(job=job, source=source, worker="w-0", **told)
    return signed(w.usage_build(end, "main", ("bf.usage", 3)))


def signed(*records: w.Record) -> w.Record:
    w.sign_tree("result", KEY, NOW, records)
    return records[0]


def correction(rec: w.Record, number: int, **differences: str) -> w.Record:
    row, name = w.load(rec.value, "bad"), rec.text("ce_id")
    fix = w.Correction(row, name, number, NOW + 40 * DAY, differences)
    return signed(w.correction_build(fix, "main", (rec.topic, rec.partition)))


def parsed(rec: w.Record) -> usage.Row:
    return usage.parse(rec.key, rec.value, rec.headers)


def taken(store: Store, records: list[w.Record]) -> None:
    """As if they had been read, one after the other."""
    place = "bf.usage", 3
    at = store.positions("bf.usage").get(place, 0)
    reads = [Read(place, at + n, parsed(rec)) for n, rec in enumerate(records)]
    store.take(reads, {place: (at, at + len(records))})


def billable(records: list[w.Record], name: str) -> Decimal:
    """What a receiver must end up with."""
    rows = [w.load(rec.value, "bad") for rec in records]
    return sum((Decimal(r[name] or 0) for r in rows if r["billable"]), Decimal(0))
