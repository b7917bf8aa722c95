#!/usr/bin/env python3
"""A provider for tests: Modal's control plane, as gRPC clients see it.

    modal_api.py --port-file P --tls FOLDER [--engine echo] [--log RUNS] [--rule JSON]

    with ModalApi(folder, engine="echo") as api:
        api.rule("status", rpc="FunctionMap", code="UNAVAILABLE", count=2)
        ... modal.Cls.from_name("blockfleet", "Executor") at api.url ...
        api.ledger

The schema is that of the `modal` wheel, the transport TLS and HTTP/2; a
certificate is made in the folder (tls.crt). It has one app with one class,
parametrized by workspace_id, and runs its method `call` for real, in the
fleet's own runner:

    call(head: bytes, inputs: bytes) -> [head: bytes, result: bytes | None]

head is the execute_block request without inputs_json, and its answer without
result (PROTOCOL.md §9, worker/runner/modal_app.py). A call that is cancelled is
killed. Payloads above the inline limits go through a blob store, over HTTPS.

The ledger, and a line of the log, is one run that was started:
`<run_id> <workspace> <code_hash> -`.

Faults (a rule: fault, and optionally rpc, count, every, skip, share, workspace)
hit an RPC by its name, any without one; with ran=true after it was carried out:
  status        grpc-status `code` with `message`
  throttle      RESOURCE_EXHAUSTED with RPCRetryPolicy of `seconds`
  proxy         HTTP `status` and no gRPC at all
  goaway        GOAWAY instead of an answer, then closed
  refused       RST_STREAM REFUSED_STREAM
  disconnect    closed
  half          closed in the middle of the message
  hang          no answer
  delay         by `seconds`, then the answer
  compressed    a frame with flag 1
  garbage       a message that is no protobuf
  oversize      a message of `bytes`
  two           two messages
  no_status     a message, and no trailers
  lost          FunctionGetOutputs only: the call is forgotten
  result        FunctionGetOutputs only: GenericResult `code` with `message`
Blobs: blob_status (HTTP `status`), blob_short (half of it).
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import hashlib
import hmac
import itertools
import json
import logging
import secrets
import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import blocks
import cbor2
from blocks import RunLog, engine_of
from google.protobuf.message import DecodeError, Message
from grpclib import GRPCError, Status
from grpclib.const import Cardinality, Handler
from grpclib.server import Server, Stream
from h2.errors import ErrorCodes
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2
from tls import server_context

# What is cut on purpose is no news.
logging.getLogger("grpclib.server").setLevel(logging.CRITICAL)

APP, CLS, METHOD = "blockfleet", "Executor", "call"
SERVICE = "/modal.client.ModalClient/"
MAX_OBJECT = 2 << 20
MAX_ASYNC_OBJECT = 8 << 10
CLIENTS = {1, 3, 7, 8, 9}  # of enum ClientType
LIBMODAL = {7, 8, 9}  # these send x-modal-auth-token with every call
INFLIGHT = frozenset("goaway refused disconnect half hang compressed garbage".split())
RESULT = api_pb2.GenericResult.GenericStatus


@dataclass
class Rule(blocks.Rule):
    faults = INFLIGHT | frozenset(
        "status throttle proxy delay oversize two no_status lost result blob_status "
        "blob_short".split()
    )

    rpc: str = ""
    code: str = "UNAVAILABLE"
    message: str = "injected"
    ran: bool = False


@dataclass
class Seen:
    """A request as it came."""

    rpc: str
    headers: dict[str, str]
    message: Message


@dataclass
class Run:
    """A row of the ledger."""

    run_id: str
    workspace: str
    code_hash: str
    call: str
    task: str
    cancelled: bool = False
    started_s: float = 0.0
    ended_s: float = 0.0


@dataclass
class Pool:
    """A function bound to parameters, and its container."""

    name: str
    workspace: str
    task: str
    warm: bool = False


@dataclass
class Call:
    name: str
    pool: Pool
    sync: bool
    input_id: str
    done: asyncio.Future[api_pb2.FunctionGetOutputsItem]
    task: asyncio.Task[None] | None = None
    cleared: bool = False
    run: Future[blocks.Answer] | None = None
    row: Run | None = None


class Failure(Exception):
    """What the method raised."""


@dataclass
class ModalApi:
    """Serves from its birth; a context manager. port 0: any free one."""

    folder: Path  # for the certificate
    engine: str = "auto"
    port: int = 0
    log: Path | None = None
    token: tuple[str, str] = ("ak-test", "as-test")
    token_life_s: float = 1200.0
    function_s: float = 700.0
    patient: bool = False  # leaves it to the caller to end what takes too long
    milli_cpu: int = 500  # physical cores
    memory_mb: int = 1024
    delay_s: float = 0.0
    cold_s: float = 0.0
    max_object: int = MAX_OBJECT
    max_async_object: int = MAX_ASYNC_OBJECT
    max_wait_s: float = 55.0  # of FunctionGetOutputs, whatever is asked for
    output_formats: tuple[int, ...] = (api_pb2.DATA_FORMAT_CBOR,)
    rules: list[Rule] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._lock = threading.Lock()
        self._log = RunLog(self.log)
        self._engine = engine_of(self.engine)
        self._secret = secrets.token_bytes(32)
        self._serial = itertools.count(1)
        self._pools: dict[str, Pool] = {}
        self._calls: dict[str, Call] = {}
        self._answers: dict[tuple[str, str], Message] = {}
        self.counts: Counter[str] = Counter()
        self.seen: list[Seen] = []
        self.ledger: list[Run] = []
        context = server_context(self.folder, "h2")
        self.ca = self.folder / "tls.crt"
        blob_context = server_context_again(self.folder)
        self.blobs = BlobStore(self, blob_context)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._on_loop(self._start(context))
        self.url = f"https://localhost:{self.port}"

    def __enter__(self) -> ModalApi:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _on_loop(self, work: Awaitable[Any]) -> Any:
        async def run() -> Any:
            return await work

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result(30)

    async def _start(self, context: Any) -> None:
        codec = custom_detail_codec
        self._server = Server([self], status_details_codec=codec)
        await self._server.start("127.0.0.1", self.port, ssl=context)
        listening = self._server._server  # it tells no port
        self.port = listening.sockets[0].getsockname()[1]

    async def _stop(self) -> None:
        self._server.close()
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def close(self) -> None:
        self._on_loop(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()
        self.blobs.close()
        self._engine.close()
        self._log.close()

    # ---- what a test asks for

    def rule(self, fault: str, **options: Any) -> Rule:
        rule = Rule(fault, **options)
        with self._lock:
            self.rules.append(rule)
        return rule

    def sent(self, rpc: str) -> list[Seen]:
        with self._lock:
            return [one for one in self.seen if one.rpc == rpc]

    def run_of(self, call: str) -> Future[blocks.Answer]:
        """What the engine makes of a call that was begun."""
        run = self._calls[call].run
        assert run
        return run

    def new_tokens(self) -> None:
        """Whoever has one of the old does not get in."""
        self._secret = secrets.token_bytes(32)

    def redeploy(self) -> None:
        """Ids of functions that are known no more."""
        self._loop.call_soon_threadsafe(self._pools.clear)

    def fault(self, rpc: str, workspace: str | None = None) -> Rule | None:
        with self._lock:
            for rule in self.rules:
                if rule.rpc in ("", rpc) and rule.takes(workspace):
                    return rule
        return None

    def count(self, what: str) -> None:
        with self._lock:
            self.counts[what] += 1

    # ---- who may call

    def _jwt(self, life_s: float) -> str:
        def part(raw: bytes) -> str:
            return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()

        claims = {"exp": int(time.time() + life_s), "n": next(self._serial)}
        text = (
            part(b'{"alg":"HS256","typ":"JWT"}')
            + "."
            + part(json.dumps(claims).encode())
        )
        mac = hmac.new(self._secret, text.encode(), hashlib.sha256).digest()
        return f"{text}.{part(mac)}"

    def _jwt_ok(self, token: str) -> bool:
        text, _, mac = token.rpartition(".")
        want = hmac.new(self._secret, text.encode(), hashlib.sha256).digest()
        if base64.urlsafe_b64encode(want).rstrip(b"=").decode() != mac:
            return False
        claims = text.split(".")[1]
        claims += "=" * (-len(claims) % 4)
        return json.loads(base64.urlsafe_b64decode(claims))["exp"] > time.time()

    def _admit(self, rpc: str, headers: Mapping[str, str]) -> None:
        client = headers.get("x-modal-client-type", "")
        if not client.isdecimal() or int(client) not in CLIENTS:
            raise GRPCError(Status.FAILED_PRECONDITION, "client type is missing")
        version = headers.get("x-modal-client-version", "").split(".")
        if len(version) != 3 or version < ["1", "0", "0"]:
            raise GRPCError(Status.FAILED_PRECONDITION, "client version is too old")
        given = tuple(headers.get(f"x-modal-token-{n}", "") for n in ("id", "secret"))
        if given != self.token:
            raise GRPCError(Status.UNAUTHENTICATED, "token validation failed")
        if int(client) in LIBMODAL and rpc != "AuthTokenGet":
            if "x-modal-libmodal-version" not in headers:
                raise GRPCError(Status.FAILED_PRECONDITION, "libmodal version")
            if not self._jwt_ok(headers.get("x-modal-auth-token", "")):
                raise GRPCError(Status.UNAUTHENTICATED, "auth token is not valid")
        for name in ("x-idempotency-key", "x-retry-attempt"):
            if not headers.get(name):
                raise GRPCError(Status.INVALID_ARGUMENT, f"{name} is missing")

    # ---- the service

    def __mapping__(self) -> dict[str, Handler]:
        found = {}
        service = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
        for method in service.methods:
            does = getattr(self, f"_{method.name}", None)
            if does:
                found[SERVICE + method.name] = Handler(
                    self._unary(method.name, does),
                    Cardinality.UNARY_UNARY,
                    message_class(method.input_type),
                    message_class(method.output_type),
                )
        return found

    def _unary(
        self, rpc: str, does: Callable[..., Awaitable[Message]]
    ) -> Callable[[Stream[Any, Any]], Awaitable[None]]:
        async def handle(stream: Stream[Any, Any]) -> None:
            headers = {k: v for k, v in (stream.metadata or {}).items()}
            request = await stream.recv_message()
            with self._lock:
                self.seen.append(Seen(rpc, headers, request))
            self.count(rpc)
            rule = self.fault(rpc, self._workspace(request))
            if rule and not rule.ran and await self._spoil(stream, rule, None):
                return
            self._admit(rpc, headers)
            key = rpc, headers["x-idempotency-key"]
            answer = self._answers.get(key)
            if answer is None:
                answer = await does(request)
                if rpc in ("FunctionMap", "BlobCreate"):
                    self._answers[key] = answer
            else:
                self.count("idempotent")
            if rule and await self._spoil(stream, rule, answer):
                return
            await stream.send_message(answer)

        return handle

    def _workspace(self, request: Message) -> str | None:
        if isinstance(request, api_pb2.FunctionMapRequest):
            pool = self._pools.get(request.function_id)
            return pool.workspace if pool else None
        name = getattr(request, "function_call_id", "")
        return self._calls[name].pool.workspace if name in self._calls else None

    async def _AuthTokenGet(self, request: Message) -> Message:
        return api_pb2.AuthTokenGetResponse(token=self._jwt(self.token_life_s))

    async def _ClientHello(self, request: Message) -> Message:
        return api_pb2.ClientHelloResponse(image_builder_version="2025.06")

    def _handle(self, name: str, method: str = "") -> api_pb2.FunctionHandleMetadata:
        handle = api_pb2.FunctionHandleMetadata(
            function_name=name,
            function_type=api_pb2.Function.FUNCTION_TYPE_FUNCTION,
            is_method=bool(method),
            use_method_name=method,
            definition_id="de-1",
            app_id="ap-1",
            max_object_size_bytes=self.max_object,
            max_async_object_size_bytes=self.max_async_object,
            supported_input_formats=[api_pb2.DATA_FORMAT_CBOR],
            supported_output_formats=self.output_formats,
        )
        if not method:
            parameters = handle.class_parameter_info
            parameters.format = parameters.PARAM_SERIALIZATION_FORMAT_PROTO
            parameters.schema.add(name="workspace_id", type=api_pb2.PARAM_TYPE_STRING)
            handle.method_handle_metadata[METHOD].CopyFrom(
                self._handle(f"{CLS}.{METHOD}", METHOD)
            )
        return handle

    async def _FunctionGet(self, request: Any) -> Message:
        if request.app_name != APP:
            raise GRPCError(Status.NOT_FOUND, f"App '{request.app_name}' not found")
        if request.object_tag == CLS:
            reason = api_pb2.FunctionLookupError.REASON_CLASS_NAME_USED
            details = [api_pb2.FunctionLookupError(reason=reason)]
            raise GRPCError(Status.NOT_FOUND, "a class has that name", details)
        if request.object_tag != f"{CLS}.*":
            raise GRPCError(Status.NOT_FOUND, f"no function {request.object_tag}")
        answer = api_pb2.FunctionGetResponse(
            function_id="fu-1", handle_metadata=self._handle(f"{CLS}.*")
        )
        ranked = answer.function.ranked_functions.add(rank=0)
        ranked.function.function_name = f"{CLS}.*"
        ranked.function.timeout_secs = int(self.function_s)
        ranked.function.resources.milli_cpu = self.milli_cpu
        ranked.function.resources.memory_mb = self.memory_mb
        return answer

    async def _ClassGet(self, request: Any) -> Message:
        if (request.app_name, request.object_tag) != (APP, CLS):
            raise GRPCError(Status.NOT_FOUND, f"no class {request.object_tag}")
        return api_pb2.ClassGetResponse(
            class_id="cs-1", handle_metadata=api_pb2.ClassHandleMetadata()
        )

    async def _FunctionBindParams(self, request: Any) -> Message:
        if request.function_id != "fu-1":
            raise GRPCError(Status.NOT_FOUND, f"no function {request.function_id}")
        try:
            given = api_pb2.ClassParameterSet.FromString(request.serialized_params)
        except DecodeError:
            raise GRPCError(Status.INVALID_ARGUMENT, "parameters") from None
        values = [(p.name, p.type, p.string_value) for p in given.parameters]
        if len(values) != 1 or values[0][:2] != (
            "workspace_id",
            api_pb2.PARAM_TYPE_STRING,
        ):
            raise GRPCError(Status.INVALID_ARGUMENT, f"parameters {values}")
        digest = hashlib.sha256(request.serialized_params).hexdigest()[:22]
        pool = Pool(f"fu-{digest}", values[0][2], f"ta-{secrets.token_hex(11)}")
        self._pools.setdefault(pool.name, pool)
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=pool.name, handle_metadata=self._handle(f"{CLS}.*")
        )

    # ---- calls

    async def _FunctionMap(self, request: Any) -> Message:
        pool = self._pools.get(request.function_id)
        if not pool:
            raise GRPCError(Status.NOT_FOUND, f"no function {request.function_id}")
        if len(request.pipelined_inputs) != 1:
            raise GRPCError(Status.INVALID_ARGUMENT, "one input, please")
        item = request.pipelined_inputs[0]
        kind = request.function_call_invocation_type
        sync = kind == api_pb2.FUNCTION_CALL_INVOCATION_TYPE_SYNC
        if item.input.method_name != METHOD:
            raise GRPCError(Status.INVALID_ARGUMENT, "no such method")
        limit = self.max_object if sync else self.max_async_object
        if len(item.input.args) > limit:
            raise GRPCError(Status.INVALID_ARGUMENT, "too large to be inline")
        call = Call(
            f"fc-{secrets.token_hex(11)}",
            pool,
            sync,
            f"in-{secrets.token_hex(11)}",
            self._loop.create_future(),
        )
        self._calls[call.name] = call
        call.task = self._loop.create_task(self._carry_out(call, item.input))
        return api_pb2.FunctionMapResponse(
            function_call_id=call.name,
            pipelined_inputs=[
                api_pb2.FunctionPutInputsResponseItem(
                    idx=item.idx, input_id=call.input_id, input_jwt=f"jwt-{call.name}"
                )
            ],
            function_call_jwt=f"jwt-{call.name}",
            sync_client_retries_enabled=True,
        )

    async def _carry_out(self, call: Call, given: Any) -> None:
        item = api_pb2.FunctionGetOutputsItem(
            input_id=call.input_id,
            task_id=call.pool.task,
            data_format=given.data_format,
        )
        try:
            item.input_started_at = time.time()
            await self._method(call, given, item)
        except asyncio.CancelledError:
            if call.run:
                self._engine.kill(call.run)
            item.result.status = RESULT.GENERIC_STATUS_TERMINATED
            item.result.exception = "Input was cancelled"
        except TimeoutError:
            item.result.status = RESULT.GENERIC_STATUS_TIMEOUT
            item.result.exception = f"Task's time of {self.function_s} s is over"
        except Exception as error:  # the container reports any
            item.result.status = RESULT.GENERIC_STATUS_FAILURE
            item.result.exception = f"{type(error).__name__}({error})"
            item.result.traceback = f"Traceback:\n  {error}"
        item.output_created_at = time.time()
        if call.row:
            call.row.ended_s = item.output_created_at
        if not call.done.done():
            call.done.set_result(item)

    async def _method(self, call: Call, given: Any, item: Any) -> None:
        if given.data_format != api_pb2.DATA_FORMAT_CBOR:
            raise Failure("this function takes CBOR")
        args = given.args
        if given.WhichOneof("args_oneof") == "args_blob_id":
            args = self.blobs.get(given.args_blob_id)
        (head, inputs), kwargs = cbor2.loads(args)
        if kwargs:
            raise Failure(f"unexpected arguments {list(kwargs)}")
        request = json.loads(head)
        if request["workspace_id"] != call.pool.workspace:
            raise Failure("the container is another workspace's")
        answer = await self._execute(call, {**request, "inputs_json": inputs.decode()})
        result = answer.get("result") if answer["success"] else None
        names = {*blocks.TOLD, "reason"} - {"result"}
        told = {name: answer[name] for name in names if name in answer}
        body = cbor2.dumps(
            [json.dumps(told).encode(), None if result is None else result.encode()]
        )
        item.result.status = RESULT.GENERIC_STATUS_SUCCESS
        limit = self.max_object if call.sync else self.max_async_object
        if len(body) > limit:
            item.result.data_blob_id = self.blobs.put_ourselves(body)
        else:
            item.result.data = body

    async def _execute(self, call: Call, request: dict[str, Any]) -> blocks.Answer:
        pool = call.pool
        call.row = Run(
            request["run_id"],
            request["workspace_id"],
            request["code_hash"],
            call.name,
            pool.task,
            started_s=time.time(),
        )
        if not pool.warm:
            pool.warm = True
            await asyncio.sleep(self.cold_s)
        self.ledger.append(call.row)
        self._log.add(request, "-")
        if self.delay_s:
            await asyncio.sleep(self.delay_s)
        if self.patient:
            request["timeout_seconds"] = str(self.function_s)
        call.run = self._engine.submit(request)
        waiting = asyncio.wrap_future(call.run)
        done, _ = await asyncio.wait([waiting], timeout=self.function_s)
        if not done:
            self._engine.kill(call.run)
            raise TimeoutError
        return dict(call.run.result())

    async def _FunctionGetOutputs(self, request: Any) -> Message:
        call = self._calls.get(request.function_call_id)
        if not call:
            raise GRPCError(Status.NOT_FOUND, "no such function call")
        if call.cleared:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=0)
        limit = min(request.timeout, self.max_wait_s)
        await asyncio.wait([call.done], timeout=limit)
        if not call.done.done():
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        call.cleared = request.clear_on_success
        return api_pb2.FunctionGetOutputsResponse(
            outputs=[call.done.result()], last_entry_id="1-0"
        )

    async def _FunctionCallCancel(self, request: Any) -> Message:
        call = self._calls.get(request.function_call_id)
        if not call:
            raise GRPCError(Status.NOT_FOUND, "no such function call")
        if call.task and not call.done.done():
            self.count("cancelled")
            if call.row:
                call.row.cancelled = True
            call.task.cancel()
        return message_class(self._answer_of("FunctionCallCancel"))()

    @staticmethod
    def _answer_of(rpc: str) -> Any:
        service = api_pb2.DESCRIPTOR.services_by_name["ModalClient"]
        return service.methods_by_name[rpc].output_type

    # ---- blobs

    async def _BlobCreate(self, request: Any) -> Message:
        name, url = self.blobs.create(
            request.content_length, request.content_md5, request.content_sha256_base64
        )
        # What a JavaScript client reads, and what a Python client does.
        answer = api_pb2.BlobCreateResponse(
            blob_id=name, upload_url=url, blob_ids=[name]
        )
        answer.upload_urls.items.append(url)
        return answer

    async def _BlobGet(self, request: Any) -> Message:
        if request.blob_id not in self.blobs.kept:
            raise GRPCError(Status.NOT_FOUND, "no such blob")
        return api_pb2.BlobGetResponse(download_url=self.blobs.url_of(request.blob_id))

    # ---- what goes wrong

    async def _spoil(self, stream: Any, rule: Rule, answer: Message | None) -> bool:
        """Whether that was the answer. answer: what it would have been."""
        fault = rule.fault
        wire = stream._stream  # below what grpclib lets servers do
        if fault == "status":
            raise GRPCError(Status[rule.code], rule.message)
        if fault == "throttle":
            policy = api_pb2.RPCRetryPolicy(retry_after_secs=rule.seconds)
            raise GRPCError(Status.RESOURCE_EXHAUSTED, rule.message, [policy])
        if fault in ("delay", "hang"):
            await asyncio.sleep(rule.seconds if fault == "delay" else 3600)
            return False
        if fault == "lost" and answer is not None:
            answer.CopyFrom(api_pb2.FunctionGetOutputsResponse())
            return False
        if fault == "result" and answer is not None:
            self._other_result(rule, answer)
            return False
        if fault.startswith("blob_") or fault in ("lost", "result"):
            return False
        if fault == "goaway":
            wire._h2_connection.close_connection(0, last_stream_id=wire.id - 2)
        elif fault == "refused":
            wire._h2_connection.reset_stream(wire.id, ErrorCodes.REFUSED_STREAM)
        elif fault == "proxy":
            status = [(":status", str(rule.status or 503))]
            wire._h2_connection.send_headers(wire.id, status, end_stream=True)
        elif fault != "disconnect":
            await self._bad_message(stream, wire, rule, answer)
        wire._transport.write(wire._h2_connection.data_to_send())
        if fault in ("goaway", "disconnect", "half"):
            # close() would wait half a minute for the peer to say goodbye.
            self._loop.call_later(0.02, wire._transport.abort)
        # grpclib would answer for whoever returns without having done so.
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(3600 if fault != "no_status" else 0)
        return True

    @staticmethod
    async def _bad_message(
        stream: Any, wire: Any, rule: Rule, answer: Message | None
    ) -> None:
        raw = answer.SerializeToString() if answer is not None else b"\x0a\x01a"
        frame = b"\0" + len(raw).to_bytes(4, "big") + raw
        match rule.fault:
            case "half":
                frame = b"\0" + (len(raw) + 9).to_bytes(4, "big") + raw
            case "compressed":
                frame = b"\1" + frame[1:]
            case "garbage":
                frame = b"\0\0\0\0\3\x0a\x09a"
            case "oversize":
                frame = b"\0" + rule.bytes.to_bytes(4, "big") + bytes(rule.bytes)
            case "two":
                frame += frame
        await stream.send_initial_metadata()
        await wire.send_data(frame, end_stream=rule.fault == "no_status")
        if rule.fault not in ("half", "no_status"):
            trailers = [("grpc-status", "0")]
            await wire.send_headers(trailers, end_stream=True)

    @staticmethod
    def _other_result(rule: Rule, answer: Any) -> None:
        for item in answer.outputs:
            item.result.Clear()
            item.result.status = RESULT.Value(f"GENERIC_STATUS_{rule.code}")
            item.result.exception = rule.message


def message_class(descriptor: Any) -> Any:
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptor)


def server_context_again(folder: Path) -> Any:
    """The same certificate for HTTP/1.1."""
    import ssl

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "tls.crt", folder / "tls.key")
    return context


class BlobStore:
    """Where URLs lead: what is PUT there once can be had by GET."""

    def __init__(self, api: ModalApi, context: Any) -> None:
        self.kept: dict[str, bytes] = {}
        self.expected: dict[str, tuple[int, str, str]] = {}
        store = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def reply(self, status: int, body: bytes, **headers: str) -> None:
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def name(self) -> str:
                return self.path.partition("?")[0].removeprefix("/blob/")

            def do_PUT(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                rule = api.fault("blob PUT")
                if rule and rule.fault == "blob_status":
                    self.reply(rule.status or 503, b"SlowDown")
                    return
                why = store.refuses(self.name(), body, self.headers)
                if why:
                    self.reply(400, why.encode())
                    return
                store.kept[self.name()] = body
                api.count("blob_put")
                self.reply(200, b"", ETag=f'"{hashlib.md5(body).hexdigest()}"')

            def do_GET(self) -> None:
                rule = api.fault("blob GET")
                if rule and rule.fault == "blob_status":
                    self.reply(rule.status or 503, b"SlowDown")
                    return
                body = store.kept.get(self.name())
                if body is None:
                    self.reply(404, b"NoSuchKey")
                    return
                api.count("blob_get")
                if rule and rule.fault == "blob_short":
                    self.send_response(200)
                    self.send_header("content-length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body[: len(body) // 2])
                    self.close_connection = True
                    return
                self.reply(200, body)

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.socket = context.wrap_socket(
            self._server.socket, server_side=True, do_handshake_on_connect=False
        )
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def refuses(self, name: str, body: bytes, headers: Any) -> str:
        length, md5, sha256 = self.expected.get(name, (-1, "", ""))
        if len(body) != length:
            return "no such upload, or of another length"
        if headers.get("content-md5") not in (None, md5):
            return "BadDigest"
        if base64.b64encode(hashlib.md5(body).digest()).decode() != md5:
            return "The Content-MD5 you specified did not match what we received."
        if base64.b64encode(hashlib.sha256(body).digest()).decode() != sha256:
            return "sha256"
        if headers.get("content-type") != "application/octet-stream":
            return "content-type"
        return ""

    def url_of(self, name: str) -> str:
        port = self._server.server_address[1]
        return f"https://localhost:{port}/blob/{name}?X-Signature=s%2Bs"

    def create(self, length: int, md5: str, sha256: str) -> tuple[str, str]:
        name = f"bl-{secrets.token_hex(11)}"
        self.expected[name] = length, md5, sha256
        return name, self.url_of(name)

    def get(self, name: str) -> bytes:
        return self.kept[name]

    def put_ourselves(self, body: bytes) -> str:
        name = f"bl-{secrets.token_hex(11)}"
        self.kept[name] = body
        return name

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="gets the port, when it is open")
    parser.add_argument("--engine", choices=("auto", "echo", "runner"), default="auto")
    parser.add_argument("--log", type=Path, help="one line per run")
    parser.add_argument("--token", nargs=2, default=["ak-test", "as-test"])
    parser.add_argument("--tls", type=Path, required=True, help="gets tls.crt")
    parser.add_argument("--rule", action="append", default=[], metavar="JSON")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    api = ModalApi(
        options.tls,
        engine=options.engine,
        port=options.port,
        log=options.log,
        token=tuple(options.token),
        rules=[Rule(**json.loads(text)) for text in options.rule],
    )
    with api:
        if options.port_file:
            half = options.port_file.with_suffix(".new")
            half.write_text(f"{api.port}\n")
            half.rename(options.port_file)
        print(api.url, flush=True)
        stop.wait()
    return 0


if __name__ == "__main__":
    sys.exit(main())
