"""Exactly once, while workers and the broker are killed.

The oracle is a read_committed consumer that is not our code (oracle.py); what
it compares stands in verdict.py. Sizes: small in the gate, those of the issue
with BF_FULL=1.
"""

import itertools
import random
import signal
import threading
import time
import unittest
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from cases import FleetCase, SharedCase
from confluent_kafka import Producer
from fleet import FULL, spread_jobs
from harness import HANG_S, Api, Proc, Proxy, wait_until
from verdict import Evidence, Verdict

SHARDS = 12
WORKSPACES = 20
CONCURRENCY = 64
SESSION_S = 6.0  # worker.session_timeout of Fleet.worker()


def mixed(n: int) -> dict[str, object]:
    """Every third job at_most_once, every fifth with an id of the client's."""
    return {
        "execution": "at_most_once" if n % 3 == 0 else "at_least_once",
        "id_origin": "client" if n % 5 == 0 else "server",
    }


class CrashCase(FleetCase):
    shards = SHARDS
    # On a busy machine a broker may be away for longer than a session.
    sessions_end = False

    def setUp(self) -> None:
        super().setUp()
        self.killed: list[Path] = []

    def start(self, name: str, **more: object) -> Proc:
        options = {
            "worker__concurrency": CONCURRENCY,
            "noop__delay": "100ms",
            **more,
        }
        return self.fleet.worker(name, **options)

    def runs(self) -> int:
        """Physical runs so far: what the backend itself has logged."""
        return sum(log.read_bytes().count(b"\n") for log in self.fleet.run_logs)

    def reach(self, runs: int, deadline_s: float = HANG_S) -> None:
        wait_until(lambda: self.runs() >= runs, deadline_s, f"{runs} runs")

    def kill9(self, worker: Proc) -> None:
        worker.kill9()
        self.may_lose(worker)

    def may_lose(self, worker: Proc) -> None:
        """What this worker had under way may be run again by another."""
        self.killed.append(self.folder / f"{worker.name}.runs")

    def feed_until_dead(self, victim: Proc, why: str) -> None:
        """A little at a time, so that there is always something to do; also
        when an at_most_once job was never run, because its worker died."""
        since = time.monotonic()

        def dead() -> bool:
            nonlocal since
            if not victim.alive():
                return True
            first = len(self.fleet.produced)
            if self.runs() >= first or time.monotonic() > since + 1:
                since = time.monotonic()
                self.fleet.submit(
                    self.fleet.job(f"ws-{n % WORKSPACES}", f"job-{n}", **mixed(n))
                    for n in range(first, first + 60)
                )
            return False

        wait_until(dead, HANG_S, f"death at {why}")

    def judged(
        self, jobs: int, break_things: Callable[[], None], deadline_s: float = 240
    ) -> Verdict:
        """Break things until all jobs have a result, and compare.

        jobs: how many there will be; 0: as many as were submitted by then.
        """
        oracle = self.oracle
        failed: list[BaseException] = []

        def breaker() -> None:
            try:
                break_things()
            except BaseException as error:
                failed.append(error)

        def enough(seen: Evidence) -> bool:
            if failed:
                raise failed[0]
            return not thread.is_alive() and len(seen.of("results")) >= (
                jobs or len(self.fleet.produced)
            )

        with oracle.sampler(self.fleet.group):
            thread = threading.Thread(target=breaker)
            thread.start()
            try:
                oracle.collect(enough, deadline_s)
            finally:
                thread.join()
            self.stop_all()
        for worker in self.fleet.procs.all if self.sessions_end else ():
            if any(line.get("lost") is True for line in worker.log_json()):
                self.may_lose(worker)
        # Read again, to the end: nothing may have come after "enough".
        oracle.collect(None, 60)
        verdict = oracle.judge(self.fleet.run_logs, self.killed)
        outcomes = Counter(
            rec.text("bf_outcome") for rec in oracle.evidence.of("results")
        )
        print(f"\n{self.id().split('.')[-1]}: {verdict}\n{dict(outcomes)}")
        self.assertTrue(verdict.ok, verdict)
        self.assertEqual(
            len(oracle.evidence.of("results")), jobs or len(self.fleet.produced)
        )
        return verdict

    def stop_all(self) -> None:
        for worker in self.fleet.procs.all:
            worker.signal(signal.SIGTERM)
        for worker in self.fleet.procs.all:
            worker.stop()


class QuietTest(CrashCase):
    def test_nothing_is_broken(self) -> None:
        jobs = 2000 if FULL else 1000
        self.fleet.submit(spread_jobs(self.fleet, jobs, WORKSPACES, mixed))
        self.start("w0")
        self.judged(jobs, lambda: self.reach(jobs))


class CopiesTest(CrashCase):
    """Every record a second time, after its worker has gone: each finished id
    must have outlived the folding of small segments into large ones."""

    def test_no_copy_runs(self) -> None:
        jobs, more = 3000, 200
        first = self.start("w0", worker__commit_interval="2ms")

        def break_things() -> None:
            records = self.fleet.submit(
                spread_jobs(
                    self.fleet, jobs, WORKSPACES, lambda _: {"id_origin": "client"}
                )
            )
            self.reach(jobs)
            first.stop()
            self.fleet.produce(None, records)
            # Behind the copies in every shard: when these are done, all are.
            self.fleet.submit(
                self.fleet.job(f"ws-{n % WORKSPACES}", f"more-{n}") for n in range(more)
            )
            self.start("w1")

        self.judged(jobs + more, break_things)
        self.assertEqual(self.runs(), jobs + more)


class LongTest(CrashCase):
    """The run of the issue: everything at once."""

    slow = True

    sessions_end = True

    def test_workers_and_broker_are_killed(self) -> None:
        jobs = 20_000 if FULL else 3_000
        workers = {n: self.start(f"w{n}") for n in range(3)}
        again = iter(range(3, 1000))

        def part(fraction: float) -> None:
            self.reach(int(jobs * fraction))

        def replace(n: int) -> None:
            workers[n] = self.start(f"w{next(again)}")

        def break_things() -> None:
            batch = spread_jobs(self.fleet, jobs, WORKSPACES, mixed)
            records = self.fleet.submit(batch[: jobs // 2])
            part(0.05)
            # Whole signed records again, of jobs done, under way and to come.
            copies = [rec for rec in records if rec.get("bf_id_origin") == b"client"]
            self.fleet.produce(None, copies)
            self.kill9(workers[0])
            replace(0)
            part(0.1)
            workers[1].stop()
            replace(1)
            part(0.15)
            self.cluster.brokers[0].kill9()
            self.cluster.brokers[0].restart()
            self.fleet.submit(batch[jobs // 2 :])
            part(0.3)
            fourth = self.start("fourth")
            self.fleet.started(fourth)
            part(0.4)
            self.kill9(workers[2])
            replace(2)
            part(0.5)
            fourth.stop()
            part(0.55)
            self.stop_beyond_the_session(workers[1])
            part(0.7)
            self.cluster.brokers[0].kill9()
            self.cluster.brokers[0].restart()
            part(0.8)
            self.kill9(workers[0])
            replace(0)
            part(0.9)
            workers[2].stop()
            replace(2)

        self.judged(jobs, break_things, 900)

    def stop_beyond_the_session(self, victim: Proc) -> None:
        """SIGSTOP until others have opened its shards, then go on."""
        others = [p for p in self.fleet.procs.all if p.alive() and p is not victim]

        def opened() -> int:
            return sum(
                line.get("event") == "shard_open"
                for other in others
                for line in other.log_json()
            )

        before = opened()
        victim.sigstop()
        self.may_lose(victim)
        wait_until(lambda: opened() > before, HANG_S, "others take over")
        victim.sigcont()


# Where in the committer and the loop a worker can die: worker/crash.h.
POINTS = (
    "before_produce",
    "after_produce",
    "after_send_offsets",
    "during_commit",
    "after_commit",
    "after_started",
    "after_offset_fetch",
    "before_restore",
)


class PointTest(CrashCase):
    """Workers die at a named point each; another one goes on. In the gate once
    at each point, some at a time, for every death costs a session; twenty
    times each with BF_FULL=1."""

    slow = True

    def crash_at(self, points: list[str], at_once: int) -> None:
        dice = random.Random(len(points))
        numbers = itertools.count()
        self.fleet.started(self.start("steady"))

        def feed() -> None:
            first = next(numbers) * 60
            self.fleet.submit(
                self.fleet.job(f"ws-{n % WORKSPACES}", f"job-{n}", **mixed(n))
                for n in range(first, first + 60)
            )

        def victim(name: str, point: str) -> Proc:
            crash = f"{point}:{dice.randint(1, 3)}"
            started = self.start(name, env={"BLOCKFLEET_CRASH": crash})
            self.may_lose(started)
            return started

        def break_things() -> None:
            for n in range(0, len(points), at_once):
                some = enumerate(points[n : n + at_once], n)
                victims = [victim(f"{at}-{point}", point) for at, point in some]
                self.feed_until_dead(victims, feed)

        self.judged(0, break_things, 60 + len(points) * 30)
        self.assertEqual(len(self.killed), len(points))

    def feed_until_dead(self, victims: list[Proc], feed: Callable[[], None]) -> None:
        """A little at a time, so that there is always something to commit. A
        job that ended as `unknown` may never run: more comes after a second
        without a run, too."""
        names = ", ".join(victim.name for victim in victims)
        seen, since = 0, time.monotonic()

        def dead() -> bool:
            nonlocal seen, since
            if not any(victim.alive() for victim in victims):
                return True
            if self.runs() > seen:
                seen, since = self.runs(), time.monotonic()
            if seen >= len(self.fleet.produced) or time.monotonic() > since + 1:
                feed()
                since = time.monotonic()
            return False

        wait_until(dead, HANG_S, f"death of {names}")
        for victim in victims:
            self.assertLess(victim.returncode, 0, victim.tail())


def test_at(point: str) -> Callable[[PointTest], None]:
    return lambda self: self.crash_at([point] * 20, 1)


if FULL:
    for name in POINTS:
        setattr(PointTest, f"test_{name}", test_at(name))
else:
    PointTest.test_each_point_once = lambda self: self.crash_at(list(POINTS), 4)


class ProxyTest(CrashCase, SharedCase):
    """The network eats transactional requests, or their answers."""

    slow = True

    proxied = True

    def harm(self, api: Api, action: str, **more: object) -> None:
        jobs = 4_000 if FULL else 600
        proxy = self.enterContext(Proxy(self.cluster))
        self.fleet.submit(spread_jobs(self.fleet, jobs, WORKSPACES, mixed))
        rule = proxy.rule(api, action, **more)
        for n in range(2):
            # A cut connection may cost a worker its session and its runs.
            self.may_lose(self.start(f"w{n}", bootstrap=self.cluster.proxy_bootstrap))
        self.judged(jobs, lambda: rule.wait_hits(int(more["count"]), HANG_S))

    def test_end_txn_answers_are_cut(self) -> None:
        self.harm(Api.END_TXN, "cut_reply", count=6)

    def test_end_txn_requests_are_cut(self) -> None:
        self.harm(Api.END_TXN, "cut_request", count=6)

    def test_offset_commits_are_cut(self) -> None:
        self.harm(Api.TXN_OFFSET_COMMIT, "cut_reply", count=6)

    def test_add_offsets_are_cut(self) -> None:
        self.harm(Api.ADD_OFFSETS_TO_TXN, "cut_reply", count=6)

    def take_over(self, worker: Proc) -> None:
        """Another producer takes the worker's transactional.id."""
        (up,) = [line for line in worker.log_json() if line["event"] == "worker_up"]
        other = Producer(
            {
                "bootstrap.servers": self.cluster.bootstrap,
                "transactional.id": up["txn_id"],
            }
        )
        other.init_transactions(30)

    def test_a_deposed_coordinator_is_not_believed(self) -> None:
        """A transaction is committed, its worker is not told. Whom it asks for
        the offsets answers with what they were before it began."""
        proxy = self.enterContext(Proxy(self.cluster))
        worker = self.start("w0", bootstrap=self.cluster.proxy_bootstrap)
        jobs = spread_jobs(self.fleet, 400, WORKSPACES, mixed)

        def harm() -> None:
            self.fleet.submit(jobs[:200])
            self.reach(200)
            hold = proxy.rule(Api.END_TXN, "hold_reply")
            self.fleet.submit(jobs[200:])
            hold.wait_hits()
            self.take_over(worker)
            old = proxy.rule(Api.OFFSET_FETCH, "old_reply", count=3)
            proxy.cut_all()
            old.wait_hits()

        self.judged(len(jobs), harm)
        said = list(worker.log_json())
        stale = [line for line in said if line["event"] == "stale_offsets"]
        self.assertEqual(len(stale), 3)
        ends = [line["committed"] for line in said if line["event"] == "read_back"]
        self.assertIn(True, ends)

    def test_offsets_of_before_are_not_believed(self) -> None:
        """A worker takes over shards. Whom it asks for the offsets answers with
        what they were when the first worker came."""
        proxy = self.enterContext(Proxy(self.cluster))
        where = self.cluster.proxy_bootstrap
        jobs = spread_jobs(self.fleet, 400, WORKSPACES, mixed)

        def harm() -> None:
            self.fleet.submit(jobs[:200])
            self.reach(200)
            self.may_lose(first)
            first.kill9()
            old = proxy.rule(Api.OFFSET_FETCH, "old_reply", count=3)
            second.append(self.start("w1", bootstrap=where))
            self.fleet.submit(jobs[200:])
            old.wait_hits()

        second: list[Proc] = []
        first = self.start("w0", bootstrap=where)
        self.judged(len(jobs), harm)
        said = [line["event"] for line in second[0].log_json()]
        self.assertEqual(said.count("stale_offsets"), 3)
        self.assertNotIn("shard_stopped", said)

    def test_end_txn_is_late(self) -> None:
        count = 10 if FULL else 4
        self.harm(Api.END_TXN, "delay_request", count=count, delay_s=2)


@unittest.skipUnless(FULL, "three brokers take the time of --full")
class ThreeBrokersTest(CrashCase):
    nodes = 3

    def test_rolling_restart(self) -> None:
        jobs = 6_000
        for n in range(3):
            self.start(f"w{n}")

        def break_things() -> None:
            batch = spread_jobs(self.fleet, jobs, WORKSPACES, mixed)
            for n, broker in enumerate(self.cluster.brokers):
                self.fleet.submit(batch[n * 2000 : (n + 1) * 2000])
                self.reach(500 + n * 2000)
                broker.stop()
                broker.restart()
                self.cluster.wait_in_sync()

        self.judged(jobs, break_things, 400)


if __name__ == "__main__":
    unittest.main()
