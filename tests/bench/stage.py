"""What is measured on: one broker, one fleet, and clocks read from /proc."""

import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from fleet import Fleet
from harness import Cluster, Proc, wait_until, wire
from harness.broker import prepare

BIN = Path(os.environ["BF_BIN_DIR"])
SHARDS = 12
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def cpu_s(pid: int) -> float:
    """User and system time of a process, all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
    return (int(fields[11]) + int(fields[12])) * TICK_S


def memory_mb(pid: int, name: str = "VmRSS") -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) / 1024
    raise ValueError(name)


@dataclass
class Point:
    """A process at one moment of its work."""

    at_s: float
    cpu_s: float
    done: int


class Stage:
    """Brokers that stay, and one fleet after the other on them."""

    def __init__(self, folder: Path, brokers: int = 1) -> None:
        self.folder = folder
        # A JVM as brokers have: the tests' own starts sooner and is slower.
        java = replace(prepare(), flags=("-XX:TieredStopAtLevel=4",))
        self.cluster = Cluster(brokers, quick_death=False, java=java)
        self._fleets = 0

    @property
    def bootstrap(self) -> str:
        return self.cluster.bootstrap

    @contextmanager
    def fleet(self, shards: int = SHARDS) -> Iterator[Fleet]:
        """Empty topics (those of the fleet before are deleted), fresh keys."""
        self._fleets += 1
        self.drop_topics()
        made = Fleet(self.cluster, self.folder / f"fleet-{self._fleets}", shards)
        made.init_topics()
        try:
            yield made
        finally:
            for proc in made.procs.all:
                proc.stop()

    def drop_topics(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        names = [t for t in admin.list_topics(timeout=10).topics if t[:1] != "_"]
        if names:
            for future in admin.delete_topics(names).values():
                future.result(30)
        groups = [g.group_id for g in admin.list_consumer_groups().result().valid]
        if groups:
            for future in admin.delete_consumer_groups(groups).values():
                future.result(30)

        def gone() -> bool:
            left = admin.list_topics(timeout=10).topics
            return not any(t[:1] != "_" for t in left)

        wait_until(gone, 30, "topics deleted")

    def make_topic(self, name: str, shards: int = SHARDS) -> None:
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        config = {"max.message.bytes": str(16 << 20)}
        new = NewTopic(name, shards, 1, config=config)
        admin.create_topics([new])[name].result(30)

    # ---- what is done

    def committed(self, topic: str = "bf.jobs", group: str = "blockfleet") -> int:
        """Jobs below the group's offsets: over, their results visible."""
        broker = ("127.0.0.1", self.cluster.brokers[0].port())
        try:
            found = wire.committed(broker, group, 10)
        except wire.WireError:
            return 0  # the group has no coordinator yet
        return sum(at.offset for at in found if at.topic == topic and at.offset > 0)

    def watch(self, proc: Proc, jobs: int, limit_s: float) -> list[Point]:
        """How a worker gets on until all is done, every 50 ms."""
        points: list[Point] = []

        def over() -> bool:
            if not proc.alive():
                raise AssertionError(f"{proc.name} ended:\n{proc.tail()}")
            done = self.committed()
            points.append(Point(time.monotonic(), cpu_s(proc.pid), done))
            return done >= jobs

        wait_until(over, limit_s, f"{jobs} jobs done", every_s=0.05)
        return points

    def count(self, topic: str, shards: int = SHARDS) -> int:
        """Committed records of a topic, read to its end."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "bench-count",
                "isolation.level": "read_committed",
                "auto.offset.reset": "earliest",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        consumer.assign([TopicPartition(topic, p, 0) for p in range(shards)])
        seen = ended = 0
        try:
            while ended < shards:
                for message in consumer.consume(10_000, 1.0):
                    error = message.error()
                    if error is None:
                        seen += 1
                    elif error.code() == KafkaError._PARTITION_EOF:
                        ended += 1
                    else:
                        raise AssertionError(str(error))
        finally:
            consumer.close()
        return seen

    # ---- programs

    def run(self, program: str, limit_s: float = 120, **told: object) -> Any:
        """One of the bench's own programs; what it says as JSON."""
        words = {"brokers": self.bootstrap, **told}
        argv = [str(BIN / f"bench-{program}")]
        argv += [f"{name}={value}" for name, value in words.items()]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=limit_s)
        if done.returncode:
            raise AssertionError(f"bench-{program}: {done.stderr.strip()}")
        return json.loads(done.stdout)


def between(points: list[Point], jobs: int, skip: float = 0.2) -> tuple[Point, Point]:
    """The first point after `skip` of the jobs, and the last."""
    first = next(p for p in points if p.done >= jobs * skip)
    return first, points[-1]


@contextmanager
def stage(brokers: int = 1) -> Iterator[Stage]:
    with tempfile.TemporaryDirectory(prefix="blockfleet-bench-") as folder:
        made = Stage(Path(folder), brokers)
        with made.cluster:
            yield made
