"""worker.processes: more cores are more processes, under one supervisor."""

import os
import shutil
import signal
import tempfile
import unittest
from pathlib import Path

from fleet import Fleet, spread_jobs
from harness import Cluster, Proc, wait_until
from oracle import Oracle

SHARDS = 6


class ProcessesTest(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="blockfleet-processes-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.cluster = self.enterContext(Cluster())
        self.fleet = Fleet(self.cluster, self.folder, shards=SHARDS)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()

    def children(self, worker: Proc) -> list[int]:
        """Those that are up, the dead ones left out."""
        pids = [
            line["pid"]
            for line in worker.log_json()
            if line.get("event") == "worker_up"
        ]
        return [pid for pid in pids if is_alive(pid)]

    def up(self, worker: Proc, count: int) -> list[int]:
        wait_until(
            lambda: len(self.children(worker)) == count, 20, f"{count} processes"
        )
        return self.children(worker)

    def test_a_child_that_dies_is_started_again(self) -> None:
        worker = self.fleet.worker("w", worker__processes=3, noop__delay="50ms")
        children = self.up(worker, 3)
        self.fleet.submit(spread_jobs(self.fleet, 300, 10, lambda n: {}))
        os.kill(children[0], signal.SIGKILL)
        wait_until(lambda: not is_alive(children[0]), 10, "death")
        self.assertEqual(len(set(self.up(worker, 3)) - set(children)), 1)
        oracle = Oracle(
            self.cluster.bootstrap, keys=self.fleet.keys.trusted(), shards=SHARDS
        )
        oracle.collect(lambda seen: len(seen.of("results")) >= 300, 60)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.children(worker), [])
        verdict = oracle.judge(self.fleet.run_logs, self.fleet.run_logs)
        self.assertTrue(verdict.ok, verdict)

    def test_children_do_not_outlive_the_supervisor(self) -> None:
        worker = self.fleet.worker("w", worker__processes=2)
        self.up(worker, 2)
        worker.kill9()
        wait_until(lambda: not self.children(worker), 20, "children leave")


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


if __name__ == "__main__":
    unittest.main()
