"""Blocks in our own block server (`bfrunner http`), through a real broker."""

import sys
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "runner"))

from cases import SharedCase
from harness import HANG_S, Proc
from http_server import RunnerServer


class RunnerServerTest(SharedCase):
    slow = True

    def setUp(self) -> None:
        super().setUp()
        self.trusted = self.fleet.keys.folder / "trusted"
        self.server = RunnerServer("--slots=4", keys=self.trusted.read_text())
        self.addCleanup(self.server.close)

    def worker(self, name: str) -> Proc:
        worker = self.fleet.worker(
            name, worker__backend="http", http__url=self.server.url
        )
        worker.wait_json(lambda line: line.get("event") == "shard_open", HANG_S)
        return worker

    def feed(self, first: int, count: int) -> None:
        self.fleet.submit(
            [
                self.fleet.job(f"ws-{n % 12}", f"job-{n}", inputs=b'{"n": %d}' % n)
                for n in range(first, first + count)
            ]
        )

    def test_a_new_key_loses_no_run(self) -> None:
        """The steps of worker/runner/README.md, while jobs go on."""
        one = self.worker("one")
        self.feed(0, 60)
        self.fleet.keys._make("run")
        self.server.keys.write_text(self.trusted.read_text())
        self.server.until(keys=2)
        two = self.worker("two")  # signs with the youngest key
        self.feed(60, 60)
        self.ends(120)
        self.assertEqual(one.stop(), 0)  # the last one that signs with the old key
        lines = self.trusted.read_text().splitlines(keepends=True)
        at = next(i for i, line in enumerate(lines) if line.startswith("run "))
        lines[at] = f"revoked {lines[at]}"
        self.server.keys.write_text("".join(lines))
        self.server.until(keys=1)
        self.feed(120, 60)
        found = self.ends(180)
        for job, (end, rec) in found.items():
            told = (end.outcome, end.backend, end.isolation)
            said = f"{job}: {rec.text('bf_report')}"
            self.assertEqual(told, ("succeeded", "http", "remote"), said)
            self.assertEqual(rec.value, b'{"n": %d}' % int(job.removeprefix("job-")))
        rows = [row for rows in self.usage().values() for row in rows]
        told = {(row["attempt"], row["delivery"], row["billable"]) for row in rows}
        self.assertEqual((len(rows), told), (180, {(1, "ran", True)}))
        told = self.server.healthz()
        self.assertEqual(told["counts"]["runs"], 180)
        self.assertNotIn("refused", told["counts"])
        self.assertEqual((told["runs"], told["held_bytes"]), (0, 0))
        verdict = self.oracle.judge()
        self.assertTrue(verdict.ok, str(verdict))
        self.assertEqual(two.stop(), 0)


if __name__ == "__main__":
    unittest.main()
