"""A team that writes to Kafka itself, with a key that is bound to its workspace.

Does what dispatcher/clients/README.md tells a newcomer to do, by the real programs.
"""

import json
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from fleet import BIN, ROOT, Fleet
from harness import HANG_S, Cluster
from reader import Reader

PRODUCER = ROOT / "dispatcher" / "clients" / "sign_producer.py"
LINES = 130  # signed as 64, 64 and 2
BLOCK = {"run_function_code": "def run(self, n):\n    return {'n': n}\n"}


class DirectProducerTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cluster = self.enterContext(Cluster())
        self.fleet = Fleet(self.cluster, self.folder, shards=6)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()
        self.key = self.keys()

    def keys(self) -> Path:
        """The team's private key; the fleet trusts its public line."""
        own = self.folder / "team"
        told = self.blockfleet("keys", "new", "job", "-w", "acme", f"--keys.dir={own}")
        line = re.search(r"job ed25519 \S+ workspaces=acme", told)
        assert line is not None, told
        trust = "keys", "trust", f"--keys.dir={self.fleet.keys.folder}"
        self.blockfleet(*trust, *line[0].split())
        return next(own.glob("job.*.key"))

    def blockfleet(self, *words: object) -> str:
        argv = [str(BIN / "blockfleet"), *map(str, words)]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S)
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout

    def produce(self, workspace: str, batch: str, lines: int) -> None:
        words = self.cluster.bootstrap, self.key, workspace, batch, json.dumps(BLOCK)
        argv = [sys.executable, str(PRODUCER), *map(str, words)]
        text = "".join(f'{{"n": {n}}}\n' for n in range(lines))
        subprocess.run(argv, input=text, text=True, check=True, timeout=HANG_S)

    def test_its_own_jobs_run_and_others_are_dead_lettered(self) -> None:
        self.fleet.started(self.fleet.worker("w0"))
        with Reader(self.fleet, check=False) as reader:
            self.produce("acme", "first", LINES)
            reader.wait(lambda: len(reader.results) == LINES, HANG_S, "all results")
            self.produce("acme", "first", LINES)  # runs nothing twice
            self.produce("other", "second", 3)
            self.produce("acme", "last", 1)
            last = ("acme", "last-0", 0)
            reader.wait(lambda: last in reader.results, HANG_S, "the last result")
            reader.wait(lambda: len(reader.letters) == 3, HANG_S, "three letters")
        self.assertEqual(len(reader.results), LINES + 1)
        for n in range(LINES):
            result = reader.only(("acme", f"first-{n}", 0))
            self.assertEqual(result.outcome, "succeeded")
        for (letter,) in reader.letters.values():
            self.assertEqual(letter.text("bf_trust"), "untrusted")
            why = letter.text("__connect.errors.exception.class.name")
            self.assertEqual(why, "unknown_key")
            self.assertEqual(letter.key, b"other")
        # The worker trusts the key for acme, and nobody made other's results.
        self.assertEqual({name for name, _, _ in reader.results}, {"acme"})
