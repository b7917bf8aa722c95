"""Blocks on Modal, through a real broker and a server that is Modal's web edge
with everything that goes wrong there (providers/modal_edge.py)."""

import gzip
import importlib
import json
import os
import sys
import threading
import unittest
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

from block_server import trusted_run_keys
from cases import SharedCase
from fleet import BLOCK, FULL, ROOT, bfwire, now_ms
from harness import HANG_S, Proc, wait_until
from modal_edge import ModalEdge, Rule, Run

EXACT = [
    b'{"n": NaN}',
    b'{"n": 1e400, "m": 9223372036854775808}',
    b' {"n":[1, 2.50,null ] }\n',
    b'{"n": "\\u0000\\ud800"}',
    '{"n": "caf\u00e9 \u2028 \U0001f600 \x7f"}'.encode(),
    b'{"n": "' + b'\\"\\\\/' * 100_000 + b'"}',
]
BLOCK_WITH_INIT = bfwire.dump(
    {
        **json.loads(BLOCK),
        "run_function_code": "def run(self, n):\n"
        "    return {'n': n + self._init_results['more']}\n",
        "init_function_code": "def init():\n    return {'more': 100}\n",
    }
).encode()
CAPTURED = ROOT / "tests" / "providers" / "captured" / "webexec.json"
SECRET = "ws-0123456789abcdef"
# How a job ends: outcome, reason, delivery, attempt.
SUCCEEDED = ("succeeded", "", "ran", 1)
AT_SECOND = ("succeeded", "", "ran", 2)
# A usage row: attempt, delivery, runs, billable.
RAN = (1, "ran", "1", True)
RAN_SECOND = (2, *RAN[1:])
DID_NOT_RUN = (1, "did_not_run", "0", False)
UNKNOWN = (1, "unknown", "1", False)


class ModalCase(SharedCase):
    def serve(self, **more: Any) -> ModalEdge:
        trusted = self.fleet.keys.folder / "trusted"
        options = {
            "engine": "echo",
            "log": self.folder / "edge.runs",
            "keys": trusted_run_keys(trusted),
            "hop_s": 0.2,
            **more,
        }
        self.edge = self.enterContext(ModalEdge(**options))
        self.edge.tokens = {}
        return self.edge

    def worker(self, name: str, **more: object) -> Proc:
        """Each has a token of its own, so that the edge knows whose runs are
        whose."""
        token = f"wk-{name}"
        self.edge.tokens[token] = SECRET
        return self.start(name, token, **more)

    def start(self, name: str, token: str, **more: object) -> Proc:
        options = {
            "worker__backend": "modal",
            "modal__url": self.edge.url + "/",
            **more,
        }
        env = {"MODAL_TOKEN_ID": token, "MODAL_TOKEN_SECRET": SECRET}
        return self.fleet.worker(name, env=env, **options)

    def metered(self) -> dict[str, list[tuple[int, str, str, bool]]]:
        return {
            job: [
                (row["attempt"], row["delivery"], row["runs"], row["billable"])
                for row in rows
            ]
            for job, rows in self.usage().items()
        }

    def told(self) -> dict[str, str]:
        """What the usage rows say of each run."""
        rows = [row for rows in self.usage().values() for row in rows]
        return {row["run_id"]: row["delivery"] for row in rows}

    def judge(self, killed: tuple[str, ...] = ()) -> None:
        """By the edge's ledger; killed: workers."""
        verdict = self.oracle.judge()
        self.assertTrue(verdict.ok, str(verdict))
        started = [run.run_id for run in self.edge.ledger]
        self.assertEqual(len(set(started)), len(started), "a run id ran twice")
        told = self.told()
        ran = {run for run, delivery in told.items() if delivery == "ran"}
        never = {run for run, delivery in told.items() if delivery == "did_not_run"}
        self.assertLessEqual(ran, set(started), "billed, and did not run")
        self.assertFalse(never & set(started), "ran, and is said not to have")
        rest = [run for run in self.edge.ledger if run.run_id not in told]
        theirs = {f"wk-{name}" for name in killed}
        self.assertLessEqual({run.token for run in rest}, theirs, "ran without a row")

    def no_secrets(self, *workers: Proc) -> None:
        for worker in workers:
            self.assertNotIn(SECRET, worker.log_text())

    def reach(self, runs: int) -> None:
        wait_until(lambda: len(self.edge.ledger) >= runs, HANG_S, f"{runs} runs")


class WebTest(ModalCase):
    maxDiff = None

    def test_results_are_the_same_bytes_over_redirects_too(self) -> None:
        edge = self.serve()
        edge.rule("redirect", share=0.3)
        edge.rule("redirect", at="result", share=0.3)
        workers = [self.fleet.started(self.worker(name)) for name in ("one", "two")]
        jobs = [
            self.fleet.job(
                f"ws-{n % 12}",
                f"job-{n}",
                inputs=EXACT[n] if n < len(EXACT) else b'{"n": %d}' % n,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
            )
            for n in range(200)
        ]
        self.fleet.submit(jobs)
        found, metered = self.ends(len(jobs)), self.metered()
        for job in jobs:
            end, rec = found[job.id]
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertTrue(rec.value == job.inputs, f"{job.id}: {rec.value[:99]!r}")
            self.assertEqual(end.backend, "modal")
            self.assertEqual(metered[job.id], [RAN])
        self.assertEqual(len(edge.runs), len(jobs))
        self.assertGreater(edge.stats["redirected"], 30)
        self.assertNotIn("refused", edge.stats)
        self.assertEqual(edge.stats["gzipped"], 1, "the one that pays")
        key = bfwire.key_id(bfwire.public_bytes(self.fleet.keys.private["run"]))
        self.assertEqual({run.key for run in edge.ledger}, {key})
        calls = {run.run_id: run.call for run in edge.ledger}
        rows = [row for rows in self.usage().values() for row in rows]
        for row in rows:
            said = row["provider"]["function_call_id"]
            self.assertEqual(said, calls[row["run_id"]])
        self.judge()
        self.no_secrets(*workers)
        for worker in workers:
            self.assertEqual(worker.stop(), 0)

    def test_real_blocks_whose_code_is_forgotten(self) -> None:
        edge = self.serve(engine="runner", containers=2, hop_s=0.05)
        worker = self.fleet.started(self.worker("worker"))
        for part in range(3):
            self.fleet.submit(
                self.fleet.job(
                    "ws",
                    f"job-{part}-{n}",
                    inputs=b'{"n": %d}' % n,
                    block=BLOCK_WITH_INIT if n % 2 else BLOCK,
                )
                for n in range(10)
            )
            found = self.ends(10 * part + 10)
            edge.forget()
        for name, (end, rec) in found.items():
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            n = int(name.split("-")[2])
            self.assertEqual(json.loads(rec.value), {"n": n + 100 * (n % 2)})
        self.assertGreaterEqual(edge.stats["unknown_code_hash"], 2)
        self.assertEqual(len(edge.runs), 30)
        self.judge()
        self.assertEqual(worker.stop(), 0)

    # ---- a workspace a fault: the edge's rules go by it

    def case(
        self, name: str, end: tuple, rows: list[tuple] | None = None, **more: object
    ) -> None:
        patient = {"timeout_ms": 60_000, **more}
        self.jobs.append(self.fleet.job(name, name, **patient))
        self.expected[name] = end
        self.rows[name] = rows or [RAN]

    def fault(self, name: str, fault: str, **options: object) -> Rule:
        return self.edge.rule(fault, workspace=name, **options)

    def plan_those_that_did_not_run(self) -> None:
        for fault in ("rate_limit", "missing_request", "invalid_call"):
            self.fault(fault, fault, count=1)
            self.case(fault, SUCCEEDED, execution="at_most_once")
        self.fault("later", "rate_limit", retry_after=3, count=1)
        self.case("later", SUCCEEDED, max_attempts=1)
        self.fault("turned_away", "turned_away", count=2)
        self.case("turned_away", SUCCEEDED, execution="at_most_once")
        self.fault("over", "status", count=2)
        self.case("over", SUCCEEDED, max_attempts=1)
        self.fault("down", "status")
        late = ("expired", "", "did_not_run", 1)
        self.case("down", late, [DID_NOT_RUN], expires_at_ms=now_ms() + 6000)
        refused = ("dead", "backend_refused", "did_not_run", 1)
        self.fault("method", "bad_redirect_method")
        self.case("method", refused, [DID_NOT_RUN])

    def plan_those_that_nobody_knows(self) -> None:
        lost = ("dead", "attempts_exhausted", "unknown", 1)
        for fault in (
            "lost_input",
            "init_failure",
            "close_unread",
            "close_before",
            "close_after",
            "reset_before",
            "reset_after",
            "truncate",
            "wrong_length",
            "short_length",
            "garbage",
            "nonsense",
            "bomb",
            "elsewhere",
            "other_call",
            "no_location",
        ):
            self.fault(fault, fault, count=1, bytes=32 << 20)
            self.case(fault, lost, [UNKNOWN], execution="at_most_once")
            again = f"{fault}-again"
            self.fault(again, fault, count=1, bytes=32 << 20)
            self.case(again, AT_SECOND, [UNKNOWN, RAN_SECOND])

    def plan_what_happens_to_results(self) -> None:
        for fault in ("missing_request", "close_before", "rate_limit", "invalid_call"):
            name = f"result-{fault}"
            self.fault(name, "redirect", count=1)
            self.fault(name, fault, at="result", count=2)
            self.case(name, SUCCEEDED, execution="at_most_once")
        lost = ("dead", "attempts_exhausted", "unknown", 1)
        for fault in ("truncate", "elsewhere", "other_call"):
            name = f"result-{fault}"
            self.fault(name, "redirect", count=1)
            self.fault(name, fault, at="result", count=1)
            self.case(name, lost, [UNKNOWN], execution="at_most_once")
        self.fault("gone", "redirect", count=1)
        self.fault("gone", "invalid_call", at="result")
        self.case("gone", lost, [UNKNOWN], execution="at_most_once")
        self.fault("chain", "redirect", count=1)
        self.fault("chain", "redirect", at="result", count=3)
        self.case("chain", SUCCEEDED, execution="at_most_once")

    def plan_those_that_ran(self) -> None:
        timed_out = ("timed_out", "deadline", "ran", 1)
        self.fault("timed-out", "timed_out")
        self.case("timed-out", timed_out)
        self.fault("terminated", "terminated")
        self.case("terminated", ("failed", "crashed", "ran", 1))
        self.fault("hang", "hang")
        self.case("hang", timed_out, timeout_ms=700)
        for fault in ("redirect", "missing_request"):
            name = f"endless-{fault}"
            self.fault(name, "redirect")
            self.fault(name, fault, at="result")
            self.case(name, timed_out, timeout_ms=700)
        large = ("failed", "output_too_large", "ran", 1)
        for fault in ("oversize", "endless"):
            self.fault(fault, fault, bytes=64 << 20)
            self.case(fault, large)
        self.fault("drip", "slow", seconds=600)
        self.case("drip", timed_out, timeout_ms=700)
        self.fault("slow", "slow", seconds=0.5)
        self.case("slow", SUCCEEDED)
        self.fault("headers", "headers", bytes=40_000)
        self.case("headers", SUCCEEDED)

    def plan_what_harms_others(self) -> None:
        """Who sends on that connection next cannot know whether it arrived."""
        self.fault("drop", "drop_idle")
        self.case("drop", SUCCEEDED)

    def test_each_fault_is_what_the_table_says(self) -> None:
        self.jobs: list[bfwire.Job] = []
        self.expected: dict[str, tuple] = {}
        self.rows: dict[str, list] = {}
        self.serve()
        worker = self.fleet.started(self.worker("worker", modal__startup="1s"))
        self.plan_those_that_did_not_run()
        self.plan_those_that_nobody_knows()
        self.plan_what_happens_to_results()
        self.plan_those_that_ran()
        for n in range(60):
            self.case(f"fine-{n}", SUCCEEDED)
        self.fleet.submit(self.jobs)
        self.ends(len(self.jobs))
        self.plan_what_harms_others()
        self.fleet.submit(self.jobs[-1:])
        found = self.ends(len(self.jobs))
        told = {
            name: (end.outcome, end.reason, end.delivery, end.subject.attempt)
            for name, (end, _) in found.items()
        }
        self.assertEqual(told, self.expected)
        self.assertEqual(self.metered(), self.rows)
        self.judge()
        self.no_secrets(worker)
        self.assertEqual(worker.stop(), 0)

    def test_a_credential_that_is_refused_loses_nothing(self) -> None:
        self.serve()
        jobs = [self.fleet.job("ws", f"job-{n}") for n in range(5)]
        wrong = self.fleet.started(self.start("wrong", "wk-nobody"))
        self.fleet.submit(jobs)
        wrong.wait_log("MODAL_TOKEN_ID", HANG_S)
        self.assertEqual(wrong.stop(), 0)
        self.assertEqual(self.edge.runs, [])
        self.edge.trust({})
        unknown = self.fleet.started(self.worker("unknown"))
        unknown.wait_log("signature", HANG_S)
        self.assertEqual(unknown.stop(), 0)
        self.assertEqual(self.edge.runs, [])
        self.edge.trust(trusted_run_keys(self.fleet.keys.folder / "trusted"))
        faults = ("spend_limit", "app_stopped", "workspace_disabled")
        for fault in faults if FULL else faults[:1]:
            rule = self.edge.rule(fault)
            worker = self.fleet.started(self.worker(fault.replace("_", "-")))
            wait_until(lambda rule=rule: rule.hits > 0, HANG_S, fault)
            wait = {"spend_limit": "spend limit", "app_stopped": "stopped"}
            worker.wait_log(wait.get(fault, "disabled"), HANG_S)
            self.assertEqual(worker.stop(), 0)
            self.assertEqual(self.edge.runs, [])
            rule.count = 0
        last = self.fleet.started(self.worker("last"))
        ends = [end for end, _ in self.ends(len(jobs)).values()]
        told = {(end.outcome, end.subject.attempt) for end in ends}
        self.assertEqual(told, {("succeeded", 1)})
        self.judge()
        self.no_secrets(wrong, last)

    def test_a_key_is_changed_and_no_run_is_lost(self) -> None:
        edge = self.serve()
        old = self.fleet.started(self.worker("old"))
        numbers = iter(range(1000))

        def submit(count: int) -> None:
            self.fleet.submit(
                self.fleet.job(f"ws-{n % 5}", f"job-{n}")
                for n in (next(numbers) for _ in range(count))
            )

        submit(30)
        self.reach(30)
        # First everybody who checks trusts the new key, then it signs.
        new = self.fleet.keys._make("run")
        edge.trust(trusted_run_keys(self.fleet.keys.folder / "trusted"))
        submit(30)
        self.reach(60)
        young = self.fleet.started(self.worker("young"))
        submit(30)
        self.assertEqual(old.stop(), 0)
        submit(30)
        ends = [end for end, _ in self.ends(120).values()]
        self.assertEqual(
            {(e.outcome, e.subject.attempt) for e in ends}, {("succeeded", 1)}
        )
        by = defaultdict(set)
        for run in edge.ledger:
            by[run.token].add(run.key)
        ids = [
            bfwire.key_id(bfwire.public_bytes(key))
            for key in (self.fleet.keys.private["run"], new)
        ]
        self.assertEqual(by, {"wk-old": {ids[0]}, "wk-young": {ids[1]}})
        self.assertNotIn("refused", edge.stats)
        self.judge()
        self.assertEqual(young.stop(), 0)

    def test_the_app_that_is_deployed(self) -> None:
        """worker/runner/modal_app.py, with Modal's edge before it."""
        app = self.deployed()
        containers: list[Any] = []

        async def container(workspace: str) -> Any:
            made = app.Container(app.SETTINGS)
            containers.append(made)
            await made.start()
            made.open(workspace)
            return made.application

        edge = self.serve(app=container)

        async def stop() -> None:
            for made in containers:
                await made.stop()

        self.addCleanup(lambda: edge.server.run(stop()))
        worker = self.fleet.started(self.worker("worker", modal__gzip="on"))
        raises = {
            **json.loads(BLOCK),
            "run_function_code": "def run(self, n):\n    print('out')\n    n.x\n",
        }
        failing = {"block": bfwire.dump(raises).encode()}
        loops = {
            **json.loads(BLOCK),
            "run_function_code": "def run(self, n):\n    while True: pass\n",
        }
        slow = {"block": bfwire.dump(loops).encode(), "timeout_ms": 400}
        jobs = [
            self.fleet.job(
                f"ws-{n % 2}",
                f"job-{n}",
                inputs=b'{"n": %d}' % n,
                **(failing if n == 18 else slow if n == 19 else {}),
            )
            for n in range(20)
        ]
        self.fleet.submit(jobs)
        found, usage = self.ends(20), self.usage()
        for n, job in enumerate(jobs[:18]):
            end, rec = found[job.id]
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertEqual(json.loads(rec.value), {"n": n})
        end, rec = found["job-18"]
        self.assertEqual((end.outcome, end.reason), ("failed", "user_error"))
        self.assertIn("AttributeError", rec.text("bf_report"))
        end, _ = found["job-19"]
        self.assertEqual((end.outcome, end.reason), ("timed_out", "deadline"))
        (row,) = usage["job-19"]
        self.assertLess(abs(float(row["duration_seconds"]) - 0.4), 0.3)
        verdict = self.oracle.judge()
        self.assertTrue(verdict.ok, str(verdict))
        self.assertEqual(len(edge.ledger), 20)
        self.assertEqual(set(edge.stats) & {"answered_401", "answered_503"}, set())
        self.assertEqual(worker.stop(), 0)

    def deployed(self) -> Any:
        keys = (self.fleet.keys.folder / "trusted").read_text()
        sys.path.insert(0, str(ROOT / "worker" / "runner"))
        with mock.patch.dict(os.environ, {"BLOCKFLEET_RUN_KEYS": keys}):
            sys.modules.pop("modal_app", None)
            return importlib.import_module("modal_app")

    # ---- HTTP/2

    def test_over_tls_many_on_one_connection(self) -> None:
        edge = self.serve(tls=self.folder)
        edge.rule("redirect", share=0.2)
        # As many as the edge allows on a connection; curl opens one for each
        # that is beyond.
        worker = self.fleet.started(
            self.worker(
                "worker",
                worker__ca_file=self.folder / "tls.crt",
                worker__concurrency=64,
            )
        )
        jobs = 200
        self.fleet.submit(
            self.fleet.job(f"ws-{n % 7}", f"job-{n}") for n in range(jobs)
        )
        ends = [end for end, _ in self.ends(jobs).values()]
        self.assertEqual({end.outcome for end in ends}, {"succeeded"})
        self.assertLess(edge.server.connections, 10)
        self.assertEqual({run.version for run in edge.ledger}, {"2"})
        self.judge()
        self.assertEqual(worker.stop(), 0)

    def test_streams_that_are_refused_or_cut(self) -> None:
        edge = self.serve(tls=self.folder)
        self.fleet.started(
            self.worker("worker", worker__ca_file=self.folder / "tls.crt")
        )
        # One by one: what ends a connection ends all streams on it.
        for n, (fault, how) in enumerate(
            (
                ("refused", "at_least_once"),
                ("goaway", "at_least_once"),
                ("close_before", "at_least_once"),
                ("truncate", "at_least_once"),
                ("drop_idle", "at_most_once"),
            )
        ):
            edge.rule(fault, workspace=fault, count=1)
            self.fleet.submit([self.fleet.job(fault, fault, execution=how)])
            self.ends(n + 1)
        found = self.ends(5)
        told = {
            name: (end.outcome, end.subject.attempt) for name, (end, _) in found.items()
        }
        self.assertEqual({outcome for outcome, _ in told.values()}, {"succeeded"})
        self.assertEqual(told["truncate"][1], 2)
        self.assertEqual(told["drop_idle"][1], 1)
        self.judge()

    # ---- a deployment of Roboflow's, asked as their own client asks it

    def test_requests_are_those_of_their_client(self) -> None:
        captured = json.loads(CAPTURED.read_text())
        edge = self.serve(engine="runner", dialect="webexec", keys=None, keep=100)
        worker = self.fleet.started(
            self.worker("worker", modal__dialect="webexec", modal__gzip="on")
        )
        for n, one in enumerate(captured):
            body = one["body"]
            if "code_str" not in body:
                body = {**self.full(captured, body["code_hash"]), **body}
            self.fleet.submit([self.asked(f"job-{n}", body)])
            self.ends(n + 1)
        sent = [self.sent(*request) for request in edge.requests]
        for one in captured:
            one["body"]["inputs_json"] = json.loads(one["body"]["inputs_json"])
            one["headers"] = {
                **one["headers"],
                "modal-key": "wk-worker",
                "modal-secret": SECRET,
            }
        self.assertEqual(sent, captured)
        self.assertEqual(worker.stop(), 0)

    @staticmethod
    def full(captured: list[dict[str, Any]], digest: str) -> dict[str, Any]:
        bodies = [one["body"] for one in captured]
        return next(b for b in bodies if b["code_hash"] == digest and "code_str" in b)

    def asked(self, name: str, body: dict[str, Any]) -> bfwire.Job:
        block = {
            "run_function_code": body["code_str"],
            "run_function_name": body["run_function_name"],
            "imports": body["imports"],
            "init_function_code": None,
            "init_function_name": "init",
            "block_type": "b",
        }
        return self.fleet.job(
            "acme",
            name,
            block=bfwire.dump(block).encode(),
            inputs=body["inputs_json"].encode(),
            context=bfwire.dump(body["workflow_context"]).encode(),
        )

    @staticmethod
    def sent(request: Any, raw: bytes) -> dict[str, Any]:
        ours = {"host", "content-length", "accept", "user-agent", "expect"}
        headers = {k: v for k, v in sorted(request.headers.items()) if k not in ours}
        zipped = headers.get("content-encoding") == "gzip"
        body = json.loads(gzip.decompress(raw) if zipped else raw)
        body["inputs_json"] = json.loads(body["inputs_json"])
        said = {"method": request.method, "target": request.target}
        return {**said, "headers": headers, "body": body}


class ChaosTest(ModalCase):
    """Everything at once: 5 % of all requests go wrong, and workers are
    killed."""

    slow = True
    shards = 12

    def test_once_all_the_same(self) -> None:
        jobs = 5000 if FULL else 400
        edge = self.serve(hop_s=0.05, delay_s=0.02)
        edge.chaos(0.05)
        edge.rule("redirect", share=0.1)
        workers = {n: self.chaotic(f"w{n}") for n in range(3)}
        batch = [
            self.fleet.job(
                f"ws-{n % 20}",
                f"job-{n}",
                inputs=b'{"n": %d}' % n,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
                max_attempts=5,
            )
            for n in range(jobs)
        ]
        killed: list[str] = []

        def kill(n: int) -> None:
            workers[n].kill9()
            killed.append(workers[n].name)
            workers[n] = self.chaotic(f"w{n + 10}")

        def break_things() -> None:
            self.fleet.submit(batch)
            self.reach(jobs // 4)
            kill(0)
            self.reach(jobs // 2)
            kill(1)

        self.broken(break_things, jobs)
        self.judge(tuple(killed))
        self.nothing_ran_twice_without_need(batch, set(killed))

    def chaotic(self, name: str) -> Proc:
        return self.worker(name, worker__concurrency=64, modal__rate=0)

    def broken(self, break_things: Callable[[], None], jobs: int) -> None:
        failed: list[BaseException] = []

        def run() -> None:
            try:
                break_things()
            except BaseException as error:
                failed.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        try:
            self.ends(jobs, HANG_S)
        finally:
            thread.join()
        if failed:
            raise failed[0]
        # To the end: nothing may come after "enough".
        self.oracle.collect(None, HANG_S)
        results = self.oracle.evidence.of("results")
        self.assertEqual(len(results), jobs)

    def nothing_ran_twice_without_need(
        self, batch: list[bfwire.Job], killed: set[str]
    ) -> None:
        runs: dict[int, list[Run]] = defaultdict(list)
        for run in self.edge.ledger:
            runs[json.loads(run.inputs)["n"]].append(run)
        told = self.told()
        twice = 0
        for n, job in enumerate(batch):
            if job.execution == "at_most_once":
                self.assertLessEqual(len(runs[n]), 1, job.id)
            for run in sorted(runs[n], key=lambda run: run.started_s)[:-1]:
                twice += 1
                lost = told.get(run.run_id) == "unknown"
                dead = run.token.removeprefix("wk-") in killed
                self.assertTrue(lost or dead, f"{job.id} ran again: {run}")
        print(f"\n{len(self.edge.ledger)} runs of {len(batch)}; again: {twice}")


if __name__ == "__main__":
    unittest.main()
