"""Faults of the broker, the topics and the operator: the loss is reported, only
the culprit suffers, and nothing is pretended. design.md §4.6, PROTOCOL.md §5.5.
"""

import random
import struct
import tempfile
import time
import unittest
from collections import Counter
from pathlib import Path

import fleet as fleets
from confluent_kafka import ConsumerGroupState, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    OffsetSpec,
    ResourceType,
)
from dispatching import read_all
from fleet import BIN, Fleet, bfwire, now_ms
from harness import HANG_S, Cluster, Proc, Procs, wait_until, wire
from reader import GROUP, Reader

LANES = {"jobs": "bf.jobs", "batch": "bf.jobs.batch"}
NOISE = random.Random(1)


def noise(size: int) -> bytes:
    """A JSON string that does not compress."""
    return b'"' + NOISE.randbytes(size // 2).hex().encode() + b'"'


class FaultCase(unittest.TestCase):
    """A cluster and a fleet for each test."""

    shards = 4

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-faults-")
        self.addCleanup(temporary.cleanup)
        self.cluster = self.enterContext(Cluster())
        self.fleet = Fleet(self.cluster, Path(temporary.name), shards=self.shards)
        self.enterContext(self.fleet.procs)
        self.admin = AdminClient(
            {"bootstrap.servers": self.cluster.bootstrap, **fleets.QUICK}
        )

    def read(self) -> Reader:
        self.reader = self.enterContext(Reader(self.fleet))
        return self.reader

    def address(self) -> tuple[str, int]:
        return "127.0.0.1", self.cluster.brokers[0].port()

    def jobs(self, prefix: str, count: int, **more: object) -> list[bfwire.Job]:
        """Spread over all shards."""
        return [
            self.fleet.job(f"ws-{n}", f"{prefix}-{n}", **more) for n in range(count)
        ]

    def job_on(self, shard: int, name: str, **more: object) -> bfwire.Job:
        """A job that belongs to this shard."""
        for n in range(100_000):
            job = self.fleet.job(f"{name}-{n}", name, **more)
            if self.fleet.place(job)[1] == shard:
                return job
        raise AssertionError(shard)

    def ends(self, topic: str) -> list[int]:
        """High watermarks, by partition."""
        asked = {
            TopicPartition(topic, shard): OffsetSpec.latest()
            for shard in range(self.shards)
        }
        found = self.admin.list_offsets(asked, request_timeout=HANG_S)
        return [future.result().offset for future in found.values()]

    def bases(self, topic: str) -> list[int]:
        """Committed offsets, by partition; -1: none."""
        found = {
            at.partition: at.offset
            for at in wire.committed(self.address(), GROUP)
            if at.topic == topic
        }
        return [found.get(shard, -1) for shard in range(self.shards)]

    def wait_complete(self, deadline_s: float = HANG_S) -> None:
        """Until all that is in the log is complete."""

        def complete() -> bool:
            bases = [max(0, base) for base in self.bases("bf.jobs")]
            return bases == self.ends("bf.jobs")

        wait_until(complete, deadline_s, "every job complete")

    def wait_group_empty(self) -> None:
        def empty() -> bool:
            futures = self.admin.describe_consumer_groups([GROUP])
            return futures[GROUP].result().state in (
                ConsumerGroupState.EMPTY,
                ConsumerGroupState.DEAD,
            )

        wait_until(empty, HANG_S, "an empty group")

    def stop(self, worker: Proc) -> None:
        self.assertEqual(worker.stop(), 0, worker.tail())
        self.wait_group_empty()

    def succeeded(self, jobs: list[bfwire.Job]) -> None:
        for job in jobs:
            result = self.reader.only((job.workspace, job.id, 0))
            self.assertEqual((result.outcome, result.value), ("succeeded", job.inputs))

    def wait_results(self, jobs: list[bfwire.Job], deadline_s: float = HANG_S) -> None:
        keys = {(job.workspace, job.id, 0) for job in jobs}

        def done() -> bool:
            keys.difference_update(list(self.reader.results))
            return not keys

        try:
            self.reader.wait(done, deadline_s, "results")
        except AssertionError as error:
            logs = "\n".join(proc.tail(15) for proc in self.fleet.procs.all)
            raise AssertionError(
                f"{error}; missing {sorted(keys)[:5]}\n{logs}"
            ) from None

    # ---- what nobody should do

    def commit(self, shard: int, offset: int, metadata: str) -> None:
        """OffsetCommit v5, of a group without members: bytes as they are."""
        topic, group = b"bf.jobs", GROUP.encode()
        text = metadata.encode()
        body = struct.pack(">h", len(group)) + group + struct.pack(">ih", -1, 0)
        body += struct.pack(">ih", 1, len(topic)) + topic
        body += struct.pack(">iiqh", 1, shard, offset, len(text)) + text
        reply = wire._ask(self.address(), 8, 5, body, HANG_S)
        reply.int("i")
        for _ in range(reply.int("i")):
            reply.string()
            for _ in range(reply.int("i")):
                reply.int("i")
                self.assertEqual(reply.int("h"), 0)

    def state(self, shard: int, base: int, seq: int, key: str = "state") -> None:
        """A b entry of the lane jobs, signed with that key or not at all."""
        entry = bfwire.BaseEntry("jobs", base, b"", "test", 1, "test", now_ms())
        rec = bfwire.entry_build(entry, seq, "main", ("bf.state", shard), now_ms())
        self.fleet.produce(key or None, [rec])

    def committed(self) -> list[wire.Committed]:
        found = wire.committed(self.address(), GROUP)
        return sorted(
            (at for at in found if at.topic == "bf.jobs"), key=lambda at: at.partition
        )

    def odd_entry(self, shard: int, name: str, value: bytes) -> None:
        """Of a state that this version does not know."""
        entry = bfwire.FinishedEntry(0, (), 0, 0)
        place = ("bf.state", shard)
        rec = bfwire.entry_build(entry, 1, "main", place, now_ms())
        rec.key, rec.value = name.encode(), value
        self.fleet.produce("state", [rec])

    def bomb(self, shard: int) -> None:
        """More than a client unpacks, of less than the topic takes."""
        config = {"compression.type": "zstd", "message.max.bytes": 128 << 20}
        producer = Producer({"bootstrap.servers": self.cluster.bootstrap, **config})
        producer.produce("bf.state", b" " * (60 << 20), b"d/1", partition=shard)
        self.assertEqual(producer.flush(HANG_S), 0)

    def tombstone(self, shard: int) -> None:
        entry = bfwire.Tombstone("b/jobs")
        rec = bfwire.entry_build(entry, 10_000, "main", ("bf.state", shard), now_ms())
        self.fleet.produce("state", [rec])


def lines(worker: Proc, event: str) -> list[dict[str, object]]:
    return [line for line in worker.log_json() if line.get("event") == event]


# ---- (a) what the broker refuses ---------------------------------------------


class TooLargeCase(FaultCase):
    """max.message.bytes of the outputs is lower than what has to be written."""

    LIMIT = 100_000

    def plan(self) -> None:
        self.small = self.jobs("small", 400)
        self.culprit = self.fleet.job("ws-c", "culprit", inputs=noise(300_000))
        self.large_and_bad = self.fleet.job(
            "ws-b", "bad", inputs=noise(300_000), block=b"no", labels=b'{"a": "b"}'
        )
        self.unsigned = self.fleet.build(
            self.fleet.job("ws-u", "unsigned", inputs=noise(300_000))
        )
        self.unsigned.headers.append(("x-large", noise(200_000)))

    def run_all(self, worker: Proc, letters: int) -> None:
        """Submit what is planned, and stop when all of it has ended."""
        began = time.monotonic()
        self.fleet.submit(self.small[:200])
        self.fleet.submit([self.culprit])
        self.fleet.submit([self.large_and_bad])
        self.fleet.produce(None, [self.unsigned])
        self.fleet.submit(self.small[200:])
        self.wait_results([*self.small, self.culprit, self.large_and_bad])
        self.reader.wait(lambda: len(self.reader.letters) == letters, HANG_S, "letters")
        took = time.monotonic() - began
        arrived = sorted(at for at, _ in sum(self.reader.arrivals.values(), []))
        stall = max(b - a for a, b in zip(arrived, arrived[1:], strict=False))
        print(f"\n{self.id()}: longest stall {stall:.1f} s, all in {took:.1f} s")
        self.assertLess(stall, 10)
        self.stop(worker)
        self.succeeded(self.small)
        self.assertEqual(self.bases("bf.jobs"), self.ends("bf.jobs"))
        self.assertEqual(self.reader.problems, [])

    def check_rejected(self) -> None:
        result = self.reader.only(("ws-b", "bad", 0))
        self.assertEqual((result.outcome, result.reason), ("rejected", "bad_block"))

    def check_billed(self, outcome: str, letter: str | None) -> None:
        job = self.culprit
        result = self.reader.only((job.workspace, job.id, 0))
        said = result.outcome, result.reason, result.delivery, result.value
        self.assertEqual(said, (outcome, "output_too_large", "ran", b""))
        self.assertEqual(result.dead_letter, letter)
        row = self.reader.usage()[result.run_id]
        self.assertEqual((row["billable"], row["runs"]), (True, "1"))
        self.assertEqual(row["outcome"], outcome)
        ran_s = (result.ended_at_ms - result.started_at_ms) / 1000
        self.assertLess(abs(ran_s - float(row["duration_seconds"])), 2)

    def letters(self) -> dict[tuple[str | None, str | None], bfwire.Record]:
        """By trust and stage."""
        found = [found for (found,) in self.reader.letters.values()]
        return {
            (rec.text("bf_trust"), rec.text("__connect.errors.stage")): rec
            for rec in found
        }


class KnownLimitTest(TooLargeCase):
    """The limit is there at the start: nothing is made that would be refused."""

    def test_no_transaction_is_refused(self) -> None:
        limit = {"max.message.bytes": str(self.LIMIT)}
        self.fleet.init_topics({"results": limit, "deadletter": limit})
        self.plan()
        self.read()
        worker = self.fleet.worker("worker", noop__delay="200ms")
        worker.wait_json(lambda line: line["event"] == "shard_open")
        self.run_all(worker, 2)
        for event in ("transaction", "output_refused", "topic_limits_unknown"):
            self.assertEqual(lines(worker, event), [])
        self.check_billed("failed", None)
        self.check_rejected()
        letters = self.letters()
        self.assertEqual(
            sorted(letters), [("trusted", "decode"), ("untrusted", "verify")]
        )
        for rec in letters.values():
            self.assertEqual((rec.text("bf_truncated"), rec.value), ("true", b""))
        # No more is left out than has to be.
        self.assertIn(
            b"bf_labels", letters["trusted", "decode"].get("bf_original_headers")
        )
        self.assertEqual(letters["untrusted", "verify"].get("bf_original_headers"), b"")

    def test_a_state_that_holds_no_entries(self) -> None:
        self.fleet.init_topics({"state": {"max.message.bytes": "200000"}})
        worker = self.fleet.worker("worker")
        self.assertEqual(worker.wait(HANG_S), 1, worker.tail())
        (down,) = lines(worker, "worker_down")
        self.assertIn("bf.state takes records of 200000 bytes", str(down["message"]))


class RefusedTest(TooLargeCase):
    """The limit is lowered under a running worker."""

    def lower(self, *topics: str) -> None:
        wanted = [
            ConfigResource(
                ResourceType.TOPIC,
                topic,
                incremental_configs=[
                    ConfigEntry(
                        "max.message.bytes",
                        str(self.LIMIT),
                        incremental_operation=AlterConfigOpType.SET,
                    )
                ],
            )
            for topic in topics
        ]
        for future in self.admin.incremental_alter_configs(wanted).values():
            future.result(HANG_S)

        def known() -> bool:
            asked = [ConfigResource(ResourceType.TOPIC, topic) for topic in topics]
            found = self.admin.describe_configs(asked).values()
            return all(
                future.result(HANG_S)["max.message.bytes"].value == str(self.LIMIT)
                for future in found
            )

        wait_until(known, HANG_S, "the new limit")

    def test_only_the_culprit_suffers(self) -> None:
        self.fleet.init_topics()
        self.plan()
        self.read()
        worker = self.fleet.worker("worker", noop__delay="200ms")
        worker.wait_json(lambda line: line["event"] == "shard_open")
        self.lower("bf.results", "bf.deadletter")
        self.run_all(worker, 3)
        self.check_rejected()
        letters = self.letters()
        self.assertEqual(
            sorted(letters),
            [("trusted", "decode"), ("trusted", "produce"), ("untrusted", "verify")],
        )
        for rec in letters.values():
            self.assertEqual(rec.text("bf_truncated"), "true")
            self.assertEqual((rec.value, rec.get("bf_original_headers")), (b"", b""))
        self.check_billed("dead", letters["trusted", "produce"].text("ce_id"))


# ---- (c), (d), (g) contradictions ---------------------------------------------


class StoppedTest(FaultCase):
    """A shard whose facts contradict each other stops; the others work."""

    shards = 12

    def test_a_contradiction_stops_its_shard_alone(self) -> None:
        self.fleet.init_topics()
        first = self.jobs("first", 60)
        self.fleet.submit(first)
        self.read()
        worker = self.fleet.worker("before")
        self.wait_results(first)
        self.wait_complete()
        self.stop(worker)

        metas = {at.partition: at for at in self.committed()}
        rules = {
            0: "corrupt_metadata",
            1: "corrupt_metadata",
            2: "corrupt_metadata",
            3: "corrupt_metadata",
            4: "older_than_base",
            5: "no_base",
            6: "ahead_of_log",
            9: "bad_state",
            10: "bad_state",
            11: "unreadable_state",
        }
        self.commit(0, metas[0].offset, "garbage")
        version = bfwire.unb64(metas[1].metadata, "")
        version = b"\x02" + version[1:-4]
        version += bfwire.h128(version)[:4]
        self.commit(1, metas[1].offset, bfwire.b64(version))
        self.commit(2, 0, metas[2].metadata)
        self.commit(3, metas[3].offset, "")
        said = bfwire.meta_decode(metas[4].metadata)
        self.state(4, said.base, said.txn_seq + 1)
        self.tombstone(5)
        said = bfwire.meta_decode(metas[6].metadata)
        ahead = bfwire.Meta(said.base + 100, said.txn_seq, said.writer)
        self.commit(6, ahead.base, bfwire.meta_encode(ahead))
        # Not signed, or not by a state key: not there.
        self.state(7, 10_000, 10_000, "")
        self.state(8, 10_000, 10_000, "job")

        self.odd_entry(9, "d/0", b'{"v":2,"seq":1,"new":true}')
        self.odd_entry(10, "x/jobs", b'{"v":1,"seq":1}')
        self.bomb(11)

        later = [self.job_on(shard, f"later-{shard}") for shard in range(self.shards)]
        self.fleet.submit(later)
        worker = self.fleet.worker("after")
        good = [job for shard, job in enumerate(later) if shard not in rules]
        self.wait_results(good)
        wait_until(
            lambda: len(lines(worker, "shard_stopped")) == len(rules), HANG_S, "stops"
        )
        for line in lines(worker, "shard_stopped"):
            with self.subTest(line["shard"]):
                self.assertEqual(line["level"], "error")
                self.assertEqual(line["code"], rules[line["shard"]])
                self.assertRegex(line["message"], "lane jobs|entry [dx]/|unpacked")
        ignored = {line["shard"] for line in lines(worker, "state_entry_ignored")}
        self.assertEqual(ignored, {7, 8})
        status = worker.wait_json(
            lambda line: line.get("stopped") == len(rules), HANG_S
        )
        self.assertEqual(status["shards"], self.shards - len(rules))
        before = self.committed()
        self.stop(worker)
        # Nothing was run, written or committed for a stopped shard.
        for shard in rules:
            self.assertNotIn(
                (later[shard].workspace, later[shard].id, 0), self.reader.results
            )
        self.assertEqual(
            [at for at in self.committed() if at.partition in rules],
            [at for at in before if at.partition in rules],
        )
        self.assertEqual(self.reader.problems, [])


class StartedTest(FaultCase):
    """A run that an earlier owner committed to begin, and did not end."""

    shards = 5
    once = {"execution": "at_most_once"}

    def started(self, job: bfwire.Job, shard: int, n: int) -> str:
        """The first record of that shard is this job's; the run id."""
        run_id = f"{n:032x}"
        entry = bfwire.RunEntry(
            "jobs",
            0,
            "started",
            job.workspace,
            job.id,
            job.generation,
            1,
            0,
            job.expires_at_ms,
            job.id_origin,
            run_id=run_id,
        )
        place = ("bf.state", shard)
        rec = bfwire.entry_build(entry, 1, "main", place, now_ms())
        self.fleet.produce("state", [rec])
        return run_id

    def left(self, worker: Proc) -> dict[int, int]:
        """Entries of started runs that each shard opened with."""
        wait_until(
            lambda: len(lines(worker, "shard_open")) >= self.shards, HANG_S, "shards"
        )
        return {line["shard"]: line["started"] for line in lines(worker, "shard_open")}

    def test_what_may_have_run_is_unknown(self) -> None:
        """Also when it has expired by now. What stood at the same place of a
        topic that was made anew says nothing of the job that stands there."""
        self.fleet.init_topics()
        early = {"accepted_at_ms": now_ms() - 9_000, "expires_at_ms": now_ms() - 1_000}
        unknown = [
            self.job_on(0, "running", **self.once),
            self.job_on(1, "expired", **self.once, **early),
        ]
        other = [
            self.job_on(2, "another", **self.once),
            self.job_on(3, "least"),
            self.job_on(4, "older", **self.once, generation=1),
        ]
        runs = {self.started(job, n, n + 1): job for n, job in enumerate(unknown)}
        for n, job in enumerate(other, len(unknown)):
            old = "older" if job.id == "older" else f"old-{n}"
            self.started(self.fleet.job(job.workspace, old, **self.once), n, n + 1)
        self.fleet.submit(unknown + other)
        reader = self.read()
        worker = self.fleet.worker("worker")
        self.assertEqual(self.left(worker), dict.fromkeys(range(self.shards), 1))
        reader.wait(lambda: len(reader.results) == self.shards, HANG_S, "results")
        reader.wait(lambda: len(reader.usage()) == self.shards, HANG_S, "rows")
        self.stop(worker)
        for run_id, job in runs.items():
            result = reader.only((job.workspace, job.id, 0))
            self.assertEqual((result.outcome, result.delivery), ("unknown", "unknown"))
            row = reader.usage()[run_id]
            self.assertEqual((row["job"], row["billable"]), (job.id, False))
        for job in other:
            result = reader.only((job.workspace, job.id, job.generation))
            self.assertEqual((result.outcome, result.value), ("succeeded", job.inputs))
        self.assertEqual(reader.problems, [])
        self.all_have_ended()

    def test_a_copy_of_it_does_not_run(self) -> None:
        """In the other lane, and read first: it answers for the run."""
        self.fleet.init_topics()
        job = self.job_on(0, "twice", **self.once, id_origin="client")
        self.started(job, 0, 1)
        self.fleet.submit([job], "jobs.batch")
        reader = self.read()
        worker = self.fleet.worker("worker")
        self.wait_results([job])
        self.fleet.submit([job])
        self.wait_complete()
        self.stop(worker)
        result = reader.only((job.workspace, job.id, 0))
        self.assertEqual((result.outcome, result.run_id), ("unknown", f"{1:032x}"))
        self.assertEqual(len(lines(worker, "duplicate")), 1)
        self.all_have_ended()

    def all_have_ended(self) -> None:
        again = self.fleet.worker("again")
        self.assertEqual(self.left(again), dict.fromkeys(range(self.shards), 0))
        self.stop(again)


# ---- (e), (f) what the broker forgets ------------------------------------------


class ForgottenTest(FaultCase):
    """In front of each shard a job waits, so that what is complete behind it is
    known from the map of the commit metadata, or of b, alone."""

    def first_life(self, count: int) -> list[bfwire.Job]:
        """A worker comes, does what it can, and goes. What it did."""
        self.fleet.init_topics()
        later = now_ms() + 3_000_000
        self.held = [
            self.job_on(shard, f"held-{shard}", not_before_ms=later)
            for shard in range(self.shards)
        ]
        jobs = self.jobs("first", count)
        self.fleet.submit(self.held)
        self.fleet.submit(jobs)
        self.read()
        worker = self.fleet.worker("before")
        self.wait_results(jobs)
        self.stop(worker)
        self.assertEqual(self.bases("bf.jobs"), [0] * self.shards)
        return jobs

    def delete_records(self, topic: str, before: list[int]) -> None:
        asked = [
            TopicPartition(topic, shard, offset) for shard, offset in enumerate(before)
        ]
        for future in self.admin.delete_records(asked).values():
            future.result(HANG_S)

    def check_lost(
        self, worker: Proc, shard: int, first: int, end: int, lost: int
    ) -> None:
        (letter,) = self.reader.letters["bf.jobs", shard, first]
        said = [
            letter.text(f"__connect.errors.{name}")
            for name in ("stage", "exception.class.name", "exception.message")
        ]
        text = f"{lost} records of offsets {first} to {end - 1} "
        self.assertEqual(said[:2], ["consume", "lost_records"])
        self.assertTrue(said[2].startswith(text), said[2])
        self.assertEqual((letter.key, letter.value), (None, None))
        self.assertEqual(letter.text("bf_trust"), "untrusted")
        found = [
            line for line in lines(worker, "lost_records") if line["shard"] == shard
        ]
        self.assertEqual([line["level"] for line in found], ["error"])
        self.assertIn(text, found[0]["message"])

    def test_retention_overtakes_a_reader(self) -> None:
        """More than the worker's queues hold is waiting when it goes."""
        self.fleet.init_topics()
        reader = self.read()
        jobs = [self.job_on(0, f"job-{n}", inputs=noise(1_000_000)) for n in range(40)]
        self.fleet.submit(jobs)
        other = [self.job_on(1, f"other-{n}") for n in range(20)]
        self.fleet.submit(other)
        worker = self.fleet.worker(
            "worker", worker__memory="32M", worker__concurrency=1, noop__delay="200ms"
        )
        reader.wait(lambda: len(reader.results) >= 2, HANG_S, "the first results")
        end = self.ends("bf.jobs")[0]
        self.delete_records("bf.jobs", [end, 0, 0, 0])
        later = [self.job_on(0, f"later-{n}") for n in range(5)]
        self.fleet.submit(later)
        self.wait_results(later + other)
        self.wait_complete()
        reader.wait(lambda: reader.letters, HANG_S, "a letter")
        self.stop(worker)
        ((_, shard, first),) = reader.letters
        self.assertEqual(shard, 0)
        self.check_lost(worker, 0, first, end, end - first)
        # Every job ends: with a result, or in the letter's count.
        ran = [job for job in jobs if (job.workspace, job.id, 0) in reader.results]
        print(f"\novertaken: {len(ran)} of {len(jobs)} had been read")
        self.assertEqual(len(ran) + end - first, len(jobs))
        self.succeeded(ran + other + later)
        self.assertEqual(reader.problems, [])

    def forget_offsets(self) -> None:
        self.wait_group_empty()
        self.admin.delete_consumer_groups([GROUP])[GROUP].result(HANG_S)
        self.assertEqual(self.bases("bf.jobs"), [-1] * self.shards)

    def test_offsets_are_gone_and_then_records(self) -> None:
        """After a clean stop b is exact: nothing runs again. What retention
        takes while nobody reads is counted without what was complete."""
        jobs = self.first_life(60)
        self.forget_offsets()
        second = self.jobs("second", 60)
        self.fleet.submit(second)
        worker = self.fleet.worker("second")
        self.wait_results(second)
        self.check_warnings(worker, 0)
        self.stop(worker)
        jobs += second
        self.assertEqual(len(self.reader.results), len(jobs))
        self.assertFalse(self.reader.letters)

        done = Counter(self.fleet.place(job)[1] for job in jobs)
        self.fleet.submit(self.jobs("lost", 60))
        ends = self.ends("bf.jobs")
        self.delete_records("bf.jobs", ends)
        third = self.jobs("third", 60)
        self.fleet.submit(third)
        worker = self.fleet.worker("third")
        self.wait_results(third)
        self.wait_complete()
        letters = self.reader.letters
        self.reader.wait(lambda: len(letters) == self.shards, HANG_S, "letters")
        self.stop(worker)
        for shard, end in enumerate(ends):
            with self.subTest(shard):
                self.check_lost(worker, shard, 0, end, end - done[shard])
        self.assertFalse(lines(worker, "offsets_expired"))
        jobs += third
        self.assertEqual(len(self.reader.results), len(jobs))
        self.succeeded(jobs)
        self.assertEqual(self.reader.problems, [])

    def check_warnings(self, worker: Proc, base: int) -> None:
        found = [line for line in lines(worker, "offsets_expired")]
        for lane in ("jobs", "batch"):
            said = [line for line in found if line["lane"] == lane]
            shards = sorted(line["shard"] for line in said)
            self.assertEqual(shards, list(range(self.shards)))
            self.assertEqual(
                {(line["level"], line["base"]) for line in said}, {("warn", base)}
            )

    def exact_bases(self) -> bool:
        """Does the newest b entry of every shard say all that is complete?"""
        newest = {}
        for rec in read_all(self.cluster.bootstrap, "bf.state", self.shards):
            if rec.key == b"b/jobs":
                newest[rec.partition] = bfwire.load(rec.value, "bad")["base"]
        return newest == dict(enumerate(self.ends("bf.jobs")))

    @unittest.skipUnless(fleets.FULL, "a session has to end: --full")
    def test_offsets_are_gone_after_idling_and_a_crash(self) -> None:
        self.fleet.init_topics()
        first = self.jobs("first", 60)
        self.fleet.submit(first)
        reader = self.read()
        worker = self.fleet.worker("before")
        self.wait_results(first)
        wait_until(self.exact_bases, HANG_S, "exact b entries of idle shards")
        worker.kill9()
        self.forget_offsets()
        second = self.jobs("second", 60)
        self.fleet.submit(second)
        worker = self.fleet.worker("after")
        self.wait_results(second)
        self.assertEqual(len(lines(worker, "offsets_expired")), 2 * self.shards)
        self.stop(worker)
        self.assertEqual(len(reader.results), len(first) + len(second))
        for results in reader.results.values():
            self.assertEqual(len(results), 1)
        self.assertEqual(reader.problems, [])

    @unittest.skipUnless(fleets.FULL, "a session has to end: --full")
    def test_offsets_are_gone_after_a_crash(self) -> None:
        """b may be 5 s old then. What ran since runs again, under the same
        ids: a reader that drops what it has seen is right all the same."""
        self.fleet.init_topics()
        first = self.jobs("first", 100)
        self.fleet.submit(first)
        self.read()
        worker = self.fleet.worker("before")
        self.wait_results(first)
        worker.kill9()
        self.forget_offsets()
        worker = self.fleet.worker("after")
        self.wait_complete()
        self.stop(worker)
        self.assertEqual(len(self.reader.results), len(first))
        for results in self.reader.results.values():
            self.assertEqual(len({result.id for result in results}), 1)
            self.assertEqual(len({result.usage_id for result in results}), 1)
        self.assertEqual(self.reader.problems, [])


# ---- (h), (i) a worker that must not start -------------------------------------


class StartTest(unittest.TestCase):
    """What is wrong is said in one line, and in the exit code."""

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-faults-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.procs = self.enterContext(Procs(self.folder / "logs"))

    def worker(self, keys: Path, brokers: str, **options: str) -> Proc:
        flags = {
            "kafka.brokers": brokers,
            "keys.dir": keys,
            "run_dir": self.folder / "run",
            "log.format": "json",
            **options,
        }
        argv = [str(BIN / "blockfleet-worker")]
        argv += [part for k, v in flags.items() for part in (f"--{k}", str(v))]
        return self.procs.start(f"worker-{len(self.procs.all)}", argv)

    def refused(self, worker: Proc, code: int, *words: str) -> None:
        self.assertEqual(worker.wait(HANG_S), code, worker.tail())
        (down,) = lines(worker, "worker_down")
        self.assertEqual(down["level"], "error")
        for word in words:
            self.assertIn(word, str(down["message"]))
        self.assertFalse(lines(worker, "worker_up"))

    def test_topics_of_unequal_size(self) -> None:
        cluster = self.enterContext(Cluster())
        keys = fleets.Keys(self.folder / "keys").folder
        admin = AdminClient({"bootstrap.servers": cluster.bootstrap, **fleets.QUICK})

        def create(*names: str, count: int) -> None:
            new = [NewTopic(f"bf.{name}", count) for name in names]
            for future in admin.create_topics(new).values():
                future.result(HANG_S)
            cluster.wait_topics(topic.topic for topic in new)

        worker = self.worker(keys, cluster.bootstrap)
        self.refused(worker, 1, "bf.jobs", "does not exist", "topics init")
        rest = [name for name in fleets.TOPICS if name not in ("usage", "events")]
        create(*rest, count=4)
        worker = self.worker(keys, cluster.bootstrap)
        self.refused(worker, 1, "bf.usage", "does not exist", "topics init")
        create("usage", "events", count=3)
        worker = self.worker(keys, cluster.bootstrap)
        self.refused(worker, 1, "bf.jobs has 4 partitions", "bf.usage has 3")

    def test_keys(self) -> None:
        nowhere = "127.0.0.1:1"
        self.refused(self.worker(self.folder / "none", nowhere), 2, "none/trusted")

        keys = fleets.Keys(self.folder / "open")
        (path,) = keys.folder.glob("result.*.key")
        path.chmod(0o644)
        self.refused(self.worker(keys.folder, nowhere), 2, path.name)

        keys = fleets.Keys(self.folder / "short")
        (path,) = keys.folder.glob("state.*.key")
        path.write_text("ed25519 state c2hvcnQ=\n")
        self.refused(self.worker(keys.folder, nowhere), 2, path.name)

        keys = fleets.Keys(self.folder / "typo")
        with (keys.folder / "trusted").open("a") as trusted:
            trusted.write("jobs ed25519 AAAA\n")
        self.refused(self.worker(keys.folder, nowhere), 2, "trusted:6")

        keys = fleets.Keys(self.folder / "revoked")
        text = (keys.folder / "trusted").read_text()
        text = text.replace("result ", "revoked result ")
        (keys.folder / "trusted").write_text(text)
        self.refused(self.worker(keys.folder, nowhere), 2, "result")

    def test_no_signing_key(self) -> None:
        for purpose in ("result", "state"):
            keys = fleets.Keys(self.folder / f"no-{purpose}")
            (path,) = keys.folder.glob(f"{purpose}.*.key")
            path.unlink()
            worker = self.worker(keys.folder, "127.0.0.1:1")
            self.refused(worker, 2, f"keys new {purpose}")

    def test_options(self) -> None:
        keys = fleets.Keys(self.folder / "keys").folder
        worker = self.worker(keys, "127.0.0.1:1", **{"worker.window": "1"})
        self.assertEqual(worker.wait(HANG_S), 2)
        self.assertIn("worker.window", worker.log_text())


if __name__ == "__main__":
    unittest.main()
