"""A fleet whose blocks run in sandboxes: the e2b backend against a server that
is E2B, control plane and data plane, and really runs what it is given."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

from fleet import BLOCK, ROOT, Fleet, bfwire, spread_jobs
from harness import HANG_S, Cluster, Proc, wait_until
from reader import Reader

sys.path.insert(0, str(ROOT / "tests" / "providers"))

from e2b_server import E2BServer  # noqa: E402


def block(code: str) -> bytes:
    return bfwire.dump(json.loads(BLOCK) | {"run_function_code": code}).encode()


class E2BTest(unittest.TestCase):
    PATH = "execute"
    TEMPLATE = "code-interpreter-v1"

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cluster = self.enterContext(Cluster())
        self.fleet = Fleet(self.cluster, self.folder, shards=4, spread=2)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()
        self.e2b = self.enterContext(E2BServer())

    def worker(self, name: str, **options: object) -> Proc:
        options = {
            "worker__backend": "e2b",
            "worker__drain": "2s",
            "e2b__path": self.PATH,
            "e2b__template": self.TEMPLATE,
            "e2b__creates": 20,
            **options,
        }
        return self.fleet.started(
            self.fleet.worker(name, env=self.e2b.environment, **options)
        )

    def live(self) -> list[dict[str, object]]:
        found = self.e2b.ledger()["sandboxes"]
        return [one for one in found if one["state"] == "running"]


class RunTest(E2BTest):
    def test_jobs_of_two_workspaces(self) -> None:
        worker = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.fleet.submit(
                spread_jobs(self.fleet, 40, 2, lambda n: {"inputs": b'{"n": %d}' % n})
            )
            reader.wait(lambda: len(reader.results) == 40, HANG_S, "all results")
            for key in reader.results:
                result = reader.only(key)
                self.assertEqual(result.outcome, "succeeded", result)
                self.assertEqual(json.loads(result.value), {"n": int(key[1][4:])})
        sandboxes = self.e2b.ledger()["sandboxes"]
        self.assertLess(len(sandboxes), 30, "they are used again")
        worker.terminate()
        self.assertEqual(worker.wait(HANG_S), 0)
        wait_until(lambda: not self.live(), HANG_S, "every sandbox to be gone")


if __name__ == "__main__":
    unittest.main()
