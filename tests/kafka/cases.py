"""Test cases that have a fleet: its broker, topics, keys, workers and oracle."""

import json
import shutil
import tempfile
import unittest
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from fleet import Fleet, bfwire
from harness import HANG_S, Cluster, Proc
from oracle import Oracle


class FleetCase(unittest.TestCase):
    """A cluster and a fleet for each test; both go when the test does."""

    nodes = 1
    proxied = False
    shards = 4
    cluster: Cluster
    fleet_name = ""

    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="blockfleet-test-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        self.make_cluster()
        self.fleet = Fleet(self.cluster, self.folder, self.shards, name=self.fleet_name)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()
        self.oracle = Oracle(
            self.cluster.bootstrap,
            self.fleet.prefix,
            self.fleet.keys.trusted(),
            self.shards,
        )

    def make_cluster(self) -> None:
        self.cluster = self.enterContext(Cluster(self.nodes, proxied=self.proxied))

    def ends(
        self, count: int, timeout_s: float = HANG_S
    ) -> dict[str, tuple[bfwire.Result, bfwire.Record]]:
        """The results by job, once there are so many."""
        seen = self.oracle.collect(
            until=lambda seen: len(seen.of("results")) >= count, timeout_s=timeout_s
        )
        found = {}
        for rec in seen.of("results"):
            result = bfwire.result_parse(rec)
            found[result.subject.job] = result, rec
        return found

    def usage(self) -> dict[str, list[dict[str, Any]]]:
        """The rows of each job that the oracle has seen, by attempt."""
        rows = [json.loads(rec.value) for rec in self.oracle.evidence.of("usage")]
        found: dict[str, list[dict[str, Any]]] = {}
        for row in sorted(rows, key=lambda row: row["attempt"]):
            found.setdefault(row["job"], []).append(row)
        return found

    def judge(self, killed: Iterable[Proc] = ()) -> None:
        """killed: workers that died with runs in flight."""
        logs = [self.folder / f"{worker.name}.runs" for worker in killed]
        verdict = self.oracle.judge(self.fleet.run_logs, logs)
        self.assertTrue(verdict.ok, str(verdict))


class SharedCase(FleetCase):
    """One cluster for the class. Each test has a fleet of its own on it, named
    as the test is: topics, group, keys."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster(cls.nodes, proxied=cls.proxied))

    def make_cluster(self) -> None:
        self.fleet_name = self.id().rpartition(".")[2]
