"""Several dispatchers, and one whose disk or broker is in the way."""

import resource
import statistics
import tempfile
import time
import unittest
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from dispatching import (
    SHARDS,
    Dispatcher,
    DispatcherCase,
    FakeWorker,
    Keys,
    job,
    make_topics,
    read_all,
)
from harness import HANG_S, Cluster, Procs, wait_until


class ReplicaTest(DispatcherCase):
    alone = True  # it measures how soon one tells what another took

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        names = ("one", "other")
        cls.one, cls.other = (cls.new_dispatcher(name).start() for name in names)
        cls.worker = FakeWorker(cls.cluster.bootstrap, cls.keys, SHARDS)

    def end(self, workspace: str, name: str) -> None:
        jobs = read_all(self.cluster.bootstrap, "bf.jobs", SHARDS)
        found = {(r.key, r.text("bf_job")): r for r in jobs}
        source = found[workspace.encode(), name]
        self.worker.finish([self.worker.end(source)])

    def test_what_one_took_another_tells_within_a_second(self) -> None:
        def seconds_until(condition: Callable[[], bool]) -> float:
            started = time.monotonic()
            wait_until(condition, HANG_S, "the other replica", every_s=0.01)
            return time.monotonic() - started

        def told(by: Dispatcher, name: str) -> Any:
            answer = by.get(f"/v1/jobs/{name}", workspace="twice")
            return answer.json() if answer.status == 200 else {"status": None}

        def all_say(name: str, status: str) -> bool:
            both = (self.one, self.other)
            return all(told(by, name)["status"] == status for by in both)

        accepted, ended = [], []
        for name in (f"j{n}" for n in range(9)):
            self.assertEqual(self.one.post(job("twice", id=name)).status, 202)
            accepted.append(seconds_until(partial(all_say, name, "waiting")))
            self.end("twice", name)
            ended.append(seconds_until(partial(all_say, name, "succeeded")))
            first, second = (told(by, name) for by in (self.one, self.other))
            self.assertEqual({**first, "as_of": None}, {**second, "as_of": None})
        # The median: one that the machine held up says nothing.
        self.assertLess(statistics.median(accepted), 1, accepted)
        self.assertLess(statistics.median(ended), 1, ended)

    def test_a_full_disk_stops_reads_and_not_posts(self) -> None:
        full = self.new_dispatcher("full").start()
        self.addCleanup(lambda: full.proc and full.proc.stop())
        self.assertEqual(full.post(job("full", id="before")).status, 202)
        self.assertEqual(full.get("/v1/jobs/before", workspace="full").status, 200)
        assert full.proc is not None

        def may_write(size: int) -> None:
            """As if the disk had that much room for each file."""
            assert full.proc is not None
            hard = resource.RLIM_INFINITY
            resource.prlimit(full.proc.pid, resource.RLIMIT_FSIZE, (size, hard))

        may_write(4096)

        def refused() -> bool:
            # Something has to be written for the view to find out.
            self.assertEqual(full.post(job("full")).status, 202)
            return full.get("/v1/jobs/before", workspace="full").status == 503

        wait_until(refused, HANG_S, "reads to be refused")
        answer = full.get("/v1/jobs/before", workspace="full")
        self.assertEqual(answer.status, 503)
        self.assertRegex(answer.json()["detail"], "disk")
        self.assertEqual(full.get("/readyz").status, 503)
        self.assertEqual(full.post(job("full", id="meanwhile")).status, 202)
        self.assertTrue(full.proc.alive())

        may_write(resource.RLIM_INFINITY)
        full.wait_ready()
        for name in ("before", "meanwhile"):
            told = full.get(f"/v1/jobs/{name}", workspace="full").json()
            self.assertEqual(told["status"], "waiting")
        want = self.one.get("/v1/jobs", workspace="full", limit=1000).json()["jobs"]
        got = full.get("/v1/jobs", workspace="full", limit=1000).json()["jobs"]
        self.assertEqual([row["job"] for row in got], [row["job"] for row in want])


class AwayTest(unittest.TestCase):
    def test_r4_a_broker_that_comes_later_is_found(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-away-")
        self.addCleanup(temporary.cleanup)
        folder = Path(temporary.name)
        keys = Keys(folder / "keys")
        procs = self.enterContext(Procs(folder / "logs"))
        with Cluster() as cluster:
            make_topics(cluster.bootstrap, SHARDS)
            cluster.brokers[0].kill9()
            dispatcher = Dispatcher(procs, cluster.bootstrap, keys, folder)
            dispatcher.start(ready=False)
            for answer in (
                dispatcher.post(job("away")),
                dispatcher.get("/v1/jobs", workspace="away"),
                dispatcher.get("/readyz"),
            ):
                self.assertEqual(answer.status, 503, answer.body)
            self.assertEqual(dispatcher.get("/healthz").status, 200)
            cluster.brokers[0].restart()
            dispatcher.wait_ready()
            self.assertEqual(dispatcher.post(job("away", id="j")).status, 202)
            told = dispatcher.get("/v1/jobs/j", workspace="away").json()
            self.assertEqual(told["status"], "waiting")
            assert dispatcher.proc is not None
            self.assertEqual(dispatcher.proc.stop(), 0)


if __name__ == "__main__":
    unittest.main()
