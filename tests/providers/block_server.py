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
import select
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import blocks
from blocks import MAX_BODY, TOLD, Guard, Refused, RunLog, engine_of, trusted_run_keys


class Rule(blocks.Rule):
    faults = frozenset(
        "status close_unread close_before close_after status_after hang delay slow "
        "truncate oversize garbage drop_idle".split()
    )


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
        self._log = RunLog(self.log)
        self.runs = self._log.runs
        self._engine = engine_of(self.engine)
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
        self._log.close()

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
        self.count("runs")
        self._log.add(request, key)
        if self.delay_seconds:
            self.closing.wait(self.delay_seconds)
        return self._engine.submit(request).result()


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
        told = {name: value for name, value in answer.items() if name in TOLD}
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
