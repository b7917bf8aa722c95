"""Frames on the socket between worker and runner, the same both ways:

    u32be length of the head ‖ u64be length of the body ‖ head ‖ body

The head is a JSON object, the body is opaque.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from typing import Any

from bfrunner.options import FRAME_HEAD_BYTES

PREFIX = struct.Struct(">IQ")


class ProtocolError(Exception):
    """The peer does not speak this protocol; nothing after it can be trusted."""


def pack(head: dict[str, Any], body: bytes = b"") -> list[bytes]:
    """The pieces of one frame, in order, so that a large body is not copied."""
    text = json.dumps(head, ensure_ascii=False, allow_nan=False).encode()
    pieces = [PREFIX.pack(len(text), len(body)) + text]
    if body:
        pieces.append(body)
    return pieces


class Reader:
    """Cuts a byte stream into frames; a body over the ceiling is dropped and
    comes out as None, so that its sender can still be told."""

    def __init__(self, max_body: int) -> None:
        self._max_body = max_body
        self._pending = bytearray()
        self._head: dict[str, Any] | None = None
        self._body: bytearray | None = None
        self._missing = 0

    def feed(self, data: bytes) -> Iterator[tuple[dict[str, Any], bytearray | None]]:
        view = memoryview(data)
        while view or (self._head is not None and not self._missing):
            if self._head is None:
                view = self._feed_head(view)
            if self._head is not None:
                view = self._feed_body(view)
                if not self._missing:
                    head, body = self._head, self._body
                    self._head = self._body = None
                    yield head, body

    def _feed_head(self, view: memoryview) -> memoryview:
        pending = self._pending
        need = PREFIX.size - len(pending)
        if need > 0:
            pending += view[:need]
            view = view[need:]
            if len(pending) < PREFIX.size:
                return view
        head_len, body_len = PREFIX.unpack_from(pending)
        if head_len > FRAME_HEAD_BYTES:
            raise ProtocolError(f"a head of {head_len} bytes is over the ceiling")
        need = PREFIX.size + head_len - len(pending)
        pending += view[:need]
        view = view[need:]
        if len(pending) == PREFIX.size + head_len:
            self._head = parse_head(pending[PREFIX.size :])
            self._pending = bytearray()
            self._missing = body_len
            self._body = bytearray() if body_len <= self._max_body else None
        return view

    def _feed_body(self, view: memoryview) -> memoryview:
        part = view[: self._missing]
        self._missing -= len(part)
        if self._body is not None:
            self._body += part
        return view[len(part) :]


def parse_head(raw: bytes | bytearray) -> dict[str, Any]:
    try:
        head = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a head is not JSON: {error}") from None
    if not isinstance(head, dict):
        raise ProtocolError("a head is not a JSON object")
    return head
