"""Slots, queue, kills, and how long templates live."""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "runner")]

from support import (  # noqa: E402
    HANG_S,
    IDS,
    Code,
    Runner,
    RunnerTest,
    procs,
    wait_until,
)

# Says that it runs, and ends when the file is removed.
HOLD = (
    "def run(path):\n"
    "    print('holding')\n"
    "    while os.path.exists(path): time.sleep(0.005)\n"
    "    return os.getppid()\n"
)


class MeterTest(RunnerTest):
    ARGUMENTS = ("--preload", "none")

    def test_what_a_run_used(self) -> None:
        code = (
            "def run(mib):\n"
            "    block = b'x' * (mib << 20)\n"
            "    while time.process_time() < 0.05: pass\n"
            "    return len(block)\n"
        )
        for boot in ("cold", "warm"):
            done = self.runner.wait(self.start(code, {"mib": 64}))
            self.assertTrue(done.success, done.error)
            self.assertEqual(done.boot, boot)
            self.assertGreaterEqual(done.cpu_us, 40_000)
            self.assertLess(done.cpu_us, 60_000_000)
            self.assertGreater(done.max_rss_bytes, 64 << 20)
            self.assertLess(done.max_rss_bytes, 4 << 30)


class SlotTest(RunnerTest):
    ARGUMENTS = ("--preload", "none", "--slots", "4", "--queue-bytes", "100000")

    def test_200_runs_over_four_slots(self) -> None:
        code = "def run(i):\n    time.sleep(0.001)\n    return [i, os.getpid()]\n"
        runs = [(self.start(code, {"i": i}), i) for i in range(200)]
        pids = set()
        for run_id, i in runs:
            done = self.runner.wait(run_id)
            value = json.loads(done.body)
            self.assertEqual(value[0], i)
            pids.add(value[1])
        self.assertEqual(len(pids), 200)
        self.assertEqual(self.runner.done, {})

    def test_50_versions_at_once(self) -> None:
        runs = [
            self.start(f"X = {i}\ndef run():\n    return X\n", workspace=f"w{i % 7}")
            for i in range(50)
        ]
        values = [json.loads(self.runner.wait(run_id).body) for run_id in runs]
        self.assertEqual(values, list(range(50)))

    def test_runs_over_the_slots_wait(self) -> None:
        hold = Path(self.enterContext(_hold()))
        held = [self.start(HOLD, {"path": str(hold)}) for _ in range(4)]
        for run_id in held:
            self.runner.wait_started(run_id)
        queued = self.start("def run():\n    return 1\n")
        dropped = self.start("def run():\n    return 2\n")
        self.runner.send({"op": "kill", "run_id": dropped})
        done = self.runner.wait(dropped)
        self.assertEqual((done.delivery, done.error_type), ("did_not_run", "Killed"))
        self.assertNotIn(queued, self.runner.started)
        self.assertNotIn(dropped, self.runner.started)
        hold.unlink()
        for run_id in held:
            self.assertTrue(self.runner.wait(run_id).success)
        self.assertEqual(self.runner.wait(queued).body, b"1")

    def test_a_full_queue_refuses(self) -> None:
        hold = Path(self.enterContext(_hold()))
        held = [self.start(HOLD, {"path": str(hold)}) for _ in range(4)]
        for run_id in held:
            self.runner.wait_started(run_id)
        large = {"a": "x" * 60_000}
        code = "def run(a):\n    return len(a)\n"
        first, second = self.start(code, large), self.start(code, large)
        done = self.runner.wait(second)
        self.assertEqual(done.error_type, "RunnerBusy")
        self.assertEqual((done.delivery, done.server_error), ("did_not_run", True))
        hold.unlink()
        self.assertEqual(self.runner.wait(first).body, b"60000")
        for run_id in held:
            self.runner.wait(run_id)

    def test_the_timeout_does_not_count_the_queue(self) -> None:
        code = "def run():\n    time.sleep(0.5)\n    return 1\n"
        runs = [self.start(code, timeout_ms=1500) for _ in range(16)]
        for run_id in runs:
            self.assertTrue(self.runner.wait(run_id).success)

    def test_started_comes_before_done_and_once(self) -> None:
        done = self.answer("def run():\n    return 1\n")
        started = self.runner.started[done.run_id]
        self.assertEqual(started["at_ms"], done.started_at_ms)
        self.assertGreaterEqual(done.ended_at_ms, done.started_at_ms)
        self.assertEqual(done.isolation, "process")

    def test_inputs_over_the_ceiling(self) -> None:
        with Runner(("--preload", "none", "--input-bytes", "1000")) as runner:
            code = "def run(a):\n    return len(a)\n"
            runner.submit("large", code, b'{"a":"' + b"x" * 1000 + b'"}')
            done = runner.wait("large")
            self.assertEqual(done.error_type, "InvalidRequest")
            self.assertEqual(done.delivery, "did_not_run")
            runner.submit("small", code, b'{"a":"x"}')
            self.assertEqual(runner.wait("small").body, b"1")


class KillTest(RunnerTest):
    def assert_killed(self, run_id: str) -> None:
        self.runner.send({"op": "kill", "run_id": run_id})
        done = self.runner.wait(run_id)
        self.assertEqual((done.success, done.reason), (False, ""))
        self.assertEqual((done.error_type, done.delivery), ("Killed", "ran"))

    def test_a_running_run(self) -> None:
        hold = Path(self.enterContext(_hold()))
        run_id = self.start(HOLD, {"path": str(hold)})
        self.runner.wait_started(run_id)
        self.assert_killed(run_id)

    def test_a_loading_run_and_those_that_wait_for_it(self) -> None:
        hold = Path(self.enterContext(_hold()))
        code = (
            f"while os.path.exists({str(hold)!r}): time.sleep(0.005)\n"
            "def run():\n    return 1\n"
        )
        first, second = self.start(code), self.start(code)
        self.runner.wait_started(first)
        self.assert_killed(first)
        self.runner.wait_started(second)
        hold.unlink()
        self.assertEqual(self.runner.wait(second).body, b"1")

    def test_an_unknown_run_is_ignored(self) -> None:
        self.runner.send({"op": "kill", "run_id": "nobody"})
        self.assertTrue(self.answer("def run(): pass\n").success)

    def test_a_run_id_may_come_again_after_its_answer(self) -> None:
        for _ in range(2):
            self.runner.submit("again", "def run():\n    return 1\n")
            self.assertTrue(self.runner.wait("again").success)


class TemplateTest(RunnerTest):
    ARGUMENTS = ("--preload", "none", "--templates", "2", "--code-versions", "3")

    def version(self, i: int) -> Code:
        return Code(f"X = {i}\ndef run():\n    return os.getppid()\n")

    def templates(self) -> int:
        return len(procs.children(self.runner.process.pid))

    def test_the_least_recently_used_goes(self) -> None:
        a, b, c = (self.version(i) for i in range(3))
        pid_a, pid_b = self.value(a), self.value(b)
        self.assertEqual(self.value(a), pid_a)
        self.value(c)
        wait_until(lambda: procs.stat(pid_b)[0] == "", HANG_S, "b's template ends")
        self.assertEqual(self.value(a), pid_a)
        self.assertLessEqual(self.templates(), 2)

    def test_more_versions_at_once_than_templates(self) -> None:
        runs = [self.start(self.version(i)) for i in range(30)]
        for run_id in runs:
            self.assertTrue(self.runner.wait(run_id).success)
        wait_until(lambda: self.templates() <= 2, HANG_S, "two are left")

    def test_old_code_is_forgotten(self) -> None:
        first = self.version(100)
        self.value(first)
        for i in range(3):
            self.value(self.version(101 + i))
        run_id = f"f{next(IDS)}"
        head = {"op": "run", "run_id": run_id, "workspace": "local"}
        head |= {"code_hash": first.hash, "timeout_ms": 1000}
        self.runner.send(head, b"{}")
        self.assertEqual(self.runner.wait(run_id).error_type, "UnknownCodeHash")

    def test_workspaces_share_nothing(self) -> None:
        code = self.version(200)
        one = self.value(code, workspace="a")
        self.assertNotEqual(self.value(code, workspace="b"), one)


class IdleTest(RunnerTest):
    ARGUMENTS = ("--preload", "none", "--idle-seconds", "0")

    def test_an_idle_template_ends(self) -> None:
        pid = self.value("def run():\n    return os.getppid()\n")
        wait_until(lambda: procs.stat(pid)[0] == "", HANG_S, "the template ends")


class ReadyTest(unittest.TestCase):
    def test_what_it_says_first(self) -> None:
        with Runner(("--slots", "3")) as runner:
            ready = runner.wait_ready()
            self.assertEqual(ready["pid"], runner.process.pid)
            self.assertEqual(ready["slots"], 3)
            self.assertIsInstance(ready["preloaded"], list)
            self.assertIn(".", ready["python"])

    def test_a_module_that_cannot_be_preloaded(self) -> None:
        with Runner(("--preload", "decimal,no_such_module_x")) as runner:
            self.assertEqual(runner.wait_ready()["preloaded"], ["decimal"])


class _hold:
    """A file that runs wait for."""

    def __enter__(self) -> str:
        import tempfile

        self.directory = tempfile.TemporaryDirectory()
        path = Path(self.directory.name) / "hold"
        path.touch()
        return str(path)

    def __exit__(self, *_: object) -> None:
        self.directory.cleanup()


if __name__ == "__main__":
    unittest.main()
