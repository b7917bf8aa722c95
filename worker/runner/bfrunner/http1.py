"""HTTP/1.1 as a block server needs it, and no more: strict, with a ceiling on
everything that a client sends and on how long it may take."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Sequence
from dataclasses import dataclass

from bfrunner.execute import Answer

MAX_HEAD = 16 << 10
MAX_HEADERS = 64
_PIECE = 64 << 10
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,128}")
_LINE = re.compile(r"([A-Z]{1,16}) (/[\x21-\x7e]{0,8191}) HTTP/1\.([01])")
_VALUE = re.compile(r"[\x20-\x7e\x80-\xff\t]*")
_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]{1,255}")
_LENGTH = re.compile(r"[0-9]{1,12}")

_REASONS = {
    200: "OK",
    400: "Bad Request",
    401: "Unauthorized",
    404: "Not Found",
    405: "Method Not Allowed",
    408: "Request Timeout",
    411: "Length Required",
    413: "Content Too Large",
    417: "Expectation Failed",
    422: "Unprocessable Content",
    431: "Request Header Fields Too Large",
    500: "Internal Server Error",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class BadHead(Exception):
    """No request that can be answered but with this status, and a close."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


class Gone(Exception):
    """The client closed, or was too slow."""


@dataclass(frozen=True)
class Head:
    method: str
    target: str  # path and query as they came
    headers: Sequence[tuple[str, str]]
    host: str
    length: int
    keep: bool  # may the connection serve another request?
    expects: bool  # 100-continue

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    def targets(self, origins: Sequence[str]) -> list[str]:
        """What the client may have called this: under the origins given, or
        under its own word for us, with TLS that ended before us or without."""
        known = origins or (f"https://{self.host}", f"http://{self.host}")
        return [f"{origin}{self.target}" for origin in known]


def parse(raw: bytes) -> Head:
    """A head without its empty line; BadHead."""
    lines = raw.decode("latin-1").split("\r\n")
    first = _LINE.fullmatch(lines[0])
    if first is None:
        raise BadHead(400, "no request line")
    if len(lines) > MAX_HEADERS + 1:
        raise BadHead(431, f"over {MAX_HEADERS} headers")
    headers = [_header(line) for line in lines[1:]]
    if _only(headers, "transfer-encoding") is not None:
        raise BadHead(501, "no transfer-encoding is taken; say content-length")
    host = _only(headers, "host")
    if host is None or not _HOST.fullmatch(host):
        raise BadHead(400, "one host header is needed")
    expect = _only(headers, "expect")
    if expect is not None and expect.lower() != "100-continue":
        raise BadHead(417, "only 100-continue can be expected")
    connection = ",".join(v for n, v in headers if n == "connection").lower()
    words = {word.strip() for word in connection.split(",")}
    return Head(
        first[1],
        first[2],
        headers,
        host,
        _length(first[1], _only(headers, "content-length")),
        first[3] == "1" and "close" not in words,
        expect is not None and first[3] == "1",
    )


def _header(line: str) -> tuple[str, str]:
    name, colon, value = line.partition(":")
    if not colon or not _TOKEN.fullmatch(name) or not _VALUE.fullmatch(value):
        raise BadHead(400, "a header is malformed")
    return name.lower(), value.strip(" \t")


def _only(headers: Sequence[tuple[str, str]], name: str) -> str | None:
    values = [value for key, value in headers if key == name]
    if len(values) > 1:
        raise BadHead(400, f"{name} twice")
    return values[0] if values else None


def _length(method: str, given: str | None) -> int:
    if given is None:
        if method == "POST":
            raise BadHead(411, "content-length is missing")
        return 0
    if not _LENGTH.fullmatch(given):
        raise BadHead(400, "content-length is no number")
    return int(given)


def pack(answer: Answer, keep: bool) -> bytes:
    """The head of an answer."""
    lines = [f"HTTP/1.1 {answer.status} {_REASONS.get(answer.status, 'Status')}"]
    lines += [f"{name}: {value}" for name, value in answer.headers()]
    lines += [f"content-length: {len(answer.body)}"]
    lines += [] if keep else ["connection: close"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


class Wire:
    """A connection, read with a deadline; what came too early is kept."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._reader = reader
        self._writer = writer
        self._early = bytearray()
        self.known = False  # it has brought a request that was taken

    @property
    def silent(self) -> bool:
        """Nothing of a next request has come."""
        return not self._early

    async def head(self, idle_s: float, head_s: float) -> Head | None:
        """The next request's; None when the client has nothing more to ask."""
        if not self._early and not await self._fill(idle_s):
            return None
        async with _deadline(head_s):
            while (end := self._early.find(b"\r\n\r\n")) < 0:
                if len(self._early) > MAX_HEAD:
                    raise BadHead(431, f"a head of over {MAX_HEAD} bytes")
                if not await self._fill(None):
                    raise Gone("closed within a head")
        if end > MAX_HEAD:
            raise BadHead(431, f"a head of over {MAX_HEAD} bytes")
        raw = bytes(self._early[:end])
        del self._early[: end + 4]
        return parse(raw)

    async def body(self, length: int, seconds: float) -> bytearray:
        """Gone when it does not come whole, and in time."""
        body = self._early[:length]
        del self._early[:length]
        async with _deadline(seconds):
            while len(body) < length:
                data = await self._reader.read(min(length - len(body), _PIECE))
                if not data:
                    raise Gone("closed within a body")
                body += data
        return body

    async def skip(self, length: int, seconds: float) -> None:
        """Reads a body away.  An answer to a client that still writes is lost
        with the connection when we close before it has read it."""
        left = length - len(self._early)
        del self._early[:length]
        async with _deadline(seconds):
            while left > 0:
                data = await self._reader.read(min(left, _PIECE))
                if not data:
                    raise Gone("closed within a body")
                left -= len(data)

    async def closed(self) -> None:
        """Returns when the client closes; one who sends on is not waited for."""
        while len(self._early) <= MAX_HEAD:
            if not await self._fill(None):
                return
        await asyncio.Event().wait()

    async def write(self, data: bytes, seconds: float) -> None:
        async with _deadline(seconds):
            self._writer.write(data)
            await self._writer.drain()

    async def finish(self, seconds: float) -> None:
        """Says that nothing more will come, and waits until it was seen."""
        try:
            async with _deadline(seconds):
                if self._writer.can_write_eof():
                    self._writer.write_eof()
                while await self._reader.read(_PIECE):
                    pass
        except (Gone, OSError):
            pass
        self.abort()

    def abort(self) -> None:
        self._writer.transport.abort()

    async def _fill(self, seconds: float | None) -> bool:
        """False: closed, or too slow."""
        try:
            async with _deadline(seconds):
                data = await self._reader.read(_PIECE)
        except (Gone, OSError):
            return False
        self._early += data
        return bool(data)


class _deadline:  # noqa: N801 - used as a statement
    """asyncio.timeout, whose end is the client's fault."""

    def __init__(self, seconds: float | None) -> None:
        self._timeout = asyncio.timeout(seconds)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(self, *what: object) -> bool | None:
        try:
            return await self._timeout.__aexit__(*what)  # type: ignore[arg-type]
        except TimeoutError:
            raise Gone("too slow") from None
