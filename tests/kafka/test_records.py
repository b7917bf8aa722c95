"""Commands that read the topics themselves: deadletter, usage, verify."""

import json
import subprocess
import tempfile
import unittest
from decimal import Decimal
from pathlib import Path
from typing import Any

from confluent_kafka.admin import AdminClient, NewTopic
from fleet import BIN, TOPICS, Fleet, bfwire
from harness import HANG_S, Cluster
from oracle import Oracle
from world import World

SHARDS = 4
GOOD = 20


class RecordsTest(unittest.TestCase):
    """A worker has done some jobs, refused one and trusted another not."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster())
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.fleet = Fleet(cls.cluster, cls.folder, shards=SHARDS, spread=2)
        cls.enterClassContext(cls.fleet.procs)
        cls.fleet.init_topics()
        cls.fleet.submit(
            cls.fleet.job("rows" if n % 2 else "ws", f"job-{n}") for n in range(GOOD)
        )
        cls.fleet.submit([cls.fleet.job("ws", "no-block", block=b"{}")])
        forged = cls.fleet.build(cls.fleet.job("ws", "forged"))
        cls.fleet.produce("result", [forged])
        worker = cls.fleet.worker("w")
        oracle = Oracle(cls.cluster.bootstrap, keys=cls.fleet.keys.trusted(), shards=4)
        oracle.collect(
            lambda seen: (
                len(seen.of("results")) == GOOD + 1 and len(seen.of("deadletter")) == 2
            ),
            60,
        )
        worker.stop()
        cls.evidence = oracle.evidence

    def blockfleet(self, *words: str, status: int = 0) -> str:
        done = subprocess.run(
            [
                BIN / "blockfleet",
                *words,
                f"--kafka.brokers={self.cluster.bootstrap}",
                f"--keys.dir={self.fleet.keys.folder}",
            ],
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status in (0, 5) else done.stderr

    def json(self, *words: str, status: int = 0) -> Any:
        return json.loads(self.blockfleet(*words, "--json", status=status))

    # ---- dead letters -------------------------------------------------------

    def letters(self, *words: str) -> list[dict[str, Any]]:
        return self.json("deadletter", "list", *words)

    def test_letters_are_listed(self) -> None:
        reasons = {row["reason"]: row["job"] for row in self.letters()}
        self.assertEqual(set(reasons.values()), {"no-block", None})
        table = self.blockfleet("deadletter", "list").splitlines()
        self.assertEqual(len(table), 3)
        self.assertIn("REASON", table[0])

    def test_letters_are_chosen(self) -> None:
        self.assertEqual(self.letters("--workspace=nobody"), [])
        self.assertEqual(len(self.letters("--workspace=ws")), 1)
        self.assertEqual(len(self.letters("--reason=wrong_purpose")), 1)
        self.assertEqual(len(self.letters("--since=1h")), 2)
        self.assertEqual(self.letters("--since=2099-01-01T00:00:00Z"), [])

    def test_a_letter_is_shown_with_its_record(self) -> None:
        row = self.letters("--workspace=ws")[0]
        place = (str(row["partition"]), str(row["offset"]))
        shown = self.json("deadletter", "show", *place)
        self.assertEqual(shown["job"], "no-block")
        headers = {h["name"]: h["value"] for h in shown["headers"]}
        self.assertEqual(headers["bf_job"], "no-block")
        self.assertIn("bf_signature", headers)
        self.assertIn("no-block", self.blockfleet("deadletter", "show", *place))
        raw = self.blockfleet("deadletter", "show", *place, "--raw")
        self.assertEqual(raw, '{"n": 1}')

    def test_what_is_not_there_is_said(self) -> None:
        said = self.blockfleet("deadletter", "show", "0", "99999", status=4)
        self.assertIn("no", said)
        said = self.blockfleet("deadletter", "show", "9", "0", status=2)
        self.assertIn("0 to 3", said)

    # ---- signatures ---------------------------------------------------------

    def test_topics_are_verified(self) -> None:
        for topic in ("results", "usage", "state", "deadletter", "bf.results"):
            found = self.json("verify", topic)
            self.assertGreater(found["records"], 0)
            self.assertEqual(found["untrusted"], 0, found)
        jobs = self.json("verify", "jobs", status=5)
        self.assertEqual((jobs["records"], jobs["untrusted"]), (GOOD + 2, 1))
        self.assertEqual(jobs["faults"][0]["reason"], "wrong_purpose")

    def test_one_record_is_verified(self) -> None:
        rec = self.evidence.of("results")[0]
        place = (str(rec.partition), str(rec.offset))
        shown = self.json("verify", "results", *place)
        key = bfwire.key_id(bfwire.public_bytes(self.fleet.keys.private["result"]))
        self.assertEqual((shown["trusted"], shown["key"]), (True, key))

    def test_an_export_is_verified_elsewhere(self) -> None:
        path = self.folder / "usage.ndjson"
        self.blockfleet("usage", "export", f"--output={path}")
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        ids = {dict(line["headers"])["ce_id"] for line in lines}
        rows = {rec.text("ce_id") for rec in self.evidence.of("usage")}
        self.assertEqual(ids, rows)
        self.assertEqual(self.json("verify", f"--file={path}")["untrusted"], 0)
        text = path.read_text().replace('\\"runs\\":\\"1\\"', '\\"runs\\":\\"2\\"', 1)
        path.write_text(text)
        told = self.json("verify", f"--file={path}", status=5)
        self.assertEqual((told["records"], told["untrusted"]), (len(lines), 1))

    def test_an_export_of_one_workspace(self) -> None:
        text = self.blockfleet("usage", "export", "--workspace=rows")
        lines = [json.loads(line) for line in text.splitlines()]
        self.assertEqual({line["key"] for line in lines}, {"rows"})
        self.assertEqual(len(lines), GOOD // 2)

    # ---- the books ----------------------------------------------------------

    def test_the_books_agree(self) -> None:
        told = self.json("usage", "reconcile")
        self.assertEqual((told["faults"], told["not_compared"]), ([], 0))
        rows = {row["workspace"]: row for row in told["workspaces"]}
        self.assertEqual(rows["rows"]["results"], GOOD // 2)
        self.assertEqual(rows["rows"]["billable"], GOOD // 2)
        want = sum(
            Decimal(json.loads(rec.value)["duration_seconds"])
            for rec in self.evidence.of("usage")
            if rec.text("bf_workspace") == "rows"
        )
        self.assertEqual(Decimal(rows["rows"]["seconds"]), want)
        self.assertIn("BILLABLE", self.blockfleet("usage", "reconcile"))

    def test_what_is_missing_in_the_books_is_found(self) -> None:
        """A fleet whose usage lacks a row, and has one of nobody's."""
        world = World()
        gone = world.evidence.records["usage"].pop(0)
        results = world.evidence.records["results"]
        lost = next(rec for rec in reversed(results) if rec.has("bf_usage_id"))
        results.remove(lost)
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap})
        topics = [NewTopic(f"other.{name}", 12) for name in TOPICS]
        for future in admin.create_topics(topics).values():
            future.result(HANG_S)
        for name in ("results", "usage"):
            for rec in world.evidence.records[name]:
                rec.topic = f"other.{name}"
            self.fleet.produce(None, world.evidence.records[name])
        told = self.json("usage", "reconcile", "--topics.prefix=other.", status=5)
        found = {(row["fault"], row["job"]) for row in told["faults"]}
        self.assertIn(("no_row", gone.text("bf_job") + "/0"), found)
        self.assertIn(("no_result", lost.text("bf_job") + "/0"), found)
        self.assertEqual(len(found), 2)


if __name__ == "__main__":
    unittest.main()
