"""A zygote of our own behind an event loop: for servers.

It is started again when it dies; what was under way then is `Gone`, for nobody
knows how far it had come.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bfrunner import frames
from bfrunner.client import Done
from bfrunner.options import start_environment

_PIECE = 1 << 20
_STOP_S = 10
_AGAIN_S = (0.05, 0.2, 1.0, 5.0)  # between deaths before it was ready


class Gone(Exception):
    """The zygote died; the run may have run."""


class NotReady(Exception):
    """There is no zygote to give the run to: it did not run."""


class Engine:
    """One event loop uses it.  arguments: as `bfrunner --fd` takes them;
    run_as: the user whose rights blocks get, if we may choose."""

    def __init__(
        self,
        arguments: Sequence[str] = (),
        max_result: int = 16 << 20,
        run_as: str | None = None,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self._arguments = list(arguments)
        self._max_result = max_result
        self._run_as = run_as
        self._told = told
        self._ids = itertools.count(1)
        self._waiting: dict[str, asyncio.Future[Done]] = {}
        self._up = asyncio.Event()
        self._writer: asyncio.StreamWriter | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.ready: dict[str, Any] = {}

    def start(self) -> None:
        self._keeper = asyncio.get_running_loop().create_task(self._keep())

    @property
    def up(self) -> bool:
        return self._up.is_set()

    async def wait_ready(self, seconds: float) -> None:
        """NotReady when it takes longer."""
        try:
            await asyncio.wait_for(self._up.wait(), seconds)
        except TimeoutError:
            raise NotReady("the runner has not started yet") from None

    async def run(self, head: dict[str, Any], body: bytes) -> Done:
        """head: a `run` frame without op and run_id.  Cancelled, the run is
        killed.  ValueError when it is no JSON, or too large."""
        # Of our own: the same run may come again while the first one dies.
        run_id = f"{os.getpid()}.{next(self._ids)}"
        pieces = frames.pack({"op": "run", "run_id": run_id, **head}, body)
        if len(pieces[0]) - frames.PREFIX.size > frames.FRAME_HEAD_BYTES:
            raise ValueError(f"code and context are over {frames.FRAME_HEAD_BYTES}")
        writer = self._writer
        if writer is None or not self.up:
            raise NotReady("the runner has died and is started again")
        done = asyncio.get_running_loop().create_future()
        self._waiting[run_id] = done
        try:
            for piece in pieces:
                writer.write(piece)
            await writer.drain()
            return await done
        except ConnectionError:
            raise Gone("the runner died") from None
        finally:
            if self._waiting.pop(run_id, None) is not None and writer is self._writer:
                self._kill(writer, run_id)

    async def close(self) -> None:
        """Every run is killed."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    def _kill(self, writer: asyncio.StreamWriter, run_id: str) -> None:
        for piece in frames.pack({"op": "kill", "run_id": run_id}):
            writer.write(piece)

    async def _keep(self) -> None:
        """Until cancelled: a zygote, and another after it."""
        failures = 0
        while True:
            try:
                was_up = await self._live()
            except OSError as error:
                was_up = False
                self._told(f"the runner cannot be started: {error}")
            failures = 0 if was_up else min(failures + 1, len(_AGAIN_S))
            self._told("the runner has died and is started again")
            await asyncio.sleep(_AGAIN_S[max(0, failures - 1)])

    async def _live(self) -> bool:
        """The life of one zygote; was it ever ready?"""
        ours, theirs = socket.socketpair()
        try:
            self._process = self._spawn(theirs)
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        reader, writer = await asyncio.open_connection(sock=ours)
        self._writer = writer
        try:
            await self._listen(reader)
        except (OSError, frames.ProtocolError) as error:
            self._told(f"the runner's socket: {error}")
        finally:
            was_up = self.up
            self._up.clear()
            self._writer = None
            for future in self._waiting.values():
                if not future.done():
                    future.set_exception(Gone("the runner died"))
            self._waiting.clear()
            writer.transport.abort()
            await asyncio.to_thread(_bury, self._process)
        return was_up

    def _spawn(self, theirs: socket.socket) -> subprocess.Popen[bytes]:
        fd = theirs.fileno()
        package = Path(__file__).resolve().parent
        command = [sys.executable, "-I", str(package), "--fd", str(fd)]
        more: dict[str, Any] = {"env": start_environment()}
        if self._run_as is not None:
            more |= {"user": self._run_as, "group": _group(self._run_as)}
            more["extra_groups"] = []
            more["env"]["HOME"] = tempfile.gettempdir()  # ours is closed to it
        return subprocess.Popen(
            [*command, *self._arguments],
            pass_fds=[fd],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            **more,
        )

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        frames_in = frames.Reader(self._max_result)
        while data := await reader.read(_PIECE):
            for head, body in frames_in.feed(data):
                self._on_frame(head, bytes(body or b""))

    def _on_frame(self, head: dict[str, Any], body: bytes) -> None:
        if head.get("op") == "ready":
            self.ready = head
            self._up.set()
        elif head.get("op") == "done":
            future = self._waiting.pop(str(head.get("run_id")), None)
            if future is not None and not future.done():
                future.set_result(Done(head, body))


def _bury(process: subprocess.Popen[bytes]) -> None:
    """It ends by itself when its socket closes, and its runs with it."""
    try:
        process.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _group(user: str) -> int:
    import pwd

    return pwd.getpwnam(user).pw_gid
