"""One code version inside one process: load it, call it, report on it.

Nothing here knows about processes, limits or sockets.
"""

from __future__ import annotations
import __future__ as future

import inspect
import linecache
import sys
import time
import types
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from bfrunner import codec, preload
from bfrunner.cache import Code
from bfrunner.options import ERROR_BYTES, NAME_BYTES
from bfrunner.text import clean

# What a traceback calls the user's three pieces of source.  Each is compiled by
# itself, so that line numbers are those of the source as it was sent.
BODY = "Python Block"
INIT = "Python Block (init)"
IMPORTS = "Python Block (imports)"
_USER_FILES = frozenset((BODY, INIT, IMPORTS))

_FUTURE_FLAGS = 0
for _name in future.all_feature_names:
    _FUTURE_FLAGS |= getattr(future, _name).compiler_flag

# User code may replace these in their modules, for itself.
_signature = inspect.signature
_clock = time.perf_counter
_clock_ns = time.monotonic_ns


class BlockSelf:
    """What `self` is to a block's functions."""

    _api_key = None

    def __init__(self, context: dict[str, Any], init_results: Any) -> None:
        self._context = context
        self._init_results = init_results

    def get_workflow_context(self) -> dict[str, Any]:
        return dict(self._context)


@dataclass
class Failure(Exception):
    """Why a block did not give a result, as its answer says it."""

    report: dict[str, Any]


@dataclass
class Loaded:
    """A code version whose module body and init have run."""

    module: types.ModuleType
    init_results: Any


def load(code: Code) -> Loaded:
    """Executes imports, module body and init, each once.  Raises Failure."""
    try:
        return _load(code)
    except BaseException as error:
        report = failure(error, "init_error")
        prefix = "code initialization failed: "
        report["error"] = clean(prefix + report["error"], ERROR_BYTES)
        raise Failure(report) from None


def _load(code: Code) -> Loaded:
    sources = {IMPORTS: "\n".join(code.imports), BODY: code.code, INIT: code.init or ""}
    flags = 0
    compiled = []
    wanted: set[str] = set()
    for name, source in sources.items():
        lines = source.splitlines(keepends=True)
        linecache.cache[name] = (len(source), None, lines, name)
        unit = compile(source, name, "exec", flags=flags, dont_inherit=True)
        # As if the pieces were one source: a __future__ import reaches the next.
        flags = unit.co_flags & _FUTURE_FLAGS
        wanted |= _names_in(unit)
        compiled.append(unit)
    # Taking __main__'s place makes the user's classes picklable.
    module = types.ModuleType("__main__")
    sys.modules["__main__"] = module
    space = module.__dict__
    space.update(preload.names(wanted))
    imports, body, init = compiled
    exec(imports, space)
    exec(body, space)
    if not code.init:
        return Loaded(module, {})
    exec(init, space)
    return Loaded(module, _function(space, code.init_name)())


def _names_in(code: types.CodeType) -> set[str]:
    found = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found |= _names_in(constant)
    return found


def _function(space: dict[str, Any], name: str) -> Callable[..., Any]:
    if name not in space:
        raise NameError(f"function {name!r} is not defined in the block")
    found: Callable[..., Any] = space[name]
    return found


@dataclass
class Call:
    """One call of a loaded block.  `begun` hears when the function is entered."""

    name: str
    context: dict[str, Any]
    inputs: bytes
    max_result: int
    begun: Callable[[int], None] = lambda now_ns: None
    seconds: float | None = None

    def run(self, loaded: Loaded) -> tuple[dict[str, Any], bytes]:
        """The report and, in case of success, the result's JSON text."""
        try:
            function = _function(loaded.module.__dict__, self.name)
            inputs = codec.decode_inputs(self.inputs)
            first = _first_parameter(function)
            positional: tuple[Any, ...] = ()
            if first == "self":
                positional = (BlockSelf(self.context, loaded.init_results),)
            value = self._timed(function, positional, inputs)
        except BaseException as error:
            return self._stamped(failure(error, "user_error")), b""
        try:
            result = codec.encode_result(value)
        except BaseException as error:
            report = failure(error, "bad_output")
            report["error"] = clean(
                f"the result could not be encoded: {report['error']}", ERROR_BYTES
            )
            return self._stamped(report), b""
        if len(result) > self.max_result:
            return self._stamped(self._too_large(len(result))), b""
        return self._stamped({"success": True, "reason": ""}), result

    def _timed(
        self,
        function: Callable[..., Any],
        positional: tuple[Any, ...],
        inputs: dict[str, Any],
    ) -> Any:
        self.begun(_clock_ns())
        start = _clock()
        try:
            return function(*positional, **inputs)
        finally:
            self.seconds = _clock() - start

    def _too_large(self, size: int) -> dict[str, Any]:
        return {
            "success": False,
            "reason": "output_too_large",
            "error_type": "OutputTooLarge",
            "error": f"the result has {size} bytes, {self.max_result} are allowed",
        }

    def _stamped(self, report: dict[str, Any]) -> dict[str, Any]:
        report["execution_time_seconds"] = self.seconds
        return report


def _first_parameter(function: Callable[..., Any]) -> str | None:
    try:
        return next(iter(_signature(function).parameters), None)
    except (TypeError, ValueError):
        return None


def failure(error: BaseException, reason: str) -> dict[str, Any]:
    """The report on an exception; its line is the deepest one of user code."""
    if isinstance(error, MemoryError):
        reason = "oom"
    line, function = _where(error)
    return {
        "success": False,
        "reason": reason,
        "error_type": clean(type(error).__name__, NAME_BYTES),
        "error": clean(_text_of(error), ERROR_BYTES),
        "line_number": line,
        "function_name": None if function is None else clean(function, NAME_BYTES),
    }


def _text_of(error: BaseException) -> str:
    try:
        text = str(error)
    except BaseException as second:
        return f"(its __str__ raised {type(second).__name__})"
    if not text and isinstance(error, MemoryError):
        return "out of memory"
    return text


def _where(error: BaseException) -> tuple[int | None, str | None]:
    found: tuple[int | None, str | None] = (None, None)
    trace = error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        if code.co_filename in _USER_FILES:
            found = trace.tb_lineno, code.co_name
        trace = trace.tb_next
    if found[0] is None and isinstance(error, SyntaxError):
        # It could not be compiled, so there is no frame.
        if error.filename in _USER_FILES:
            return error.lineno, None
    return found
