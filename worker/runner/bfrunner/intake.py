"""From a frame that asks for a run to a Run, or to the reason why not."""

from __future__ import annotations

import re
from typing import Any

from bfrunner import area
from bfrunner.cache import Code, CodeCache, Key, init_hash
from bfrunner.options import Options
from bfrunner.runs import Run

_WORKSPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_MAX_TIMEOUT_MS = 86_400_000


class Refused(Exception):
    """A run that is answered without being run."""

    def __init__(self, error_type: str, error: str) -> None:
        super().__init__(error)
        self.error_type = error_type


class Intake:
    def __init__(self, options: Options) -> None:
        self._options = options
        self._codes = CodeCache(options.code_versions, options.code_bytes)

    def admit(
        self, run_id: str, head: dict[str, Any], body: bytearray | None, room: int
    ) -> Run:
        """`room` is what the queue still has, in bytes.  Raises Refused."""
        key, code = self._resolve(head)
        timeout = head.get("timeout_ms")
        if type(timeout) is not int or not 0 < timeout <= _MAX_TIMEOUT_MS:
            raise Refused("InvalidRequest", "timeout_ms is missing or out of range")
        if body is None:
            ceiling = self._options.input_bytes
            raise Refused("InvalidRequest", f"the inputs are over {ceiling} bytes")
        size = len(body) + code.size
        if size > room:
            raise Refused("RunnerBusy", "too much is waiting already")
        request = {
            "run_function_name": _optional(head, "run_function_name", str) or "run",
            "context": _optional(head, "context", dict) or {},
        }
        try:
            fd = area.create(request, body, self._options.result_bytes)
        except OSError as error:
            raise Refused("RunnerBusy", f"no room for the inputs: {error}") from None
        return Run(run_id, key, code, fd, size, timeout)

    def _resolve(self, head: dict[str, Any]) -> tuple[Key, Code]:
        """The code version asked for, which is remembered if it came along."""
        workspace = head.get("workspace")
        if not isinstance(workspace, str) or not _WORKSPACE.fullmatch(workspace):
            raise Refused("InvalidRequest", "workspace is missing or malformed")
        asked = _optional(head, "code_hash", str)
        code = _code_in(head)
        if code is not None:
            if asked and asked != code.hash:
                raise Refused("InvalidRequest", "code_hash is not that of the code")
            key = (workspace, code.hash, code.init_hash)
            self._codes.put(key, code)
            return key, code
        if not asked:
            raise Refused("InvalidRequest", "neither code_str nor code_hash")
        key = (workspace, asked, _init_hash_in(head))
        code = self._codes.get(key)
        if code is None:
            raise Refused("UnknownCodeHash", f"no code for {asked} here; send the code")
        return key, code


def _code_in(head: dict[str, Any]) -> Code | None:
    source = _optional(head, "code_str", str)
    if not source:
        return None
    imports = _optional(head, "imports", list) or []
    if not all(isinstance(line, str) for line in imports):
        raise Refused("InvalidRequest", "imports must be strings")
    return Code(source, tuple(imports), *_init_in(head))


def _init_in(head: dict[str, Any]) -> tuple[str | None, str]:
    code = _optional(head, "init_function_code", str)
    name = _optional(head, "init_function_name", str)
    return code or None, name or "init"


def _init_hash_in(head: dict[str, Any]) -> str:
    """A code hash does not cover init code, so a request by hash says which it
    means; silence means none, and never somebody else's."""
    given: str | None = _optional(head, "init_hash", str)
    return given or init_hash(*_init_in(head))


def _optional(head: dict[str, Any], name: str, kind: type) -> Any:
    value = head.get(name)
    if value is not None and not isinstance(value, kind):
        raise Refused("InvalidRequest", f"{name} has the wrong type")
    return value
