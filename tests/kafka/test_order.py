"""Jobs of one order key run one at a time, in log order."""

import unittest
from collections import defaultdict

from cases import FleetCase
from harness import HANG_S, wait_until

KEYS = 5
JOBS = 200


class OrderTest(FleetCase):
    def test_one_at_a_time_in_log_order(self) -> None:
        fleet = self.fleet
        fleet.submit(
            fleet.job("w", f"j-{n}", order_key=f"k-{n % KEYS}".encode())
            for n in range(JOBS)
        )
        victim = fleet.worker("victim", noop__delay="20ms")
        (log,) = fleet.run_logs
        wait_until(lambda: len(log.read_text().splitlines()) > 30, HANG_S, "some runs")
        victim.kill9()
        heir = fleet.worker("heir", noop__delay="20ms")
        self.ends(JOBS)
        heir.stop()
        self.judge(killed=[victim])
        lanes = defaultdict(list)
        for rec in self.oracle.evidence.of("results"):
            number = int(rec.text("bf_job").removeprefix("j-"))
            start = int(rec.text("bf_started_at_ms"))
            end = int(rec.text("bf_ended_at_ms"))
            lanes[number % KEYS].append((start, end, number))
        for runs in lanes.values():
            runs.sort()
            numbers = [number for _, _, number in runs]
            self.assertEqual(numbers, sorted(numbers))
            for (_, end, _), (start, _, _) in zip(runs, runs[1:], strict=False):
                self.assertLessEqual(end, start)


if __name__ == "__main__":
    unittest.main()
