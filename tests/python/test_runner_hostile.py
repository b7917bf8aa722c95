"""Blocks that do what they should not, and are answered all the same."""

from __future__ import annotations

import sys
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "runner")]

from support import (  # noqa: E402
    HANG_S,
    Code,
    Runner,
    RunnerTest,
    descendants,
    procs,
    wait_until,
)

GOOD = "def run():\n    return 'good'\n"
# Whoever is not killed goes on for a minute or for ever; a busy machine may
# take its time to kill.
LATE_MS = 10_000


class DeadlineTest(RunnerTest):
    def assert_killed_in_time(self, code: Code | str, timeout_ms: int) -> None:
        begun = time.monotonic()
        done = self.failure(code, reason="deadline", timeout_ms=timeout_ms)
        took_ms = (time.monotonic() - begun) * 1000
        self.assertEqual(done.error_type, "CustomPythonBlockTimeout")
        self.assertTrue(timeout_ms <= done.duration_us / 1000 < timeout_ms + LATE_MS)
        self.assertLess(took_ms, timeout_ms + LATE_MS)

    def test_an_infinite_loop(self) -> None:
        self.assert_killed_in_time("def run():\n    while True: pass\n", 300)

    def test_a_loop_that_ignores_everything(self) -> None:
        code = (
            "import signal\n"
            "def run():\n"
            "    for n in signal.valid_signals() - {9, 19}:\n"
            "        signal.signal(n, signal.SIG_IGN)\n"
            "    while True:\n"
            "        try:\n"
            "            while True: time.sleep(9)\n"
            "        except BaseException: pass\n"
        )
        self.assert_killed_in_time(code, 300)

    def test_output_and_time_until_the_kill_are_kept(self) -> None:
        code = "def run():\n    print('so far')\n    while True: pass\n"
        done = self.failure(code, reason="deadline", timeout_ms=1000)
        self.assertEqual(done.stdout, "so far\n")
        self.assertTrue(0.2 < done.execution_time_seconds < 10, done.head)

    def test_init_that_hangs_is_killed_and_counts(self) -> None:
        code = Code("def run(): pass\n", init="def init():\n    time.sleep(60)\n")
        self.assert_killed_in_time(code, 300)

    def test_a_module_body_that_hangs_is_killed(self) -> None:
        self.assert_killed_in_time("while True: pass\n", 300)

    def test_a_slow_init_leaves_only_the_rest_to_run(self) -> None:
        code = "time.sleep(0.3)\ndef run():\n    time.sleep(60)\n"
        self.assert_killed_in_time(code, 500)

    def test_children_of_a_killed_run_die_with_it(self) -> None:
        code = "import subprocess\ndef run():\n    subprocess.run(['sleep', '600'])\n"
        self.assert_killed_in_time(code, 400)


class LeftBehindTest(RunnerTest):
    """tearDown checks that nothing is left."""

    def test_a_fork_bomb_of_daemons(self) -> None:
        code = (
            "def run(n):\n"
            "    for _ in range(n):\n"
            "        if os.fork() == 0:\n"
            "            os.setsid()\n"
            "            for _ in range(3):\n"
            "                if os.fork() == 0:\n"
            "                    os.setsid()\n"
            "                    while True: time.sleep(60)\n"
            "            os._exit(0) if os.getpid() % 2 else time.sleep(60)\n"
            "    return n\n"
        )
        self.assertEqual(self.value(code, {"n": 20}), 20)

    def test_a_double_forked_daemon_that_ignores_signals(self) -> None:
        code = (
            "import subprocess\n"
            "def run():\n"
            "    subprocess.Popen(['setsid', 'sh', '-c',\n"
            "        \"trap '' HUP TERM INT; setsid sleep 600 & sleep 600\"])\n"
            "    return 1\n"
        )
        self.assertEqual(self.value(code), 1)

    def test_a_forked_child_that_returns_does_not_answer(self) -> None:
        code = (
            "def run():\n"
            "    pid = os.fork()\n"
            "    if pid: os.waitpid(pid, 0)\n"
            "    return 'parent' if pid else 'child'\n"
        )
        self.assertEqual(self.value(code), "parent")

    def test_a_child_forked_at_load_does_not_answer(self) -> None:
        code = (
            "PID = os.fork()\n"
            "if PID: os.waitpid(PID, 0)\n"
            "def run():\n    return PID > 0\n"
        )
        self.assertTrue(self.value(code))
        raising = "if os.fork() == 0:\n    raise ValueError\nos.wait()\n" + GOOD
        self.assertEqual(self.value(raising), "good")

    def test_children_from_load_time_do_not_stay(self) -> None:
        code = (
            "import subprocess\n"
            "P = subprocess.Popen(['sleep', '600'])\n"
            "def run():\n    return P.pid\n"
        )
        first = self.value(code)
        wait_until(lambda: procs.stat(first)[0] == "", HANG_S, "the child is gone")
        self.assertNotEqual(self.value(code), first)

    def test_threads_from_load_time_do_not_run_on(self) -> None:
        code = (
            "import threading\n"
            "def spin():\n    while True: pass\n"
            "threading.Thread(target=spin, daemon=True).start()\n"
            "def run():\n    return [os.getppid(), threading.active_count()]\n"
        )
        template, threads = self.value(code)
        self.assertEqual(threads, 1)
        wait_until(lambda: procs.stat(template)[0] == "T", HANG_S, "it is stopped")
        self.assertEqual(self.value(code)[0], template)

    def test_threads_left_running(self) -> None:
        code = (
            "import threading\n"
            "def spin():\n    while True: pass\n"
            "def run():\n"
            "    for _ in range(3): threading.Thread(target=spin).start()\n"
            "    return 1\n"
        )
        self.assertEqual(self.value(code), 1)

    def test_a_run_that_adopts_and_leaves_orphans(self) -> None:
        code = (
            "import subprocess\n"
            "def run():\n"
            "    subprocess.run(['sh', '-c', 'sleep 600 & sleep 600 &'])\n"
            "    return 1\n"
        )
        self.assertEqual(self.value(code), 1)


class CrashTest(RunnerTest):
    def test_os_exit(self) -> None:
        for status in (0, 7):
            code = f"def run():\n    print('x')\n    os._exit({status})\n"
            done = self.failure(code, reason="crashed")
            self.assertIn(f"status {status}", done.error)
            self.assertEqual(done.stdout, "x\n")

    def test_exit_at_load(self) -> None:
        done = self.failure("os._exit(3)\n", reason="crashed")
        self.assertIn("status 3", done.error)

    def test_signals_are_named(self) -> None:
        for name in ("SIGKILL", "SIGSEGV", "SIGABRT", "SIGTERM"):
            code = (
                f"import signal\ndef run():\n    os.kill(os.getpid(), signal.{name})\n"
            )
            done = self.failure(code, reason="crashed")
            self.assertIn(name, done.error)
            self.assertEqual(done.error_type, "Crashed")

    def test_a_real_segmentation_fault(self) -> None:
        code = "import ctypes\ndef run():\n    ctypes.string_at(1)\n"
        self.assertIn("SIGSEGV", self.failure(code, reason="crashed").error)

    def test_killing_the_template_is_answered_and_repaired(self) -> None:
        code = (
            "import signal\n"
            "def run(bad):\n"
            "    if bad:\n"
            "        os.kill(os.getppid(), signal.SIGKILL)\n"
            "        time.sleep(60)\n"
            "    return os.getppid()\n"
        )
        first = self.value(code, {"bad": False})
        self.assertIn(
            "SIGKILL", self.failure(code, {"bad": True}, reason="crashed").error
        )
        self.assertNotEqual(self.value(code, {"bad": False}), first)

    def test_killing_the_template_while_others_wait_for_it(self) -> None:
        code = (
            "import signal\n"
            "def run(bad):\n"
            "    if bad: os.kill(os.getppid(), signal.SIGKILL)\n"
            "    return 'survived'\n"
        )
        runs = [self.start(code, {"bad": i % 5 == 0}) for i in range(40)]
        for run_id in runs:
            done = self.runner.wait(run_id)
            self.assertTrue(done.success or done.reason == "crashed", done.head)

    def test_stopping_the_template_ends_at_the_deadline(self) -> None:
        code = (
            "import signal\n"
            "def run(bad):\n"
            "    if bad: os.kill(os.getppid(), signal.SIGSTOP)\n"
            "    return 1\n"
        )
        done = self.answer(code, {"bad": True}, timeout_ms=1000)
        self.assertTrue(done.success, done.head)
        self.assertEqual(self.value(code, {"bad": False}), 1)

    def test_killing_ones_own_group(self) -> None:
        code = "import signal\ndef run():\n    os.killpg(0, signal.SIGKILL)\n"
        self.assertIn("SIGKILL", self.failure(code, reason="crashed").error)


class DescriptorTest(RunnerTest):
    def test_closing_all_descriptors(self) -> None:
        code = "def run():\n    os.closerange(0, 65536)\n    return {'a': 1}\n"
        self.assertEqual(self.value(code), {"a": 1})

    def test_printing_into_closed_descriptors(self) -> None:
        code = (
            "def run():\n    print('x', end='')\n    os.closerange(0, 99)\n"
            "    return 1\n"
        )
        self.assertEqual(self.value(code), 1)

    def test_garbage_into_all_descriptors(self) -> None:
        code = (
            "def run():\n"
            "    for fd in range(3, 256):\n"
            "        try: os.write(fd, b'garbage' * 99)\n"
            "        except OSError: pass\n"
            "    return 1\n"
        )
        self.assertEqual(self.value(code), 1)

    def test_garbage_into_all_descriptors_at_load(self) -> None:
        code = (
            "for fd in range(256):\n"
            "    try: os.write(fd, b'garbage')\n"
            "    except OSError: pass\n" + GOOD
        )
        done = self.answer(code)
        self.assertEqual((done.success, done.reason), (False, "crashed"))
        self.assertEqual(self.value(GOOD), "good")

    def test_closing_all_descriptors_at_load(self) -> None:
        done = self.failure("os.closerange(0, 256)\n" + GOOD, reason="crashed")
        self.assertEqual(done.error_type, "Crashed")

    def test_printing_100_mb(self) -> None:
        code = (
            "def run():\n"
            "    chunk = 'x' * (1 << 20)\n"
            "    for _ in range(100): print(chunk)\n"
            "    return 1\n"
        )
        done = self.answer(code)
        self.assertTrue(done.success, done.head)
        self.assertEqual((len(done.stdout), done.stdout_truncated), (16_384, True))

    def test_a_claim_to_be_the_zygotes_answer_is_only_output(self) -> None:
        code = (
            "def run():\n"
            '    print(\'{"op": "done", "success": true}\')\n'
            "    raise ValueError\n"
        )
        done = self.failure(code, reason="user_error")
        self.assertIn('"op"', done.stdout)


class PatchTest(RunnerTest):
    def test_nothing_of_the_zygote_is_in_reach(self) -> None:
        self.value(GOOD, workspace="other")
        code = (
            "import gc\n"
            "def run():\n"
            "    ours = 'Zygote', 'Run', 'Template', 'Link', 'CodeCache'\n"
            "    return [type(o).__name__ for o in gc.get_objects()\n"
            "            if type(o).__name__ in ours]\n"
        )
        self.assertEqual(self.value(code), [])

    def test_blocks_may_patch_what_they_import(self) -> None:
        code = (
            "import json, time, os, builtins, inspect, socket\n"
            "json.dumps = time.perf_counter = os.fork = os._exit = None\n"
            "os.getpid = os.wait4 = inspect.signature = socket.recv_fds = None\n"
            "time.monotonic_ns = None\n"
            "def run(a):\n    return {'a': a}\n"
        )
        for _ in range(2):
            self.assertEqual(self.value(code, {"a": 1}), {"a": 1})


class LimitTest(RunnerTest):
    ARGUMENTS = (
        *("--preload", "none", "--memory-bytes", str(512 << 20)),
        *("--cpu-seconds", "1", "--fsize-bytes", "4096"),
    )

    def test_memory_at_run_and_at_load(self) -> None:
        code = "def run():\n    return len('x' * (1 << 30))\n"
        done = self.failure(code, reason="oom")
        self.assertEqual((done.error_type, done.line_number), ("MemoryError", 2))
        done = self.failure("X = bytearray(1 << 30)\n", reason="oom")
        self.assertEqual(done.error_type, "MemoryError")

    def test_memory_of_the_result(self) -> None:
        code = "def run():\n    return ['\\0' * 1000] * (1 << 17)\n"
        self.failure(code, reason="oom")

    def test_cpu_time(self) -> None:
        loop = "    while True: pass\n"
        self.failure("def run():\n" + loop, reason="cpu_limit")
        ignoring = (
            "import signal\ndef run():\n"
            "    signal.signal(signal.SIGXCPU, signal.SIG_IGN)\n" + loop
        )
        self.failure(ignoring, reason="cpu_limit")
        self.failure("while True: pass\n", reason="cpu_limit")

    def test_file_size(self) -> None:
        code = (
            "import tempfile\ndef run():\n"
            "    with tempfile.TemporaryFile() as f: f.write(b'x' * 9999)\n"
        )
        self.assertEqual(self.failure(code, reason="user_error").error_type, "OSError")

    def test_no_core_files(self) -> None:
        code = (
            "import resource\ndef run():\n"
            "    return resource.getrlimit(resource.RLIMIT_CORE)\n"
        )
        self.assertEqual(self.value(code), [0, 0])


class WholeRunnerTest(unittest.TestCase):
    """The runner itself dies, in one way or another."""

    def setUp(self) -> None:
        procs.adopt_orphans()
        self.runner = Runner(("--preload", "none"))
        self.addCleanup(self.runner.close)
        self.runner.wait_ready()
        for i in range(3):
            self.runner.submit(f"r{i}", f"X = {i}\ndef run():\n    time.sleep(600)\n")
        for i in range(3):
            self.runner.wait_started(f"r{i}")
        pid = self.runner.process.pid
        wait_until(lambda: len(descendants(pid)) == 6, HANG_S, "all are running")
        self.below = descendants(pid)

    def assert_all_gone(self) -> None:
        for pid in self.below:
            wait_until(
                lambda pid=pid: procs.stat(pid)[0] in ("", "Z"), HANG_S, f"{pid} dies"
            )

    def test_the_socket_closes(self) -> None:
        self.assertEqual(self.runner.close(), 0)
        self.assert_all_gone()

    def test_it_is_told_to_end(self) -> None:
        self.runner.process.terminate()
        self.assertEqual(self.runner.process.wait(HANG_S), 0)
        self.assert_all_gone()

    def test_it_is_killed(self) -> None:
        self.runner.process.kill()
        self.runner.process.wait(HANG_S)
        self.assert_all_gone()

    def test_its_peer_talks_nonsense(self) -> None:
        self.runner.sock.setblocking(True)
        self.runner.sock.sendall(b"\xff" * 64)
        self.assertEqual(self.runner.process.wait(HANG_S), 0)
        self.assert_all_gone()


if __name__ == "__main__":
    unittest.main()
