"""Rows to OpenMeter and Stripe: each event once there, whatever is lost or killed."""

import json
import os
import random
import sqlite3
import subprocess
import sys
import tempfile
import time
import unittest
import unittest.mock
from decimal import Decimal
from pathlib import Path

import yaml
from usage_rows import BILLING, NOW, billable, correction, parsed, record, taken, w

# isort: split
import events
from post import Means, meaning
from receivers import OpenMeter, Receiver, Stripe
from store import Store

CUSTOMERS = {"acme": "cus_1", "other": "cus_2"}
METERS = yaml.safe_load((BILLING / "openmeter.yaml").read_text())["meters"]


def rows(count: int) -> list[w.Record]:
    """Of two workspaces, some of them corrected."""
    made = [record(n, ("acme", "other")[n % 2]) for n in range(count)]
    fix = {"duration_seconds": "-0.250000", "output_bytes": "-1"}
    return made + [correction(rec, 1, **fix) for rec in made[:: max(count // 4, 1)]]


class Shapes(unittest.TestCase):
    def test_one_openmeter_event_has_the_values_of_all_meters(self) -> None:
        rec = record(3, vcpu_us=7)
        event = events.openmeter(parsed(rec), w.load(rec.value, "bad"))
        self.assertEqual(event["id"], rec.text("ce_id"))
        self.assertEqual(event["source"], "/blockfleet/main")
        self.assertEqual(event["subject"], "acme")
        self.assertEqual(event["time"], w.rfc3339(NOW))
        for meter in METERS:
            self.assertEqual(meter["eventType"], event["type"])
            name = meter["valueProperty"].removeprefix("$.")
            Decimal(event["data"][name])  # a null would be an error there
        self.assertEqual(event["data"]["vcpu_seconds"], "0.000007")
        self.assertEqual(event["data"]["memory_gib_seconds"], "0.000000")
        self.assertEqual(event["data"]["backend"], "noop")

    def test_stripe_has_an_event_a_meter_in_whole_numbers(self) -> None:
        made = events.stripe(parsed(record(3)))
        self.assertEqual(
            {e["event_name"]: e["payload[value]"] for e in made},
            {
                "blockfleet_runs": "1",
                "blockfleet_duration_microseconds": "1500003",
                "blockfleet_input_bytes": "2",
                "blockfleet_output_bytes": "3",
            },
        )
        name = record(3).text("ce_id")
        self.assertIn(f"{name}/runs", [e["identifier"] for e in made])
        for event in made:
            self.assertLessEqual(len(event["identifier"]), 100)
            self.assertEqual(event["timestamp"], str(NOW // 1000))

    def test_a_correction_is_of_the_day_on_which_it_is_made(self) -> None:
        fix = parsed(correction(record(3), 1, runs="-1"))
        (event,) = events.stripe(fix)
        self.assertEqual(event["payload[value]"], "-1")
        self.assertEqual(event["timestamp"], str(NOW // 1000 + 40 * 86_400))

    def test_what_an_answer_means(self) -> None:
        known = b'{"error": {"message": "An event already exists with identifier x."}}'
        for status, body, means in (
            (200, b"", Means.HAS_IT),
            (204, b"", Means.HAS_IT),
            (400, known, Means.HAS_IT),
            (400, b"", Means.REFUSED),
            (413, b"", Means.REFUSED),
            (401, b"", Means.STOP),
            (429, b"", Means.NOT_TAKEN),
            (409, b"", Means.UNSURE),
            (500, known, Means.UNSURE),
            (503, b"", Means.UNSURE),
        ):
            self.assertIs(meaning(status, body), means, status)


class Sending(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.db = self.folder / "billing.db"
        self.store = Store(self.db, create=True)
        self.addCleanup(self.store.db.close)
        self.customers(CUSTOMERS)

    def customers(self, known: dict[str, str]) -> None:
        lines = [f'{workspace} = "{name}"\n' for workspace, name in known.items()]
        (self.folder / "customers.toml").write_text("".join(lines))

    def argv(self, receiver: Receiver, *more: str) -> list[str]:
        target = type(receiver).__name__.lower()
        words = [sys.executable, str(BILLING / "fan_out.py"), target]
        if target == "stripe":
            words += ["--customers", str(self.folder / "customers.toml")]
        return [*words, "--db", str(self.db), "--url", receiver.url, *more]

    def fan_out(self, receiver: Receiver, *more: str, exits: int = 0) -> str:
        done = subprocess.run(
            self.argv(receiver, *more), capture_output=True, text=True, timeout=120
        )
        self.assertEqual(done.returncode, exits, done.stderr[-2000:])
        return done.stderr

    def states(self) -> dict[str, int]:
        query = "SELECT state, count(*) FROM outbox GROUP BY 1"
        return dict(sqlite3.connect(self.db).execute(query))

    def compare(self, receiver: Receiver, records: list[w.Record]) -> None:
        for workspace, customer in CUSTOMERS.items():
            own = [rec for rec in records if rec.key == workspace.encode()]
            if isinstance(receiver, OpenMeter):
                for meter in METERS:
                    name = meter["valueProperty"].removeprefix("$.")
                    total = receiver.total(meter, workspace)
                    self.assertEqual(total, billable(own, name), name)
                continue
            assert isinstance(receiver, Stripe)
            for name, meter in events.STRIPE_METERS.items():
                total = Decimal(receiver.total(meter, customer))
                total = total.scaleb(-6 if name.endswith("seconds") else 0)
                self.assertEqual(total, billable(own, name), name)

    def lose_answers(self, receiver: Receiver, count: int) -> None:
        records = rows(count)
        taken(self.store, records)
        with receiver:
            self.fan_out(receiver, "--start", "all", "--attempts", "40")
            self.assertGreater(receiver.done["lost"], 0)
            self.compare(receiver, records)
            asked = receiver.requests
            self.fan_out(receiver)  # all is there: nothing is sent
            self.assertEqual(receiver.requests, asked)

    def test_openmeter_counts_no_event_twice(self) -> None:
        self.lose_answers(OpenMeter(faults=0.4), 2000)

    def test_stripe_counts_no_event_twice(self) -> None:
        self.lose_answers(Stripe(faults=0.4), 12)

    def test_killed_at_random_moments(self) -> None:
        records = rows(40)
        taken(self.store, records)
        with Stripe(faults=0.2) as receiver:
            for _ in range(8):
                argv = self.argv(receiver, "--start", "all")
                with (self.folder / "log").open("w") as log:
                    child = subprocess.Popen(argv, stderr=log)
                time.sleep(random.uniform(0.1, 0.6))
                child.kill()
                child.wait()
            self.fan_out(receiver, "--start", "all", "--attempts", "40")
            self.compare(receiver, records)

    def test_rows_that_come_later_follow(self) -> None:
        records = rows(12)
        taken(self.store, records[:5])
        with OpenMeter() as receiver:
            self.assertIn("--start", self.fan_out(receiver, exits=2))
            self.fan_out(receiver, "--start", "now")
            self.assertEqual(receiver.requests, 0)
            taken(self.store, records[5:])
            self.fan_out(receiver, "--start", "all")  # only the first time counts
            self.compare(receiver, records[5:])

    def refuse_one(self, receiver: Receiver, bad: str) -> None:
        records = rows(40)
        taken(self.store, records)
        receiver.refuse = {bad}
        with receiver:
            told = self.fan_out(receiver, "--start", "all", exits=1)
            self.assertIn("1 refused", told)
            receiver.refuse = set()
            self.fan_out(receiver, "--resolve", "again")
            self.compare(receiver, records)

    def test_one_bad_event_does_not_refuse_its_batch(self) -> None:
        self.refuse_one(OpenMeter(), record(7, "other").text("ce_id"))

    def test_what_stripe_never_takes_is_kept_and_said(self) -> None:
        self.refuse_one(Stripe(), record(7, "other").text("ce_id") + "/runs")

    def test_what_may_be_there_and_forgotten_is_not_sent_again(self) -> None:
        taken(self.store, [record(0)])
        with OpenMeter(faults=1) as receiver:
            self.fan_out(receiver, "--start", "all", "--attempts", "3", exits=3)
            day = "UPDATE outbox SET unsure_since_ms = unsure_since_ms - 86400000"
            lost = sqlite3.connect(self.db)
            with lost:
                self.assertEqual(lost.execute(day).rowcount, 1)
            receiver.faults, receiver.requests = 0, 0
            self.assertIn("1 doubtful", self.fan_out(receiver, exits=1))
            self.assertEqual(receiver.requests, 0)
            self.fan_out(receiver, "--resolve", "sent")
            self.assertEqual(receiver.requests, 0)
            self.assertEqual(self.states(), {"sent": 1})

    def test_a_receiver_that_is_away_leaves_no_doubt(self) -> None:
        taken(self.store, [record(0)])
        with OpenMeter() as receiver:
            url = receiver.url
        argv = self.argv(receiver, "--start", "all", "--attempts", "2")
        argv[argv.index("--url") + 1] = url
        self.assertEqual(subprocess.run(argv, stderr=subprocess.DEVNULL).returncode, 3)
        query = "SELECT state, unsure_since_ms FROM outbox"
        found = sqlite3.connect(self.db).execute(query).fetchall()
        self.assertEqual(found, [("waiting", None)])

    def test_a_wrong_key_refuses_nothing(self) -> None:
        taken(self.store, [record(0)])
        with OpenMeter() as receiver:
            receiver.key = "Bearer secret"
            self.assertIn("401", self.fan_out(receiver, "--start", "all", exits=3))
            self.assertEqual(self.states(), {"waiting": 1})
            with unittest.mock.patch.dict(os.environ, FAN_OUT_KEY="secret"):
                self.fan_out(receiver)
            self.compare(receiver, [record(0)])

    def test_a_workspace_without_a_customer_waits(self) -> None:
        records = rows(4)
        taken(self.store, records)
        self.customers({"acme": "cus_1"})
        with Stripe() as receiver:
            told = self.fan_out(receiver, "--start", "all", exits=1)
            self.assertIn("no customer: other", told)
            self.customers(CUSTOMERS)
            self.fan_out(receiver)
            self.compare(receiver, records)

    def test_the_events_are_what_openmeter_reads(self) -> None:
        taken(self.store, [record(1)])
        with OpenMeter() as receiver:
            self.fan_out(receiver, "--start", "all")
            (event,) = receiver.events.values()
        self.assertEqual(json.loads(json.dumps(event)), event)
        self.assertEqual(event["specversion"], "1.0")
        self.assertEqual(event["data"]["block_type"], 'a "block"\x1f\x7f\\u001f')


if __name__ == "__main__":
    unittest.main()
