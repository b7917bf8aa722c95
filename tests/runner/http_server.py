"""`bfrunner http` as a process, and a client that signs as a worker does."""

from __future__ import annotations

import base64
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "wire")]

import bfwire as w  # noqa: E402

KEY, OTHER = w.private_key(b"r" * 32), w.private_key(b"s" * 32)
HELLO = "def run(name='you'):\n    print('hi')\n    return {'hello': name}\n"


def key_line(key: object, before: str = "run", after: str = "") -> str:
    public = base64.b64encode(w.public_bytes(key)).decode()
    return f"{before} ed25519 {public} {after}".strip() + "\n"


def request(code: str | None = HELLO, inputs: str = "{}", **more: object) -> bytes:
    """An execute_block body; code None: by code_hash alone, which is then given."""
    whole = {} if code is None else {"code_str": code, "imports": []}
    return json.dumps(
        {
            "code_hash": w.code_hash(code or "", []),
            "run_function_name": "run",
            "inputs_json": inputs,
            "workflow_context": {},
            "timeout_seconds": "30.000000",
            "workspace_id": "acme",
            "run_id": os.urandom(16).hex(),
            **whole,
            **more,
        }
    ).encode()


def signed(url: str, body: bytes, key: object = KEY, **more: object) -> dict[str, str]:
    """The headers of a forwarded run."""
    run_id = more.pop("run_id", None) or json.loads(body)["run_id"]
    now = int(time.time())
    fields: dict[str, Any] = {
        "method": "POST",
        "target_uri": url,
        "content_type": "application/json",
        "content_digest": w.content_digest(body),
        "run_id": run_id,
        "created_s": now,
        "expires_s": now + 60,
        "nonce": os.urandom(16).hex(),
        "key_id": w.key_id(w.public_bytes(key)),
        **more,
    }
    said, signature = w.http_sign(w.HttpMessage(**fields), key)
    return {
        "content-type": fields["content_type"],
        "content-digest": fields["content_digest"],
        "idempotency-key": f'"{fields["run_id"]}"',
        "signature-input": said,
        "signature": signature,
    }


class RunnerServer:
    """A context manager; `keys` None: unsigned."""

    def __init__(
        self,
        *arguments: str,
        keys: str | None = None,
        runner: Path = ROOT / "worker" / "runner",
        python: str = sys.executable,
    ) -> None:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        self.keys, port_file = folder / "keys", folder / "port"
        command = [python, "-m", "bfrunner", "http", "--port", "0"]
        command += ["--port-file", str(port_file), "--preload", "none"]
        if keys is None:
            command += ["--unsigned"]
        else:
            self.keys.write_text(keys)
            command += ["--keys", str(self.keys)]
        self.errors = folder / "stderr"
        with self.errors.open("wb") as errors:
            self.process = subprocess.Popen(
                [*command, *arguments],
                cwd=runner,
                stdout=subprocess.DEVNULL,
                stderr=errors,
            )
        end = time.monotonic() + 60
        while not port_file.exists():
            if self.process.poll() is not None or time.monotonic() > end:
                raise RuntimeError(self.errors.read_text())
            time.sleep(0.01)
        self.port = int(port_file.read_text())
        self.host = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.host}/execute_block"

    def __enter__(self) -> RunnerServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self, number: int = signal.SIGTERM) -> int:
        if self.process.poll() is None:
            self.process.send_signal(number)
        try:
            status = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            status = self.process.wait()
        self._folder.cleanup()
        return status

    def connect(self) -> Connection:
        return Connection(self)

    def healthz(self) -> dict[str, Any]:
        with self.connect() as wire:
            wire.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
            return json.loads(wire.reply()[2])

    def until(self, **wanted: object) -> dict[str, Any]:
        """Waits until /healthz says all this."""
        end = time.monotonic() + 60
        while True:
            told = self.healthz()
            if all(told.get(name) == value for name, value in wanted.items()):
                return told
            if time.monotonic() > end:
                raise AssertionError(f"{wanted} is not so: {told}")
            time.sleep(0.02)


class Connection:
    """One connection, byte by byte if need be."""

    def __init__(self, server: RunnerServer) -> None:
        self.server = server
        self.sock = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._read = self.sock.makefile("rb")

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._read.close()
        self.sock.close()

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def head(
        self, body: bytes, headers: dict[str, str], path: str = "/execute_block"
    ) -> bytes:
        lines = [f"POST {path} HTTP/1.1", f"host: {self.server.host}"]
        lines += [f"content-length: {len(body)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        return "\r\n".join([*lines, "", ""]).encode()

    def ask(
        self, body: bytes, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, Any]]:
        """Signs unless headers are given."""
        self.begin(body, headers)
        status, self.headers, text = self.reply()
        return status, json.loads(text)

    def begin(self, body: bytes, headers: dict[str, str] | None = None) -> None:
        if headers is None:
            headers = signed(self.server.url, body)
        self.send(self.head(body, headers) + body)

    def reply(self) -> tuple[int, dict[str, str], bytes]:
        """ConnectionError when there is none."""
        line = self._read.readline()
        if not line:
            raise ConnectionError("closed without an answer")
        status, headers = int(line.split()[1]), {}
        while (line := self._read.readline().strip()) != b"":
            name, _, value = line.decode().partition(":")
            headers[name] = value.strip()
        text = self._read.read(int(headers.get("content-length", "0")))
        return status, headers, text

    def closed(self) -> bool:
        """Waits for the end of the connection; what came before is dropped."""
        try:
            while self.sock.recv(1 << 16):
                pass
        except ConnectionError:
            pass
        except TimeoutError:
            return False
        return True
