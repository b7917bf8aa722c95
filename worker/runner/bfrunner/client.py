"""The other end of a runner's socket, for the command line and for tests; it
blocks, and one thread may use it."""

from __future__ import annotations

import select
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bfrunner import frames
from bfrunner.cache import Code
from bfrunner.options import MIB, start_environment


@dataclass
class Done:
    """The end of a run: its `done` frame and the result."""

    head: dict[str, Any]
    body: bytes

    def __getattr__(self, name: str) -> Any:
        try:
            return self.head[name]
        except KeyError:
            raise AttributeError(name) from None


class RunnerGone(Exception):
    """The runner closed its socket, or did not answer in time."""


@dataclass
class Runner:
    """A runner process of our own."""

    arguments: Sequence[str] = ()
    python: str = sys.executable
    ready: dict[str, Any] = field(default_factory=dict)
    started: dict[str, dict[str, Any]] = field(default_factory=dict)
    done: dict[str, Done] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.sock, theirs = socket.socketpair()
        self._reader = frames.Reader(1024 * MIB)
        package = Path(__file__).resolve().parent
        fd = theirs.fileno()
        command = [self.python, "-I", str(package), "--fd", str(fd), *self.arguments]
        env = start_environment()
        self.process = subprocess.Popen(command, pass_fds=[fd], env=env)
        theirs.close()

    def __enter__(self) -> Runner:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> int:
        """Closing the socket ends every run; the exit status of the runner."""
        self.sock.close()
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def wait_ready(self, seconds: float = 60) -> dict[str, Any]:
        self._until(lambda: bool(self.ready), seconds)
        return self.ready

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        """Reads while it writes, so that neither side can block the other."""
        data = memoryview(b"".join(frames.pack(head, body)))
        self.sock.setblocking(False)
        while data:
            try:
                data = data[self.sock.send(data) :]
            except BlockingIOError:
                self._wait(write=True, seconds=60)
            self._receive()

    def submit(
        self,
        run_id: str,
        code: Code | str,
        inputs: bytes = b"{}",
        *,
        workspace: str = "local",
        function: str = "run",
        timeout_ms: int = 20_000,
        context: dict[str, Any] | None = None,
    ) -> None:
        """Sends a run, with its code."""
        code = Code(code) if isinstance(code, str) else code
        head = {
            "op": "run",
            "run_id": run_id,
            "workspace": workspace,
            "code_hash": code.hash,
            "timeout_ms": timeout_ms,
            "run_function_name": function,
            "context": context or {},
            "code_str": code.code,
            "imports": list(code.imports),
            "init_function_code": code.init,
            "init_function_name": code.init_name,
        }
        self.send(head, inputs)

    def wait(self, run_id: str, seconds: float = 60) -> Done:
        self._until(lambda: run_id in self.done, seconds)
        return self.done.pop(run_id)

    def wait_started(self, run_id: str, seconds: float = 60) -> dict[str, Any]:
        self._until(lambda: run_id in self.started, seconds)
        return self.started[run_id]

    def _until(self, condition: Any, seconds: float) -> None:
        end = time.monotonic() + seconds
        while not condition():
            left = end - time.monotonic()
            if left <= 0:
                raise RunnerGone(f"no answer within {seconds} s")
            self._wait(write=False, seconds=left)
            self._receive()

    def _wait(self, write: bool, seconds: float) -> None:
        writers = [self.sock] if write else []
        select.select([self.sock], writers, [], seconds)

    def _receive(self) -> None:
        for head, body in self._arrived():
            if head["op"] == "ready":
                self.ready = head
            elif head["op"] == "started":
                self.started[head["run_id"]] = head
            elif head["run_id"] in self.done:
                raise RunnerGone(f"two answers to {head['run_id']}")
            else:
                self.done[head["run_id"]] = Done(head, bytes(body or b""))

    def _arrived(self) -> Iterator[tuple[dict[str, Any], bytearray | None]]:
        self.sock.setblocking(False)
        try:
            data = self.sock.recv(1 << 20)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        if not data:
            raise RunnerGone("the runner closed its socket")
        yield from self._reader.feed(data)
