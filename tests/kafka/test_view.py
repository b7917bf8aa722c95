"""What the dispatcher tells of jobs: the view, rebuilt from Kafka at any time."""

import contextlib
import threading
import time
import unittest
from typing import Any

from dispatching import (
    SHARDS,
    Answer,
    Dispatcher,
    DispatcherCase,
    FakeWorker,
    bfwire,
    job,
    read_all,
)
from harness import HANG_S, wait_until

HOSTILE = b'{"a":NaN,"a":"\\u0000","n":9223372036854775808, "x":"\xf0\x9f\x8e\xac"}'


def without_time(found: Any) -> Any:
    """A status without what differs from one moment to the next."""
    return {name: value for name, value in found.items() if name != "as_of"}


class ViewTest(DispatcherCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.dispatcher = cls.new_dispatcher().start()
        cls.worker = FakeWorker(cls.cluster.bootstrap, cls.keys, SHARDS)

    def sources(self, workspace: str) -> dict[str, bfwire.Record]:
        """The job records of one workspace, both lanes, by id."""
        topics = ("bf.jobs", "bf.jobs.batch")
        everything = [
            rec
            for topic in topics
            for rec in read_all(self.cluster.bootstrap, topic, SHARDS)
        ]
        mine = [rec for rec in everything if rec.key == workspace.encode()]
        return {rec.text("bf_job"): rec for rec in mine}

    def status(self, workspace: str, name: str, **query: int) -> Any:
        answer = self.dispatcher.get(f"/v1/jobs/{name}", workspace=workspace, **query)
        self.assertEqual(answer.status, 200, answer.body)
        return answer.json()

    def wait_status(self, workspace: str, name: str, want: str) -> Any:
        wait_until(
            lambda: self.status(workspace, name)["status"] == want,
            HANG_S,
            f"{name} {want}",
        )
        return self.status(workspace, name)

    def test_a_job_s_life_is_told(self) -> None:
        self.dispatcher.post(
            job("life", b'{"a":NaN}', id="j", labels={"z": "1", "a": "2"})
        )
        told = self.status("life", "j")  # at once: one reads one's own writes
        self.assertEqual(
            (told["status"], told["outcome"], told["attempt"]), ("waiting", None, None)
        )
        source = self.sources("life")["j"]
        where = {
            "topic": "bf.jobs",
            "partition": source.partition,
            "offset": source.offset,
        }
        self.assertEqual(told["source"], where)
        self.assertEqual(list(told["labels"]), ["z", "a"])
        answer = self.dispatcher.get("/v1/jobs/j/result", workspace="life")
        self.assertEqual(answer.status, 409)

        self.worker.state(source, "started")
        self.assertEqual(self.wait_status("life", "j", "running")["attempt"], 1)
        report = bfwire.Report(standard_output=b"hi\x00\xff", line_number=3)
        end = self.worker.end(source, result=HOSTILE, report=report)
        self.worker.finish([end])
        told = self.wait_status("life", "j", "succeeded")
        self.assertEqual(
            (told["outcome"], told["reason"], told["delivery"], told["backend"]),
            ("succeeded", None, "ran", "noop"),
        )
        self.assertEqual(told["run_id"], end.run_id)
        self.assertEqual(told["usage_id"], end.subject().event_id("usage"))
        self.assertEqual(told["worker"], self.worker.NAME)
        self.assertEqual(told["source"], where)
        self.assertEqual(told["report"]["stdout"], "hi\x00\ufffd")
        self.assertEqual(told["result_bytes"], len(HOSTILE))
        self.assertEqual(told["ended_at"], bfwire.rfc3339(end.ended_at_ms))
        answer = self.dispatcher.get("/v1/jobs/j/result", workspace="life")
        self.assertEqual(
            (answer.status, answer.body, answer.headers["Content-Type"]),
            (200, HOSTILE, "application/json"),
        )
        # A late parking is no news after the end.
        self.worker.state(source, "parked", attempt=2)
        written = bfwire.rfc3339(time.time_ns() // 10**6)
        wait_until(
            lambda: self.status("life", "j")["as_of"] > written, HANG_S, "a later view"
        )
        self.assertEqual(without_time(self.status("life", "j")), without_time(told))

    def test_who_waits_is_answered_when_the_job_ends(self) -> None:
        self.dispatcher.post(job("wait", id="j"))
        source = self.sources("wait")["j"]
        answers: list[Answer] = []
        waiter = threading.Thread(
            target=lambda: answers.append(
                self.dispatcher.get("/v1/jobs/j", workspace="wait", wait=30)
            )
        )
        started = time.monotonic()
        waiter.start()
        self.assertEqual(self.status("wait", "j", wait=1)["status"], "waiting")
        self.assertGreaterEqual(time.monotonic() - started, 0.9)
        self.assertEqual(answers, [])
        self.worker.finish([self.worker.end(source)])
        waiter.join(HANG_S)
        self.assertLess(time.monotonic() - started, 15)
        self.assertEqual(answers[0].json()["status"], "succeeded")

    def test_a_post_that_waits_gets_the_end_or_202(self) -> None:
        answer = self.dispatcher.post(job("prefer", id="slow"), Prefer="wait=1")
        self.assertEqual((answer.status, answer.json()["status"]), (202, "waiting"))
        answers: list[Answer] = []
        waiter = threading.Thread(
            target=lambda: answers.append(
                self.dispatcher.post(
                    job("prefer", id="quick"), Prefer="respond-async, wait=30"
                )
            )
        )
        waiter.start()
        wait_until(
            lambda: "quick" in self.sources("prefer"), HANG_S, "the job in Kafka"
        )
        self.worker.finish([self.worker.end(self.sources("prefer")["quick"])])
        waiter.join(HANG_S)
        self.assertEqual(answers[0].status, 200, answers[0].body)
        self.assertEqual(answers[0].json()["status"], "succeeded")

    def test_a_batch_is_counted_and_paged(self) -> None:
        lines = [
            job("batch", b'{"n":%d}' % n, id=f"j{n:03}", batch="b", batch_index=n)
            for n in range(50)
        ]
        self.dispatcher.post_lines(lines)
        answer = self.dispatcher.get("/v1/batches/b", workspace="batch")
        told = answer.json()
        self.assertEqual((told["total"], told["waiting"]), (50, 50))
        sources = self.sources("batch")
        big = b'{"big":"' + b"y" * 70_000 + b'"}'
        ends = [
            self.worker.end(source, result=big)
            if name == "j007"
            else self.worker.end(source)
            for name, source in sources.items()
            if name not in ("j001", "j002", "j003")
        ]
        failed = self.worker.end(
            sources["j002"],
            outcome="failed",
            reason="user_error",
            result=b"",
            report=bfwire.Report(error=b"boom"),
        )
        self.worker.state(sources["j003"], "started")
        self.worker.finish([*ends, failed])

        def counts() -> Any:
            told = self.dispatcher.get("/v1/batches/b", workspace="batch").json()
            names = ("waiting", "running", "succeeded", "failed", "total")
            return tuple(told[name] for name in names)

        wait_until(lambda: counts() == (1, 1, 47, 1, 50), HANG_S, "the counts")
        query: dict[str, str | int] = {"workspace": "batch", "batch": "b", "limit": 10}
        rows: list[Any] = []
        pages = 0
        while True:
            page = self.dispatcher.get_lines("/v1/results", **query)
            self.assertEqual(page.headers["Content-Type"], "application/x-ndjson")
            rows += page.lines()
            pages += 1
            if "Bf-Cursor" not in page.headers:
                break
            query["cursor"] = page.headers["Bf-Cursor"]
        self.assertEqual((len(rows), pages), (48, 5))
        found = {row["job"]: row for row in rows}
        self.assertEqual(len(found), 48)
        for name, row in found.items():
            number = int(name[1:])
            self.assertEqual(row["batch_index"], number)
            if name == "j007":
                self.assertIsNone(row["result"])
                big_answer = self.dispatcher.get(row["result_url"])
                self.assertEqual(big_answer.status, 200, big_answer.body[:200])
                self.assertTrue(big_answer.body == big)
            elif name == "j002":
                self.assertEqual((row["status"], row["result"]), ("failed", None))
                self.assertEqual(row["report"]["error"], "boom")
            else:
                self.assertEqual(row["result"], f'{{"n":{number}}}')
        answer = self.dispatcher.get("/v1/jobs/j002/result", workspace="batch")
        self.assertEqual(answer.status, 409)
        self.assertIn("failed", answer.json()["detail"])

    def test_jobs_are_listed_the_last_first(self) -> None:
        lines = [
            job(
                "list",
                b'{"n":%d}' % n,
                id=f"j{n:03}",
                labels={"odd": str(n % 2)},
                order_key=f"k{n % 3}",
            )
            for n in range(40)
        ]
        self.dispatcher.post_lines(lines)
        sources = self.sources("list")
        self.worker.finish([self.worker.end(sources["j007"])])
        failed = self.worker.end(
            sources["j009"], outcome="failed", reason="user_error", result=b""
        )
        self.worker.finish([failed])
        self.wait_status("list", "j009", "failed")

        def ids(**query: str | int) -> list[str]:
            answer = self.dispatcher.get("/v1/jobs", workspace="list", **query)
            self.assertEqual(answer.status, 200, answer.body)
            return [row["job"] for row in answer.json()["jobs"]]

        def numbers(found: list[int]) -> set[str]:
            return {f"j{n:03}" for n in found}

        self.assertEqual(set(ids(status="failed,succeeded")), {"j007", "j009"})
        self.assertEqual(ids(status="ended", label="odd=0"), [])
        self.assertEqual(
            set(ids(status="waiting")), numbers([*range(40)]) - {"j007", "j009"}
        )
        self.assertEqual(set(ids(label="odd=1")), numbers([*range(1, 40, 2)]))
        self.assertEqual(set(ids(order_key="k2")), numbers([*range(2, 40, 3)]))
        told = self.status("list", "j007")
        self.assertEqual(told["order_key"], "k1")
        accepted = told["accepted_at"]
        self.assertIn("j007", ids(**{"from": accepted}))
        self.assertNotIn("j007", ids(to=accepted))

        # Pages, while more jobs come: each of those that were there, once.
        whole = ids()
        rows: list[Any] = []
        query: dict[str, str | int] = {"workspace": "list", "limit": 7}
        while True:
            self.dispatcher.post(job("list"))
            page = self.dispatcher.get_lines("/v1/jobs", **query)
            self.assertEqual(page.headers["Content-Type"], "application/x-ndjson")
            rows += page.lines()
            if "Bf-Cursor" not in page.headers:
                break
            query["cursor"] = page.headers["Bf-Cursor"]
        self.assertEqual([row["job"] for row in rows[1:]], whole)
        first = self.dispatcher.get("/v1/jobs", workspace="list", limit=1).json()
        again = self.dispatcher.get(
            "/v1/jobs", workspace="list", limit=1, cursor=first["cursor"]
        )
        self.assertNotEqual(again.json()["jobs"], first["jobs"])
        for wrong in ("status=no", "status=", "limit=1001", "from=monday", "cursor=x"):
            answer = self.dispatcher.get(f"/v1/jobs?workspace=list&{wrong}")
            self.assertEqual(answer.status, 400, wrong)

    def test_usage_is_summed_once_per_event(self) -> None:
        for number in range(3):
            self.dispatcher.post(job("usage", b'{"n":1}', id=f"j{number}"))
        ends = [self.worker.end(rec) for rec in self.sources("usage").values()]
        self.worker.finish(ends)
        # The same events again, as a careless producer might.
        self.worker.write(
            [
                bfwire.usage_build(e, "main", ("bf.usage", e.source.partition))
                for e in ends
            ],
            "result",
        )
        self.dispatcher.post(job("usage", id="last"))
        self.worker.finish([self.worker.end(self.sources("usage")["last"])])

        def told() -> Any:
            return self.dispatcher.get("/v1/usage", workspace="usage").json()

        wait_until(lambda: told()["runs"] == 4, HANG_S, "four runs")
        self.assertEqual(told()["duration_seconds"], "0.049380")
        self.assertEqual(told()["input_bytes"], 3 * 7 + 2)
        self.assertEqual(told()["rows"], 4)
        self.assertLess(told()["complete_until"], told()["as_of"])
        before = told()["as_of"]
        wait_until(lambda: told()["as_of"] > before, HANG_S, "a later as_of")
        # A correction counts in the hour of what it corrects, here and in sums.
        first = ends[0]
        value = bfwire.usage_value(first)
        fix = bfwire.Correction(
            value,
            first.subject().event_id("usage"),
            1,
            time.time_ns() // 10**6,
            {"runs": "-1", "duration_seconds": "-0.012346", "input_bytes": "-7"},
        )
        place = ("bf.usage", first.source.partition)
        self.worker.write([bfwire.correction_build(fix, "main", place)], "result")
        wait_until(lambda: told()["runs"] == 3, HANG_S, "the correction")
        self.assertEqual(told()["duration_seconds"], "0.037034")
        self.assertEqual((told()["input_bytes"], told()["rows"]), (2 * 7 + 2, 5))
        self.assertEqual(told()["billable"]["duration_seconds"], "0.037034")

        def groups(**query: str | int) -> list[Any]:
            answer = self.dispatcher.get("/v1/usage", **query)
            self.assertEqual(answer.status, 200, answer.body)
            return answer.json()["groups"]

        mine = groups(workspace="usage", group_by="block,hour,billable")
        self.assertEqual(
            {(g["block_type"], g["fingerprint"], g["is_billable"]) for g in mine},
            {("t", "0" * 16, True)},
        )
        self.assertEqual(sum(g["runs"] for g in mine), 3)
        hour = mine[0]["hour"]
        self.assertRegex(hour, r":00:00\.000Z$")
        everyone = groups(group_by="workspace,day")
        self.assertIn("usage", {g["workspace"] for g in everyone})
        until = groups(workspace="usage", group_by="hour", to=hour)
        self.assertEqual(until, [])
        since = groups(workspace="usage", group_by="hour", **{"from": hour})
        self.assertEqual(sum(g["rows"] for g in since), 5)
        for wrong in ("group_by=no", "group_by=", "from=2026-01-01T00:30:00Z"):
            answer = self.dispatcher.get(f"/v1/usage?workspace=usage&{wrong}")
            self.assertEqual(answer.status, 400, wrong)
        empty = self.dispatcher.get("/v1/usage", workspace="nobody").json()
        self.assertEqual((empty["runs"], empty["duration_seconds"]), (0, "0.000000"))

    def test_what_is_not_trusted_is_not_shown(self) -> None:
        self.dispatcher.post(job("forged", id="j"))
        source = self.sources("forged")["j"]
        end = self.worker.end(source)
        [result, _] = self.worker.records_of(end)
        self.worker.write([result], "job")  # a key that may not sign results
        [result, _] = self.worker.records_of(end)
        bfwire.sign_tree("result", self.keys.private["result"], 1, [result])
        result.value = b'{"forged":1}'
        self.worker.write([result], "result")
        self.dispatcher.post(job("forged", id="good"))
        self.worker.finish([self.worker.end(self.sources("forged")["good"])])
        self.wait_status("forged", "good", "succeeded")
        self.assertEqual(self.status("forged", "j")["status"], "waiting")

    def test_what_is_not_there_is_a_problem(self) -> None:
        cases = [
            ("/v1/jobs/none?workspace=w", 404),
            ("/v1/jobs/none", 400),
            ("/v1/jobs/none?workspace=w%20w", 400),
            ("/v1/jobs/none?workspace=w&wait=61", 400),
            ("/v1/jobs/none/result?workspace=w", 404),
            ("/v1/batches/none?workspace=w", 404),
            ("/v1/results?workspace=w&cursor=x", 400),
            ("/v1/results?workspace=w&limit=1001", 400),
            ("/v1/results", 400),
        ]
        for path, status in cases:
            answer = self.dispatcher.get(path)
            self.assertEqual(answer.status, status, path)
            self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        for name in ("results", "jobs"):
            empty = self.dispatcher.get_lines(f"/v1/{name}", workspace="nobody")
            self.assertEqual((empty.status, empty.body), (200, b""))
            told = self.dispatcher.get(f"/v1/{name}", workspace="nobody").json()
            self.assertEqual((told[name], told["cursor"]), ([], None))

    def everything(self, dispatcher: Dispatcher) -> Any:
        """All that the API tells of one workspace, without moments."""
        rows = dispatcher.get_lines(
            "/v1/results", workspace="again", limit=1000
        ).lines()
        usage = dispatcher.get("/v1/usage", workspace="again").json()
        batch = dispatcher.get("/v1/batches/b", workspace="again").json()
        jobs = [
            dispatcher.get(f"/v1/jobs/j{n}", workspace="again").json()
            for n in range(20)
        ]
        for told in (usage, batch):
            told.pop("complete_until", None)
        rows += dispatcher.get_lines("/v1/jobs", workspace="again").lines()
        return [without_time(told) for told in [*rows, usage, batch, *jobs]]

    def test_with_or_without_its_file_it_tells_the_same(self) -> None:
        lines = [
            job("again", b'{"n":%d}' % n, id=f"j{n}", batch="b", batch_index=n)
            for n in range(20)
        ]
        self.dispatcher.post_lines(lines)
        self.dispatcher.post(lines[4])  # the same id again: the first one counts
        sources = self.sources("again")
        first = next(
            rec
            for rec in read_all(self.cluster.bootstrap, "bf.jobs", SHARDS)
            if rec.get("bf_job") == b"j4" and rec.key == b"again"
        )
        sources["j4"] = first
        self.worker.state(sources["j1"], "parked")
        self.worker.state(sources["j2"], "started")
        self.worker.finish([self.worker.end(sources[f"j{n}"]) for n in range(3, 20)])
        wait_until(
            lambda: self.dispatcher.get("/v1/batches/b", workspace="again").json()[
                "succeeded"
            ]
            == 17
            and self.status("again", "j2")["status"] == "running",
            HANG_S,
            "all ends in the view",
        )
        want = self.everything(self.dispatcher)
        self.assertEqual(len(want), 17 + 20 + 2 + 20)

        self.dispatcher.restart()
        self.assertEqual(self.everything(self.dispatcher), want)

        assert self.dispatcher.proc is not None
        self.dispatcher.proc.kill9()
        self.dispatcher.start()
        self.assertEqual(self.everything(self.dispatcher), want)

        self.dispatcher.proc.stop()
        for file in self.folder.glob("dispatcher.sqlite*"):
            file.unlink()
        self.dispatcher.start()
        self.assertEqual(self.everything(self.dispatcher), want)

        self.dispatcher.proc.stop()
        (self.folder / "dispatcher.sqlite").write_bytes(b"no database at all" * 1000)
        self.dispatcher.start()
        self.assertEqual(self.everything(self.dispatcher), want)

        with self.subTest("a second replica"):
            other = Dispatcher(
                self.procs,
                self.cluster.bootstrap,
                self.keys,
                self.folder,
                name="replica",
            ).start()
            self.assertEqual(self.everything(other), want)
            assert other.proc is not None
            other.proc.stop()

    def test_one_file_has_one_writer(self) -> None:
        other = Dispatcher(
            self.procs,
            self.cluster.bootstrap,
            self.keys,
            self.folder,
            {"dispatcher.view": str(self.folder / "dispatcher.sqlite")},
            "second",
        )
        with contextlib.suppress(AssertionError):  # it may end before we look
            other.start(ready=False)
        assert other.proc is not None
        self.assertEqual(other.proc.wait(HANG_S), 1)
        self.assertIn("dispatcher.view", other.proc.log_text())


if __name__ == "__main__":
    unittest.main()
