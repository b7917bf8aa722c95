"""What the runner's tests share: a runner per test class, and the check that
nothing outlives a run."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import json
import os
import sys
import threading
import time
import unittest
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "worker" / "runner"))

from bfrunner import procs  # noqa: E402
from bfrunner.cache import Code  # noqa: E402
from bfrunner.client import Done, Runner  # noqa: E402

IDS = itertools.count()
HANG_S = 60.0  # ends a hang; no bound of the runner's


def wait_until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Until a condition that only /proc can tell holds."""
    end = time.monotonic() + seconds
    tick = threading.Event()
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"not within {seconds} s: {what}")
        tick.wait(0.002)


def descendants(pid: int) -> list[int]:
    found = []
    for child in procs.children(pid):
        found += [child, *descendants(child)]
    return found


def needs(*modules: str) -> Callable[[Any], Any]:
    """Skips, with the reason, where a module is not installed."""
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    return unittest.skipIf(bool(missing), f"not installed: {', '.join(missing)}")


def reaped(pid: int) -> bool:
    """Is it dead? Orphans that we adopted are ours to bury, too."""
    with contextlib.suppress(ChildProcessError):
        return os.waitpid(pid, os.WNOHANG)[0] == pid
    return True


class RunnerTest(unittest.TestCase):
    """Talks to one runner per class; a test that spoils it starts its own."""

    ARGUMENTS: Sequence[str] = ("--preload", "none")
    runner: Runner

    @classmethod
    def setUpClass(cls) -> None:
        # Whatever a runner failed to kill becomes our child, and is found.
        procs.adopt_orphans()
        cls.runner = Runner(cls.ARGUMENTS)
        cls.addClassCleanup(cls._stop)
        cls.runner.wait_ready()

    @classmethod
    def _stop(cls) -> None:
        status = cls.runner.close()
        assert status == 0, f"the runner exited with {status}"
        left = [p for p in procs.children(threading.get_native_id()) if not reaped(p)]
        assert not left, f"left behind: {left}"

    def tearDown(self) -> None:
        """Only templates, each without children, may be there between tests."""
        wait_until(self.is_quiet, HANG_S, "processes left behind")

    def is_quiet(self) -> bool:
        templates = procs.children(self.runner.process.pid)
        return all(
            procs.stat(pid)[0] != "Z" and not procs.children(pid) for pid in templates
        )

    def start(
        self,
        code: Code | str,
        inputs: dict[str, Any] | bytes | None = None,
        **options: Any,
    ) -> str:
        run_id = f"r{next(IDS)}"
        if not isinstance(inputs, bytes):
            inputs = json.dumps(inputs or {}).encode()
        self.runner.submit(run_id, code, inputs, **options)
        return run_id

    def answer(
        self,
        code: Code | str,
        inputs: dict[str, Any] | bytes | None = None,
        **options: Any,
    ) -> Done:
        return self.runner.wait(self.start(code, inputs, **options))

    def value(
        self,
        code: Code | str,
        inputs: dict[str, Any] | bytes | None = None,
        **options: Any,
    ) -> Any:
        """The decoded result of a run that must succeed."""
        done = self.answer(code, inputs, **options)
        self.assertTrue(done.success, done.head)
        self.assertEqual((done.reason, done.delivery), ("", "ran"))
        self.assertFalse(done.server_error)
        return json.loads(done.body)

    def failure(
        self,
        code: Code | str,
        inputs: dict[str, Any] | bytes | None = None,
        *,
        reason: str,
        **options: Any,
    ) -> Done:
        """The answer of a run that must fail for that reason."""
        done = self.answer(code, inputs, **options)
        self.assertFalse(done.success, done.body[:200])
        self.assertEqual(done.reason, reason, done.head)
        self.assertEqual((done.delivery, done.server_error), ("ran", False))
        self.assertEqual(done.body, b"")
        return done
