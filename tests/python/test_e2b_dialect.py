"""What the vendor's clients send, kept in providers/e2b_dialect.json: what the
fleet sends for the same things is compared with it (unit/test_e2b_dialect.c).

    BF_REGENERATE=1 python -m unittest test_e2b_dialect
"""

import json
import os
import struct
import unittest
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import e2b_npm
from e2b_case import ROOT, E2BServer

FILE = ROOT / "tests" / "providers" / "e2b_dialect.json"
SCRIPT = Path(__file__).parent / "e2b_dialect.mjs"
# Who one is, how one takes answers, and what HTTP itself wants.
DROPPED = frozenset(
    "accept accept-encoding accept-language browser connection content-length host "
    "lang lang_version package_version publisher sdk_runtime sec-fetch-mode system "
    "transfer-encoding user-agent".split()
)
# Not as they are called for operations of the fleet, or by chance.
UNTOLD = frozenset(("contexts_list", "stat", "list_dir", "process_list"))


class Capture:
    """Requests by operation, with what differs from time to time named."""

    def __init__(self, server: E2BServer) -> None:
        self._server = server
        self.seen: dict[str, Any] = {}
        server.capture(self._take)

    def _take(self, _: str, op: str, request: Any) -> None:
        if op in UNTOLD or op in self.seen:
            return
        parts = urlsplit(request.target)
        told: dict[str, Any] = {
            "method": request.method,
            "path": parts.path,
            "query": dict(parse_qsl(parts.query)),
            "headers": {
                name: value
                for name, value in sorted(request.headers.items())
                if name not in DROPPED
            },
        }
        if request.body:
            told["body"] = self._body(request)
        self.seen[op] = self._named(told)

    def _body(self, request: Any) -> Any:
        kind = request.headers["content-type"]
        if kind == "application/json":
            return json.loads(request.body)
        if kind == "application/connect+json":
            flags, size = struct.unpack_from(">BI", request.body)
            assert not flags and size == len(request.body) - 5
            return json.loads(request.body[5:])
        return "raw"

    def _named(self, told: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(told)
        for sandbox in self._server.world.live.values():
            for name, value in (
                ("{id}", sandbox.id),
                ("{access}", sandbox.envd_token),
                ("{traffic}", sandbox.traffic_token),
                ("{key}", self._server.key),
            ):
                text = text.replace(value or "\0", name)
        told = json.loads(text.replace(self._server.key, "{key}"))
        process = (told.get("body") or {}) if told.get("body") != "raw" else {}
        if "pid" in process.get("process", {}):
            process["process"]["pid"] = 1
        return told


def python_requests() -> dict[str, Any]:
    from e2b import SandboxQuery, SandboxState
    from e2b_code_interpreter import Sandbox

    metadata = {"bf": "1", "bf.owner": "w-1"}
    with E2BServer() as server:
        capture = Capture(server)
        opts = {
            "api_key": server.key,
            "api_url": server.api_url,
            "sandbox_url": server.sandbox_url,
        }
        box = Sandbox.create(
            "code-interpreter-v1",
            timeout=95,
            metadata=metadata,
            allow_internet_access=False,
            network={"allow_public_traffic": False},
            idempotency_key="0f",
            **opts,
        )
        query = SandboxQuery(metadata=metadata, state=[SandboxState.RUNNING])
        Sandbox.list(query=query, limit=100, **opts).next_items()
        Sandbox.connect(box.sandbox_id, timeout=60, **opts)
        box.set_timeout(60)
        box.get_info()
        box.is_running()
        box.run_code("1", language="python")
        box.files.write("/tmp/in.bin", b"\1\2\3", use_octet_stream=True)
        sleep = box.commands.run("exec sleep 60", background=True, timeout=60)
        box.commands.kill(sleep.pid)
        box.files.make_dir("/tmp/bf-lease")
        box.files.remove("/tmp/bf-lease")
        box.kill()
        return capture.seen


def javascript_requests() -> dict[str, Any]:
    with E2BServer() as server:
        capture = Capture(server)
        done = e2b_npm.run(SCRIPT, server)
        assert done.returncode == 0, done.stderr
        return capture.seen


class Dialect(unittest.TestCase):
    maxDiff = None

    def check(self, name: str, sent: dict[str, Any], sources: list[str]) -> None:
        kept = json.loads(FILE.read_text()) if FILE.exists() else {}
        told = {"sources": sources, "operations": sent}
        if os.environ.get("BF_REGENERATE"):
            kept[name] = told
            text = json.dumps(kept, indent=1, sort_keys=True, ensure_ascii=False)
            FILE.write_text(text + "\n")
        self.assertEqual(told, kept.get(name))

    def test_python(self) -> None:
        names = ("e2b", "e2b-code-interpreter")
        sources = [f"{name} {version(name)} (PyPI)" for name in names]
        self.check("python", python_requests(), sources)

    def test_javascript(self) -> None:
        e2b_npm.folder()
        sources = [f"{name} {number} (npm)" for name, number in e2b_npm.NPM.items()]
        self.check("javascript", javascript_requests(), sources)
