"""The words of `execute_block` (PROTOCOL.md §9), both ways; pure."""

from __future__ import annotations

import json
import math
import zlib
from dataclasses import dataclass
from typing import Any

from bfrunner.client import Done

JSON = "application/json"
DEFAULT_TIMEOUT_S = 20.0
_ESCAPES = 6  # bytes of JSON that one byte of an input may take

# What of a `done` frame an answer has.
_TOLD = (
    "success error error_type line_number function_name stdout stderr "
    "stdout_truncated stderr_truncated execution_time_seconds code_hash "
    "server_error reason started_at_ms ended_at_ms duration_us cpu_us "
    "max_rss_bytes boot isolation"
).split()
_PASSED = (
    "code_hash",
    "code_str",
    "imports",
    "init_function_code",
    "init_function_name",
    "init_hash",
    "run_function_name",
)


class BadRequest(Exception):
    """It did not run, and never will: what is wrong with it."""


@dataclass(frozen=True)
class Answer:
    status: int
    body: bytes
    retry_after_s: int | None = None

    def headers(self) -> list[tuple[str, str]]:
        found = [("content-type", JSON)]
        if self.retry_after_s is not None:
            found.append(("retry-after", str(self.retry_after_s)))
        return found


def load(raw: bytes | bytearray, encoding: str, most: int) -> dict[str, Any]:
    """The request in a body; most: bytes that it may have, unpacked."""
    if encoding in ("", "identity"):
        text = bytes(raw)
    elif encoding in ("gzip", "x-gzip"):
        text = _gunzip(raw, most)
    else:
        raise BadRequest(f"a body in {encoding[:40]!r} cannot be read")
    if len(text) > most:
        raise BadRequest(f"the body is over {most} bytes")
    try:
        request = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise BadRequest(f"the body is no JSON: {str(error)[:200]}") from None
    if not isinstance(request, dict):
        raise BadRequest("the body is no JSON object")
    return request


def _gunzip(raw: bytes | bytearray, most: int) -> bytes:
    unpack = zlib.decompressobj(wbits=31)
    try:
        text = unpack.decompress(raw, most + 1)
    except zlib.error as error:
        raise BadRequest(f"the body is no gzip: {error}") from None
    if len(text) > most or unpack.unconsumed_tail:
        raise BadRequest(f"the body is over {most} bytes, unpacked")
    if not unpack.eof or unpack.unused_data:
        raise BadRequest("the body is no gzip: it ends early, or goes on")
    return text


def most_body(input_bytes: int, head_bytes: int) -> int:
    """What a body may have at most: inputs as a string in JSON, and code."""
    return _ESCAPES * (input_bytes + head_bytes)


def frame(
    request: dict[str, Any], most_timeout_ms: int
) -> tuple[dict[str, Any], bytes]:
    """A `run` frame without op and run_id."""
    inputs = request.get("inputs_json")
    if not isinstance(inputs, str):
        raise BadRequest("inputs_json must be a string")
    context = request.get("workflow_context")
    if context is not None and not isinstance(context, dict):
        raise BadRequest("workflow_context must be an object")
    head = {
        "workspace": request.get("workspace_id"),
        "timeout_ms": _timeout_ms(request.get("timeout_seconds"), most_timeout_ms),
        "context": context or {},
    }
    for name in _PASSED:
        if request.get(name) is not None:
            head[name] = request[name]
    try:
        return head, inputs.encode()
    except UnicodeEncodeError:
        raise BadRequest("inputs_json is no text") from None


def _timeout_ms(given: Any, most_ms: int) -> int:
    try:
        seconds = DEFAULT_TIMEOUT_S if given is None else float(given)
    except (TypeError, ValueError):
        raise BadRequest("timeout_seconds must be a number") from None
    if not math.isfinite(seconds) or seconds <= 0:
        raise BadRequest("timeout_seconds must be positive")
    return max(1, min(round(seconds * 1000), most_ms))


def answer(done: Done, container: str = "") -> Answer:
    """What the end of a run is to the one who asked; container: where it ran,
    in the provider's words."""
    told = {name: done.head[name] for name in _TOLD if name in done.head}
    if told.get("error_type") == "RunnerBusy" and _did_not_run(done):
        return problem(503, "server busy", retry_after_s=1)
    if told.get("error_type") == "Killed":
        return problem(500, "the run was killed", began=not _did_not_run(done))
    if container:
        told["container_id"] = container
    if told["success"]:
        told |= _result(done.body)
    elif told.get("reason") == "output_too_large":
        told |= {"server_error": True, "error_type": "ResponseTooLarge"}
    return Answer(200, _dump(told))


def _result(body: bytes) -> dict[str, Any]:
    try:
        return {"result": body.decode()}
    except UnicodeDecodeError:  # a block can write to where its answer is
        why = {"error": "the result is no text", "error_type": "BadResult"}
        return {"success": False, "reason": "bad_output", **why}


def _did_not_run(done: Done) -> bool:
    return done.head.get("delivery") == "did_not_run"


def invalid(why: str) -> Answer:
    """A request that no runner would run."""
    told = {"success": False, "result": None, "stdout": None, "stderr": None}
    told |= {"error": why, "error_type": "InvalidRequest", "server_error": True}
    return Answer(200, _dump(told))


def problem(
    status: int, why: str, retry_after_s: int | None = None, began: bool = False
) -> Answer:
    """By its status a worker knows whether the block may have run."""
    told = {"error": why, "delivery": "unknown" if began else "did_not_run"}
    return Answer(status, _dump(told), retry_after_s)


def _dump(told: dict[str, Any]) -> bytes:
    return json.dumps(told, separators=(",", ":")).encode()
