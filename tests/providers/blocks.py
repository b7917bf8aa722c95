"""What servers of tests that really run blocks have in common: faults on
demand, engines, who may ask, and answers in the shape of execute_block."""

from __future__ import annotations

import os
import random
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Protocol

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "worker" / "runner"
MAX_BODY = 128 << 20
# Of an answer of the runner, what an endpoint tells.
TOLD = frozenset(
    "success result stdout stderr error error_type line_number function_name "
    "execution_time_seconds server_error code_hash stdout_truncated "
    "stderr_truncated".split()
)


@dataclass
class Rule:
    """What is to go wrong, and how often."""

    faults: ClassVar[frozenset[str]] = frozenset()  # that a server knows

    fault: str
    count: int = 1 << 30  # requests that it hits at most
    every: int = 1  # hits every nth request that it matches
    skip: int = 0  # lets the first ones pass
    share: float = 1.0  # of those that are left, at random
    workspace: str | None = None
    status: int = 0
    retry_after: int | None = None
    seconds: float = 1.0
    bytes: int = 64 << 20
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.fault not in self.faults:
            raise ValueError(f"no fault is called {self.fault!r}")
        self._random = random.Random(f"{self.fault} {self.share}")

    def takes(self, workspace: str | None) -> bool:
        if self.hits >= self.count or self.workspace not in (None, workspace):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.seen - self.skip) % self.every:
            return False
        if self.share < 1 and self._random.random() >= self.share:
            return False
        self.hits += 1
        return True


class RunLog:
    """The runs that were started, in their order: what a worker's rows are
    held against. A line is written before the code of its run begins."""

    def __init__(self, path: Path | None) -> None:
        self.runs: list[str] = []  # run ids
        self._lock = threading.Lock()
        self._fd = -1
        if path:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)

    def add(self, request: Mapping[str, Any], key: str) -> None:
        words = request["run_id"], request["workspace_id"], request["code_hash"], key
        with self._lock:
            self.runs.append(request["run_id"])
            if self._fd >= 0:
                os.write(self._fd, f"{' '.join(words)}\n".encode())

    def close(self) -> None:
        with self._lock:  # a request may still be under way
            if self._fd >= 0:
                os.close(self._fd)
            self._fd = -1


# ---- who runs blocks ----------------------------------------------------------


Answer = dict[str, Any]


class Engine(Protocol):
    def submit(self, request: Mapping[str, Any]) -> Future[Answer]: ...

    def kill(self, run: Future[Answer]) -> None: ...

    def close(self) -> None: ...


class Echo:
    """Returns the inputs: for tests of everything but Python."""

    def submit(self, request: Mapping[str, Any]) -> Future[Answer]:
        done: Future[Answer] = Future()
        done.set_result(
            {
                "success": True,
                "result": request["inputs_json"],
                "stdout": None,
                "stderr": None,
                "execution_time_seconds": 0.000001,
            }
        )
        return done

    def kill(self, run: Future[Answer]) -> None:
        pass  # it is done

    def close(self) -> None:
        pass


class Runner:
    """The fleet's own runner (worker/runner), one process for all threads."""

    def __init__(self, *arguments: str) -> None:
        sys.path.insert(0, str(RUNNER))
        from bfrunner import frames

        self._pack = frames.pack
        self._reader = frames.Reader(MAX_BODY)
        self._sock, theirs = socket.socketpair()
        fd = theirs.fileno()
        command = [sys.executable, "-I", str(RUNNER / "bfrunner"), "--fd", str(fd)]
        self._process = subprocess.Popen([*command, *arguments], pass_fds=[fd])
        theirs.close()
        self._lock = threading.Lock()
        self._waiting: dict[str, Future[Answer]] = {}
        self._serial = 0
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def submit(self, request: Mapping[str, Any]) -> Future[Answer]:
        done: Future[Answer] = Future()
        timeout = float(request.get("timeout_seconds", "20"))
        with self._lock:
            # Of our own: a run that a worker lost may come again meanwhile.
            self._serial += 1
            run_id = f"{self._serial:032x}"
            self._waiting[run_id] = done
            head = {
                "op": "run",
                "run_id": run_id,
                "workspace": request["workspace_id"],
                "timeout_ms": max(1, round(timeout * 1000)),
                "context": request.get("workflow_context") or {},
                "run_function_name": request["run_function_name"],
                "code_hash": request["code_hash"],
            }
            for name in (
                "code_str",
                "imports",
                "init_function_code",
                "init_function_name",
            ):
                if request.get(name) is not None:
                    head[name] = request[name]
            for piece in self._pack(head, request["inputs_json"].encode()):
                self._sock.sendall(piece)
        return done

    def kill(self, run: Future[Answer]) -> None:
        """Its answer comes all the same, and says so."""
        with self._lock:
            for run_id, waiting in self._waiting.items():
                if waiting is run:
                    for piece in self._pack({"op": "kill", "run_id": run_id}, b""):
                        self._sock.sendall(piece)

    def _receive(self) -> None:
        while data := self._sock.recv(1 << 20):
            for head, body in self._reader.feed(data):
                if head["op"] == "done":
                    with self._lock:
                        waiting = self._waiting.pop(head["run_id"])
                    if head["success"]:
                        head["result"] = bytes(body or b"").decode()
                    waiting.set_result(head)
        with self._lock:
            for waiting in self._waiting.values():
                waiting.set_exception(ConnectionError("the runner is gone"))

    def close(self) -> None:
        self._sock.shutdown(socket.SHUT_RDWR)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._thread.join()
        self._sock.close()


def engine_of(name: str) -> Engine:
    if name == "auto":
        name = "runner" if (RUNNER / "bfrunner").is_dir() else "echo"
    return Echo() if name == "echo" else Runner()


# ---- who may ask --------------------------------------------------------------


class Refused(Exception):
    """The request is not to be run: status and why."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


def trusted_run_keys(path: Path) -> dict[str, bytes]:
    """Public keys by id out of a fleet's `trusted` file."""
    wire = _wire()
    keys = {}
    for line in path.read_text().splitlines():
        words = line.split()
        if words[:2] == ["run", "ed25519"]:
            public = wire.unb64(words[2], "bad_key")
            keys[wire.key_id(public)] = public
    return keys


def _wire() -> Any:
    """Only who checks signatures needs `cryptography`."""
    sys.path.insert(0, str(ROOT / "tests" / "wire"))
    import bfwire

    return bfwire


class Guard:
    """Checks signatures, and that none comes twice."""

    def __init__(self, keys: Mapping[str, bytes], skew_s: float = 0) -> None:
        self._wire = _wire()
        self._skew_s = skew_s  # of this clock
        self._keys = dict(keys)
        self._lock = threading.Lock()
        self._nonces: dict[str, int] = {}

    def trust(self, keys: Mapping[str, bytes]) -> None:
        self._keys = dict(keys)

    def check(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[str, str]:
        """The run id that was signed, and the id of the key."""
        now = int(time.time() + self._skew_s)
        try:
            said = self._wire.http_verify(
                method, target, headers, body, self._keys, now
            )
        except self._wire.WireError as error:
            raise Refused(401, str(error)) from None
        with self._lock:
            old = [n for n, expires in self._nonces.items() if expires < now]
            for nonce in old:
                del self._nonces[nonce]
            if said.nonce in self._nonces:
                raise Refused(401, "replayed")
            self._nonces[said.nonce] = said.expires_s
        return said.run_id, said.key_id
