"""The oracle's judgement: a clean fleet passes, each planted lie is caught."""

import copy
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests" / "wire"), str(ROOT / "tests" / "kafka")]

import bfwire as w  # noqa: E402
import oracle  # noqa: E402
import verdict as o  # noqa: E402
from confluent_kafka import TopicPartition  # noqa: E402
from world import KEYS, NOW, SHARDS, TRUSTED, World  # noqa: E402


class Clean(unittest.TestCase):
    def test_a_clean_fleet_passes(self) -> None:
        world = World()
        verdict = o.judge(world.evidence, o.Terms(TRUSTED, shards=SHARDS))
        self.assertTrue(verdict.ok, verdict)
        self.assertEqual(verdict.counts["jobs"], 32)
        self.assertEqual(verdict.counts["results"], 32)
        self.assertEqual(verdict.counts["usage"], 24)
        self.assertEqual(verdict.counts["logged runs"], 24)
        self.assertEqual(verdict.counts["untrusted"], 1)

    def test_only_runs_of_killed_workers_may_be_lost(self) -> None:
        world = World()
        for n in range(3):
            key = o.Key("ws1", "job-1", 0)
            run = o.Run(f"{n:032x}", key, 1, "at_least_once")
            world.evidence.runs.append(run)
        lost = frozenset(f"{n:032x}" for n in range(3))
        terms = o.Terms(TRUSTED, shards=SHARDS, may_lose=lost)
        self.assertTrue(o.judge(world.evidence, terms).ok)
        terms.may_lose = lost - {f"{1:032x}"}
        verdict = o.judge(world.evidence, terms)
        self.assertEqual(set(verdict.differences), {"run_not_billed"})
        self.assertEqual(verdict.counts["runs_without_usage"], 3)

    def test_a_job_published_twice_by_its_client_has_one_result(self) -> None:
        world = World()
        again = copy.deepcopy(world.ends[0].source)
        again.headers = [h for h in again.headers if h[0] != "bf_signature"]
        world.put(again)
        world.evidence.ends["jobs", again.partition] += 1
        end = world.next["jobs", again.partition]
        world.sample("jobs", again.partition, w.Meta(end, 99, "w-0"))
        verdict = o.judge(world.evidence, o.Terms(TRUSTED, shards=SHARDS))
        self.assertTrue(verdict.ok, verdict)

    def test_nothing_at_all_passes(self) -> None:
        self.assertTrue(o.judge(o.Evidence()).ok)


class Lies(unittest.TestCase):
    """One lie each; exactly its kinds are reported."""

    def setUp(self) -> None:
        self.world = World()
        self.evidence = self.world.evidence

    def caught(self, *kinds: str, said: str = "") -> o.Verdict:
        verdict = o.judge(self.evidence, o.Terms(TRUSTED, shards=SHARDS))
        self.assertEqual(set(verdict.differences), set(kinds), verdict)
        self.assertIn(said, str(verdict))
        return verdict

    def end(self, outcome: str) -> w.End:
        return next(e for e in self.world.ends if e.outcome == outcome)

    def pop(self, topic: str, name: str) -> w.Record:
        """Take the record of that ce_id away."""
        some = self.evidence.records[topic]
        at = next(n for n, r in enumerate(some) if r.get("ce_id") == name.encode())
        return some.pop(at)

    # ---- results ------------------------------------------------------------

    def test_a_duplicate_result(self) -> None:
        rec = copy.deepcopy(self.evidence.records["results"][0])
        rec.offset += 1000
        self.evidence.records["results"].append(rec)
        self.caught("duplicate_result", said="ws0/job-0.0")

    def test_a_second_result_of_another_run(self) -> None:
        end = copy.copy(self.end("succeeded"))
        end.run_id = "0f" * 16
        at = end.source.partition
        self.world.put(w.result_build(end, "main", ("bf.results", at)))
        self.caught("duplicate_result")

    def test_a_lost_result_without_a_run(self) -> None:
        self.pop("results", self.end("expired").subject().event_id("result"))
        self.caught("lost_result", said="ws0/job-3.0")

    def test_a_lost_result_of_a_run(self) -> None:
        self.pop("results", self.end("failed").subject().event_id("result"))
        self.caught("lost_result", "usage_without_result")

    def test_an_invented_result(self) -> None:
        end = copy.copy(self.end("expired"))
        end.job = copy.copy(end.job)
        end.job.id = "never-asked-for"
        at = end.source.partition
        self.world.put(w.result_build(end, "main", ("bf.results", at)))
        self.caught("invented_result", said="never-asked-for")

    def test_a_result_of_a_forged_job(self) -> None:
        end = copy.copy(self.end("expired"))
        end.job = copy.copy(end.job)
        end.job.workspace, end.job.id = "ws0", "forged"
        end.source = next(
            r for r in self.evidence.records["jobs"] if r.get("bf_job") == b"forged"
        )
        at = end.source.partition
        self.world.put(w.result_build(end, "main", ("bf.results", at)))
        self.caught("untrusted_result")

    def test_a_result_of_another_offset(self) -> None:
        end = copy.deepcopy(self.end("expired"))
        end.source.offset += 500
        n = self.world.ends.index(self.end("expired"))
        at = end.source.partition
        place = ("bf.results", at)
        self.world.rebuild("results", n, lambda: w.result_build(end, "main", place))
        self.caught("wrong_source")

    def test_a_bad_job_that_was_run(self) -> None:
        rec = self.end("succeeded").source
        rec.headers = [h for h in rec.headers if h[0] != "bf_signature"]
        rec.headers.append(("bf_max_attempts", b"0"))
        rec.headers = [h for h in rec.headers if h != ("bf_max_attempts", b"3")]
        w.sign_tree("job", KEYS["job"], NOW, [rec])
        self.caught("bad_job_not_rejected")

    # ---- usage --------------------------------------------------------------

    def test_a_duplicated_usage_id(self) -> None:
        rec = copy.deepcopy(self.evidence.records["usage"][0])
        rec.offset += 1000
        self.evidence.records["usage"].append(rec)
        self.caught("duplicate_usage")

    def test_a_missing_usage_row(self) -> None:
        end = self.end("timed_out")
        self.pop("usage", end.subject().event_id("usage"))
        self.caught("usage_missing", "runs_differ", "run_not_billed")

    def test_a_usage_row_that_no_result_promises(self) -> None:
        end = copy.copy(self.end("cancelled"))
        end.run_id = "0f" * 16
        at = end.source.partition
        self.world.put(w.usage_build(end, "main", ("bf.usage", at)))
        self.caught("usage_not_promised")

    def test_a_run_that_is_not_metered(self) -> None:
        n = self.world.ends.index(self.end("failed"))
        end = copy.copy(self.end("failed"))
        self.pop("usage", end.subject().event_id("usage"))
        end.has_usage = False
        place = ("bf.results", end.source.partition)
        self.world.rebuild("results", n, lambda: w.result_build(end, "main", place))
        self.caught("run_without_usage", "runs_differ", "run_not_billed")

    def test_usage_of_another_run_than_the_results(self) -> None:
        n = self.world.ends.index(self.end("failed"))
        end = copy.copy(self.end("failed"))
        end.run_id = "0f" * 16
        place = ("bf.results", end.source.partition)
        self.world.rebuild("results", n, lambda: w.result_build(end, "main", place))
        self.caught("usage_differs", said="run_id")

    def test_usage_of_a_later_attempt(self) -> None:
        end = copy.copy(self.end("failed"))
        end.attempt, end.run_id = 2, "0f" * 16
        at = end.source.partition
        self.world.put(w.usage_build(end, "main", ("bf.usage", at)))
        self.world.log(end)
        self.caught("usage_without_result")

    # ---- the backend's log --------------------------------------------------

    def test_a_usage_row_without_a_run(self) -> None:
        run_id = self.end("succeeded").run_id
        self.evidence.runs = [r for r in self.evidence.runs if r.run_id != run_id]
        self.caught("usage_without_run", said=run_id or "")

    def test_an_unknown_row_needs_no_run(self) -> None:
        run_id = self.end("unknown").run_id
        self.evidence.runs = [r for r in self.evidence.runs if r.run_id != run_id]
        self.caught()

    def test_a_run_that_nobody_knows(self) -> None:
        key = o.Key("ws0", "job-0", 0)
        run = o.Run("0f" * 16, key, 1, "at_least_once")
        self.evidence.runs.append(run)
        self.caught("run_not_billed", said="0f" * 16)

    def test_an_at_most_once_run_twice(self) -> None:
        end = copy.copy(self.end("unknown"))
        end.run_id = "0f" * 16
        self.world.log(end)
        terms = o.Terms(TRUSTED, shards=SHARDS, may_lose=frozenset(["0f" * 16]))
        verdict = o.judge(self.evidence, terms)
        self.assertEqual(set(verdict.differences), {"at_most_once_twice"}, verdict)

    def test_one_run_id_started_twice(self) -> None:
        self.evidence.runs.append(self.evidence.runs[0])
        self.caught("run_id_started_twice")

    def test_did_not_run_but_did(self) -> None:
        end = copy.copy(self.end("expired"))
        n = self.world.ends.index(end)
        end.run_id, end.backend, end.isolation = "0f" * 16, "noop", "none"
        end.has_usage = True
        at = end.source.partition
        place = ("bf.results", at)
        self.world.rebuild("results", n, lambda: w.result_build(end, "main", place))
        self.world.put(w.usage_build(end, "main", ("bf.usage", at)))
        self.caught()
        self.world.log(end)
        self.caught("did_run_after_all")

    def test_a_run_of_another_job(self) -> None:
        run = self.evidence.runs[0]
        other = o.Key("ws2", "job-2", 0)
        self.evidence.runs[0] = run._replace(key=other)
        self.caught("run_of_another_job")

    def test_a_run_in_another_mode(self) -> None:
        run = self.evidence.runs[0]
        self.evidence.runs[0] = run._replace(execution="at_most_once")
        self.caught("execution_differs")

    def test_lines_that_are_not_runs(self) -> None:
        good = "0f " * 0 + f"{'0f' * 16} ws job 0 1 at_most_once"
        runs, bad = o.parse_log(f"{good}\nhalf a li\n{good} x\n{good[:-1]}\n")
        self.assertEqual(runs[0].key, o.Key("ws", "job", 0))
        self.assertEqual(len(bad), 3)
        self.evidence.bad_log_lines = bad
        self.caught("bad_log_line")

    # ---- committed offsets --------------------------------------------------

    def longest(self) -> tuple[str, int]:
        places = self.evidence.ends
        return max(places, key=lambda place: places[place])

    def test_a_base_that_decreases(self) -> None:
        name, at = self.longest()
        end = self.evidence.ends[name, at]
        self.world.sample(name, at, w.Meta(end - 2, 50, "w-0", w.map_of([1])))
        self.world.sample(name, at, w.Meta(end, 51, "w-0"))
        self.caught("base_decreases", said=f"from {end} to {end - 2}")

    def test_a_base_that_does_not_reach_the_end(self) -> None:
        name, at = self.longest()
        self.evidence.ends[name, at] += 1
        self.caught("base_behind_the_end")

    def test_a_partition_that_was_never_committed(self) -> None:
        name, at = self.longest()
        self.evidence.samples = [
            s
            for s in self.evidence.samples
            if (s.topic, s.partition) != (f"bf.{name}", at)
        ]
        self.caught("base_behind_the_end")

    def test_a_completion_that_is_forgotten(self) -> None:
        name, at = self.longest()
        end = self.evidence.ends[name, at]
        self.world.sample(name, at, w.Meta(end, 90, "w-0", w.map_of([1, 5])))
        self.world.sample(name, at, w.Meta(end + 2, 91, "w-0", w.map_of([1])))
        self.caught("completion_forgotten", said=f"offset {end + 5} ")

    def test_a_base_that_stops_at_a_completed_offset(self) -> None:
        name, at = self.longest()
        end = self.evidence.ends[name, at]
        self.world.sample(name, at, w.Meta(end, 90, "w-0", w.map_of([2])))
        self.world.sample(name, at, w.Meta(end + 2, 91, "w-0"))
        self.caught("completion_forgotten", said=f"offset {end + 2} ")

    def test_a_txn_seq_that_decreases(self) -> None:
        name, at = self.longest()
        end = self.evidence.ends[name, at]
        self.world.sample(name, at, w.Meta(end, end - 1, "w-0"))
        self.caught("txn_seq_decreases")

    def test_metadata_that_nobody_can_read(self) -> None:
        name, at = self.longest()
        for offset, text in ((5, ""), (5, "?"), (6, w.meta_encode(w.Meta(5, 1, "w")))):
            self.setUp()
            self.evidence.samples.insert(0, o.Sample(f"bf.{name}", at, offset, text))
            verdict = o.judge(self.evidence, o.Terms(TRUSTED, shards=SHARDS))
            self.assertIn("bad_metadata", verdict.differences)

    # ---- records, dead letters, state ---------------------------------------

    def test_a_record_that_is_not_valid(self) -> None:
        rec = self.evidence.records["results"][0]
        rec.headers.append(("bf_extra", b"1"))
        self.caught("invalid_record", said="bf_extra")

    def test_a_record_that_is_not_signed(self) -> None:
        rec = self.evidence.records["usage"][0]
        rec.headers = [h for h in rec.headers if h[0] != "bf_signature"]
        self.caught("invalid_record", said="bf_signature")

    def test_a_record_that_was_changed(self) -> None:
        rec = self.evidence.records["results"][0]
        rec.value = b"2"
        self.caught("invalid_record", said="bad_signature")

    def test_a_dead_letter_that_is_missing(self) -> None:
        self.pop("deadletter", self.end("rejected").dead_letter())
        self.caught("dead_letter_missing")

    def test_a_dead_letter_that_no_result_names(self) -> None:
        end = self.end("succeeded")
        death = w.Death(end.source, end.job, "run", "x", "y", NOW)
        at = end.source.partition
        self.world.put(w.dead_build(death, "main", ("bf.deadletter", at)))
        self.caught("dead_letter_not_promised")

    def test_a_dead_letter_twice(self) -> None:
        rec = copy.deepcopy(self.evidence.records["deadletter"][0])
        rec.offset += 1000
        self.evidence.records["deadletter"].append(rec)
        self.caught("duplicate_dead_letter")

    def test_a_forged_job_that_is_not_reported(self) -> None:
        self.evidence.records["deadletter"].pop()
        self.caught("untrusted_not_reported")

    def test_a_started_entry_that_is_left(self) -> None:
        self.evidence.records["state"].pop()
        self.caught("state_left")

    def test_a_state_that_goes_back(self) -> None:
        rec = self.evidence.records["state"][0]
        self.evidence.records["state"].append(rec)
        self.caught("state_seq_decreases", "state_left")

    def test_a_base_entry_that_goes_back(self) -> None:
        for seq, base in ((1, 9), (2, 8)):
            entry = w.BaseEntry("jobs", base, b"", "h", 1, "w-0", NOW)
            place = ("bf.state", 3)
            self.world.put(w.entry_build(entry, seq, "main", place, NOW))
        self.caught("state_base_decreases", said="from 9 to 8")

    def test_the_list_is_cut_after_twenty(self) -> None:
        for rec in self.evidence.records["results"]:
            rec.headers.append(("bf_extra", b"1"))
        text = str(self.caught("invalid_record"))
        self.assertIn("invalid_record: 32", text)
        self.assertIn("and 12 more", text)


class Reading(unittest.TestCase):
    """What needs no broker of oracle.py."""

    def test_samples_are_of_our_inputs_and_committed(self) -> None:
        found = []
        for topic, offset in (("bf.jobs", 7), ("bf.jobs", -1001), ("bf.state", 3)):
            at = TopicPartition(topic, 1, offset, "m")
            found.append(at)
        samples = oracle.samples_of(found, "bf.")
        self.assertEqual(samples, [o.Sample("bf.jobs", 1, 7, "m")])


if __name__ == "__main__":
    unittest.main()
