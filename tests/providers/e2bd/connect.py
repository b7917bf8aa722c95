"""Connect's frames and errors, JSON only."""

from __future__ import annotations

import json
import struct
from typing import Any

from .web import Reply

UNARY = "application/json"
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
        return unary(STATUS[self.code], self.told())


def unary(status: int, value: Any) -> Reply:
    return Reply(status, json.dumps(value).encode(), {"content-type": UNARY})


def frame(message: Any, flags: int = 0) -> bytes:
    text = json.dumps(message, separators=(",", ":")).encode()
    return struct.pack(">BI", flags, len(text)) + text


def end_frame(error: Exception | None) -> bytes:
    if error is None:
        return frame({}, 2)
    if not isinstance(error, ConnectError):
        error = ConnectError("unavailable", f"{error}")
    return frame({"error": error.told()}, 2)


def request_of(body: bytes, kind: str) -> dict[str, Any]:
    """The one message of a server-streaming call."""
    if not body:
        raise ConnectError("unimplemented", "unary request has zero messages")
    if len(body) < 5:
        text = "protocol error: incomplete envelope: unexpected EOF"
        raise ConnectError("invalid_argument", text)
    flags, length = struct.unpack(">BI", body[:5])
    if len(body) < 5 + length:
        text = f"promised {length} bytes in enveloped message, got {len(body) - 5}"
        raise ConnectError("invalid_argument", f"protocol error: {text} bytes")
    if flags or len(body) > 5 + length:
        raise ConnectError("invalid_argument", "protocol error: bad envelope")
    return message_of(body[5:], kind)


def message_of(text: bytes, kind: str) -> dict[str, Any]:
    """Fields that are not known are let pass."""
    try:
        message = json.loads(text or b"{}")
        if not isinstance(message, dict):
            raise ValueError(text)
    except ValueError:
        text = f"unmarshal message: unmarshal into *{kind}: proto:\xa0unexpected EOF"
        raise ConnectError("invalid_argument", text) from None
    return message
