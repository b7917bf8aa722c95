"""envd's process.Process: commands that really run in a sandbox's box."""

from __future__ import annotations

import base64
import os
import queue
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from typing import Any

from .box import Box, BoxClosed
from .connect import ConnectError, end_frame, frame

CHUNK = 32 << 10
RETAINED_S = 30.0
SIGNALS = {"SIGNAL_SIGKILL": signal.SIGKILL, "SIGNAL_SIGTERM": signal.SIGTERM}


class Process:
    """One command, and those who listen to it."""

    def __init__(self, box: Box, asked: dict[str, Any]) -> None:
        config = asked.get("process") or {}
        cwd = box.absolute(config.get("cwd") or "~")
        if not box.host(cwd).exists():
            raise ConnectError("invalid_argument", f"cwd '{cwd}' does not exist")
        self.tag = asked.get("tag")
        self.config = {
            name: config[name]
            for name in ("cmd", "args", "envs", "cwd")
            if config.get(name)
        }
        wants_stdin = asked.get("stdin", True)
        self._lock = threading.Lock()
        self._listeners: list[queue.SimpleQueue[dict[str, Any] | None]] = []
        self.end: dict[str, Any] | None = None
        self.ended_at = 0.0
        # nice, as envd does it: what cannot be run is its error, and 127.
        command = [config.get("cmd", ""), *(config.get("args") or ())]
        self._popen = box.spawn(
            ["/usr/bin/nice", "-n", "0", *command],
            cwd=cwd,
            envs=config.get("envs") or {},
            stdin=subprocess.PIPE if wants_stdin else subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self.pid = self._popen.pid
        self._box = box

    def start(self) -> None:
        """From here on it is listened to."""
        readers = [
            threading.Thread(target=self._read, args=args, daemon=True)
            for args in (
                ("stdout", self._popen.stdout),
                ("stderr", self._popen.stderr),
            )
        ]
        for reader in readers:
            reader.start()
        threading.Thread(target=self._wait, args=(readers,), daemon=True).start()

    def listen(self) -> queue.SimpleQueue[dict[str, Any] | None]:
        events: queue.SimpleQueue[dict[str, Any] | None] = queue.SimpleQueue()
        with self._lock:
            if self.end is not None:
                events.put({"end": self.end})
                events.put(None)
            else:
                self._listeners.append(events)
        return events

    def write(self, data: bytes) -> None:
        if self._popen.stdin is None:
            raise ConnectError("failed_precondition", "stdin is not enabled")
        try:
            self._popen.stdin.write(data)
            self._popen.stdin.flush()
        except (OSError, ValueError) as broken:
            text = f"error writing to stdin: {broken}"
            raise ConnectError("internal", text) from None

    def close_stdin(self) -> None:
        if self._popen.stdin:
            self._popen.stdin.close()

    def signal(self, number: int) -> None:
        self._popen.send_signal(number)

    def _tell(self, event: dict[str, Any] | None) -> None:
        with self._lock:
            for listener in self._listeners:
                listener.put(event)

    def _read(self, name: str, pipe: Any) -> None:
        while data := os.read(pipe.fileno(), CHUNK):
            self._tell({"data": {name: base64.b64encode(data).decode()}})
        pipe.close()

    def _wait(self, readers: list[threading.Thread]) -> None:
        """The end comes when everyone who holds the pipes has let them go."""
        for reader in readers:
            reader.join()
        code = self._popen.wait()
        self._box.ended(self.pid)
        if self._popen.stdin:
            self._popen.stdin.close()
        with self._lock:
            self.end = end_of(code)
            self.ended_at = time.monotonic()
            for listener in self._listeners:
                listener.put({"end": self.end})
                listener.put(None)


def end_of(code: int) -> dict[str, Any]:
    if code == 0:
        return {"exited": True, "status": "exit status 0"}
    if code > 0:
        text = f"exit status {code}"
        return {"exitCode": code, "exited": True, "status": text, "error": text}
    text = f"signal: {_signal_name(-code)}"
    return {"exitCode": -1, "status": text, "error": text}


def _signal_name(number: int) -> str:
    """As Go says it."""
    names = {9: "killed", 15: "terminated", 2: "interrupt", 11: "segmentation fault"}
    return names.get(number, f"signal {number}")


class Processes:
    """Those of one sandbox."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._lock = threading.Lock()
        self._all: dict[int, Process] = {}

    def start(
        self, asked: dict[str, Any], timeout_s: float, keepalive_s: float
    ) -> Iterator[bytes]:
        try:
            process = Process(self._box, asked)
        except (BoxClosed, ConnectError) as refused:
            yield end_frame(refused)
            return
        with self._lock:
            self._all[process.pid] = process
        events = process.listen()
        process.start()
        yield from _follow(process, events, timeout_s, keepalive_s)

    def connect(self, asked: dict[str, Any], keepalive_s: float) -> Iterator[bytes]:
        try:
            process = self.find(asked, gone=True)
        except ConnectError as refused:
            yield end_frame(refused)
            return
        yield from _follow(process, process.listen(), 0, keepalive_s)

    def find(self, asked: dict[str, Any], gone: bool = False) -> Process:
        """By pid; by tag only while no other tagged process runs: envd finds one
        of several by chance."""
        selector = asked.get("process") or {}
        now = time.monotonic()
        with self._lock:
            for pid, one in list(self._all.items()):
                if one.end is not None and now - one.ended_at > RETAINED_S:
                    del self._all[pid]
            there = [one for one in self._all.values() if gone or one.end is None]
        if "pid" in selector:
            for one in there:
                if one.pid == selector["pid"]:
                    return one
            text = f"process with pid {selector['pid']} not found"
            raise ConnectError("not_found", text)
        tagged = [one for one in there if one.tag]
        if len(tagged) == 1 and tagged[0].tag == selector.get("tag"):
            return tagged[0]
        text = f"process with tag {selector.get('tag')} not found"
        raise ConnectError("not_found", text)

    def listed(self) -> list[dict[str, Any]]:
        with self._lock:
            return [
                {"config": one.config, "pid": one.pid}
                | ({"tag": one.tag} if one.tag else {})
                for one in self._all.values()
                if one.end is None
            ]


def _follow(
    process: Process,
    events: queue.SimpleQueue[dict[str, Any] | None],
    timeout_s: float,
    keepalive_s: float,
) -> Iterator[bytes]:
    """A client that goes does not end the process; the deadline of the call
    kills the process itself, and nothing else."""
    end = time.monotonic() + timeout_s if timeout_s else float("inf")
    watch = None
    if timeout_s:
        watch = threading.Timer(timeout_s, process.signal, (signal.SIGKILL,))
        watch.daemon = True
        watch.start()
    yield frame({"event": {"start": {"pid": process.pid}}})
    while True:
        left = end - time.monotonic()
        try:
            event = events.get(timeout=max(0, min(left, keepalive_s)))
        except queue.Empty:
            if left > keepalive_s:
                yield frame({"event": {"keepalive": {}}})
                continue
            text = "context deadline exceeded"
            yield end_frame(ConnectError("deadline_exceeded", text))
            return
        if event is None:
            break
        yield frame({"event": event})
    if watch:
        watch.cancel()
    yield end_frame(None)
