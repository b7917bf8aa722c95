"""`bfrunner http`: a block server (PROTOCOL.md §9) on the standard library."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bfrunner import execute, http1
from bfrunner.door import Door, Ticket, Turned
from bfrunner.execute import Answer
from bfrunner.http1 import BadHead, Head, Wire

_SKIPPED = 8 << 20  # of a refused body, so that its connection goes on
_SLOWEST = 256 << 10  # bytes a second that a body or an answer must make
_PATHS = ("/", "/execute_block")


@dataclass(frozen=True)
class Pace:
    """How long a client may take, in seconds, and how many there may be."""

    connections: int = 512
    # Longer than the proxies of clouds keep theirs, or they meet closed ones.
    idle: float = 650.0  # between requests
    head: float = 10.0
    body: float = 15.0  # and as long as _SLOWEST takes
    drain: float = 10.0  # of runs under way, when we are to end

    def of(self, size: int) -> float:
        return self.body + size / _SLOWEST


@dataclass
class Server:
    door: Door
    origins: Sequence[str] = ()
    pace: Pace = field(default_factory=Pace)
    connections: int = 0
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    # Who waits longest is first.
    _idle: dict[Wire, None] = field(default_factory=dict)
    _refused: dict[Wire, None] = field(default_factory=dict)
    _closing: bool = False

    async def listen(self, host: str, port: int) -> int:
        """The port, which was free when it was 0."""
        self._server = await asyncio.start_server(
            self._on_connection, host, port, backlog=256, limit=64 << 10
        )
        found: int = self._server.sockets[0].getsockname()[1]
        return found

    async def close(self) -> None:
        """Takes nothing new, and lets what runs come to its end for a while."""
        self._closing = True
        self._server.close()
        for wire in list(self._idle):
            wire.abort()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=self.pace.drain)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def healthz(self) -> Answer:
        engine, door = self.door.engine, self.door
        told = {
            "status": "ok" if engine.up and not self._closing else "starting",
            "runs": door.runs,
            "slots": door.limits.runs,
            "held_bytes": door.held,
            "connections": self.connections,
            "keys": None if door.verifier is None else len(door.verifier.keys),
            "python": engine.ready.get("python"),
            "preloaded": engine.ready.get("preloaded"),
            "counts": door.counts,
        }
        status = 200 if told["status"] == "ok" else 503
        return Answer(status, json.dumps(told).encode())

    async def _on_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        wire = Wire(reader, writer)
        full = self.connections >= self.pace.connections
        if self._closing or (full and not self._make_room()):
            busy = execute.problem(503, "server busy", retry_after_s=1)
            writer.write(http1.pack(busy, keep=False) + busy.body)
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        try:
            await self._serve(wire)
        except (http1.Gone, OSError):
            pass
        finally:
            self.connections -= 1
            self._tasks.discard(task)
            wire.abort()

    def _make_room(self) -> bool:
        """Closes the idlest connection, if one is idle.  Those that have never
        brought a run that was taken go first, and go in the midst of a head or of a
        refused body, too: who has no key keeps out nobody who has one."""
        spare = [wire for wire in self._idle if wire.silent or not wire.known]
        spare += [wire for wire in self._refused if not wire.known]
        if not spare:
            return False
        wire = min(spare, key=lambda one: (one.known, not self._is_idle(one)))
        self._idle.pop(wire, None)
        self._refused.pop(wire, None)
        wire.abort()
        return True

    def _is_idle(self, wire: Wire) -> bool:
        return wire in self._idle and wire.silent

    async def _serve(self, wire: Wire) -> None:
        keep = True
        while keep and not self._closing:
            self._idle[wire] = None
            try:
                head = await wire.head(self.pace.idle, self.pace.head)
            except BadHead as bad:
                self._idle.pop(wire, None)
                answer = execute.problem(bad.status, str(bad))
                await self._say(wire, answer, keep=False)
                return
            finally:
                self._idle.pop(wire, None)
            if head is None:
                return
            keep = await self._answer(wire, head)

    async def _answer(self, wire: Wire, head: Head) -> bool:
        """May the connection go on?"""
        early = self._without_body(head)
        if early is not None:
            return await self._turn_away(wire, head, early)
        targets = head.targets(self.origins)
        try:
            entry = self.door.enter(head.method, targets, head.headers, head.length)
            with entry as ticket:
                wire.known = True
                return await self._execute(wire, head, ticket)
        except Turned as turned:
            return await self._turn_away(wire, head, turned.answer)

    def _without_body(self, head: Head) -> Answer | None:
        if head.path == "/healthz" and head.method == "GET":
            return self.healthz()
        if head.path not in _PATHS:
            return execute.problem(404, "POST /execute_block, or GET /healthz")
        if head.method != "POST":
            return execute.problem(405, "POST /execute_block")
        return None

    async def _execute(self, wire: Wire, head: Head, ticket: Ticket) -> bool:
        if head.expects:
            await wire.write(b"HTTP/1.1 100 Continue\r\n\r\n", self.pace.body)
        body = await wire.body(head.length, self.pace.of(head.length))
        run = asyncio.ensure_future(self.door.run(ticket, body))
        watch = asyncio.ensure_future(wire.closed())
        try:
            await asyncio.wait([run, watch], return_when=asyncio.FIRST_COMPLETED)
            if not run.done():
                self.door.count("left")
                return False
        finally:
            for task in (watch, run):
                task.cancel()
            await asyncio.gather(watch, run, return_exceptions=True)
        keep = head.keep and not self._closing
        return await self._say(wire, run.result(), keep)

    async def _turn_away(self, wire: Wire, head: Head, answer: Answer) -> bool:
        keep = head.keep and head.length <= _SKIPPED and not head.expects
        self._refused[wire] = None
        try:
            if keep:
                await wire.skip(head.length, self.pace.body)
            return await self._say(wire, answer, keep)
        finally:
            self._refused.pop(wire, None)

    async def _say(self, wire: Wire, answer: Answer, keep: bool) -> bool:
        seconds = self.pace.of(len(answer.body))
        await wire.write(http1.pack(answer, keep) + answer.body, seconds)
        if not keep:
            await wire.finish(min(2.0, self.pace.body))
        return keep


async def serve(
    server: Server, host: str, port: int, listening: Callable[[int], None]
) -> None:
    """Until SIGTERM or SIGINT."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    server.door.engine.start()
    try:
        listening(await server.listen(host, port))
        await stop.wait()
        await server.close()
    finally:
        await server.door.engine.close()
