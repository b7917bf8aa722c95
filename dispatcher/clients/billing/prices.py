"""Rows to money: dated prices, exact sums, one rounding per line of a bill."""

import re
import sqlite3
import tomllib
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Context, Decimal, Inexact
from pathlib import Path

from usage import QUANTITIES, decimal

# Adding and multiplying may never round; if it would, it is an error.
EXACT = Context(prec=200, traps=[Inexact])
END = "9999-12-31T23:59:59.999Z"


class BadPrices(Exception):
    """The file does not say what something costs."""


@dataclass(frozen=True)
class Period:
    begin: str  # as in ended_at
    end: str  # not included
    units: dict[str, Decimal]


@dataclass(frozen=True)
class Prices:
    currency: str
    places: int
    periods: list[Period]


@dataclass
class Line:
    """A workspace's month: billable rows, what they add up to, what they cost."""

    workspace: str
    month: str
    rows: int = 0
    corrections: int = 0
    quantities: Counter[str] = field(default_factory=Counter)
    amount: Decimal = Decimal(0)


def period_of(entry: dict[str, object], end: str) -> Period:
    time = entry.pop("time", None)
    if not isinstance(time, datetime) or time.tzinfo is None:
        raise BadPrices(f"time = {time}: a date and time with Z")
    units = {}
    for name, price in entry.items():
        known = name in QUANTITIES and isinstance(price, str)
        if not known or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", price, re.ASCII):
            raise BadPrices(f'{name} = {price}: NAME = "0.01", NAME of {QUANTITIES}')
        units[name] = Decimal(price)
    return Period(f"{time.astimezone(UTC):%Y-%m-%dT%H:%M:%S}.000Z", end, units)


def load(path: Path) -> Prices:
    try:
        doc = tomllib.loads(path.read_text())
        currency, places, entries = doc["currency"], doc["places"], doc["from"]
    except (ValueError, KeyError) as error:
        raise BadPrices(f"{path}: {error!r}") from None
    periods: list[Period] = []
    end = END
    for entry in reversed(entries):
        periods.insert(0, period_of(dict(entry), end))
        if periods[0].begin >= end:
            raise BadPrices("the entries must be in the order of their times")
        end = periods[0].begin
    return Prices(currency, places, periods)


SUMS = (
    "SELECT workspace, substr(ended_at, 1, 7), count(*), count(corrects), "
    + ", ".join(f"sum({name})" for name in QUANTITIES)
    + " FROM rows WHERE billable AND ended_at >= ? AND ended_at < ? GROUP BY 1, 2"
)


def bill(db: sqlite3.Connection, prices: Prices) -> list[Line]:
    """By workspace and month; SQLite adds whole numbers, and fails if they overflow."""
    lines: defaultdict[tuple[str, str], Line] = defaultdict(lambda: Line("", ""))
    first = prices.periods[0].begin
    early = "SELECT 1 FROM rows WHERE billable AND ended_at < ?"
    if db.execute(early, (first,)).fetchone():
        raise BadPrices(f"there are rows before the first price, {first}")
    for period in prices.periods:
        for workspace, month, rows, fixes, *sums in db.execute(
            SUMS, (period.begin, period.end)
        ):
            line = lines[workspace, month]
            line.workspace, line.month = workspace, month
            line.rows, line.corrections = line.rows + rows, line.corrections + fixes
            told = {n: s or 0 for n, s in zip(QUANTITIES, sums, strict=True)}
            line.quantities.update(told)
            for name, price in period.units.items():
                cost = EXACT.multiply(decimal(name, told[name]), price)
                line.amount = EXACT.add(line.amount, cost)
    for line in lines.values():
        unit = Decimal(1).scaleb(-prices.places)
        line.amount = line.amount.quantize(unit, ROUND_HALF_UP)
    return [lines[key] for key in sorted(lines)]
