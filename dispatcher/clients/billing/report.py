"""Totals by workspace and month, and what was invoiced of them."""

import argparse
import csv
import json
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

import prices
from exits import LOOK, OK, say
from store import Store
from usage import text

SHOWN = ("runs", "duration_seconds", "input_bytes", "output_bytes")


@dataclass(frozen=True)
class Entry:
    """A line of the report, as text."""

    workspace: str
    month: str
    rows: str
    corrections: str
    runs: str
    duration_seconds: str
    input_bytes: str
    output_bytes: str
    amount: str
    invoiced: str
    to_invoice: str


def invoiced(store: Store) -> dict[tuple[str, str], Decimal]:
    found: dict[tuple[str, str], Decimal] = {}
    for workspace, month, amount in store.db.execute(
        "SELECT workspace, month, amount FROM invoices"
    ):
        before = found.get((workspace, month), Decimal(0))
        found[workspace, month] = before + Decimal(amount)
    return found


def entries(store: Store, table: prices.Prices, month: str | None) -> list[Entry]:
    """The last one is the total of the others, added up as they are printed."""
    with store.transaction("DEFERRED") as db:
        lines = [x for x in prices.bill(db, table) if month in (None, x.month)]
        paid = invoiced(store)
    total = prices.Line("total", "")
    total_paid = Decimal(0)
    out = []
    for line in lines:
        total.rows += line.rows
        total.corrections += line.corrections
        total.quantities.update(line.quantities)
        total.amount += line.amount
        already = paid.get((line.workspace, line.month), Decimal(0))
        total_paid += already
        out.append(entry(line, already, table.places))
    return [*out, entry(total, total_paid, table.places)]


def entry(line: prices.Line, already: Decimal, places: int) -> Entry:
    money = [f"{m:.{places}f}" for m in (line.amount, already, line.amount - already)]
    shown = [text(name, line.quantities[name]) for name in SHOWN]
    counts = str(line.rows), str(line.corrections)
    return Entry(line.workspace, line.month, *counts, *shown, *money)


def print_table(rows: list[list[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [
            cell.ljust(width) if n < 2 else cell.rjust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        print("  ".join(cells).rstrip())


def report(options: argparse.Namespace) -> int:
    store, table = Store(options.db), prices.load(options.prices)
    found = entries(store, table, options.month)
    if options.format == "json":
        until = store.complete_until_ms()
        doc = {
            "currency": table.currency,
            "complete_until": rfc3339(until) if until else None,
            "lines": [vars(e) for e in found[:-1]],
            "total": vars(found[-1]),
        }
        print(json.dumps(doc, indent=2))
    else:
        rows = [list(vars(found[-1])), *(list(vars(e).values()) for e in found)]
        if options.format == "csv":
            csv.writer(sys.stdout).writerows(rows)
        else:
            print_table(rows)
    warn(store)
    return OK


def warn(store: Store) -> bool:
    """Whether there is something to look at before money is asked for."""
    aside = store.count("aside")
    alone = store.count(
        "rows f WHERE corrects NOTNULL AND NOT EXISTS"
        " (SELECT 1 FROM rows r WHERE r.id = f.corrects)"
    )
    if aside:
        say(f"{aside} records are set aside and not counted: table aside says why")
    if alone:
        say(f"{alone} corrections of rows that are not here; they are counted")
    return bool(aside)


def rfc3339(ms: int) -> str:
    return f"{datetime.fromtimestamp(ms // 1000, UTC):%Y-%m-%dT%H:%M:%SZ}"


def close(options: argparse.Namespace) -> int:
    """Invoice what the month costs and was not invoiced yet."""
    store, table = Store(options.db), prices.load(options.prices)
    begin = datetime.strptime(options.month, "%Y-%m").replace(tzinfo=UTC)
    end = begin.replace(year=begin.year + begin.month // 12, month=begin.month % 12 + 1)
    until_ms = store.complete_until_ms()
    if until_ms < (end.timestamp() + options.grace_hours * 3600) * 1000:
        say(f"counted up to {rfc3339(until_ms)} only: follow --until-end, later")
        return LOOK
    if warn(store) and not options.despite_aside:
        return LOOK
    now = rfc3339(time.time_ns() // 1_000_000)
    with store.transaction() as db:
        paid = invoiced(store)
        for line in prices.bill(db, table):
            left = line.amount - paid.get((line.workspace, line.month), Decimal(0))
            if line.month == options.month and left:
                number = db.execute(
                    "SELECT count(*) + 1 FROM invoices"
                    " WHERE workspace = ? AND month = ?",
                    (line.workspace, line.month),
                ).fetchone()[0]
                values = (line.workspace, line.month, number, now, str(left))
                db.execute("INSERT INTO invoices VALUES(?, ?, ?, ?, ?)", values)
                print(*values[:3], left, table.currency)
    return OK
