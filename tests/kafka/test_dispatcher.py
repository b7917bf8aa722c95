"""The dispatcher against a real broker: what a client sends, what Kafka has."""

import json
import socket
import tempfile
import threading
import time
import unittest
from collections.abc import Iterable, Iterator
from pathlib import Path

import dispatching
from dispatching import (
    SHARDS,
    Answer,
    Dispatcher,
    DispatcherCase,
    Keys,
    Log,
    bfwire,
    job,
    make_topics,
    read_all,
)
from harness import HANG_S, Cluster, Procs, wait_until

HOSTILE = [
    b"{}",
    b'{"a":NaN,"b":-Infinity,"a":Infinity}',
    b'{"n":9223372036854775808,"m":-9223372036854775809,"f":1E+400,"z":-0.0}',
    b'{"\\u0000":"\\ud800\\udead","slash":"\\/","x":"\xf0\x9f\x8e\xac\x7f"}',
    b'{ "spaces" : [ 1 , 2 ]\t,\r "more":{ } }',
    b'{"inputs":{"inputs":"}\\"]"},"deep":' + b"[" * 400 + b"]" * 400 + b"}",
]


class DispatcherTest(DispatcherCase):
    """One broker and one folder for all; each test has its own workspaces."""

    logs: dict[str, Log]

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.logs = {}
        cls.dispatcher = cls.new_dispatcher().start()

    def records(self, workspace: str, topic: str = "bf.jobs") -> list[bfwire.Record]:
        log = self.logs.setdefault(topic, Log(self.cluster.bootstrap, topic, SHARDS))
        return [rec for rec in log.read() if rec.key == workspace.encode()]

    def check_record(self, rec: bfwire.Record) -> bfwire.Job:
        """It is signed, parses by the other implementation, lies where it must."""
        found = bfwire.job_parse(rec)
        now_ms = time.time_ns() // 10**6
        self.keys.verifier().verify(rec, found.workspace, now_ms)
        self.assertEqual(found.spread, 4)
        where = bfwire.partition_of(
            found.workspace, found.order_key, found.id, found.spread, SHARDS
        )
        self.assertEqual(rec.partition, where)
        return found

    def test_one_job_is_acknowledged_with_its_place(self) -> None:
        answer = self.dispatcher.post(
            job(
                "one",
                b'{"a":NaN}',
                id="j.1",
                labels={"z": "1", "a": "2"},
                order_key="o",
                timeout_ms=1234,
                execution="at_most_once",
            ),
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        )
        self.assertEqual(answer.status, 202, answer.body)
        told = answer.json()
        self.assertEqual(answer.headers["Location"], "/v1/jobs/j.1?workspace=one")
        self.assertEqual(told["url"], answer.headers["Location"])
        self.assertEqual((told["job"], told["status"]), ("j.1", "waiting"))
        [rec] = self.records("one")
        self.assertEqual(
            (told["topic"], told["partition"], told["offset"]),
            ("bf.jobs", rec.partition, rec.offset),
        )
        found = self.check_record(rec)
        self.assertEqual(rec.value, b'{"a":NaN}')
        self.assertEqual(rec.text("bf_labels"), '{"z":"1","a":"2"}')
        self.assertEqual(rec.text("bf_id_origin"), "client")
        self.assertEqual(found.timeout_ms, 1234)
        self.assertTrue(rec.text("traceparent").startswith("00-4bf9"))

    def test_inputs_arrive_byte_by_byte(self) -> None:
        big = b'{"blob":"' + b"x" * (10 << 20) + b'"}'
        for number, inputs in enumerate([*HOSTILE, big]):
            answer = self.dispatcher.post(job("hostile", inputs, id=f"h{number}"))
            self.assertEqual(answer.status, 202, answer.body)
        answer = self.dispatcher.post_lines(
            job("hostile", b" " + inputs.replace(b"\r", b" ") + b"\t", id=f"l{number}")
            for number, inputs in enumerate(HOSTILE)
        )
        self.assertEqual([line["status"] for line in answer.lines()], [202] * 6)
        found = {self.check_record(rec).id: rec for rec in self.records("hostile")}
        for number, inputs in enumerate([*HOSTILE, big]):
            self.assertTrue(found[f"h{number}"].value == inputs, f"h{number}")
        for number, inputs in enumerate(HOSTILE):
            self.assertEqual(found[f"l{number}"].value, inputs.replace(b"\r", b" "))
        self.assertEqual(len(found), 13)

    def test_an_upload_answers_line_by_line(self) -> None:
        lines = [job("many", b'{"n":%d}' % n, lane="batch") for n in range(300)]
        lines[7] = b"{nonsense"
        lines[9] = job("many", surprise=1)
        lines[11] = b"  "
        answer = self.dispatcher.post_lines(lines, Idempotency_Key='"upload-1"')
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.headers["Content-Type"], "application/x-ndjson")
        told = {line["line"]: line for line in answer.lines()}
        self.assertEqual(sorted(told), [n for n in range(300) if n != 11])
        self.assertEqual(told[7]["status"], 400)
        self.assertEqual((told[9]["status"], told[9]["field"]), (422, "surprise"))
        records = self.records("many", "bf.jobs.batch")
        placed = {(rec.partition, rec.offset): rec for rec in records}
        self.assertEqual(len(placed), 297)
        for number, line in told.items():
            if line["status"] != 202:
                continue
            rec = placed[line["partition"], line["offset"]]
            self.assertEqual(rec.value, b'{"n":%d}' % number)
            derived = bfwire.job_id_derive("many", b"upload-1", number)
            self.assertEqual((line["job"], rec.text("bf_job")), (derived, derived))
            self.check_record(rec)
        # Trees: far fewer signatures than records, and none above 64.
        trees = [rec.text("bf_signature").split(".") for rec in records]
        roots = {(tree[3], tree[-1]) for tree in trees}
        self.assertLess(len(roots), len(records) / 2)
        self.assertLessEqual(max(int(tree[4]) for tree in trees), 64)

    def test_a_key_sent_again_gives_the_same_id(self) -> None:
        first, second = (
            self.dispatcher.post(job("again"), Idempotency_Key='"k"') for _ in range(2)
        )
        self.assertEqual(first.json()["job"], second.json()["job"])
        self.assertEqual(first.json()["job"], bfwire.job_id_derive("again", b"k"))
        self.assertNotEqual(first.json()["offset"], second.json()["offset"])
        fresh = self.dispatcher.post(job("again")).json()["job"]
        self.assertRegex(fresh, r"^[0-9a-f]{8}-[0-9a-f]{4}-7")

    def test_what_is_wrong_is_told_as_a_problem(self) -> None:
        cases = [
            (b"", {}, 400, None),
            (b"[]", {}, 400, None),
            (job("wrong", id="a/b"), {}, 422, "id"),
            (job("wrong w"), {}, 422, "workspace"),
            (job("wrong", b"[]"), {}, 422, "inputs"),
            (job("wrong", b'{"a":"' + b"x" * (15 << 20) + b'"}'), {}, 413, "inputs"),
            (job("wrong"), {"Content_Type": "text/plain"}, 415, "Content-Type"),
            (job("wrong"), {"Idempotency_Key": ""}, 400, "Idempotency-Key"),
        ]
        for body, headers, status, field in cases:
            answer = self.dispatcher.post(body, **headers)
            self.assertEqual(answer.status, status, (body[:80], answer.body))
            self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
            problem = answer.json()
            self.assertEqual(problem["status"], status)
            self.assertEqual(problem.get("field"), field)
            self.assertEqual(problem["instance"], "/v1/jobs")
            self.assertTrue(problem["type"].startswith("urn:blockfleet:problem:"))
        self.assertEqual(self.records("wrong"), [])

    def test_paths_and_methods(self) -> None:
        self.assertEqual(self.dispatcher.get("/v1/nothing").status, 404)
        answer = self.dispatcher.get("/")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "POST"))
        answer = self.dispatcher.request("DELETE", "/v1/jobs")
        self.assertEqual(
            (answer.status, answer.headers["Allow"]), (405, "POST, GET, HEAD")
        )
        answer = self.dispatcher.request("POST", "/healthz", b"x")
        self.assertEqual((answer.status, answer.headers["Allow"]), (405, "GET, HEAD"))
        self.assertEqual(self.dispatcher.get("/healthz").json(), {"alive": True})
        answer = self.dispatcher.request("HEAD", "/version")
        self.assertEqual((answer.status, answer.body), (200, b""))
        self.assertIn("version", self.dispatcher.get("/version").json())

    def test_a_body_without_a_length_has_a_ceiling_too(self) -> None:
        small = Dispatcher(
            self.dispatcher.procs,
            self.cluster.bootstrap,
            self.keys,
            self.folder,
            {"dispatcher.max_body": "64k"},
            "small",
        ).start()
        chunks = iter([job("chunks") + b"\n"] * 1000)
        answer = small.request(
            "POST", "/v1/jobs", chunks, {"Content-Type": "application/json"}
        )
        self.assertEqual(answer.status, 413)
        answer = small.post(job("wrong", b'{"a":"' + b"x" * 70000 + b'"}'))
        self.assertEqual(answer.status, 413)
        self.assertEqual(small.post(job("fits")).status, 202)
        assert small.proc is not None
        self.assertEqual(small.proc.stop(), 0)

    def test_without_a_view_jobs_are_taken_and_questions_refused(self) -> None:
        taker = self.new_dispatcher("taker", dispatcher__keep_view="false").start()
        answer = taker.post(job("taken", id="t1"), Prefer="wait=2")
        self.assertEqual(answer.status, 202, answer.body)
        asked = taker.get("/v1/jobs/t1", workspace="taken")
        self.assertEqual(asked.status, 503)
        self.assertIn("keep_view", asked.json()["detail"])
        self.assertFalse((taker.folder / "taker.sqlite").exists())
        [rec] = self.records("taken")
        self.assertEqual(self.check_record(rec).id, "t1")
        wait_until(
            lambda: self.dispatcher.get("/v1/jobs/t1", workspace="taken").status == 200,
            HANG_S,
            "the job in another's view",
        )
        assert taker.proc is not None
        self.assertEqual(taker.proc.stop(), 0)

    def test_a_client_that_goes_away_takes_nothing_with_it(self) -> None:
        host, port = self.dispatcher.address.split(":")
        lines = b"".join(job("half", id=f"j{n}") + b"\n" for n in range(50))
        head = (
            "POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-ndjson"
            f"\r\nContent-Length: {len(lines) * 2}\r\n\r\n"
        )
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode() + lines + job("half", id="cut")[:20])
            wait_until(
                lambda: len(self.records("half")) == 50, HANG_S, "its whole lines"
            )
        head = "GET /v1/jobs/j0?workspace=half&wait=60 HTTP/1.1\r\nHost: x\r\n\r\n"
        with socket.create_connection((host, int(port))) as connection:
            connection.sendall(head.encode())
        self.assertEqual(self.dispatcher.post(job("half", id="after")).status, 202)
        found = {rec.text("bf_job") for rec in self.records("half")}
        self.assertEqual(found, {f"j{n}" for n in range(50)} | {"after"})

    def test_a_stop_answers_who_waits(self) -> None:
        other = Dispatcher(
            self.dispatcher.procs,
            self.cluster.bootstrap,
            self.keys,
            self.folder,
            name="waiting",
        ).start()
        other.post(job("waiting", id="j"))
        answers: list[Answer] = []
        waiter = threading.Thread(
            target=lambda: answers.append(
                other.get("/v1/jobs/j", workspace="waiting", wait=60)
            )
        )
        waiter.start()
        # What is answered after it was asked is behind it in the loop.
        self.assertEqual(
            other.get("/v1/jobs/j", workspace="waiting", wait=1).status, 200
        )
        assert other.proc is not None
        self.assertEqual(other.proc.stop(), 0, other.proc.tail())
        waiter.join(HANG_S)
        self.assertEqual(answers[0].json()["status"], "waiting")

    def test_a_stop_sees_everything_through(self) -> None:
        other = Dispatcher(
            self.dispatcher.procs,
            self.cluster.bootstrap,
            self.keys,
            self.folder,
            name="stopping",
        ).start()
        self.assertEqual(other.post(job("stopped")).status, 202)
        assert other.proc is not None
        self.assertEqual(other.proc.stop(), 0, other.proc.tail())
        self.assertEqual(len(self.records("stopped")), 1)


class ProcessCase(unittest.TestCase):
    """A dispatcher for each test."""

    prefix = "bf."

    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-dispatcher-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.keys = Keys(self.folder / "keys")
        self.procs = self.enterContext(Procs(self.folder / "logs"))

    def dispatcher(self, bootstrap: str, **options: str) -> Dispatcher:
        options["topics.prefix"] = self.prefix
        return Dispatcher(self.procs, bootstrap, self.keys, self.folder, options)


class BrokerTest(ProcessCase):
    """What a broker has to do with it: one for all, topics for each."""

    slow = True

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster())

    def setUp(self) -> None:
        super().setUp()
        self.prefix = self.id().rpartition(".")[2] + "."

    def make_topics(self, names: Iterable[str] = dispatching.TOPICS) -> None:
        make_topics(self.cluster.bootstrap, SHARDS, names, self.prefix)

    def test_unequal_topics_are_answered_with_503_until_they_are_equal(self) -> None:
        rest = [name for name in dispatching.TOPICS if name != "bf.usage"]
        self.make_topics(rest)
        dispatcher = self.dispatcher(self.cluster.bootstrap).start(ready=False)

        def reason() -> str:
            answer = dispatcher.post(job("wrong"))
            self.assertEqual(answer.status, 503)
            self.assertEqual(answer.headers["Retry-After"], "1")
            return answer.json()["detail"]

        usage = self.prefix + "usage"
        wait_until(lambda: usage in reason(), HANG_S, "the missing topic named")
        answer = dispatcher.get("/readyz")
        self.assertEqual(answer.status, 503)
        self.assertIn(usage, json.dumps(answer.json()["reasons"]))
        self.assertEqual(dispatcher.get("/healthz").status, 200)
        self.make_topics(["bf.usage"])
        dispatcher.wait_ready()
        self.assertEqual(dispatcher.post(job("wrong")).status, 202)

    def test_a_broker_that_dies_loses_and_doubles_nothing(self) -> None:
        self.make_topics()
        dispatcher = self.dispatcher(self.cluster.bootstrap).start()
        count = 20_000
        half = threading.Event()

        def lines() -> Iterator[bytes]:
            for number in range(count):
                if number == count // 2:
                    half.set()
                yield job("dies", b'{"n":%d}' % number, id=f"j{number}") + b"\n"

        answers: list[Answer] = []
        upload = threading.Thread(
            target=lambda: answers.append(
                dispatcher.request(
                    "POST",
                    "/v1/jobs",
                    lines(),
                    {"Content-Type": "application/x-ndjson"},
                )
            )
        )
        upload.start()
        self.assertTrue(half.wait(HANG_S))
        self.cluster.brokers[0].kill9()
        self.cluster.brokers[0].restart()
        upload.join(HANG_S)
        told = answers[0].lines()
        self.assertEqual([line["line"] for line in told], list(range(count)))
        records = read_all(self.cluster.bootstrap, self.prefix + "jobs", SHARDS)
        placed = {(rec.partition, rec.offset): rec for rec in records}
        stored = [line for line in told if line["status"] == 202]
        self.assertGreater(len(stored), count // 2)
        for line in stored:
            rec = placed[line["partition"], line["offset"]]
            self.assertEqual(rec.text("bf_job"), f"j{line['line']}")
        ids = [rec.text("bf_job") for rec in records]
        self.assertEqual(len(ids), len(set(ids)))
        # What was not confirmed says so, and may be sent again.
        self.assertLessEqual({line["status"] for line in told}, {202, 503})
        dispatcher.wait_ready()
        self.assertEqual(dispatcher.post(job("dies", id="after")).status, 202)

    def test_what_is_in_flight_has_a_ceiling(self) -> None:
        big = b'{"a":"' + b"x" * 700_000 + b'"}'
        self.make_topics()
        dispatcher = self.dispatcher(
            self.cluster.bootstrap, **{"dispatcher.inflight_bytes": "1M"}
        ).start()
        self.assertEqual(dispatcher.post(job("full")).status, 202)
        answers: list[Answer] = []

        def send(body: bytes, content_type: str) -> threading.Thread:
            headers = {"Content-Type": content_type}
            thread = threading.Thread(
                target=lambda: answers.append(
                    dispatcher.request("POST", "/v1/jobs", body, headers)
                )
            )
            thread.start()
            return thread

        self.cluster.brokers[0].sigstop()
        threads = [
            send(job("full", big, id=f"j{n}"), "application/json") for n in range(2)
        ]
        wait_until(lambda: len(answers) == 1, HANG_S, "the one too many")
        self.assertEqual(answers[0].status, 429, answers[0].body)
        self.assertEqual(answers[0].headers["Retry-After"], "1")
        # An upload is not refused: it waits for room, and so does its client.
        many = [job("full", big, id=f"m{n}") + b"\n" for n in range(8)]
        threads.append(send(b"".join(many), "application/x-ndjson"))
        self.assertEqual(dispatcher.get("/healthz").status, 200)
        self.cluster.brokers[0].sigcont()
        for thread in threads:
            thread.join(HANG_S)
        self.assertEqual(sorted(a.status for a in answers), [200, 202, 429])
        told = next(a for a in answers if a.status == 200).lines()
        self.assertEqual([line["status"] for line in told], [202] * 8)


class StartTest(ProcessCase):
    """What must be right before a job is taken."""

    def test_an_open_door_is_refused(self) -> None:
        cases = [
            ({"dispatcher.anonymous": "false"}, "dispatcher.anonymous"),
            ({"dispatcher.listen": "0.0.0.0:0"}, "loopback"),
            ({"dispatcher.listen": "127.0.0.1:99999"}, "dispatcher.listen"),
        ]
        for options, words in cases:
            dispatcher = self.dispatcher("127.0.0.1:1", **options)
            with self.assertRaises((AssertionError, TimeoutError)):
                dispatcher.start(ready=False)
            assert dispatcher.proc is not None
            self.assertNotEqual(dispatcher.proc.wait(HANG_S), 0)
            self.assertIn(words, dispatcher.proc.log_text())

    def test_without_a_broker_it_says_so(self) -> None:
        dispatcher = self.dispatcher("127.0.0.1:1").start(ready=False)
        self.assertEqual(dispatcher.post(job("wrong")).status, 503)
        self.assertEqual(dispatcher.get("/readyz").status, 503)
        assert dispatcher.proc is not None
        self.assertEqual(dispatcher.proc.stop(), 0, dispatcher.proc.tail())


if __name__ == "__main__":
    unittest.main()
