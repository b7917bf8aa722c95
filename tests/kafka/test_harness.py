"""The harness itself: what the other real-broker tests take for granted."""

import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from dispatching import Log
from harness import HANG_S, Api, Cluster, Procs, Proxy, Timeout, wait_until

QUICK = {"reconnect.backoff.max.ms": "500"}


def make_topic(bootstrap: str, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUICK})
    for future in admin.create_topics([NewTopic(name, partitions)]).values():
        future.result(HANG_S)


def read_committed(bootstrap: str, topic: str, expected: int) -> list[bytes]:
    """The first `expected` committed values of partition 0."""
    consumer = Consumer(
        {
            "bootstrap.servers": bootstrap,
            "group.id": "test",
            "isolation.level": "read_committed",
            "auto.offset.reset": "earliest",
            **QUICK,
        }
    )
    consumer.subscribe([topic])
    values: list[bytes] = []

    def enough() -> bool:
        message = consumer.poll(0.1)
        if message is not None and message.error() is None:
            values.append(message.value())
        return len(values) >= expected

    try:
        wait_until(enough, HANG_S, f"{expected} records of {topic}", every_s=0)
    finally:
        consumer.close()
    return values


class BrokerTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster())

    def test_record_survives_kill_and_restart_on_the_same_port(self) -> None:
        cluster = self.cluster
        before = cluster.bootstrap
        make_topic(cluster.bootstrap, "t")
        producer = Producer({"bootstrap.servers": cluster.bootstrap, **QUICK})
        producer.produce("t", b"kept")
        self.assertEqual(producer.flush(HANG_S), 0)
        cluster.brokers[0].kill9()
        self.assertIsNone(cluster.brokers[0].metadata())
        cluster.brokers[0].restart()
        self.assertEqual(cluster.bootstrap, before)
        self.assertEqual(read_committed(before, "t", 1), [b"kept"])

    def test_stopped_broker_does_not_answer_until_continued(self) -> None:
        broker = self.cluster.brokers[0]
        broker.sigstop()
        self.assertIsNone(broker.metadata())
        broker.sigcont()
        wait_until(broker.metadata, HANG_S, "answers again")

    def test_two_clusters_do_not_share_a_port(self) -> None:
        with Cluster() as two:
            self.assertNotEqual(self.cluster.bootstrap, two.bootstrap)
            self.assertIsNotNone(self.cluster.brokers[0].metadata())


class LogTest(unittest.TestCase):
    """dispatching.Log, which others count records with."""

    def test_what_comes_while_it_is_read_is_read_once(self) -> None:
        cluster = self.enterContext(Cluster())
        make_topic(cluster.bootstrap, "t", 4)
        log = Log(cluster.bootstrap, "t", 4)
        producer = Producer(
            {"bootstrap.servers": cluster.bootstrap, "linger.ms": 0, **QUICK}
        )

        done = threading.Event()
        written = 0

        def write() -> None:
            nonlocal written
            while not done.wait(0.002):
                producer.produce("t", b"%d" % written, partition=written % 4)
                producer.flush()
                written += 1

        writer = threading.Thread(target=write)
        writer.start()
        for _ in range(20):
            log.read()
        done.set()
        writer.join()
        values = [int(rec.value) for rec in log.read()]
        self.assertEqual(sorted(values), list(range(written)))


class ClusterTest(unittest.TestCase):
    def test_three_nodes_replicate_and_heal(self) -> None:
        with Cluster(3) as cluster:
            make_topic(cluster.bootstrap, "t")
            first = cluster.brokers[0]
            wait_until(
                lambda: (view := first.metadata()) and "t" in view.topics, HANG_S, "t"
            )
            cluster.wait_in_sync()
            view = first.metadata()
            assert view is not None
            self.assertEqual(len(view.brokers), 3)
            self.assertEqual(sorted(view.topics["t"][0].replicas), [1, 2, 3])
            cluster.brokers[2].kill9()
            producer = Producer({"bootstrap.servers": cluster.bootstrap, **QUICK})
            producer.produce("t", b"two are enough")
            self.assertEqual(producer.flush(HANG_S), 0)
            cluster.brokers[2].restart()
            cluster.wait_in_sync()


class ProxyTest(unittest.TestCase):
    """One cluster for all: each test has its own topic and transactional.id."""

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster(proxied=True))
        cls.proxy = cls.enterClassContext(Proxy(cls.cluster))

    def setUp(self) -> None:
        self.addCleanup(self.proxy.clear)
        self.topic = self._testMethodName
        make_topic(self.cluster.bootstrap, self.topic)

    def producer(self) -> Producer:
        """A transactional producer behind the proxy, its client.id as topic."""
        made = Producer(
            {
                "bootstrap.servers": self.cluster.proxy_bootstrap,
                "transactional.id": self.topic,
                "client.id": self.topic,
                **QUICK,
            }
        )
        made.init_transactions(HANG_S)
        return made

    def committed(self, expected: int) -> list[bytes]:
        return read_committed(self.cluster.bootstrap, self.topic, expected)

    def stable_end(self) -> int:
        """Where read_committed ends: before the first open transaction."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.cluster.bootstrap,
                "group.id": "none",
                "isolation.level": "read_committed",
            }
        )
        try:
            partition = TopicPartition(self.topic, 0)
            return consumer.get_watermark_offsets(partition, timeout=HANG_S)[1]
        finally:
            consumer.close()

    def write(self, producer: Producer, value: bytes) -> None:
        """One committed transaction of one record."""
        producer.begin_transaction()
        producer.produce(self.topic, value)
        producer.commit_transaction(HANG_S)

    def test_client_survives_a_cut_reply_to_end_txn(self) -> None:
        producer = self.producer()
        before = self.proxy.seen(Api.END_TXN)
        cut = self.proxy.rule(Api.END_TXN, "cut_reply", count=3, client=self.topic)
        self.write(producer, b"once")
        self.assertEqual(cut.hits, 3)
        self.assertEqual(self.proxy.seen(Api.END_TXN) - before, 4)
        self.write(producer, b"then")
        self.assertEqual(self.committed(2), [b"once", b"then"])

    def test_a_cut_request_never_reaches_the_broker(self) -> None:
        producer = self.producer()
        cut = self.proxy.rule(Api.END_TXN, "cut_request", count=None)
        producer.begin_transaction()
        producer.produce(self.topic, b"late")
        with self.assertRaises(KafkaException) as raised:
            producer.commit_transaction(2)
        self.assertTrue(raised.exception.args[0].retriable())
        self.assertGreaterEqual(cut.hits, 1)
        self.assertEqual(self.stable_end(), 0)
        self.proxy.clear()
        producer.commit_transaction(HANG_S)
        self.assertEqual(self.committed(1), [b"late"])

    def test_a_held_reply_comes_after_release(self) -> None:
        producer = self.producer()
        hold = self.proxy.rule(Api.END_TXN, "hold_reply", client=self.topic)
        producer.begin_transaction()
        producer.produce(self.topic, b"held")
        commit = threading.Thread(target=producer.commit_transaction, args=[30])
        commit.start()
        hold.wait_hits()
        self.assertEqual(self.committed(1), [b"held"])
        self.assertTrue(commit.is_alive())
        hold.release()
        commit.join(HANG_S)
        self.assertFalse(commit.is_alive())

    def test_delay_applies_to_the_chosen_client_after_skip(self) -> None:
        producer = self.producer()
        other = self.proxy.rule(
            Api.END_TXN, "delay_request", delay_s=60, client="nobody"
        )
        late = self.proxy.rule(Api.END_TXN, "delay_request", delay_s=0.5, skip=1)
        took = []
        for value in (b"0", b"1", b"2"):
            begin = time.monotonic()
            self.write(producer, value)
            took.append(time.monotonic() - begin)
        self.assertEqual((other.hits, late.hits), (0, 1))
        self.assertGreaterEqual(took[1], 0.5)

    def test_cut_all_and_a_broker_kill_are_survived(self) -> None:
        producer = self.producer()
        self.write(producer, b"0")
        self.proxy.cut_all()
        self.write(producer, b"1")
        self.cluster.brokers[0].kill9()
        self.cluster.brokers[0].restart()
        self.write(producer, b"2")
        self.assertEqual(self.committed(3), [b"0", b"1", b"2"])


class ProcsTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def python(self, procs: Procs, code: str, name: str = "child"):
        return procs.start(name, [sys.executable, "-u", "-c", code])

    def test_log_lines_are_found_and_a_dead_child_ends_the_wait(self) -> None:
        with Procs(self.folder) as procs:
            child = self.python(procs, "print('{\"a\": 1}'); input()")
            self.assertEqual(child.wait_json(lambda line: line["a"] == 1), {"a": 1})
            with self.assertRaisesRegex(Timeout, "ended"):
                child.wait_log("never written", HANG_S)

    def test_grandchildren_go_with_the_child(self) -> None:
        fork = (
            "import os, time\n"
            "child = os.fork()\n"
            "if child: print('grandchild', child)\n"
            "time.sleep(600)"
        )
        with Procs(self.folder) as procs:
            child = self.python(procs, fork)
            grandchild = int(child.wait_log(r"^grandchild (\d+)$")[1])
        state = Path(f"/proc/{grandchild}/stat")
        wait_until(
            lambda: not state.exists() or state.read_text().split()[2] == "Z",
            HANG_S,
            "grandchild is dead",
        )

    def test_nothing_outlives_a_killed_harness(self) -> None:
        code = (
            "import os, signal, sys\n"
            f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
            "from pathlib import Path\n"
            "from harness import Procs\n"
            f"procs = Procs(Path({str(self.folder)!r}) / 'inner')\n"
            "print('inner', procs.start('s', ['sleep', '600']).pid, flush=True)\n"
            "os.kill(os.getpid(), signal.SIGKILL)"
        )
        with Procs(self.folder) as procs:
            child = self.python(procs, code)
            self.assertEqual(child.wait(HANG_S), -9)
            inner = int(child.wait_log(r"^inner (\d+)$")[1])
            state = Path(f"/proc/{inner}/stat")
            wait_until(
                lambda: not state.exists() or state.read_text().split()[2] == "Z",
                HANG_S,
                "the inner child is dead",
            )


if __name__ == "__main__":
    unittest.main()
