"""Blocks on Modal by its gRPC API, through a real broker and a server that has
Modal's own schema (providers/modal_api.py)."""

import json
import sys
import unittest
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

from cases import SharedCase
from fleet import bfwire
from harness import HANG_S, Proc, wait_until
from modal_api import ModalApi

EXACT = [
    b'{"n": NaN}',
    b' {"n":[1, 2.50,null ] }\n',
    b'{"n": "\\u0000\\ud800"}',
    '{"n": "caf\u00e9 \u2028 \U0001f600 \x7f"}'.encode(),
    b'{"n": "' + b'\\"\\\\/' * 1_000_000 + b'"}',  # through the store of blobs
]
SECRET = "as-0123456789abcdef"
# How a job ends: outcome, reason, delivery, attempt.
SUCCEEDED = ("succeeded", "", "ran", 1)
AT_SECOND = ("succeeded", "", "ran", 2)
NOBODY_KNOWS = ("dead", "attempts_exhausted", "unknown", 1)


def code(body: str) -> bytes:
    return bfwire.dump(
        {
            "run_function_code": f"import time\ndef run(self, **kw):\n    {body}\n",
            "run_function_name": "run",
            "imports": [],
        }
    ).encode()


class GrpcCase(SharedCase):
    engine = "echo"

    def setUp(self) -> None:
        super().setUp()
        tls = self.folder / "tls"
        tls.mkdir()
        self.api = ModalApi(
            tls,
            engine=self.engine,
            log=self.folder / "api.runs",
            token=("ak-test", SECRET),
        )
        self.addCleanup(self.api.close)
        self.jobs: list[bfwire.Job] = []
        self.expected: dict[str, tuple[str, str, str, int]] = {}

    def worker(self, name: str, secret: str = SECRET, **more: object) -> Proc:
        options = {
            "worker__backend": "modal",
            "modal__transport": "grpc",
            "modal__api_url": self.api.url,
            "modal__new_workspaces": 0,
            "worker__ca_file": self.api.ca,
            **more,
        }
        env = {"MODAL_TOKEN_ID": "ak-test", "MODAL_TOKEN_SECRET": secret}
        return self.fleet.worker(name, env=env, **options)

    def judge(self) -> None:
        """By the server's ledger."""
        verdict = self.oracle.judge()
        self.assertTrue(verdict.ok, str(verdict))
        started = [run.run_id for run in self.api.ledger]
        self.assertEqual(len(set(started)), len(started), "a run id ran twice")
        rows = [row for rows in self.usage().values() for row in rows]
        told = {row["run_id"]: row["delivery"] for row in rows}
        ran = {run for run, delivery in told.items() if delivery == "ran"}
        never = {run for run, delivery in told.items() if delivery == "did_not_run"}
        self.assertLessEqual(ran, set(started), "billed, and did not run")
        self.assertFalse(never & set(started), "ran, and is said not to have")
        self.assertEqual(set(started) - set(told), set(), "ran without a row")

    def no_secret_in_logs(self, *workers: Proc) -> None:
        tokens = [one.headers.get("x-modal-auth-token") for one in self.api.seen]
        for worker in workers:
            log = worker.log.read_text()
            for secret in {SECRET, *filter(None, tokens)}:
                self.assertNotIn(secret, log)

    def case(self, name: str, end: tuple[str, str, str, int], **more: Any) -> None:
        """A workspace a fault: the server's rules go by it."""
        self.jobs.append(self.fleet.job(name, name, **more))
        self.expected[name] = end

    def run_cases(self) -> None:
        self.fleet.submit(self.jobs)
        found = self.ends(len(self.jobs))
        for name, expected in self.expected.items():
            end, rec = found[name]
            with self.subTest(name):
                self.assertEqual(
                    (end.outcome, end.reason, end.delivery, end.subject.attempt),
                    expected,
                    rec.text("bf_report"),
                )


class GrpcTest(GrpcCase):
    slow = True

    def test_blocks_of_two_workers(self) -> None:
        self.api.delay_s = 0.002
        workers = [self.worker(name) for name in ("one", "two")]
        for worker in workers:
            worker.wait_json(lambda line: line.get("event") == "shard_open", HANG_S)
        jobs = [
            self.fleet.job(
                f"ws-{n % 12}",
                f"job-{n}",
                inputs=EXACT[n] if n < len(EXACT) else b'{"n": %d}' % n,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
            )
            for n in range(150)
        ]
        self.fleet.submit(jobs)
        found = self.ends(150)
        rows = self.usage()
        for job in jobs:
            end, rec = found[job.id]
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertTrue(rec.value == job.inputs, f"{job.id}: {rec.value[:99]!r}")
            self.assertEqual((end.backend, end.isolation), ("modal", "container"))
            (row,) = rows[job.id]
            run = next(r for r in self.api.ledger if r.run_id == row["run_id"])
            self.assertEqual(row["provider"]["function_call_id"], run.call)
            self.assertEqual(row["provider"]["task_id"], run.task)
            self.assertGreater(float(row["memory_gib_seconds"]), 0)
        # Each was asked for what does not change once, or hardly more.
        self.assertLessEqual(self.api.counts["FunctionGet"], 2)
        self.assertLessEqual(self.api.counts["FunctionBindParams"], 12 * 2 * 10)
        self.assertEqual(self.api.counts["FunctionMap"], 150)
        self.assertGreaterEqual(self.api.counts["blob_put"], 1)
        self.assertGreaterEqual(self.api.counts["blob_get"], 1)
        self.judge()
        for worker in workers:
            self.assertEqual(worker.stop(), 0)
        self.no_secret_in_logs(*workers)

    def fault(self, name: str, fault: str, rpc: str, **options: Any) -> None:
        self.api.rule(fault, rpc=rpc, workspace=name, **options)

    def plan_cuts(self) -> None:
        """These hit whoever is on the same connection, too: by its key the call
        that came through unseen is found."""
        for fault in ("disconnect", "goaway", "refused", "proxy", "half"):
            for ran in (False, True):
                name = f"map-{fault}-{ran}"
                self.fault(name, fault, "FunctionMap", ran=ran, count=1)
                self.case(name, SUCCEEDED)
            name = f"outputs-{fault}"
            self.fault(name, fault, "FunctionGetOutputs", ran=True, count=2)
            self.case(name, SUCCEEDED)

    def plan_statuses(self) -> None:
        for status in ("UNAVAILABLE", "INTERNAL", "UNKNOWN", "CANCELLED"):
            name = f"map-{status.lower()}"
            self.fault(name, "status", "FunctionMap", code=status, count=3)
            self.case(name, SUCCEEDED)
            name = f"outputs-{status.lower()}"
            self.fault(name, "status", "FunctionGetOutputs", code=status, count=9)
            self.case(name, SUCCEEDED)
        for status, count in (
            ("RESOURCE_EXHAUSTED", 2),
            ("NOT_FOUND", 1),
            ("UNAUTHENTICATED", 1),
        ):
            name = f"map-{status.lower()}"
            self.fault(name, "status", "FunctionMap", code=status, count=count)
            self.case(name, SUCCEEDED, max_attempts=1)
        self.fault("throttled", "throttle", "FunctionMap", seconds=0.3, count=2)
        self.case("throttled", SUCCEEDED, max_attempts=1)
        self.fault("throttled-long", "throttle", "FunctionMap", seconds=3, count=1)
        self.case("throttled-long", SUCCEEDED, max_attempts=1)
        self.fault("refuses", "status", "FunctionMap", code="INVALID_ARGUMENT")
        self.case("refuses", ("dead", "backend_refused", "did_not_run", 1))
        self.fault("never", "status", "FunctionMap", code="UNAVAILABLE")
        self.case("never", NOBODY_KNOWS, max_attempts=1)
        for fault in ("garbage", "compressed", "two"):
            self.fault(fault, fault, "FunctionMap", ran=True)
            self.case(fault, NOBODY_KNOWS, max_attempts=1)

    def plan_results(self) -> None:
        for name, end in {
            "INTERNAL_FAILURE": NOBODY_KNOWS,
            "FAILURE": NOBODY_KNOWS,
            "TERMINATED": NOBODY_KNOWS,
            "IDLE_TIMEOUT": NOBODY_KNOWS,
            "TIMEOUT": ("timed_out", "deadline", "ran", 1),
            "MEMORY_MANAGER_EVICTION": ("failed", "oom", "ran", 1),
        }.items():
            rpc = "FunctionGetOutputs"
            workspace = f"is-{name.lower()}"
            self.fault(workspace, "result", rpc, code=name, ran=True)
            self.case(workspace, end, max_attempts=1)
        self.fault("lost", "lost", "FunctionGetOutputs", ran=True)
        self.case("lost", NOBODY_KNOWS, max_attempts=1)
        self.fault("lost-once", "lost", "FunctionGetOutputs", ran=True, count=1)
        self.case("lost-once", AT_SECOND, max_attempts=2)

    def test_a_status_a_workspace(self) -> None:
        self.plan_statuses()
        self.plan_results()
        worker = self.worker("one")
        self.run_cases()
        self.judge()
        self.assertEqual(worker.stop(), 0)
        self.no_secret_in_logs(worker)

    def test_connections_that_are_cut(self) -> None:
        self.plan_cuts()
        worker = self.worker("one")
        self.run_cases()
        self.judge()
        self.assertGreater(self.api.counts["idempotent"], 2)
        self.assertEqual(worker.stop(), 0)

    def test_a_wrong_token_loses_nothing(self) -> None:
        wrong = self.worker("one", secret="as-wrong")
        jobs = [self.fleet.job("acme", f"job-{n}", inputs=b"{}") for n in range(5)]
        self.fleet.submit(jobs)
        said = wrong.wait_json(lambda line: line.get("event") == "provider", HANG_S)
        self.assertEqual(said["cause"], "bad_credentials")
        self.assertIn("MODAL_TOKEN_ID", said["error"])
        self.assertEqual(wrong.stop(), 0)
        right = self.worker("two")
        for end, _ in self.ends(5).values():
            self.assertEqual(end.outcome, "succeeded")
        self.judge()
        self.assertEqual(right.stop(), 0)


class RunningTest(GrpcCase):
    """Really runs the code."""

    engine = "runner"
    slow = True

    def block(self, name: str, body: str, **more: Any) -> bfwire.Job:
        return self.fleet.job(name, name, block=code(body), **more)

    def test_code_runs_and_its_time_is_kept(self) -> None:
        worker = self.worker("one")
        slow = self.block("slow", "time.sleep(600)", timeout_ms=1500)
        quick = self.block("quick", "return {'n': 1}")
        self.fleet.submit([slow, quick, self.block("raises", "raise ValueError(7)")])
        found = self.ends(3)
        self.assertEqual(found["slow"][0].outcome, "timed_out")
        self.assertEqual(found["quick"][0].outcome, "succeeded")
        self.assertEqual(json.loads(found["quick"][1].value), {"n": 1})
        self.assertEqual(found["raises"][0].outcome, "failed")
        self.judge()
        self.assertEqual(worker.stop(), 0)

    def test_a_call_that_nobody_waits_for_is_cancelled(self) -> None:
        self.api.patient = True
        worker = self.worker("one", modal__startup="1s")
        self.fleet.submit([self.block("slow", "time.sleep(600)", timeout_ms=500)])
        self.assertEqual(self.ends(1)["slow"][0].outcome, "timed_out")
        wait_until(lambda: self.api.counts["cancelled"] == 1, HANG_S, "a cancel")
        (run,) = self.api.ledger
        self.assertFalse(self.api.run_of(run.call).result(HANG_S)["success"])
        self.judge()
        self.assertEqual(worker.stop(), 0)


if __name__ == "__main__":
    unittest.main()
