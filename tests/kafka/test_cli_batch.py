"""`blockfleet batch` through a real dispatcher, broker and worker."""

import json
import subprocess
import time
import unittest
from pathlib import Path
from typing import Any

from cli_case import CODE, CliCase
from dispatching import job
from harness import HANG_S, wait_until

NO_BACKEND = {"backend": "none"}  # it ends as rejected
ODD = b'{"n":NaN, "big":9223372036854775808, "z":1.0e+2}'


class BatchCommandTest(CliCase):
    """Every test has a workspace of its own."""

    def setUp(self) -> None:
        self.work()

    def write(self, name: str, jobs: list[dict[str, Any]]) -> None:
        block = {"run_function_code": CODE}
        lines = [
            json.dumps({"block": block, "inputs": {"a": n}, **job})
            for n, job in enumerate(jobs)
        ]
        (self.folder / name).write_text("\n".join(lines) + "\n")

    def batch(self, path: str, workspace: str, *words: str, status: int = 0) -> str:
        """Everything it said."""
        url = f"--dispatcher.url=http://{self.dispatcher.address}"
        done = subprocess.run(
            self.command("batch", path, "-w", workspace, *words, url),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
            cwd=self.folder,
        )
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def told(self, workspace: str, batch: str) -> Any:
        answer = self.dispatcher.get(f"/v1/batches/{batch}", workspace=workspace)
        return answer.json() if answer.status == 200 else None

    def results(self, workspace: str, batch: str) -> list[Any]:
        """What each returned, in the order of the lines."""
        words = ("results", "-w", workspace, "--batch", batch)
        rows = [json.loads(r) for r in self.blockfleet(*words).splitlines()]
        return [r["result"] for r in sorted(rows, key=lambda r: r["batch_index"])]

    def test_a_file_of_jobs_once_however_often(self) -> None:
        self.write("whole.ndjson", [{} for _ in range(30)])
        told = self.batch("whole.ndjson", "whole")
        self.assertIn("sent        30 of 30 jobs\n", told)
        self.assertRegex(told, r"(?m)^state +complete$")
        self.assertRegex(told, r"(?m)^succeeded +30$")
        name = told.split()[1].rstrip(",")
        self.assertRegex(name, r"^whole-[0-9a-f]{12}$")
        self.assertEqual(
            self.results("whole", name), [json.dumps({"a": n}) for n in range(30)]
        )
        again = json.loads(self.batch("whole.ndjson", "whole", "--json"))
        self.assertEqual((again["batch"], again["sent"]), (name, 0))
        self.assertEqual((again["state"], again["count"]), ("complete", 30))
        records = self.jobs("whole", "jobs.batch")
        ids = sorted(record.text("bf_job") for record in records)
        self.assertEqual(ids, [f"{name}.{n:06}" for n in range(30)])
        # Another option is another batch: what it was may matter.
        other = json.loads(
            self.batch("whole.ndjson", "whole", "--timeout-ms=9000", "--json")
        )
        self.assertNotEqual(other["batch"], name)

    def test_lines_are_inputs_of_a_block(self) -> None:
        (self.folder / "inputs.ndjson").write_bytes(ODD + b"\n\n{ }\n")
        self.batch("inputs.ndjson", "inputs", "-c", "block.py", "--batch", "plain")
        self.assertEqual(self.results("inputs", "plain"), [ODD.decode(), "{ }"])
        words = ("-c", "block.py", "--batch", "more", "--set", "a=1")
        self.batch("inputs.ndjson", "inputs", *words)
        want = ['{"a":1,' + ODD.decode()[1:], '{"a":1}']
        self.assertEqual(self.results("inputs", "more"), want)

    def test_a_folder_of_files(self) -> None:
        folder = self.folder / "files"
        folder.mkdir()
        (folder / "a.txt").write_bytes(b"\xff text")
        (folder / "b.JPG").write_bytes(b"no picture")
        (folder / "c.json").write_bytes(ODD)
        (folder / ".hidden").write_bytes(b"")
        (folder / "under").mkdir()
        told = json.loads(self.batch("files", "files", "-c", "block.py", "--json"))
        self.assertEqual((told["succeeded"], told["total"]), (3, 3))
        text, image, inputs = self.results("files", told["batch"])
        content = {"_type": "bytes", "value": "/yB0ZXh0"}
        self.assertEqual(json.loads(text), {"file": "a.txt", "content": content})
        self.assertEqual(json.loads(image)["file"], "b.JPG")
        self.assertEqual(json.loads(image)["image"]["_type"], "workflow_image")
        self.assertEqual(inputs, ODD.decode())
        again = json.loads(self.batch("files", "files", "-c", "block.py", "--json"))
        self.assertEqual((again["batch"], again["sent"]), (told["batch"], 0))
        (folder / "a.txt").write_bytes(b"changed")
        other = json.loads(self.batch("files", "files", "-c", "block.py", "--json"))
        self.assertNotEqual(other["batch"], told["batch"])

    def test_what_is_refused_is_mended_or_left_out(self) -> None:
        self.write(
            "some.ndjson",
            [{}, {"lane": "fast"}, {}, {"batch": "other"}, {"workspace": "mend"}],
        )
        words = ("some.ndjson", "mend", "--batch", "m")
        told = self.batch(*words, status=4)
        self.assertIn("line 2: refused: lane: must be", told)
        self.assertIn("line 4: refused: batch: is another", told)
        self.assertIn("the batch is not sealed", told)
        self.assertEqual(self.told("mend", "m")["state"], "open")
        told = self.blockfleet("wait", "-w", "mend", "--batch", "m", status=4)
        self.assertIn("not sealed", told)
        self.write("some.ndjson", [{}, {}, {}, {"batch": "m"}, {"workspace": "mend"}])
        told = self.batch(*words)
        self.assertIn("sent        2 of 5 jobs, the others are there already", told)
        self.assertEqual(self.told("mend", "m")["state"], "complete")
        self.assertEqual(len(self.jobs("mend", "jobs.batch")), 5)

        self.write("less.ndjson", [{}, {"workspace": "not-mine"}, {}])
        told = self.batch("less.ndjson", "mend", "--skip-refused", status=4)
        self.assertIn("line 2: refused: workspace", told)
        self.assertRegex(told, r"(?m)^state +complete$")
        self.assertRegex(told, r"(?m)^succeeded +2$")

    def test_what_was_sent_is_not_put_elsewhere(self) -> None:
        words = ("places.ndjson", "places", "-c", "block.py", "--batch", "p")
        (self.folder / "places.ndjson").write_text('{"a":1}\n[2]\n{"a":3}\n')
        told = self.batch(*words, "-l", "mine=1", status=4)
        self.assertIn("line 2: refused", told)
        other = "is not what was sent in its place: mend lines where they are"
        (self.folder / "places.ndjson").write_text('{"a":0}\n{"a":1}\n[2]\n{"a":3}\n')
        self.assertIn(f"line 1 {other}", self.batch(*words, status=7))
        (self.folder / "places.ndjson").write_text('{"a":1}\n{"a":3}\n')
        self.assertIn("3 or more were sent", self.batch(*words, status=7))
        self.assertEqual(len(self.jobs("places", "jobs.batch")), 2)
        self.assertEqual(self.told("places", "p")["state"], "open")
        good = '{"a":1}\n{"a":2}\n{"a":3}\n'
        (self.folder / "places.ndjson").write_text(good)
        told = self.batch(*words)
        self.assertIn("sent        1 of 3 jobs, the others are there already", told)
        rows = self.blockfleet("jobs", "-w", "places", "--label", "mine=1", "--json")
        self.assertEqual(len(json.loads(rows)), 2, rows)

        # All was run: what is new or another now is not.
        self.assertIn("sent        0 of 3 jobs", self.batch(*words))
        (self.folder / "places.ndjson").write_text(good + '{"a":4}\n')
        told = self.batch(*words, status=4)
        self.assertIn("sealed with 3 jobs, of 4 that there are now", told)
        (self.folder / "places.ndjson").write_text(good.replace("3", "4"))
        self.assertIn(f"line 3 {other}", self.batch(*words, status=7))
        self.assertEqual(len(self.jobs("places", "jobs.batch")), 3)

    def test_files_are_known_by_their_names_too(self) -> None:
        folder = self.folder / "named"
        folder.mkdir()
        for name in "bc":
            (folder / name).write_text("the same")
        words = ("named", "named", "-c", "block.py", "--batch", "n")
        self.batch(*words)
        (folder / "b").rename(folder / "a")
        self.assertIn("a is not what was sent", self.batch(*words, status=7))

    def test_an_id_is_that_of_one_line(self) -> None:
        own = [{"id": "x"}, {}, {"id": "x"}, {"id": "ids.000001"}]
        self.write("ids.ndjson", own)
        words = ("ids.ndjson", "ids", "--batch", "ids")
        told = self.batch(*words, status=4)
        for line in (3, 4):
            self.assertIn(f"line {line}: refused: id: an earlier line has it", told)
        # It is one also when the first of them is there already.
        self.assertIn("line 3: refused: id", self.batch(*words, status=4))
        own[2:] = {"id": "y"}, {"labels": {"mine": "1"}}
        self.write("ids.ndjson", own)
        told = json.loads(self.batch(*words, "--json"))
        self.assertEqual((told["sent"], told["succeeded"]), (2, 4))
        self.assertIn("sent        0 of 4 jobs", self.batch(*words))

    def test_jobs_without_success(self) -> None:
        self.write("bad.ndjson", [{}, NO_BACKEND, {}, NO_BACKEND])
        told = self.batch("bad.ndjson", "bad", status=1)
        self.assertRegex(told, r"(?m)^state +complete$")
        self.assertRegex(told, r"(?m)^rejected +2$")
        self.assertIn("A job without success is number 1:", told)
        self.assertIn("no_backend", told)
        # Of twenty, two may fail; three do.
        self.write("rate.ndjson", [NO_BACKEND] * 3 + [{}] * 17)
        rate = ("rate.ndjson", "bad", "--batch", "r", "--max-failure-rate", "0.1")
        told = self.batch(*rate, status=1)
        self.assertRegex(told, r"(?m)^state +failed$")
        again = self.batch(*rate, status=1)
        self.assertIn("sent        0 of 20 jobs", again)
        enough = ("rate.ndjson", "bad", "--max-failure-rate", "0.5")
        self.assertRegex(self.batch(*enough, status=1), r"(?m)^state +complete$")

    def test_not_waiting_and_waiting_later(self) -> None:
        self.write("later.ndjson", [{}] * 3)
        at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 5))
        words = ("later.ndjson", "later", "--not-before", at)
        told = self.batch(*words, "--no-wait")
        self.assertRegex(told, r"(?m)^state +sealed$")
        self.assertRegex(told, r"(?m)^waiting +3$")
        name = told.split()[1].rstrip(",")
        wait = ("wait", "-w", "later", "--batch", name)
        self.assertIn("0 of 3 jobs", self.blockfleet(*wait, "--timeout=0", status=6))
        told = self.batch(*words, "--timeout=0", status=6)
        self.assertIn("0 of 3 jobs have ended so far", told)
        told = self.batch(*words)
        self.assertRegex(told, r"(?m)^succeeded +3$")
        self.assertRegex(self.blockfleet(*wait), r"(?m)^state +complete$")
        self.assertEqual(len(self.jobs("later", "jobs.batch")), 3)
        for words in ((*wait, "x"), wait[:3]):
            self.blockfleet(*words, status=2)
        self.blockfleet(*wait[:4], "nobody", status=4)

    def test_batches_are_listed(self) -> None:
        self.write("listed.ndjson", [{}, NO_BACKEND, {}])
        self.batch("listed.ndjson", "listed", "--batch", "first", status=1)
        self.batch("listed.ndjson", "listed", "--batch", "second", status=1)
        table = self.blockfleet("batches", "-w", "listed").splitlines()
        self.assertRegex(table[0], r"^BATCH +STATE +SEALED AT +JOBS +.*NOT +OPENED")
        self.assertRegex(table[1], r"^second +complete +3 +3 +0 +0 +2 +1 +20")
        self.assertRegex(table[2], r"^first +complete +3 +3 +0 +0 +2 +1 +20")
        some = json.loads(self.blockfleet("batches", "-w", "listed", "first", "--json"))
        self.assertEqual([(b["batch"], b["rejected"]) for b in some], [("first", 1)])
        told = self.blockfleet("batches", "-w", "listed", "third", status=4)
        self.assertIn("there is no batch", told)

    def test_killed_in_the_middle_it_goes_on(self) -> None:
        count = 15_000  # two parts
        self.write("killed.ndjson", [{}] * count)
        words = ("batch", "killed.ndjson", "-w", "killed", "--batch", "k")
        url = f"--dispatcher.url=http://{self.dispatcher.address}"
        with (self.folder / "said").open("wb") as out:
            client = subprocess.Popen(
                self.command(*words, url), stdout=out, stderr=out, cwd=self.folder
            )
        wait_until(
            lambda: (self.told("killed", "k") or {}).get("total"), HANG_S, "jobs"
        )
        client.kill()
        client.wait()
        self.assertEqual(self.told("killed", "k")["state"], "open")
        told = json.loads(
            self.batch("killed.ndjson", "killed", "--batch", "k", "--json")
        )
        self.assertLess(told["sent"], count)
        self.assertEqual((told["state"], told["succeeded"]), ("complete", count))
        found = self.jobs("killed", "jobs.batch")
        self.assertEqual(len({r.text("bf_job") for r in found}), count)
        self.assertEqual(len(self.results("killed", "k")), count)

    def test_what_cannot_be_one(self) -> None:
        (self.folder / "empty.ndjson").write_text("\n \n")
        self.assertIn("has no lines", self.batch("empty.ndjson", "no", status=7))
        self.assertIn("cannot read", self.batch("nowhere", "no", status=7))
        self.write("one.ndjson", [{}])
        cases = [
            ("one.ndjson", "--set", "a=1"),
            ("one.ndjson", "--max-failure-rate", "2"),
            ("one.ndjson", "--batch", "a/b"),
            (str(Path(self.keys.folder)),),
        ]
        for words in cases:
            with self.subTest(words):
                self.batch(words[0], "no", *words[1:], status=2)
        self.assertEqual(self.jobs("no", "jobs.batch"), [])

    def test_jobs_that_were_never_sent(self) -> None:
        self.work()
        jobs = [job("few", batch="f", batch_index=n, lane="batch") for n in (0, 1)]
        self.assertEqual(self.dispatcher.post_lines(jobs).status, 200)
        seal = json.dumps({"count": 3}).encode()
        answer = self.dispatcher.request(
            "POST",
            "/v1/batches/f/seal?workspace=few",
            seal,
            {"Content-Type": "application/json"},
        )
        self.assertEqual(answer.status, 200, answer.body)
        wait = ("wait", "-w", "few", "--batch", "f", "--gap", "2")
        told = self.blockfleet(*wait, status=4)
        self.assertIn("2 of 3 jobs are there and have ended", told)


if __name__ == "__main__":
    unittest.main()
