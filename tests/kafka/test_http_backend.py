"""Blocks behind an HTTP endpoint that fails on demand, through a real broker."""

import sys
import tempfile
import unittest
from collections.abc import Iterable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

from block_server import BlockServer, trusted_run_keys
from cases import SharedCase
from fleet import BIN, Keys, bfwire, now_ms
from harness import HANG_S, Proc, Procs, wait_until

EXACT = [
    b'{"n": NaN}',
    b'{"n": 1e400, "m": 9223372036854775808}',
    b' {"n":[1, 2.50,null ] }\n',
    b'{"n": "\\u0000\\ud800"}',
    '{"n": "caf\u00e9 \u2028 \U0001f600 \x7f"}'.encode(),
    b'{"n": "' + b'\\"\\\\/' * 100_000 + b'"}',
]
# How a job ends: outcome, reason, delivery, attempt.
SUCCEEDED = ("succeeded", "", "ran", 1)
AT_SECOND = ("succeeded", "", "ran", 2)
# A usage row: attempt, delivery, runs, billable.
RAN = (1, "ran", "1", True)
DID_NOT_RUN = (1, "did_not_run", "0", False)
UNKNOWN = (1, "unknown", "1", False)


class HttpCase(SharedCase):
    def setUp(self) -> None:
        super().setUp()
        self.server = self.enterContext(
            BlockServer(
                engine="echo",
                log=self.folder / "server.runs",
                keys=trusted_run_keys(self.fleet.keys.folder / "trusted"),
            )
        )
        self.jobs: list[bfwire.Job] = []
        self.expected: dict[str, tuple] = {}
        self.rows: dict[str, list] = {}

    def worker(self, name: str, **more: object) -> Proc:
        options = {"worker__backend": "http", "http__url": self.server.url, **more}
        return self.fleet.worker(name, **options)

    def metered(self) -> dict[str, list[tuple[int, str, str, bool]]]:
        """What the usage rows of each job say."""
        return {
            job: [
                (row["attempt"], row["delivery"], row["runs"], row["billable"])
                for row in rows
            ]
            for job, rows in self.usage().items()
        }

    def started(self) -> list[str]:
        """Run ids in the endpoint's own log."""
        lines = (self.folder / "server.runs").read_text().splitlines()
        return [line.split()[0] for line in lines]

    def judge(self, killed: Iterable[str] = ()) -> None:
        """By the endpoint's log; killed: runs whose worker went first."""
        verdict = self.oracle.judge()
        self.assertTrue(verdict.ok, str(verdict))
        started = self.started()
        self.assertEqual(len(set(started)), len(started), "a run id ran twice")
        told = {
            row["run_id"]: row["delivery"]
            for rows in self.usage().values()
            for row in rows
        }
        ran = {run for run, delivery in told.items() if delivery == "ran"}
        never = {run for run, delivery in told.items() if delivery == "did_not_run"}
        self.assertLessEqual(ran, set(started), "billed, and did not run")
        self.assertFalse(never & set(started), "ran, and is said not to have")
        self.assertEqual(set(started) - set(told), set(killed), "ran without a row")


class HttpTest(HttpCase):
    slow = True

    maxDiff = None

    def test_three_hundred_blocks_of_two_workers(self) -> None:
        workers = [self.worker(name) for name in ("one", "two")]
        # So that neither can be done before the other one is there.
        for worker in workers:
            worker.wait_json(lambda line: line.get("event") == "shard_open", HANG_S)
        jobs = [
            self.fleet.job(
                f"ws-{n % 12}",
                f"job-{n}",
                inputs=EXACT[n] if n < len(EXACT) else b'{"n": %d}' % n,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
            )
            for n in range(300)
        ]
        self.fleet.submit(jobs)
        found = self.ends(300)
        metered = self.metered()
        for job in jobs:
            end, rec = found[job.id]
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertTrue(rec.value == job.inputs, f"{job.id}: {rec.value[:99]!r}")
            self.assertEqual((end.backend, end.isolation), ("http", "remote"))
            self.assertEqual(metered[job.id], [RAN])
        self.assertEqual(len({end.worker for end, _ in found.values()}), 2)
        # Signed with the run key, each with a nonce of its own: else refused.
        run_key = bfwire.public_bytes(self.fleet.keys.private["run"])
        lines = (self.folder / "server.runs").read_text().splitlines()
        self.assertEqual({line.split()[3] for line in lines}, {bfwire.key_id(run_key)})
        self.assertEqual(len(lines), 300)
        self.assertNotIn("refused", self.server.stats)
        self.judge()
        for worker in workers:
            self.assertEqual(worker.stop(), 0)

    # ---- a workspace a fault: the endpoint's rules go by it

    def case(self, name: str, end: tuple, rows: list[tuple], **more: object) -> None:
        self.jobs.append(self.fleet.job(name, name, **more))
        self.expected[name] = end
        self.rows[name] = rows

    def fault(self, name: str, fault: str, **options: object) -> None:
        self.server.rule(fault, workspace=name, **options)

    def plan_those_that_did_not_run(self) -> None:
        self.fault("busy", "status", status=429, retry_after=3, count=1)
        self.case("busy", SUCCEEDED, [RAN])
        self.fault("most", "status", status=429, retry_after=3, count=1)
        self.case("most", SUCCEEDED, [RAN], execution="at_most_once")
        self.fault("over", "status", count=2)
        self.case("over", SUCCEEDED, [RAN], max_attempts=1)
        self.fault("down", "status")
        late = ("expired", "", "did_not_run", 1)
        self.case("down", late, [DID_NOT_RUN], expires_at_ms=now_ms() + 3000)
        refused = ("dead", "backend_refused", "did_not_run", 1)
        self.fault("gone", "status", status=404)
        self.case("gone", refused, [DID_NOT_RUN])
        self.fault("moved", "status", status=307)
        self.case("moved", refused, [DID_NOT_RUN])
        bytes_ = ("rejected", "bad_record", "did_not_run", 1)
        self.case("bytes", bytes_, [DID_NOT_RUN], inputs=b'{"n": "\xff"}')

    def plan_those_that_nobody_knows(self) -> None:
        lost = ("dead", "attempts_exhausted", "unknown")
        second = (2, *UNKNOWN[1:])
        self.fault("error", "status_after")
        self.case("error", (*lost, 2), [UNKNOWN, second], max_attempts=2)
        self.fault("error-most", "status_after")
        most = {"execution": "at_most_once", "max_attempts": 3}
        self.case("error-most", (*lost, 1), [UNKNOWN], **most)
        self.fault("error-once", "status_after", count=1)
        self.case("error-once", AT_SECOND, [UNKNOWN, (2, *RAN[1:])])
        self.fault("close", "close_before", count=1)
        self.case("close", AT_SECOND, [UNKNOWN, (2, *RAN[1:])])
        self.fault("cut", "truncate")
        self.case("cut", (*lost, 1), [UNKNOWN], max_attempts=1)
        # It expires after an attempt that may have run.
        self.fault("late", "status_after", count=1)
        self.fault("late", "status")
        late = {"max_attempts": 3, "expires_at_ms": now_ms() + 10_000}
        self.case("late", (*lost, 2), [UNKNOWN, second], **late)
        self.fault("garbage", "garbage")
        third = (3, *UNKNOWN[1:])
        self.case("garbage", (*lost, 3), [UNKNOWN, second, third], max_attempts=3)

    def plan_those_that_ran(self) -> None:
        self.fault("hang", "hang")
        self.case("hang", ("timed_out", "deadline", "ran", 1), [RAN], timeout_ms=700)
        self.fault("big", "oversize")
        self.case("big", ("failed", "output_too_large", "ran", 1), [RAN])
        # Each try has its own deadline: both together take longer than one.
        self.fault("again", "status", status=429, retry_after=4, count=1)
        self.fault("again", "delay", seconds=0.8)
        self.case("again", SUCCEEDED, [RAN], timeout_ms=4500)

    def test_each_is_what_the_protocol_says(self) -> None:
        # First, or a job expires while the worker is on its way.
        worker = self.fleet.started(self.worker("worker"))
        self.plan_those_that_did_not_run()
        self.plan_those_that_nobody_knows()
        self.plan_those_that_ran()
        # Of the same workspaces' shards, between and after them.
        for n in range(100):
            self.case(f"fine-{n}", SUCCEEDED, [RAN])
        self.fleet.submit(self.jobs)
        found = self.ends(len(self.jobs))
        told = {
            name: (end.outcome, end.reason, end.delivery, end.subject.attempt)
            for name, (end, _) in found.items()
        }
        self.assertEqual(told, self.expected)
        self.assertEqual(self.metered(), self.rows)
        self.judge()
        self.assert_times()
        self.assertEqual(worker.stop(), 0)

    def assert_times(self) -> None:
        rows = {job: rows[-1] for job, rows in self.usage().items()}
        for name, wait_s in (("busy", 3), ("most", 3), ("again", 4)):
            accepted = next(j.accepted_at_ms for j in self.jobs if j.id == name)
            result = bfwire.result_parse(self.result_of(name))
            # Not before Retry-After, and the run's time is its last try's.
            self.assertGreaterEqual(result.started_at_ms, accepted + wait_s * 1000)
            self.assertLess(float(rows[name]["duration_seconds"]), wait_s)
        self.assertGreaterEqual(float(rows["again"]["duration_seconds"]), 0.8)
        # Deadlines are kept in whole milliseconds.
        self.assertGreaterEqual(float(rows["hang"]["duration_seconds"]), 0.699)
        self.assertLess(float(rows["hang"]["duration_seconds"]), 5)
        # At the deadline the endpoint sees its peer go.
        self.assertEqual(self.server.stats["gone"], 1)

    def result_of(self, name: str) -> bfwire.Record:
        results = self.oracle.evidence.of("results")
        return next(rec for rec in results if rec.text("bf_job") == name)

    # ---- a worker's end, and its bounds

    def test_a_worker_that_leaves_hangs_up(self) -> None:
        self.server.rule("hang", count=1)
        first = self.fleet.started(self.worker("first", worker__drain="500ms"))
        self.fleet.submit([self.fleet.job("ws", "job", timeout_ms=600_000)])
        wait_until(lambda: len(self.started()) == 1, HANG_S, "the run")
        self.assertEqual(first.stop(), 0)
        wait_until(lambda: self.server.stats.get("gone") == 1, HANG_S, "the cut")
        self.fleet.started(self.worker("second"))
        end, _ = self.ends(1)["job"]
        self.assertEqual((end.outcome, end.subject.attempt), ("succeeded", 1))
        self.judge(killed=self.started()[:1])

    def test_a_worker_that_leaves_gives_back_what_did_not_run(self) -> None:
        """The next one begins it: nobody has to say that it is unknown."""
        busy = self.server.rule("status", status=429, retry_after=600, count=1)
        first = self.fleet.started(self.worker("first"))
        job = self.fleet.job("ws", "job", execution="at_most_once")
        self.fleet.submit([job])
        wait_until(lambda: busy.hits == 1, HANG_S, "the refusal")
        self.assertEqual(first.stop(), 0)
        self.fleet.started(self.worker("second"))
        end, _ = self.ends(1)["job"]
        self.assertEqual((end.outcome, end.subject.attempt), ("succeeded", 1))
        self.judge()
        self.assertEqual(self.metered(), {"job": [RAN]})

    def test_tries_again_no_more_than_fit_at_once(self) -> None:
        self.server.rule("status", status=429, retry_after=1, count=64)
        self.server.rule("delay", seconds=0.25)
        # One that waited for a connection would meet its deadline there.
        self.fleet.started(self.worker("worker", http__max_connections=4))
        self.fleet.submit(
            self.fleet.job("ws", f"job-{n}", timeout_ms=3000) for n in range(64)
        )
        ends = [end for end, _ in self.ends(64).values()]
        self.assertEqual(
            {(e.outcome, e.subject.attempt) for e in ends}, {("succeeded", 1)}
        )
        self.judge()

    def test_large_requests_take_turns(self) -> None:
        """Each is built twice as large as its inputs: few at once."""
        self.server.rule("delay", seconds=0.1)
        inputs = b'"' + b'\\"' * (1 << 21) + b'"'
        worker = self.fleet.started(self.worker("worker", worker__memory="32M"))
        jobs = [
            self.fleet.job(
                f"ws-{n}",
                f"job-{n}",
                inputs=inputs,
                execution="at_most_once" if n % 3 == 0 else "at_least_once",
            )
            for n in range(24)
        ]
        self.fleet.submit(jobs)
        found = self.ends(24)
        for end, rec in found.values():
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertTrue(rec.value == inputs)
        status = Path(f"/proc/{worker.pid}/status").read_text()
        (peak,) = (line for line in status.splitlines() if line.startswith("VmHWM"))
        print(f"\n{peak}")
        # 150 MB when each job of the window has built its own.
        self.assertLess(int(peak.split()[1]), 120_000)
        self.judge()


class UnsignedTest(unittest.TestCase):
    def test_runs_leave_the_machine_only_signed(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        keys = Keys(folder / "keys").folder
        for key in keys.glob("run.*.key"):
            key.unlink()
        # It is said before any broker is asked: there is none.
        flags = {
            "kafka.brokers": "127.0.0.1:1",
            "keys.dir": keys,
            "run_dir": folder / "run",
            "worker.backend": "http",
            "http.url": "http://192.0.2.1/run",
        }
        argv = [str(BIN / "blockfleet-worker")]
        argv += [f"--{name}={value}" for name, value in flags.items()]
        worker = self.enterContext(Procs(folder / "logs")).start("worker", argv)
        self.assertEqual(worker.wait(HANG_S), 1)
        self.assertIn("unsigned", worker.log_text())


if __name__ == "__main__":
    unittest.main()
