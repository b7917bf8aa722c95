"""What a fleet holds, sampled: memory, descriptors and threads of processes,
what its group and its view lag behind."""

from __future__ import annotations

import contextlib
import re
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from confluent_kafka import Consumer, KafkaException, TopicPartition
from fleet import Fleet
from growth import Sample
from harness import wire
from oracle import NoAnswer, coordinator

LANES = ("jobs", "jobs.batch")
LATEST = -1
VIEW_AGE = re.compile(r"^blockfleet_view_age_seconds (\S+)$", re.MULTILINE)


@dataclass(frozen=True)
class Life:
    """A process, or the children of one (together), from start to end."""

    who: str
    number: int  # of those that were called so
    pid: int
    children: bool = False


def held_by(pid: int) -> dict[str, float] | None:
    """rss in MB, fds and threads; None: it has gone."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
        fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        return None
    numbers = dict(re.findall(r"^(VmRSS|Threads):\s+(\d+)", status, re.MULTILINE))
    if "VmRSS" not in numbers:  # a zombie has no memory
        return None
    rss = int(numbers["VmRSS"]) / 1024
    return {"rss": rss, "fds": fds, "threads": int(numbers["Threads"])}


def parents() -> dict[int, int]:
    """Of every process there is: not each kernel lists children."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        found[int(stat.parent.name)] = int(fields[1])
    return found


def below(pid: int, parent_of: dict[int, int]) -> list[int]:
    """Its children, and theirs."""
    found = [child for child, parent in parent_of.items() if parent == pid]
    return found + [one for child in found for one in below(child, parent_of)]


def held(life: Life) -> dict[str, float] | None:
    if not life.children:
        return held_by(life.pid)
    found = [held_by(pid) for pid in below(life.pid, parents())]
    parts = [part for part in found if part]
    if not parts:
        return None
    return {name: sum(part[name] for part in parts) for name in parts[0]}


class Group:
    """How many records that workers read are not below the group's offsets."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        names = [fleet.topic(lane) for lane in LANES]
        self._places = [
            TopicPartition(name, shard, LATEST)
            for name in names
            for shard in range(fleet.shards)
        ]
        self._known: set[tuple[str, int]] = set()  # something is committed for it
        # Never subscribes, so it is no member of anything.
        self._consumer = Consumer(
            {
                "bootstrap.servers": fleet.cluster.bootstrap,
                "group.id": "soak-watch",
                "reconnect.backoff.max.ms": "500",
                "log_level": "0",
            }
        )

    def lag(self) -> int | None:
        """None: nobody answers, a broker is away."""
        try:
            return self._lag()
        except (OSError, wire.WireError, KafkaException, NoAnswer):
            # It reads nothing, so it would not learn who leads now.
            with contextlib.suppress(KafkaException):
                self._consumer.list_topics(timeout=3)
            return None

    def _lag(self) -> int:
        # Offsets first: what comes in meanwhile is lag, never less than 0.
        group = self.fleet.group
        told = wire.committed(coordinator(self.fleet.cluster.bootstrap, group), group)
        done = {(at.topic, at.partition): at.offset for at in told}
        if self._known - done.keys():
            raise NoAnswer("a transaction is just ending")
        self._known |= done.keys()
        lag = 0
        for end in self._consumer.offsets_for_times(self._places, timeout=3):
            if end.error is not None:
                raise KafkaException(end.error)
            lag += end.offset - max(0, done.get((end.topic, end.partition), 0))
        return lag

    def close(self) -> None:
        self._consumer.close()


def view_age_s(metrics: str) -> float | None:
    found = VIEW_AGE.search(metrics)
    return float(found[1]) if found else None


class Watch:
    """A thread that samples until it is left; what it finds is added to `lives`
    (by life and kind) and `lags` (by name).

    living: who is there now. lags: what to ask, each None when nobody knows.
    """

    def __init__(
        self,
        living: Callable[[], Iterable[Life]],
        ask: dict[str, Callable[[], float | None]],
        every_s: float,
    ) -> None:
        self.lives: dict[tuple[Life, str], list[Sample]] = defaultdict(list)
        self.lags: dict[str, list[Sample]] = defaultdict(list)
        self.begin_s = time.monotonic()
        self._living = living
        self._ask = ask
        self._every_s = every_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="watch", daemon=True)

    def now_s(self) -> float:
        return time.monotonic() - self.begin_s

    def _run(self) -> None:
        while not self._stop.is_set():
            began = time.monotonic()
            self._sample()
            self._stop.wait(max(0.0, began + self._every_s - time.monotonic()))

    def _sample(self) -> None:
        for life in self._living():
            at_s, found = self.now_s(), held(life)
            for kind, value in (found or {}).items():
                self.lives[life, kind].append(Sample(at_s, value))
        for name, ask in self._ask.items():
            value = ask()
            if value is not None:
                self.lags[name].append(Sample(self.now_s(), value))

    def last(self, name: str) -> float | None:
        found = self.lags.get(name)
        return found[-1].value if found else None

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()
