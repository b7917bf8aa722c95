"""Writes tests/wire/golden/*.json: bytes of other people's libraries (Google's
protobuf with Modal's own schema, cbor2, grpclib), to which the C is held.

    python tests/wire/vendor_golden.py          write the files
    python tests/wire/vendor_golden.py --check  exit 1 if one differs

The files are as schemas/golden/ has them: make_golden.py tells. A message or a
value is a list of steps, the calls of the writer in worker/wire/ that make it;
numbers of 64 bits are decimal strings, floats are hex of their bits.
"""

import base64
import hashlib
import json
import math
import random
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
from google.protobuf import empty_pb2, unknown_fields
from google.protobuf.descriptor import FieldDescriptor as Field
from google.protobuf.message import DecodeError, Message
from grpclib import Status
from grpclib.metadata import encode_grpc_message
from modal._utils.grpc_utils import custom_detail_codec
from modal_proto import api_pb2

GOLDEN = Path(__file__).resolve().parent / "golden"
MESSAGES = (
    "AuthTokenGetResponse",
    "FunctionGetRequest",
    "FunctionGetResponse",
    "ClassParameterSet",
    "FunctionBindParamsRequest",
    "FunctionBindParamsResponse",
    "FunctionMapRequest",
    "FunctionMapResponse",
    "FunctionGetOutputsRequest",
    "FunctionGetOutputsResponse",
    "FunctionCallCancelRequest",
    "BlobCreateRequest",
    "BlobCreateResponse",
    "BlobGetRequest",
    "BlobGetResponse",
    "RPCStatus",
    "RPCRetryPolicy",
)

Step = list[Any]
Case = dict[str, Any]


def case(name: str, op: str, given: dict[str, Any], out: dict[str, Any]) -> Case:
    return {"name": name, "in": {"op": op, **given}, "out": out}


# ---- protobuf ---------------------------------------------------------------


def bits(form: str, value: float) -> str:
    return struct.pack(">" + form, value).hex()


def scalar(field: Field, value: Any) -> Step:
    if field.type in (Field.TYPE_STRING, Field.TYPE_BYTES):
        raw = value.encode() if isinstance(value, str) else value
        return ["bytes", field.number, raw.hex()]
    if field.type == Field.TYPE_FLOAT:
        return ["float", field.number, bits("f", value)]
    if field.type == Field.TYPE_DOUBLE:
        return ["double", field.number, bits("d", value)]
    return ["u64", field.number, str(int(value) % 2**64)]


def varint(value: int) -> bytes:
    value %= 2**64
    more, low = value >> 7, value & 0x7F
    return bytes([low | 0x80]) + varint(more) if more else bytes([low])


def steps(message: Message) -> Iterator[Step]:
    """The message as calls of a writer: in the order of numbers, as Google's."""
    for field, value in message.ListFields():
        if field.type == Field.TYPE_MESSAGE:
            for one in value if field.is_repeated else [value]:
                yield ["open", field.number]
                yield from steps(one)
                yield ["close"]
        elif field.is_repeated and field.is_packed:
            packed = b"".join(varint(int(one)) for one in value)
            yield ["bytes", field.number, packed.hex()]
        else:
            for one in value if field.is_repeated else [value]:
                yield scalar(field, one)


def word(rng: random.Random, field: Field) -> Any:
    kinds = {
        Field.TYPE_STRING: lambda: rng.choice(["", "x", "héß", "a" * 130, "wörk-1"]),
        Field.TYPE_BYTES: lambda: rng.randbytes(rng.choice([0, 1, 5, 200])),
        Field.TYPE_FLOAT: lambda: rng.choice([0.5, 55.0, -1.25, 1e30]),
        Field.TYPE_DOUBLE: lambda: rng.choice([0.1, -3.75, 1795266000.123, 1e300]),
        Field.TYPE_BOOL: lambda: True,
        Field.TYPE_INT32: lambda: rng.choice([1, -1, 2**31 - 1, -(2**31)]),
        Field.TYPE_INT64: lambda: rng.choice([1, -1, 2**63 - 1, -(2**63)]),
        Field.TYPE_UINT32: lambda: rng.choice([1, 127, 128, 2**32 - 1]),
        Field.TYPE_UINT64: lambda: rng.choice([1, 300, 2**64 - 1]),
    }
    if field.type == Field.TYPE_ENUM:
        return rng.choice(field.enum_type.values).number
    return kinds[field.type]()


def is_map(field: Field) -> bool:
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def fill(message: Message, rng: random.Random, depth: int = 0) -> Message:
    """About half of its fields, by chance; not all the way down."""
    for field in message.DESCRIPTOR.fields:
        if rng.random() < 0.4 or is_map(field):
            continue
        if field.type == Field.TYPE_MESSAGE:
            if depth < 3 and field.is_repeated:
                for _ in range(rng.choice([1, 2])):
                    fill(getattr(message, field.name).add(), rng, depth + 1)
            elif depth < 3:
                inner = getattr(message, field.name)
                inner.SetInParent()
                fill(inner, rng, depth + 1)
        elif field.is_repeated:
            getattr(message, field.name).extend(word(rng, field) for _ in range(2))
        else:
            setattr(message, field.name, word(rng, field))
    return message


def fields_of(data: bytes) -> dict[str, Any]:
    """What Google's decoder sees in a message of which it knows no field."""
    empty = empty_pb2.Empty()
    try:
        empty.ParseFromString(data)
    except DecodeError:
        return {"error": "protobuf"}
    found = []
    for field in unknown_fields.UnknownFieldSet(empty):
        value = field.data
        text = value.hex() if isinstance(value, bytes) else str(value)
        found.append([field.field_number, field.wire_type, text])
    return {"fields": found}


MALFORMED = {
    "a tag is cut off": "80",
    "a number is cut off": "0880",
    "a number of 65 bits": "08ffffffffffffffffff02",
    "a number that never ends": "08" + "80" * 11 + "01",
    "the field 0": "0001",
    "a length over the end": "0a0561",
    "a length of 2^63": "0a80808080808080808001",
    "four bytes are three": "0d010203",
    "eight bytes are seven": "0901020304050607",
    "an end of a group that nobody began": "0c",
    "a kind of field that does not exist": "0e",
    "a second kind that does not exist": "0f",
}
STRICTER = {"a number of 65 bits", "the field 0"}  # Google takes them
WELL_FORMED = {
    "nothing": "",
    "a number in more bytes than it needs": "08818000",
    "the greatest number": "08ffffffffffffffffff01",
    "a tag in more bytes than it needs": "888000" + "01",
    "the greatest field": "f8ffffff0f01",
    "the same field twice": "08010802",
    "empty bytes": "0a00",
}


def pb_cases() -> Iterator[Case]:
    for number, name in enumerate(MESSAGES):
        for seed in range(3):
            rng = random.Random(1000 * number + seed)
            message = fill(getattr(api_pb2, name)(), rng)
            data = message.SerializeToString(deterministic=True)
            label = f"{name} {seed}"
            yield case(
                f"write: {label}",
                "write",
                {"steps": list(steps(message))},
                {"bytes_hex": data.hex()},
            )
            yield case(
                f"read: {label}", "read", {"bytes_hex": data.hex()}, fields_of(data)
            )
    for name, text in MALFORMED.items():
        out = fields_of(bytes.fromhex(text))
        if ("error" not in out) != (name in STRICTER):
            raise AssertionError(f"{name}: {out}")
        yield case(
            f"refuse: {name}", "read", {"bytes_hex": text}, {"error": "protobuf"}
        )
    for name, text in WELL_FORMED.items():
        out = fields_of(bytes.fromhex(text))
        yield case(f"read: {name}", "read", {"bytes_hex": text}, out)


# ---- CBOR -------------------------------------------------------------------

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, 1, 23, 24, 255, 256, 65535, 65536, 2**32 - 1, 2**32),
    *(2**63 - 1, -1, -24, -25, -256, -257, -65536, -65537, -(2**32) - 1, -(2**63)),
    *(0.0, -0.0, 1.5, 0.1, 1e300, 5e-324, math.inf, -math.inf, math.nan),
    *("", "a", "héß 🎥", "x" * 23, "x" * 24, "x" * 256, "\0", b"", b"\xff", b"\0" * 70),
    *([], {}, [[]], [{}], {"a": 1}, [1, [2, [3, {"k": [None, {"z": b"q"}]}]]]),
    *([*range(30)], {f"k{n}": n for n in range(30)}, {1: 2, b"x": None}),
    [["code", {"inputs": b"\x00\x01"}], {"kw": "wörk", "n": -5, "f": 0.25}],
)
# What cbor2 also writes, or at least reads, and so may be in an answer.
READ_ONLY = {
    "half": "f93c00",
    "smallest half": "f90001",
    "half below zero": "f9c400",
    "greatest half": "f97bff",
    "single": "fa3fc00000",
    "undefined": "f7",
    "one in eight bytes": "1b0000000000000001",
    "a length in more bytes than it needs": "79000161",
}
REFUSED = {
    "nothing": "",
    "a head is cut off": "19ff",
    "a text is cut off": "6261",
    "a text of 2^64 - 1": "7bffffffffffffffff61",
    "a list is cut off": "8201",
    "a list of 2^32 - 1": "9affffffff00",
    "a map is cut off": "a16161",
    "a map of 2^63": "bb8000000000000000" + "00",
    "a text that is not UTF-8": "62c328",
    "a tag": "c074323031332d30332d32315432303a30343a30305a",
    "a big number": "c249010000000000000000",
    "a list of unknown length": "9f01ff",
    "a text of unknown length": "7f6161ff",
    "a map of unknown length": "bf616101ff",
    "a break alone": "ff",
    "2^63": "1b8000000000000000",
    "-2^63 - 1": "3b8000000000000000",
    "a simple value": "f0",
    "a simple value in two bytes": "f820",
    "reserved": "1c",
    "two values": "0000",
    "nested 100 deep": "81" * 100 + "00",
}


def cbor_steps(value: Any) -> Iterator[Step]:
    if value is None:
        yield ["null"]
    elif isinstance(value, bool):
        yield ["bool", value]
    elif isinstance(value, int):
        yield ["int", str(value)]
    elif isinstance(value, float):
        yield ["double", bits("d", value)]
    elif isinstance(value, str):
        yield ["text", value.encode().hex()]
    elif isinstance(value, bytes):
        yield ["bytes", value.hex()]
    elif isinstance(value, list):
        yield ["array", len(value)]
        for one in value:
            yield from cbor_steps(one)
    else:
        yield ["map", len(value)]
        for key, one in value.items():
            yield from cbor_steps(key)
            yield from cbor_steps(one)


def cbor_cases() -> Iterator[Case]:
    for value in VALUES:
        walk, data = list(cbor_steps(value)), cbor2.dumps(value)
        name = repr(value)[:40]
        yield case(
            f"write: {name}", "write", {"steps": walk}, {"bytes_hex": data.hex()}
        )
        yield case(f"read: {name}", "read", {"bytes_hex": data.hex()}, {"steps": walk})
    for name, text in READ_ONLY.items():
        value = cbor2.loads(bytes.fromhex(text))
        value = None if value is cbor2.undefined else value
        out = {"steps": list(cbor_steps(value))}
        yield case(f"read: {name}", "read", {"bytes_hex": text}, out)
    for name, text in REFUSED.items():
        yield case(f"refuse: {name}", "read", {"bytes_hex": text}, {"error": "cbor"})


# ---- gRPC -------------------------------------------------------------------

PHRASES = ("", "not found", "100 % sûr", "a\nb", "🎥", "%", "tab\there")


def details(*parts: Message) -> str:
    raw = custom_detail_codec.encode(Status.RESOURCE_EXHAUSTED, "slow down", parts)
    return base64.b64encode(raw).decode()


def policy(seconds: float) -> Message:
    return api_pb2.RPCRetryPolicy(retry_after_secs=seconds)


def grpc_cases() -> Iterator[Case]:
    for phrase in PHRASES:
        out = "".join(" " if c < " " else c for c in phrase)
        given = {"text_hex": encode_grpc_message(phrase).encode().hex()}
        yield case(f"message: {phrase!r}", "message", given, {"text": out})
    for raw, out in ((b"50%", "50%"), (b"%zz%4", "%zz%4"), (b"%ff", "\ufffd")):
        given = {"text_hex": raw.hex()}
        yield case(f"message: {raw!r}", "message", given, {"text": out})
    lookup = api_pb2.FunctionLookupError(reason=1)
    for name, text, wait in (
        ("2.5 s", details(policy(2.5)), 2500),
        ("second of two", details(lookup, policy(1.0)), 1000),
        ("at least 100 ms", details(policy(0.001)), 100),
        ("0 s", details(policy(0)), 100),
        ("below zero", details(policy(-3)), 100),
        ("not a number", details(policy(math.nan)), 100),
        ("for ever", details(policy(math.inf)), 600_000),
        ("something else", details(lookup), 0),
        ("nothing", details(), 0),
        ("no base64", "!!!!", 0),
        ("no protobuf", base64.b64encode(b"\x1a\x05a").decode(), 0),
        ("empty", "", 0),
    ):
        for padding in ("", " without padding"):
            given = {"text": text.rstrip("=") if padding else text}
            yield case(f"wait: {name}{padding}", "wait", given, {"ms": wait})


# ---- Modal's messages -------------------------------------------------------


def parameters(workspace: str) -> bytes:
    given = api_pb2.ClassParameterSet()
    given.parameters.add(
        name="workspace_id", type=api_pb2.PARAM_TYPE_STRING, string_value=workspace
    )
    return given.SerializeToString(deterministic=True)


def map_request(v: dict[str, Any]) -> Message:
    kind = "ASYNC" if v["async"] else "SYNC"
    given = api_pb2.FunctionInput(
        data_format=api_pb2.DATA_FORMAT_CBOR, method_name=v["method"]
    )
    if v.get("blob"):
        given.args_blob_id = v["blob"]
    else:
        args = bytes.fromhex(v["head_hex"]), bytes.fromhex(v["inputs_hex"])
        given.args = cbor2.dumps((args, {}))
    return api_pb2.FunctionMapRequest(
        function_id=v["function_id"],
        function_call_type=api_pb2.FUNCTION_CALL_TYPE_UNARY,
        pipelined_inputs=[api_pb2.FunctionPutInputsItem(input=given)],
        function_call_invocation_type=api_pb2.FunctionCallInvocationType.Value(
            f"FUNCTION_CALL_INVOCATION_TYPE_{kind}"
        ),
    )


def modal_request(rpc: str, v: dict[str, Any]) -> Message:
    """What Modal's clients send for this, as tests/python/test_modal_api.py
    sees it: there are no other fields in what we send."""
    match rpc:
        case "FunctionGet":
            return api_pb2.FunctionGetRequest(
                app_name=v["app"],
                object_tag=f"{v['cls']}.*",
                environment_name=v["environment"],
            )
        case "FunctionBindParams":
            return api_pb2.FunctionBindParamsRequest(
                function_id=v["function_id"],
                serialized_params=parameters(v["workspace"]),
                function_options=api_pb2.FunctionOptions(),
                environment_name=v["environment"],
            )
        case "FunctionMap":
            return map_request(v)
        case "FunctionGetOutputs":
            return api_pb2.FunctionGetOutputsRequest(
                function_call_id=v["call_id"],
                timeout=v["wait_s"],
                last_entry_id="0-0",
                requested_at=v["now_ms"] / 1000,
                start_idx=0,
                end_idx=0,
            )
        case "FunctionCallCancel":
            return api_pb2.FunctionCallCancelRequest(function_call_id=v["call_id"])
        case "BlobCreate":
            data = bytes.fromhex(v["bytes_hex"])
            return api_pb2.BlobCreateRequest(
                content_md5=base64.b64encode(hashlib.md5(data).digest()).decode(),
                content_sha256_base64=base64.b64encode(
                    hashlib.sha256(data).digest()
                ).decode(),
                content_length=len(data),
            )
        case "BlobGet":
            return api_pb2.BlobGetRequest(blob_id=v["blob"])
    raise ValueError(rpc)


NAME = {"app": "blockfleet", "cls": "Executor", "method": "call", "environment": ""}
CALLED = {"function_id": "fu-2", "method": "call"}
REQUESTS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("FunctionGet", NAME),
    ("FunctionGet", {**NAME, "environment": "eu"}),
    ("FunctionBindParams", {**NAME, "function_id": "fu-1", "workspace": "acme"}),
    (
        "FunctionBindParams",
        {**NAME, "environment": "eu", "function_id": "fu-1", "workspace": "wörk" * 40},
    ),
    ("FunctionMap", {**CALLED, "async": False, "head_hex": "7b7d", "inputs_hex": ""}),
    (
        "FunctionMap",
        {**CALLED, "async": True, "head_hex": "61" * 300, "inputs_hex": "c328"},
    ),
    ("FunctionMap", {**CALLED, "async": False, "blob": "bl-1"}),
    ("FunctionGetOutputs", {"call_id": "fc-1", "wait_s": 55, "now_ms": 1795266000123}),
    ("FunctionGetOutputs", {"call_id": "fc-1", "wait_s": 0, "now_ms": 1}),
    ("FunctionCallCancel", {"call_id": "fc-1"}),
    ("BlobCreate", {"bytes_hex": ""}),
    ("BlobCreate", {"bytes_hex": "00" * 1000}),
    ("BlobGet", {"blob": "bl-1"}),
)


def handle(**more: Any) -> Message:
    """Of a class that can be called as we do, but for what is said."""
    method = api_pb2.FunctionHandleMetadata(
        function_name="Executor.call",
        is_method=True,
        use_method_name="call",
        max_object_size_bytes=4 << 20,
        max_async_object_size_bytes=9000,
        supported_input_formats=more.get("formats", [1, 4]),
        supported_output_formats=[4],
        input_plane_url=more.get("input_plane", None),
    )
    outer = api_pb2.FunctionHandleMetadata(function_name="Executor.*", app_id="ap-1")
    outer.class_parameter_info.format = more.get("format", 2)
    for name, kind in more.get("schema", [("workspace_id", 1)]):
        outer.class_parameter_info.schema.add(name=name, type=kind)
    if more.get("default"):
        outer.class_parameter_info.schema.add(name="x", type=2, has_default=True)
    outer.method_handle_metadata["other"].function_name = "other"
    outer.method_handle_metadata[more.get("method", "call")].CopyFrom(method)
    return outer


def function_reply(**more: Any) -> Message:
    reply = api_pb2.FunctionGetResponse(
        function_id=more.get("id", "fu-1"), handle_metadata=handle(**more)
    )
    for milli_cpu in more.get("milli_cpu", [500, 125]):
        ranked = reply.function.ranked_functions.add()
        ranked.function.resources.milli_cpu = milli_cpu
        ranked.function.resources.memory_mb = 1024
    return reply


def function_out(**more: Any) -> dict[str, Any]:
    usual = {"id": "fu-1", "inline": 4 << 20, "async_inline": 9000}
    return {**usual, "milli_cpu": 500, "memory_mb": 1024, **more}


REFUSED_FUNCTIONS: dict[str, dict[str, Any]] = {
    "no id": {"id": ""},
    "an id that is none": {"id": "fu 1"},
    "another parameter": {"schema": [("workspace_id", 1), ("x", 1)]},
    "no parameter": {"schema": []},
    "a workspace that is a number": {"schema": [("workspace_id", 2)]},
    "pickled parameters": {"format": 1},
    "no such method": {"method": "cell"},
    "no CBOR": {"formats": [1]},
    "an input plane": {"input_plane": "https://x.modal.run"},
}


def function_cases() -> Iterator[Case]:
    def one(name: str, out: dict[str, Any], **more: Any) -> Case:
        given = {
            **NAME,
            "reply_hex": function_reply(**more)
            .SerializeToString(deterministic=True)
            .hex(),
        }
        return case(f"function: {name}", "function", given, out)

    yield one("usual", function_out())
    yield one("a parameter with a default", function_out(), default=True)
    yield one(
        "nothing of resources", function_out(milli_cpu=0, memory_mb=0), milli_cpu=[]
    )
    for name, more in REFUSED_FUNCTIONS.items():
        yield one(name, {"error": "modal_api"}, **more)
    bound = api_pb2.FunctionBindParamsResponse(
        bound_function_id="fu-9", handle_metadata=handle()
    )
    given = {**NAME, "reply_hex": bound.SerializeToString(deterministic=True).hex()}
    out = {"id": "fu-9", "inline": 4 << 20, "async_inline": 9000}
    yield case("bound: usual", "bound", given, {**out, "milli_cpu": 7, "memory_mb": 8})


OUTPUT: dict[str, Any] = {
    "idx": 0,
    "input_id": "in-1",
    "task_id": "ta-1",
    "data_format": 4,
    "input_started_at": 1795266000.25,
    "output_created_at": 1795266001.5,
}
STATUSES = {
    "SUCCESS": "success",
    "FAILURE": "failure",
    "TERMINATED": "terminated",
    "TIMEOUT": "timeout",
    "INIT_FAILURE": "init_failure",
    "INTERNAL_FAILURE": "internal_failure",
    "IDLE_TIMEOUT": "idle_timeout",
    "MEMORY_MANAGER_EVICTION": "out_of_memory",
    "MEMORY_THRASHING_EVICTION": "out_of_memory",
    "KERNEL_OOM_KILL": "out_of_memory",
    "UNSPECIFIED": "unknown",
}


def output_cases() -> Iterator[Case]:
    def one(name: str, reply: Message, out: dict[str, Any]) -> Case:
        given = {"reply_hex": reply.SerializeToString(deterministic=True).hex()}
        return case(f"outputs: {name}", "outputs", given, out)

    def with_output(**more: Any) -> Any:
        reply = api_pb2.FunctionGetOutputsResponse(last_entry_id="1-0")
        reply.outputs.add(**{**OUTPUT, **more})
        return reply

    times = {"started_us": 1795266000250000, "ended_us": 1795266001500000}
    ids = {"task": "ta-1", "input": "in-1"}
    for code, status in STATUSES.items():
        reply = with_output()
        reply.outputs[0].result.status = api_pb2.GenericResult.GenericStatus.Value(
            f"GENERIC_STATUS_{code}"
        )
        reply.outputs[0].result.exception = "Why()"
        reply.outputs[0].result.data = cbor2.dumps([b"{}", b"[]"])
        value = {"head": "{}", "result": "[]"}
        out = {"status": status, "exception": "Why()", **value, **times, **ids}
        yield one(code, reply, out)
    reply = with_output()
    reply.outputs[0].result.status = 77
    yield one("a status of tomorrow", reply, {"status": "unknown", **times, **ids})
    reply = with_output(data_format=1)
    reply.outputs[0].result.status = 1
    reply.outputs[0].result.data = b"x"
    yield one("a pickle", reply, {"error": "modal_api"})
    reply = with_output()
    reply.outputs[0].result.status = 1
    yield one("a success of nothing", reply, {"error": "modal_api"})
    reply.outputs[0].result.data_blob_id = "bl-1"
    out = {"status": "success", "blob": "bl-1", **times, **ids}
    yield one("a blob", reply, out)
    reply.outputs[0].result.data = cbor2.dumps([b"{}", None])
    yield one("no result", reply, {"status": "success", "head": "{}", **times, **ids})
    for value in ([1], [b"{}"], [b"{}", 1], [None, b""], {}, b"{}", [b"{}", b"", b""]):
        reply.outputs[0].result.data = cbor2.dumps(value)
        yield one(f"as {value}", reply, {"error": "modal_api"})
    pending = api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
    yield one("under way", pending, {"pending": True})
    yield one("gone", api_pb2.FunctionGetOutputsResponse(), {"pending": False})


def other_reply_cases() -> Iterator[Case]:
    def one(op: str, name: str, reply: Message, out: dict[str, Any]) -> Case:
        given = {"reply_hex": reply.SerializeToString(deterministic=True).hex()}
        return case(f"{op}: {name}", op, given, out)

    refused = {"error": "modal_api"}
    mapped = api_pb2.FunctionMapResponse(function_call_id="fc-1")
    yield one("mapped", "without its input", mapped, refused)
    mapped.pipelined_inputs.add(input_id="in-1", input_jwt="x")
    yield one("mapped", "usual", mapped, {"call": "fc-1", "input": "in-1"})
    mapped.function_call_id = "fc-" + "1" * 200
    yield one("mapped", "an id that is too long", mapped, refused)
    made = api_pb2.BlobCreateResponse(blob_id="bl-1", upload_url="https://s3/1?a=b")
    out = {"blob": "bl-1", "url": "https://s3/1?a=b"}
    yield one("upload", "one store", made, out)
    made.blob_ids.extend(["bl-2", "bl-3"])
    made.upload_urls.items.extend(["https://r2/2", "https://s3/3"])
    yield one("upload", "several", made, {"blob": "bl-2", "url": "https://r2/2"})
    parts = api_pb2.BlobCreateResponse(blob_id="bl-1")
    parts.multipart.upload_urls.append("https://s3/1")
    yield one("upload", "in parts", parts, refused)
    for url in ("https://s3/1", "https://s3/ 1", "https://s3/1\r\nx: y", ""):
        out = {"url": url} if url == "https://s3/1" else refused
        reply = api_pb2.BlobGetResponse(download_url=url)
        yield one("download", repr(url), reply, out)
    claims = base64.urlsafe_b64encode(b'{"exp":1795266000}').decode().rstrip("=")
    for token, ends in ((f"h.{claims}.s", 1795266000000), ("h.x.s", 0), ("abc", 0)):
        reply = api_pb2.AuthTokenGetResponse(token=token)
        yield one("token", token[:8], reply, {"token": token, "ends_ms": ends})
    for token in ("", "a b", "a\n"):
        yield one(
            "token", repr(token), api_pb2.AuthTokenGetResponse(token=token), refused
        )


def modal_cases() -> Iterator[Case]:
    for number, (rpc, values) in enumerate(REQUESTS):
        data = modal_request(rpc, values).SerializeToString(deterministic=True)
        yield case(f"{rpc} {number}", rpc, values, {"bytes_hex": data.hex()})
    yield from function_cases()
    yield from output_cases()
    yield from other_reply_cases()


FILES = {"modal": modal_cases, "pb": pb_cases, "cbor": cbor_cases, "grpc": grpc_cases}


def document(name: str) -> str:
    doc = {"what": f"{name}, by vendor_golden.py", "cases": list(FILES[name]())}
    return json.dumps(doc, indent=1, ensure_ascii=False) + "\n"


def main() -> int:
    GOLDEN.mkdir(exist_ok=True)
    differs = 0
    for name in FILES:
        path, text = GOLDEN / f"{name}.json", document(name)
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            print(f"{path.name} differs")
            differs = 1
    return differs


if __name__ == "__main__":
    sys.exit(main())
