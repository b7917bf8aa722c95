"""Real blocks on the runners of this machine, through a real broker."""

import json
import os
import signal
import unittest
from collections.abc import Iterable
from pathlib import Path

from cases import SharedCase
from fleet import bfwire
from harness import HANG_S, Proc, wait_until

TRUSTED = "ws-0,ws-1"
PYTHON = "/usr/bin/python3"


def block(code: str, **more: object) -> bytes:
    fields = {
        "run_function_code": code,
        "run_function_name": "run",
        "imports": [],
        "init_function_code": None,
        "init_function_name": "init",
        "block_type": "test",
        **more,
    }
    return bfwire.dump(fields).encode()


ECHO = block("def run(self, a):\n    return {'a': a}\n")
SLEEP = block(
    "import time\ndef run(self, s):\n    time.sleep(s)\n    return {'s': s}\n"
)
WAIT = block(
    "import os, time\n"
    "def run(self, path):\n"
    "    while not os.path.exists(path):\n"
    "        time.sleep(0.02)\n"
    "    return {}\n"
)
SUM = block(
    "def run(self, **given):\n    return {'sum': fsum(given.values())}\n",
    imports=["from math import fsum"],
)
STATE = block(
    "seen = []\n"
    "def run(self, a):\n"
    "    seen.append(a)\n"
    "    return {'base': self._init_results['base'] + a, 'seen': len(seen)}\n",
    init_function_code="def init():\n    return {'base': 40}\n",
)
# Too large to go with every run: asked for by its hash first.
LONG = block(
    "def run(self, a):\n    return {'long': a}\n" + "# a comment\n" * 8000,
    init_function_code="def init():\n    return {}\n",
)

# What a run returns, byte by byte: inputs are not re-printed on the way in, and
# numbers and characters that others lose are not lost.
EXACT = [
    (b'{"a": NaN}', b'{"a": NaN}'),
    (b'{"a": -Infinity}', b'{"a": -Infinity}'),
    (b'{"a": 9223372036854775808}', b'{"a": 9223372036854775808}'),
    (b'{"a": 1e400}', b'{"a": Infinity}'),
    (b'{"a": "\\u0000"}', b'{"a": "\\u0000"}'),
    (b'{"a": "\\ud800"}', b'{"a": "\\ud800"}'),
    ('{"a": "caf\u00e9"}'.encode(), b'{"a": "caf\\u00e9"}'),
    (b' {"a":[1, 2.50,null ] }', b'{"a": [1, 2.5, null]}'),
]


def runners_of(worker: Proc) -> list[int]:
    return [line["runner"] for line in events(worker, "runner_ready")]


def events(worker: Proc, name: str) -> list[dict]:
    return [line for line in worker.log_json() if line.get("event") == name]


def descendants(pid: int) -> list[int]:
    try:
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    found = []
    for child in map(int, children):
        found += [child, *descendants(child)]
    return found


def is_alive(pid: int) -> bool:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    return stat.rpartition(")")[2].split()[0] != "Z"


class LocalCase(SharedCase):
    def worker(self, name: str = "worker", **more: object) -> Proc:
        options = {
            "worker__backend": "local",
            "local__python": PYTHON,
            "local__preload": "none",
            "local__trusted_workspaces": TRUSTED,
            **more,
        }
        return self.fleet.started(self.fleet.worker(name, **options))

    def job(self, job_id: str, code: bytes, inputs: object, **more: object):
        """A job in ws-0; inputs: bytes, or what is to be JSON."""
        if not isinstance(inputs, bytes):
            inputs = json.dumps(inputs).encode()
        workspace = more.pop("workspace", "ws-0")
        return self.fleet.job(workspace, job_id, block=code, inputs=inputs, **more)

    def waiting(self, job_id: str, **more: object):
        """A job whose block ends after go()."""
        return self.job(job_id, WAIT, {"path": str(self.folder / "go")}, **more)

    def go(self) -> None:
        (self.folder / "go").touch()

    def submit(self, jobs: Iterable[bfwire.Job]) -> None:
        self.fleet.submit(jobs)

    def running(self, count: int) -> None:
        """Waits for so many lines in the backend's own log."""
        logs = self.fleet.run_logs
        wait_until(
            lambda: sum(log.read_bytes().count(b"\n") for log in logs) >= count,
            HANG_S,
            f"{count} runs",
        )

    def assert_gone(self, pids: list[int]) -> None:
        self.assertTrue(pids)
        wait_until(lambda: not any(map(is_alive, pids)), HANG_S, f"end of {pids}")


class BlocksTest(LocalCase):
    def test_two_hundred_blocks(self) -> None:
        worker = self.worker()
        big = b'{"a": "' + b"x" * (10 << 20) + b'"}'
        expected: dict[str, bytes] = {"big": big}
        jobs = [self.job("big", ECHO, big)]
        for n, (inputs, result) in enumerate(EXACT):
            jobs.append(self.job(f"exact-{n}", ECHO, inputs))
            expected[f"exact-{n}"] = result
        for n in range(200 - len(jobs)):
            name = f"job-{n}"
            code, inputs, result = [
                (ECHO, {"a": n}, {"a": n}),
                (SUM, {"x": 0.1, "y": n}, {"sum": 0.1 + n}),
                (STATE, {"a": n}, {"base": 40 + n, "seen": 1}),
                (LONG, {"a": n}, {"long": n}),
            ][n % 4]
            execution = "at_most_once" if n % 3 == 0 else "at_least_once"
            workspace = f"ws-{n % 2}"
            jobs.append(
                self.job(name, code, inputs, execution=execution, workspace=workspace)
            )
            expected[name] = json.dumps(result).encode()
        self.submit(jobs)
        found = self.ends(200)
        usage = self.usage()
        for name, result in expected.items():
            end, rec = found[name]
            self.assertEqual(end.outcome, "succeeded", rec.text("bf_report"))
            self.assertTrue(rec.value == result, f"{name}: {rec.value[:200]!r}")
            self.assertEqual((end.backend, end.isolation), ("local", "process"))
            [row] = usage[name]
            self.assertEqual((row["runs"], row["billable"]), ("1", True))
            self.assertGreater(float(row["duration_seconds"]), 0)
            self.assertGreaterEqual(
                float(row["duration_seconds"]), float(row["execution_seconds"] or 0)
            )
            self.assertEqual(int(row["output_bytes"]), len(result))
        self.judge()
        # Both runners did their share.
        self.assertEqual(len(runners_of(worker)), 2)
        left = descendants(worker.pid)
        self.assertEqual(worker.stop(), 0)
        self.assert_gone(left)

    def test_what_goes_wrong(self) -> None:
        self.worker()
        wrong = block("import re\n\ndef run(self, a):\n    b = a\n    return 1 / b\n")
        syntax = block("def run(self:\n    pass\n")
        init = block("def run(self):\n    pass\n", init_function_code="raise OSError\n")
        shout = block(
            "import sys\n"
            "def run(self):\n"
            "    print('out', 'x' * 20000)\n"
            "    print('err', file=sys.stderr)\n"
            "    return {}\n"
        )
        die = block("import os, signal\ndef run(self):\n    os.kill(os.getpid(), 11)\n")
        strange = block("def run(self):\n    a = []\n    a.append(a)\n    return a\n")
        jobs = [
            self.job("wrong", wrong, {"a": 0}),
            self.job("syntax", syntax, {}),
            self.job("init", init, {}),
            self.job("shout", shout, {}),
            self.job("die", die, {}),
            self.job("strange", strange, {}),
            self.job("inputs", ECHO, {"b": 1}),
            self.job("slow", SLEEP, {"s": 60}, timeout_ms=700),
            self.job("untrusted", ECHO, {"a": 1}, workspace="ws-2"),
            self.job(
                "untrusted-once",
                ECHO,
                {"a": 1},
                workspace="ws-2",
                execution="at_most_once",
            ),
        ]
        self.submit(jobs)
        found = self.ends(len(jobs))
        told = {
            name: (end.outcome, end.reason, end.delivery)
            for name, (end, _) in found.items()
        }
        self.assertEqual(
            told,
            {
                "wrong": ("failed", "user_error", "ran"),
                "syntax": ("failed", "init_error", "ran"),
                "init": ("failed", "init_error", "ran"),
                "shout": ("succeeded", "", "ran"),
                "die": ("failed", "crashed", "ran"),
                "strange": ("failed", "bad_output", "ran"),
                "inputs": ("failed", "user_error", "ran"),
                "slow": ("timed_out", "deadline", "ran"),
                "untrusted": ("rejected", "workspace_not_trusted", "did_not_run"),
                "untrusted-once": ("rejected", "workspace_not_trusted", "did_not_run"),
            },
        )
        reports = {
            name: json.loads(rec.text("bf_report")) for name, (_, rec) in found.items()
        }
        self.assertEqual(reports["wrong"]["error_type"], "ZeroDivisionError")
        self.assertEqual(reports["wrong"]["line_number"], 5)
        self.assertEqual(reports["wrong"]["function_name"], "run")
        self.assertEqual(reports["syntax"]["line_number"], 1)
        self.assertTrue(reports["shout"]["stdout"].startswith("out xxx"))
        self.assertLessEqual(len(reports["shout"]["stdout"]), 16384)
        self.assertTrue(reports["shout"]["stdout_truncated"])
        self.assertEqual(reports["shout"]["stderr"], "err\n")
        self.assertNotIn("stderr_truncated", reports["shout"])
        [row] = self.usage()["slow"]
        self.assertTrue(row["billable"])
        self.assertGreaterEqual(float(row["duration_seconds"]), 0.699)
        self.assertLess(float(row["duration_seconds"]), 5)
        letters = self.oracle.evidence.of("deadletter")
        self.assertEqual(
            {letter.text("bf_job") for letter in letters},
            {"untrusted", "untrusted-once"},
        )
        self.judge()


class DeathTest(LocalCase):
    def test_a_runner_is_killed(self) -> None:
        worker = self.worker(local__runners=1, local__slots=4)
        more = {"timeout_ms": 60_000}
        self.submit(
            [
                self.waiting("once", max_attempts=1, **more),
                self.waiting("twice", max_attempts=2, **more),
                self.waiting("most", execution="at_most_once", **more),
            ]
        )
        self.running(3)
        [runner] = runners_of(worker)
        os.kill(runner, signal.SIGKILL)
        self.running(4)
        self.go()
        found = self.ends(3)
        told = {
            name: (end.outcome, end.reason, end.delivery, end.subject.attempt)
            for name, (end, _) in found.items()
        }
        lost = ("dead", "attempts_exhausted", "unknown", 1)
        self.assertEqual(
            told, {"once": lost, "most": lost, "twice": ("succeeded", "", "ran", 2)}
        )
        for name in ("once", "most"):
            [row] = self.usage()[name]
            self.assertEqual((row["runs"], row["billable"]), ("1", False))
        first, second = self.usage()["twice"]
        self.assertEqual(
            (first["attempt"], first["outcome"], first["runs"], first["billable"]),
            (1, "unknown", "1", False),
        )
        self.assertEqual((second["runs"], second["billable"]), ("1", True))
        self.assertNotEqual(first["run_id"], second["run_id"])
        self.judge()
        self.assertTrue(worker.alive)
        self.assertEqual(len(runners_of(worker)), 2)
        self.assertEqual(worker.stop(), 0)

    def test_a_runner_hangs(self) -> None:
        worker = self.worker(local__runners=1)
        self.submit([self.job("late", SLEEP, {"s": 30}, timeout_ms=1000)])
        self.running(1)
        [runner] = runners_of(worker)
        os.kill(runner, signal.SIGSTOP)
        # Who is given to it meanwhile may have run, for all that we know.
        self.submit([self.job("next", ECHO, {"a": 1}, max_attempts=2)])
        found = self.ends(2)
        end, rec = found["late"]
        self.assertEqual(
            (end.outcome, end.reason, end.delivery), ("timed_out", "deadline", "ran")
        )
        self.assertIn("did not end it", rec.text("bf_report"))
        [row] = self.usage()["late"]
        self.assertTrue(row["billable"])
        self.assertGreaterEqual(float(row["duration_seconds"]), 2.999)  # whole ms
        end, _ = found["next"]
        self.assertEqual((end.outcome, end.subject.attempt), ("succeeded", 2))
        self.judge()
        self.assertEqual(len(events(worker, "runner_killed")), 1)

    def test_a_worker_that_stops_sees_its_runs_through(self) -> None:
        worker = self.worker(local__slots=4)
        self.submit(self.waiting(f"j{n}") for n in range(8))
        self.running(8)
        left = descendants(worker.pid)
        worker.signal(signal.SIGTERM)
        worker.wait_json(lambda line: line.get("event") == "stopping")
        self.assertEqual(self.ends(0), {})
        self.go()
        self.assertEqual(worker.wait(HANG_S), 0)
        self.assert_gone(left)
        found = self.ends(8)
        self.assertEqual({end.outcome for end, _ in found.values()}, {"succeeded"})
        self.judge()

    def test_a_killed_worker_leaves_nobody(self) -> None:
        worker = self.worker(local__slots=2)
        jobs = [self.waiting(f"j{n}") for n in range(3)]
        once = self.waiting("once", execution="at_most_once")
        self.submit([*jobs, once])
        self.running(4)
        # Two runners, a template in each, a run each at the least: what is
        # logged as started may not be a process yet.
        wait_until(lambda: len(descendants(worker.pid)) >= 6, HANG_S, "processes")
        left = descendants(worker.pid)
        worker.kill9()
        self.assert_gone(left)
        self.go()
        self.worker("second")
        found = self.ends(4)
        self.assertEqual(found.pop("once")[0].outcome, "unknown")
        self.assertEqual({end.outcome for end, _ in found.values()}, {"succeeded"})
        self.judge(killed=[worker])

    def test_without_python_it_does_not_start(self) -> None:
        worker = self.fleet.worker(
            "broken", worker__backend="local", local__python="no-such-python"
        )
        self.assertEqual(worker.wait(HANG_S), 1)
        self.assertIn("no-such-python is not on PATH", worker.log_text())


if __name__ == "__main__":
    unittest.main()
