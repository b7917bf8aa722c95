"""What the zygote remembers of a run and of a template."""

from __future__ import annotations

import os
import socket
from collections import deque
from dataclasses import dataclass, field
from typing import Any

from bfrunner.cache import Code, Key
from bfrunner.options import STREAM_CHARS
from bfrunner.text import Capture


def _captures() -> tuple[Capture, Capture]:
    return Capture(STREAM_CHARS), Capture(STREAM_CHARS)


@dataclass(eq=False)
class Run:
    """States: queued, booting (its template is loading), starting (its fork is
    ordered), running (its pid is known), ending (dead, not reaped), answered."""

    id: str
    key: Key
    code: Code
    area: int  # descriptor; -1 when closed
    size: int  # what it holds of the queue's ceiling
    timeout_ms: int
    state: str = "queued"
    cause: str = ""  # why the zygote ends it: deadline or killed
    retries: int = 0
    template: Template | None = None
    pid: int = 0
    pidfd: int | None = None
    start_ns: int = 0
    due_ns: int = 0  # when something must have happened
    started_at_ms: int = 0
    # As its template tells them, where its code ran too: an estimate.
    cpu_seconds: float = 0.0
    max_rss_bytes: int = 0
    cold: bool = False  # it waited for its code to be loaded
    captures: tuple[Capture, Capture] = field(default_factory=_captures)
    # Read ends, and the write ends until the run's process has them.
    pipes: dict[int, Capture] = field(default_factory=dict)
    writers: list[int] = field(default_factory=list)

    def open_pipes(self) -> None:
        for capture in self.captures:
            read, write = os.pipe2(os.O_CLOEXEC)
            os.set_blocking(read, False)
            self.pipes[read] = capture
            self.writers.append(write)

    def close_writers(self) -> None:
        for fd in self.writers:
            os.close(fd)
        self.writers.clear()

    def read_output(self, fd: int, most: int = 1) -> bool:
        """False at the end of a stream.  A stream may have another writer than
        the run, so that no more than `most` pieces are taken at a time."""
        try:
            for _ in range(most):
                data = os.read(fd, 64 << 10)
                if not data:
                    return False
                self.pipes[fd].add(data)
        except BlockingIOError:
            pass
        return True


@dataclass(eq=False)
class Template:
    key: Key
    pid: int
    control: socket.socket
    booter: Run | None  # the run whose time loading counts as
    ready: bool = False
    dying: bool = False
    stopped: bool = False
    active: set[Run] = field(default_factory=set)
    starting: deque[Run] = field(default_factory=deque)  # in the order of orders
    waiting: deque[Run] = field(default_factory=deque)  # for it to be ready
    report: dict[str, Any] | None = None  # why loading failed
    idle_since_ns: int = 0

    def move_waiting(self, queue: deque[Run]) -> None:
        """To the head of the queue, in order."""
        queue.extendleft(reversed(self.waiting))
        self.waiting.clear()
