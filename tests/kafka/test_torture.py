"""Memory runs out: each of our own allocations fails in turn, or many at
random (tests/support/fail_alloc.c). Nobody crashes, nothing is lost or doubled.
"""

import os
import re
import subprocess
import tempfile
import unittest
from collections.abc import Iterator, Sequence
from pathlib import Path

from fleet import BIN, FULL, Keys
from harness import HANG_S
from test_crash import CrashCase

OUT_OF_MEMORY = "memory"
BLOCK = "def run(self, n):\n    return {'n': n}\n"


class EachTest(unittest.TestCase):
    """Commands that need no broker, run once for each allocation they make."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.keys = Keys(self.folder / "keys")
        (self.folder / "block.py").write_text(BLOCK)
        (self.folder / "fleet.ini").write_text("fleet = main\n[worker]\nwindow = 64\n")

    def run_with(self, plan: str, argv: Sequence[str]) -> tuple[int, str]:
        done = subprocess.run(
            [str(BIN / argv[0]), *argv[1:]],
            env={**os.environ, "BLOCKFLEET_TEST_ALLOC": plan},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
        )
        return done.returncode, done.stdout

    def one_at_a_time(self, argv: Sequence[str]) -> Iterator[tuple[int, str]]:
        n, total = 0, 1
        while n < total:
            code, text = self.run_with(f"{n}:0:0", argv)
            found = re.findall(r"^(\d+) allocations$", text, re.MULTILINE)
            self.assertTrue(found, f"{argv}, allocation {n}: {code} {text}")
            total = int(found[-1])
            yield code, f"allocation {n} of {argv}: {text}"
            n += 1
        self.assertGreater(n, 10, argv)

    def each(self, *argv: str, codes: tuple[int, ...]) -> None:
        """Fails by its exit code and says why, or does without."""
        for code, text in self.one_at_a_time(argv):
            self.assertIn(code, codes, text)
            if code == codes[-1]:
                self.assertIn(OUT_OF_MEMORY, text)

    def test_keys(self) -> None:
        folder = str(self.keys.folder)
        self.each("blockfleet", "keys", "list", "--keys.dir", folder, codes=(0, 7))

    def test_configuration(self) -> None:
        file = str(self.folder / "fleet.ini")
        self.each("blockfleet", "keys", "list", "--config", file, "--keys.dir",
                  str(self.keys.folder), codes=(0, 7))  # fmt: skip

    def test_help(self) -> None:
        self.each("blockfleet", "help", "--markdown", codes=(0, 7))


class ManyTest(CrashCase):
    """Workers without enough memory end in order, one after another, each
    somewhere else in its work; another one goes on."""

    def test_workers_run_out_of_memory(self) -> None:
        deaths = 60 if FULL else 6

        def break_things() -> None:
            for n in range(deaths):
                plan = {"BLOCKFLEET_TEST_ALLOC": f"{n * 4000 // deaths}:100:{n}"}
                poor = self.start(f"poor-{n}", env=plan)
                self.may_lose(poor)
                self.feed_until_dead(poor, "want of memory")
                self.assertGreater(poor.returncode, 0, poor.tail())
                self.assertIn(OUT_OF_MEMORY, poor.tail())
            self.start("rich")

        self.judged(0, break_things)


if __name__ == "__main__":
    unittest.main()
