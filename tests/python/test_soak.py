"""What ./run soak believes: it must see what grows, and only that."""

import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from pathlib import Path
from random import Random

ROOT = Path(__file__).resolve().parents[2]
for folder in ("soak", "kafka"):
    sys.path.append(str(ROOT / "tests" / folder))

import watch  # noqa: E402
from growth import Bound, Growth, Sample, growth, slope  # noqa: E402
from picture import spark, svg  # noqa: E402

BOUND = Bound(fixed=4.0, share=0.05)
LEAKER = """
import sys
held = []
for line in sys.stdin:
    held.append((open("/dev/null"), bytearray(b"x" * (1 << 20))))
    print(len(held), flush=True)
"""


def series(value: Callable[[float], float], seconds: int = 600) -> list[Sample]:
    dice = Random(7)
    return [Sample(t, value(t) + dice.gauss(0, 1)) for t in range(seconds)]


def judged(samples: list[Sample], **more: float) -> Growth:
    given = {"least_s": 60.0, **more}
    return growth("worker", "rss", "MB", samples, BOUND, **given)


class GrowthTest(unittest.TestCase):
    def test_a_leak_is_seen_through_noise_and_peaks(self) -> None:
        found = judged(series(lambda t: 30 + t / 30 + (200 if t % 50 == 0 else 0)))
        self.assertFalse(found.ok)
        self.assertAlmostEqual(found.added, 10, delta=0.5)

    def test_what_was_filled_and_stays_is_no_leak(self) -> None:
        found = judged(series(lambda t: 30 + min(t, 200) / 4))
        self.assertTrue(found.ok, found)
        self.assertLess(abs(found.added), 0.5)
        self.assertAlmostEqual(found.bound, 4 + 0.05 * 80, delta=0.2)

    def test_what_goes_up_and_down_is_no_leak(self) -> None:
        self.assertTrue(judged(series(lambda t: 30 + t % 40)).ok)

    def test_a_short_life_is_not_judged(self) -> None:
        found = judged(series(lambda t: 30 + t, 50))
        self.assertEqual((found.judged, found.ok), (False, True))
        self.assertFalse(judged(series(lambda t: 30 + t, 50), least_s=40).ok)

    def test_facts_about_jobs_are_allowed(self) -> None:
        bound = Bound(fixed=1.0, per_job=0.01)
        samples = series(lambda t: 30 + t / 30)
        for rate, ok in ((1.0, False), (4.0, True)):
            found = growth(
                "w", "rss", "MB", samples, bound, least_s=60, jobs_per_s=rate
            )
            self.assertEqual(found.ok, ok, found)

    def test_slope_of_nothing(self) -> None:
        self.assertEqual(slope([Sample(1, 5)]), 0)
        self.assertEqual(slope([Sample(1, 5), Sample(1, 9)]), 0)


class WatchTest(unittest.TestCase):
    def test_memory_and_descriptors_of_a_process_that_leaks(self) -> None:
        command = [sys.executable, "-c", LEAKER]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as child:
            assert child.stdin is not None and child.stdout is not None
            life, samples = watch.Life("leaker", 1, child.pid), []
            for n in range(40):
                child.stdin.write("\n")
                child.stdin.flush()
                child.stdout.readline()
                samples.append((n, watch.held(life)))
            child.stdin.close()
        for kind, bound in (("rss", 4.0), ("fds", 4.0)):
            line = [Sample(at, found[kind]) for at, found in samples]
            found = growth("leaker", kind, "", line, Bound(bound), least_s=0)
            self.assertFalse(found.ok, found)
            self.assertAlmostEqual(found.added, 20, delta=5)
        self.assertIsNone(watch.held(life))

    def test_children_are_counted_together(self) -> None:
        shell = "sleep 60 & sleep 60 & wait"
        with subprocess.Popen(["sh", "-c", shell], start_new_session=True) as child:
            try:
                mine = watch.Life("sh", 1, child.pid)
                theirs = watch.Life("sh", 1, child.pid, children=True)
                end = time.monotonic() + 10
                while len(watch.below(child.pid, watch.parents())) < 2:
                    self.assertLess(time.monotonic(), end)
                self.assertEqual(watch.held(theirs)["threads"], 2)
                self.assertEqual(watch.held(mine)["threads"], 1)
            finally:
                subprocess.run(["kill", "-9", "--", f"-{child.pid}"], check=True)

    def test_age_of_the_view(self) -> None:
        text = "# TYPE a gauge\nblockfleet_view_age_seconds 0.25\nb 1\n"
        self.assertEqual(watch.view_age_s(text), 0.25)
        self.assertIsNone(watch.view_age_s("b 1\n"))


class PictureTest(unittest.TestCase):
    def test_a_line_of_text(self) -> None:
        ramp = [Sample(t, t) for t in range(80)]
        self.assertEqual(spark(ramp, 8), "▂▃▄▄▅▆▇█")
        gap = [Sample(0, 1), Sample(100, 1)]
        self.assertEqual(spark(gap, 4), "█  █")
        self.assertEqual(spark([]), "")

    def test_an_svg(self) -> None:
        ramp = [Sample(t, t) for t in range(80)]
        text = svg({"a < b": {"one": [ramp, ramp], "two": [ramp]}}, [(3, "kill & go")])
        root = ElementTree.fromstring(text)
        lines = root.findall("{http://www.w3.org/2000/svg}polyline")
        self.assertEqual(len(lines), 3)


if __name__ == "__main__":
    unittest.main()
