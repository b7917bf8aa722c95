"""./run soak, a minute of it; and that it sees what grows."""

import sys
import unittest
from pathlib import Path

from cases import FleetCase
from fleet import FULL

sys.path.append(str(Path(__file__).resolve().parents[1] / "soak"))
if FULL:
    from soak import Plan, Report, Soak, table, told


@unittest.skipUnless(FULL, "soaks take the time of --full")
class SoakTest(FleetCase):
    shards = 12

    def soak(self, seconds: float, **env: str) -> "Report":
        plan = Plan.of(seconds, env=env)
        soak = Soak(self.cluster, self.fleet, plan)
        report = soak.run()
        print("\n".join((*table(soak, report), *told(report))))
        self.assertTrue(report.verdict.ok, report.verdict)
        return report

    def test_a_minute_grows_nothing(self) -> None:
        report = self.soak(60)
        self.assertTrue(report.ok, "\n".join(told(report)))
        self.assertGreater(report.acts.total(), 1)
        self.assertGreater(report.load["batches complete"], 0)

    def test_a_leak_is_found(self) -> None:
        report = self.soak(60, BLOCKFLEET_TEST_LEAK="8192")
        self.assertFalse(report.ok)
        grew = {(found.who, found.what) for found in report.grew()}
        self.assertIn(("noop", "rss"), grew)
        self.assertEqual({what for _, what in grew}, {"rss"})
        self.assertNotIn(("dispatcher-1", "rss"), grew)


if __name__ == "__main__":
    unittest.main()
