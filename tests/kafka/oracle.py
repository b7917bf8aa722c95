"""The exactly-once oracle: reads the topics as a stranger and judges them.

A separate read_committed confluent-kafka consumer, none of our C. A test does

    oracle = Oracle(cluster.bootstrap, keys=trusted, shards=12)
    with oracle.sampler(group) as sampler:
        ... run the fleet, break things ...
        oracle.collect(until=lambda seen: len(seen.of("results")) >= 20_000)
    verdict = oracle.judge(logs, killed)
    self.assertTrue(verdict.ok, verdict)

What is compared stands in verdict.py.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Self, TypeVar

from confluent_kafka import (
    OFFSET_BEGINNING,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from harness import HANG_S, wire
from verdict import Evidence, Sample, Terms, Verdict, judge, parse_log, w

TOPICS = (
    "jobs",
    "jobs.batch",
    "control",
    "state",
    "results",
    "usage",
    "deadletter",
    "callbacks",
)
INPUTS = ("jobs", "jobs.batch", "control")
Place = tuple[str, int]
T = TypeVar("T")

LATEST = -1  # for the time of a record: the end

# No AdminClient here: one whose broker died can hang when it is destroyed.
CLIENT = {
    "reconnect.backoff.max.ms": "500",
    "socket.nagle.disable": "true",
    "log_level": "0",  # brokers die in these tests, that is no news
}


class OracleTimeout(AssertionError):
    """What was waited for did not come; says what did."""


class Oracle:
    """keys: the public keys that records must be signed with; None: any."""

    def __init__(
        self,
        bootstrap: str,
        prefix: str = "bf.",
        keys: list[w.TrustedKey] | None = None,
        shards: int | None = None,
    ) -> None:
        self.bootstrap = bootstrap
        self.prefix = prefix
        self.keys = keys
        self.shards = shards
        self.evidence = Evidence()
        self.samples: list[Sample] = []

    # ---- reading ------------------------------------------------------------

    def collect(
        self,
        until: Callable[[Evidence], bool] | None = None,
        timeout_s: float = HANG_S,
    ) -> Evidence:
        """Read everything from the start until until() holds, then to the end.

        The end is what is committed when until() has come true; None: now.
        Each call begins anew.
        """
        self.evidence = Evidence()
        deadline = time.monotonic() + timeout_s
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "oracle",
                "isolation.level": "read_committed",
                "enable.partition.eof": "true",
                "enable.auto.commit": "false",
                "auto.offset.reset": "error",
                "fetch.wait.max.ms": "50",  # every end has to be told
                "max.partition.fetch.bytes": str(16 * w.MIB),
                "queued.max.messages.kbytes": "65536",
                **CLIENT,
            }
        )
        try:
            wanted = {self.prefix + name for name in TOPICS}
            places = retried(lambda: places_of(consumer, wanted), deadline)
            starts = [TopicPartition(*place, OFFSET_BEGINNING) for place in places]
            consumer.assign(starts)
            reached: dict[Place, int] = {}
            if until is not None:
                while not until(self.evidence):
                    self._poll(consumer, reached, deadline)
            ends = self._ends(consumer, places, deadline)
            while any(reached.get(place, -1) < end for place, end in ends.items()):
                self._poll(consumer, reached, deadline)
        finally:
            consumer.close()
        for (topic, partition), end in ends.items():
            name = topic.removeprefix(self.prefix)
            if name in INPUTS:
                self.evidence.ends[name, partition] = end
        return self.evidence

    def _ends(
        self, consumer: Consumer, places: list[Place], deadline: float
    ) -> dict[Place, int]:
        """What a read_committed consumer can reach now."""
        asked = [TopicPartition(*place, LATEST) for place in places]

        def ask() -> dict[Place, int]:
            found = consumer.offsets_for_times(asked, timeout=5)
            return {(at.topic, at.partition): offset_of(at) for at in found}

        return retried(ask, deadline)

    def _poll(
        self, consumer: Consumer, reached: dict[Place, int], deadline: float
    ) -> None:
        if time.monotonic() > deadline:
            raise OracleTimeout(f"not in time; so far: {self.seen()}")
        for message in consumer.consume(1_000, 0.1):
            error = message.error()
            if error is None:
                self._keep(message)
            elif error.code() == KafkaError._PARTITION_EOF:
                reached[message.topic(), message.partition()] = message.offset()
            elif error.code() == KafkaError._AUTO_OFFSET_RESET or error.fatal():
                raise KafkaException(error)

    def _keep(self, message: Message) -> None:
        rec = record_of(message)
        name = rec.topic.removeprefix(self.prefix)
        self.evidence.records.setdefault(name, []).append(rec)

    def seen(self) -> dict[str, int]:
        return {name: len(some) for name, some in self.evidence.records.items()}

    # ---- sampling -----------------------------------------------------------

    def sampler(self, group: str, every_s: float = 0.25) -> Sampler:
        """Samples the group's committed offsets in the background."""
        return Sampler(self, group, every_s)

    # ---- judging ------------------------------------------------------------

    def judge(
        self,
        logs: Iterable[Path] | None = None,
        killed: Iterable[Path] = (),
        samples: bool | None = None,
    ) -> Verdict:
        """logs: the backends' own, one line per physical start; killed: those
        of them whose worker died with runs in flight."""
        self.evidence.runs, self.evidence.bad_log_lines = [], []
        for log in logs or ():
            runs, bad = parse_log(log.read_text())
            self.evidence.runs += runs
            self.evidence.bad_log_lines += bad
        may_lose = (run for log in killed for run in parse_log(log.read_text())[0])
        self.evidence.samples = list(self.samples)
        terms = Terms(
            keys=self.keys,
            prefix=self.prefix,
            shards=self.shards,
            may_lose=frozenset(run.run_id for run in may_lose),
            has_log=logs is not None,
            has_samples=bool(self.samples) if samples is None else samples,
        )
        return judge(self.evidence, terms)


class Sampler:
    """A thread that asks for the committed offsets until it is left."""

    def __init__(self, oracle: Oracle, group: str, every_s: float) -> None:
        self.oracle = oracle
        self.group = group
        self.every_s = every_s
        self.failures = 0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)
        # Never subscribes, so it is no member of the group.
        self._consumer = Consumer(
            {
                "bootstrap.servers": oracle.bootstrap,
                "group.id": group,
                "isolation.level": "read_committed",
                "enable.auto.commit": "false",
                **CLIENT,
            }
        )

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: object, *more: object) -> None:
        self._stop.set()
        self._thread.join()
        try:
            if kind is None:
                self.sample_now(HANG_S)
        finally:
            self._consumer.close()

    def _run(self) -> None:
        while not self._stop.wait(self.every_s):
            try:
                self._sample()
            except NoAnswer:
                self.failures += 1  # a broker is being killed: ask again

    def sample_now(self, timeout_s: float) -> None:
        """The last word, which the end of the topics is compared with."""
        deadline = time.monotonic() + timeout_s
        retried(self._wait_stable, deadline)
        retried(self._sample, deadline)

    def _wait_stable(self) -> None:
        """A transaction that is just ending is waited for."""
        wanted = {self.oracle.prefix + name for name in INPUTS}
        places = places_of(self._consumer, wanted)
        asked = [TopicPartition(*place) for place in places]
        for at in self._consumer.committed(asked, timeout=5) if asked else ():
            offset_of(at)

    def _sample(self) -> None:
        """By a request of our own: confluent-kafka reads metadata beyond its
        end, where it is not NUL-terminated."""
        try:
            found = wire.committed(
                coordinator(self.oracle.bootstrap, self.group), self.group
            )
        except (OSError, wire.WireError) as error:
            raise NoAnswer(self.group) from error
        self.oracle.samples += samples_of(found, self.oracle.prefix)


def coordinator(bootstrap: str, group: str) -> tuple[str, int]:
    """The one that all living brokers name. One that was replaced and does
    not know it yet still answers, with what it had."""
    named = set()
    for broker in bootstrap.split(","):
        host, port = broker.rsplit(":", 1)
        with contextlib.suppress(OSError):
            named.add(wire.find_coordinator((host, int(port)), group))
    if len(named) != 1:
        raise NoAnswer(f"{group}: {sorted(named)}")
    return named.pop()


class NoAnswer(Exception):
    """No broker could say what the group has committed."""


def places_of(consumer: Consumer, wanted: set[str]) -> list[Place]:
    there = consumer.list_topics(timeout=5).topics
    return [
        (topic, partition)
        for topic in sorted(wanted & set(there))
        for partition in there[topic].partitions
    ]


def offset_of(at: TopicPartition) -> int:
    if at.error is not None:
        raise KafkaException(at.error)
    return at.offset


def samples_of(found: Iterable[wire.Committed], prefix: str) -> list[Sample]:
    """Partitions of our inputs for which something is committed."""
    return [
        Sample(at.topic, at.partition, at.offset, at.metadata)
        for at in found
        if at.offset >= 0 and at.topic.removeprefix(prefix) in INPUTS
    ]


def retried(ask: Callable[[], T], deadline: float) -> T:
    """A broker may be down just now."""
    while True:
        try:
            return ask()
        except (KafkaException, NoAnswer):
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def record_of(message: Message) -> w.Record:
    headers = [
        (name, value.encode() if isinstance(value, str) else value)
        for name, value in message.headers() or []
    ]
    return w.Record(
        message.topic(),
        message.partition(),
        message.key(),
        message.value(),
        headers,
        message.offset(),
    )
