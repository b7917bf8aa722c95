"""The code interpreter on port 49999: /execute and /contexts."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any

from .box import HOME, Box, BoxClosed
from .web import Broken, Reply, Request, json_reply

KERNEL = (Path(__file__).parent / "kernel.py").read_text()
MOST_CODE = 10 << 20
KEEPALIVE_S = 5.0
LOOK_S = 0.25


class Context:
    """One namespace; one execution at a time."""

    def __init__(self, box: Box, cwd: str) -> None:
        self.id = str(uuid.uuid4())
        self.cwd = cwd
        self._box = box
        self._turn = threading.Lock()
        self._kernel: subprocess.Popen[bytes] | None = None
        self._events: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._requests: IO[str] | None = None

    def told(self) -> dict[str, str]:
        return {"id": self.id, "language": "python", "cwd": self.cwd}

    def _up(self) -> None:
        if self._kernel and self._kernel.poll() is None:
            return
        theirs_in, ours_out = _pipe()
        ours_in, theirs_out = _pipe()
        # Descriptors 3 and 4 by the shell, whatever they are here.
        redirect = f"exec 3<&{theirs_in} 4>&{theirs_out} "
        redirect += f'{theirs_in}<&- {theirs_out}>&-; exec "$@"'
        try:
            self._kernel = self._box.spawn(
                ["/bin/bash", "-c", redirect, "bash", python(), "-c", KERNEL],
                cwd=self.cwd,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(theirs_in, theirs_out),
            )
        except BoxClosed:
            os.close(ours_out)
            os.close(ours_in)
            raise
        finally:
            os.close(theirs_in)
            os.close(theirs_out)
        self._requests = os.fdopen(ours_out, "w", encoding="utf-8")
        self._events = queue.SimpleQueue()
        follow = threading.Thread(
            target=self._read,
            args=(ours_in, self._events, self._requests),
            daemon=True,
        )
        follow.start()

    def _read(
        self, source: int, events: queue.SimpleQueue[str | None], requests: IO[str]
    ) -> None:
        with os.fdopen(source, encoding="utf-8", errors="replace") as lines:
            for line in lines:
                events.put(line)
        with contextlib.suppress(OSError):
            requests.close()
        events.put(None)

    def execute(
        self, code: str, finished: Callable[[], None], gone: Callable[[], bool] | None
    ) -> Iterator[bytes]:
        """The lines of one execution. When the client goes it is interrupted,
        if `gone` can tell; else it runs on, and the next one waits for it."""
        self._turn.acquire()
        try:
            try:
                self._up()
                assert self._requests
                self._requests.write(json.dumps(code) + "\n")
                self._requests.flush()
            except (BoxClosed, OSError):
                raise Broken from None
            over = False
            try:
                for line in self._lines(gone):
                    over = line is None or '"end_of_execution"' in line
                    if line is None:
                        yield from self._died()
                        return
                    yield line.encode()
                    if over:
                        return
            finally:
                if not over:
                    if gone and self._kernel:
                        self._kernel.send_signal(signal.SIGINT)
                    for line in self._lines():
                        if line is None or '"end_of_execution"' in line:
                            break
        finally:
            self._turn.release()
            finished()

    def _lines(self, gone: Callable[[], bool] | None = None) -> Iterator[str | None]:
        silent = 0.0
        while True:
            try:
                line = self._events.get(timeout=LOOK_S)
            except queue.Empty:
                silent += LOOK_S
                if gone and gone():
                    return
                if silent >= KEEPALIVE_S:
                    silent = 0.0
                    yield '{"type": "keepalive"}\n'
                continue
            yield line
            if line is None:
                return

    def _died(self) -> Iterator[bytes]:
        if self._box.closed:
            raise Broken
        assert self._kernel
        self._kernel.wait()
        self._box.ended(self._kernel.pid)
        yield _line(
            {
                "type": "error",
                "name": "ContextRestarting",
                "value": "Context was restarted",
                "traceback": "",
            }
        )
        yield _line({"type": "end_of_execution"})

    def stop(self) -> None:
        if self._kernel and self._kernel.poll() is None:
            try:
                os.killpg(self._kernel.pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
            self._kernel.wait()
            self._box.ended(self._kernel.pid)


def _pipe() -> tuple[int, int]:
    """Above 9, so that 3 and 4 are free to be given."""
    ends = os.pipe()
    high = [fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends]
    for end in ends:
        os.close(end)
    return high[0], high[1]


def python() -> str:
    return "/usr/bin/python3" if Path("/usr/bin/python3").exists() else sys.executable


class Interpreter:
    """That of one sandbox."""

    def __init__(self, box: Box, interrupts: bool) -> None:
        self._box = box
        self._interrupts = interrupts
        self._lock = threading.Lock()
        self._default = Context(box, HOME)
        self._contexts = {self._default.id: self._default}
        self._stale = False  # the default one was restarted

    def execute(self, request: Request, finished: Callable[[], None]) -> Reply:
        asked = request.json()
        language, name = asked.get("language"), asked.get("context_id")
        if language and name:
            text = b"Only one of context_id or language can be provided"
            return Reply(400, text)
        if language not in (None, "", "python"):
            return Reply(500, f"Kernel {language} not found".encode())
        with self._lock:
            context = self._contexts.get(name) if name else self._default
        if context is None:
            return Reply(404, f"Context {name} not found".encode())
        if self._stale and not name and not language:
            return Reply(200, pieces=iter(()))  # what the alias is left with
        code = asked["code"]
        if len(code.encode()) > MOST_CODE:
            return Reply(200, pieces=_refused("WebSocketError", "message too big"))
        for key, value in (asked.get("env_vars") or {}).items():
            # Pasted, as it is there: a quote in it breaks the code.
            code = f"import os; os.environ['{key}'] = '{value}'\n{code}"
        gone = request.gone if self._interrupts else None
        return Reply(200, pieces=context.execute(code, finished, gone))

    def contexts(self, op: str, name: str, request: Request) -> Reply:
        with self._lock:
            if op == "contexts_list":
                found = [one.told() for one in self._contexts.values()]
                return json_reply(200, found)
            if op == "context_create":
                return self._create(request.json() or {})
            context = self._contexts.get(name)
            if context is None:
                return Reply(404, f"Context {name} not found".encode())
            if op == "context_delete":
                del self._contexts[name]
            elif context is self._default:
                self._stale = True
        context.stop()
        return json_reply(200, None)

    def _create(self, asked: dict[str, Any]) -> Reply:
        if asked.get("language", "python") not in ("", "python"):
            text = f"Kernel {asked['language']} not found"
            return Reply(500, text.encode())
        context = Context(self._box, asked.get("cwd") or HOME)
        self._contexts[context.id] = context
        return json_reply(200, context.told())


def _refused(name: str, value: str) -> Iterator[bytes]:
    yield _line({"type": "error", "name": name, "value": value, "traceback": ""})
    yield _line({"type": "end_of_execution"})


def _line(event: dict[str, Any]) -> bytes:
    return (json.dumps(event) + "\n").encode()
