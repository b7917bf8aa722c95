"""`./run bench`: what the fleet costs and how fast it is, in one run on one
broker, beside what librdkafka alone costs on the same records.

    ./run bench [--quick] [--json] [ROW ...]

A row says its target and whether it is met. Rows can be run by themselves.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import confluent_kafka
from dispatching import Dispatcher
from fleet import Fleet
from harness import Proc
from stage import BIN, SHARDS, Stage, between, cpu_s, memory_mb, stage

MB = 1 << 20


@dataclass
class Figure:
    """One line of the table; limit None: nothing was promised."""

    row: str
    what: str
    value: float
    unit: str
    limit: float | None = None
    least: bool = False  # the limit is to be reached, not to be kept below

    def met(self) -> bool | None:
        if self.limit is None:
            return None
        return self.value >= self.limit if self.least else self.value <= self.limit

    def target(self) -> str:
        if self.limit is None:
            return ""
        return f"{'>=' if self.least else '<='} {self.limit:g}"


@dataclass
class Bench:
    stage: Stage
    quick: bool
    preload: str = ""  # another librdkafka than the system's, for the worker

    def jobs(self, full: int) -> int:
        return full // 5 if self.quick else full

    def feed(self, fleet: Fleet, jobs: int, **told: object) -> None:
        self.stage.run("feed", keys=fleet.keys.folder, jobs=jobs, **told)

    def worker(self, fleet: Fleet, **options: object) -> Proc:
        told = {"worker__backend": "noop", "worker__log_runs": "", **options}
        env = {"LD_PRELOAD": self.preload} if self.preload else None
        return fleet.started(fleet.worker("worker", env=env, **told))

    def warm(self) -> None:
        """A JVM compiles what is asked of it often: no figure is of before."""
        jobs = self.jobs(200_000)
        with self.stage.fleet() as fleet:
            self.feed(fleet, jobs)
            self.stage.watch(self.worker(fleet), jobs, 120)

    # ---- rows

    def row_worker(self) -> list[Figure]:
        """A backlog of 1 KB jobs, one worker process, then the bare loop on
        the very same records."""
        jobs = self.jobs(150_000)
        found = []
        with self.stage.fleet() as fleet:
            self.feed(fleet, jobs)
            worker = self.worker(fleet)
            first, last = between(self.stage.watch(worker, jobs, 120), jobs)
            worker.stop()
            done = last.done - first.done
            cost = (last.cpu_s - first.cpu_s) / done * 1e6
            rate = done / (last.at_s - first.at_s)
            found.append(Figure("worker", "CPU per job", cost, "us", 20))
            found.append(Figure("worker", "jobs a second", rate, "/s", 30_000, True))
            for topic in ("bf.results", "bf.usage"):
                seen = self.stage.count(topic)
                assert seen == jobs, f"{seen} records in {topic} of {jobs} jobs"
            for shape, what in (
                ("plain", "bare loop, one plain record"),
                ("ours", "bare loop, records of our shape"),
            ):
                loop = self.loop(jobs, shape)
                found.append(Figure("worker", what, loop, "us"))
                found.append(Figure("worker", f"worker / {what}", cost / loop, "x"))
        return found

    def loop(self, jobs: int, shape: str) -> float:
        for name in ("out", "usage"):
            self.stage.make_topic(f"bench.{shape}.{name}")
        told = self.stage.run(
            "loop",
            jobs=jobs,
            shape=shape,
            group=f"bench-{shape}",
            out=f"bench.{shape}.out",
            out2=f"bench.{shape}.usage",
        )
        return float(told["cpu_us"])

    def row_path(self) -> list[Figure]:
        """A job's way through the worker without Kafka and threads."""
        with self.stage.fleet() as fleet:
            keys = fleet.keys.folder
            told = self.stage.run("path", keys=keys, jobs=self.jobs(100_000))
        return [Figure("path", f"ours: {name}", us, "us") for name, us in told.items()]

    def row_latency(self) -> list[Figure]:
        """500 jobs/s, from the producer's call to the result in a
        read_committed reader's hands; not before the broker's JVM is warm,
        which takes thousands of transactions."""
        rate, seconds = 500, 8 if self.quick else 25
        skip = rate * (8 if self.quick else 25)
        with self.stage.fleet() as fleet:
            worker = self.worker(fleet)
            seen = self.stage.run(
                "latency",
                keys=fleet.keys.folder,
                jobs=rate * seconds + skip,
                skip=skip,
                rate=rate,
            )
            cost = cpu_s(worker.pid) / (rate * seconds + skip) * 1e6
        return [
            Figure("latency", "p50 at 500 jobs/s", seen["p50_ms"], "ms", 25),
            Figure("latency", "p99 at 500 jobs/s", seen["p99_ms"], "ms", 50),
            Figure("latency", "worker CPU per job, start included", cost, "us"),
        ]

    def row_memory(self) -> list[Figure]:
        """5,000 runs at once; they take up to a second each."""
        jobs = 20_000
        options = {"noop__delay": "1s", "worker__concurrency": 5000}
        with self.stage.fleet() as fleet:
            self.feed(fleet, jobs)
            worker = self.worker(fleet, **options)
            points = self.stage.watch(worker, jobs, 90)
            peak = memory_mb(worker.pid, "VmHWM")
            assert points[-1].done == jobs
        return [Figure("memory", "peak RSS, 5,000 in flight", peak, "MB", 96)]

    def row_large(self) -> list[Figure]:
        """A backlog of 1 MB jobs in each of the 12 shards."""
        jobs = self.jobs(600)
        with self.stage.fleet() as fleet:
            self.feed(fleet, jobs, bytes=MB)
            worker = self.worker(fleet, noop__delay="200ms")
            self.stage.watch(worker, jobs, 120)
            peak = memory_mb(worker.pid, "VmHWM")
        return [Figure("large", "peak RSS, 1 MB jobs", peak, "MB", 256)]

    def row_newer(self) -> list[Figure]:
        """The worker as it is, and under the librdkafka of the Python wheel."""
        version = confluent_kafka.libversion()[0]
        folder = Path(confluent_kafka.__file__).parent.parent
        [library] = folder.glob("confluent_kafka.libs/librdkafka-*.so*")
        ours, newer = self, replace(self, preload=str(library))
        found = []
        for row in (Bench.row_latency, Bench.row_idle):
            for old, new in zip(row(ours), row(newer), strict=True):
                what = f"{old.what}, {version}"
                found.append(Figure("newer", what, new.value, old.unit))
                share = new.value / old.value
                found.append(Figure("newer", "to the system's librdkafka", share, "x"))
        return found

    def row_idle(self) -> list[Figure]:
        with self.stage.fleet() as fleet:
            self.feed(fleet, 100)
            worker = self.worker(fleet)
            self.stage.watch(worker, 100, 60)
            seconds = 5 if self.quick else 15
            time.sleep(2)
            before, begin = cpu_s(worker.pid), time.monotonic()
            time.sleep(seconds)
            share = (cpu_s(worker.pid) - before) / (time.monotonic() - begin)
        return [Figure("idle", "an idle worker, of a core", share * 100, "%", 1.5)]

    def row_dispatcher(self) -> list[Figure]:
        """NDJSON uploads of 1,000 lines and single POSTs, 1 KB jobs, kept
        connections; the view is being written meanwhile, or there is none."""
        found = []
        for mode, jobs, connections, view in (
            ("lines", 100_000, 8, "on"),
            ("lines", 100_000, 8, "off"),
            ("single", 20_000, 32, "on"),
        ):
            with self.dispatcher(view) as (url, proc):
                warm = self.stage.run("load", url=url, mode=mode, jobs=2000)
                before = cpu_s(proc.pid)
                told = self.stage.run(
                    "load",
                    url=url,
                    mode=mode,
                    jobs=self.jobs(jobs),
                    connections=connections,
                )
                cost = (cpu_s(proc.pid) - before) / told["jobs"] * 1e6
                assert warm["jobs"] >= 2000
            name = "NDJSON lines" if mode == "lines" else "single POSTs"
            limit = {"on": 15_000, "off": 30_000}[view] if mode == "lines" else None
            rate = told["jobs_per_s"]
            what = f"{name} a second, view {view}"
            found.append(Figure("dispatcher", what, rate, "/s", limit, True))
            what = f"CPU per job, {name}, view {view}"
            found.append(Figure("dispatcher", what, cost, "us"))
        return found

    @contextmanager
    def dispatcher(self, view: str) -> Iterator[tuple[str, Proc]]:
        with self.stage.fleet() as fleet:
            folder = fleet.folder / "dispatcher"
            folder.mkdir()
            made = Dispatcher(
                fleet.procs,
                self.stage.bootstrap,
                fleet.keys,
                folder,
                {
                    "topics.shards": str(SHARDS),
                    "log.level": "warn",
                    "dispatcher.keep_view": {"on": "true", "off": "false"}[view],
                },
            ).start()
            assert made.proc is not None
            yield made.address, made.proc


ROWS: dict[str, Callable[[Bench], list[Figure]]] = {
    name.removeprefix("row_"): getattr(Bench, name)
    for name in ("row_worker", "row_path", "row_latency", "row_memory")
    + ("row_large", "row_idle", "row_newer", "row_dispatcher")
}


def told(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True).stdout.strip()


def librdkafka() -> str:
    """Which one the programs are linked with; the Python wheel has another."""
    for line in told("ldd", str(BIN / "blockfleet-worker")).splitlines():
        if "librdkafka" in line:
            real = Path(line.split("=>")[1].split()[0]).resolve()
            package = told("dpkg", "-S", f"*/{real.name}").partition(":")[0]
            return told("dpkg-query", "-W", "-f", "${Version}", package) or real.name
    return "?"


def conditions(made: Stage) -> dict[str, object]:
    names = Path("/proc/cpuinfo").read_text().splitlines()
    cpu = [line.partition(": ")[2] for line in names if line.startswith("model name")]
    [jar] = made.cluster.dist.jars.glob("kafka_2.13-*.jar")
    return {
        "cores": os.cpu_count(),
        "cpu": (cpu or [platform.machine()])[0],
        "linux": platform.release(),
        "librdkafka": librdkafka(),
        "kafka": jar.stem.partition("-")[2] + ", one node, on the same cores",
        "load before": round(os.getloadavg()[0], 1),
    }


def show(figure: Figure) -> None:
    value = f"{figure.value:,.0f}" if figure.value >= 1000 else f"{figure.value:.2f}"
    verdict = {None: "", True: "met", False: "MISSED"}[figure.met()]
    target = figure.target()
    print(
        f"{figure.row:<11} {figure.what:<46} {value:>9} {figure.unit:<3}"
        f" {target:<10} {verdict}",
        flush=True,
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run bench")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=", ".join(ROWS))
    parser.add_argument("--quick", action="store_true", help="a fifth of the jobs")
    parser.add_argument("--json", action="store_true", help="for programs")
    options = parser.parse_args()
    wrong = [name for name in options.rows if name not in ROWS]
    if wrong:
        parser.error(f"no row {wrong[0]}: {', '.join(ROWS)}")
    figures: list[Figure] = []
    with stage() as made:
        about = conditions(made)
        if not options.json:
            print("  ".join(f"{name}: {value}" for name, value in about.items()))
        Bench(made, options.quick).warm()
        for name in options.rows or ROWS:
            for figure in ROWS[name](Bench(made, options.quick)):
                figures.append(figure)
                if not options.json:
                    show(figure)
    if options.json:
        rows = [{**asdict(f), "met": f.met()} for f in figures]
        print(json.dumps({"conditions": about, "figures": rows}, indent=2))
    return 1 if any(f.met() is False for f in figures) else 0


if __name__ == "__main__":
    sys.exit(main())
