"""NDJSON uploads of any length against a real broker."""

import contextlib
import http.client
import json
import os
import socket
import tempfile
import threading
import unittest
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, TopicPartition
from dispatching import (
    QUICK,
    SHARDS,
    Dispatcher,
    DispatcherCase,
    bfwire,
    job,
    read_all,
)
from fleet import Fleet
from harness import HANG_S, Cluster, Proc, wait_until

FULL = bool(os.environ.get("BF_FULL"))
NDJSON = {"Content-Type": "application/x-ndjson"}


def peak_kib(proc: Proc) -> int:
    """The most memory that the process has had (VmHWM)."""
    status = Path(f"/proc/{proc.pid}/status").read_text()
    line = next(row for row in status.splitlines() if row.startswith("VmHWM:"))
    return int(line.split()[1])


def end_of(bootstrap: str, topic: str, shards: int) -> int:
    """How many offsets the topic has given away."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "ends", **QUICK})
    try:
        return sum(
            consumer.get_watermark_offsets(TopicPartition(topic, p), 20)[1]
            for p in range(shards)
        )
    finally:
        consumer.close()


def done_of(bootstrap: str, topic: str, shards: int, group: str = "blockfleet") -> int:
    """Records of the topic that the group has dealt with, the lowest first."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, **QUICK})
    try:
        places = consumer.committed([TopicPartition(topic, p) for p in range(shards)])
        return sum(max(place.offset, 0) for place in places)
    finally:
        consumer.close()


def upload(
    dispatcher: Dispatcher, body: bytes | Iterator[bytes], query: str = "", **more: str
) -> Iterator[dict[str, Any]]:
    """Send it and yield the answers as they are read."""
    host, port = dispatcher.address.rsplit(":", 1)
    connection = http.client.HTTPConnection(host, int(port), timeout=300)
    headers = {**NDJSON, **{k.replace("_", "-"): v for k, v in more.items()}}
    try:
        connection.request("POST", f"/v1/jobs{query}", body, headers)
        answer = connection.getresponse()
        if answer.status != 200:
            raise AssertionError(f"{answer.status} {answer.read()[:500]!r}")
        for line in answer:
            yield json.loads(line)
    finally:
        connection.close()


class UploadCase(DispatcherCase):
    def dispatcher(self, name: str, **options: str) -> Dispatcher:
        named = {f"dispatcher__{key}": value for key, value in options.items()}
        found = self.new_dispatcher(name, **named).start()
        self.addCleanup(lambda: found.proc and found.proc.stop())
        return found


class LongUploadTest(UploadCase):
    """Alone with its broker: who starts after it reads all of it first."""

    slow = True

    def test_a_long_one_costs_no_more_memory_than_a_short_one(self) -> None:
        # A body that is no upload may have 64 KiB here; uploads go by another limit.
        dispatcher = self.dispatcher("long", inflight_bytes="8M", max_body="64k")
        count = 1_000_000 if FULL else 100_000

        def lines(count: int) -> Iterator[bytes]:
            head, tail = job("long", b"{}", lane="batch")[:-3], b"}\n"
            for first in range(0, count, 1000):
                yield b"".join(
                    head + b'{"n":%d}' % n + tail for n in range(first, first + 1000)
                )

        before = end_of(self.cluster.bootstrap, "bf.jobs.batch", SHARDS)
        places: set[tuple[int, int]] = set()
        number = -1
        for number, told in enumerate(upload(dispatcher, lines(count))):
            self.assertEqual((told["line"], told["status"]), (number, 202), told)
            places.add((told["partition"], told["offset"]))
        self.assertEqual((number + 1, len(places)), (count, count))
        after = end_of(self.cluster.bootstrap, "bf.jobs.batch", SHARDS)
        self.assertEqual(after - before, count)
        assert dispatcher.proc is not None
        # One bound for both counts: a million answers alone are 140 MB.
        self.assertLess(peak_kib(dispatcher.proc), 96 << 10)


class UploadTest(UploadCase):
    def test_past_the_ceiling_it_goes_on_from_a_line(self) -> None:
        dispatcher = self.dispatcher("ceiling", max_answers="64k")
        lines = [job("ceiling", b'{"n":%d}' % n) for n in range(1500)]
        lines[3] = b"nonsense"
        key = "key-1"
        first, parts = 0, 0
        while first < len(lines):
            body = b"\n".join(lines[first:])
            told = list(
                upload(dispatcher, body, f"?first_line={first}", Idempotency_Key=key)
            )
            parts += 1
            numbers = [line["line"] for line in told]
            self.assertEqual(numbers, list(range(first, first + len(told))))
            last = told[-1]
            if last["status"] == 413:
                self.assertIn(f"first_line={last['line']}", last["detail"])
                self.assertIn("dispatcher.max_answers", last["detail"])
                self.assertGreater(len(told), 200)
                told = told[:-1]
            bad = [line["line"] for line in told if line["status"] != 202]
            self.assertEqual(bad, [3] if first == 0 else [])
            first += len(told)
        self.assertGreater(parts, 2)
        records = read_all(self.cluster.bootstrap, "bf.jobs", SHARDS)
        mine = {r.text("bf_job"): r.value for r in records if r.key == b"ceiling"}
        self.assertEqual(len([r for r in records if r.key == b"ceiling"]), 1499)
        for n in set(range(1500)) - {3}:
            derived = bfwire.job_id_derive("ceiling", key.encode(), n)
            self.assertEqual(mine[derived], b'{"n":%d}' % n)
        answer = dispatcher.request("POST", "/v1/jobs?first_line=x", b"", NDJSON)
        self.assertEqual((answer.status, answer.json()["field"]), (400, "first_line"))

    def test_a_body_has_its_ceiling_too(self) -> None:
        dispatcher = self.dispatcher("small", max_body="64k", max_upload="256k")
        one = job("small") + b"\n"
        count = (400 << 10) // len(one)
        answer = dispatcher.request("POST", "/v1/jobs", one * count, NDJSON)
        self.assertEqual(answer.status, 413)
        self.assertIn("dispatcher.max_upload", answer.json()["detail"])
        before = end_of(self.cluster.bootstrap, "bf.jobs", SHARDS)
        told = list(upload(dispatcher, iter([one] * count)))
        self.assertEqual({line["status"] for line in told[:-1]}, {202})
        self.assertEqual(told[-1]["status"], 413)
        self.assertIn("dispatcher.max_upload", told[-1]["detail"])
        self.assertGreaterEqual(len(told), (256 << 10) // len(one))
        self.assertLess(len(told), count)
        after = end_of(self.cluster.bootstrap, "bf.jobs", SHARDS)
        self.assertEqual(after - before, len(told) - 1)
        answer = dispatcher.post(job("small", b'{"a":"' + b"x" * 70000 + b'"}'))
        self.assertEqual(answer.status, 413)
        self.assertEqual(dispatcher.post(job("small")).status, 202)

    def test_lines_that_have_begun_do_not_lock_everybody_out(self) -> None:
        dispatcher = self.dispatcher("halves", inflight_bytes="1M")
        host, port = dispatcher.address.rsplit(":", 1)
        head = (
            "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n"
            "Content-Type: application/x-ndjson\r\n\r\n"
        )
        with contextlib.ExitStack() as stack:
            for _ in range(3):
                one = stack.enter_context(socket.create_connection((host, int(port))))
                one.sendall(head.encode())
                # All that it takes: halves of lines soon fill its memory.
                one.settimeout(1)
                with contextlib.suppress(TimeoutError):
                    one.sendall(b'{"inputs": "' + b"x" * 700_000)
            wait_until(
                lambda: dispatcher.post(job("halves")).status == 202,
                HANG_S,
                "room again",
            )
        # A line that is larger than all there is gets an answer, too.
        large = job("halves", b'{"a":"' + b"x" * (3 << 20) + b'"}')
        lines = [job("halves"), large, job("halves")]
        told = list(upload(dispatcher, b"\n".join(lines)))
        self.assertEqual([line["status"] for line in told], [202, 429])
        self.assertIn("first_line=1", told[1]["detail"])
        self.assertIn("dispatcher.inflight_bytes", told[1]["detail"])

    def test_answers_that_cannot_be_kept_are_not_lost(self) -> None:
        nowhere = self.folder / "nowhere"
        dispatcher = self.new_dispatcher("full", run_dir=str(nowhere)).start()
        nowhere.rmdir()
        before = end_of(self.cluster.bootstrap, "bf.jobs", SHARDS)
        told = list(upload(dispatcher, (job("full") + b"\n") * 20_000))
        self.assertEqual([line["line"] for line in told], list(range(len(told))))
        self.assertEqual({line["status"] for line in told[:-1]}, {202})
        self.assertEqual(told[-1]["status"], 503)
        self.assertIn("run_dir", told[-1]["detail"])
        after = end_of(self.cluster.bootstrap, "bf.jobs", SHARDS)
        self.assertEqual(after - before, len(told) - 1)
        assert dispatcher.proc is not None
        self.assertEqual(dispatcher.proc.stop(), 0)


class ResendTest(unittest.TestCase):
    """A file sent again with the same key, to whichever replica."""

    def test_each_line_runs_once(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-resend-")
        self.addCleanup(temporary.cleanup)
        cluster = self.enterContext(Cluster())
        fleet = Fleet(cluster, Path(temporary.name), shards=SHARDS)
        procs = self.enterContext(fleet.procs)
        fleet.init_topics()
        first, second = (
            Dispatcher(procs, cluster.bootstrap, fleet.keys, fleet.folder, name=name)
            for name in ("first", "second")
        )
        first.start()
        second.start()
        fleet.started(fleet.worker("worker"))

        count = 20_000 if FULL else 3_000
        lines = [job("again", b'{"n":%d}' % n) + b"\n" for n in range(count)]
        killed = threading.Event()

        def half() -> Iterator[bytes]:
            yield b"".join(lines[: count // 2])
            killed.wait(HANG_S)
            yield from lines[count // 2 :]

        def send() -> None:
            with contextlib.suppress(OSError, http.client.HTTPException):
                list(upload(first, half(), Idempotency_Key='"file"'))

        sender = threading.Thread(target=send)
        sender.start()
        wait_until(
            lambda: end_of(cluster.bootstrap, "bf.jobs", SHARDS) >= count // 4,
            HANG_S,
            "a quarter of the upload",
        )
        assert first.proc is not None
        first.proc.kill9()
        killed.set()
        sender.join(HANG_S)

        told = list(upload(second, b"".join(lines), Idempotency_Key='"file"'))
        self.assertEqual([line["line"] for line in told], list(range(count)))
        self.assertEqual({line["status"] for line in told}, {202})
        # More records than lines: it was for the worker to see which are copies.
        stored = end_of(cluster.bootstrap, "bf.jobs", SHARDS)
        self.assertGreaterEqual(stored, count + count // 4)
        self.assertLess(stored, 2 * count)
        wait_until(
            lambda: done_of(cluster.bootstrap, "bf.jobs", SHARDS) == stored,
            HANG_S,
            "every record dealt with",
        )
        want = sorted(bfwire.job_id_derive("again", b"file", n) for n in range(count))
        self.assertEqual(sorted(line["job"] for line in told), want)
        runs = fleet.run_logs[0].read_text().splitlines()
        self.assertEqual(sorted(run.split()[2] for run in runs), want)
        results = read_all(cluster.bootstrap, "bf.results", SHARDS)
        self.assertEqual(sorted(rec.text("bf_job") for rec in results), want)

        def metered() -> tuple[int, int]:
            usage = second.get("/v1/usage", workspace="again").json()
            return usage["rows"], usage["runs"]

        wait_until(lambda: metered() == (count, count), HANG_S, "a usage row each")


if __name__ == "__main__":
    unittest.main()
