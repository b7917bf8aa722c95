"""`blockfleet shards`: an operator lets shards go on that have stopped, while
the worker that holds them runs. design.md §4.6, PROTOCOL.md §8.
"""

import json
import subprocess
from typing import Any

from fleet import BIN, bfwire
from harness import HANG_S, Proc, wait_until
from oracle import Oracle
from reader import GROUP
from test_faults import FaultCase, lines


class ConfirmCase(FaultCase):
    shards = 12

    def blockfleet(self, *words: str, status: int = 0) -> str:
        """Its output, after its exit status was checked."""
        options = {
            "kafka.brokers": self.cluster.bootstrap,
            "keys.dir": self.fleet.keys.folder,
        }
        done = subprocess.run(
            [BIN / "blockfleet", *words, *(f"--{k}={v}" for k, v in options.items())],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            cwd=self.fleet.folder,
        )
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done.stdout if status == 0 else done.stderr

    def shards_list(self, *words: str) -> dict[tuple[int, str], dict[str, Any]]:
        rows = json.loads(self.blockfleet("shards", "list", "--json", *words))
        return {(row["shard"], row["lane"]): row for row in rows}

    def confirm(self, *words: object, status: int = 0) -> str:
        return self.blockfleet("shards", "confirm", *map(str, words), status=status)

    def first_life(self, count: int) -> list[bfwire.Job]:
        """All of it ends, and the worker drains."""
        self.fleet.init_topics()
        self.blockfleet("topics", "init")  # what the fleet is called
        jobs = self.jobs("first", count, id_origin="client")
        self.fleet.submit(jobs)
        self.read()
        worker = self.fleet.worker("before")
        self.wait_results(jobs)
        self.wait_complete()
        self.stop(worker)
        return jobs

    def later(self, shards: set[int] | range, name: str) -> dict[int, bfwire.Job]:
        jobs = {shard: self.job_on(shard, f"{name}-{shard}") for shard in shards}
        self.fleet.submit(jobs.values())
        return jobs

    def stopped(self, worker: Proc, count: int) -> dict[int, str]:
        """Shard and code of each, once there are as many."""
        wait_until(
            lambda: len(lines(worker, "shard_stopped")) >= count, HANG_S, "stops"
        )
        return {line["shard"]: line["code"] for line in lines(worker, "shard_stopped")}


class ConfirmTest(ConfirmCase):
    def test_corrupt_metadata_after_a_clean_stop(self) -> None:
        """b is exact then: nothing is lost, and nothing runs twice."""
        first = self.first_life(120)
        metas = {at.partition: at for at in self.committed()}
        version = bfwire.unb64(metas[1].metadata, "")
        version = b"\x02" + version[1:-4]
        version += bfwire.h128(version)[:4]
        self.commit(0, metas[0].offset, "garbage")
        self.commit(1, metas[1].offset, bfwire.b64(version))
        self.commit(2, 0, metas[2].metadata)
        bad = {0, 1, 2}
        later = self.later(range(self.shards), "later")
        worker = self.fleet.worker("after")
        self.wait_results([job for shard, job in later.items() if shard not in bad])
        self.assertEqual(
            self.stopped(worker, 3), dict.fromkeys(bad, "corrupt_metadata")
        )
        self.check_list(bad, worker)
        self.check_refusals()

        ends = self.ends("bf.state")
        self.assertIn("--yes", self.confirm(0, 1, 2, "--from", "base", status=2))
        self.assertEqual(self.ends("bf.state"), ends)
        said = json.loads(self.confirm(0, 1, 2, "--from=base", "--yes", "--json"))
        self.assertTrue(said["written"])
        self.assertEqual({row["shard"] for row in said["lanes"]}, bad)
        for row in said["lanes"]:
            found = row["lane"], row["todo"], row["again"], row["skipped"]
            self.assertEqual(found, ("jobs", 1, 0, 0))
        self.wait_results(list(later.values()))
        self.assertEqual(len(lines(worker, "shard_confirmed")), 3)
        self.wait_complete()
        found = self.shards_list()
        self.assertEqual({row["verdict"] for row in found.values()}, {"ok"})
        self.judge(len(first) + self.shards, worker)

    def check_list(self, bad: set[int], worker: Proc) -> None:
        found = self.shards_list("--stopped")
        self.assertEqual(set(found), {(shard, "jobs") for shard in bad})
        for (shard, _), row in found.items():
            self.assertEqual(row["verdict"], "corrupt_metadata")
            self.assertEqual(row["high"], self.ends("bf.jobs")[shard])
            self.assertEqual(row["b"]["base"], row["high"] - 1)
            self.assertTrue(row["owner"])
            self.assertNotIn("txn_seq", row)
        found = self.shards_list("5")
        self.assertEqual(set(found), {(5, "jobs"), (5, "batch")})
        row = found[5, "jobs"]
        self.assertEqual((row["verdict"], row["lag"]), ("ok", 0))
        self.assertEqual(row["committed"], row["high"])
        text = self.blockfleet("shards", "list")
        self.assertEqual(text.count("corrupt_metadata"), len(bad))
        self.assertIn("shard 0 is stopped: lane jobs: offset metadata", text)

    def check_refusals(self) -> None:
        for words, status, why in (
            (("5", "--from", "base", "--yes"), 4, "shard 5 is not stopped"),
            (("5", "--from=base", "--lane=jobs", "--yes"), 4, "works on it"),
            (("5", "--from=base", "--lane=jobs", "--force"), 4, "works on it"),
            (("0", "5", "--from", "base", "--yes"), 4, "shard 5 is not stopped"),
            (("0", "--from", "77777", "--lane", "jobs", "--yes"), 4, "the log holds"),
            (("0", "--from", "1"), 2, "--lane"),
            (("0", "--from", "here"), 2, "here"),
            (("0",), 2, "--from"),
            (("12", "--from", "base"), 2, "no shard"),
        ):
            with self.subTest(words):
                self.assertIn(why, self.confirm(*words, status=status))

    def judge(self, results: int, worker: Proc) -> None:
        oracle = Oracle(
            self.cluster.bootstrap,
            keys=self.fleet.keys.trusted(),
            shards=self.shards,
        )
        self.stop(worker)
        with oracle.sampler(GROUP):
            oracle.collect(lambda seen: len(seen.of("results")) >= results, 60)
        oracle.collect(None, 60)
        verdict = oracle.judge(self.fleet.run_logs, [])
        self.assertTrue(verdict.ok, verdict)
        self.assertEqual(len(oracle.evidence.of("results")), results)

    def test_every_contradiction(self) -> None:
        first = self.first_life(60)
        metas = {at.partition: at for at in self.committed()}
        self.commit(0, metas[0].offset, "garbage")
        said = bfwire.meta_decode(metas[1].metadata)
        self.state(1, said.base, said.txn_seq + 1)
        self.tombstone(2)
        said = bfwire.meta_decode(metas[3].metadata)
        ahead = bfwire.Meta(said.base + 100, said.txn_seq, said.writer)
        self.commit(3, ahead.base, bfwire.meta_encode(ahead))
        self.odd_entry(4, "d/0", b'{"v":2,"seq":1,"new":true}')
        self.commit(5, metas[5].offset, "garbage")
        rules = {
            0: "corrupt_metadata",
            1: "older_than_base",
            2: "no_base",
            3: "ahead_of_log",
            4: "bad_state",
            5: "corrupt_metadata",
        }
        later = self.later(range(self.shards), "later")
        worker = self.fleet.worker("after")
        self.assertEqual(self.stopped(worker, len(rules)), rules)
        found = self.shards_list("--stopped")
        self.assertEqual(
            {row["shard"]: row["verdict"] for row in found.values()}, rules
        )

        self.assertIn(
            "no b entry", self.confirm(2, "--from", "base", "--yes", status=4)
        )
        self.assertIn(
            "does not understand", self.confirm(4, "--from=base", "--yes", status=4)
        )
        self.confirm(0, 2, "--from", "committed", "--yes")
        self.confirm(1, 3, "--from", "base", "--yes")
        # All over again: ids that a client gave are known to have ended.
        text = self.confirm(5, "--lane", "jobs", "--from", "earliest", "--yes")
        self.assertRegex(text, r"[1-9][0-9]* that have ended may run again")
        later.pop(4)
        self.wait_results(list(later.values()))
        # And nobody runs what he was told to leave out.
        self.assertEqual(self.stop_and_skip(worker), set())
        self.succeeded([*first, *later.values()])
        self.assertEqual(self.reader.problems, [])

    def stop_and_skip(self, worker: Proc) -> set[str]:
        """With --force, when no worker is there: what waits is given up."""
        self.stop(worker)
        left = [self.job_on(7, f"left-{n}") for n in range(5)]
        self.fleet.submit(left)
        end = self.ends("bf.jobs")[7]
        refused = self.confirm(
            *(7, "--lane", "jobs", "--from", "latest", "--yes"), status=4
        )
        self.assertIn("--force", refused)
        text = self.confirm(
            *(7, "--lane", "jobs", "--from", end - 1, "--force", "--yes")
        )
        self.assertIn("4 that have not ended get no result", text)
        worker = self.fleet.worker("skips")
        self.wait_results(left[4:])
        self.stop(worker)
        return {job.id for job in left[:4]} & {key[1] for key in self.reader.results}
