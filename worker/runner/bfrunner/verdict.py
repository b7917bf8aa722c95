"""What a run's end means: the `done` frame, decided from what the zygote knows
for certain and, below that, from what the run said about itself."""

from __future__ import annotations

import math
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

from bfrunner.area import Answer
from bfrunner.options import ERROR_BYTES, NAME_BYTES
from bfrunner.text import clean

# What a run or a template may claim about itself.
_CLAIMS = ("user_error", "init_error", "oom", "output_too_large", "bad_output")
TIMEOUT = "CustomPythonBlockTimeout"


@dataclass
class End:
    """How a run ended; status as from waitpid, None when nobody knows."""

    status: int | None = None
    cause: str = ""  # "deadline" or "killed": why the zygote ended it
    timeout_ms: int = 0
    cpu_seconds: float = 0.0
    cpu_limit: int = 0
    ended_ns: int = 0


def judge(answer: Answer, end: End) -> tuple[dict[str, Any], bytes]:
    """The members of `done` that tell the outcome, and the result."""
    if end.cause == "killed":
        text = "the run was killed on request"
        return _ours(answer, end, "", "Killed", text), b""
    if answer.report is not None:
        return _theirs(answer.report, answer.result)
    if end.cause == "deadline":
        text = f"the run was killed at its deadline of {end.timeout_ms} ms"
        return _ours(answer, end, "deadline", TIMEOUT, text), b""
    if _met_cpu_limit(end):
        text = f"the run used its {end.cpu_limit} s of CPU time"
        return _ours(answer, end, "cpu_limit", "CpuLimit", text), b""
    return _ours(answer, end, "crashed", "Crashed", _how(end.status)), b""


def done(run_id: str, code_hash: str | None, started_at_ms: int) -> dict[str, Any]:
    """The members of `done` that do not depend on the outcome, as of now."""
    return {
        "op": "done",
        "run_id": run_id,
        "stdout": "",
        "stderr": "",
        "stdout_truncated": False,
        "stderr_truncated": False,
        "code_hash": code_hash,
        "server_error": False,
        "delivery": "ran",
        "duration_us": 0,
        "cpu_us": 0,
        "max_rss_bytes": 0,
        "boot": "warm",
        "started_at_ms": started_at_ms,
        "ended_at_ms": time.time_ns() // 1_000_000,
        "isolation": "process",
    }


def did_not_run(error_type: str, error: str) -> dict[str, Any]:
    return _failed("", error_type, error) | {
        "server_error": True,
        "delivery": "did_not_run",
    }


def _failed(reason: str, error_type: str, error: str) -> dict[str, Any]:
    return {
        "success": False,
        "error": error,
        "error_type": error_type,
        "line_number": None,
        "function_name": None,
        "execution_time_seconds": None,
        "reason": reason,
    }


def _ours(
    answer: Answer, end: End, reason: str, error_type: str, error: str
) -> dict[str, Any]:
    found = _failed(reason, error_type, error)
    if 0 < answer.began_ns <= end.ended_ns:
        found["execution_time_seconds"] = (end.ended_ns - answer.began_ns) / 1e9
    return found


def _met_cpu_limit(end: End) -> bool:
    if not end.cpu_limit or end.status is None or not os.WIFSIGNALED(end.status):
        return False
    number = os.WTERMSIG(end.status)
    if number == signal.SIGXCPU:
        return True
    return number == signal.SIGKILL and end.cpu_seconds >= end.cpu_limit


def _how(status: int | None) -> str:
    if status is None:
        return "the run ended and nobody saw how"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        try:
            name = signal.Signals(number).name
        except ValueError:
            name = f"signal {number}"
        return f"the run was killed by {name}"
    code = os.WEXITSTATUS(status)
    return f"the run's process exited with status {code} instead of returning"


def _theirs(report: dict[str, Any], result: bytes) -> tuple[dict[str, Any], bytes]:
    """Every member is checked: user code may have written this."""
    seconds = _seconds(report.get("execution_time_seconds"))
    if report.get("success") is True:
        good = _failed("", "", "") | {"success": True, "error": None}
        return good | {"error_type": None, "execution_time_seconds": seconds}, result
    reason = report.get("reason")
    line = report.get("line_number")
    function = report.get("function_name")
    found = _failed(
        reason if reason in _CLAIMS else "user_error",
        _text(report.get("error_type"), NAME_BYTES),
        _text(report.get("error"), ERROR_BYTES),
    )
    if type(line) is int and 0 < line < 1 << 31:
        found["line_number"] = line
    if isinstance(function, str):
        found["function_name"] = clean(function, NAME_BYTES)
    found["execution_time_seconds"] = seconds
    return found, b""


def _text(value: Any, max_bytes: int) -> str:
    return clean(value, max_bytes) if isinstance(value, str) else ""


def _seconds(value: Any) -> float | None:
    if type(value) not in (int, float) or not math.isfinite(value) or value < 0:
        return None
    return float(value)
