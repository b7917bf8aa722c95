"""Blocks in sandboxes of E2B, through a real broker and a server that is E2B
with everything that goes wrong there (providers/e2b_server.py)."""

import base64
import json
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

from cases import SharedCase
from e2b_server import E2BServer
from e2bd.box import namespaces
from e2bd.web import Request
from e2bd.world import Limits, Run
from fleet import FULL, ROOT, bfwire, now_ms
from harness import HANG_S, Proc, wait_until

EXACT = [
    b'{"n": NaN}',
    b'{"n": 1e400, "m": 9223372036854775808}',
    b' {"n":[1, 2.50,null ] }\n',
    b'{"n": "\\u0000\\ud800"}',
    '{"n": "caf\u00e9 \u2028 \U0001f600 \x7f"}'.encode(),
    b'{"n": "' + b'\\"\\\\/' * 100_000 + b'"}',
]
# What user code has done is what it has written itself.
LOGGED = """
def run(self, n, log):
    import os
    fd = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
    os.write(fd, f"{n}\\n".encode())
    os.close(fd)
    return {"n": n}
"""
SAME = "def run(self, n, m=None):\n    return {'n': n}\n"
BY_KERNEL = re.compile(r"_bf\.run\('[0-9a-f]+','([^']+)'\)")
SECRET = "e2b_" + "5" * 40
# How a job ends: outcome, reason, delivery, attempt.
SUCCEEDED = ("succeeded", "", "ran", 1)
AT_SECOND = ("succeeded", "", "ran", 2)
# A usage row: attempt, delivery, runs, billable.
RAN = (1, "ran", "1", True)
RAN_SECOND = (2, *RAN[1:])
UNKNOWN = (1, "unknown", "1", False)


def block(code: str) -> bytes:
    return bfwire.dump(
        {
            "run_function_code": code,
            "run_function_name": "run",
            "imports": [],
            "init_function_code": None,
            "init_function_name": "init",
            "block_type": "e2b",
        }
    ).encode()


def asked_of(run: Run, files: dict[str, bytes]) -> dict[str, Any] | None:
    """What of our runner a run of the ledger asked for; None: no block's.
    files: what was uploaded, by path."""
    if run.path == "port":
        return json.loads(run.what)
    if run.path == "execute":
        found = BY_KERNEL.search(run.what.decode())
        given = found[1] if found else ""
    else:
        given = json.loads(run.what)["args"][-1]
    if not given:
        return None
    by_file = given.startswith("@")
    payload = files[given[1:]] if by_file else base64.b64decode(given)
    size = struct.unpack(">I", payload[:4])[0]
    return json.loads(payload[12 : 12 + size])


class E2BCase(SharedCase):
    path = "execute"
    template = "code-interpreter-v1"

    def serve(self, **more: Any) -> E2BServer:
        self.server = self.enterContext(E2BServer(key=SECRET, **more))
        self.files: dict[str, bytes] = {}
        self.server.capture(self._take)
        # Outside of what sandboxes have for themselves.
        place = tempfile.mkdtemp(prefix="bf-e2b-", dir="/var/tmp")
        self.addCleanup(shutil.rmtree, place, ignore_errors=True)
        Path(place).chmod(0o777)
        self.log = Path(place) / "runs"
        self.log.touch()
        self.log.chmod(0o666)
        return self.server

    def _take(self, _: str, op: str, request: Request) -> None:
        if op == "upload":
            self.files[request.one("path")] = request.body

    def worker(self, name: str, **more: object) -> Proc:
        options = {
            "worker__backend": "e2b",
            "e2b__api_url": self.server.api_url,
            "e2b__sandbox_url": self.server.sandbox_url,
            "e2b__template": self.template,
            "e2b__path": self.path,
            **more,
        }
        return self.fleet.worker(name, env={"E2B_API_KEY": SECRET}, **options)

    def logged(self, workspace: str, n: int, **more: object) -> bfwire.Job:
        inputs = json.dumps({"n": n, "log": str(self.log)}).encode()
        return self.fleet.job(
            workspace, f"job-{n}", block=block(LOGGED), inputs=inputs, **more
        )

    def times(self) -> Counter[str]:
        """How often user code of each job has begun."""
        return Counter(f"job-{line}" for line in self.log.read_text().split())

    def usage(self) -> dict[str, list[dict[str, Any]]]:
        """Those of runs; the others are of idle sandboxes."""
        rows = [json.loads(rec.value) for rec in self.oracle.evidence.of("usage")]
        self.idle = [row for row in rows if row["attempt"] is None]
        found: dict[str, list[dict[str, Any]]] = {}
        for row in rows:
            if row["attempt"] is not None:
                found.setdefault(row["job"], []).append(row)
        for rows in found.values():
            rows.sort(key=lambda row: row["attempt"])
        return found

    def rows(self) -> list[dict[str, Any]]:
        return [row for rows in self.usage().values() for row in rows]

    def metered(self) -> dict[str, list[tuple[int, str, str, bool]]]:
        return {
            job: [
                (row["attempt"], row["delivery"], row["runs"], row["billable"])
                for row in rows
            ]
            for job, rows in self.usage().items()
        }

    def judge(self, killed: bool = False) -> None:
        """By the server's ledger; killed: a worker was, with runs under way."""
        verdict = self.oracle.judge()
        self.assertTrue(verdict.ok, str(verdict))
        metadata = {
            one["id"]: one["metadata"] for one in self.server.ledger()["sandboxes"]
        }
        where: dict[str, str] = {}
        for run in self.server.runs:
            asked = asked_of(run, self.files)
            if asked is None:
                continue
            workspace = asked.get("workspace", asked.get("workspace_id"))
            tenant = metadata[run.sandbox]["bf.workspace"]
            self.assertEqual(workspace, tenant, "two tenants in one sandbox")
            where[asked["run_id"]] = run.sandbox
        told = {row["run_id"]: row for row in self.rows()}
        for run_id, row in told.items():
            if row["delivery"] == "ran":
                self.assertIn(run_id, where, "billed, and did not run")
                self.assertEqual(row["provider"]["sandbox_id"], where[run_id])
        if not killed:
            self.assertLessEqual(set(where), set(told), "ran without a row")

    def judge_bills(self) -> None:
        """No second of a sandbox is billed twice, nor one that it did not live."""
        billed: Counter[str] = Counter()
        for row in (*self.rows(), *self.idle):
            if sandbox := (row["provider"] or {}).get("sandbox_id"):
                billed[sandbox] += float(row["vcpu_seconds"] or 0)
        there = {one["id"]: one for one in self.server.ledger()["sandboxes"]}
        self.assertLessEqual(set(billed), set(there))
        for name, seconds in billed.items():
            one = there[name]
            life = (one["ended"] or time.time()) - one["created"]
            self.assertLessEqual(seconds, one["cpu"] * (life + 0.5), name)

    def judge_times(self, killed: bool = False) -> None:
        """By what user code wrote: each run that is said to have run did, none
        did that is said not to have, and at most once is at most once."""
        times = self.times()
        kinds = {key[1]: job.execution for key, job in self.fleet.produced.items()}
        for job, rows in self.usage().items():
            ran = sum(row["delivery"] == "ran" for row in rows)
            perhaps = sum(row["delivery"] == "unknown" for row in rows)
            self.assertGreaterEqual(times[job], ran, f"{job}: billed, and did not")
            at_least_once = kinds[job] == "at_least_once"
            lost = 2 if killed and at_least_once else 0
            self.assertLessEqual(times[job], ran + perhaps + lost, f"{job}: {rows}")
            if not at_least_once:
                self.assertLessEqual(times[job], 1, f"{job}: at most once")

    def none_is_left(self, within_s: float = HANG_S) -> None:
        left = self.server.world.live
        wait_until(lambda: not left, within_s, "the end of the last sandbox")

    def no_secrets(self, *workers: Proc) -> None:
        tokens = [SECRET]
        for sandbox in self.server.world.sandboxes.values():
            tokens += filter(None, (sandbox.envd_token, sandbox.traffic_token))
        for worker in workers:
            text = worker.log_text()
            for token in tokens:
                self.assertNotIn(token, text)


class PathTest(E2BCase):
    maxDiff = None
    slow = True

    def run_some(self, count: int, **more: object) -> None:
        """Results are the same bytes; sandboxes are reused, each by one
        workspace; a worker that leaves gives them all back."""
        workers = [self.worker(name, **more) for name in ("one", "two")]
        for worker in workers:
            worker.wait_json(lambda line: line.get("event") == "shard_open", HANG_S)
        jobs = [
            self.fleet.job(
                f"ws-{n % 4}",
                f"job-{n}",
                block=block(SAME),
                inputs=EXACT[n] if n < len(EXACT) else b'{"n": %d}' % n,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
            )
            for n in range(count)
        ]
        for half in (jobs[: count // 2], jobs[count // 2 :]):
            self.fleet.submit(half)
            self.ends(len(half) if half[0] is jobs[0] else count)
        found, metered = self.ends(count), self.metered()
        for job in jobs:
            end, rec = found[job.id]
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertEqual((end.backend, end.isolation), ("e2b", "microvm"))
            self.assertEqual(metered[job.id], [RAN])
        self.judge()
        sandboxes = self.server.ledger()["sandboxes"]
        self.assertLess(len(sandboxes), count)
        self.assertEqual(len({s["metadata"]["bf.workspace"] for s in sandboxes}), 4)
        for row in self.rows():
            provider = row["provider"]
            self.assertEqual(provider["path"], self.path)
            self.assertIn(provider["start"], ("cold", "warm"))
        for worker in workers:
            self.assertEqual(worker.stop(), 0)
        self.none_is_left()
        self.judge_bills()
        ended = {one["ended_by"] for one in self.server.ledger()["sandboxes"]}
        self.assertEqual(ended, {"api"})
        self.no_secrets(*workers)

    def test_by_the_kernel_of_the_stock_template(self) -> None:
        self.serve()
        self.run_some(60)

    @unittest.skipUnless(FULL, "test_e2b goes this way, too")
    def test_by_a_process_of_envd(self) -> None:
        self.path, self.template = "envd", "base"
        self.serve()
        self.run_some(24)

    @unittest.skipUnless(namespaces() == "net", "needs network namespaces (root)")
    def test_by_a_server_of_our_template(self) -> None:
        self.serve(path=str(Path(sys.executable).parent))
        trusted = (self.fleet.keys.folder / "trusted").read_text().splitlines()
        told = {
            **self.server.environment,
            "BLOCKFLEET_RUN_KEYS": "\n".join(
                line for line in trusted if line.startswith("run ")
            ),
            "BF_E2B_USER": "",  # whom RUN would have made
        }
        done = subprocess.run(
            ["/usr/bin/python3", str(ROOT / "worker/runner/e2b_template.py")],
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            check=False,
            timeout=HANG_S,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        self.path, self.template = "server", done.stdout.strip()
        self.run_some(24, e2b__sandboxes=6, e2b__creates=10)

    @unittest.skipUnless(FULL, "test_e2b goes this way, too")
    def test_by_older_routes(self) -> None:
        self.serve(v2=False)
        self.run_some(16)

    def test_strict_is_a_sandbox_for_each_run(self) -> None:
        self.serve()
        worker = self.worker("worker", e2b__strict="true")
        self.fleet.submit(self.logged(f"ws-{n % 2}", n) for n in range(8))
        self.ends(8)
        self.assertEqual(len(self.server.world.sandboxes), 8)
        self.judge()
        self.judge_times()
        self.assertEqual(worker.stop(), 0)
        self.none_is_left()


class FaultTest(E2BCase):
    maxDiff = None
    slow = True

    def case(
        self, name: str, end: tuple, rows: list[tuple] | None = None, **more: object
    ) -> None:
        n = len(self.jobs)
        self.jobs.append(self.logged(name, n, **more))
        self.names[f"job-{n}"] = name
        self.expected[name] = end
        self.billed[name] = rows or [RAN]

    def fault(self, name: str, op: str, fault: str, **options: object) -> None:
        mine = {"bf.workspace": name}
        self.server.rules.add(op, fault, metadata=mine, **options)

    def plan_creates(self) -> None:
        for name, fault in (
            ("lost", {"fault": "close_after"}),
            ("placed", {"fault": "status_after", "status": 504}),
            ("failed", {"fault": "status", "status": 500}),
            ("full", {"fault": "status", "status": 503}),
            ("often", {"fault": "status", "status": 429, "retry_after": 1}),
            ("cut-create", {"fault": "cut"}),
        ):
            self.fault(name, "create", count=1, **fault)
            self.case(name, SUCCEEDED, execution="at_most_once")

    def plan_those_that_did_not_run(self) -> None:
        # The first request of a sandbox brings the runner: no run is lost by it.
        for fault in ("vanish", "close_before", "close_after", "no_end", "garbage"):
            name = f"prepare-{fault}"
            self.fault(name, "execute", fault, count=1)
            self.case(name, SUCCEEDED, execution="at_most_once")
        self.fault("late-port", "execute", "port_closed", count=2)
        self.case("late-port", SUCCEEDED, execution="at_most_once")
        self.fault("vanished", "execute", "vanish", skip=1, count=1)
        self.case("vanished", SUCCEEDED, execution="at_most_once")

    def plan_those_that_nobody_knows(self) -> None:
        for fault in ("close_after", "cut", "close_before", "half"):
            for execution, end, rows in (
                ("at_least_once", AT_SECOND, [UNKNOWN, RAN_SECOND]),
                ("at_most_once", ("dead", "attempts_exhausted", "unknown", 1), None),
            ):
                name = f"{fault}-{execution}"
                self.fault(name, "execute", fault, skip=1, count=1)
                self.case(name, end, rows or [UNKNOWN], execution=execution)
        # The proxy says so of each connection that breaks, run or not.
        self.fault("closed", "execute", "port_closed_after", skip=1, count=1)
        self.case("closed", AT_SECOND, [UNKNOWN, RAN_SECOND])

    def plan_those_that_ran(self) -> None:
        # The kernel's last line is missing: our runner's own was there.
        self.fault("no-end", "execute", "no_end", skip=1, count=1)
        self.case("no-end", SUCCEEDED, execution="at_most_once")
        self.fault("slow", "execute", "slow", skip=1, seconds=0.5, count=1)
        self.case("slow", SUCCEEDED)
        self.fault("hang", "execute", "hang", skip=1, count=1)
        late = ("timed_out", "deadline", "ran", 1)
        self.case("hang", late, [RAN], timeout_ms=1000)

    def test_each_is_what_the_protocol_says(self) -> None:
        self.jobs: list[bfwire.Job] = []
        self.names: dict[str, str] = {}
        self.expected: dict[str, tuple] = {}
        self.billed: dict[str, list] = {}
        self.serve()
        worker = self.fleet.started(self.worker("worker"))
        self.plan_creates()
        self.plan_those_that_did_not_run()
        self.plan_those_that_nobody_knows()
        self.plan_those_that_ran()
        self.fleet.submit(self.jobs)
        found = self.ends(len(self.jobs))
        told = {
            self.names[job]: (
                end.outcome,
                end.reason,
                end.delivery,
                end.subject.attempt,
            )
            for job, (end, _) in found.items()
        }
        self.assertEqual(told, self.expected)
        metered = {self.names[job]: rows for job, rows in self.metered().items()}
        self.assertEqual(metered, self.billed)
        self.judge()
        self.judge_times()
        self.assertEqual(worker.stop(), 0)
        self.no_secrets(worker)

    def test_a_refused_key_stops_and_loses_nothing(self) -> None:
        self.serve()
        rule = self.server.rules.add("create", "status", status=401)
        worker = self.fleet.started(self.worker("worker"))
        jobs = [self.logged("ws", n, execution="at_most_once") for n in range(4)]
        self.fleet.submit(jobs)
        worker.wait_log("E2B refuses E2B_API_KEY", HANG_S)
        self.assertLess(rule.hits, 10)
        self.assertEqual(worker.stop(), 0)
        self.server.rules.clear()
        other = self.worker("other")
        ends = [end for end, _ in self.ends(4).values()]
        told = {(end.outcome, end.subject.attempt) for end in ends}
        self.assertEqual(told, {("succeeded", 1)})
        self.judge()
        self.judge_times()
        self.assertEqual(other.stop(), 0)

    def test_who_leaves_deletes_at_a_second_try(self) -> None:
        self.serve()
        worker = self.fleet.started(self.worker("worker"))
        self.fleet.submit([self.logged("ws", 0)])
        self.ends(1)
        rule = self.server.rules.add("delete", "status", status=500, count=1)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(rule.hits, 1)
        self.assertFalse(self.server.world.live)


@unittest.skipUnless(FULL, "faults on everything take the time of --full")
class MixTest(E2BCase):
    slow = True

    def test_faults_on_everything_and_a_worker_killed_twice(self) -> None:
        count = 5000
        self.serve(limits=Limits(concurrent=20), seed=now_ms() & 0xFFFF)
        rules = self.server.rules
        rules.add("execute", "vanish", share=0.02)
        rules.add("execute", "vanish_during", share=0.01, seconds=0.01)
        for fault in ("close_after", "close_before", "cut", "no_end", "half"):
            rules.add("execute", fault, share=0.01)
        for fault, status in (("status", 503), ("status_after", 504)):
            rules.add("create", fault, share=0.025, status=status)
        for op in ("list", "delete", "timeout", "connect"):
            rules.add(op, "status", share=0.05, status=500)
        soon = {"e2b__idle_timeout": "3s"}
        workers = [self.worker(name, **soon) for name in ("one", "two")]
        for worker in workers:
            worker.wait_json(lambda line: line.get("event") == "shard_open", HANG_S)
        jobs = [
            self.logged(
                f"ws-{n % 6}",
                n,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
                max_attempts=8,
            )
            for n in range(count)
        ]
        self.fleet.submit(jobs)
        for turn in (1, 2):
            self.oracle.collect(
                until=lambda seen, n=turn: len(seen.of("results")) >= n * count // 4,
                timeout_s=HANG_S,
            )
            workers[0].kill9()
            workers[0] = self.worker(f"one-{turn}", **soon)
        found = self.ends(count, HANG_S * 10)
        outcomes = Counter(end.outcome for end, _ in found.values())
        for end, rec in found.values():
            if end.outcome != "succeeded":  # nobody knows whether it ran
                self.assertIn(end.outcome, ("dead", "unknown"))
                self.assertEqual(end.delivery, "unknown", rec.text("bf_report"))
        self.assertGreater(outcomes["succeeded"], count * 0.8)
        self.judge(killed=True)
        self.judge_times(killed=True)
        rules.clear()
        # Those of the killed worker, too: swept by whoever has their shards.
        self.none_is_left()
        for worker in workers:
            self.assertEqual(worker.stop(), 0)
        self.judge_bills()
        print(f"\n{outcomes}, {len(self.server.world.sandboxes)} sandboxes")
        self.no_secrets(*workers)


if __name__ == "__main__":
    unittest.main()
