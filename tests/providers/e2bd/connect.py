"""Connect's frames and errors, JSON only."""

from __future__ import annotations

import json
import struct
from typing import Any

from .web import Reply, json_reply

STATUS = {
    "canceled": 499,
    "invalid_argument": 400,
    "deadline_exceeded": 504,
    "not_found": 404,
    "already_exists": 409,
    "permission_denied": 403,
    "resource_exhausted": 429,
    "failed_precondition": 400,
    "unimplemented": 501,
    "internal": 500,
    "unavailable": 503,
    "unauthenticated": 401,
}


class ConnectError(Exception):
    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code

    def told(self) -> dict[str, str]:
        return {"code": self.code, "message": str(self)}

    def reply(self) -> Reply:
        """Of a unary call."""
        return json_reply(STATUS[self.code], self.told())


def frame(message: Any, flags: int = 0) -> bytes:
    text = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">BI", flags, len(text)) + text


def end_frame(error: Exception | None) -> bytes:
    if error is None:
        return frame({}, 2)
    if not isinstance(error, ConnectError):
        error = ConnectError("unavailable", f"{error}")
    return frame({"error": error.told()}, 2)


def request_of(body: bytes) -> dict[str, Any]:
    """The one message of a server-streaming call."""
    if len(body) < 5:
        raise ConnectError("invalid_argument", "protocol error: incomplete envelope")
    flags, length = struct.unpack(">BI", body[:5])
    if flags or len(body) != 5 + length:
        raise ConnectError("invalid_argument", "protocol error: bad envelope")
    return message_of(body[5:])


def message_of(text: bytes) -> dict[str, Any]:
    """Input may be in camelCase or snake_case; ours is in one word, mostly."""
    try:
        message = json.loads(text or b"{}")
    except ValueError as broken:
        text = f"unmarshal message: {broken}"
        raise ConnectError("invalid_argument", text) from None
    if not isinstance(message, dict):
        raise ConnectError("invalid_argument", "unmarshal message: no object")
    return message
