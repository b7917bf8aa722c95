#!/usr/bin/env python3
"""A provider for tests: an HTTP server that speaks execute_block (PROTOCOL.md
§9), really runs blocks, keeps its own log of the runs, and fails on demand.

    block_server.py --port-file P [--engine echo] [--log RUNS] [--rule JSON ...]

    with BlockServer(engine="echo") as server:
        server.rule("status", status=503, count=2, retry_after=1)
        ... POST to server.url ...
        server.stats["runs"]

A line of the log is one run that was started, written before its code runs:
`<run_id> <workspace> <code_hash> <key id, or ->`. GET /stats gives the counts.

Faults (each rule: fault, and optionally count, every, skip, workspace):
  status        answer `status` (503), with `retry_after`, without running
  close_unread  close without reading the body           did not run
  close_before  read it all, close, without running      did not run
  close_after   run, close without an answer             ran
  status_after  run, answer `status` (500)               ran
  hang          run, never answer, until the peer goes   ran
  delay         run, answer after `seconds`              ran
  slow          run, answer in parts over `seconds`      ran
  truncate      run, close in the middle of the answer   ran
  oversize      run, answer with `bytes` of stdout       ran
  garbage       run, answer 200 with no JSON             ran
  drop_idle     answer properly, then close without saying so
"""

from __future__ import annotations

import argparse
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import Future
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Protocol

ROOT = Path(__file__).resolve().parents[2]
RUNNER = ROOT / "worker" / "runner"
MAX_BODY = 128 << 20
FAULTS = frozenset(
    "status close_unread close_before close_after status_after hang delay slow "
    "truncate oversize garbage drop_idle".split()
)


@dataclass
class Rule:
    """What is to go wrong, and how often."""

    fault: str
    count: int = 1 << 30  # requests that it hits at most
    every: int = 1  # hits every nth request that it matches
    skip: int = 0  # lets the first ones pass
    workspace: str | None = None
    status: int = 0
    retry_after: int | None = None
    seconds: float = 1.0
    bytes: int = 64 << 20
    seen: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if self.fault not in FAULTS:
            raise ValueError(f"no fault is called {self.fault!r}")

    def takes(self, workspace: str | None) -> bool:
        if self.hits >= self.count or self.workspace not in (None, workspace):
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.seen - self.skip) % self.every:
            return False
        self.hits += 1
        return True


# ---- who runs blocks ----------------------------------------------------------


class Engine(Protocol):
    def run(self, request: Mapping[str, Any]) -> dict[str, Any]: ...

    def close(self) -> None: ...


class Echo:
    """Returns the inputs: for tests of everything but Python."""

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "success": True,
            "result": request["inputs_json"],
            "stdout": None,
            "stderr": None,
            "execution_time_seconds": 0.000001,
        }

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
        self._waiting: dict[str, Future[tuple[dict[str, Any], bytes]]] = {}
        self._serial = 0
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        done: Future[tuple[dict[str, Any], bytes]] = Future()
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
        head, body = done.result()
        if head["success"]:
            head["result"] = body.decode()
        return head

    def _receive(self) -> None:
        while data := self._sock.recv(1 << 20):
            for head, body in self._reader.feed(data):
                if head["op"] == "done":
                    with self._lock:
                        waiting = self._waiting.pop(head["run_id"])
                    waiting.set_result((head, bytes(body or b"")))
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

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        self._wire = _wire()
        self._keys = dict(keys)
        self._lock = threading.Lock()
        self._nonces: dict[str, int] = {}

    def check(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[str, str]:
        """The run id that was signed, and the id of the key."""
        now = int(time.time())
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


# ---- the server ---------------------------------------------------------------


@dataclass
class BlockServer:
    """Serves from its birth; a context manager. port 0: any free one."""

    engine: str = "auto"
    port: int = 0
    log: Path | None = None
    keys: Mapping[str, bytes] | None = None  # None: signatures are not checked
    delay_seconds: float = 0.0
    rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._guard = Guard(self.keys) if self.keys is not None else None
        self._log_fd = -1
        if self.log:
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._log_fd = os.open(self.log, flags, 0o644)
        self._engine = engine_of(self.engine)
        self.runs: list[str] = []  # run ids, as in the log
        self.closing = threading.Event()
        self._server = _Server(("127.0.0.1", self.port), _Handler)
        self._server.owner = self
        self.port = self._server.server_address[1]
        self.url = f"http://127.0.0.1:{self.port}/run"
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()

    def __enter__(self) -> BlockServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()
        self._engine.close()
        with self._lock:  # a request may still be under way
            if self._log_fd >= 0:
                os.close(self._log_fd)
            self._log_fd = -1

    def rule(self, fault: str, **options: Any) -> Rule:
        rule = Rule(fault, **options)
        with self._lock:
            self.rules.append(rule)
        return rule

    def count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    @property
    def stats(self) -> dict[str, Any]:
        with self._lock:
            rules = [asdict(rule) for rule in self.rules]
            return {**self._counts, "distinct": len(set(self.runs)), "rules": rules}

    def fault_for(self, workspace: str | None) -> Rule | None:
        with self._lock:
            return next((rule for rule in self.rules if rule.takes(workspace)), None)

    def check(
        self, target: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[dict[str, Any], str]:
        """The request, and the id of the key that signed it, or "-"."""
        run_id, key = None, "-"
        if self._guard:
            run_id, key = self._guard.check("POST", target, headers, body)
        try:
            request = json.loads(body)
            for name in ("run_id", "workspace_id", "code_hash", "inputs_json"):
                if not isinstance(request[name], str):
                    raise TypeError(name)
        except (ValueError, KeyError, TypeError) as error:
            raise Refused(400, f"no execute_block request: {error!r}") from None
        if run_id not in (None, request["run_id"]):
            raise Refused(401, "run_id is not the one that was signed")
        return request, key

    def run(self, request: Mapping[str, Any], key: str) -> dict[str, Any]:
        line = " ".join(
            (request["run_id"], request["workspace_id"], request["code_hash"], key)
        )
        with self._lock:
            self._counts["runs"] += 1
            self.runs.append(request["run_id"])
            if self._log_fd >= 0:
                os.write(self._log_fd, f"{line}\n".encode())
        if self.delay_seconds:
            self.closing.wait(self.delay_seconds)
        return self._engine.run(request)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256
    owner: BlockServer


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        if self.path == "/stats":
            self._answer(200, json.dumps(self.server.owner.stats).encode())
        else:
            self._answer(404, b"{}")

    def do_POST(self) -> None:
        owner = self.server.owner
        owner.count("requests")
        length = int(self.headers.get("content-length", "-1"))
        if not 0 <= length <= MAX_BODY:
            self.close_connection = True
            self._answer(411 if length < 0 else 413, b"{}")
            return
        rule = self._fault_unread()
        if rule:
            self._cut()
            return
        body = self.rfile.read(length)
        if len(body) < length:
            self._cut()
            return
        try:
            self._serve(body)
        except Refused as refused:
            owner.count("refused")
            self._answer(refused.status, json.dumps({"error": str(refused)}).encode())

    def _fault_unread(self) -> Rule | None:
        """Rules that act before there is a body to know the workspace by."""
        owner = self.server.owner
        with owner._lock:
            for rule in owner.rules:
                if rule.fault == "close_unread" and rule.takes(rule.workspace):
                    return rule
        return None

    def _serve(self, body: bytes) -> None:
        owner = self.server.owner
        target = f"http://{self.headers.get('host', '')}{self.path}"
        headers = {name.lower(): value for name, value in self.headers.items()}
        request, key = owner.check(target, headers, body)
        rule = owner.fault_for(request["workspace_id"])
        fault = rule.fault if rule else ""
        if rule and fault == "status":
            self._fail(rule, 503)
        elif fault == "close_before":
            self._cut()
        else:
            self._run(request, key, rule)

    def _run(self, request: Mapping[str, Any], key: str, rule: Rule | None) -> None:
        try:
            answer = self.server.owner.run(request, key)
        except ConnectionError as error:
            self._answer(500, json.dumps({"error": str(error)}).encode())
            return
        never_ran = answer.get("delivery") == "did_not_run"
        if never_ran and answer.get("error_type") == "RunnerBusy":
            self._answer(503, b"{}", {"retry-after": "1"})
            return
        keep = {"success", "result", "stdout", "stderr", "error", "error_type"}
        keep |= {"line_number", "function_name", "execution_time_seconds"}
        keep |= {"server_error", "code_hash", "stdout_truncated", "stderr_truncated"}
        told = {name: value for name, value in answer.items() if name in keep}
        self._answer_or_fail(told, rule)

    def _answer_or_fail(self, told: dict[str, Any], rule: Rule | None) -> None:
        text = json.dumps(told).encode()
        if rule is None:
            self._answer(200, text)
            return
        match rule.fault:
            case "close_after":
                self._cut()
            case "status_after":
                self._fail(rule, 500)
            case "hang":
                self._until_gone()
            case "delay":
                self._until_gone(rule.seconds)
                self._answer(200, text)
            case "slow":
                self._answer_slowly(text, rule.seconds)
            case "truncate":
                self._start(200, len(text))
                self.wfile.write(text[: len(text) // 2])
                self._cut()
            case "oversize":
                told["stdout"] = "x" * rule.bytes
                self._answer(200, json.dumps(told).encode())
            case "garbage":
                self._answer(200, b"<html>proxy error</html>")
            case "drop_idle":
                self._answer(200, text)
                self._cut()

    def _start(
        self, status: int, length: int, headers: Mapping[str, str] | None = None
    ) -> None:
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(length))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()

    def _answer(
        self, status: int, body: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        self.server.owner.count(f"answered_{status}")
        try:
            self._start(status, len(body), headers)
            self.wfile.write(body)
        except OSError:  # the worker gave up: its deadline, or its death
            self.close_connection = True

    def _fail(self, rule: Rule, status: int) -> None:
        headers = {}
        if rule.retry_after is not None:
            headers["retry-after"] = str(rule.retry_after)
        self._answer(rule.status or status, b'{"error": "on demand"}', headers)

    def _answer_slowly(self, text: bytes, seconds: float) -> None:
        parts = 10
        size = len(text) // parts + 1
        try:
            self._start(200, len(text))
            for at in range(0, len(text), size):
                if self._until_gone(seconds / parts):
                    break
                self.wfile.write(text[at : at + size])
        except OSError:
            self.close_connection = True

    def _until_gone(self, seconds: float = float("inf")) -> bool:
        """Waits; True when the peer closed, or the server does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.owner.closing.is_set():
                break
            ready, _, _ = select.select([self.connection], [], [], min(left, 0.1))
            if ready:  # nobody sends before its answer: this is the end
                break
        else:
            return False
        self.server.owner.count("gone")
        self._cut()
        return True

    def _cut(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="gets the port, when it is open")
    parser.add_argument("--engine", choices=("auto", "echo", "runner"), default="auto")
    parser.add_argument("--log", type=Path, help="one line per run")
    parser.add_argument("--trusted", type=Path, help="the fleet's file of trusted keys")
    parser.add_argument("--delay-ms", type=int, default=0, help="before each run")
    parser.add_argument("--rule", action="append", default=[], metavar="JSON")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    server = BlockServer(
        engine=options.engine,
        port=options.port,
        log=options.log,
        keys=trusted_run_keys(options.trusted) if options.trusted else None,
        delay_seconds=options.delay_ms / 1000,
        rules=[Rule(**json.loads(text)) for text in options.rule],
    )
    with server:
        if options.port_file:
            half = options.port_file.with_suffix(".new")
            half.write_text(f"{server.port}\n")
            half.rename(options.port_file)
        print(server.url, flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
