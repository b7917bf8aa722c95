"""worker.processes: more cores are more processes, under one supervisor."""

import os
import signal
import socket
import struct
import unittest
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cases import SharedCase
from fleet import spread_jobs
from harness import HANG_S, Proc, wait_until
from prometheus_client.parser import text_string_to_metric_families


class ProcessesTest(SharedCase):
    shards = 6

    def children(self, worker: Proc) -> list[int]:
        """Those that are up, the dead ones left out."""
        pids = [
            line["pid"]
            for line in worker.log_json()
            if line.get("event") == "worker_up"
        ]
        return [pid for pid in pids if is_alive(pid)]

    def up(self, worker: Proc, count: int) -> list[int]:
        wait_until(
            lambda: len(self.children(worker)) == count, HANG_S, f"{count} processes"
        )
        return self.children(worker)

    def test_a_child_that_dies_is_started_again(self) -> None:
        worker = self.fleet.worker("w", worker__processes=3, noop__delay="50ms")
        children = self.up(worker, 3)
        self.fleet.submit(spread_jobs(self.fleet, 300, 10, lambda n: {}))
        os.kill(children[0], signal.SIGKILL)
        wait_until(lambda: not is_alive(children[0]), HANG_S, "death")
        self.assertEqual(len(set(self.up(worker, 3)) - set(children)), 1)
        self.ends(300)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(self.children(worker), [])
        self.judge(killed=[worker])

    def test_children_do_not_outlive_the_supervisor(self) -> None:
        worker = self.fleet.worker("w", worker__processes=2)
        self.up(worker, 2)
        worker.kill9()
        wait_until(lambda: not self.children(worker), HANG_S, "children leave")

    def test_each_process_writes_its_figures(self) -> None:
        folder = self.folder / "metrics"
        folder.mkdir()
        worker = self.fleet.worker("w", worker__processes=2, worker__metrics_dir=folder)
        self.up(worker, 2)
        self.fleet.submit(spread_jobs(self.fleet, 100, 10, lambda n: {}))
        self.ends(100)

        def figures() -> dict[str, dict[str, float]]:
            """By process and by name with its labels, summed up."""
            found: dict[str, dict[str, float]] = {}
            for file in folder.glob("*.prom"):
                text = file.read_text()
                for metric in text_string_to_metric_families(text):
                    for sample in metric.samples:
                        labels = dict(sample.labels)
                        mine = found.setdefault(labels.pop("worker"), {})
                        name = ",".join([sample.name, *labels.values()])
                        mine[name] = sample.value
            return found

        def total(name: str) -> float:
            return sum(mine.get(name, 0) for mine in figures().values())

        # Each is as old as its last ten seconds.
        ended, shards = "jobs_ended_total,succeeded", "shards,open"
        for name, want in ((ended, 100), (shards, self.shards), ("jobs", 0)):
            name = f"blockfleet_worker_{name}"
            wait_until(lambda n=name, w=want: total(n) == w, HANG_S, name)
        locks = {file.stem for file in (self.folder / "run").glob("*.lock")}
        self.assertEqual(set(figures()), locks)
        for mine in figures().values():
            self.assertGreater(mine["blockfleet_worker_resident_bytes"], 1 << 20)
        self.assertEqual(worker.stop(), 0)
        self.assertEqual(list(folder.iterdir()), [])

    def test_a_service_manager_is_told(self) -> None:
        """Of several processes, by the first alone, and when all are up."""
        for count in (1, 2):
            with self.subTest(processes=count), manager() as (name, heard):
                worker = self.fleet.worker(
                    f"told{count}",
                    env={"NOTIFY_SOCKET": name},
                    run_dir=self.folder / f"run{count}",
                    worker__processes=count,
                )
                self.assertEqual(heard(), ("READY=1", worker.pid))
                self.assertEqual(len(self.children(worker)), count)
                locks = list((self.folder / f"run{count}").glob("*.lock"))
                self.assertEqual([lock.read_text() for lock in locks], ["up\n"] * count)
                self.assertEqual(worker.stop(), 0)
                self.assertEqual(heard(), ("STOPPING=1", worker.pid))


@contextmanager
def manager() -> Iterator[tuple[str, Callable[[], tuple[str, int]]]]:
    """Its socket's name, and the next word with its sender's pid."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
        listener.settimeout(HANG_S)
        listener.bind("")

        def heard() -> tuple[str, int]:
            while True:
                word, ancillary, _, _ = listener.recvmsg(100, 100)
                if word != b"WATCHDOG=1":
                    return word.decode(), struct.unpack("3i", ancillary[0][2])[0]

        yield "@" + listener.getsockname()[1:].decode(), heard


def is_alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


if __name__ == "__main__":
    unittest.main()
