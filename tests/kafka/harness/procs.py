"""Child processes of a test: started with a log file, never left behind.

Every child leads its own process group. A tiny reaper process holds the read
end of a pipe from us; when we die, however, the pipe closes and the reaper
kills the groups that are still registered. (PR_SET_PDEATHSIG would not do: it
fires when the *thread* that started the child ends.)
"""

import atexit
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

T = TypeVar("T")

# How long a wait may take that only ends a hang: no bound of the product's, and
# long enough for a machine that does ten other things.
HANG_S = 120.0

_REAPER = """
import os, signal, sys
for name in ("SIGINT", "SIGTERM", "SIGHUP"):
    signal.signal(getattr(signal, name), signal.SIG_IGN)
groups = set()
for line in sys.stdin:
    (groups.add if line[0] == "+" else groups.discard)(int(line[1:]))
for group in groups:
    try:
        os.killpg(group, signal.SIGKILL)
    except OSError:
        pass
"""


class Timeout(AssertionError):
    """A condition did not become true in time; the text says which."""


def wait_until(
    condition: Callable[[], T | None],
    deadline_s: float,
    what: str,
    every_s: float = 0.02,
) -> T:
    """Poll until `condition` returns something true, and return it."""
    end = time.monotonic() + deadline_s
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() >= end:
            raise Timeout(f"not within {deadline_s} s: {what}")
        time.sleep(every_s)


class _Reaper:
    """The other end of the pipe; one per test process, made when needed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._child: subprocess.Popen[bytes] | None = None

    def tell(self, sign: str, group: int) -> None:
        with self._lock:
            if self._child is None:
                self._child = subprocess.Popen(
                    [sys.executable, "-I", "-c", _REAPER],
                    stdin=subprocess.PIPE,
                    start_new_session=True,
                )
                atexit.register(self._close)
            assert self._child.stdin is not None
            with contextlib.suppress(OSError):
                self._child.stdin.write(f"{sign}{group}\n".encode())
                self._child.stdin.flush()

    def _close(self) -> None:
        if self._child is not None and self._child.stdin is not None:
            with contextlib.suppress(OSError):
                self._child.stdin.close()
            self._child.wait()


_reaper = _Reaper()


class Proc:
    """One child, leader of its own process group; output goes to `log`.

    Restarting means making a new Proc; the log is appended to. Methods may be
    called from any thread. A detached child is not killed when we die.
    """

    def __init__(
        self,
        argv: Sequence[str | Path],
        log: Path,
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
        name: str = "",
        detached: bool = False,
    ) -> None:
        self.argv = [str(a) for a in argv]
        self.name = name or Path(self.argv[0]).name
        self.log = log
        self.log_start = log.stat().st_size if log.exists() else 0
        with log.open("ab") as out:
            self._popen = subprocess.Popen(
                self.argv,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
            )
        if not detached:
            _reaper.tell("+", self.pid)

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def returncode(self) -> int | None:
        """The exit status (negative: the signal), None while it runs."""
        return self._popen.poll()

    def alive(self) -> bool:
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """Signal the process itself, not its group. No error when it is gone."""
        self._popen.send_signal(number)

    def sigstop(self) -> None:
        self.signal(signal.SIGSTOP)

    def sigcont(self) -> None:
        self.signal(signal.SIGCONT)

    def kill9(self) -> None:
        """SIGKILL to this pid alone, and wait until it is really gone."""
        self.signal(signal.SIGKILL)
        self._popen.wait()

    def wait(self, deadline_s: float) -> int:
        try:
            return self._popen.wait(deadline_s)
        except subprocess.TimeoutExpired:
            raise Timeout(f"{self.name} did not exit within {deadline_s} s") from None

    def stop(self, deadline_s: float = HANG_S) -> int:
        """SIGTERM, then SIGKILL after the deadline; what is left of the group
        (its own children) is killed too. Returns the exit status."""
        if self.alive():
            self.sigcont()
            self.signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._popen.wait(deadline_s)
        self.kill_group()
        return self._popen.wait()

    def kill_group(self) -> None:
        """SIGKILL to the whole group: the children of a killed worker too."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)
        self._popen.wait()
        _reaper.tell("-", self.pid)

    def log_text(self) -> str:
        """What this process (not an earlier one on the same log) has written."""
        with self.log.open("rb") as file:
            file.seek(self.log_start)
            return file.read().decode(errors="replace")

    def log_json(self) -> Iterator[dict[str, Any]]:
        """Its complete log lines that are JSON objects, in order."""
        for line in self.log_text().splitlines(keepends=True):
            if line.startswith("{") and line.endswith("\n"):
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    def wait_log(self, pattern: str, deadline_s: float = HANG_S) -> re.Match[str]:
        """Wait for a match of the regular expression in its log."""
        compiled = re.compile(pattern, re.MULTILINE)
        return self._wait_log(lambda: compiled.search(self.log_text()), deadline_s)

    def wait_json(
        self, predicate: Callable[[dict[str, Any]], bool], deadline_s: float = HANG_S
    ) -> dict[str, Any]:
        """Wait for a JSON log line for which `predicate` holds."""
        return self._wait_log(
            lambda: next(filter(predicate, self.log_json()), None), deadline_s
        )

    def _wait_log(self, found: Callable[[], T | None], deadline_s: float) -> T:
        """As wait_until, but a dead process ends the wait at once."""

        def look() -> T | None:
            dead = not self.alive()
            match = found()
            if match is None and dead:
                raise Timeout(f"{self.name} ended ({self.returncode}):\n{self.tail()}")
            return match

        try:
            return wait_until(look, deadline_s, f"log line of {self.name}")
        except Timeout as error:
            raise Timeout(f"{error}\n{self.tail()}") from None

    def tail(self, lines: int = 40) -> str:
        return "\n".join(self.log_text().splitlines()[-lines:])


class Procs:
    """The children of one test, their logs in one folder; stops all at exit."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.all: list[Proc] = []
        folder.mkdir(parents=True, exist_ok=True)

    def start(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> Proc:
        """Start a child that logs to `<folder>/<name>.log`."""
        proc = Proc(argv, self.folder / f"{name}.log", env=env, cwd=cwd, name=name)
        self.all.append(proc)
        return proc

    def stop(self, deadline_s: float = HANG_S) -> None:
        """Stop all, the youngest first."""
        for proc in reversed(self.all):
            proc.stop(deadline_s)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, *more: object) -> None:
        if kind is None:
            self.stop()
        else:
            for proc in reversed(self.all):
                proc.kill_group()
