"""HTTP/1.1 for both planes: requests, replies, and how replies go wrong."""

from __future__ import annotations

import json
import select
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Protocol
from urllib.parse import parse_qs, urlsplit

from .rules import BEFORE, Rule, Rules

MAX_BODY = 128 << 20


@dataclass
class Request:
    method: str
    target: str  # as it came
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]  # names in lower case
    body: bytes = b""
    connection: socket.socket | None = None

    def json(self) -> Any:
        return json.loads(self.body) if self.body else None

    def one(self, name: str, default: str = "") -> str:
        return self.query.get(name, [default])[0]

    def gone(self, seconds: float = 0) -> bool:
        """Whether the peer closed; waits so long for it."""
        if self.connection is None:
            return False
        try:
            ready, _, _ = select.select([self.connection], [], [], seconds)
            return bool(ready) and not self.connection.recv(1, socket.MSG_PEEK)
        except OSError:
            return True


@dataclass
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    pieces: Iterator[bytes] | None = None  # instead of body: whole frames or lines


def json_reply(status: int, value: Any, **headers: str) -> Reply:
    told = {"content-type": "application/json; charset=utf-8"}
    told |= {name.replace("_", "-"): text for name, text in headers.items()}
    return Reply(status, json.dumps(value).encode(), told)


class Failure(Exception):
    """Ends an operation with this reply."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(reply.status)
        self.reply = reply


class Plane(Protocol):
    """One of the two planes, as its HTTP server sees it."""

    rules: Rules
    closing: threading.Event

    def operation(self, request: Request) -> tuple[str, str]:
        """The operation's name, and the sandbox it is about, or ""."""
        ...

    def metadata(self, op: str, sandbox: str, request: Request) -> dict[str, str]:
        """Of the sandbox that it is about, or is to make."""
        ...

    def answer(self, op: str, sandbox: str, request: Request) -> Reply: ...

    def refusal(self, rule: Rule, sandbox: str) -> Reply:
        """What a `status` or `port_closed` rule answers."""
        ...

    def vanish(self, sandbox: str, after_seconds: float = 0) -> None: ...

    def note(self, op: str, request: Request) -> None:
        """Every request comes by here once, before it is answered."""
        ...


class Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, plane: Plane, port: int) -> None:
        super().__init__(("127.0.0.1", port), Handler)
        self.plane = plane
        self._thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self._thread.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()

    def handle_error(self, *_: object) -> None:
        pass  # the peer went; what we got wrong ourselves is answered with 500


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        plane = self.server.plane
        parts = urlsplit(self.path)
        request = Request(
            self.command,
            self.path,
            parts.path,
            parse_qs(parts.query, keep_blank_values=True),
            {name.lower(): value for name, value in self.headers.items()},
            connection=self.connection,
        )
        op, sandbox = plane.operation(request)
        about = op, sandbox, plane.metadata(op, sandbox, request)
        closed = plane.rules.take(about, unread=True)
        body = None if closed else self._body(request.headers)
        if body is None:
            self._cut()
            return
        request.body = body
        plane.note(op, request)
        about = op, sandbox, plane.metadata(op, sandbox, request)
        rule = plane.rules.take(about, unread=False)
        if rule and rule.fault in BEFORE and not self._before(rule, sandbox, request):
            return
        if rule and rule.fault == "vanish_during":
            plane.vanish(sandbox, rule.seconds)
        try:
            reply = plane.answer(op, sandbox, request)
        except Failure as failure:
            reply = failure.reply
        except Exception as broken:  # ours: whoever asked is to see it
            reply = json_reply(500, {"code": 500, "message": repr(broken)})
        self._write(reply, rule, request, sandbox)

    do_POST = do_PUT = do_DELETE = do_PATCH = do_HEAD = do_GET

    # ---- reading ----

    def _body(self, headers: Mapping[str, str]) -> bytes | None:
        if "chunked" in headers.get("transfer-encoding", ""):
            return self._chunks()
        length = int(headers.get("content-length", "0"))
        if not 0 <= length <= MAX_BODY:
            return None
        if headers.get("expect", "").lower() == "100-continue":
            self.send_response_only(100)
            self.end_headers()
        body = self.rfile.read(length)
        return body if len(body) == length else None

    def _chunks(self) -> bytes | None:
        body = bytearray()
        while size := int(self.rfile.readline(64).split(b";")[0] or b"-1", 16):
            if size < 0 or len(body) + size > MAX_BODY:
                return None
            body += self.rfile.read(size)
            self.rfile.readline(8)
        while self.rfile.readline(1024) not in (b"\r\n", b""):
            pass
        return bytes(body)

    # ---- faults ----

    def _before(self, rule: Rule, sandbox: str, request: Request) -> bool:
        """Whether the operation is to be done all the same."""
        match rule.fault:
            case "status" | "port_closed":
                self._send(self.server.plane.refusal(rule, sandbox))
            case "close_before":
                self._cut()
            case "hang_before":
                self._until_gone(request)
            case "vanish":
                self.server.plane.vanish(sandbox)
                return True
        return False

    def _write(
        self, reply: Reply, rule: Rule | None, request: Request, sandbox: str
    ) -> None:
        fault = rule.fault if rule else ""
        try:
            match fault:
                case "" | "vanish" | "vanish_during":
                    self._send(reply)
                case "vanish_after":
                    self._send(reply)
                    self.server.plane.vanish(sandbox)
                case _:
                    assert rule
                    self._spoil(reply, rule, request, sandbox)
        except OSError:  # the peer gave up
            self.close_connection = True
        finally:
            if reply.pieces is not None and hasattr(reply.pieces, "close"):
                reply.pieces.close()

    def _spoil(self, reply: Reply, rule: Rule, request: Request, sandbox: str) -> None:
        if rule.fault in ("slow", "cut"):
            self._send_partly(reply, rule, request)
            return
        pieces = list(reply.pieces or ())  # it runs to its end, whatever we tell
        whole = Reply(reply.status, reply.body + b"".join(pieces), reply.headers)
        match rule.fault:
            case "close_after":
                self._cut()
            case "status_after" | "port_closed_after":
                self._send(self.server.plane.refusal(rule, sandbox))
            case "hang":
                self._until_gone(request)
            case "delay":
                self._until_gone(request, rule.seconds)
                self._send(whole)
            case "no_end":
                last = b"".join(pieces[:-1])
                self._send(Reply(reply.status, last, reply.headers))
            case "half":
                text = whole.body[: len(whole.body) * 3 // 4]
                self._send(Reply(reply.status, text, reply.headers))
            case "garbage":
                self._send(Reply(200, b"<html>proxy error</html>", reply.headers))
            case "oversize":
                self._send(Reply(200, headers=reply.headers, pieces=_endless(rule)))

    def _send_partly(self, reply: Reply, rule: Rule, request: Request) -> None:
        """cut: three quarters of it. slow: all of it, in ten parts."""
        text = reply.body + b"".join(reply.pieces or ())
        self._head(reply, len(text))
        if rule.fault == "cut":
            self.wfile.write(text[: len(text) * 3 // 4])
            self._cut()
            return
        size = len(text) // 10 + 1
        for at in range(0, len(text), size):
            self.wfile.write(text[at : at + size])
            if self._until_gone(request, rule.seconds / 10):
                return

    def _until_gone(self, request: Request, seconds: float = float("inf")) -> bool:
        """Waits; True when the peer closed, or the server does."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            if self.server.plane.closing.is_set() or request.gone(min(left, 0.1)):
                self._cut()
                return True
        return False

    # ---- writing ----

    def _head(self, reply: Reply, length: int | None) -> None:
        self.send_response(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if length is None:
            self.send_header("transfer-encoding", "chunked")
        elif reply.status != 204:
            self.send_header("content-length", str(length))
        self.end_headers()

    def _send(self, reply: Reply) -> None:
        if reply.pieces is None:
            self._head(reply, len(reply.body))
            if self.command != "HEAD":
                self.wfile.write(reply.body)
            return
        self._head(reply, None)
        try:
            for piece in reply.pieces:
                self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
        except Broken:
            self._cut()
            return
        self.wfile.write(b"0\r\n\r\n")

    def _cut(self) -> None:
        self.close_connection = True
        try:
            self.connection.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


class Broken(Exception):
    """Raised by a reply's pieces: the connection to the sandbox broke."""


def _endless(rule: Rule) -> Iterator[bytes]:
    for _ in range(rule.bytes >> 16):
        yield b"x" * (1 << 16)
