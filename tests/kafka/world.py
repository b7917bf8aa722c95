"""A fleet that keeps its promise, as records: what the oracle must believe.

Tests judge it as it is, plant lies in it, or write it to a real broker.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import verdict as o
from verdict import w

SHARDS = 12
NOW = 1_760_000_000_000
KEYS = {p: w.private_key(bytes([n]) * 32) for n, p in enumerate(w.PURPOSES)}
TRUSTED = [w.TrustedKey(w.public_bytes(k), p) for p, k in KEYS.items()]
BLOCK = b'{"run_function_code":"def run():\\n    return 1\\n"}'

# How each of 16 jobs ends: what End is told, and whether the run was logged.
ENDINGS: list[tuple[dict[str, Any], bool]] = [
    ({}, True),
    ({"outcome": "failed", "reason": "user_error"}, True),
    ({"outcome": "timed_out", "reason": "deadline"}, True),
    ({"outcome": "expired", "delivery": "did_not_run"}, False),
    (
        {
            "outcome": "unknown",
            "reason": "worker_lost",
            "delivery": "unknown",
            "billable": False,
        },
        True,
    ),
    (
        {
            "outcome": "rejected",
            "reason": "bad_block",
            "delivery": "did_not_run",
            "has_dead_letter": True,
        },
        False,
    ),
    ({"attempt": 2}, True),
    ({"outcome": "cancelled", "delivery": "did_not_run"}, False),
]


def committed(done: list[int], txn_seq: int) -> w.Meta:
    """The metadata when these offsets are complete."""
    base = next(n for n in range(len(done) + 1) if n not in done)
    ahead = w.map_of(offset - base for offset in done if offset > base)
    return w.Meta(base, txn_seq, "w-0", ahead)


class World:
    """What a fleet that keeps its promise leaves behind, in Kafka's order."""

    def __init__(self, jobs: int = 32) -> None:
        self.evidence = o.Evidence()
        self.next: dict[tuple[str, int], int] = {}
        self.ends: list[w.End] = []
        for n in range(jobs):
            self.job(n, *ENDINGS[n % len(ENDINGS)])
        self.forged()
        self.commits()

    def put(self, rec: w.Record, key: str | None = None) -> w.Record:
        name = rec.topic.removeprefix("bf.")
        purpose = key or w.topic_purpose(rec.topic)
        if purpose:
            w.sign_tree(purpose, KEYS[purpose], NOW, [rec])
        place = name, rec.partition
        rec.offset = self.next.get(place, 0)
        self.next[place] = rec.offset + 1
        self.evidence.records.setdefault(name, []).append(rec)
        return rec

    def job(self, n: int, told: dict[str, Any], logged: bool) -> None:
        workspace, name = f"ws{n % 3}", f"job-{n}"
        at_most_once = told.get("outcome") == "unknown"
        job = w.Job(
            workspace,
            name,
            b"?" if told.get("reason") == "bad_block" else BLOCK,
            b"{}",
            NOW,
            NOW + 1000,
            execution="at_most_once" if at_most_once else "at_least_once",
        )
        at = w.partition_of(workspace, None, name, job.spread, SHARDS)
        topic = "bf.jobs.batch" if n % 5 == 4 else "bf.jobs"
        source = self.put(w.job_build(job, "main", (topic, at)))
        ran = told.get("delivery", "ran") != "did_not_run"
        given: dict[str, Any] = {"outcome": "succeeded", "delivery": "ran"} | told
        if ran:
            random = n.to_bytes(16, "big")
            subject = job.subject(given.get("attempt", 1))
            given |= {
                "run_id": w.run_id(subject, random),
                "backend": "noop",
                "isolation": "none",
                "started_at_ms": NOW + 1,
                "has_usage": True,
                "result": b"1",
            }
        end = w.End(job=job, source=source, ended_at_ms=NOW + 5, worker="w-0", **given)
        self.ends.append(end)
        if given.get("attempt") == 2:
            self.earlier(end)
        self.written(end, at)
        if logged:
            self.log(end)

    def earlier(self, end: w.End) -> None:
        """A first try that ran, was metered and could be repeated."""
        first = copy.copy(end)
        first.attempt = 1
        first.outcome, first.reason = "failed", "crashed"
        first.run_id = w.run_id(first.subject(), b"-" * 16)
        self.put(w.usage_build(first, "main", ("bf.usage", end.source.partition)))
        self.log(first)

    def written(self, end: w.End, at: int) -> None:
        self.put(w.result_build(end, "main", ("bf.results", at)))
        if end.has_usage:
            self.put(w.usage_build(end, "main", ("bf.usage", at)))
        if end.has_dead_letter:
            death = w.Death(end.source, end.job, "decode", end.reason, "x", NOW + 5)
            self.put(w.dead_build(death, "main", ("bf.deadletter", at)))
        if end.job.execution == "at_most_once":
            self.started(end, at)

    def started(self, end: w.End, at: int) -> None:
        job = end.job
        entry = w.RunEntry(
            "batch" if end.source.topic.endswith("batch") else "jobs",
            end.source.offset,
            "started",
            job.workspace,
            job.id,
            0,
            1,
            0,
            job.expires_at_ms,
            "client",
            run_id=end.run_id,
        )
        place = ("bf.state", at)
        self.put(w.entry_build(entry, 3, "main", place, NOW))
        self.put(w.entry_build(w.Tombstone(entry.id()), 4, "main", place, NOW))

    def log(self, end: w.End) -> None:
        key = o.Key(end.job.workspace, end.job.id, 0)
        run = o.Run(end.run_id or "", key, end.attempt, end.job.execution)
        self.evidence.runs.append(run)

    def forged(self) -> None:
        """A record that nobody trusts, with its dead letter."""
        job = w.Job("ws0", "forged", BLOCK, b"{}", NOW, NOW + 1000)
        at = w.partition_of("ws0", None, "forged", 4, SHARDS)
        source = self.put(w.job_build(job, "main", ("bf.jobs", at)), "result")
        death = w.Death(source, None, "verify", "wrong_purpose", "x", NOW)
        self.put(w.dead_build(death, "main", ("bf.deadletter", at)))

    def commits(self) -> None:
        """Each input partition is committed in steps up to its end."""
        for (name, at), end in self.next.items():
            if name not in ("jobs", "jobs.batch"):
                continue
            self.evidence.ends[name, at] = end
            order = sorted(range(end), key=lambda offset: offset * 7 % 5)
            for n in range(end + 1):
                self.sample(name, at, committed(order[:n], n))

    def sample(self, name: str, at: int, meta: w.Meta) -> None:
        text = w.meta_encode(meta)
        self.evidence.samples.append(o.Sample(f"bf.{name}", at, meta.base, text))

    def rebuild(self, topic: str, n: int, build: Callable[[], w.Record]) -> None:
        """Put another record where the n-th of the topic stands."""
        old = self.evidence.records[topic][n]
        rec = build()
        w.sign_tree("result", KEYS["result"], NOW, [rec])
        rec.offset = old.offset
        self.evidence.records[topic][n] = rec
