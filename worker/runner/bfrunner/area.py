"""The memory that a run shares with the zygote: the request goes in, the report
and the result come out.

It is a memfd that the run maps and whose descriptor it closes before user code
starts.  A block that closes every descriptor, or writes to every descriptor,
can thus neither lose nor spoil its answer, and no size can deadlock a pipe.
The zygote only ever *reads* it again after the run is dead, and trusts nothing
of what it finds.
"""

from __future__ import annotations

import json
import mmap
import os
import struct
import sys
from dataclasses import dataclass
from typing import Any

from bfrunner.options import REPORT_BYTES

# User code may replace these in their module, for itself.
_dumps = json.dumps
_loads = json.loads

_DONE = 0x62666C6565742E31
# request head, request body, entered, call began (ns), done, report, result
_HEADER = struct.Struct("<7Q")
_AT_ENTERED = 16
_AT_BEGAN = 24
_AT_OUTCOME = struct.Struct("<QQQ"), 32
_DATA = 64
_RESULT = _DATA + REPORT_BYTES


def create(head: dict[str, Any], inputs: bytes | bytearray, max_result: int) -> int:
    """A new area holding a request; its descriptor."""
    text = _dumps(head).encode()
    fd = os.memfd_create("run", os.MFD_CLOEXEC)
    try:
        os.ftruncate(fd, max(_DATA + len(text) + len(inputs), _RESULT + max_result))
        header = _HEADER.pack(len(text), len(inputs), 0, 0, 0, 0, 0)
        os.pwrite(fd, header.ljust(_DATA, b"\0") + text, 0)
        view, at = memoryview(inputs), _DATA + len(text)
        while view:
            written = os.pwrite(fd, view, at)
            view, at = view[written:], at + written
    except BaseException:
        os.close(fd)
        raise
    return fd


class Mapped:
    """The run's side."""

    def __init__(self, fd: int) -> None:
        self._map = _map(fd)

    def request(self) -> tuple[dict[str, Any], bytes]:
        head_len, body_len, *_ = _HEADER.unpack_from(self._map)
        middle = _DATA + head_len
        return _loads(self._map[_DATA:middle]), self._map[middle : middle + body_len]

    def enter(self) -> None:
        """From here on, user code may have started."""
        struct.pack_into("<Q", self._map, _AT_ENTERED, 1)

    def begin(self, now_ns: int) -> None:
        struct.pack_into("<Q", self._map, _AT_BEGAN, now_ns)

    def answer(self, report: dict[str, Any], result: bytes) -> None:
        text = _dumps(report).encode()
        if len(text) > REPORT_BYTES:
            raise ValueError("the report is over its ceiling")
        self._map[_DATA : _DATA + len(text)] = text
        self._map[_RESULT : _RESULT + len(result)] = result
        layout, at = _AT_OUTCOME
        layout.pack_into(self._map, at, _DONE, len(text), len(result))


def _map(fd: int) -> mmap.mmap:
    """A mapping that keeps no descriptor open."""
    if sys.version_info >= (3, 13):
        return mmap.mmap(fd, 0, trackfd=False)
    # Before, mmap keeps a duplicate for resizing, which is never done here.  It
    # gets the lowest free number; nothing else runs in this process yet.
    duplicate = os.dup(fd)
    os.close(duplicate)
    mapped = mmap.mmap(fd, 0)
    os.close(duplicate)
    return mapped


@dataclass
class Answer:
    """The zygote's side: what a dead run left behind."""

    entered: bool = False
    began_ns: int = 0
    report: dict[str, Any] | None = None
    result: bytes = b""


def read(fd: int, max_result: int) -> Answer:
    header = os.pread(fd, _HEADER.size, 0)
    _, _, entered, began, done, report_len, result_len = _HEADER.unpack(header)
    answer = Answer(entered=bool(entered), began_ns=began)
    if done != _DONE or report_len > REPORT_BYTES or result_len > max_result:
        return answer
    try:
        report = _loads(os.pread(fd, report_len, _DATA))
    except (ValueError, RecursionError):
        return answer
    if isinstance(report, dict):
        answer.report = report
        answer.result = _read_all(fd, result_len, _RESULT)
    return answer


def _read_all(fd: int, size: int, at: int) -> bytes:
    data = os.pread(fd, size, at)
    while len(data) < size:
        more = os.pread(fd, size - len(data), at + len(data))
        if not more:
            break
        data += more
    return data
