"""`./run soak`: mixed work for an hour while workers, dispatchers and brokers
are killed, and then: was all done exactly once, and did anything grow?

    ./run soak [--minutes N] [--rate JOBS_PER_S] [--json]

Three workers (noop, http, local) and a dispatcher live from start to end: they
are judged for growth. A fourth worker, of each backend in turn, and a second
dispatcher are killed or stopped at a steady pace, and so is each broker. The
oracle of tests/kafka reads it all at the end. Exit code 1: something was lost,
doubled or grew. build/soak/ gets a picture and the samples.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from itertools import cycle
from math import inf
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
for beside in ("kafka", "providers", "bench"):
    sys.path.append(str(HERE.parent / beside))

from block_server import BlockServer, trusted_run_keys  # noqa: E402
from dispatching import Dispatcher  # noqa: E402
from fleet import Fleet  # noqa: E402
from growth import Bound, Growth, Sample, growth  # noqa: E402
from harness import Broker, Cluster, Proc, wait_until  # noqa: E402
from load import WORKSPACES, Load  # noqa: E402
from oracle import Oracle  # noqa: E402
from picture import spark, svg  # noqa: E402
from stage import stage  # noqa: E402
from verdict import Verdict  # noqa: E402
from watch import Group, Life, Watch, view_age_s  # noqa: E402

SHARDS = 12
# One at a time is killed. A single one that comes back in the middle of a load
# of its own may answer with offsets of long ago (README, known limits), and
# hold up the group for as long as its dead members may take, five minutes.
BROKERS = 3
BACKENDS = ("noop", "http", "local")
STEADY = (*BACKENDS, "dispatcher-1")  # from start to end
UNITS = {"rss": "MB", "fds": "", "threads": "", "group lag": "jobs", "view lag": "s"}
# What one half of a life may add. Memory: caches go on filling, and each shard
# remembers the ids of its last 262,144 jobs that a client has named.
BOUNDS = {
    "rss": Bound(fixed=4.0, share=0.05, per_job=64 / (1 << 20)),
    "fds": Bound(fixed=4),
    "threads": Bound(fixed=2),
    "view lag": Bound(fixed=5),
}
LAG_S = 10  # of work, by which the group's lag may grow in the second half
# A short one sees little but caches that fill for the first time, and is hardly
# ever without harm.
WARM_S = 300
WARM = {"rss": Bound(fixed=16), "fds": Bound(fixed=12), "threads": Bound(fixed=4)}
DRAIN_S = 90


@dataclass(frozen=True)
class Plan:
    seconds: float
    jobs_per_s: float = 40
    session_s: int = 15
    pace_s: float = 60  # between two acts of harm
    env: dict[str, str] = field(default_factory=dict)  # of the workers

    @staticmethod
    def of(seconds: float, **more: object) -> Plan:
        short = seconds < 600
        pace_s = min(60.0, max(10.0, seconds / 12))
        return Plan(seconds, session_s=6 if short else 15, pace_s=pace_s, **more)


@dataclass
class Report:
    seconds: float
    jobs: int
    acts: Counter[str]
    load: Counter[str]
    growths: list[Growth]
    verdict: Verdict
    problems: list[str]
    lives: dict[str, int]

    @property
    def ok(self) -> bool:
        return self.verdict.ok and not self.problems and all(g.ok for g in self.growths)

    def grew(self) -> list[Growth]:
        return [found for found in self.growths if not found.ok]


class Soak:
    def __init__(
        self,
        cluster: Cluster,
        fleet: Fleet,
        plan: Plan,
        say: Callable[[str], None] = print,
    ) -> None:
        self.cluster, self.fleet, self.plan, self.say = cluster, fleet, plan, say
        self.living: dict[str, tuple[int, Proc]] = {}
        self.numbers: Counter[str] = Counter()
        self.killed: list[Path] = []
        self.problems: list[str] = []
        self.acts: Counter[str] = Counter()
        self.marks: list[tuple[float, str]] = []
        self._lock = threading.Lock()
        self.victims = cycle(BACKENDS)
        self.dispatchers = [self._dispatcher(n) for n in (1, 2)]
        self.servers: dict[str, BlockServer] = {}
        self.watch: Watch
        self.load: Load

    # ---- processes

    def _dispatcher(self, n: int) -> Dispatcher:
        folder = self.fleet.folder / f"dispatcher-{n}"
        folder.mkdir()
        options = {
            "topics.shards": str(SHARDS),
            "topics.prefix": self.fleet.prefix,
            "kafka.group": self.fleet.group,
        }
        return Dispatcher(
            self.fleet.procs,
            self.cluster.bootstrap,
            self.fleet.keys,
            folder,
            options,
            f"dispatcher-{n}",
        )

    def born(self, who: str, proc: Proc | None) -> None:
        assert proc is not None
        with self._lock:
            self.numbers[who] += 1
            self.living[who] = self.numbers[who], proc

    def worker(self, who: str, backend: str) -> None:
        name = f"{who}-{self.numbers[who]}" if who == "victim" else who
        server = self.servers["victim" if who == "victim" else "steady"]
        more: dict[str, dict[str, object]] = {
            "noop": {"noop__delay": "20ms"},
            "http": {"http__url": server.url, "http__max_connections": 8},
            "local": {
                "local__python": "/usr/bin/python3",
                "local__preload": "none",
                "local__runners": 1,
                "local__trusted_workspaces": ",".join(WORKSPACES),
            },
        }
        proc = self.fleet.worker(
            name,
            env=self.plan.env,
            worker__backend=backend,
            worker__concurrency=64,
            worker__session_timeout=f"{self.plan.session_s}s",
            **more[backend],
        )
        self.born(who, proc)

    def lives(self) -> Iterator[Life]:
        with self._lock:
            living = dict(self.living)
        for who, (number, proc) in living.items():
            yield Life(who, number, proc.pid)
            if who in ("local", "victim"):
                yield Life(f"{who}'s runners", number, proc.pid, children=True)
        for broker in filter(Broker.alive, self.cluster.brokers):
            who = f"broker-{broker.node_id}"
            yield Life(who, self.acts["broker"] + 1, broker.pid)

    def view_lag(self) -> float | None:
        """Of the dispatcher that stays."""
        try:
            return view_age_s(self.dispatchers[0].get("/metrics").body.decode())
        except OSError:
            return None

    # ---- harm

    def harm(self) -> Iterator[tuple[str, Callable[[], None]]]:
        other = self.dispatchers[1]
        brokers = cycle(self.cluster.brokers)
        while True:
            for hard in (True, False):
                yield "kill worker", self.kill_worker
                yield "broker", partial(self.end_broker, next(brokers), hard)
                yield "stop worker", self.stop_worker
                yield "kill worker", self.kill_worker
                yield "dispatcher", lambda hard=hard: self.end_dispatcher(other, hard)

    def act(self, what: str, harm: Callable[[], None]) -> None:
        self.marks.append((self.watch.now_s(), what))
        harm()
        if what == "dispatcher":
            self.dispatchers[1].start(ready=False)
            self.born("dispatcher-2", self.dispatchers[1].proc)
        elif what != "broker":
            self.worker("victim", next(self.victims))
        self.acts[what] += 1

    def end_broker(self, broker: Broker, hard: bool) -> None:
        (broker.kill9 if hard else broker.stop)()
        broker.restart()

    def kill_worker(self) -> None:
        proc = self.living["victim"][1]
        proc.kill_group()  # its runners, too: nobody else ends them
        self.may_lose(proc)

    def stop_worker(self) -> None:
        proc = self.living["victim"][1]
        if proc.stop(60) != 0:
            self.problems.append(f"{proc.name} ended with {proc.returncode}")

    def end_dispatcher(self, dispatcher: Dispatcher, hard: bool) -> None:
        proc = dispatcher.proc
        assert proc is not None
        if hard:
            proc.kill9()
        elif proc.stop(60) != 0:
            self.problems.append(f"{proc.name} ended with {proc.returncode}")

    def may_lose(self, worker: Proc) -> None:
        self.killed.append(self.fleet.folder / f"{worker.name}.runs")

    # ---- the run

    def run(self) -> Report:
        plan = self.plan
        oracle = Oracle(
            self.cluster.bootstrap,
            self.fleet.prefix,
            self.fleet.keys.trusted(),
            SHARDS,
        )
        with ExitStack() as stack:
            keys = trusted_run_keys(self.fleet.keys.folder / "trusted")
            for name in ("steady", "victim"):
                log = self.fleet.folder / f"{name}.endpoint"
                server = BlockServer(engine="echo", log=log, keys=keys)
                self.servers[name] = stack.enter_context(server)
            group = Group(self.fleet)
            stack.callback(group.close)
            self.start()
            stack.enter_context(oracle.sampler(self.fleet.group, 1.0))
            ask = {"group lag": group.lag, "view lag": self.view_lag}
            self.watch = Watch(self.lives, ask, max(0.5, plan.seconds / 900))
            stack.enter_context(self.watch)
            self.load = Load(self.fleet, self.dispatchers, plan.jobs_per_s)
            with self.load:
                self.go_on()
            end_s = self.watch.now_s()
            self.drain(group)
            self.stop()
        self.say("all has stopped; the oracle reads")
        verdict = self.judge(oracle)
        return Report(
            seconds=end_s,
            jobs=self.load.total(),
            acts=self.acts,
            load=self.load.counts,
            growths=self.growths(end_s),
            verdict=verdict,
            problems=self.problems + self.load.failed,
            lives=dict(self.numbers),
        )

    def start(self) -> None:
        for number, dispatcher in enumerate(self.dispatchers, 1):
            self.born(f"dispatcher-{number}", dispatcher.start().proc)
        for backend in BACKENDS:
            self.worker(backend, backend)
        self.worker("victim", next(self.victims))
        for _, proc in list(self.living.values()):
            if "dispatcher" not in proc.name:
                self.fleet.started(proc)

    def go_on(self) -> None:
        """Harm at its pace until the time is up, none in the last of it."""
        acts = self.harm()
        due_s, said_s = self.plan.pace_s, 0.0
        while (now_s := self.watch.now_s()) < self.plan.seconds:
            if now_s >= due_s and due_s <= self.plan.seconds - self.plan.pace_s:
                self.act(*next(acts))
                # A broker may take long to come back: never harm upon harm.
                due_s = max(due_s, self.watch.now_s()) + self.plan.pace_s
            if now_s >= said_s:
                self.say(self.progress())
                said_s = now_s + min(30.0, self.plan.pace_s)
            self.check_alive()
            if self.load.failed or self.problems:
                return  # it has failed: an hour more would not help
            time.sleep(0.2)

    def check_alive(self) -> None:
        for who, (_, proc) in list(self.living.items()):
            if not proc.alive():
                text = f"{who} ended by itself ({proc.returncode}):\n{proc.tail(8)}"
                self.problems.append(text)

    def progress(self) -> str:
        now_s = int(self.watch.now_s())
        memory = {
            life.who: samples[-1].value
            for (life, kind), samples in self.watch.lives.items()
            if kind == "rss" and life.who in STEADY
        }
        lag, view = self.watch.last("group lag"), self.watch.last("view lag")
        return (
            f"{now_s // 60:3d}:{now_s % 60:02d}  {self.load.total():,} jobs"
            f"  lag {-1 if lag is None else lag:.0f}"
            f"  view {-1 if view is None else view:.1f} s"
            f"  harm {self.acts.total()}  MB "
            + " ".join(f"{who} {mb:.0f}" for who, mb in memory.items())
        )

    def drain(self, group: Group) -> None:
        """When nothing more comes, nothing is left."""
        try:
            wait_until(lambda: group.lag() == 0, DRAIN_S, "no lag of the group", 0.5)
            young = 2.0
            wait_until(lambda: (self.view_lag() or 99) < young, 30, "a young view", 0.5)
        except AssertionError as error:
            self.problems.append(f"after the load: {error}")

    def stop(self) -> None:
        with self._lock:
            living, self.living = dict(self.living), {}
        for _, proc in living.values():
            proc.signal(signal.SIGTERM)
        for who, (_, proc) in living.items():
            if proc.stop(60) != 0:
                self.problems.append(f"{who} ended with {proc.returncode}")

    # ---- judgement

    def judge(self, oracle: Oracle) -> Verdict:
        for worker in self.fleet.procs.all:
            # A broker that is away for longer than a session costs its runs.
            if any(line.get("lost") is True for line in worker.log_json()):
                self.may_lose(worker)
        seen = oracle.collect(None, 600)
        # Orders about batches: no worker reads that lane.
        for place in [place for place in seen.ends if place[0] == "control"]:
            del seen.ends[place]
        self.logs_of_endpoints(oracle)
        verdict = oracle.judge(self.fleet.run_logs, set(self.killed))
        ended = {
            (rec.text("bf_workspace"), rec.text("bf_job"))
            for rec in oracle.evidence.of("results")
        }
        for workspace, name in sorted(self.load.acknowledged - ended):
            verdict.add("acknowledged_and_lost", f"{workspace}/{name}")
        return verdict

    def logs_of_endpoints(self, oracle: Oracle) -> None:
        """What endpoints ran, in the words of the workers' own logs: these do
        not know whether an endpoint began. Only its row says whose a run was."""
        rows = {}
        for rec in oracle.evidence.of("usage"):
            row = json.loads(rec.value)
            rows[row["run_id"]] = row
        for name, log in (("steady", "http.runs"), ("victim", "victim.runs")):
            lines = []
            endpoint = self.fleet.folder / f"{name}.endpoint"
            for line in endpoint.read_text().splitlines():
                run_id, workspace = line.split()[:2]
                row = rows.get(run_id)
                if row:
                    rest = "{job} {generation} {attempt} {execution}".format(**row)
                else:
                    rest = "? 0 1 at_least_once"
                lines.append(f"{run_id} {workspace} {rest}\n")
            path = self.fleet.folder / log
            path.write_text("".join(lines))
            if path not in self.fleet.run_logs:
                self.fleet.run_logs.append(path)
        self.killed.append(self.fleet.folder / "victim.runs")

    def growths(self, end_s: float) -> list[Growth]:
        least_s = self.plan.seconds / 2
        rate = self.load.total() / end_s
        found = []
        for (life, kind), samples in self.watch.lives.items():
            loaded = [sample for sample in samples if sample.at_s <= end_s]
            if life.who.startswith("broker") or not loaded:
                continue
            # Runners: a process for each code of each workspace, until all
            # have come. Those that are killed in turn only begin.
            warming = life.children and self.plan.seconds < WARM_S
            brief = life.who not in (*STEADY, "local's runners")
            grown = growth(
                life.who,
                kind,
                UNITS[kind],
                loaded,
                self.bound(kind),
                least_s=inf if warming or brief else least_s,
                jobs_per_s=rate,
            )
            found.append(grown)
        for name, samples in self.watch.lags.items():
            loaded = [sample for sample in samples if sample.at_s <= end_s]
            if not loaded:
                self.problems.append(f"nobody could tell the {name}")
                continue
            bound = BOUNDS.get(name, Bound(fixed=LAG_S * self.plan.jobs_per_s))
            # A short one is hardly without harm: what it leaves is drain()'s.
            least = inf if self.plan.seconds < WARM_S else least_s
            grown = growth("fleet", name, UNITS[name], loaded, bound, least_s=least)
            found.append(grown)
        return found

    def bound(self, kind: str) -> Bound:
        return (WARM if self.plan.seconds < WARM_S else BOUNDS)[kind]

    # ---- pictures

    def pieces(self, who: str, kind: str) -> list[list[Sample]]:
        return [
            samples
            for (life, name), samples in self.watch.lives.items()
            if (life.who, name) == (who, kind)
        ]

    def samples_of(self, who: str, kind: str) -> list[Sample]:
        if who == "fleet":
            return self.watch.lags[kind]
        return [sample for piece in self.pieces(who, kind) for sample in piece]

    def picture(self) -> str:
        names = list(dict.fromkeys(life.who for life, _ in self.watch.lives))
        ours = [name for name in names if not name.startswith("broker")]
        charts = {
            title: {name: self.pieces(name, kind) for name in ours}
            for title, kind in (
                ("memory (RSS), MB", "rss"),
                ("file descriptors", "fds"),
                ("threads", "threads"),
            )
        }
        for name, samples in self.watch.lags.items():
            charts[f"{name}, {UNITS[name]}"] = {name: [samples]}
        return svg(charts, self.marks)


def table(soak: Soak, report: Report) -> Iterator[str]:
    yield (
        f"{'who':<17} {'what':<9} {'level':>8} {'highest':>8} {'added':>8}"
        f" {'bound':>7}  {'':<5} over time"
    )
    short: dict[tuple[str, str], list[Growth]] = {}
    for g in report.growths:
        if not g.judged:
            short.setdefault((g.who, g.what), []).append(g)
            continue
        line = spark(soak.samples_of(g.who, g.what))
        yield (
            f"{g.who:<17} {g.what:<9} {g.level:8.1f} {g.highest:8.1f} {g.added:+8.2f}"
            f" {g.bound:7.1f}  {'ok' if g.ok else 'GREW':<5} {line}"
        )
    for (who, what), some in short.items():
        highest = max(g.highest for g in some)
        level = sorted(g.level for g in some)[len(some) // 2]
        line = spark(soak.samples_of(who, what))
        yield (
            f"{who:<17} {what:<9} {level:8.1f} {highest:8.1f} {'':8} {'':7}"
            f"  {'':<5} {line}  {len(some)} lives, not judged"
        )


def told(report: Report) -> Iterator[str]:
    rate = report.jobs / report.seconds
    yield (
        f"{report.jobs:,} jobs in {report.seconds / 60:.1f} min"
        f" ({rate:.0f}/s); harm: {dict(report.acts)}"
    )
    yield f"load: {dict(sorted(report.load.items()))}"
    yield f"oracle: {'exactly once' if report.verdict.ok else 'DIFFERENCES'}"
    yield str(report.verdict)
    for problem in report.problems:
        yield f"problem: {problem}"
    for g in report.grew():
        yield (
            f"grew: {g.what} of {g.who} by {g.added:.2f} {g.unit} in"
            f" {g.lived_s / 2:.0f} s, bound {g.bound:.2f}"
        )
    yield "passed" if report.ok else "FAILED"


def document(soak: Soak, report: Report) -> dict[str, object]:
    return {
        "ok": report.ok,
        "seconds": report.seconds,
        "jobs": report.jobs,
        "harm": report.acts,
        "load": report.load,
        "lives": report.lives,
        "growth": [{**asdict(g), "ok": g.ok} for g in report.growths],
        "oracle": asdict(report.verdict),
        "problems": report.problems,
        "marks": soak.marks,
        "samples": [
            {
                "who": life.who,
                "life": life.number,
                "what": kind,
                "at_s": [round(s.at_s, 1) for s in samples],
                "value": [round(s.value, 2) for s in samples],
            }
            for (life, kind), samples in soak.watch.lives.items()
        ],
        "lags": {
            name: [[round(s.at_s, 1), s.value] for s in samples]
            for name, samples in soak.watch.lags.items()
        },
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="./run soak")
    parser.add_argument("--minutes", type=float, default=60, help="default: 60")
    parser.add_argument("--rate", type=float, default=40, help="jobs a second")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args(argv)
    plan = Plan.of(options.minutes * 60, jobs_per_s=options.rate)
    say = (lambda text: print(text, file=sys.stderr, flush=True)) if options.json else (
        lambda text: print(text, flush=True)
    )  # fmt: skip
    with stage(BROKERS) as made, made.fleet(SHARDS) as fleet:
        soak = Soak(made.cluster, fleet, plan, say)
        report = soak.run()
        out = ROOT / "build" / "soak"
        out.mkdir(parents=True, exist_ok=True)
        (out / "soak.svg").write_text(soak.picture())
        whole = json.dumps(document(soak, report))
        (out / "soak.json").write_text(whole)
        if options.json:
            print(whole)
        for line in (*table(soak, report), *told(report)):
            say(line)
        say(f"picture: {os.path.relpath(out / 'soak.svg')}")
    return 0 if report.ok else 1


if __name__ == "__main__":
    sys.exit(main())
