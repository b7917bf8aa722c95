"""The data plane: finds the sandbox and the port, checks who may, and asks
envd, the code interpreter, or the sandbox's own server."""

from __future__ import annotations

import base64
import ctypes
import hmac
import http.client
import json
import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from . import files
from .box import BoxClosed, namespaces
from .builds import is_ready, start
from .connect import ConnectError, end_frame, message_of, request_of, unary
from .interpreter import Interpreter
from .processes import SIGNALS, Processes
from .rules import Rule
from .web import Broken, Failure, Reply, Request, json_reply
from .world import ENVD, INTERPRETER, Sandbox, World, error

UNARY = {
    "/process.Process/List": "process_list",
    "/process.Process/SendSignal": "process_signal",
    "/process.Process/SendInput": "process_input",
    "/process.Process/CloseStdin": "process_close_stdin",
    "/filesystem.Filesystem/Stat": "stat",
    "/filesystem.Filesystem/MakeDir": "make_dir",
    "/filesystem.Filesystem/ListDir": "list_dir",
    "/filesystem.Filesystem/Move": "move",
    "/filesystem.Filesystem/Remove": "remove",
}
STREAMS = {
    "/process.Process/Start": "start",
    "/process.Process/Connect": "process_connect",
}
CONTEXTS = {
    ("POST", ""): "context_create",
    ("GET", ""): "contexts_list",
    ("DELETE", ""): "context_delete",
    ("POST", "/restart"): "context_restart",
}
CONTEXT = re.compile(r"/contexts(?:/(?P<id>[^/]+)(?P<rest>/restart)?)?")
HOST = re.compile(r"(?P<port>\d+)-(?P<id>[a-z0-9-]+)\..+")
HOP = frozenset(
    "connection keep-alive transfer-encoding te trailer upgrade content-length".split()
)
START_S = 20.0  # the snapshot would have it warm; here it has to start first
CLONE_NEWNET = 0x40000000


class Data:
    def __init__(self, world: World, interrupts: bool) -> None:
        self.world = world
        self.rules = world.rules
        self.closing = world.closing
        self.capture: Callable[[str, str, Request], None] | None = None
        self._interrupts = interrupts
        self._lock = threading.Lock()

    # ---- the plane ----

    def operation(self, request: Request) -> tuple[str, str]:
        sandbox, port = route(request)
        if port == ENVD:
            return self._of_envd(request), sandbox
        if port == INTERPRETER:
            return self._of_interpreter(request), sandbox
        return "port", sandbox

    def _of_envd(self, request: Request) -> str:
        known = UNARY | STREAMS
        if request.method == "POST" and request.path in known:
            return known[request.path]
        others = {
            ("GET", "/health"): "health",
            ("GET", "/files"): "download",
            ("POST", "/files"): "upload",
            ("GET", "/metrics"): "envd_metrics",
            ("GET", "/envs"): "envs",
        }
        return others.get((request.method, request.path), "envd_unknown")

    def _of_interpreter(self, request: Request) -> str:
        if (request.method, request.path) == ("POST", "/execute"):
            return "execute"
        if (request.method, request.path) == ("GET", "/health"):
            return "interpreter_health"
        found = CONTEXT.fullmatch(request.path)
        if found is None:
            return "interpreter_unknown"
        key = (request.method, found["rest"] or "")
        return CONTEXTS.get(key, "interpreter_unknown")

    def metadata(self, op: str, sandbox: str, request: Request) -> dict[str, str]:
        return self.world.metadata(sandbox)

    def note(self, op: str, request: Request) -> None:
        if self.capture:
            self.capture("data", op, request)

    def vanish(self, sandbox: str, after_seconds: float = 0) -> None:
        if after_seconds:
            later = threading.Timer(after_seconds, self.vanish, (sandbox,))
            later.daemon = True
            later.start()
        else:
            self.world.kill(sandbox, "vanished")

    def refusal(self, rule: Rule, sandbox: str) -> Reply:
        if rule.fault.startswith("port_closed"):
            return _not_open(sandbox, INTERPRETER)
        told = {"sandboxId": sandbox, "message": rule.message}
        reply = json_reply(rule.status or 502, told | {"code": rule.status or 502})
        if rule.retry_after is not None:
            reply.headers["retry-after"] = str(rule.retry_after)
        return reply

    def answer(self, op: str, sandbox_id: str, request: Request) -> Reply:
        sandbox_id, port = route(request)
        if not sandbox_id:
            return Reply(400, b"Invalid host")
        try:
            sandbox = self.world.get(sandbox_id)
        except Failure:
            return _gone(sandbox_id)
        if sandbox.state != "running":
            return _gone(sandbox_id)
        if port != ENVD and sandbox.traffic_token:
            given = request.headers.get("e2b-traffic-access-token", "")
            if not hmac.compare_digest(given, sandbox.traffic_token):
                return _forbidden(sandbox_id, "missing" if not given else "invalid")
        try:
            return self._inside(op, sandbox, port, request)
        except (BoxClosed, Broken):
            return _gone(sandbox_id)

    def _inside(self, op: str, sandbox: Sandbox, port: int, request: Request) -> Reply:
        if port == ENVD:
            return self._envd(op, sandbox, request)
        if port == INTERPRETER and sandbox.template.interpreter:
            return self._interpreter(op, sandbox, request)
        if not sandbox.template.start_cmd:
            return _not_open(sandbox.id, port)
        return self._port(sandbox, port, request)

    def _part(self, sandbox: Sandbox, name: str, make: Callable[[], Any]) -> Any:
        """What a sandbox has one of, made when it is first asked for."""
        with self._lock:
            if name not in sandbox.inside:
                sandbox.inside[name] = make()
            return sandbox.inside[name]

    def _finisher(
        self, sandbox: Sandbox, path: str, what: bytes, request: Request
    ) -> Callable[[], None]:
        run = self.world.run(sandbox, path, what, request.headers)
        return lambda: setattr(run, "ended", time.time())

    # ---- envd ----

    def _envd(self, op: str, sandbox: Sandbox, request: Request) -> Reply:
        if op == "health":
            return Reply(204)
        token = sandbox.envd_token
        if op in ("download", "upload"):
            return getattr(files, op)(sandbox.box, token, request)
        given = request.headers.get("x-access-token", "")
        if token and not hmac.compare_digest(given, token):
            raise error(
                401,
                "unauthorized access, please provide a valid access token or method "
                "signing if supported",
            )
        if op == "envs":
            return json_reply(200, sandbox.box.envs)
        if op == "envd_metrics":
            return json_reply(200, metrics(sandbox))
        if op == "envd_unknown":
            return _unknown(request)
        processes = self._part(sandbox, "processes", lambda: Processes(sandbox.box))
        if request.path in STREAMS:
            return self._stream(op, sandbox, processes, request)
        return self._unary(op, sandbox, processes, request)

    def _stream(
        self, op: str, sandbox: Sandbox, processes: Processes, request: Request
    ) -> Reply:
        kind = request.headers.get("content-type", "").split(";")[0]
        if kind != "application/connect+json":
            accepted = "application/connect+json, application/connect+proto"
            return Reply(415, headers={"accept-post": accepted})
        headers = {"content-type": kind}
        keepalive = float(request.headers.get("keepalive-ping-interval", "90"))
        try:
            timeout = _timeout(request)
            asked = request_of(request.body, _kind(request))
        except ConnectError as refused:
            return Reply(200, headers=headers, pieces=iter([end_frame(refused)]))
        if op == "process_connect":
            pieces = processes.connect(asked, keepalive)
        else:
            what = json.dumps(asked.get("process")).encode()
            finished = self._finisher(sandbox, "start", what, request)
            pieces = _then(processes.start(asked, timeout, keepalive), finished)
        return Reply(200, headers=headers, pieces=_while(sandbox, pieces))

    def _unary(
        self, op: str, sandbox: Sandbox, processes: Processes, request: Request
    ) -> Reply:
        kind = request.headers.get("content-type", "").split(";")[0]
        if kind != "application/json":
            return Reply(415, headers={"accept-post": "application/json"})
        try:
            asked = message_of(request.body, _kind(request))
            if request.path.startswith("/filesystem."):
                method = request.path.rpartition("/")[2]
                return unary(200, files.call(sandbox.box, method, asked))
            return unary(200, _process_call(op, processes, asked))
        except ConnectError as refused:
            return refused.reply()

    # ---- the code interpreter ----

    def _interpreter(self, op: str, sandbox: Sandbox, request: Request) -> Reply:
        if op == "interpreter_health":
            return Reply(200, b"OK")
        if op == "interpreter_unknown":
            return json_reply(404, {"detail": "Not Found"})
        interpreter = self._part(
            sandbox,
            "interpreter",
            lambda: Interpreter(sandbox.box, self._interrupts),
        )
        if op != "execute":
            found = CONTEXT.fullmatch(request.path)
            name = found["id"] if found else ""
            return interpreter.contexts(op, name or "", request)
        try:
            code = request.json()["code"]
            if not isinstance(code, str):
                raise TypeError("code")
        except (ValueError, KeyError, TypeError) as broken:
            wrong = {"type": "missing", "loc": ["body", "code"], "msg": f"{broken!r}"}
            return json_reply(422, {"detail": [wrong]})
        finished = self._finisher(sandbox, "execute", code.encode(), request)
        reply = interpreter.execute(request, finished)
        if reply.pieces is not None:
            reply.pieces = _while(sandbox, reply.pieces)
        return reply

    # ---- the sandbox's own server ----

    def _port(self, sandbox: Sandbox, port: int, request: Request) -> Reply:
        server = self._part(
            sandbox, "server", lambda: start(sandbox.box, sandbox.template)
        )
        connection = self._reach(sandbox, server, port)
        if connection is None:
            return _not_open(sandbox.id, port)
        finished = None
        if request.method == "POST":
            finished = self._finisher(sandbox, "port", request.body, request)
        return _forward(connection, request, sandbox, port, finished)

    def _reach(
        self, sandbox: Sandbox, server: subprocess.Popen[bytes], port: int
    ) -> socket.socket | None:
        """The proxy tries for a second. In a real sandbox the server comes warm
        out of the snapshot: here it is given the time to start."""
        warm = sandbox.inside.get("warm", False)
        end = time.monotonic() + (1 if warm else START_S)
        while True:
            try:
                connection = inside_of(server.pid, port)
                if not warm:
                    self._warm_up(sandbox, server.pid, end)
                return connection
            except OSError:
                if sandbox.box.closed or self.closing.is_set():
                    raise Broken from None
                if server.poll() is not None or time.monotonic() > end:
                    return None
                self.closing.wait(0.1 if warm else 0.02)

    def _warm_up(self, sandbox: Sandbox, pid: int, end: float) -> None:
        with self._part(sandbox, "warming", threading.Lock):
            self._until_ready(sandbox, pid, end)

    def _until_ready(self, sandbox: Sandbox, pid: int, end: float) -> None:
        template = sandbox.template
        if sandbox.inside.get("warm"):
            return
        while template.ready_cmd and time.monotonic() < end:
            if is_ready(sandbox.box, template, pid) or self.closing.wait(0.05):
                break
        sandbox.inside["warm"] = True


# ---- helpers ------------------------------------------------------------------


def route(request: Request) -> tuple[str, int]:
    """By the host's first label, or by headers."""
    found = HOST.fullmatch(request.headers.get("host", "").split(":")[0])
    if found:
        return found["id"], int(found["port"])
    port = request.headers.get("e2b-sandbox-port", "")
    if not port.isdecimal():
        return "", 0
    return request.headers.get("e2b-sandbox-id", ""), int(port)


def _gone(sandbox: str) -> Reply:
    told = {"sandboxId": sandbox, "message": "The sandbox was not found"}
    return json_reply(502, told | {"code": 502})


def _not_open(sandbox: str, port: int) -> Reply:
    told: dict[str, Any] = {
        "sandboxId": sandbox,
        "message": "The sandbox is running but port is not open",
        "port": port,
    }
    return json_reply(502, told | {"code": 502})


def _forbidden(sandbox: str, what: str) -> Reply:
    message = f"Sandbox is secured with traffic access token, which is {what}"
    told = {"sandboxId": sandbox, "message": message, "code": 403}
    return json_reply(403, told)


def _unknown(request: Request) -> Reply:
    if request.path in UNARY | STREAMS:
        return Reply(405, headers={"allow": "POST"})
    text = {"content-type": "text/plain; charset=utf-8"}
    return Reply(404, b"404 page not found\n", text)


def _timeout(request: Request) -> float:
    text = request.headers.get("connect-timeout-ms", "0")
    if not text.isdecimal() or len(text) > 10:
        wrong = f'strconv.ParseInt: parsing "{text}": invalid syntax'
        raise ConnectError("invalid_argument", f"parse timeout: {wrong}")
    return int(text) / 1000


def _kind(request: Request) -> str:
    """The type of a call's message, as Go names it."""
    service, method = request.path[1:].split("/")
    return f"{service.split('.')[0]}.{method}Request"


def _process_call(
    op: str, processes: Processes, asked: dict[str, Any]
) -> dict[str, Any]:
    if op == "process_list":
        found = processes.listed()
        return {"processes": found} if found else {}
    process = processes.find(asked)
    match op:
        case "process_signal":
            if asked.get("signal") not in SIGNALS:
                text = f"invalid signal: {asked.get('signal')}"
                raise ConnectError("unimplemented", text)
            process.signal(SIGNALS[asked["signal"]])
        case "process_input":
            data = (asked.get("input") or {}).get("stdin", "")
            process.write(base64.b64decode(data))
        case "process_close_stdin":
            process.close_stdin()
    return {}


def metrics(sandbox: Sandbox) -> dict[str, Any]:
    """envd's own, of now."""
    memory = sandbox.template.memory_mb
    return {
        "ts": int(time.time()),
        "cpu_count": sandbox.template.cpu,
        "cpu_used_pct": 1.0,
        "mem_total_mib": memory,
        "mem_used_mib": 100,
        "mem_total": memory << 20,
        "mem_used": 100 << 20,
        "mem_cache": 10 << 20,
        "disk_used": 100 << 20,
        "disk_total": 512 << 20,
    }


def _then(pieces: Iterator[bytes], after: Callable[[], None]) -> Iterator[bytes]:
    try:
        yield from pieces
    finally:
        after()


def _while(sandbox: Sandbox, pieces: Iterator[bytes]) -> Iterator[bytes]:
    """A sandbox that ends takes its connections with it."""
    for piece in pieces:
        if sandbox.box.closed:
            raise Broken
        yield piece


_libc = ctypes.CDLL(None, use_errno=True)


def inside_of(pid: int, port: int) -> socket.socket:
    """A connection to a port of the network that a process is in. Only this
    thread goes there, and comes back."""
    if namespaces() != "net":
        return socket.create_connection(("127.0.0.1", port), 5)
    here = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        there = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
        try:
            if os.fstat(there).st_ino == os.fstat(here).st_ino:
                raise ConnectionRefusedError("it is not in its network yet")
            if _libc.setns(there, CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "setns")
        finally:
            os.close(there)
        try:
            return socket.create_connection(("127.0.0.1", port), 5)
        finally:
            if _libc.setns(here, CLONE_NEWNET):
                os.abort()  # a thread in the wrong network must not go on
    finally:
        os.close(here)


def _forward(
    connection: socket.socket,
    request: Request,
    sandbox: Sandbox,
    port: int,
    finished: Callable[[], None] | None,
) -> Reply:
    connection.settimeout(None)
    client = http.client.HTTPConnection("sandbox")
    client.sock = connection
    try:
        client.putrequest(
            request.method, request.target, skip_host=True, skip_accept_encoding=True
        )
        for name, value in request.headers.items():
            if name not in HOP:
                client.putheader(name, value)
        if request.body or request.method in ("POST", "PUT", "PATCH"):
            client.putheader("content-length", str(len(request.body)))
        client.endheaders(request.body or None)
        answer = client.getresponse()
        body = answer.read()
    except (OSError, http.client.HTTPException):
        # What the proxy says when a connection breaks before the answer began,
        # whatever the request has done there.
        return _not_open(sandbox.id, port)
    finally:
        client.close()
        if finished:
            finished()
    headers = {
        name.lower(): value
        for name, value in answer.getheaders()
        if name.lower() not in HOP
    }
    return Reply(answer.status, body, headers)
