"""A fleet whose blocks run in sandboxes: the e2b backend against a server that
is E2B, control plane and data plane, and really runs what it is given."""

import json
import sys
import tempfile
import unittest
from pathlib import Path

from fleet import BLOCK, FULL, ROOT, Fleet, bfwire, spread_jobs
from harness import HANG_S, Cluster, Proc, wait_until
from reader import Reader

sys.path.insert(0, str(ROOT / "tests" / "providers"))

from e2b_server import E2BServer  # noqa: E402


def block(code: str) -> bytes:
    return bfwire.dump(json.loads(BLOCK) | {"run_function_code": code}).encode()


class E2BCase(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cluster = self.enterContext(Cluster())
        self.fleet = Fleet(self.cluster, self.folder, shards=4, spread=2)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()

    def serve(self, **more: object) -> E2BServer:
        self.e2b = self.enterContext(E2BServer(**more))
        return self.e2b

    def worker(self, name: str, **more: object) -> Proc:
        options = {
            "worker__backend": "e2b",
            "worker__drain": "2s",
            "e2b__creates": 20,
            **more,
        }
        started = self.fleet.worker(name, env=self.e2b.environment, **options)
        return self.fleet.started(started)

    def live(self) -> list[dict[str, object]]:
        found = self.e2b.ledger()["sandboxes"]
        return [one for one in found if one["state"] == "running"]

    def leave(self, worker: Proc) -> None:
        """It ends, and gives back what it had."""
        self.assertEqual(worker.stop(), 0)
        wait_until(lambda: not self.live(), HANG_S, "every sandbox to be gone")

    def run_forty(self, reader: Reader) -> None:
        jobs = spread_jobs(self.fleet, 40, 2, lambda n: {"inputs": b'{"n": %d}' % n})
        self.fleet.submit(jobs)
        reader.wait(lambda: len(reader.results) == 40, HANG_S, "all results")
        for key in reader.results:
            result = reader.only(key)
            self.assertEqual(result.outcome, "succeeded", result)
            self.assertEqual(json.loads(result.value), {"n": int(key[1][4:])})


class PathTest(E2BCase):
    def test_the_kernel_of_the_stock_template(self) -> None:
        self.serve()
        worker = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.run_forty(reader)
            self.assertLess(len(self.e2b.ledger()["sandboxes"]), 30, "used again")
            self.leave(worker)
            wait_until(
                lambda: any(row["kind"] == "idle" for row in reader.usage().values())
                or any(
                    json.loads(rec.value)["kind"] != "run"
                    for rec in reader.records["usage"]
                ),
                HANG_S,
                "idle time to be billed",
            )

    def test_processes_of_any_template(self) -> None:
        self.serve()
        worker = self.worker("w0", e2b__path="envd", e2b__template="base")
        with Reader(self.fleet) as reader:
            self.run_forty(reader)
        self.leave(worker)

    def test_an_older_cloud(self) -> None:
        self.serve(v2=False)
        worker = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.run_forty(reader)
        self.leave(worker)


class EndTest(E2BCase):
    def ends(self, **jobs: dict[str, object]) -> dict[str, bfwire.Result]:
        with Reader(self.fleet) as reader:
            self.fleet.submit(
                self.fleet.job("acme", name, **more) for name, more in jobs.items()
            )
            reader.wait(lambda: len(reader.results) == len(jobs), HANG_S, "results")
            return {name: reader.only(("acme", name, 0)) for name in jobs}

    def judge(self, path: str, template: str) -> None:
        self.serve()
        worker = self.worker("w0", e2b__path=path, e2b__template=template)
        large = b'{"n": "%s"}' % (b"x" * (5 << 20))
        found = self.ends(
            raises={"block": block("def run(self, n):\n    return 1 / 0\n")},
            slow={
                "block": block("def run(self, n):\n    time.sleep(60)\n"),
                "timeout_ms": 2000,
            },
            dies={"block": block("def run(self, n):\n    os.kill(os.getpid(), 9)\n")},
            large={"inputs": large},
        )
        ends = {name: (one.outcome, one.reason) for name, one in found.items()}
        self.assertEqual(
            ends,
            {
                "raises": ("failed", "user_error"),
                "slow": ("timed_out", "deadline"),
                "dies": ("failed", "crashed"),
                "large": ("succeeded", ""),
            },
        )
        self.assertEqual(json.loads(found["large"].value), json.loads(large))
        self.leave(worker)

    def test_ends_in_the_kernel(self) -> None:
        self.judge("execute", "code-interpreter-v1")

    def test_ends_of_processes(self) -> None:
        self.judge("envd", "base")


class FaultTest(E2BCase):
    def test_what_certainly_did_not_start_is_tried_again(self) -> None:
        server = self.serve()
        server.rules.add("execute", "vanish", share=0.05)
        server.rules.add("execute", "port_closed", share=0.05)
        server.rules.add("create", "status", status=503, share=0.1)
        server.rules.add("create", "status", status=429, share=0.1)
        worker = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.run_forty(reader)
        self.leave(worker)

    def test_a_create_whose_answer_is_lost_leaves_nothing(self) -> None:
        self.serve().rules.add("create", "close_after", count=2)
        worker = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.run_forty(reader)
        wait_until(
            lambda: sum(bool(one["ended"]) for one in self.ghosts()) >= 2,
            120,
            "the sweep to find both",
        )
        self.leave(worker)

    def ghosts(self) -> list[dict[str, object]]:
        """Sandboxes that ran nothing."""
        ledger = self.e2b.ledger()
        used = {run["sandbox"] for run in ledger["runs"]}
        return [one for one in ledger["sandboxes"] if one["id"] not in used]

    @unittest.skipUnless(FULL, "the breaker asks a refused key once a minute")
    def test_a_key_that_is_refused_loses_nothing(self) -> None:
        server = self.serve()
        rule = server.rules.add("create", "status", status=401)
        worker = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.fleet.submit([self.fleet.job("acme", "one")])
            worker.wait_json(lambda line: line.get("event") == "provider", HANG_S)
            self.assertNotIn(server.key, worker.log_text())
            rule.count = 0
            reader.wait(lambda: reader.results, 120, "a probe to get through")
            self.assertEqual(reader.only(("acme", "one", 0)).outcome, "succeeded")
        self.leave(worker)


class OwnerTest(E2BCase):
    def test_a_dead_workers_sandboxes_are_taken_over(self) -> None:
        self.serve()
        first = self.worker("w0")
        with Reader(self.fleet) as reader:
            self.run_forty(reader)
            old = {one["id"] for one in self.live()}
            self.assertTrue(old)
            first.kill9()
            second = self.worker("w1", e2b__sandboxes=40)
            sweep = f"{len(old)} to be asked for, or gone"
            wait_until(lambda: self.adopted(old) == old, 120, sweep)
        self.leave(second)

    def adopted(self, old: set[str]) -> set[str]:
        """Prepared by two workers, or ended."""
        ledger = self.e2b.ledger()
        gone = {one["id"] for one in ledger["sandboxes"] if one["ended"]}
        return old & (gone | self.connected)

    @property
    def connected(self) -> set[str]:
        return set(self._connected)

    def serve(self, **more: object) -> E2BServer:
        server = super().serve(**more)
        self._connected: list[str] = []

        def take(_plane: str, operation: str, request: object) -> None:
            if operation == "connect":
                self._connected.append(request.path.split("/")[3])

        server.capture(take)
        return server


if __name__ == "__main__":
    unittest.main()
