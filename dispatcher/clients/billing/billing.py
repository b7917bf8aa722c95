#!/usr/bin/env python3
"""Counts bf.usage exactly: every row once, whatever crashes when.

    billing.py follow --brokers HOST:PORT --trusted keys/trusted
    billing.py report [--format table|csv|json]
    billing.py close 2026-11

README.md beside this file explains it; exit codes are there too.
"""

import argparse
import sqlite3
import sys
from pathlib import Path

from exits import LOOK, USAGE, say
from follow import follow
from prices import BadPrices
from report import close, report

HERE = Path(__file__).resolve().parent


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="billing.py", description=__doc__.split("\n")[0])
    commands = top.add_subparsers(dest="command", required=True)
    for name, run, what in (
        ("follow", follow, "count what the topic holds and what comes"),
        ("report", report, "totals by workspace and month"),
        ("close", close, "invoice what a month costs and was not invoiced yet"),
    ):
        one = commands.add_parser(name, help=what)
        one.set_defaults(run=run)
        one.add_argument("--db", type=Path, default="billing.db")
        if name == "follow":
            one.add_argument("--brokers", required=True)
            one.add_argument("--topic", default="bf.usage")
            one.add_argument("--trusted", type=Path, help="count signed rows only")
            one.add_argument("--until-end", action="store_true", help="then stop")
            one.add_argument("--timeout", type=float, default=300, metavar="S")
            one.add_argument("--from-start", action="store_true", help="read all again")
            one.add_argument("-X", action="append", default=[], metavar="NAME=VALUE")
        else:
            one.add_argument("--prices", type=Path, default=HERE / "prices.toml")
    report_, close_ = commands.choices["report"], commands.choices["close"]
    report_.add_argument("--month", metavar="YYYY-MM")
    report_.add_argument("--format", choices=("table", "csv", "json"), default="table")
    close_.add_argument("month", metavar="YYYY-MM")
    close_.add_argument("--grace-hours", type=float, default=1)
    close_.add_argument("--despite-aside", action="store_true")
    return top


def main() -> int:
    options = parser().parse_args()
    try:
        return options.run(options)
    except (BadPrices, OSError, ValueError) as error:
        say(str(error))
        return USAGE
    except sqlite3.Error as error:
        say(f"{options.db}: {error}")
        return LOOK


if __name__ == "__main__":
    sys.exit(main())
