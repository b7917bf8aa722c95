"""`blockfleet submit` through a real dispatcher into a real broker."""

import json
import os
import subprocess
import time
import unittest

from cli_case import CODE, CliCase
from dispatching import Dispatcher, bfwire
from harness import HANG_S, wait_until

# What a JSON library would change, refuse or lose.
ODD = b'{"n":NaN, "big":9223372036854775808,\n "z":1.0e+2, "z":"\\u0000"}'


class CliTest(CliCase):
    slow = True

    def test_inputs_are_sent_byte_by_byte(self) -> None:
        words = ("submit", "-w", "odd", "-c", "block.py", "-i", "-", "--json")
        told = json.loads(self.blockfleet(*words, stdin=ODD))
        [record] = self.jobs("odd")
        self.assertEqual(record.value, ODD)
        self.assertEqual(record.text("bf_job"), told["job"])
        self.assertEqual(told["offset"], record.offset)

    def test_every_option_reaches_the_record(self) -> None:
        self.blockfleet(
            *("submit", "-w", "all", "-c", "block.py", "--import", "import numpy"),
            *("--set", "a=3", "--set", "b=x y", "--id", "j.1", "--lane", "batch"),
            *("--execution", "at_most_once", "--timeout-ms", "1234"),
            *(
                "--order-key",
                "o",
                "--batch",
                "b1",
                "--batch-index",
                "7",
                "--label",
                "k=v=w",
            ),
        )
        [record] = self.jobs("all", "jobs.batch")
        self.assertEqual(record.value, b'{"a":3,"b":"x y"}')
        job = bfwire.job_parse(record)
        self.assertEqual((job.id, job.order_key, job.batch), ("j.1", b"o", "b1"))
        self.assertEqual((job.execution, job.timeout_ms), ("at_most_once", 1234))
        self.assertEqual(record.text("bf_labels"), '{"k":"v=w"}')
        block = bfwire.block_parse(job.block)
        self.assertEqual(block.run_function_code, CODE)
        self.assertEqual(list(block.imports), ["import numpy"])

    def test_what_the_dispatcher_refuses(self) -> None:
        words = ("submit", "-w", "no", "-c", "block.py", "--lane", "fast")
        self.assertIn("lane: must be", self.blockfleet(*words, status=4))
        self.assertEqual(self.jobs("no"), [])

    def test_a_file_of_jobs_and_the_same_again(self) -> None:
        """Two parts; lines without an id get the same one each time."""
        count = 10_500
        text = self.lines("many", 3) + b"\n" + self.lines("many", count - 3)
        first = self.blockfleet("submit", "--ndjson", "-", "--json", stdin=text)
        told = [json.loads(line) for line in first.splitlines()]
        self.assertEqual(len({t["job"] for t in told}), count)
        self.assertEqual([t["line"] for t in told[2:5]], [3, 5, 6])
        again = self.blockfleet("submit", "--ndjson", "-", "--json", stdin=text)
        ids = [json.loads(line)["job"] for line in again.splitlines()]
        self.assertEqual(ids, [t["job"] for t in told])
        words = ("submit", "--ndjson", "-", "--json", "--key", "other")
        other = json.loads(self.blockfleet(*words, stdin=self.lines("many", 1)))
        self.assertNotIn(other["job"], ids)

    def test_refused_lines_are_told_by_their_number(self) -> None:
        text = self.lines("some", 2) + b"{nonsense\n" + self.lines("some", 1)
        told = self.blockfleet("submit", "--ndjson", "-", stdin=text, status=4)
        self.assertIn("line 3: refused", told)
        self.assertIn("3 jobs accepted, 1 lines refused", told)
        self.assertEqual(len(self.jobs("some")), 3)

    def test_a_dispatcher_that_dies_in_the_middle(self) -> None:
        """Every line is in Kafka in the end; repeats have the same id."""
        count = 25_000
        dispatcher = Dispatcher(
            *(self.procs, self.cluster.bootstrap, self.keys, self.folder),
            name="mortal",
        ).start()
        # A port that stays the same: the client knows no other.
        dispatcher.options = {"dispatcher.listen": dispatcher.address}
        words = ("submit", "--ndjson", "jobs.ndjson", "--json")
        url = f"--dispatcher.url=http://{dispatcher.address}"
        (self.folder / "jobs.ndjson").write_bytes(self.lines("mortal", count))
        with (self.folder / "told").open("wb") as out:
            client = subprocess.Popen(
                self.command(*words, url), stdout=out, cwd=self.folder
            )
            wait_until(
                lambda: os.stat(out.fileno()).st_size > 0, HANG_S, "a first part"
            )
            self.assertIsNone(client.poll())
            assert dispatcher.proc is not None
            dispatcher.proc.kill9()
            dispatcher.start()
            self.assertEqual(client.wait(HANG_S), 0)
        told = (self.folder / "told").read_text().splitlines()
        ids = {json.loads(line)["job"] for line in told}
        self.assertEqual(len(ids), count)
        found = {r.text("bf_job") for r in self.jobs("mortal")}
        self.assertEqual(found, ids)

    def test_waiting_for_one_job(self) -> None:
        self.work()
        words = ("submit", "-w", "wait", "-c", "block.py", "-i", "-", "--wait")
        told = self.blockfleet(*words, stdin=ODD)
        self.assertRegex(told, r"status +succeeded\n")
        self.assertIn("\nresult:\n" + ODD.decode() + "\n", told)
        words = ("submit", "-w", "wait", "-c", "block.py", "--backend", "none")
        told = self.blockfleet(*words, "--id", "r", "--wait", status=1)
        self.assertIn("no_backend", told)
        told = self.blockfleet("wait", "-w", "wait", "r", "--json", status=1)
        self.assertEqual(json.loads(told)[0]["outcome"], "rejected")

    def test_waiting_for_a_file_and_fetching_it(self) -> None:
        self.work()
        count = 2_500
        text = self.lines("fetch", count)
        told = self.blockfleet("submit", "--ndjson", "-", "--json", stdin=text)
        ids = [json.loads(line)["job"] for line in told.splitlines()]
        self.blockfleet("submit", "--ndjson", "-", "--wait", stdin=text)
        table = self.blockfleet("wait", "-w", "fetch", *ids[:3]).splitlines()
        self.assertEqual(len(table), 4)
        self.assertEqual(len({line.index("succeeded") for line in table[1:]}), 1)
        rows = json.loads(self.blockfleet("status", "-w", "fetch", ids[0], "--json"))
        self.assertEqual(rows[0]["status"], "succeeded")
        self.blockfleet("results", "-w", "fetch", "-o", "out.ndjson")
        lines = (self.folder / "out.ndjson").read_text().splitlines()
        found = {row["job"]: row for row in map(json.loads, lines)}
        self.assertEqual(set(found), set(ids))
        self.assertEqual(len(lines), count)
        results = [json.loads(found[job]["result"]) for job in ids]
        self.assertEqual(results, [{"a": n} for n in range(count)])
        self.assertFalse((self.folder / "out.ndjson.partial").exists())
        raw = self.blockfleet("results", "-w", "fetch", "--raw", ids[7])
        self.assertEqual(raw, '{"a": 7}')

    def test_jobs_are_listed(self) -> None:
        self.work()
        lines = self.lines("listed", 7)
        self.blockfleet("submit", "--ndjson", "-", "--wait", stdin=lines)
        listed = ("jobs", "-w", "listed", "--json")
        some = json.loads(self.blockfleet(*listed, "--limit=5"))
        every = json.loads(self.blockfleet(*listed, "--status=succeeded"))
        ids = [job["job"] for job in every]
        self.assertEqual(len(set(ids)), 7)
        self.assertEqual([job["job"] for job in some], ids[:5])
        self.assertEqual(self.blockfleet(*listed, "--status=failed"), "[]\n")
        table = self.blockfleet("jobs", "-w", "listed").splitlines()
        self.assertEqual(len(table), 8)

    def test_usage_is_summed(self) -> None:
        self.work()
        lines = self.lines("summed", 5)
        self.blockfleet("submit", "--ndjson", "-", "--wait", stdin=lines)
        asked = ("usage", "-w", "summed", "--by", "block", "--json")

        def groups() -> list[dict]:
            return json.loads(self.blockfleet(*asked))["groups"]

        wait_until(lambda: groups() and groups()[0]["runs"] == 5, HANG_S, "five runs")
        self.assertEqual(len(groups()), 1)
        for option, runs in (("--from=2h", [5]), ("--to=2h", [])):
            told = json.loads(self.blockfleet(*asked, option))
            self.assertEqual([group["runs"] for group in told["groups"]], runs)
            told = self.blockfleet("jobs", "-w", "summed", "--json", option)
            self.assertEqual(len(json.loads(told)), sum(runs))
        table = self.blockfleet("usage", "-w", "summed").splitlines()
        self.assertRegex(table[0], r"WORKSPACE +DAY +RUNS")
        self.assertRegex(table[1], r"summed +20\d\d-\d\d-\d\d.* +5 ")

    def test_time_is_up(self) -> None:
        """Nothing runs before its time, and `wait` does not wait for it."""
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 3600))
        words = ("submit", "-w", "late", "-c", "block.py", "--id", "l")
        self.blockfleet(*words, "--not-before", later)
        told = self.blockfleet("wait", "-w", "late", "l", "--timeout=1", status=6)
        self.assertIn("waiting", told)
        self.assertIn(
            "no such job", self.blockfleet("status", "-w", "late", "x", status=4)
        )

    def test_doctor_sees_the_whole_fleet(self) -> None:
        self.work()
        words = ("doctor", "--json", f"--kafka.brokers={self.cluster.bootstrap}")
        rows = json.loads(self.blockfleet(*words, f"--keys.dir={self.keys.folder}"))
        found = {row["check"]: row for row in rows}
        self.assertEqual(found["workers"]["verdict"], "ok", found["workers"])
        self.assertEqual(found["dispatcher"]["verdict"], "ok", found["dispatcher"])


if __name__ == "__main__":
    unittest.main()
