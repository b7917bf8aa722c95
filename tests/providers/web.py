"""A web server for tests that must be able to fail at any point of an exchange:
HTTP/1.1 with keep-alive, and HTTP/2 where TLS agrees on it.

    async def handler(exchange: Exchange) -> None:
        body = await exchange.body()
        await exchange.answer(200, {"content-type": "text/plain"}, body)

    with WebServer(handler) as server:
        ... server.url ...

Everything happens on one thread of its own, in an event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import SplitResult, urlsplit

MAX_HEAD = 64 << 10
MAX_BODY = 128 << 20
# What is sent before the peer must have taken some of it.
CHUNK = 64 << 10


class Gone(ConnectionError):
    """The peer closed its end, or somebody cut the exchange."""


class TooLarge(ValueError):
    """The peer sends more than we take."""


@dataclass(frozen=True)
class Request:
    method: str
    scheme: str
    host: str
    target: str  # path and query, as they came
    headers: Mapping[str, str]  # by lower-case name; the last one wins
    version: str

    @property
    def url(self) -> str:
        return f"{self.scheme}://{self.host}{self.target}"

    @property
    def parts(self) -> SplitResult:
        return urlsplit(self.target)


class Exchange(ABC):
    """One request and what is answered, a step at a time."""

    def __init__(self, request: Request, server: WebServer) -> None:
        self.request = request
        self.server = server
        self.over = False  # answered in full, or cut

    @abstractmethod
    async def body(self) -> bytes:
        """All of it; once."""

    @abstractmethod
    async def start(
        self, status: int, headers: Mapping[str, str], length: int | None
    ) -> None:
        """length: None when it is not to be told."""

    @abstractmethod
    async def write(self, data: bytes) -> None: ...

    @abstractmethod
    async def finish(self) -> None: ...

    async def raw(self, data: bytes) -> None:
        """Past all framing, where there is none to speak of."""
        raise NotImplementedError

    @abstractmethod
    def cut(self, hard: bool = False) -> None:
        """End it now; hard: with a reset, what was written may be lost."""

    def leave(self) -> None:
        """What was answered stands, and the connection is not used again."""
        self.cut()

    @abstractmethod
    def peer_left(self) -> bool: ...

    async def answer(
        self, status: int, headers: Mapping[str, str], body: bytes = b""
    ) -> None:
        await self.start(status, headers, len(body))
        await self.write(body)
        await self.finish()

    async def gone(self, seconds: float) -> bool:
        """Waits; True as soon as the peer has left, or the server is to."""
        loop = asyncio.get_running_loop()
        end = loop.time() + seconds
        while not (self.peer_left() or self.server.closing):
            left = end - loop.time()
            if left <= 0:
                return False
            await asyncio.sleep(min(left, 0.02))
        return True


Handler = Callable[[Exchange], Awaitable[None]]


# ---- HTTP/1.1 -----------------------------------------------------------------


class _Exchange1(Exchange):
    def __init__(
        self,
        request: Request,
        server: WebServer,
        streams: tuple[asyncio.StreamReader, asyncio.StreamWriter],
    ) -> None:
        super().__init__(request, server)
        self._reader, self._writer = streams
        self._chunked = False
        self.read = "0" == request.headers.get("content-length", "0") and (
            "transfer-encoding" not in request.headers
        )

    async def body(self) -> bytes:
        headers = self.request.headers
        if headers.get("expect", "").lower() == "100-continue":
            self._writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        try:
            if headers.get("transfer-encoding", "").lower() == "chunked":
                body = await self._chunks()
            else:
                length = int(headers.get("content-length", "0"))
                if not 0 <= length <= MAX_BODY:
                    raise TooLarge(f"a body of {length} bytes")
                body = await self._reader.readexactly(length)
        except asyncio.IncompleteReadError:
            raise Gone("in the middle of the body") from None
        self.read = True
        return body

    async def _chunks(self) -> bytes:
        body = bytearray()
        while True:
            length = int((await self._reader.readuntil(b"\r\n")).split(b";")[0], 16)
            if not 0 <= length <= MAX_BODY - len(body):
                raise TooLarge("chunks without an end")
            body += await self._reader.readexactly(length)
            await self._reader.readexactly(2)
            if length == 0:
                return bytes(body)

    async def start(
        self, status: int, headers: Mapping[str, str], length: int | None
    ) -> None:
        phrase = HTTPStatus(status).phrase if status in list(HTTPStatus) else ""
        lines = [f"HTTP/1.1 {status} {phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self._chunked = length is None
        size = "transfer-encoding: chunked" if length is None else ""
        lines.append(size or f"content-length: {length}")
        await self._send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def write(self, data: bytes) -> None:
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            if self._chunked:
                piece = b"%x\r\n%b\r\n" % (len(piece), piece)
            await self._send(piece)

    async def finish(self) -> None:
        if self._chunked:
            await self._send(b"0\r\n\r\n")
        self.over = True

    async def raw(self, data: bytes) -> None:
        await self._send(data)

    async def _send(self, data: bytes) -> None:
        if self._writer.is_closing():
            raise Gone("before the answer was sent")
        self._writer.write(data)
        await self._writer.drain()

    def cut(self, hard: bool = False) -> None:
        self.over = True
        self.read = False  # so the connection is not used again
        if hard:
            sock = self._writer.get_extra_info("socket")
            linger = struct.pack("ii", 1, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            self._writer.transport.abort()
        else:
            self._writer.close()

    def peer_left(self) -> bool:
        return self._reader.at_eof() or self._writer.is_closing()


def _head1(head: bytes, scheme: str) -> Request:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    headers = {}
    for line in lines:
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    host = headers.get("host", "")
    return Request(method, scheme, host, target, headers, version.removeprefix("HTTP/"))


async def _serve1(
    server: WebServer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> None:
    scheme = "https" if server.tls else "http"
    while not writer.is_closing():
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except (asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            return
        request = _head1(head, scheme)
        exchange = _Exchange1(request, server, (reader, writer))
        await server.handle(exchange)
        if not exchange.over or not exchange.read:
            return
        if request.headers.get("connection", "").lower() == "close":
            return


# ---- HTTP/2 -------------------------------------------------------------------


class _Exchange2(Exchange):
    def __init__(self, request: Request, peer: _Peer2, stream: int) -> None:
        super().__init__(request, peer.server)
        self.peer, self.stream = peer, stream
        self.data = bytearray()
        self.whole = asyncio.Event()  # the body is here, or will never be
        self.reset = False

    async def body(self) -> bytes:
        await self.whole.wait()
        if self.reset:
            raise Gone("reset")
        return bytes(self.data)

    async def start(
        self, status: int, headers: Mapping[str, str], length: int | None
    ) -> None:
        lines = [(":status", str(status))]
        lines += [(name.lower(), value) for name, value in headers.items()]
        if length is not None:
            lines.append(("content-length", str(length)))
        self._alive()
        self.peer.http.send_headers(self.stream, lines)
        await self.peer.flush()

    async def write(self, data: bytes) -> None:
        http = self.peer.http
        while data:
            self._alive()
            room = http.local_flow_control_window(self.stream)
            size = min(len(data), room, http.max_outbound_frame_size)
            if size <= 0:
                await self.peer.wait_window()
                continue
            http.send_data(self.stream, data[:size])
            data = data[size:]
            await self.peer.flush()

    async def finish(self) -> None:
        self._alive()
        self.peer.http.end_stream(self.stream)
        self.over = True
        await self.peer.flush()

    def cut(self, hard: bool = False) -> None:
        """The whole connection when hard, else this stream."""
        self.over = True
        if hard:
            self.peer.writer.transport.abort()
        else:
            self.fail(2)  # INTERNAL_ERROR

    def fail(self, code: int) -> None:
        self.over = True
        if not self.peer_left():
            with contextlib.suppress(*self.peer.expected):  # it may have ended
                self.peer.http.reset_stream(self.stream, code)
            self.peer.flush_soon()

    def goaway(self, last_stream: int) -> None:
        """Streams above last_stream are said to be unprocessed."""
        self.over = True
        self.peer.http.close_connection(0, last_stream_id=last_stream)
        self.peer.flush_soon()
        self.peer.writer.close()

    def leave(self) -> None:
        self.goaway(self.stream)

    async def raw(self, data: bytes) -> None:
        self.peer.writer.write(data)
        await self.peer.writer.drain()

    def peer_left(self) -> bool:
        return self.reset or self.peer.writer.is_closing()

    def _alive(self) -> None:
        if self.peer_left():
            raise Gone("before the answer was sent")


class _Peer2:
    def __init__(
        self,
        server: WebServer,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        # Only who speaks HTTP/2 needs the package.
        from h2.config import H2Configuration
        from h2.connection import H2Connection
        from h2.exceptions import ProtocolError

        self.expected = (OSError, ProtocolError)
        self.server, self.reader, self.writer = server, reader, writer
        config = H2Configuration(client_side=False, header_encoding="latin-1")
        self.http = H2Connection(config)
        self._exchanges: dict[int, _Exchange2] = {}
        self._window = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()

    async def serve(self) -> None:
        self.http.initiate_connection()
        await self.flush()
        try:
            while data := await self.reader.read(CHUNK):
                for event in self.http.receive_data(data):
                    self._take(event)
                await self.flush()
        except self.expected:
            pass
        finally:
            for exchange in self._exchanges.values():
                self._lost(exchange)
            self._window.set()
            await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, event: Any) -> None:
        import h2.events as e

        exchange = self._exchanges.get(getattr(event, "stream_id", 0) or 0)
        if isinstance(event, e.RequestReceived):
            self._begin(event.stream_id, dict(event.headers))
        elif isinstance(event, e.DataReceived):
            size = event.flow_controlled_length
            self.http.acknowledge_received_data(size, event.stream_id)
            if exchange and len(exchange.data) + len(event.data) <= MAX_BODY:
                exchange.data += event.data
        elif isinstance(event, e.StreamEnded) and exchange:
            exchange.whole.set()
        elif isinstance(event, e.StreamReset) and exchange:
            self._lost(exchange)
        elif isinstance(event, e.ConnectionTerminated):
            self.writer.close()
        if isinstance(event, (e.WindowUpdated, e.RemoteSettingsChanged, e.StreamReset)):
            self._window.set()

    def _begin(self, stream: int, headers: dict[str, str]) -> None:
        request = Request(
            headers[":method"],
            headers[":scheme"],
            headers.get(":authority", ""),
            headers[":path"],
            headers,
            "2",
        )
        exchange = _Exchange2(request, self, stream)
        self._exchanges[stream] = exchange
        task = asyncio.create_task(self._handle(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _handle(self, exchange: _Exchange2) -> None:
        try:
            await self.server.handle(exchange, self.expected)
            if not exchange.over:
                exchange.cut()
        finally:
            del self._exchanges[exchange.stream]

    def _lost(self, exchange: _Exchange2) -> None:
        exchange.reset = True
        exchange.whole.set()

    async def wait_window(self) -> None:
        self._window.clear()
        await self._window.wait()

    def flush_soon(self) -> None:
        if not self.writer.is_closing():
            self.writer.write(self.http.data_to_send())

    async def flush(self) -> None:
        self.flush_soon()
        await self.writer.drain()


# ---- the server ---------------------------------------------------------------


class WebServer:
    """Serves from its birth; a context manager. port 0: any free one.

    tls: a context; h2 is spoken with whoever agrees on it there."""

    def __init__(
        self, handler: Handler, port: int = 0, tls: ssl.SSLContext | None = None
    ) -> None:
        self._handler = handler
        self.tls = tls
        self.closing = False
        self.connections = 0  # so far
        self.failed: list[BaseException] = []  # in our own code
        self._tasks: set[asyncio.Task[None]] = set()
        self._sock = socket.create_server(("127.0.0.1", port), backlog=1024)
        self.port: int = self._sock.getsockname()[1]
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self._stop = asyncio.Event()
        ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(
            target=self._loop.run_until_complete, args=(self._serve(ready),)
        )
        self._thread.start()
        ready.wait()

    def __enter__(self) -> WebServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._loop.close()
        if self.failed:
            raise self.failed[0]

    def spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """From the loop: goes on without whoever began it, ends with us."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        """From any other thread: on the loop, and wait for it."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()

    async def _serve(self, ready: threading.Event) -> None:
        server = await asyncio.start_server(
            self._connected, sock=self._sock, ssl=self.tls, limit=MAX_HEAD
        )
        ready.set()
        await self._stop.wait()
        self.closing = True
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0)  # for transports to see that they are closed

    def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.connections += 1
        self.spawn(self._connection(reader, writer))

    async def _connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        agreed = writer.get_extra_info("ssl_object")
        try:
            if agreed and agreed.selected_alpn_protocol() == "h2":
                await _Peer2(self, reader, writer).serve()
            else:
                await _serve1(self, reader, writer)
        except OSError:
            pass  # the peer's business
        except Exception as error:
            self.failed.append(error)
        finally:
            with contextlib.suppress(Exception):
                writer.close()

    async def handle(
        self, exchange: Exchange, expected: tuple[type[Exception], ...] = (OSError,)
    ) -> None:
        try:
            await self._handler(exchange)
        except expected:
            exchange.cut()
        except Exception as error:
            self.failed.append(error)
            exchange.cut()
