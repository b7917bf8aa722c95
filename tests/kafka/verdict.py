"""Did the fleet keep its promise? A pure judgement over what was collected.

`judge(evidence)` compares what stands in the topics (read committed), what the
backend itself says it started, and samples of the committed offsets, and lists
every difference. No Kafka here: oracle.py reads, tests plant lies by hand.
"""

from __future__ import annotations

import json
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

import bfwire as w  # noqa: E402
import validate as v  # noqa: E402

FIRST = 20
JOB_TOPICS = ("jobs", "jobs.batch")
LANE_OF = {"jobs": "jobs", "jobs.batch": "batch", "control": "control"}


class Key(NamedTuple):
    """What must end exactly once."""

    workspace: str
    job: str
    generation: int

    def __str__(self) -> str:
        return f"{self.workspace}/{self.job}.{self.generation}"


class Run(NamedTuple):
    """One line of the backend's log: a physical start."""

    run_id: str
    key: Key
    attempt: int
    execution: str


class Sample(NamedTuple):
    """What was committed for one input partition at one moment."""

    topic: str
    partition: int
    offset: int
    metadata: str


@dataclass
class Evidence:
    """records: by topic without the prefix, in log order per partition."""

    records: dict[str, list[w.Record]] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)
    bad_log_lines: list[str] = field(default_factory=list)
    samples: list[Sample] = field(default_factory=list)
    # End offset of each input partition, by (topic without prefix, partition).
    ends: dict[tuple[str, int], int] = field(default_factory=dict)

    def of(self, *topics: str) -> list[w.Record]:
        return [rec for topic in topics for rec in self.records.get(topic, [])]


@dataclass
class Terms:
    """keys None: signatures are not looked at. may_lose: the runs that may
    lack a usage row, those of workers that were killed."""

    keys: list[w.TrustedKey] | None = None
    prefix: str = "bf."
    shards: int | None = None
    may_lose: frozenset[str] = frozenset()
    has_log: bool = True
    has_samples: bool = True


@dataclass
class Verdict:
    differences: dict[str, list[str]] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)

    def add(self, kind: str, text: object) -> None:
        self.differences.setdefault(kind, []).append(str(text))

    @property
    def ok(self) -> bool:
        return not self.differences

    def __str__(self) -> str:
        lines = [", ".join(f"{n} {k}" for k, n in self.counts.items())]
        for kind, texts in sorted(self.differences.items()):
            lines.append(f"{kind}: {len(texts)}")
            lines += [f"  {text}" for text in texts[:FIRST]]
            if len(texts) > FIRST:
                lines.append(f"  and {len(texts) - FIRST} more")
        return "\n".join(lines)


def parse_log(text: str) -> tuple[list[Run], list[str]]:
    """Lines `<run_id> <workspace> <job> <generation> <attempt> <execution>`."""
    runs, bad = [], []
    for line in text.splitlines():
        part = line.split(" ")
        try:
            key = Key(part[1], part[2], int(part[3]))
            runs.append(Run(part[0], key, int(part[4]), part[5]))
            if len(part) != 6 or part[5] not in w.EXECUTIONS:
                raise ValueError
        except (IndexError, ValueError):
            bad.append(line)
    return runs, bad


def where(rec: w.Record) -> str:
    return f"{rec.topic}[{rec.partition}]@{rec.offset}"


def judge(evidence: Evidence, terms: Terms | None = None) -> Verdict:
    return Judge(evidence, terms or Terms()).judge()


class Judge:
    def __init__(self, evidence: Evidence, terms: Terms) -> None:
        self.evidence = evidence
        self.terms = terms
        self.verdict = Verdict()
        self.validator = v.Validator(terms.keys, terms.prefix, terms.shards)
        # Trusted jobs that must end: the first record and how many there are.
        self.expected: dict[Key, w.Record] = {}
        self.copies: Counter[Key] = Counter()
        self.untrusted: dict[tuple[str, int, int], w.Record] = {}
        self.results: dict[Key, w.Result] = {}
        self.usage: dict[str, dict[str, Any]] = {}

    def judge(self) -> Verdict:
        self.read_jobs()
        self.validate()
        self.read_results()
        self.read_usage()
        self.check_results()
        self.check_usage()
        self.check_dead_letters()
        self.check_state()
        if self.terms.has_log:
            self.check_log()
        if self.terms.has_samples:
            self.check_samples()
        self.count()
        return self.verdict

    # ---- reading ------------------------------------------------------------

    def trusted(self, rec: w.Record) -> bool:
        """As a worker decides it, PROTOCOL.md §5.5."""
        workspace = (rec.get("bf_workspace") or b"").decode(errors="replace")
        if rec.key != workspace.encode():
            return False
        if self.validator.trust is None:
            return True
        try:
            w.record_check(rec)
            now = w.TIME_MAX_MS - w.CLOCK_AHEAD_MS
            self.validator.trust.verify(rec, workspace, now)
            return self.in_place(rec, workspace)
        except w.WireError:
            return False

    def in_place(self, rec: w.Record, workspace: str) -> bool:
        """Whether the signed spread puts it where it stands."""
        if self.terms.shards is None:
            return True
        try:
            spread = w.number(rec.get("bf_spread"), 4_096, "bad_record", 1)
        except w.WireError:
            return True  # to be rejected, not to be distrusted
        job = (rec.get("bf_job") or b"").decode(errors="replace")
        order_key = rec.get("bf_order_key")
        if not w.job_id_ok(job.encode()):
            return True
        if rec.has("bf_order_key") and not w.order_key_ok(order_key or b""):
            return True
        shards = self.terms.shards
        return rec.partition == w.partition_of(
            workspace, order_key, job, spread, shards
        )

    def read_jobs(self) -> None:
        for rec in self.evidence.of(*JOB_TOPICS):
            if not self.trusted(rec):
                self.untrusted[rec.topic, rec.partition, rec.offset] = rec
                continue
            key = key_of(rec)
            if key is not None:
                self.expected.setdefault(key, rec)
                self.copies[key] += 1

    def validate(self) -> None:
        """Every record that the fleet wrote; of jobs, see check_results()."""
        for topic, records in self.evidence.records.items():
            if topic in JOB_TOPICS:
                continue
            for rec in records:
                problem = self.invalid(rec)
                if problem:
                    self.verdict.add("invalid_record", f"{where(rec)}: {problem}")

    def invalid(self, rec: w.Record) -> str | None:
        try:
            self.validator.validate_record(rec)
        except (v.Invalid, w.WireError) as error:
            return str(error)
        return None

    def read_results(self) -> None:
        for rec in self.evidence.of("results"):
            try:
                result = w.result_parse(rec)
            except w.WireError:
                continue  # said by validate()
            subject = result.subject
            key = Key(subject.workspace, subject.job, subject.generation)
            if key in self.results:
                self.verdict.add("duplicate_result", f"{key} {where(rec)}")
            else:
                self.results[key] = result

    def read_usage(self) -> None:
        for rec in self.evidence.of("usage"):
            name = (rec.get("ce_id") or b"").decode(errors="replace")
            if name in self.usage:
                self.verdict.add("duplicate_usage", f"{name} {where(rec)}")
                continue
            try:
                value = json.loads(rec.value or b"")
            except ValueError:
                continue  # said by validate()
            if value.get("kind") == "run":
                self.usage[name] = value

    # ---- results ------------------------------------------------------------

    def check_results(self) -> None:
        for key, rec in self.expected.items():
            result = self.results.get(key)
            if result is None:
                self.verdict.add("lost_result", f"{key} of {where(rec)}")
                continue
            problem = self.invalid(rec)
            if problem and result.outcome != "rejected":
                text = f"{where(rec)} ended {result.outcome}: {problem}"
                self.verdict.add("bad_job_not_rejected", text)
        for key, result in self.results.items():
            self.check_source(key, result)

    def check_source(self, key: Key, result: w.Result) -> None:
        place = result.source_topic, result.source_partition, result.source_offset
        if place in self.untrusted:
            self.verdict.add("untrusted_result", f"{key} of {place}")
        elif key not in self.expected:
            self.verdict.add("invented_result", f"{key} of {place}")
        elif self.copies[key] == 1:
            rec = self.expected[key]
            if place != (rec.topic, rec.partition, rec.offset):
                self.verdict.add("wrong_source", f"{key}: {place}, not {where(rec)}")

    # ---- usage --------------------------------------------------------------

    def check_usage(self) -> None:
        promised = self.check_promises()
        told = sum(1 for r in self.results.values() if says_run(r))
        runs = 0
        for name, row in self.usage.items():
            key = Key(row["workspace"], row["job"], row["generation"])
            result = self.results.get(key)
            if result is None or row["attempt"] > result.subject.attempt:
                self.verdict.add("usage_without_result", f"{name} of {key}")
            elif name in promised:
                runs += int(row["runs"])
                self.compare(key, result, row)
            elif row["attempt"] == result.subject.attempt:
                self.verdict.add("usage_not_promised", f"{name} of {key}")
        if runs != told:
            text = f"Σ runs is {runs}, {told} results say that a run took place"
            self.verdict.add("runs_differ", text)

    def check_promises(self) -> set[str]:
        promised = set()
        for key, result in self.results.items():
            if result.usage_id is not None:
                promised.add(result.usage_id)
                if result.usage_id not in self.usage:
                    self.verdict.add("usage_missing", f"{key}: {result.usage_id}")
            elif says_run(result):
                text = f"{key} {result.outcome}, {result.delivery}"
                self.verdict.add("run_without_usage", text)
        return promised

    def compare(self, key: Key, result: w.Result, row: dict[str, Any]) -> None:
        same = {
            "run_id": result.run_id,
            "outcome": result.outcome,
            "reason": result.reason or None,
            "delivery": result.delivery,
            "execution": result.execution,
            "backend": result.backend,
        }
        for name, value in same.items():
            if row[name] != value:
                text = f"{key} {name}: usage {row[name]}, result {value}"
                self.verdict.add("usage_differs", text)

    # ---- dead letters -------------------------------------------------------

    def check_dead_letters(self) -> None:
        letters: dict[str, w.Record] = {}
        for rec in self.evidence.of("deadletter"):
            name = (rec.get("ce_id") or b"").decode(errors="replace")
            if name in letters:
                self.verdict.add("duplicate_dead_letter", f"{name} {where(rec)}")
            letters[name] = rec
        promised = {r.dead_letter: k for k, r in self.results.items() if r.dead_letter}
        for name, key in promised.items():
            if name not in letters:
                self.verdict.add("dead_letter_missing", f"{key}: {name}")
        for name, rec in letters.items():
            about_a_job = rec.has("bf_job") and name not in promised
            if about_a_job and self.of_a_job(rec):
                self.verdict.add("dead_letter_not_promised", f"{name} {where(rec)}")
        for place, rec in self.untrusted.items():
            if w.event_id_dead("", *place) not in letters:
                self.verdict.add("untrusted_not_reported", where(rec))

    def of_a_job(self, letter: w.Record) -> bool:
        topic = (letter.get("__connect.errors.topic") or b"").decode(errors="replace")
        return topic.removeprefix(self.terms.prefix) in JOB_TOPICS

    # ---- state --------------------------------------------------------------

    def check_state(self) -> None:
        latest: dict[tuple[int, str], tuple[w.Entry, int]] = {}
        for rec in self.evidence.of("state"):
            try:
                entry, seq = w.entry_parse(rec)
            except w.WireError:
                continue  # said by validate()
            place = rec.partition, entry.id()
            before = latest.get(place)
            if before and seq < before[1]:
                text = f"{entry.id()} from {before[1]} to {seq}, {where(rec)}"
                self.verdict.add("state_seq_decreases", text)
            latest[place] = entry, seq
            if before and isinstance(entry, w.BaseEntry):
                self.check_base_entry(rec, before[0], entry)
        for (shard, name), (entry, _) in latest.items():
            if isinstance(entry, w.RunEntry):
                self.check_left(shard, name, entry)

    def check_base_entry(
        self, rec: w.Record, before: w.Entry, entry: w.BaseEntry
    ) -> None:
        if isinstance(before, w.BaseEntry) and entry.base < before.base:
            text = f"{entry.id()} from {before.base} to {entry.base}, {where(rec)}"
            self.verdict.add("state_base_decreases", text)

    def check_left(self, shard: int, name: str, entry: w.RunEntry) -> None:
        key = Key(entry.workspace, entry.job, entry.generation)
        if key in self.results:
            self.verdict.add("state_left", f"shard {shard} {name}: {key} has ended")

    # ---- the backend's own log ----------------------------------------------

    def check_log(self) -> None:
        for line in self.evidence.bad_log_lines:
            self.verdict.add("bad_log_line", repr(line))
        runs: dict[str, Run] = {}
        starts: defaultdict[Key, list[Run]] = defaultdict(list)
        for run in self.evidence.runs:
            if run.run_id in runs:
                self.verdict.add("run_id_started_twice", f"{run.run_id} of {run.key}")
            runs[run.run_id] = run
            starts[run.key].append(run)
        for key, many in starts.items():
            if len(many) > 1 and any(r.execution == "at_most_once" for r in many):
                text = f"{key} {len(many)} times: {[r.run_id for r in many]}"
                self.verdict.add("at_most_once_twice", text)
        billed = {row["run_id"]: row for row in self.usage.values()}
        for run_id, row in billed.items():
            self.check_row(run_id, row, runs.get(run_id))
        lost = [run for run_id, run in runs.items() if run_id not in billed]
        self.verdict.counts["runs_without_usage"] = len(lost)
        for run in lost:
            if run.run_id not in self.terms.may_lose:
                self.verdict.add("run_not_billed", f"{run.run_id} of {run.key}")

    def check_row(self, run_id: str, row: dict[str, Any], run: Run | None) -> None:
        key = Key(row["workspace"], row["job"], row["generation"])
        if run is None:
            if row["delivery"] == "ran":
                self.verdict.add("usage_without_run", f"{run_id} of {key}")
        elif row["delivery"] == "did_not_run":
            self.verdict.add("did_run_after_all", f"{run_id} of {key}")
        elif (run.key, run.attempt) != (key, row["attempt"]):
            text = (
                f"{run_id}: usage {key} {row['attempt']}, log {run.key} {run.attempt}"
            )
            self.verdict.add("run_of_another_job", text)
        elif run.execution != row["execution"]:
            self.verdict.add("execution_differs", f"{run_id} of {key}")

    # ---- committed offsets --------------------------------------------------

    def check_samples(self) -> None:
        last: dict[tuple[str, int], tuple[Sample, w.Meta]] = {}
        for sample in self.evidence.samples:
            place = sample.topic.removeprefix(self.terms.prefix), sample.partition
            meta = self.meta_of(sample)
            if meta is None:
                continue
            if place in last:
                self.check_step(last[place][1], meta, f"{place[0]}[{place[1]}]")
            last[place] = sample, meta
        for place, end in self.evidence.ends.items():
            if place[0] not in LANE_OF:
                continue
            base = last[place][1].base if place in last else 0
            if base < end:
                text = f"{place[0]}[{place[1]}] is {base} of {end}"
                self.verdict.add("base_behind_the_end", text)

    def meta_of(self, sample: Sample) -> w.Meta | None:
        text = f"{sample.topic}[{sample.partition}]@{sample.offset}"
        try:
            meta = w.meta_decode(sample.metadata)
        except w.WireError as error:
            self.verdict.add("bad_metadata", f"{text}: {error}")
            return None
        if meta.base != sample.offset:
            self.verdict.add("bad_metadata", f"{text} says base {meta.base}")
        return meta

    def check_step(self, old: w.Meta, new: w.Meta, place: str) -> None:
        if new.base < old.base:
            text = f"{place} from {old.base} to {new.base}"
            self.verdict.add("base_decreases", text)
            return
        if new.txn_seq < old.txn_seq:
            text = f"{place} from {old.txn_seq} to {new.txn_seq}"
            self.verdict.add("txn_seq_decreases", text)
        before = int.from_bytes(old.map, "little") >> (new.base - old.base)
        after = int.from_bytes(new.map, "little")
        forgotten = before & ~after
        if forgotten:
            first = new.base + (forgotten & -forgotten).bit_length() - 1
            text = f"{place}: offset {first} was complete and is not"
            self.verdict.add("completion_forgotten", text)

    # ---- what there was -----------------------------------------------------

    def count(self) -> None:
        counts = self.verdict.counts
        counts["jobs"] = len(self.expected)
        counts["results"] = len(self.evidence.of("results"))
        for outcome, n in Counter(r.outcome for r in self.results.values()).items():
            counts[outcome] = n
        counts["usage"] = len(self.evidence.of("usage"))
        counts["untrusted"] = len(self.untrusted)
        counts["dead letters"] = len(self.evidence.of("deadletter"))
        counts["logged runs"] = len(self.evidence.runs)
        counts["samples"] = len(self.evidence.samples)


def says_run(result: w.Result) -> bool:
    """Whether it says that a run took place, which must then be metered.

    A lost at_least_once run has no row: `dead` may have delivery `unknown`.
    """
    if result.usage_id is not None:
        return result.delivery != "did_not_run"
    return result.delivery == "ran" or result.outcome == "unknown"


def key_of(rec: w.Record) -> Key | None:
    """None when nothing can address a result to it."""
    try:
        subject = w.job_identity(rec)
    except w.WireError:
        return None
    return Key(subject.workspace, subject.job, subject.generation)


def by_topic(records: Iterable[w.Record], prefix: str = "bf.") -> dict:
    """The shape of Evidence.records."""
    out: dict[str, list[w.Record]] = {}
    for rec in records:
        out.setdefault(rec.topic.removeprefix(prefix), []).append(rec)
    return out
