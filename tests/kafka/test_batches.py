"""Batches: opened, added to, sealed, counted; the same on every replica."""

import json
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
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


class BatchTest(DispatcherCase):
    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        names = ("one", "other")
        cls.one, cls.other = (cls.new_dispatcher(name).start() for name in names)
        cls.worker = FakeWorker(cls.cluster.bootstrap, cls.keys, SHARDS)

    def say(self, path: str, workspace: str, **members: Any) -> Answer:
        return self.one.request(
            "POST", f"{path}?workspace={workspace}", json.dumps(members).encode()
        )

    def seal(self, workspace: str, batch: str, count: int) -> Answer:
        return self.say(f"/v1/batches/{batch}/seal", workspace, count=count)

    def told(self, workspace: str, batch: str, by: Dispatcher | None = None) -> Any:
        answer = (by or self.one).get(f"/v1/batches/{batch}", workspace=workspace)
        return answer.json() if answer.status == 200 else None

    def add(self, workspace: str, batch: str, numbers: range) -> None:
        lines = [
            job(workspace, id=f"{batch}{n}", batch=batch, batch_index=n)
            for n in numbers
        ]
        answers = self.one.post_lines(lines).lines()
        self.assertEqual([line["status"] for line in answers], [202] * len(lines))

    def end(self, workspace: str, names: list[str], **how: Any) -> None:
        jobs = read_all(self.cluster.bootstrap, "bf.jobs", SHARDS)
        mine = {r.text("bf_job"): r for r in jobs if r.key == workspace.encode()}
        self.worker.finish([self.worker.end(mine[name], **how) for name in names])

    def wait_state(self, workspace: str, batch: str, want: str) -> Any:
        """Both replicas come to say so, and say the same."""

        def state(by: Dispatcher) -> str | None:
            told = self.told(workspace, batch, by)
            return told and told["state"]

        for by in (self.one, self.other):
            wait_until(lambda by=by: state(by) == want, HANG_S, f"{batch} {want}")
        first, second = (
            {**self.told(workspace, batch, by), "as_of": None}
            for by in (self.one, self.other)
        )
        self.assertEqual(first, second)
        return first

    def test_a_batch_from_open_to_complete(self) -> None:
        answer = self.say("/v1/batches", "life", batch="b", max_failure_rate=0.5)
        self.assertEqual(answer.status, 201, answer.body)
        self.assertEqual(answer.json()["max_failure_rate"], "0.500000")
        told = self.wait_state("life", "b", "open")
        self.assertEqual((told["total"], told["count"]), (0, None))
        again = self.say("/v1/batches", "life", batch="b", max_failure_rate=0.5)
        self.assertEqual((again.status, again.json()), (200, answer.json()))
        self.assertEqual(self.say("/v1/batches", "life", batch="b").status, 409)

        self.add("life", "b", range(4))
        self.assertEqual(self.seal("life", "b", 3).status, 409)  # it has four
        self.assertEqual(self.seal("life", "b", 5).status, 200)
        # What was answered is so, and can be seen, at once.
        self.assertEqual(self.seal("life", "b", 6).status, 409)
        self.assertEqual(self.told("life", "b")["state"], "sealed")
        self.wait_state("life", "b", "sealed")
        self.assertEqual(self.seal("life", "b", 5).status, 200)
        self.assertEqual(self.seal("life", "b", 6).status, 409)
        self.end("life", ["b0", "b1", "b2", "b3"])
        wait_until(lambda: self.told("life", "b")["ended"] == 4, HANG_S, "four ends")
        self.assertEqual(self.told("life", "b")["state"], "sealed")
        self.add("life", "b", range(4, 5))  # the one that was promised
        self.end("life", ["b4"], outcome="failed", reason="user_error", result=b"")
        told = self.wait_state("life", "b", "complete")
        self.assertTrue(told["complete"])
        self.assertEqual((told["succeeded"], told["failed"], told["total"]), (4, 1, 5))
        for by in (self.one, self.other):
            answer = by.post(job("life", id="more", batch="b", batch_index=9))
            self.assertEqual((answer.status, answer.json()["field"]), (409, "batch"))

        # What was written is what the protocol says, by the other implementation.
        records = read_all(self.cluster.bootstrap, "bf.control", SHARDS)
        mine = [rec for rec in records if rec.key == b"life"]
        now_ms = time.time_ns() // 10**6
        where = bfwire.partition_of("life", None, "b", 4, SHARDS)
        for rec in mine:
            self.keys.verifier().verify(rec, "life", now_ms)
            self.assertEqual(rec.partition, where)
        found = [bfwire.control_parse(rec) for rec in mine]
        self.assertEqual(
            [(c.control, c.count, c.max_failure_ppm) for c in found],
            [("batch_open", None, 500_000), ("batch_seal", 5, None)],
        )

    def test_too_many_failures_close_it(self) -> None:
        self.say("/v1/batches", "fail", batch="b", max_failure_rate=0.25)
        self.add("fail", "b", range(16))
        how: dict[str, Any] = {
            "outcome": "failed",
            "reason": "user_error",
            "result": b"",
        }
        # Five of sixteen are too many, but ten must have ended to say so.
        self.end("fail", [f"b{n}" for n in range(5)], **how)
        wait_until(lambda: self.told("fail", "b")["failed"] == 5, HANG_S, "failures")
        self.assertEqual(self.told("fail", "b")["state"], "open")
        self.end("fail", [f"b{n}" for n in range(5, 9)])
        wait_until(lambda: self.told("fail", "b")["ended"] == 9, HANG_S, "nine ends")
        self.assertEqual(self.told("fail", "b")["state"], "open")
        self.end("fail", ["b9"])
        self.wait_state("fail", "b", "failed")
        for by in (self.one, self.other):
            answer = by.post(job("fail", id="more", batch="b", batch_index=9))
            self.assertEqual(answer.status, 409, answer.body)
            self.assertIn("failed", answer.json()["detail"])
        lines = [job("fail", id=f"x{n}", batch="b", batch_index=n) for n in range(3)]
        told = self.other.post_lines([*lines, job("fail", id="alone")]).lines()
        self.assertEqual([line["status"] for line in told], [409, 409, 409, 202])
        self.assertEqual(self.seal("fail", "b", 16).status, 409)

    def test_a_batch_that_was_not_opened_is_sealed_too(self) -> None:
        self.add("plain", "b", range(3))
        self.assertEqual(self.told("plain", "b")["state"], "open")
        self.assertEqual(self.seal("plain", "b", 3).status, 200)
        told = self.wait_state("plain", "b", "sealed")
        self.assertEqual((told["count"], told["waiting"]), (3, 3))
        self.assertEqual((told["opened_at"], told["until"]), (None, None))
        self.end("plain", ["b0", "b1", "b2"])
        want = self.wait_state("plain", "b", "complete")

        assert self.other.proc is not None
        self.other.proc.stop()
        for file in self.folder.glob("other.sqlite*"):
            file.unlink()
        self.other.start()
        self.assertEqual({**self.told("plain", "b", self.other), "as_of": None}, want)
        answer = self.other.post(job("plain", id="m", batch="b", batch_index=9))
        self.assertEqual(answer.status, 409)

    def test_of_two_who_seal_or_open_at_once_one_is_told_so(self) -> None:
        def order(by: Dispatcher, path: str, members: dict[str, Any]) -> Answer:
            body = json.dumps(members).encode()
            return by.request("POST", f"{path}?workspace=race", body)

        def both(path: str, *bodies: dict[str, Any]) -> list[Answer]:
            with ThreadPoolExecutor(2) as pool:
                replicas = (self.one, self.other)
                return list(pool.map(order, replicas, (path, path), bodies))

        for n in range(8):
            name = f"b{n}"
            opens = [{"batch": name, "max_failure_rate": r} for r in (0.25, 0.5)]
            opened = both("/v1/batches", *opens)
            self.assertEqual(sorted(a.status for a in opened), [201, 409], opened)
            rate = next(a for a in opened if a.status == 201).json()
            sealed = both(f"/v1/batches/{name}/seal", {"count": 5}, {"count": 6})
            self.assertEqual(sorted(a.status for a in sealed), [200, 409], sealed)
            count = next(a for a in sealed if a.status == 200).json()["count"]
            told = self.wait_state("race", name, "sealed")
            self.assertEqual(told["count"], count)
            self.assertEqual(told["max_failure_rate"], rate["max_failure_rate"])

    def test_all_of_a_workspace_are_listed(self) -> None:
        names = [f"b{n}" for n in range(5)]
        for name in names:
            self.assertEqual(self.say("/v1/batches", "list", batch=name).status, 201)
        self.add("list", "never-opened", range(2))
        self.say("/v1/batches", "list-other", batch="x")
        want = ["never-opened", *reversed(names)]

        def listed(by: Dispatcher, **query: str | int) -> Answer:
            return by.get("/v1/batches", workspace="list", **query)

        for by in (self.one, self.other):
            wait_until(
                lambda by=by: [b["batch"] for b in listed(by).json()["batches"]]
                == want,
                HANG_S,
                "the list",
            )
        first = listed(self.one).json()["batches"][0]
        self.assertEqual((first["total"], first["state"]), (2, "open"))
        found: list[str] = []
        cursor: str | None = ""
        while cursor is not None:
            more = {"cursor": cursor} if cursor else {}
            page = listed(self.one, limit=4, **more).json()
            found += [b["batch"] for b in page["batches"]]
            cursor = page["cursor"]
        self.assertEqual(found, want)
        answer = listed(self.one, cursor="x")
        self.assertEqual((answer.status, answer.json()["field"]), (400, "cursor"))

    def test_what_is_wrong_is_refused(self) -> None:
        cases: list[tuple[str, dict[str, Any], str | None]] = [
            ("/v1/batches", {"batch": "a/b"}, "batch"),
            ("/v1/batches", {"until": "soon"}, "until"),
            ("/v1/batches", {"until": "2020-01-01T00:00:00Z"}, "until"),
            ("/v1/batches", {"max_failure_rate": 1.1}, "max_failure_rate"),
            ("/v1/batches", {"max_failure_rate": "0.1"}, "max_failure_rate"),
            ("/v1/batches", {"count": 1}, "count"),
            ("/v1/batches/b/seal", {}, "count"),
            ("/v1/batches/b/seal", {"count": -1}, "count"),
            ("/v1/batches/b/seal", {"count": 1.5}, "count"),
            ("/v1/batches/b/seal", {"count": 1, "batch": "b"}, "batch"),
        ]
        for path, members, field in cases:
            answer = self.say(path, "wrong", **members)
            self.assertEqual(answer.status, 422, (path, members, answer.body))
            self.assertEqual(answer.json().get("field"), field)
        answer = self.one.request("POST", "/v1/batches?workspace=wrong", b"[]")
        self.assertEqual(answer.status, 400)
        self.assertIsNone(self.told("wrong", "b"))
        made = self.say("/v1/batches", "wrong").json()["batch"]
        self.assertRegex(made, r"^[0-9a-f]{8}-[0-9a-f]{4}-7")


if __name__ == "__main__":
    unittest.main()
