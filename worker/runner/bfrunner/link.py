"""The zygote's end of the worker's socket."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from typing import Any

from bfrunner import frames
from bfrunner.loop import READ, WRITE, Loop

_PIECE = 256 << 10


class Link:
    """Never blocks: what cannot be sent at once is kept, and `backlog` says how
    much that is.  `on_drained` hears when all of it has gone."""

    def __init__(
        self,
        sock: socket.socket,
        loop: Loop,
        max_body: int,
        on_frame: Callable[[dict[str, Any], bytearray | None], None],
        on_drained: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._loop = loop
        self._reader = frames.Reader(max_body)
        self._on_frame = on_frame
        self._on_drained = on_drained
        self._output: deque[memoryview] = deque()
        self._events = READ
        self.backlog = 0
        self.closed = False
        loop.watch(sock, READ, self._on_event)

    def send(self, head: dict[str, Any], body: bytes = b"") -> None:
        for piece in frames.pack(head, body):
            self._output.append(memoryview(piece))
            self.backlog += len(piece)
        self._flush()

    def _on_event(self, events: int) -> None:
        if events & WRITE:
            self._flush()
            if not self._output:
                self._on_drained()
        if events & READ:
            self._receive()

    def _flush(self) -> None:
        while self._output:
            try:
                sent = self._sock.send(self._output[0])
            except BlockingIOError:
                break
            self.backlog -= sent
            rest = self._output.popleft()[sent:]
            if rest:
                self._output.appendleft(rest)
        wanted = READ | WRITE if self._output else READ
        if wanted != self._events:
            self._events = wanted
            self._loop.watch(self._sock, wanted, self._on_event)

    def _receive(self) -> None:
        try:
            data = self._sock.recv(_PIECE)
        except BlockingIOError:
            return
        if not data:
            self.closed = True
        for head, body in self._reader.feed(data):
            self._on_frame(head, body)
