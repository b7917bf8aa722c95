"""A client of the E2B server that is nobody's SDK: bare HTTP."""

import base64
import http.client
import json
import struct
import sys
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "providers"))

from e2b_server import KEY, E2BServer  # noqa: E402
from e2bd import box, files  # noqa: E402
from e2bd.world import Limits, Template  # noqa: E402

__all__ = [
    "ENVD",
    "INTERPRETER",
    "E2BCase",
    "Limits",
    "Template",
    "box",
    "files",
    "texts",
]

ENVD, INTERPRETER = 49983, 49999


class Answer:
    def __init__(self, reply: http.client.HTTPResponse) -> None:
        self.status = reply.status
        self.headers = reply.headers
        self.whole = True
        try:
            self.body = reply.read()
        except http.client.IncompleteRead as cut:
            self.body, self.whole = cut.partial, False
        except OSError:
            self.body, self.whole = b"", False

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.body.splitlines()]

    def frames(self) -> list[tuple[int, dict[str, Any]]]:
        found, at = [], 0
        while at < len(self.body):
            flags, size = struct.unpack_from(">BI", self.body, at)
            found.append((flags, json.loads(self.body[at + 5 : at + 5 + size])))
            at += 5 + size
        return found


class E2BCase(unittest.TestCase):
    def serve(self, **options: Any) -> E2BServer:
        self.server = E2BServer(**options)
        self.addCleanup(self.server.close)
        return self.server

    def ask(
        self,
        port: int,
        method: str,
        target: str,
        body: Any = None,
        headers: dict[str, str] | None = None,
    ) -> Answer:
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.addCleanup(client.close)
        told = dict(headers or {})
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
            told.setdefault("content-type", "application/json")
        client.request(method, target, body, told)
        return Answer(client.getresponse())

    def api(self, method: str, target: str, body: Any = None, **headers: str) -> Answer:
        told = {name.replace("_", "-"): text for name, text in headers.items()}
        told.setdefault("x-api-key", KEY)
        return self.ask(self.server.api_port, method, target, body, told)

    def create(self, template: str = "code-interpreter-v1", **more: Any) -> Any:
        answer = self.api("POST", "/v2/sandboxes", {"templateID": template, **more})
        self.assertEqual(answer.status, 201, answer.body)
        return answer.json()

    def data(
        self,
        sandbox: Any,
        port: int,
        method: str,
        target: str,
        body: Any = None,
        **headers: str,
    ) -> Answer:
        told = {"e2b-sandbox-id": sandbox["sandboxID"], "e2b-sandbox-port": str(port)}
        if sandbox.get("envdAccessToken"):
            told["x-access-token"] = sandbox["envdAccessToken"]
        if sandbox.get("trafficAccessToken"):
            told["e2b-traffic-access-token"] = sandbox["trafficAccessToken"]
        told |= {name.replace("_", "-"): text for name, text in headers.items()}
        told = {name: text for name, text in told.items() if text}
        return self.ask(self.server.sandbox_port, method, target, body, told)

    def execute(self, sandbox: Any, code: str, **more: Any) -> Answer:
        asked = {"code": code, "language": "python", **more}
        if "context_id" in more:
            del asked["language"]
        return self.data(sandbox, INTERPRETER, "POST", "/execute", asked)

    def stream(self, sandbox: Any, method: str, message: Any, **headers: str) -> Answer:
        text = json.dumps(message).encode()
        body = struct.pack(">BI", 0, len(text)) + text
        return self.data(
            sandbox,
            ENVD,
            "POST",
            f"/process.Process/{method}",
            body,
            content_type="application/connect+json",
            **headers,
        )

    def call(self, sandbox: Any, method: str, message: Any) -> Answer:
        return self.data(sandbox, ENVD, "POST", f"/{method}", message)

    def start(self, sandbox: Any, command: str, **more: Any) -> Answer:
        headers = more.pop("headers", {})
        process = {"cmd": "/bin/sh", "args": ["-c", command]}
        message = {"process": process, "stdin": False, **more}
        return self.stream(sandbox, "Start", message, **headers)


def texts(answer: Answer, kind: str) -> str:
    """What came on stdout or stderr, of either kind of stream."""
    if answer.headers.get("content-type", "").startswith("application/connect"):
        data = [frame[1].get("event", {}).get("data", {}) for frame in answer.frames()]
        return b"".join(base64.b64decode(one.get(kind, "")) for one in data).decode()
    return "".join(one["text"] for one in answer.lines() if one["type"] == kind)
