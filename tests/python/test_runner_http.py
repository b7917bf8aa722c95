"""The block server of runners far away (`bfrunner http`), from outside."""

from __future__ import annotations

import gzip
import json
import os
import pwd
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "runner")]

from bfrunner import execute, http1  # noqa: E402
from bfrunner.client import Done  # noqa: E402
from http_server import (  # noqa: E402
    HELLO,
    KEY,
    OTHER,
    RunnerServer,
    key_line,
    request,
    signed,
)

# Says who it is, and ends when the file is removed.
HOLD = (
    "def run(path):\n"
    "    with open(path + '.pid', 'w') as file: file.write(str(os.getpid()))\n"
    "    while os.path.exists(path): time.sleep(0.005)\n"
    "    return 'held'\n"
)
GOOD = b"POST /execute_block HTTP/1.1\r\nhost: x\r\ncontent-length: 0\r\n"


class Heads(unittest.TestCase):
    """Whatever comes is a head, or is answered with a status."""

    whole = (
        b"POST /execute_block?workspace_id=a HTTP/1.1\r\nHost: a.example:80\r\n"
        b"Content-Length: 12\r\nConnection: keep-alive\r\nExpect: 100-continue\r\n"
        b'Signature: bf=:AAAA:\r\nIdempotency-Key: "00"'
    )

    def test_good(self) -> None:
        head = http1.parse(self.whole)
        self.assertEqual((head.method, head.length), ("POST", 12))
        self.assertTrue(head.keep and head.expects)
        self.assertIn(("idempotency-key", '"00"'), head.headers)
        target = "a.example:80/execute_block?workspace_id=a"
        both = [f"https://{target}", f"http://{target}"]
        self.assertEqual(head.targets([]), both)
        self.assertEqual(
            head.targets(["https://b.example"]),
            ["https://b.example/execute_block?workspace_id=a"],
        )
        self.assertFalse(http1.parse(self.whole.replace(b"1.1", b"1.0")).keep)

    def test_anything(self) -> None:
        dice = random.Random(1)
        taken = 0
        for _ in range(20_000):
            raw = bytearray(self.whole)
            for _ in range(dice.randint(1, 4)):
                at = dice.randrange(len(raw))
                match dice.randrange(3):
                    case 0:
                        raw[at] = dice.randrange(256)
                    case 1:
                        del raw[at : at + dice.randrange(20)]
                    case 2:
                        raw[at:at] = raw[dice.randrange(len(raw)) :][:30]
                if not raw:
                    break
            try:
                head = http1.parse(bytes(raw))
            except http1.BadHead as bad:
                self.assertIn(bad.status, http1._REASONS)
                continue
            taken += 1
            self.assertGreaterEqual(head.length, 0)
            for target in head.targets([]):
                self.assertRegex(target, r"\Ahttps?://[!-~]+\Z")
            for name, value in head.headers:
                self.assertNotRegex(name + value, r"[\r\n\x00]")
        self.assertGreater(taken, 1000)


class Answers(unittest.TestCase):
    def test_a_result_that_is_no_text_has_run(self) -> None:
        done = Done({"success": True, "delivery": "ran", "reason": ""}, b"\xff")
        answer = execute.answer(done)
        told = json.loads(answer.body)
        self.assertEqual((answer.status, told["success"]), (200, False))
        self.assertEqual(told["reason"], "bad_output")
        self.assertNotIn("server_error", told)


class Base(unittest.TestCase):
    def serve(self, *arguments: str, keys: str | None = None) -> RunnerServer:
        server = RunnerServer(*arguments, keys=keys)
        self.addCleanup(server.close)
        return server

    def connect(self, server: RunnerServer) -> object:
        return self.enterContext(server.connect())

    def hold(self) -> Path:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = Path(folder) / "hold"
        path.touch()
        return path


class Runs(Base):
    def test_signed_runs_on_one_connection(self) -> None:
        wire = self.connect(self.serve(keys=key_line(KEY)))
        for boot in ("cold", "warm", "warm"):
            status, told = wire.ask(request(inputs='{"name": "\\u00e9 \\u0000"}'))
            self.assertEqual((status, told["success"]), (200, True), told)
            self.assertEqual(json.loads(told["result"]), {"hello": "é \0"})
            self.assertEqual((told["stdout"], told["boot"]), ("hi\n", boot))
            self.assertIs(told["server_error"], False)
            spent = told["ended_at_ms"] - told["started_at_ms"]
            self.assertTrue(0 <= spent < 60_000)
            self.assertLess(abs(told["duration_us"] / 1000 - spent), 1000)
            self.assertGreater(told["cpu_us"], 0)
            self.assertGreater(told["max_rss_bytes"], 1 << 20)

    def test_code_by_hash(self) -> None:
        wire = self.connect(self.serve(keys=key_line(KEY)))
        by_hash = {"code_hash": json.loads(request())["code_hash"]}
        status, told = wire.ask(request(None, **by_hash))
        self.assertEqual(status, 200)
        self.assertEqual(told["error_type"], "UnknownCodeHash")
        self.assertIs(told["server_error"], True)
        self.assertIs(wire.ask(request())[1]["success"], True)
        self.assertIs(wire.ask(request(None, **by_hash))[1]["success"], True)
        # It is the workspace's own.
        other = request(None, workspace_id="b", **by_hash)
        self.assertEqual(wire.ask(other)[1]["error_type"], "UnknownCodeHash")

    def test_what_blocks_do(self) -> None:
        server = self.serve("--result-bytes", "1000")
        wire = self.connect(server)
        for code, error_type, more in [
            ("def run():\n    raise KeyError('x')\n", "KeyError", {}),
            (
                "def run():\n    while True: pass\n",
                "CustomPythonBlockTimeout",
                {"timeout_seconds": "0.200000"},
            ),
            ("def run():\n    os._exit(3)\n", "Crashed", {}),
            ("def run(:\n", "SyntaxError", {}),
        ]:
            with self.subTest(error_type):
                status, told = wire.ask(request(code, **more), {})
                self.assertEqual((status, told["success"]), (200, False))
                self.assertEqual(told["error_type"], error_type)
                self.assertIs(told["server_error"], False)
        status, told = wire.ask(request("def run():\n    return 'x' * 2000\n"), {})
        self.assertEqual(told["error_type"], "ResponseTooLarge")
        self.assertIs(told["server_error"], True)

    def test_what_is_no_request(self) -> None:
        wire = self.connect(self.serve())
        for body in [
            b"",
            b"\xff",
            b"[]",
            b"[" * 100_000,
            b"{}",
            request(workspace_id="no/such"),
            request(inputs_json=7),
            request(inputs_json="\ud800"),
            request(workflow_context=[]),
            request(workflow_context={"a": float("nan")}),
            request(timeout_seconds="soon"),
            request(timeout_seconds="-1"),
            request(timeout_seconds="nan"),
            request(imports=[3]),
            request(code="x = '" + "y" * (3 << 20) + "'"),
        ]:
            with self.subTest(body[:80]):
                status, told = wire.ask(body, {})
                self.assertEqual(status, 200)
                self.assertEqual(told["error_type"], "InvalidRequest")
                self.assertIs(told["server_error"], True)
        self.assertIs(wire.ask(request(), {})[1]["success"], True)

    def test_gzip(self) -> None:
        server = self.serve("--input-bytes", "100000", keys=key_line(KEY))
        wire = self.connect(server)
        plain = request()
        packed = gzip.compress(plain)
        run_id = json.loads(plain)["run_id"]
        for body, good in [
            (packed, True),
            (packed[:-4], False),
            (packed + b"more", False),
            (gzip.compress(bytes(200 << 20)), False),  # 200 KB
            (plain, False),
        ]:
            headers = signed(server.url, body, run_id=run_id)
            status, told = wire.ask(body, {**headers, "content-encoding": "gzip"})
            self.assertEqual((status, told["success"]), (200, good), told)
            if not good:
                self.assertEqual(told["error_type"], "InvalidRequest")
        headers = {**signed(server.url, plain), "content-encoding": "br"}
        self.assertEqual(wire.ask(plain, headers)[1]["error_type"], "InvalidRequest")

    def test_large_ones(self) -> None:
        wire = self.connect(self.serve(keys=key_line(KEY)))
        text = "ä" * (2 << 20)
        body = request("def run(x):\n    return x\n", json.dumps({"x": text}))
        status, told = wire.ask(body)
        self.assertEqual(json.loads(told["result"]), text)

    def test_busy_means_did_not_run(self) -> None:
        server = self.serve("--slots", "2")
        hold = self.hold()
        held = [self.connect(server) for _ in range(2)]
        for wire in held:
            wire.begin(request(HOLD, json.dumps({"path": str(hold)})), {})
        server.until(runs=2)
        late = self.connect(server)
        for size in (0, 100_000, 9 << 20):
            code = f"def run():\n    open({str(hold)!r} + '.ran', 'w')\n"
            status, told = late.ask(request(code + "#" * size), {})
            self.assertEqual((status, told["error"]), (503, "server busy"))
            self.assertEqual(late.headers["retry-after"], "1")
        self.assertEqual(late.headers["connection"], "close")
        hold.unlink()
        for wire in held:
            self.assertEqual(json.loads(wire.reply()[2])["result"], '"held"')
        server.until(runs=0, held_bytes=0)
        self.assertFalse(hold.with_name("hold.ran").exists())

    def test_who_leaves_takes_the_run_along(self) -> None:
        server = self.serve()
        for leave in ("close", "reset", "half-close"):
            with self.subTest(leave):
                hold = self.hold()
                with server.connect() as wire:
                    wire.begin(request(HOLD, json.dumps({"path": str(hold)})), {})
                    pid = _pid_of(hold)
                    if leave == "reset":
                        wire.sock.setsockopt(
                            socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0"
                        )
                    if leave == "half-close":
                        wire.sock.shutdown(socket.SHUT_WR)
                        self.assertTrue(wire.closed())
                _until_dead(pid)
                server.until(runs=0)

    def test_a_runner_that_dies(self) -> None:
        server = self.serve()
        hold = self.hold()
        wire = self.connect(server)
        wire.begin(request(HOLD, json.dumps({"path": str(hold)})), {})
        pid = _pid_of(hold)
        zygote = _parent(_parent(pid))
        os.kill(zygote, signal.SIGKILL)
        status, told = wire.reply()[0::2]
        self.assertEqual(status, 500)
        self.assertEqual(json.loads(told)["delivery"], "unknown")
        _until_dead(pid)
        status, told = wire.ask(request(), {})  # waits for the next one
        self.assertEqual((status, told["boot"]), (200, "cold"))

    def test_end_with_a_run_under_way(self) -> None:
        for drain, ends in (("30", True), ("0.2", False)):
            with self.subTest(drain):
                server = self.serve("--drain-seconds", drain)
                hold = self.hold()
                wire, idle = self.connect(server), self.connect(server)
                wire.begin(request(HOLD, json.dumps({"path": str(hold)})), {})
                pid = _pid_of(hold)
                server.process.send_signal(signal.SIGTERM)
                self.assertTrue(idle.closed())
                if ends:
                    hold.unlink()
                    self.assertEqual(wire.reply()[0], 200)
                self.assertTrue(wire.closed())
                self.assertEqual(server.close(), 0)
                _until_dead(pid)


class Trust(Base):
    def test_who_may_not_ask(self) -> None:
        server = self.serve(keys=key_line(KEY, after="workspaces=acme"))
        wire = self.connect(server)
        body = request()
        run_id = json.loads(body)["run_id"]
        good = signed(server.url, body)
        past = int(time.time()) - 1000
        for status, headers in [
            (401, {}),
            (503, signed(server.url, body, OTHER)),
            (401, signed(server.url + "?x", body)),
            (400, signed(server.url, body + b" ", run_id=run_id)),
            (401, {**good, "content-type": "text/plain"}),
            (400, signed(server.url, body, run_id="1f" * 16)),
            (503, signed(server.url, body, created_s=past, expires_s=past + 60)),
        ]:
            found, told = wire.ask(body, headers)
            self.assertEqual(found, status, told)
            self.assertEqual(told["delivery"], "did_not_run")
        other = request(workspace_id="b")
        self.assertEqual(wire.ask(other)[0], 422)
        elsewhere = signed(server.url.replace("execute_block", "?workspace_id=b"), body)
        wire.send(wire.head(body, elsewhere, "/?workspace_id=b") + body)
        self.assertEqual(wire.reply()[0], 422)
        self.assertEqual(wire.ask(body, good)[0], 200)
        status, told = wire.ask(body, good)  # it may have run: it did
        self.assertEqual((status, told["delivery"]), (500, "unknown"))
        self.assertEqual(server.healthz()["counts"]["runs"], 1)

    def test_a_strangers_body_is_not_read(self) -> None:
        server = self.serve(keys=key_line(KEY))
        wire = self.connect(server)
        wire.send(
            b"POST /execute_block HTTP/1.1\r\nhost: x\r\n"
            b"content-length: 60000000\r\nexpect: 100-continue\r\n\r\n"
        )
        self.assertEqual(wire.reply()[0], 401)
        self.assertTrue(wire.closed())

    def test_a_large_body_is_asked_for(self) -> None:
        server = self.serve(keys=key_line(KEY))
        wire = self.connect(server)
        body = request()
        headers = {**signed(server.url, body), "expect": "100-continue"}
        wire.send(wire.head(body, headers))
        self.assertEqual(wire._read.readline(), b"HTTP/1.1 100 Continue\r\n")
        self.assertEqual(wire._read.readline(), b"\r\n")
        wire.send(body)
        self.assertEqual(wire.reply()[0], 200)

    def test_keys_rotate_without_losing_a_run(self) -> None:
        server = self.serve(keys=key_line(KEY))
        wire, lost = self.connect(server), []
        ends = threading.Event()

        def others() -> None:
            """A worker that signs with the old key until the new one is known."""
            with server.connect() as mine:
                while not ends.is_set():
                    body = request()
                    found = mine.ask(body, signed(server.url, body, KEY))
                    lost.append(found) if found[0] != 200 else None

        thread = threading.Thread(target=others)
        thread.start()
        self.assertEqual(_ask_with(wire, OTHER), 503)
        server.keys.write_text(key_line(KEY) + key_line(OTHER))
        _until(lambda: _ask_with(wire, OTHER) == 200)
        ends.set()
        thread.join()
        self.assertEqual(lost, [])
        server.keys.write_text(key_line(KEY, "revoked run") + key_line(OTHER))
        _until(lambda: _ask_with(wire, KEY) == 503)
        self.assertEqual(_ask_with(wire, OTHER), 200)

    @unittest.skipUnless(os.geteuid() == 0, "only root can give rights away")
    def test_blocks_of_another_user(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        shutil.copytree(ROOT / "worker" / "runner", folder, dirs_exist_ok=True)
        os.chmod(folder, 0o755)
        # Not the one of a venv, which may be where nobody may look.
        python = os.path.realpath(sys.executable)
        server = RunnerServer("--run-as=nobody", runner=Path(folder), python=python)
        self.addCleanup(server.close)
        wire = self.connect(server)
        code = (
            "def run(pid):\n"
            "    tried = []\n"
            "    for name in ('environ', 'mem', 'fd'):\n"
            "        try: os.listdir(f'/proc/{pid}/fd') if name == 'fd' else "
            "open(f'/proc/{pid}/{name}').read(1)\n"
            "        except PermissionError: tried.append(name)\n"
            "    os.listdir(os.environ['HOME'])\n"
            "    return [os.getuid(), os.getgroups(), tried]\n"
        )
        inputs = json.dumps({"pid": server.process.pid})
        status, told = wire.ask(request(code, inputs), {})
        self.assertEqual(status, 200, told)
        uid, groups, tried = json.loads(told["result"])
        self.assertEqual(uid, pwd.getpwnam("nobody").pw_uid)
        self.assertEqual((groups, tried), ([], ["environ", "mem", "fd"]))

    def test_what_the_server_knows_is_not_the_blocks(self) -> None:
        with mock.patch.dict(os.environ, SECRET_TOKEN="only-ours"):
            server = self.serve()
        code = (
            "def run(name):\n"
            "    with open('/proc/self/environ') as mine: told = mine.read()\n"
            "    parent = f'/proc/{os.getppid()}/environ'\n"
            "    with open(parent) as theirs: told += theirs.read()\n"
            "    return [name in told, 'PATH=' in told]\n"
        )
        asked = request(code, json.dumps({"name": "only-ours"}))
        status, told = self.connect(server).ask(asked, {})
        self.assertEqual((status, told["error"]), (200, None))
        self.assertEqual(json.loads(told["result"]), [False, True])

    def test_what_it_does_not_start_with(self) -> None:
        keys = self.enterContext(tempfile.NamedTemporaryFile("w"))
        for arguments, says in [
            ([], "no key"),
            (["--keys", keys.name], "no key"),
            (["--keys", "/no/such"], "No such file"),
            (["--unsigned", "--host", "0.0.0.0"], "loopback"),
            (["--unsigned", "--origin", "here"], "--origin"),
            (["--unsigned", "--slots", "0"], "--slots"),
        ]:
            with self.subTest(arguments):
                found = subprocess.run(
                    [sys.executable, "-m", "bfrunner", "http", "--port=0", *arguments],
                    cwd=ROOT / "worker" / "runner",
                    env={"PATH": os.environ["PATH"]},
                    capture_output=True,
                    timeout=60,
                )
                self.assertNotEqual(found.returncode, 0)
                self.assertIn(says, found.stderr.decode())
                self.assertNotIn("Traceback", found.stderr.decode())


class Hostile(Base):
    def test_garbage(self) -> None:
        server = self.serve()
        for raw, status in [
            (b"\0" * 100 + b"\r\n\r\n", 400),
            (b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", 400),  # TLS
            (b"GET http://evil/ HTTP/1.1\r\nhost: x\r\n\r\n", 400),
            (b"PRI * HTTP/2.0\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: x\r\nhost: y\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: x y\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: x\r\n folded: y\r\n\r\n", 400),
            (b"GET / HTTP/1.1\r\nhost: x\r\na: \x01\r\n\r\n", 400),
            (b"GET / HTTP/1.1\nhost: x\n\r\n\r\n", 400),
            (GOOD + b"content-length: 0\r\n\r\n", 400),
            (GOOD.replace(b": 0", b": -1") + b"\r\n", 400),
            (GOOD.replace(b": 0", b": 1e9") + b"\r\n", 400),
            (GOOD.replace(b": 0", b": 999999999999") + b"\r\n", 413),
            (GOOD + b"transfer-encoding: chunked\r\n\r\n", 501),
            (GOOD + b"expect: a miracle\r\n\r\n", 417),
            (b"POST / HTTP/1.1\r\nhost: x\r\n\r\n", 411),
            (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", 405),
            (b"GET /etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n", 404),
            (GOOD + b"".join(b"a%d: b\r\n" % i for i in range(100)) + b"\r\n", 431),
            (GOOD + b"a: " + b"b" * 100_000, 431),
            (b"G" * 1_000_000, 431),
        ]:
            with self.subTest(raw[:60]), server.connect() as wire:
                try:
                    wire.send(raw)
                except ConnectionError:  # it did not wait for the end
                    continue
                self.assertEqual(wire.reply()[0], status)
        self.assertEqual(server.until(connections=1)["counts"], {"refused": 1})

    def test_the_slow_ones(self) -> None:
        server = self.serve(
            "--head-seconds=0.3", "--body-seconds=0.3", "--keepalive-seconds=0.3"
        )
        for first in (b"", b"P", GOOD[:40]):
            with self.subTest(first), server.connect() as wire:
                wire.send(first)
                self.assertTrue(wire.closed())
        with server.connect() as wire:  # one byte at a time does not help
            start = time.monotonic()
            try:
                for byte in GOOD * 100:
                    wire.send(bytes([byte]))
                    time.sleep(0.01)
            except ConnectionError:
                pass
            self.assertLess(time.monotonic() - start, 20)
        body = request()
        with server.connect() as wire:
            wire.send(wire.head(body, {}) + body[:-1])
            self.assertTrue(wire.closed())
        with server.connect() as wire:
            wire.send(wire.head(body, {}) + body[:-1])
            wire.sock.shutdown(socket.SHUT_WR)
            self.assertTrue(wire.closed())
        counts = server.until(connections=1, runs=0, held_bytes=0)["counts"]
        self.assertEqual(counts, {})

    def test_one_who_does_not_read(self) -> None:
        server = self.serve("--body-seconds=0.3", "--slots=1")
        with server.connect() as wire:
            wire.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            wire.begin(request("def run():\n    return 'x' * (14 << 20)\n"), {})
            # 14 MiB have 56 s; closing ends it at once.
            server.until(runs=1)
        server.until(runs=0, connections=1)

    def test_requests_in_a_row(self) -> None:
        """Pipelined ones are answered in their order."""
        wire = self.connect(self.serve())
        bodies = [request(inputs=json.dumps({"name": i})) for i in range(5)]
        wire.send(b"".join(wire.head(body, {}) + body for body in bodies))
        for i in range(5):
            told = json.loads(wire.reply()[2])
            self.assertEqual(json.loads(told["result"]), {"hello": i})

    def test_a_hundred_connections(self) -> None:
        server = self.serve("--slots=4", "--connections=101")
        server.until(status="ok")
        idle = [self.connect(server) for _ in range(100)]
        server.until(connections=101)
        outcomes = []
        for wire in idle:
            wire.begin(request(), {})
        for wire in idle:
            status, _, text = wire.reply()
            outcomes.append(status)
            if status == 200:
                self.assertIs(json.loads(text)["success"], True)
        self.assertEqual(set(outcomes) - {200, 503}, set())
        self.assertGreaterEqual(outcomes.count(200), 4)
        idle.pop().__exit__()
        counts = server.until(runs=0)["counts"]
        self.assertEqual(counts["runs"], outcomes.count(200))
        self.assertEqual(counts.get("busy", 0), outcomes.count(503))

    def test_the_silent_keep_nobody_out(self) -> None:
        server = self.serve("--connections=8", keys=key_line(KEY))
        server.until(status="ok")
        worker = self.connect(server)
        self.assertEqual(worker.ask(request())[0], 200)
        refused = GOOD.replace(b": 0", b": 9") + b"\r\n"  # and no body
        for first in (b"", b"P", refused):
            with self.subTest(first):
                held = [self.connect(server) for _ in range(20)]
                for wire in held:
                    try:
                        wire.send(first)
                    except ConnectionError:  # had to go already
                        pass
                other = self.connect(server)
                self.assertEqual(other.ask(request())[0], 200)
                self.assertTrue(all(wire.closed() for wire in held[:12]))
                # It was the idlest of all, but it has brought a run.
                self.assertEqual(worker.ask(request())[0], 200)
                other.__exit__()

    def test_of_workers_the_idlest_makes_room(self) -> None:
        server = self.serve("--connections=3", keys=key_line(KEY))
        server.until(status="ok")
        wires = []
        for again in (None, None, None, 0, None):  # the second is the idlest
            if again is None:
                wires.append(self.connect(server))
            wire = wires[-1 if again is None else again]
            self.assertEqual(wire.ask(request())[0], 200)
        for wire in (wires[0], wires[2], wires[3]):
            self.assertEqual(wire.ask(request())[0], 200)
        self.assertTrue(wires[1].closed())

    def test_no_room_while_all_run(self) -> None:
        server = self.serve("--connections=2", "--slots=2")
        server.until(status="ok")
        wires, body = [], request()
        for _ in range(2):
            wires.append(wire := self.connect(server))
            wire.send(wire.head(body, {"expect": "100-continue"}))
            self.assertEqual(wire._read.readline(), b"HTTP/1.1 100 Continue\r\n")
            self.assertEqual(wire._read.readline(), b"\r\n")
        self.assertEqual(_status(server), 503)
        for wire in wires:
            wire.send(body)
            self.assertEqual(wire.reply()[0], 200)
        self.assertEqual(_status(server), 200)

    def test_a_storm_leaves_nothing_behind(self) -> None:
        """Clients that leave at any moment, runs of every kind, and a runner
        that is killed among them."""
        server = self.serve("--slots=3", "--templates=3", keys=key_line(KEY))
        server.until(status="ok")
        descriptors = Path(f"/proc/{server.process.pid}/fd")
        before = len(list(descriptors.iterdir()))
        seen: set[int] = set()
        wrong: list[BaseException] = []

        def client(number: int) -> None:
            dice = random.Random(number)
            try:
                for _ in range(25):
                    status = _whatever(server, dice)
                    seen.add(status)
            except BaseException as error:
                wrong.append(error)

        clients = [threading.Thread(target=client, args=(n,)) for n in range(5)]
        for thread in clients:
            thread.start()
        for _ in range(3):
            _until(lambda: _children(server.process.pid))
            for pid in _children(server.process.pid):
                os.kill(pid, signal.SIGKILL)
            time.sleep(0.5)
        for thread in clients:
            thread.join()
        self.assertEqual(wrong, [])
        self.assertLessEqual(seen, {0, 200, 400, 500, 503})
        server.until(status="ok", runs=0, held_bytes=0, connections=1)
        _until(lambda: len(list(descriptors.iterdir())) <= before)
        with server.connect() as wire:
            self.assertEqual(wire.ask(request())[0], 200)

    def test_bodies_have_a_ceiling_together(self) -> None:
        server = self.serve("--held-bytes", "1000000")
        big = request("#" * 700_000 + "\n" + HELLO)
        first, second = self.connect(server), self.connect(server)
        first.send(first.head(big, {}) + big[:-1])
        server.until(held_bytes=len(big))
        self.assertEqual(second.ask(big, {})[0], 503)
        first.send(big[-1:])
        self.assertEqual(first.reply()[0], 200)
        self.assertEqual(second.ask(big, {})[0], 200)
        self.assertEqual(second.ask(request("#" * 1_000_000), {})[0], 413)


KINDS = (
    HELLO,
    "def run():\n    time.sleep(0.1)\n",
    "def run():\n    while True: pass\n",
    "def run():\n    os._exit(1)\n",
    "def run():\n    return os.fork() and 1\n",
    "def run():\n    return 'x' * 100_000\n",
)


def _whatever(server: RunnerServer, dice: random.Random) -> int:
    """One request, whole or not; its status, 0 when it was not waited for."""
    more = {"timeout_seconds": "0.5", "workspace_id": f"w{dice.randrange(3)}"}
    body = request(dice.choice(KINDS), **more)
    headers = signed(server.url, body)
    with server.connect() as wire:
        match dice.randrange(10):
            case 0:
                wire.begin(body, headers)
                time.sleep(dice.random() * 0.2)
                return 0
            case 1:
                wire.send(wire.head(body, headers) + body[: dice.randrange(len(body))])
                return 0
            case 2:
                headers["signature"] = "bf=:AAAA:"
        return wire.ask(body, headers)[0]


def _status(server: RunnerServer) -> int:
    with server.connect() as wire:
        wire.send(b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n")
        return wire.reply()[0]


def _children(pid: int) -> list[int]:
    listed = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(word) for word in listed.split()]


def _ask_with(wire: object, key: object) -> int:
    body = request()
    return wire.ask(body, signed(wire.server.url, body, key))[0]


def _until(condition: object) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


def _pid_of(hold: Path) -> int:
    said = hold.with_name("hold.pid")
    _until(lambda: said.exists() and said.read_text())
    return int(said.read_text())


def _parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def _until_dead(pid: int) -> None:
    _until(lambda: not Path(f"/proc/{pid}").exists())


if __name__ == "__main__":
    unittest.main()
