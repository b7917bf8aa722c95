"""The provider that other tests rely on: what it says and what it logs."""

import http.client
import json
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "providers" / "block_server.py"
sys.path[:0] = [str(SCRIPT.parent), str(ROOT / "tests" / "wire")]

import bfwire as w  # noqa: E402
from block_server import BlockServer, trusted_run_keys  # noqa: E402

RUN = "0f" * 16
KEY = w.private_key(b"r" * 32)
KEY_ID = w.key_id(w.public_bytes(KEY))


def request(inputs: str = '{"a": NaN}', **more: object) -> bytes:
    code = str(more.pop("code_str", "def run(a):\n    return {'twice': 2 * a}\n"))
    return json.dumps(
        {
            "code_hash": w.code_hash(code, []),
            "run_function_name": "run",
            "inputs_json": inputs,
            "workflow_context": {},
            "code_str": code,
            "imports": [],
            "init_function_code": None,
            "init_function_name": "init",
            "timeout_seconds": "5.000000",
            "workspace_id": "acme",
            "run_id": RUN,
            **more,
        }
    ).encode()


class Client:
    def __init__(self, server: BlockServer) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)

    def post(self, body: bytes, **headers: str) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.http.request("POST", "/run", body, named)
        reply = self.http.getresponse()
        self.headers = reply.headers
        return reply.status, reply.read()

    def close(self) -> None:
        self.http.close()


class Base(unittest.TestCase):
    def serve(self, **options: object) -> tuple[BlockServer, Client]:
        server = BlockServer(**{"engine": "echo", **options})
        self.addCleanup(server.close)
        client = Client(server)
        self.addCleanup(client.close)
        return server, client


class Echo(Base):
    def test_inputs_come_back_and_the_run_is_logged(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        log = Path(folder) / "runs"
        server, client = self.serve(log=log)
        for _ in range(2):
            status, body = client.post(request('{"a": "\\u0000", "b": NaN}'))
            self.assertEqual(status, 200)
            answer = json.loads(body)
            self.assertIs(answer["success"], True)
            self.assertEqual(answer["result"], '{"a": "\\u0000", "b": NaN}')
        lines = log.read_text().splitlines()
        self.assertEqual(len(lines), 2)
        self.assertEqual(lines[0].split()[:2], [RUN, "acme"])
        self.assertEqual((server.stats["runs"], server.stats["distinct"]), (2, 1))

    def test_what_is_no_request(self) -> None:
        server, client = self.serve()
        self.assertEqual(client.post(b"{}")[0], 400)
        self.assertEqual(client.post(b"\xff")[0], 400)
        self.assertEqual(server.runs, [])

    def test_status_on_demand(self) -> None:
        server, client = self.serve()
        rule = server.rule("status", status=429, retry_after=3, skip=1, count=1)
        self.assertEqual(client.post(request())[0], 200)
        self.assertEqual(client.post(request())[0], 429)
        self.assertEqual(client.headers["retry-after"], "3")
        self.assertEqual(client.post(request())[0], 200)
        self.assertEqual((rule.hits, len(server.runs)), (1, 2))

    def test_cut_connections(self) -> None:
        for fault, runs in [
            ("close_unread", 0),
            ("close_before", 0),
            ("close_after", 1),
            ("truncate", 1),
        ]:
            with self.subTest(fault):
                server, client = self.serve()
                server.rule(fault, count=1)
                with self.assertRaises((http.client.HTTPException, OSError)):
                    client.post(request())
                self.assertEqual(len(server.runs), runs)
                client.close()
                self.assertEqual(client.post(request())[0], 200)

    def test_bad_answers(self) -> None:
        server, client = self.serve()
        server.rule("garbage", count=1)
        server.rule("oversize", count=1, bytes=1 << 20)
        server.rule("status_after", count=1)
        server.rule("slow", count=1, seconds=0.1)
        status, body = client.post(request())
        self.assertEqual((status, body[:6]), (200, b"<html>"))
        self.assertGreater(len(client.post(request())[1]), 1 << 20)
        self.assertEqual(client.post(request())[0], 500)
        self.assertEqual(json.loads(client.post(request())[1])["success"], True)
        self.assertEqual(len(server.runs), 4)

    def test_hang_ends_with_the_peer(self) -> None:
        server, client = self.serve()
        server.rule("hang", count=1)
        client.http.request("POST", "/run", request())
        end = time.monotonic() + 60
        while not server.runs and time.monotonic() < end:
            time.sleep(0.01)
        client.close()
        while not server.stats.get("gone") and time.monotonic() < end:
            time.sleep(0.01)
        self.assertEqual(server.stats["gone"], 1)


class Signed(Base):
    def sign(self, server: BlockServer, body: bytes, **changes: object) -> dict:
        now = int(time.time())
        message = w.HttpMessage(
            **{
                "method": "POST",
                "target_uri": server.url,
                "content_type": "application/json",
                "content_digest": w.content_digest(body),
                "run_id": RUN,
                "created_s": now,
                "expires_s": now + 35,
                "nonce": "00" * 16,
                "key_id": KEY_ID,
                **changes,
            }
        )
        given, signature = w.http_sign(message, KEY)
        return {
            "content_type": message.content_type,
            "content_digest": message.content_digest,
            "idempotency_key": f'"{message.run_id}"',
            "signature_input": given,
            "signature": signature,
        }

    def test_once_and_only_as_signed(self) -> None:
        server, client = self.serve(keys={KEY_ID: w.public_bytes(KEY)})
        body = request()
        headers = self.sign(server, body)
        self.assertEqual(client.post(body)[0], 401)
        self.assertEqual(client.post(request("{}"), **headers)[0], 401)
        self.assertEqual(client.post(body, **headers)[0], 200)
        self.assertEqual(client.post(body, **headers)[0], 401)
        late = self.sign(server, body, nonce="01" * 16, created_s=1, expires_s=2)
        self.assertEqual(client.post(body, **late)[0], 401)
        other = self.sign(server, body, nonce="02" * 16, run_id="0e" * 16)
        self.assertEqual(client.post(body, **other)[0], 401)
        elsewhere = self.sign(server, body, nonce="03" * 16, target_uri="http://h/run")
        self.assertEqual(client.post(body, **elsewhere)[0], 401)
        self.assertEqual(server.runs, [RUN])
        self.assertEqual(server.stats["refused"], 6)

    def test_keys_of_the_trusted_file(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        trusted = Path(folder) / "trusted"
        public = w.b64(w.public_bytes(KEY))
        trusted.write_text(
            f"# ours\njob ed25519 {public}\nrun ed25519 {public} a comment\n"
            f"revoked run ed25519 {w.b64(bytes(32))}\n"
        )
        self.assertEqual(list(trusted_run_keys(trusted)), [KEY_ID])


class RealBlocks(Base):
    def test_results_and_errors_of_real_code(self) -> None:
        server, client = self.serve(engine="runner")
        answer = json.loads(client.post(request('{"a": 21}'))[1])
        self.assertEqual((answer["success"], answer["result"]), (True, '{"twice": 42}'))
        answer = json.loads(client.post(request('{"a": null}'))[1])
        self.assertEqual(
            (answer["success"], answer["error_type"], answer["line_number"]),
            (False, "TypeError", 2),
        )
        self.assertFalse(answer.get("server_error"))
        by_hash = request('{"a": 2}', code_hash="0" * 32).replace(b"code_str", b"c")
        answer = json.loads(client.post(by_hash)[1])
        self.assertEqual(
            (answer["error_type"], answer["server_error"]), ("UnknownCodeHash", True)
        )
        slow = request("{}", code_str="def run():\n    while True: pass\n")
        slow = slow.replace(b'"5.000000"', b'"0.200000"')
        answer = json.loads(client.post(slow)[1])
        self.assertIs(answer["success"], False)
        self.assertEqual(len(server.runs), 4)


class Program(unittest.TestCase):
    def test_command_line(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        rule = json.dumps({"fault": "status", "status": 503, "count": 1})
        argv = [sys.executable, SCRIPT, "--engine", "echo", "--rule", rule]
        files = ["--port-file", folder / "port", "--log", folder / "runs"]
        child = subprocess.Popen([*argv, *files], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout
            url = child.stdout.readline().strip()
            port = int((folder / "port").read_text())
            self.assertEqual(url, f"http://127.0.0.1:{port}/run")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for status in (503, 200):
                connection.request("POST", "/run", request())
                reply = connection.getresponse()
                reply.read()
                self.assertEqual(reply.status, status)
            connection.request("GET", "/stats")
            stats = json.loads(connection.getresponse().read())
            self.assertEqual((stats["requests"], stats["runs"]), (2, 1))
            connection.close()
            self.assertEqual(len((folder / "runs").read_text().splitlines()), 1)
        finally:
            child.terminate()
            self.assertEqual(child.wait(60), 0)
            child.stdout.close()


if __name__ == "__main__":
    unittest.main()
