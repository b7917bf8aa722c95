"""The vendor's own envd beside the E2B server: the same requests, the same
answers. Runs where somebody has built envd (Go, e2b-dev/infra, packages/envd)
into the cache as `envd`, or $BF_ENVD names it; as root."""

import base64
import gzip
import http.client
import json
import os
import re
import socket
import struct
import subprocess
import time
import unittest
import urllib.parse
from pathlib import Path
from typing import Any

from e2b_case import ENVD, ROOT, Answer, E2BCase, box, files

CACHE = Path(os.environ.get("BLOCKFLEET_CACHE") or ROOT / ".cache")
BINARY = Path(os.environ.get("BF_ENVD") or CACHE / "envd")
TOKEN = "t" * 64
# envd works on the whole machine: it gets a /tmp and a /run of its own.
ALONE = """
binary=$1; shift
exec 9<"$binary"
mount -t tmpfs none /tmp && mount -t tmpfs none /run && exec /proc/self/fd/9 "$@"
"""
RAW = {"content-type": "application/octet-stream"}
JSON = {"content-type": "application/json"}
CONNECT = {"content-type": "application/connect+json"}
HEADERS = ("content-type", "content-encoding", "content-range", "vary")


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def framed(message: Any) -> bytes:
    text = json.dumps(message).encode()
    return struct.pack(">BI", 0, len(text)) + text


def start(command: str, **more: Any) -> bytes:
    process = {"cmd": "/bin/sh", "args": ["-c", command], "cwd": "/tmp/t"}
    return framed({"process": {**process, **more}, "stdin": False})


def boundary(*parts: tuple[str, bytes]) -> bytes:
    text = b""
    for name, data in parts:
        head = f'form-data; name="file"; filename="{name}"'
        text += b"--B\r\nContent-Disposition: " + head.encode()
        text += b"\r\nContent-Type: application/octet-stream\r\n\r\n" + data + b"\r\n"
    return text + b"--B--\r\n"


MULTI = {"content-type": "multipart/form-data; boundary=B"}
FS = "/filesystem.Filesystem/"
PROCESS = "/process.Process/"
START = PROCESS + "Start"


def signed(path: str, operation: str, expiration: str = "") -> str:
    text = files.signature(TOKEN, path, operation, "", expiration)
    query = {"path": path, "signature": text}
    if expiration:
        query["signature_expiration"] = expiration
    return "/files?" + urllib.parse.urlencode(query)


# name, method, target, headers, body; in this order, on one sandbox.
EXCHANGES: list[tuple[str, str, str, dict[str, str], bytes | None]] = [
    ("health", "GET", "/health", {"x-access-token": ""}, None),
    ("no token", "POST", PROCESS + "List", {**JSON, "x-access-token": ""}, b"{}"),
    ("wrong token", "POST", START, {**CONNECT, "x-access-token": "x"}, start("")),
    ("mkdir", "POST", FS + "MakeDir", JSON, b'{"path":"/tmp/t/a"}'),
    ("mkdir again", "POST", FS + "MakeDir", JSON, b'{"path":"/tmp/t/a"}'),
    ("empty list", "POST", FS + "ListDir", JSON, b'{"path":"/tmp/t/a"}'),
    ("upload", "POST", "/files?path=/tmp/t/f", RAW, b"hello"),
    ("mkdir over file", "POST", FS + "MakeDir", JSON, b'{"path":"/tmp/t/f"}'),
    ("mkdir in file", "POST", FS + "MakeDir", JSON, b'{"path":"/tmp/t/f/x"}'),
    ("list", "POST", FS + "ListDir", JSON, b'{"path":"/tmp/t","depth":2}'),
    ("list none", "POST", FS + "ListDir", JSON, b'{"path":"/tmp/t/no"}'),
    ("list file", "POST", FS + "ListDir", JSON, b'{"path":"/tmp/t/f"}'),
    ("stat", "POST", FS + "Stat", JSON, b'{"path":"/tmp/t/f"}'),
    ("stat none", "POST", FS + "Stat", JSON, b'{"path":"/tmp/t/no"}'),
    (
        "move",
        "POST",
        FS + "Move",
        JSON,
        b'{"source":"/tmp/t/f","destination":"/tmp/t/n/g"}',
    ),
    (
        "move none",
        "POST",
        FS + "Move",
        JSON,
        b'{"source":"/tmp/t/f","destination":"/tmp/t/g"}',
    ),
    ("remove none", "POST", FS + "Remove", JSON, b'{"path":"/tmp/t/no"}'),
    ("remove", "POST", FS + "Remove", JSON, b'{"path":"/tmp/t/a"}'),
    ("no JSON", "POST", FS + "Stat", JSON, b"{"),
    ("unknown field", "POST", FS + "Stat", JSON, b'{"path":"/tmp/t/n","x":1}'),
    ("other type", "POST", FS + "Stat", {"content-type": "text/plain"}, b"{}"),
    ("no such method", "POST", FS + "Nope", JSON, b"{}"),
    ("unary by GET", "GET", FS + "Stat", {}, None),
    ("multipart", "POST", "/files", MULTI, boundary(("/tmp/t/m1", b"1"))),
    (
        "two in one",
        "POST",
        "/files",
        MULTI,
        boundary(("/tmp/t/m1", b"1"), ("/tmp/t/m2", b"2")),
    ),
    (
        "multipart at a path",
        "POST",
        "/files?path=/tmp/t/m3",
        MULTI,
        boundary(("q", b"3")),
    ),
    ("no path", "POST", "/files", RAW, b"x"),
    ("upload over folder", "POST", "/files?path=/tmp/t/n", RAW, b"x"),
    ("other upload", "POST", "/files?path=/tmp/t/x", {"content-type": "a/b"}, b"x"),
    (
        "gzip upload",
        "POST",
        "/files?path=/tmp/t/z",
        {**RAW, "content-encoding": "gzip"},
        gzip.compress(b"z" * 100),
    ),
    (
        "broken gzip",
        "POST",
        "/files?path=/tmp/t/y",
        {**RAW, "content-encoding": "gzip"},
        b"none",
    ),
    ("download", "GET", "/files?path=/tmp/t/z", {}, None),
    ("part", "GET", "/files?path=/tmp/t/z", {"range": "bytes=5-9"}, None),
    ("download none", "GET", "/files?path=/tmp/t/no", {}, None),
    ("download folder", "GET", "/files?path=/tmp/t", {}, None),
    ("unsigned", "GET", "/files?path=/tmp/t/z", {"x-access-token": ""}, None),
    ("signed", "GET", signed("/tmp/t/z", "read"), {"x-access-token": ""}, None),
    (
        "signed for long",
        "GET",
        signed("/tmp/t/z", "read", "9999999999"),
        {"x-access-token": ""},
        None,
    ),
    (
        "signed too long ago",
        "GET",
        signed("/tmp/t/z", "read", "1000"),
        {"x-access-token": ""},
        None,
    ),
    (
        "signed for something else",
        "GET",
        signed("/tmp/t/z", "write"),
        {"x-access-token": ""},
        None,
    ),
    ("bad token", "GET", "/files?path=/tmp/t/z", {"x-access-token": "x"}, None),
    # Before one is killed by its deadline: that is seen a moment later.
    ("no processes", "POST", PROCESS + "List", JSON, b"{}"),
    ("exit 3", "POST", START, CONNECT, start("echo o; echo e >&2; exit 3")),
    ("exit 0", "POST", START, CONNECT, start("true")),
    ("environment", "POST", START, CONNECT, start("echo $A", envs={"A": "é"})),
    ("killed", "POST", START, CONNECT, start("kill -9 $$")),
    ("terminated", "POST", START, CONNECT, start("kill -15 $$")),
    ("pwd", "POST", START, CONNECT, start("pwd")),
    ("bad cwd", "POST", START, CONNECT, start("true", cwd="/nope")),
    (
        "no such command",
        "POST",
        START,
        CONNECT,
        framed({"process": {"cmd": "/bin/nonexist"}, "stdin": False}),
    ),
    ("much", "POST", START, CONNECT, start("head -c 200000 /dev/zero | tr '\\0' x")),
    (
        "deadline",
        "POST",
        START,
        {**CONNECT, "connect-timeout-ms": "300"},
        start("exec sleep 60"),
    ),
    ("bad deadline", "POST", START, {**CONNECT, "connect-timeout-ms": "x"}, start("")),
    ("as JSON", "POST", START, JSON, start("true")),
    ("half a frame", "POST", START, CONNECT, start("true")[:-3]),
    ("no frame", "POST", START, CONNECT, b""),
    ("no JSON in it", "POST", START, CONNECT, b"\0\0\0\0\1{"),
    (
        "signal to none",
        "POST",
        PROCESS + "SendSignal",
        JSON,
        b'{"process":{"pid":999999},"signal":"SIGNAL_SIGKILL"}',
    ),
    (
        "input to none",
        "POST",
        PROCESS + "SendInput",
        JSON,
        b'{"process":{"pid":999999},"input":{"stdin":"eA=="}}',
    ),
    (
        "connect to none",
        "POST",
        PROCESS + "Connect",
        CONNECT,
        framed({"process": {"pid": 999999}}),
    ),
    (
        "connect to no tag",
        "POST",
        PROCESS + "Connect",
        CONNECT,
        framed({"process": {"tag": "no"}}),
    ),
]


@unittest.skipUnless(BINARY.exists(), f"no envd at {BINARY.name} of the cache")
@unittest.skipUnless(os.geteuid() == 0 and box.namespaces(), "needs root")
class Beside(E2BCase):
    maxDiff = None

    def setUp(self) -> None:
        self.serve()
        self.port = free_port()
        flags = ["-isnotfc", "-no-cgroups", "-port", str(self.port)]
        self.envd = subprocess.Popen(
            ["unshare", "--mount", "sh", "-c", ALONE, "sh", str(BINARY), *flags],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={"PATH": os.environ["PATH"]},
            start_new_session=True,
        )
        self.addCleanup(self.envd.wait)
        self.addCleanup(self.envd.kill)
        end = time.monotonic() + 20
        while True:
            try:
                asked = {"accessToken": TOKEN}
                done = self.ask(self.port, "POST", "/init", asked)
                self.assertEqual(done.status, 204)
                break
            except OSError:
                if time.monotonic() > end or self.envd.poll() is not None:
                    raise
                time.sleep(0.05)
        self.made = self.create("base")
        self.server.world.live[self.made["sandboxID"]].envd_token = TOKEN
        self.made["envdAccessToken"] = TOKEN

    def both(
        self, method: str, target: str, headers: dict[str, str], body: bytes | None
    ) -> tuple[Answer, Answer]:
        told = {"x-access-token": TOKEN, **headers}
        told = {name: text for name, text in told.items() if text}
        theirs = self.ask(self.port, method, target, body, told)
        told |= {
            "e2b-sandbox-id": self.made["sandboxID"],
            "e2b-sandbox-port": str(ENVD),
        }
        ours = self.ask(self.server.sandbox_port, method, target, body, told)
        return theirs, ours

    def test_the_same_answers(self) -> None:
        for name, method, target, headers, body in EXCHANGES:
            with self.subTest(name):
                theirs, ours = self.both(method, target, headers, body)
                self.assertEqual(shown(ours), shown(theirs))

    def test_the_same_processes(self) -> None:
        """Two that run at once: listed, found by pid, fed, signalled, and not
        ended by a client that goes. By tag envd finds one of several only by
        chance, ours never."""
        for port in (self.port, self.server.sandbox_port):
            told = {"x-access-token": TOKEN, "e2b-sandbox-id": self.made["sandboxID"]}
            told["e2b-sandbox-port"] = str(ENVD)
            with self.subTest("ours" if port != self.port else "theirs"):
                self._processes(port, told)

    def _processes(self, port: int, told: dict[str, str]) -> None:
        def call(method: str, message: dict[str, Any]) -> Answer:
            body = json.dumps(message).encode()
            return self.ask(port, "POST", PROCESS + method, body, {**told, **JSON})

        pids = [self._leave(port, told, command) for command in ("cat", "sleep 60")]
        listed = call("List", {}).json()["processes"]
        self.assertEqual(sorted(one["pid"] for one in listed), sorted(pids))
        config = {"cmd": "/bin/sh", "args": ["-c", "exec cat"]}
        self.assertIn({"config": config, "pid": pids[0], "tag": "cat"}, listed)
        cat = {"process": {"pid": pids[0]}}
        fed = call("SendInput", {**cat, "input": {"stdin": "eAo="}})
        self.assertEqual((fed.status, fed.json()), (200, {}))
        self.assertEqual(call("CloseStdin", cat).status, 200)
        sleep = {"process": {"pid": pids[1]}}
        killed = call("SendSignal", {**sleep, "signal": "SIGNAL_SIGTERM"})
        self.assertEqual((killed.status, killed.json()), (200, {}))
        end = time.monotonic() + 20
        while call("List", {}).json() != {} and time.monotonic() < end:
            time.sleep(0.01)
        # What has ended is still told to who asks late.
        headers = {**told, **CONNECT}
        late = self.ask(port, "POST", PROCESS + "Connect", framed(cat), headers)
        [event] = [one["event"] for flags, one in late.frames() if not flags][-1:]
        self.assertEqual(event, {"end": {"exited": True, "status": "exit status 0"}})

    def _leave(self, port: int, told: dict[str, str], command: str) -> int:
        """Starts a command, hears of its pid, and goes."""
        process = {"cmd": "/bin/sh", "args": ["-c", f"exec {command}"]}
        message = {"process": process, "stdin": True, "tag": command[:5].strip()}
        client = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        try:
            headers = {**told, **CONNECT}
            client.request("POST", START, framed(message), headers)
            answer = client.getresponse()
            size = struct.unpack(">BI", answer.read(5))[1]
            return json.loads(answer.read(size))["event"]["start"]["pid"]
        finally:
            client.close()


def shown(answer: Answer) -> dict[str, Any]:
    """An answer without what differs from time to time."""
    told: dict[str, Any] = {"status": answer.status}
    for name in HEADERS:
        if value := answer.headers.get(name):
            told[name] = [one for one in value.split(", ") if one != "Origin"]
    if told.get("vary") == []:
        del told["vary"]
    kind = answer.headers.get("content-type", "")
    if answer.status == 200 and kind.startswith("application/connect"):
        told["frames"] = merged(answer.frames())
    else:
        told["body"] = plain(answer.body)
    return told


def plain(body: bytes) -> Any:
    text = body.decode(errors="replace")
    text = re.sub(r'"modifiedTime": ?"[^"]+"', '"modifiedTime":"T"', text)
    # A folder's size is its file system's.
    text = re.sub(r'"size": ?"\d+"([^}]*DIRECTORY)', r'"size":"S"\1', text)
    text = re.sub(r'(DIRECTORY[^}]*)"size": ?"\d+"', r'\1"size":"S"', text)
    try:
        return json.loads(text)
    except ValueError:
        return text


def merged(frames: list[tuple[int, dict[str, Any]]]) -> list[Any]:
    """Output joined by kind: how it is cut, and which comes first, is chance."""
    out = {"stdout": b"", "stderr": b""}
    rest: list[Any] = []
    for flags, message in frames:
        event = message.get("event", {})
        if "data" in event:
            for name, text in event["data"].items():
                out[name] += base64.b64decode(text)
            continue
        if "start" in event:
            event["start"]["pid"] = 1
        rest.append([flags, message])
    return [*rest, out]
