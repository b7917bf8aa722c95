"""The harness itself: what the other real-broker tests take for granted."""

import sys
import tempfile
import unittest
from pathlib import Path

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewTopic
from harness import Cluster, Procs, Timeout, wait_until

QUICK = {"reconnect.backoff.max.ms": "500"}


def make_topic(bootstrap: str, name: str, partitions: int = 1) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUICK})
    for future in admin.create_topics([NewTopic(name, partitions)]).values():
        future.result(30)


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
        wait_until(enough, 30, f"{expected} records of {topic}", every_s=0)
    finally:
        consumer.close()
    return values


class BrokerTest(unittest.TestCase):
    def test_record_survives_kill_and_restart_on_the_same_port(self) -> None:
        with Cluster() as cluster:
            before = cluster.bootstrap
            make_topic(cluster.bootstrap, "t")
            producer = Producer({"bootstrap.servers": cluster.bootstrap, **QUICK})
            producer.produce("t", b"kept")
            self.assertEqual(producer.flush(10), 0)
            cluster.brokers[0].kill9()
            self.assertIsNone(cluster.brokers[0].metadata())
            cluster.brokers[0].restart()
            self.assertEqual(cluster.bootstrap, before)
            self.assertEqual(read_committed(before, "t", 1), [b"kept"])

    def test_stopped_broker_does_not_answer_until_continued(self) -> None:
        with Cluster() as cluster:
            broker = cluster.brokers[0]
            broker.sigstop()
            self.assertIsNone(broker.metadata())
            broker.sigcont()
            wait_until(broker.metadata, 20, "answers again")

    def test_two_clusters_do_not_share_a_port(self) -> None:
        with Cluster() as one, Cluster() as two:
            self.assertNotEqual(one.bootstrap, two.bootstrap)


class ClusterTest(unittest.TestCase):
    def test_three_nodes_replicate_and_heal(self) -> None:
        with Cluster(3) as cluster:
            make_topic(cluster.bootstrap, "t")
            cluster.wait_in_sync()
            view = cluster.brokers[0].metadata()
            assert view is not None
            self.assertEqual(len(view.brokers), 3)
            self.assertEqual(sorted(view.topics["t"][0].replicas), [1, 2, 3])
            cluster.brokers[2].kill9()
            producer = Producer({"bootstrap.servers": cluster.bootstrap, **QUICK})
            producer.produce("t", b"two are enough")
            self.assertEqual(producer.flush(30), 0)
            cluster.brokers[2].restart()
            cluster.wait_in_sync()


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
                child.wait_log("never written", 30)

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
            10,
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
            self.assertEqual(child.wait(20), -9)
            inner = int(child.wait_log(r"^inner (\d+)$")[1])
            state = Path(f"/proc/{inner}/stat")
            wait_until(
                lambda: not state.exists() or state.read_text().split()[2] == "Z",
                10,
                "the inner child is dead",
            )


if __name__ == "__main__":
    unittest.main()
