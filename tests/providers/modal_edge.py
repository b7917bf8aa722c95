#!/usr/bin/env python3
"""A provider for tests: Modal's web edge in front of containers that run blocks.

    modal_edge.py --port-file P [--engine echo] [--log RUNS] [--hop-ms 200]
                  [--dialect webexec] [--tls FOLDER] [--rule JSON ...]

    with ModalEdge(engine="echo", hop_s=0.2) as edge:
        edge.rule("lost_input", count=2)
        ... POST to edge.url + "/?workspace_id=acme" ...
        edge.ledger

With app=, the containers are ASGI applications: worker/runner/modal_app.py's.

The edge asks for Modal-Key and Modal-Secret, answers 303 when a call takes
longer than a hop, gives its result to a GET of the Location, once. Dialects of
the container behind it: `blockfleet` is PROTOCOL.md §9 and checks signatures,
`webexec` is Roboflow's app. A workspace has its own containers, a container
its own code by hash. HTTP/1.1, and HTTP/2 over TLS.

The ledger, and a line of the log, is one run that was started:
`<run_id> <workspace> <code_hash> <key id, or ->`. GET /stats gives the counts.

Faults (a rule: fault, and optionally at, count, every, skip, share, workspace)
hit a call (at="call"), or a GET of its result (at="result"). In place of a run,
or after it with ran=true:
  status            `status`, `retry_after`, `headers`, `body`
  bad_redirect_method missing_credentials invalid_call app_stopped
  workspace_disabled missing_request rate_limit spend_limit init_failure
  lost_input timed_out terminated       the edge's own words; the last two ran
In place of a run:
  close_unread, close_before, reset_before; over HTTP/2 refused, goaway
  turned_away       303, and then the container's own 503
The run is begun, and
  redirect          303 at once                   no_location   303 to nowhere
  elsewhere         303 to `location`             other_call    303 to another's
  short_length      one byte less said            hang          no answer
  close_after       closed; reset_after: reset    delay         by `seconds`
  truncate          half of the answer            slow          in parts
  oversize          `bytes` of stdout             endless       `bytes`, no length
  bomb              `bytes`, gzipped              garbage       `body`, as 200
  headers           `bytes` of headers            wrong_length  one byte more said
  nonsense          no HTTP at all                drop_idle     then closed
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import json
import secrets
import signal
import sys
import threading
import time
import zlib
from collections import Counter, OrderedDict
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlencode

import blocks
from blocks import (
    MAX_BODY,
    RUNNER,
    TOLD,
    Answer,
    Guard,
    Refused,
    RunLog,
    engine_of,
    trusted_run_keys,
)
from web import Exchange, Gone, Request, TooLarge, WebServer

sys.path.insert(0, str(RUNNER))
from bfrunner import cache  # noqa: E402

CALL_ID = "__modal_function_call_id"
# What the edge says itself: status, text, and whether the code has run by then.
EDGE = {
    "bad_redirect_method": (400, "bad redirect method", False),
    "missing_credentials": (
        401,
        "missing credentials for proxy authorization",
        False,
    ),
    "invalid_call": (404, "invalid function call", False),
    "app_stopped": (404, "app for invoked web endpoint is stopped", False),
    "workspace_disabled": (404, "workspace ac-0123456789abcdef is disabled", False),
    "rate_limit": (429, "rate limit", False),
    "spend_limit": (
        429,
        "Webhook failed: workspace billing cycle spend limit reached",
        False,
    ),
    "timed_out": (500, "internal error: function execution timed out", True),
    "terminated": (500, "internal error: function was terminated by signal", True),
    "lost_input": (
        500,
        "internal error: status InternalFailure: Server has lost track of input",
        False,
    ),
    "init_failure": (
        500,
        "internal server error: status Failure: ModuleNotFoundError('nowhere')",
        False,
    ),
}
# The container's shim says this one, so it has no prefix and no type.
MISSING = b"Missing request, possibly due to expiry or cancellation"
# No answer, and no run.
CUT_BEFORE = frozenset("close_unread close_before reset_before refused goaway".split())
# What a container of ours says when it runs as much as it can.
TURNED_AWAY = b'{"error":"server busy","delivery":"did_not_run"}'
# Of the run's own answer, or instead of it.
REDIRECTS = frozenset("redirect no_location elsewhere other_call".split())
AFTER = REDIRECTS | frozenset(
    "hang close_after reset_after delay truncate slow oversize endless bomb garbage "
    "headers wrong_length short_length nonsense drop_idle".split()
)
# What can go wrong in a fleet's life, without an operator's doing. By stage.
CHAOS = {
    "call": "lost_input rate_limit invalid_call missing_request close_unread "
    "close_before reset_before redirect delay slow close_after truncate terminated "
    "garbage drop_idle".split(),
    "result": "redirect missing_request invalid_call close_unread close_before delay "
    "slow drop_idle".split(),
}


@dataclass
class Rule(blocks.Rule):
    faults = (
        frozenset({"status", "missing_request", "turned_away", *EDGE})
        | CUT_BEFORE
        | AFTER
    )

    at: str = "call"
    ran: bool | None = None  # None: as the fault has it
    location: str = "http://127.0.0.2:9/"
    headers: Mapping[str, str] = field(default_factory=dict)
    body: str = "<html>proxy error</html>"


@dataclass
class Run:
    """A row of the ledger."""

    run_id: str
    workspace: str
    code_hash: str
    key: str
    container: str
    call: str
    token: str  # whose call it was
    version: str  # of HTTP
    inputs: str  # their beginning
    started_s: float
    ended_s: float = 0.0


@dataclass
class Container:
    """What one of them remembers."""

    name: str
    codes: OrderedDict[tuple[str, str], dict[str, Any]] = field(
        default_factory=OrderedDict
    )

    def forget(self) -> None:
        self.codes.clear()


@dataclass
class Call:
    """A call of the function: fc-..."""

    name: str
    workspace: str
    reply: asyncio.Task[Reply]


@dataclass
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    ran: bool = True


def says(name: str) -> Reply:
    """The edge's words."""
    status, text, ran = EDGE[name]
    body = f"modal-http: {text}".encode()
    return Reply(status, {"content-type": "text/plain"}, body, ran)


def json_reply(answer: Mapping[str, Any], status: int = 200) -> Reply:
    body = json.dumps(answer).encode()
    return Reply(status, {"content-type": "application/json"}, body)


def server_error(error_type: str, error: str, **more: Any) -> Reply:
    told = {"success": False, "error": error, "error_type": error_type}
    reply = json_reply({**told, "server_error": True, **more})
    reply.ran = False
    return reply


def bomb(size: int, body: bytes) -> bytes:
    """So many blanks before the body, packed."""
    packer = zlib.compressobj(1, wbits=31)
    packed = bytearray()
    for _ in range(0, size, 1 << 20):
        packed += packer.compress(b" " * (1 << 20))
    return bytes(packed + packer.compress(body) + packer.flush())


def gunzip(body: bytes) -> bytes:
    worker = zlib.decompressobj(wbits=31)
    try:
        plain = worker.decompress(body, MAX_BODY)
    except zlib.error as error:
        raise Refused(400, f"gzip: {error}") from None
    if not worker.eof or worker.unconsumed_tail or worker.unused_data:
        raise Refused(400, "gzip: not one whole member")
    return plain


# ---- what stands behind the edge ----------------------------------------------


def _text(request: Mapping[str, Any], *names: str) -> None:
    for name in names:
        if not isinstance(request.get(name), str):
            raise Refused(400, f"no execute_block request: {name}")


def init_hash(request: Mapping[str, Any]) -> str:
    """What code_hash does not cover (worker/runner/README.md)."""
    code = request.get("init_function_code")
    name = request.get("init_function_name") or "init"
    return request.get("init_hash") or cache.init_hash(code, name)


def code_hash(request: Mapping[str, Any]) -> str:
    return cache.code_hash(request["code_str"], request.get("imports") or [])


class Blockfleet:
    """PROTOCOL.md §9."""

    def __init__(self, edge: ModalEdge) -> None:
        self._guard = Guard(edge.keys, edge.skew_s) if edge.keys is not None else None

    def trust(self, keys: Mapping[str, bytes]) -> None:
        self._guard.trust(keys)

    def request(
        self, exchange: Exchange, workspace: str, raw: bytes, body: bytes
    ) -> tuple[dict[str, Any], str]:
        run_id, key = None, "-"
        if self._guard:
            said = exchange.request
            run_id, key = self._guard.check(said.method, said.url, said.headers, raw)
        try:
            request = json.loads(body)
        except ValueError as error:
            raise Refused(400, f"no JSON: {error}") from None
        _text(request, "run_id", "workspace_id", "code_hash", "inputs_json")
        if run_id not in (None, request["run_id"]):
            raise Refused(401, "run_id is not the one that was signed")
        if request["workspace_id"] != workspace:
            raise Refused(403, "the container is another workspace's")
        return request, key

    def reply(self, answer: Answer) -> Reply:
        if answer.get("delivery") == "did_not_run":
            if answer.get("error_type") == "RunnerBusy":
                return Reply(503, {"retry-after": "1"}, b"{}", False)
            return server_error(answer["error_type"], answer["error"])
        return json_reply({name: answer[name] for name in TOLD if name in answer})


class Webexec:
    """Roboflow's `webexec` app: no run ids, no deadlines, no init code, and
    never any other status than 200."""

    def __init__(self, edge: ModalEdge) -> None:
        self._edge = edge

    def request(
        self, exchange: Exchange, workspace: str, raw: bytes, body: bytes
    ) -> tuple[dict[str, Any], str]:
        try:
            given = json.loads(body)
        except ValueError as error:
            raise Refused(422, f"no JSON: {error}") from None
        key = exchange.request.headers.get("idempotency-key", "")
        names = "code_hash code_str imports run_function_name workflow_context".split()
        request = {name: given[name] for name in names if given.get(name)}
        request.setdefault("code_hash", "")
        if request.get("code_str"):
            request["code_hash"] = code_hash(request)
        request["inputs_json"] = given.get("inputs_json", "{}")
        request["workspace_id"] = workspace
        request["run_id"] = key.strip('"') or f"x-{next(self._edge.serial):030x}"
        request["timeout_seconds"] = str(self._edge.function_s)
        return request, "-"

    def reply(self, answer: Answer) -> Reply:
        if answer.get("reason") == "deadline":
            return says("timed_out")
        if answer.get("reason") in ("crashed", "oom", "cpu_limit"):
            return says("terminated")
        names = ["success", "stdout", "stderr", "execution_time_seconds"]
        if answer["success"]:
            names += ["result"]
        else:
            names += ["error", "error_type", "line_number", "function_name"]
        told = {name: answer.get(name) or None for name in names}
        told["success"] = answer["success"]
        if not answer["success"] and not answer.get("line_number"):
            if answer.get("error_type") == "NameError":
                # The name of the function: a reply without `success`.
                del told["success"]
            told = {name: value for name, value in told.items() if value is not None}
        return json_reply(told)


Asgi = Callable[[dict[str, Any], Any, Any], Awaitable[None]]


async def ask(app: Asgi, request: Request, body: bytes) -> Reply:
    """As Modal's shim in the container does."""
    names = request.headers.items()
    scope = {
        "type": "http",
        "method": request.method,
        "scheme": "https",
        "path": request.parts.path,
        "query_string": request.parts.query.encode(),
        "headers": [(k.encode(), v.encode()) for k, v in names if k[0] != ":"],
    }
    left = [{"type": "http.request", "body": body}]
    told: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return left.pop()

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await app(scope, receive, send)
    headers = {k.decode(): v.decode() for k, v in told[0]["headers"]}
    headers.pop("content-length", None)
    whole = b"".join(message["body"] for message in told[1:])
    return Reply(told[0]["status"], headers, whole)


# ---- the edge -----------------------------------------------------------------


@dataclass
class ModalEdge:
    """Serves from its birth; a context manager. port 0: any free one."""

    engine: str = "auto"
    dialect: str = "blockfleet"
    port: int = 0
    tls: Path | None = None  # a folder for the certificate, tls.crt
    log: Path | None = None
    keys: Mapping[str, bytes] | None = None  # None: signatures are not checked
    tokens: Mapping[str, str] = field(default_factory=lambda: {"wk-test": "ws-test"})
    hop_s: float = 150.0
    function_s: float = 700.0  # the app's own limit of a run
    delay_s: float = 0.0  # before each run
    cold_s: float = 0.0  # before a workspace's first
    containers: int = 1  # of each workspace
    codes: int = 64  # that one of them keeps
    rate_per_s: float = 0.0  # 0: no limit
    burst: float = 0.0
    relative: str = "query"  # how a Location is written: query, path, url
    skew_s: float = 0.0  # of the containers' clock
    keep: int = 0  # so many requests, the first ones
    app: Callable[[str], Coroutine[Any, Any, Asgi]] | None = None  # a container
    slots: int = 4  # of such a container, runs at once; others wait
    rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.requests: list[tuple[Request, bytes]] = []  # kept, bodies as sent
        self._lock = threading.Lock()
        self._counts: Counter[str] = Counter()
        self._log = RunLog(self.log)
        self._engine = engine_of(self.engine)
        self.ledger: list[Run] = []
        self.serial = itertools.count(1)
        self._calls: dict[str, Call] = {}
        self._pools: dict[str, list[Container]] = {}
        self._tokens, self._filled = self.burst, time.monotonic()
        dialects = {"blockfleet": Blockfleet, "webexec": Webexec}
        self._dialect = dialects[self.dialect](self)
        self._apps: dict[str, asyncio.Task[Asgi]] = {}
        self._slots: dict[str, asyncio.Semaphore] = {}
        context = None
        if self.tls:
            from tls import server_context

            context = server_context(self.tls, "h2", "http/1.1")
        self.server = WebServer(self._handle, self.port, context)
        self.port, self.url = self.server.port, self.server.url

    def __enter__(self) -> ModalEdge:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        try:
            self.server.close()
        finally:
            self._engine.close()
            self._log.close()

    def rule(self, fault: str, **options: Any) -> Rule:
        rule = Rule(fault, **options)
        with self._lock:
            self.rules.append(rule)
        return rule

    def chaos(self, share: float, seconds: float = 0.05) -> list[Rule]:
        """That much of every stage's requests goes wrong, in one of the ways
        of CHAOS each."""
        made = []
        for at, faults in CHAOS.items():
            left = 1.0
            for fault in faults:
                # Of what the rules before this one have left over.
                part = share / len(faults)
                made.append(self.rule(fault, at=at, share=part / left, seconds=seconds))
                left -= part
        return made

    @property
    def runs(self) -> list[str]:
        return self._log.runs

    @property
    def stats(self) -> dict[str, Any]:
        with self._lock:
            rules = [asdict(rule) for rule in self.rules]
            return {**self._counts, "distinct": len(set(self.runs)), "rules": rules}

    def trust(self, keys: Mapping[str, bytes]) -> None:
        """From now on; what was seen stays seen."""
        self._dialect.trust(keys)

    def forget(self, workspace: str | None = None) -> None:
        """As if its containers, or all of them, had been started anew."""
        with self._lock:
            for name in [workspace] if workspace else list(self._pools):
                for container in self._pools.get(name, []):
                    container.forget()

    def count(self, what: str) -> None:
        with self._lock:
            self._counts[what] += 1

    def _fault(self, at: str, workspace: str | None) -> Rule | None:
        with self._lock:
            for rule in self.rules:
                if rule.at == at and rule.takes(workspace):
                    return rule
        return None

    # ---- requests

    async def _handle(self, exchange: Exchange) -> None:
        said = exchange.request
        if said.target == "/stats":
            text = json.dumps(self.stats).encode()
            await exchange.answer(200, {"content-type": "application/json"}, text)
            return
        self.count("requests")
        query = parse_qs(said.parts.query)
        name = query.get(CALL_ID, [""])[0]
        token = said.headers.get("modal-key", "")
        try:
            if self.tokens.get(token) != said.headers.get("modal-secret", ""):
                await self._refuse(exchange, says("missing_credentials"))
            elif name and said.method != "GET":
                await self._refuse(exchange, says("bad_redirect_method"))
            elif name:
                await self._result(exchange, name)
            elif said.method != "POST":
                await self._refuse(exchange, json_reply({"detail": "no"}, 405))
            else:
                await self._post(exchange, query.get("workspace_id", [""])[0])
        except (Gone, asyncio.IncompleteReadError, TooLarge):
            self.count("gone")
            exchange.cut()

    async def _refuse(self, exchange: Exchange, reply: Reply) -> None:
        await exchange.body()
        await self._send(exchange, reply)

    async def _send(self, exchange: Exchange, reply: Reply) -> None:
        self.count(f"answered_{reply.status}")
        await exchange.answer(reply.status, reply.headers, reply.body)

    async def _post(self, exchange: Exchange, workspace: str) -> None:
        rule = self._fault("call", workspace)
        if rule and rule.fault == "close_unread":
            exchange.cut()
            return
        raw = await exchange.body()
        if len(self.requests) < self.keep:
            self.requests.append((exchange.request, raw))
        if rule and rule.fault == "turned_away":
            call = self._call(workspace, self._turn_away())
            await self._redirect(exchange, call, None)
        elif rule and not self._starts(rule):
            await self._spoil(exchange, rule, None)
        elif not workspace:
            reply = json_reply({"detail": "workspace_id is missing"}, 422)
            await self._send(exchange, reply)
        elif not self._within_rate():
            await self._send(exchange, says("rate_limit"))
        else:
            name = self._new_name()
            work = self._run(exchange, name, workspace, raw)
            await self._wait(exchange, self._call(workspace, work, name), rule)

    @staticmethod
    def _new_name() -> str:
        return f"fc-{secrets.token_hex(11)}"

    def _call(
        self, workspace: str, work: Coroutine[Any, Any, Reply], name: str = ""
    ) -> Call:
        call = Call(name or self._new_name(), workspace, self.server.spawn(work))
        self._calls[call.name] = call
        return call

    @staticmethod
    async def _turn_away() -> Reply:
        return Reply(503, {"retry-after": "1"}, TURNED_AWAY, False)

    async def _result(self, exchange: Exchange, name: str) -> None:
        await exchange.body()
        call = self._calls.get(name)
        rule = self._fault("result", call.workspace if call else None)
        if rule and (rule.fault in CUT_BEFORE or not self._starts(rule)):
            await self._spoil(exchange, rule, None)
        elif not call:
            await self._send(exchange, says("invalid_call"))
        else:
            await self._wait(exchange, call, rule)

    @staticmethod
    def _starts(rule: Rule) -> bool:
        """Whether the code runs in spite of it."""
        if rule.ran is not None:
            return rule.ran
        return rule.fault in AFTER or rule.fault in EDGE and EDGE[rule.fault][2]

    def _within_rate(self) -> bool:
        if not self.rate_per_s:
            return True
        now = time.monotonic()
        more = (now - self._filled) * self.rate_per_s
        self._tokens, self._filled = min(self.burst, self._tokens + more), now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    # ---- a call

    async def _wait(self, exchange: Exchange, call: Call, rule: Rule | None) -> None:
        """Its result if it comes within a hop, and where to get it if not."""
        if rule and rule.fault in REDIRECTS:
            await self._redirect(exchange, call, rule)
            return
        # When something else goes wrong, it does so with the result.
        limit = None if rule else self.hop_s
        done, _ = await asyncio.wait([call.reply], timeout=limit)
        if not done:
            await self._redirect(exchange, call, None)
            return
        # Consumed by the attempt to send it.
        self._calls.pop(call.name, None)
        reply = call.reply.result()
        reply.headers["modal-function-call-id"] = call.name
        if rule:
            await self._spoil(exchange, rule, reply)
        else:
            await self._send(exchange, reply)

    async def _redirect(
        self, exchange: Exchange, call: Call, rule: Rule | None
    ) -> None:
        said = exchange.request
        headers = {"content-type": "text/plain", "location": self._where(said, call)}
        if rule and rule.fault == "elsewhere":
            headers["location"] = rule.location
        if rule and rule.fault == "other_call":
            headers["location"] = headers["location"].replace("fc-", "fc-0")
        if rule and rule.fault == "no_location":
            del headers["location"]
        self.count("redirected")
        await self._send(exchange, Reply(303, headers, b""))

    def _where(self, said: Request, call: Call) -> str:
        query = parse_qs(said.parts.query)
        query[CALL_ID] = [call.name]
        path = said.parts.path
        match self.relative:
            case "query":
                return f"?{CALL_ID}={call.name}"
            case "path":
                return f"{path}?{urlencode(query, doseq=True)}"
            case _:
                return f"{self.url}{path}?{urlencode(query, doseq=True)}"

    async def _run(
        self, exchange: Exchange, call: str, workspace: str, raw: bytes
    ) -> Reply:
        if self.app:
            return await self._forward(exchange.request, call, workspace, raw)
        try:
            zipped = exchange.request.headers.get("content-encoding") == "gzip"
            body = gunzip(raw) if zipped else raw
            self.count("gzipped" if zipped else "plain")
            request, key = self._dialect.request(exchange, workspace, raw, body)
        except Refused as refused:
            self.count("refused")
            reply = json_reply({"detail": str(refused)}, refused.status)
            reply.ran = False
            return reply
        container = await self._container(workspace)
        refusal = self._lacks_code(container, request)
        if refusal:
            return refusal
        row = Run(
            request["run_id"],
            workspace,
            request["code_hash"],
            key,
            container.name,
            call,
            exchange.request.headers["modal-key"],
            exchange.request.version,
            request["inputs_json"][:64],
            0.0,
        )
        return await self._execute(row, request)

    async def _forward(
        self, request: Request, call: str, workspace: str, raw: bytes
    ) -> Reply:
        """To a container that is somebody else's code, and knows itself whether
        it runs what it is asked for."""
        if workspace not in self._apps:
            assert self.app
            self._apps[workspace] = self.server.spawn(self.app(workspace))
        container = await self._apps[workspace]
        slots = self._slots.setdefault(workspace, asyncio.Semaphore(self.slots))
        token = request.headers["modal-key"]
        said = call, token, request.version, ""
        row = Run("-", workspace, "-", "-", "app", *said, time.time())
        async with slots:
            reply = await ask(container, request, raw)
        row.ended_s = time.time()
        told = json.loads(reply.body)
        if reply.status != 200 or told.get("server_error"):
            self.count("refused")
        else:
            self.count("runs")
            self.ledger.append(row)
        return reply

    async def _container(self, workspace: str) -> Container:
        pool = self._pools.get(workspace)
        if pool is None:
            names = [f"ta-{secrets.token_hex(8)}" for _ in range(self.containers)]
            with self._lock:
                pool = self._pools.setdefault(workspace, list(map(Container, names)))
            await asyncio.sleep(self.cold_s)
        pool.append(pool.pop(0))
        return pool[0]

    def _lacks_code(
        self, container: Container, request: dict[str, Any]
    ) -> Reply | None:
        """Completes the request by what the container knows."""
        key = request["code_hash"], init_hash(request)
        if isinstance(request.get("code_str"), str):
            if request["code_hash"] != code_hash(request):
                return server_error("InvalidRequest", "code_hash is of other code")
            names = "code_str imports init_function_code init_function_name".split()
            code = {name: request[name] for name in names if name in request}
            container.codes[key] = code
        elif key in container.codes:
            self.count("by_hash")
            request.update(container.codes[key])
        elif request["code_hash"]:
            self.count("unknown_code_hash")
            text = f"Code not cached on this container for hash {key[0]}; resend it."
            return server_error("UnknownCodeHash", text, code_hash=key[0])
        else:
            text = "Request must include either 'code_str' or 'code_hash'."
            return server_error("InvalidRequest", text)
        container.codes.move_to_end(key)
        while len(container.codes) > self.codes:
            container.codes.popitem(last=False)
        return None

    async def _execute(self, run: Run, request: dict[str, Any]) -> Reply:
        run.started_s = time.time()
        self.count("runs")
        self.ledger.append(run)
        self._log.add(request, run.key)
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        try:
            answer = await asyncio.wrap_future(self._engine.submit(request))
        except ConnectionError:
            return says("terminated")
        finally:
            run.ended_s = time.time()
        return self._dialect.reply(answer)

    # ---- what goes wrong

    async def _spoil(self, exchange: Exchange, rule: Rule, reply: Reply | None) -> None:
        """reply: the run's, if there was one."""
        fault = rule.fault
        if fault in EDGE or fault in ("status", "missing_request"):
            await self._send(exchange, self._status(rule))
        elif fault in ("close_unread", "close_before", "close_after"):
            exchange.cut()
        elif fault in ("reset_before", "reset_after"):
            exchange.cut(hard=True)
        elif fault in ("refused", "goaway"):
            self._http2(exchange, fault)
        else:
            assert reply is not None, fault
            await getattr(self, f"_answer_{fault}")(exchange, rule, reply)

    @staticmethod
    def _status(rule: Rule) -> Reply:
        if rule.fault == "status":
            reply = Reply(rule.status or 503, dict(rule.headers), rule.body.encode())
        elif rule.fault == "missing_request":
            reply = Reply(408, {}, MISSING)
        else:
            reply = says(rule.fault)
        if rule.retry_after is not None:
            reply.headers["retry-after"] = str(rule.retry_after)
        return reply

    @staticmethod
    def _http2(exchange: Any, fault: str) -> None:
        if fault == "goaway":
            exchange.goaway(exchange.stream - 2)
        else:
            exchange.fail(7)  # REFUSED_STREAM

    async def _answer_hang(self, exchange: Exchange, rule: Rule, reply: Reply) -> None:
        await exchange.gone(float("inf"))
        self.count("gone")
        exchange.cut()

    async def _answer_delay(self, exchange: Exchange, rule: Rule, reply: Reply) -> None:
        if await exchange.gone(rule.seconds):
            self.count("gone")
            exchange.cut()
        else:
            await self._send(exchange, reply)

    async def _answer_slow(self, exchange: Exchange, rule: Rule, reply: Reply) -> None:
        parts = 10
        size = len(reply.body) // parts + 1
        await exchange.start(reply.status, reply.headers, len(reply.body))
        for at in range(0, len(reply.body), size):
            if await exchange.gone(rule.seconds / parts):
                exchange.cut()
                return
            await exchange.write(reply.body[at : at + size])
        await exchange.finish()

    async def _answer_truncate(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await exchange.start(reply.status, reply.headers, len(reply.body))
        await exchange.write(reply.body[: len(reply.body) // 2])
        exchange.cut()

    async def _answer_wrong_length(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await exchange.start(reply.status, reply.headers, len(reply.body) + 1)
        await exchange.write(reply.body)
        exchange.cut()

    async def _answer_short_length(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await exchange.start(reply.status, reply.headers, len(reply.body) - 1)
        await exchange.write(reply.body)
        await exchange.finish()

    async def _answer_oversize(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        told = {**json.loads(reply.body), "stdout": "x" * rule.bytes}
        await self._send(exchange, await asyncio.to_thread(json_reply, told))

    async def _answer_endless(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await exchange.start(200, reply.headers, None)
        for _ in range(0, rule.bytes, 1 << 16):
            await exchange.write(b" " * (1 << 16))
        await exchange.write(reply.body)
        await exchange.finish()

    async def _answer_bomb(self, exchange: Exchange, rule: Rule, reply: Reply) -> None:
        packed = await asyncio.to_thread(bomb, rule.bytes, reply.body)
        headers = {**reply.headers, "content-encoding": "gzip"}
        await self._send(exchange, Reply(200, headers, packed))

    async def _answer_garbage(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await self._send(exchange, Reply(200, {}, rule.body.encode()))

    async def _answer_headers(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        lines = {f"x-{n}": "y" * 1000 for n in range(rule.bytes // 1000)}
        await self._send(exchange, Reply(200, {**lines, **reply.headers}, reply.body))

    async def _answer_nonsense(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await exchange.raw(rule.body.encode())
        exchange.cut()

    async def _answer_drop_idle(
        self, exchange: Exchange, rule: Rule, reply: Reply
    ) -> None:
        await self._send(exchange, reply)
        exchange.leave()


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="gets the port, when it is open")
    parser.add_argument("--engine", choices=("auto", "echo", "runner"), default="auto")
    parser.add_argument(
        "--dialect", choices=("blockfleet", "webexec"), default="blockfleet"
    )
    parser.add_argument("--log", type=Path, help="one line per run")
    parser.add_argument("--trusted", type=Path, help="the fleet's file of trusted keys")
    parser.add_argument("--token", nargs=2, default=["wk-test", "ws-test"])
    parser.add_argument("--tls", type=Path, help="folder for the certificate, tls.crt")
    parser.add_argument("--hop-ms", type=int, default=150_000, help="until a 303")
    parser.add_argument("--delay-ms", type=int, default=0, help="before each run")
    parser.add_argument("--rule", action="append", default=[], metavar="JSON")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    edge = ModalEdge(
        engine=options.engine,
        dialect=options.dialect,
        port=options.port,
        tls=options.tls,
        log=options.log,
        keys=trusted_run_keys(options.trusted) if options.trusted else None,
        tokens=dict([options.token]),
        hop_s=options.hop_ms / 1000,
        delay_s=options.delay_ms / 1000,
        rules=[Rule(**json.loads(text)) for text in options.rule],
    )
    with edge:
        if options.port_file:
            half = options.port_file.with_suffix(".new")
            half.write_text(f"{edge.port}\n")
            half.rename(options.port_file)
        print(edge.url, flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
