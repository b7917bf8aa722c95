"""Reads what a fleet publishes, as it comes: a read_committed consumer.

    with Reader(fleet) as reader:
        reader.wait(lambda: len(reader.results) == 10, 30, "ten results")

Topics are read from their start, by a thread of its own. `oracle.py` judges
whole runs; this is for tests that follow single records.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable
from typing import Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition
from fleet import Fleet, bfwire
from harness import wait_until, wire
from oracle import record_of
from verdict import Sample, v

GROUP = "blockfleet"  # of a fleet without a name
OUTPUTS = ("results", "usage", "deadletter", "callbacks")
Key = tuple[str, str, int]
Place = tuple[str, int, int]


class Reader:
    """`results` by (workspace, job, generation), `letters` by where it died."""

    def __init__(
        self, fleet: Fleet, topics: tuple[str, ...] = OUTPUTS, check: bool = True
    ) -> None:
        self.fleet = fleet
        self.records: dict[str, list[bfwire.Record]] = defaultdict(list)
        self.results: dict[Key, list[bfwire.Result]] = defaultdict(list)
        self.letters: dict[Place, list[bfwire.Record]] = defaultdict(list)
        # time.time() at which each shard's results came, and from whom
        self.arrivals: dict[int, list[tuple[float, str]]] = defaultdict(list)
        self.problems: list[str] = []
        self._topics = [fleet.topic(name) for name in topics]
        self._check = check
        self._validator = v.Validator(
            fleet.keys.trusted(), fleet.prefix, shards=fleet.shards
        )
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        consumer = Consumer(
            {
                "bootstrap.servers": self.fleet.cluster.bootstrap,
                "group.id": "reader",
                "isolation.level": "read_committed",
                "enable.auto.commit": "false",
                "auto.offset.reset": "error",
                "reconnect.backoff.max.ms": "500",
                "fetch.wait.max.ms": "100",
            }
        )
        consumer.assign(
            [
                TopicPartition(topic, partition, OFFSET_BEGINNING)
                for topic in self._topics
                for partition in range(self.fleet.shards)
            ]
        )
        try:
            while not self._stop.is_set():
                for message in consumer.consume(500, 0.05):
                    error = message.error()
                    if error is None:
                        self._take(record_of(message))
                    elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                        self.problems.append(str(error))
        finally:
            consumer.close()

    def _take(self, rec: bfwire.Record) -> None:
        name = rec.topic.removeprefix(self.fleet.prefix)
        try:
            if self._check:
                self._validator.validate_record(rec)
            if name == "results":
                result = bfwire.result_parse(rec)
                subject = result.subject
                key = subject.workspace, subject.job, subject.generation
                self.results[key].append(result)
                self.arrivals[rec.partition].append((time.time(), result.worker))
            elif name == "deadletter":
                self.letters[died_at(rec)].append(rec)
        except Exception as error:
            self.problems.append(f"{rec.topic}[{rec.partition}]@{rec.offset}: {error}")
        self.records[name].append(rec)

    def wait(self, condition: Callable[[], object], seconds: float, what: str) -> None:
        try:
            wait_until(condition, seconds, what)
        except AssertionError as error:
            seen = {name: len(found) for name, found in self.records.items()}
            raise AssertionError(f"{error}; read: {seen}") from None

    def only(self, key: Key) -> bfwire.Result:
        """The one result of this job."""
        found = self.results.get(key, [])
        assert len(found) == 1, f"{len(found)} results of {key}"
        return found[0]

    def usage(self) -> dict[str, dict[str, object]]:
        """Rows by run id."""
        rows = [bfwire.load(rec.value, "bad") for rec in self.records["usage"]]
        return {row["run_id"]: row for row in rows}

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        self._thread.join()


def committed(fleet: Fleet) -> list[Sample]:
    """What the workers' group has committed of its inputs now."""
    broker = ("127.0.0.1", fleet.cluster.brokers[0].port())
    return [
        Sample(at.topic, at.partition, at.offset, at.metadata)
        for at in wire.committed(broker, fleet.group)
        if at.offset >= 0 and at.topic != fleet.topic("state")
    ]


def died_at(letter: bfwire.Record) -> Place:
    """Topic, partition and offset of the record that a dead letter is about."""
    topic, partition, offset = (
        letter.text(f"__connect.errors.{name}")
        for name in ("topic", "partition", "offset")
    )
    return topic, int(partition), int(offset)
