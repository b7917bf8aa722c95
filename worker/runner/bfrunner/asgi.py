"""The door as an ASGI 3 application, for containers that bring their own HTTP
server.  Everything happens on the loop that the engine was started on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from dataclasses import dataclass
from typing import Any

from bfrunner import execute
from bfrunner.door import Door, Ticket, Turned
from bfrunner.execute import Answer

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = Sequence[tuple[str, str]]

_PATHS = ("/", "/execute_block")


class Left(Exception):
    """The client went before its request was here."""


@dataclass
class Application:
    """targets: of a path and its query, what workers may have called it."""

    door: Door
    targets: Callable[[str, str, Headers], list[str]]

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return  # no lifespan: the engine is its owner's
        try:
            answer = await self._answer(scope, receive)
        except Left:
            return
        headers = [*answer.headers(), ("content-length", str(len(answer.body)))]
        raw = [(name.encode(), value.encode()) for name, value in headers]
        start = {"type": "http.response.start", "status": answer.status}
        await send({**start, "headers": raw})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(self, scope: Message, receive: Receive) -> Answer:
        path, method = scope["path"] or "/", scope["method"]
        if path not in _PATHS:
            return execute.problem(404, "POST /execute_block")
        if method != "POST":
            return execute.problem(405, "POST /execute_block")
        headers = text(scope["headers"])
        query = scope.get("query_string", b"").decode("latin-1")
        targets = self.targets(path, query, headers)
        length = _length(headers)
        body = None
        try:
            if length is None:
                # Nothing of a stranger's is read beyond its headers.
                with self.door.enter(method, targets, headers, 0):
                    pass
                body = await _body(receive, self.door.limits.body_bytes)
                length = len(body)
            with self.door.enter(method, targets, headers, length) as ticket:
                return await self._run(ticket, body, length, receive)
        except Turned as turned:
            return turned.answer
        except execute.BadRequest as bad:
            return execute.problem(413, str(bad))

    async def _run(
        self, ticket: Ticket, body: bytearray | None, length: int, receive: Receive
    ) -> Answer:
        if body is None:
            body = await _body(receive, length)
        return await self.door.run(ticket, body)


def text(headers: Iterable[tuple[bytes, bytes]]) -> list[tuple[str, str]]:
    return [
        (name.decode("latin-1"), value.decode("latin-1")) for name, value in headers
    ]


def _length(headers: Headers) -> int | None:
    """None when it is not said, or in words of no use."""
    found = [value for name, value in headers if name.lower() == "content-length"]
    if len(found) == 1 and found[0].isascii() and found[0].isdigit():
        return int(found[0])
    return None


async def _body(receive: Receive, most: int) -> bytearray:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise Left
        body += message.get("body", b"")
        if len(body) > most:
            raise execute.BadRequest(f"the body is over {most} bytes")
        if not message.get("more_body", False):
            return body
