"""The oracle before a real broker: transactions, metadata, a planted duplicate."""

import copy
import tempfile
import unittest
from pathlib import Path
from typing import Self

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from harness import HANG_S, Cluster
from oracle import TOPICS, Oracle, OracleTimeout
from verdict import w
from world import KEYS, NOW, SHARDS, TRUSTED, World

GROUP = "bf-workers"
INPUTS = ("jobs", "jobs.batch")


class Writer:
    """Writes what a World has, as a fleet would."""

    def __init__(self, bootstrap: str, world: World) -> None:
        self.world = world
        client = {"bootstrap.servers": bootstrap, "log_level": "0"}
        self.plain = Producer({**client, "enable.idempotence": True})
        self.fleet = self.transactional(bootstrap, "w-0")
        self.other = self.transactional(bootstrap, "w-1")
        self.group = Consumer({**client, "group.id": GROUP})
        admin = AdminClient(client)
        topics = [NewTopic(f"bf.{name}", SHARDS) for name in TOPICS]
        for future in admin.create_topics(topics).values():
            future.result(HANG_S)

    @staticmethod
    def transactional(bootstrap: str, name: str) -> Producer:
        config = {"bootstrap.servers": bootstrap, "transactional.id": name}
        producer = Producer(config | {"log_level": "0"})
        producer.init_transactions(HANG_S)
        return producer

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.group.close()

    def jobs(self) -> None:
        for name in INPUTS:
            for rec in self.world.evidence.records[name]:
                produce(self.plain, rec)
        assert self.plain.flush(HANG_S) == 0

    def commit(self, records: list[w.Record], step: int) -> None:
        """One transaction: outputs, and each partition's step-th sample."""
        self.fleet.begin_transaction()
        for rec in records:
            produce(self.fleet, rec)
        offsets = []
        for place in self.world.evidence.ends:
            some = [
                s
                for s in self.world.evidence.samples
                if (s.topic.removeprefix("bf."), s.partition) == place
            ]
            at = some[min(step, len(some) - 1)]
            offsets.append(
                TopicPartition(at.topic, at.partition, at.offset, at.metadata)
            )
        group = self.group.consumer_group_metadata()
        self.fleet.send_offsets_to_transaction(offsets, group, 30)
        self.fleet.commit_transaction(HANG_S)

    def abort(self, records: list[w.Record]) -> None:
        self.fleet.begin_transaction()
        for rec in records:
            produce(self.fleet, rec)
        self.fleet.flush(HANG_S)
        self.fleet.abort_transaction(HANG_S)

    def left_open(self, rec: w.Record) -> None:
        """In a transaction that has not ended."""
        self.other.begin_transaction()
        produce(self.other, rec)
        self.other.flush(HANG_S)

    def outputs(self) -> list[w.Record]:
        names = ("results", "usage", "deadletter", "state")
        return self.world.evidence.of(*names)


def produce(producer: Producer, rec: w.Record) -> None:
    producer.produce(
        rec.topic, rec.value, rec.key, rec.partition, headers=list(rec.headers)
    )


class OracleOnKafka(unittest.TestCase):
    """One broker; each test has its own topics."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster())

    def test_a_clean_fleet_and_a_planted_duplicate(self) -> None:
        world = World()
        oracle = Oracle(self.cluster.bootstrap, keys=TRUSTED, shards=SHARDS)
        writer = self.enterContext(Writer(self.cluster.bootstrap, world))
        log = Path(self.enterContext(tempfile.TemporaryDirectory())) / "runs"
        log.write_text("".join(line(run) for run in world.evidence.runs))
        with oracle.sampler(GROUP, every_s=0.05) as sampler:
            writer.jobs()
            some = writer.outputs()
            writer.abort(some[:40])
            writer.commit(some[:40], 1)
            sampler.sample_now(HANG_S)
            writer.commit(some[40:80], 2)
            writer.commit(some[80:], 99)
            oracle.collect(until=lambda seen: len(seen.of("results")) == 32)
        verdict = oracle.judge([log])
        self.assertTrue(verdict.ok, verdict)
        self.assertEqual(verdict.counts["results"], 32)
        self.assertEqual(verdict.counts["usage"], 24)
        self.assertGreater(verdict.counts["samples"], len(world.evidence.ends))

        duplicate = copy.deepcopy(world.evidence.records["results"][0])
        writer.left_open(duplicate)
        oracle.collect()
        self.assertTrue(oracle.judge([log]).ok)
        writer.other.abort_transaction(HANG_S)

        writer.commit([duplicate], 99)
        oracle.collect()
        verdict = oracle.judge([log])
        self.assertEqual(set(verdict.differences), {"duplicate_result"}, verdict)

        with self.assertRaises(OracleTimeout) as caught:
            oracle.collect(lambda seen: False, timeout_s=2)
        self.assertIn("'results': 33", str(caught.exception))

    def test_values_survive_the_way(self) -> None:
        """Empty is not null, header bytes stay, order stays."""
        client = {"bootstrap.servers": self.cluster.bootstrap, "log_level": "0"}
        admin = AdminClient(client)
        topic = NewTopic("values.state", SHARDS)
        for future in admin.create_topics([topic]).values():
            future.result(HANG_S)
        writer = Producer({**client, "enable.idempotence": True})
        written = []
        for key, value in ((b"k", b""), (b"k", None), (None, b"\0\xff")):
            rec = w.Record("values.state", 3, key, value)
            rec.headers = [("b", b""), ("a", b"\xff\0"), ("b", b"1"), ("n", None)]
            w.sign_tree("state", KEYS["state"], NOW, [rec])
            written.append(rec)
            produce(writer, rec)
        self.assertEqual(writer.flush(HANG_S), 0)
        oracle = Oracle(self.cluster.bootstrap, "values.", TRUSTED, SHARDS)
        seen = oracle.collect().of("state")
        for offset, (one, rec) in enumerate(zip(seen, written, strict=True)):
            rec.offset = offset
            self.assertEqual(one, rec)


def line(run: object) -> str:
    run_id, key, attempt, execution = run  # type: ignore[misc]
    job = f"{key.workspace} {key.job} {key.generation}"
    return f"{run_id} {job} {attempt} {execution}\n"


if __name__ == "__main__":
    unittest.main()
