#!/usr/bin/env python3
"""Sends the billable rows on, each event until the receiver has it.

    fan_out.py openmeter --url https://HOST/api/v1/events --start all
    fan_out.py stripe --url https://api.stripe.com/v1/billing/meter_events \\
        --start now --customers customers.toml

The receiver's API key is read from FAN_OUT_KEY. README.md says what "until the
receiver has it" means, and what is left to a person.
"""

import argparse
import os
import sys
import time
import tomllib
from pathlib import Path

from exits import LOOK, OK, UNREACHABLE, USAGE, say
from outbox import GaveUp, Outbox, Target
from post import Client
from store import Store


def target_of(options: argparse.Namespace) -> Target:
    more = options.dedupe_hours, options.attempts
    if options.target == "openmeter":
        return Target("openmeter", 100, *more)
    if options.customers is None:
        raise ValueError("stripe needs --customers")
    return Target("stripe", 1, *more, tomllib.loads(options.customers.read_text()))


def fan_out(options: argparse.Namespace) -> int:
    outbox = Outbox(Store(options.db), target_of(options))
    client = Client(options.url, os.environ.get("FAN_OUT_KEY", ""))
    if not outbox.begin(options.start):
        say("for the first time: which rows, --start all or --start now?")
        return USAGE
    if options.resolve:
        outbox.resolve({"sent": "sent", "again": "waiting"}[options.resolve])
    while True:
        outbox.fill()
        try:
            outbox.send(client)
        except GaveUp as error:
            say(f"gave up for now: {error}")
            if not options.follow:
                return UNREACHABLE
        if not options.follow:
            break
        time.sleep(5)
    states = outbox.counts()
    if nobody := outbox.unmapped():
        say(f"no customer: {', '.join(nobody)}")
    say(", ".join(f"{n} {state}" for state, n in sorted(states.items())) or "nothing")
    return OK if set(states) <= {"sent"} else LOOK


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("target", choices=("openmeter", "stripe"))
    parser.add_argument("--db", type=Path, default="billing.db")
    parser.add_argument("--url", required=True)
    parser.add_argument("--start", choices=("all", "now"))
    parser.add_argument("--follow", action="store_true", help="go on for ever")
    parser.add_argument("--attempts", type=int, default=8)
    parser.add_argument("--dedupe-hours", type=float, default=23)
    parser.add_argument("--resolve", choices=("sent", "again"))
    parser.add_argument("--customers", type=Path, metavar="TOML")
    options = parser.parse_args()
    try:
        return fan_out(options)
    except (OSError, ValueError) as error:
        say(str(error))
        return USAGE


if __name__ == "__main__":
    sys.exit(main())
