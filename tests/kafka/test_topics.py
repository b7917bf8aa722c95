"""`blockfleet topics` and `doctor` against a real broker, and faults by hand."""

import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
)
from harness import HANG_S, Cluster, wait_until

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "wire"))

import bfwire as w  # noqa: E402
from validate import Validator  # noqa: E402

BLOCKFLEET = Path(os.environ.get("BF_BIN_DIR", "build/crash/bin")) / "blockfleet"
SHARDS = 4
LANES = ("jobs", "batch", "control")
TOPICS = (
    *("jobs", "jobs.batch", "state", "results", "usage"),
    *("deadletter", "callbacks", "control", "events"),
)


class CommandCase(unittest.TestCase):
    """Every test has topics and keys of its own."""

    bootstrap = "127.0.0.1:1"  # nobody listens there
    count = 0

    def setUp(self) -> None:
        CommandCase.count += 1
        self.prefix = f"t{CommandCase.count}."
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.keys = self.folder / "keys"

    # ---- running the program ------------------------------------------------

    def blockfleet(self, *words: str, status: int = 0) -> str:
        """Its output, after its exit status was checked."""
        done = subprocess.run(
            [
                BLOCKFLEET,
                *words,
                f"--kafka.brokers={self.bootstrap}",
                f"--topics.prefix={self.prefix}",
                f"--kafka.group={self.prefix}workers",
                f"--keys.dir={self.keys}",
            ],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            cwd=self.folder,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status in (0, 5) else done.stderr

    def init_keys(self) -> None:
        for purpose in ("job", "control", "state", "result"):
            self.blockfleet("keys", "new", purpose)


class OfflineTest(CommandCase):
    """By itself: the program waits for brokers as long as it has patience."""

    def test_doctor_without_a_broker(self) -> None:
        self.init_keys()
        rows = json.loads(self.blockfleet("doctor", "--json", "--offline", status=5))
        self.assertIn("brokers", [r["check"] for r in rows if r["verdict"] == "FAIL"])


class TopicsTest(CommandCase):
    """One broker for all."""

    cluster: Cluster

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster())
        cls.bootstrap = cls.cluster.bootstrap
        cls.admin = AdminClient({"bootstrap.servers": cls.bootstrap})

    def init(self, *words: str) -> dict[str, Any]:
        shards = f"--topics.shards={SHARDS}"
        return json.loads(
            self.blockfleet("topics", "init", "--json", "--dev-keys", shards, *words)
        )

    def create(self, name: str, shards: int = SHARDS, **config: str) -> None:
        """And wait until the broker knows who leads it."""
        topic = self.topic(name)
        config = {key.replace("_", "."): value for key, value in config.items()}
        new = NewTopic(topic, shards, config=config)
        for future in self.admin.create_topics([new]).values():
            future.result(HANG_S)

        def known() -> bool:
            found = self.admin.list_topics(timeout=HANG_S).topics.get(topic)
            leaders = [p.leader for p in found.partitions.values()] if found else []
            return len(leaders) == shards and min(leaders) >= 0

        wait_until(known, HANG_S, f"{topic} made")

    def doctor(self, status: int = 0) -> list[dict[str, str]]:
        rows = self.blockfleet("doctor", "--offline", "--json", status=status)
        return json.loads(rows)

    def faults(self) -> list[tuple[str, str]]:
        return [
            (row["check"], row["detail"])
            for row in self.doctor(status=5)
            if row["verdict"] == "FAIL"
        ]

    # ---- looking and meddling -----------------------------------------------

    def topic(self, name: str) -> str:
        return self.prefix + name

    def records(self, name: str) -> list[w.Record]:
        """Every committed record of a topic."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.cluster.bootstrap,
                "group.id": "oracle",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
            }
        )
        consumer.assign([TopicPartition(self.topic(name), p, 0) for p in range(SHARDS)])
        found: list[w.Record] = []
        ended: set[int] = set()

        def all_ended() -> bool:
            message = consumer.poll(0.1)
            if message is None:
                return False
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:
                    ended.add(message.partition())
                return len(ended) == SHARDS
            place = (message.topic(), message.partition())
            headers = message.headers() or []
            found.append(w.Record(*place, message.key(), message.value(), headers))
            return False

        try:
            wait_until(all_ended, HANG_S, f"the end of {name}", every_s=0)
        finally:
            consumer.close()
        return found

    def configure(self, name: str, prop: str, value: str) -> None:
        entry = ConfigEntry(prop, value, incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(
            ConfigResource.Type.TOPIC, self.topic(name), incremental_configs=[entry]
        )
        for future in self.admin.incremental_alter_configs([resource]).values():
            future.result(HANG_S)

        def shows() -> bool:
            asked = ConfigResource(ConfigResource.Type.TOPIC, self.topic(name))
            answer = self.admin.describe_configs([asked])[asked].result(HANG_S)
            return answer[prop].value == value

        wait_until(shows, HANG_S, f"{prop} is {value}")

    def delete(self, name: str) -> None:
        for future in self.admin.delete_topics([self.topic(name)]).values():
            future.result(HANG_S)
        gone = self.topic(name)
        wait_until(
            lambda: gone not in self.admin.list_topics(timeout=HANG_S).topics,
            HANG_S,
            f"{gone} is gone",
        )

    def produce(self, name: str, partition: int, key: bytes, value: bytes) -> None:
        producer = Producer({"bootstrap.servers": self.cluster.bootstrap})
        producer.produce(self.topic(name), value, key, partition=partition)
        self.assertEqual(producer.flush(HANG_S), 0)

    # ---- init ---------------------------------------------------------------

    def test_init_without_a_key_says_how_to_make_one(self) -> None:
        self.keys.mkdir(0o700)
        told = self.blockfleet("topics", "init", status=7)
        self.assertIn("blockfleet keys new state", told)
        self.assertNotIn(
            self.topic("jobs"), self.admin.list_topics(timeout=HANG_S).topics
        )

    def test_init_makes_topics_and_signs_their_beginning(self) -> None:
        done = self.init("--topics.spread=2")
        self.assertEqual(done["bases_written"], SHARDS * len(LANES))
        self.assertTrue(done["fleet_written"])
        topics = self.admin.list_topics(timeout=HANG_S).topics
        for name in TOPICS:
            self.assertEqual(len(topics[self.topic(name)].partitions), SHARDS)
        trusted = (self.keys / "trusted").read_text()
        keys = [
            w.TrustedKey(w.unb64(public, "key"), purpose)
            for purpose, _, public, *_ in map(str.split, trusted.splitlines())
        ]
        validator = Validator(keys, self.prefix, SHARDS)
        records = self.records("state")
        for record in records:
            validator.validate_record(record)
        entries = {(r.partition, r.key): json.loads(r.value or b"") for r in records}
        self.assertEqual(len(entries), len(records))
        fleet = entries.pop((0, b"m"))
        self.assertEqual((fleet["shards"], fleet["spread"]), (SHARDS, 2))
        expected = {(p, f"b/{n}".encode()) for p in range(SHARDS) for n in LANES}
        self.assertEqual(set(entries), expected)
        self.assertEqual({e["base"] for e in entries.values()}, {0})
        self.assertEqual({e["seq"] for e in entries.values()}, {0})

    def test_init_again_changes_nothing_and_says_so(self) -> None:
        self.init()
        before = self.records("state")
        self.assertFalse(self.init()["changed"])
        told = self.blockfleet("topics", "init")
        self.assertIn("nothing to do", told)
        self.assertEqual(len(self.records("state")), len(before))

    def test_init_mends_what_is_missing(self) -> None:
        self.init()
        self.delete("events")
        done = self.init()
        made = [t["topic"] for t in done["topics"] if t["was"] == "created"]
        self.assertEqual(made, [self.topic("events")])
        self.assertEqual(done["bases_written"], 0)
        self.doctor()

    def test_init_refuses_a_new_log_beside_an_old_state(self) -> None:
        self.init()
        self.delete("jobs")
        self.assertTrue(self.init()["changed"])  # nothing was done yet
        (file,) = self.keys.glob("state.*.key")
        key = w.private_key(base64.b64decode(file.read_text().split()[2]))
        entry = w.BaseEntry("jobs", 7, b"", "host", 1, "txn", 1)
        place = (self.topic("state"), 2)
        record = w.entry_build(entry, 1, "main", place, 0)
        w.sign_tree("state", key, 1, [record])
        producer = Producer({"bootstrap.servers": self.cluster.bootstrap})
        producer.produce(
            place[0], record.value, record.key, place[1], headers=record.headers
        )
        self.assertEqual(producer.flush(HANG_S), 0)
        self.delete("jobs")
        told = self.blockfleet("topics", "init", status=4)
        self.assertIn(f"{self.topic('jobs')} is gone", told)
        self.assertIn("first 7 offsets in shard 2 are done", told)
        self.assertNotIn(
            self.topic("jobs"), self.admin.list_topics(timeout=HANG_S).topics
        )
        self.delete("state")
        self.init()
        self.doctor()

    def test_init_refuses_another_number_of_shards(self) -> None:
        self.init()
        told = self.blockfleet("topics", "init", "--topics.shards=5", status=4)
        self.assertIn(f"the fleet has {SHARDS} shards", told)
        told = self.blockfleet("topics", "init", "--topics.spread=3", status=4)
        self.assertIn("spread 4", told)
        told = self.blockfleet("topics", "init", "--fleet=other", status=4)
        self.assertIn("belong to fleet 'main'", told)

    def test_init_refuses_a_topic_that_something_else_made(self) -> None:
        self.create("jobs", SHARDS + 2)
        shards = f"--topics.shards={SHARDS}"
        told = self.blockfleet("topics", "init", "--dev-keys", shards, status=4)
        self.assertIn(f"has {SHARDS + 2} shards", told)

    def test_init_does_not_write_over_strangers(self) -> None:
        self.init()
        shutil.rmtree(self.keys)
        told = self.blockfleet("topics", "init", "--dev-keys", status=4)
        self.assertIn("--replace-untrusted", told)
        done = self.init("--replace-untrusted")
        self.assertEqual(done["bases_written"], SHARDS * len(LANES))
        self.doctor()

    # ---- doctor -------------------------------------------------------------

    def test_doctor_is_content_after_init(self) -> None:
        self.init()
        rows = self.doctor()
        self.assertEqual([r for r in rows if r["verdict"] == "FAIL"], [])
        self.assertIn("workers", [r["check"] for r in rows if r["verdict"] == "warn"])
        lines = self.blockfleet("doctor", "--offline").splitlines()
        fine = [line for line in lines if line.startswith("ok ")]
        self.assertEqual(len(fine), sum(r["verdict"] == "ok" for r in rows))

    def test_doctor_finds_nothing_made(self) -> None:
        self.init_keys()
        self.assertIn("topics", [check for check, _ in self.faults()])

    def test_doctor_finds_a_deleted_topic(self) -> None:
        self.init()
        self.delete("usage")
        (fault,) = self.faults()
        self.assertEqual(fault[0], "topics")
        self.assertIn(f"{self.topic('usage')} does not exist", fault[1])

    def test_doctor_finds_settings_that_lose_data(self) -> None:
        self.init()
        self.configure("state", "cleanup.policy", "delete")
        self.configure("usage", "retention.ms", "86400000")
        self.configure("jobs", "max.message.bytes", "1000000")
        found = [detail for check, detail in self.faults() if check == "topic settings"]
        self.assertEqual(len(found), 3, found)
        for words in ("cleanup.policy is delete", "retention.ms is", "max.message"):
            self.assertTrue(any(words in detail for detail in found), words)

    def test_doctor_finds_missing_beginnings(self) -> None:
        self.init()
        self.delete("state")
        self.create("state", cleanup_policy="compact")
        found = dict(self.faults())
        self.assertIn("12 of 12 are missing", found["beginnings"])
        self.assertIn("fleet entry", found)
        self.assertEqual(self.init()["bases_written"], 12)
        self.doctor()

    def test_doctor_finds_a_beginning_that_nobody_signed(self) -> None:
        self.init()
        self.produce("state", 1, b"b/batch", b'{"v":1,"seq":9,"base":7}')
        found = dict(self.faults())
        self.assertIn("1 of 12 are not trusted", found["beginnings"])

    def test_doctor_finds_a_revoked_key(self) -> None:
        self.init()
        listed = json.loads(self.blockfleet("keys", "list", "--json"))
        (key,) = [k["id"] for k in listed if k["purpose"] == "state"]
        self.blockfleet("keys", "revoke", key)
        self.blockfleet("keys", "new", "state")
        found = dict(self.faults())
        self.assertIn("12 of 12 are not trusted", found["beginnings"])

    def test_doctor_finds_a_key_that_others_may_read(self) -> None:
        self.init()
        (private,) = self.keys.glob("state.*.key")
        private.chmod(0o644)
        self.assertIn(private.name, dict(self.faults())["keys"])

    def test_doctor_finds_unread_jobs_that_are_gone(self) -> None:
        self.init()
        for _ in range(5):
            self.produce("jobs", 2, b"w", b"{}")
        place = TopicPartition(self.topic("jobs"), 2, 3)
        for future in self.admin.delete_records([place]).values():
            future.result(HANG_S)
        found = dict(self.faults())
        self.assertIn("3 offsets of 1 partitions", found["progress"])

    # ---- strangers ----------------------------------------------------------

    def test_kcat_reads_the_state(self) -> None:
        kcat = shutil.which("kcat")
        if not kcat:
            self.skipTest("no kcat: ./run deps")
        self.init()
        base = [kcat, "-b", self.cluster.bootstrap, "-q"]
        listed = subprocess.run(
            [*base, "-L", "-J"], capture_output=True, check=True, timeout=HANG_S
        )
        names = {t["topic"] for t in json.loads(listed.stdout)["topics"]}
        self.assertLessEqual({self.topic(name) for name in TOPICS}, names)
        read = subprocess.run(
            [*base, "-C", "-e", "-J", "-t", self.topic("state"), "-o", "beginning"],
            capture_output=True,
            check=True,
            timeout=HANG_S,
        )
        records = [json.loads(line) for line in read.stdout.splitlines()]
        self.assertEqual(len(records), SHARDS * len(LANES) + 1)
        self.assertIn("ce_specversion", records[0]["headers"])

    def test_show_lists_every_topic(self) -> None:
        self.init()
        rows = json.loads(self.blockfleet("topics", "show", "--json"))
        self.assertEqual([r["topic"] for r in rows], [self.topic(n) for n in TOPICS])
        state = rows[TOPICS.index("state")]
        self.assertEqual(state["offsets"], SHARDS * len(LANES) + 1)


if __name__ == "__main__":
    unittest.main()
