"""The edge that other tests rely on: what it says, what it runs, what it logs."""

import contextlib
import gzip
import http.client
import json
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import unittest
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "tests" / "providers" / "modal_edge.py"
sys.path[:0] = [str(SCRIPT.parent), str(ROOT / "tests" / "wire")]

import bfwire as w  # noqa: E402
import h2.config  # noqa: E402
import h2.connection  # noqa: E402
import h2.events as e  # noqa: E402
from modal_edge import CHAOS, EDGE, ModalEdge  # noqa: E402

RUN = "0f" * 16
KEY = w.private_key(b"r" * 32)
KEY_ID = w.key_id(w.public_bytes(KEY))
CODE = "def run(a):\n    return {'twice': 2 * a}\n"
TOKEN = {"modal-key": "wk-test", "modal-secret": "ws-test"}
HERE = "/?workspace_id=acme"


def request(inputs: str = '{"a": NaN}', **more: object) -> bytes:
    code = str(more.pop("code_str", CODE))
    fields = {
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
    return json.dumps(fields).encode()


def by_hash(inputs: str, **more: object) -> bytes:
    fields = json.loads(request(inputs, **more))
    for name in ("code_str", "imports", "init_function_code", "init_function_name"):
        del fields[name]
    return json.dumps(fields).encode()


def wait(condition: Callable[[], object]) -> None:
    end = time.monotonic() + 60
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("nothing came")
        time.sleep(0.01)


class Client:
    def __init__(self, edge: ModalEdge) -> None:
        self.http = http.client.HTTPConnection("127.0.0.1", edge.port, timeout=60)

    def ask(
        self, method: str, target: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, bytes]:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self.http.request(method, target, body, {**TOKEN, **named})
        reply = self.http.getresponse()
        self.headers = reply.headers
        return reply.status, reply.read()

    def post(
        self, body: bytes, target: str = HERE, **headers: str
    ) -> tuple[int, bytes]:
        return self.ask("POST", target, body, **headers)

    def answer(self, body: bytes, **headers: str) -> dict:
        status, text = self.post(body, **headers)
        if status != 200:
            raise AssertionError(f"{status}: {text!r}")
        return json.loads(text)

    def follow(self) -> tuple[int, bytes]:
        """The result, wherever it was said to be."""
        location = self.headers["location"]
        return self.ask("GET", "/" + location if location[0] == "?" else location)


class Base(unittest.TestCase):
    def serve(self, **options: object) -> tuple[ModalEdge, Client]:
        edge = ModalEdge(**{"engine": "echo", **options})
        self.addCleanup(edge.close)
        return edge, self.client(edge)

    def client(self, edge: ModalEdge) -> Client:
        client = Client(edge)
        self.addCleanup(client.http.close)
        return client


class Calls(Base):
    def test_inputs_come_back_and_the_run_is_in_the_ledger(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        edge, client = self.serve(log=Path(folder) / "runs")
        for zipped in (False, True):
            body = request()
            headers = {"content_encoding": "gzip"} if zipped else {}
            answer = client.answer(gzip.compress(body) if zipped else body, **headers)
            self.assertIs(answer["success"], True)
            self.assertEqual(answer["result"], '{"a": NaN}')
        lines = (Path(folder) / "runs").read_text().splitlines()
        self.assertEqual([line.split()[:2] for line in lines], [[RUN, "acme"]] * 2)
        first = edge.ledger[0]
        self.assertEqual((first.run_id, first.workspace, first.key), (RUN, "acme", "-"))
        self.assertGreaterEqual(first.ended_s, first.started_s)
        self.assertEqual(edge.server.connections, 1)
        self.assertEqual((edge.stats["gzipped"], edge.stats["plain"]), (1, 1))

    def test_who_may_ask(self) -> None:
        edge, client = self.serve()
        said = 401, b"modal-http: missing credentials for proxy authorization"
        self.assertEqual(client.post(request(), modal_key="wk-other"), said)
        self.assertEqual(client.post(request(), modal_secret=""), said)
        self.assertEqual(client.post(request(), target="/")[0], 422)
        self.assertEqual(client.ask("GET", HERE)[0], 405)
        self.assertEqual(client.post(b"{", HERE)[0], 400)
        self.assertEqual(client.post(b"{}", content_encoding="gzip")[0], 400)
        bomb = zlib.compressobj(9, wbits=31)
        flood = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(129))
        flood += bomb.flush()
        self.assertEqual(client.post(flood, content_encoding="gzip")[0], 400)
        self.assertEqual(client.post(request(workspace_id="other"))[0], 403)
        self.assertEqual(edge.runs, [])

    def test_code_by_hash_in_each_container(self) -> None:
        edge, client = self.serve(containers=2)
        for known in (0, 0, 2):
            if known:
                for _ in range(known):
                    self.assertTrue(client.answer(request())["success"])
            for _ in range(2):
                answer = client.answer(by_hash('{"a": 1}'))
                self.assertIs(answer["success"], bool(known))
                if not known:
                    self.assertEqual(answer["error_type"], "UnknownCodeHash")
                    self.assertIs(answer["server_error"], True)
        answer = client.answer(by_hash("{}", init_hash="other"))
        self.assertEqual(answer["error_type"], "UnknownCodeHash")
        edge.forget("acme")
        self.assertFalse(client.answer(by_hash("{}"))["success"])
        answer = client.answer(request(code_hash="0" * 32))
        self.assertEqual(answer["error_type"], "InvalidRequest")
        self.assertEqual(len(edge.runs), 4)

    def test_a_result_that_takes_more_than_a_hop(self) -> None:
        for relative in ("query", "path", "url"):
            edge, client = self.serve(hop_s=0.05, delay_s=0.2, relative=relative)
            status, body = client.post(request())
            self.assertEqual((status, body), (303, b""))
            self.assertIn("__modal_function_call_id=fc-", client.headers["location"])
            hops = 1
            while status == 303:
                status, body = client.follow()
                hops += 1
            self.assertEqual(json.loads(body)["result"], '{"a": NaN}')
            self.assertGreaterEqual(hops, 3)
            self.assertEqual(len(edge.runs), 1)

    def test_a_result_is_given_once_and_to_a_get_only(self) -> None:
        edge, client = self.serve()
        edge.rule("redirect", count=1)
        self.assertEqual(client.post(request())[0], 303)
        where = "/" + client.headers["location"]
        said = 400, b"modal-http: bad redirect method"
        self.assertEqual(client.post(request(), target=where), said)
        self.assertEqual(client.ask("GET", where, modal_key="wk-other")[0], 401)
        self.assertEqual(client.ask("GET", where)[0], 200)
        gone = 404, b"modal-http: invalid function call"
        self.assertEqual(client.ask("GET", where), gone)
        self.assertEqual(client.ask("GET", where.replace("fc-", "fc-0")), gone)
        self.assertEqual(len(edge.runs), 1)

    def test_a_call_goes_on_without_its_client(self) -> None:
        edge, client = self.serve(delay_s=0.05)
        client.http.request("POST", HERE, request(), TOKEN)
        wait(lambda: edge.runs)
        client.http.close()
        wait(lambda: edge.ledger[0].ended_s)
        self.assertGreater(edge.ledger[0].ended_s, edge.ledger[0].started_s)

    def test_rate(self) -> None:
        edge, client = self.serve(rate_per_s=0.001, burst=2)
        told = [client.post(request())[0] for _ in range(3)]
        self.assertEqual(told, [200, 200, 429])
        self.assertEqual(len(edge.runs), 2)


class Faults(Base):
    def test_words_of_the_edge(self) -> None:
        edge, client = self.serve()
        for name, (status, text, ran) in EDGE.items():
            with self.subTest(name):
                edge.rule(name, count=1)
                before = len(edge.runs)
                told = client.post(request())
                self.assertEqual(told, (status, f"modal-http: {text}".encode()))
                self.assertTrue(client.headers["content-type"].startswith("text/plain"))
                self.assertEqual(len(edge.runs) - before, ran)
        edge.rule("lost_input", ran=True, count=1)
        edge.rule("missing_request", count=1)
        edge.rule("status", status=429, retry_after=3, count=1)
        before = len(edge.runs)
        self.assertEqual(client.post(request())[0], 500)
        self.assertEqual(len(edge.runs) - before, 1)
        self.assertEqual(client.post(request())[0], 408)
        self.assertEqual(client.post(request())[0], 429)
        self.assertEqual(client.headers["retry-after"], "3")
        self.assertEqual(len(edge.runs) - before, 1)

    def test_cut_connections(self) -> None:
        for fault, runs in [
            ("close_unread", 0),
            ("close_before", 0),
            ("reset_before", 0),
            ("close_after", 1),
            ("reset_after", 1),
            ("truncate", 1),
            ("wrong_length", 1),
            ("nonsense", 1),
        ]:
            with self.subTest(fault):
                edge, client = self.serve()
                edge.rule(fault, count=1)
                with self.assertRaises((http.client.HTTPException, OSError)):
                    client.post(request())
                self.assertEqual(len(edge.runs), runs)
                client.http.close()
                self.assertEqual(client.post(request())[0], 200)

    def test_redirects_to_nowhere(self) -> None:
        edge, client = self.serve()
        edge.rule("no_location", count=1)
        edge.rule("elsewhere", location="http://127.0.0.2:9/?x", count=1)
        self.assertEqual(client.post(request())[0], 303)
        self.assertNotIn("location", client.headers)
        self.assertEqual(client.post(request())[0], 303)
        self.assertEqual(client.headers["location"], "http://127.0.0.2:9/?x")
        wait(lambda: len(edge.runs) == 2)

    def test_a_container_that_is_busy_says_so_later(self) -> None:
        edge, client = self.serve()
        edge.rule("turned_away", count=1)
        self.assertEqual(client.post(request())[0], 303)
        status, body = client.follow()
        self.assertEqual((status, json.loads(body)["delivery"]), (503, "did_not_run"))
        self.assertEqual(edge.runs, [])

    def test_what_happens_to_a_result_leaves_it_there(self) -> None:
        edge, client = self.serve()
        edge.rule("redirect", count=1)
        edge.rule("redirect", at="result", count=3)
        edge.rule("missing_request", at="result", count=1)
        edge.rule("invalid_call", at="result", count=1)
        edge.rule("close_before", at="result", count=1)
        client.post(request())
        where = "/" + client.headers["location"]
        told = [client.ask("GET", where)[0] for _ in range(5)]
        self.assertEqual(told, [303, 303, 303, 408, 404])
        with self.assertRaises((http.client.HTTPException, OSError)):
            client.ask("GET", where)
        client.http.close()
        self.assertEqual(client.ask("GET", where)[0], 200)
        self.assertEqual(len(edge.runs), 1)

    def test_a_result_that_is_lost_on_its_way_is_gone(self) -> None:
        edge, client = self.serve()
        edge.rule("redirect", count=1)
        edge.rule("truncate", at="result", count=1)
        client.post(request())
        where = "/" + client.headers["location"]
        with self.assertRaises(http.client.HTTPException):
            client.ask("GET", where)
        client.http.close()
        self.assertEqual(client.ask("GET", where)[0], 404)

    def test_bad_answers(self) -> None:
        edge, client = self.serve()
        edge.rule("short_length", count=1)
        with self.assertRaises(ValueError):
            client.answer(request())
        client.http.close()
        edge.rule("garbage", count=1)
        edge.rule("oversize", count=1, bytes=1 << 20)
        edge.rule("endless", count=1, bytes=1 << 20)
        edge.rule("bomb", count=1, bytes=64 << 20)
        edge.rule("headers", count=1, bytes=20_000)
        edge.rule("slow", count=1, seconds=0.1)
        edge.rule("delay", count=1, seconds=0.1)
        self.assertEqual(client.post(request())[1][:6], b"<html>")
        self.assertGreater(len(client.post(request())[1]), 1 << 20)
        self.assertGreater(len(client.post(request())[1]), 1 << 20)
        self.assertEqual(client.headers["transfer-encoding"], "chunked")
        packed = client.post(request())[1]
        self.assertEqual(client.headers["content-encoding"], "gzip")
        self.assertLess(len(packed), 1 << 20)
        self.assertGreater(len(gzip.decompress(packed)), 64 << 20)
        client.post(request())
        self.assertEqual(len(client.headers["x-19"]), 1000)
        for _ in range(2):
            self.assertTrue(client.answer(request())["success"])
        self.assertEqual(len(edge.runs), 8)

    def test_hang_ends_with_the_peer(self) -> None:
        edge, client = self.serve()
        edge.rule("hang", count=1)
        client.http.request("POST", HERE, request(), TOKEN)
        wait(lambda: edge.runs)
        client.http.close()
        wait(lambda: edge.stats.get("gone") == 1)

    def test_chaos_is_as_much_as_it_says(self) -> None:
        edge, _ = self.serve()
        rules = edge.chaos(0.2)
        self.assertEqual(len(rules), sum(map(len, CHAOS.values())))
        for at in CHAOS:
            hits = sum(edge._fault(at, None) is not None for _ in range(20_000))
            self.assertAlmostEqual(hits / 20_000, 0.2, delta=0.02)
            each = [rule.hits for rule in rules if rule.at == at]
            self.assertGreater(min(each), 0.7 * max(each))


class Signed(Base):
    def sign(self, edge: ModalEdge, body: bytes, **changes: object) -> dict:
        now = int(time.time())
        message = w.HttpMessage(
            **{
                "method": "POST",
                "target_uri": edge.url + HERE,
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
        edge, client = self.serve(keys={KEY_ID: w.public_bytes(KEY)})
        body = gzip.compress(request())
        headers = {**self.sign(edge, body), "content_encoding": "gzip"}
        self.assertEqual(client.post(request())[0], 401)
        other = gzip.compress(request("{}"))
        self.assertEqual(client.post(other, **headers)[0], 401)
        self.assertEqual(client.post(body, **headers)[0], 200)
        self.assertEqual(client.post(body, **headers)[0], 401)
        elsewhere = HERE + "2"
        self.assertEqual(client.post(body, target=elsewhere, **headers)[0], 401)
        self.assertEqual(edge.runs, [RUN])
        self.assertEqual(edge.ledger[0].key, KEY_ID)

    def test_a_clock_that_is_wrong(self) -> None:
        for skew, status in ((20, 200), (900, 401), (-20, 200), (-900, 401)):
            keys = {KEY_ID: w.public_bytes(KEY)}
            edge, client = self.serve(keys=keys, skew_s=skew)
            headers = self.sign(edge, request())
            self.assertEqual(client.post(request(), **headers)[0], status, skew)


class RealBlocks(Base):
    def test_results_and_errors_of_real_code(self) -> None:
        edge, client = self.serve(engine="runner")
        answer = client.answer(request('{"a": 21}'))
        self.assertEqual((answer["success"], answer["result"]), (True, '{"twice": 42}'))
        answer = client.answer(by_hash('{"a": 4}'))
        self.assertEqual(answer["result"], '{"twice": 8}')
        answer = client.answer(request('{"a": null}'))
        told = answer["success"], answer["error_type"], answer["line_number"]
        self.assertEqual(told, (False, "TypeError", 2))
        self.assertFalse(answer.get("server_error"))
        slow = request(
            "{}",
            code_str="def run():\n    while True: pass\n",
            timeout_seconds="0.200000",
        )
        self.assertIs(client.answer(slow)["success"], False)
        self.assertEqual(len(edge.runs), 4)

    def test_webexec(self) -> None:
        edge, client = self.serve(engine="runner", dialect="webexec", function_s=1)

        def body(**more: object) -> bytes:
            return json.dumps(
                {"run_function_name": "run", "inputs_json": '{"a": 2}', **more}
            ).encode()

        digest = w.code_hash(CODE, [])
        answer = client.answer(body(code_hash=digest))
        self.assertEqual(
            answer,
            {
                "success": False,
                "error": f"Code not cached on this container for hash {digest}; "
                "resend it.",
                "error_type": "UnknownCodeHash",
                "server_error": True,
                "code_hash": digest,
            },
        )
        # What the client calls the code is not believed.
        full = {"code_str": CODE, "imports": []}
        answer = client.answer(body(code_hash="0" * 32, **full))
        self.assertGreater(answer.pop("execution_time_seconds"), 0)
        said = {"success": True, "result": '{"twice": 4}'}
        self.assertEqual(answer, {**said, "stdout": None, "stderr": None})
        answer = client.answer(body(code_hash=digest))
        self.assertEqual(answer["result"], '{"twice": 4}')
        answer = client.answer(body())
        self.assertEqual(answer["error_type"], "InvalidRequest")
        answer = client.answer(body(code_hash=digest, run_function_name="other"))
        self.assertNotIn("success", answer)
        self.assertEqual(answer["error_type"], "NameError")
        raises = {"code_str": "def run(a):\n    print(1)\n    a.b\n", "imports": []}
        answer = client.answer(body(**raises))
        told = answer["success"], answer["error_type"], answer["line_number"]
        self.assertEqual(told, (False, "AttributeError", 3))
        self.assertEqual(answer["stdout"], "1\n")
        self.assertNotIn("server_error", answer)
        loops = {"code_str": "def run(a):\n    while True: pass\n", "imports": []}
        status, text = client.post(body(**loops))
        timed_out = b"modal-http: internal error: function execution timed out"
        self.assertEqual((status, text), (500, timed_out))
        dies = "import os\ndef run(a):\n    os.kill(os.getpid(), 9)\n"
        status, text = client.post(body(code_str=dies))
        killed = b"modal-http: internal error: function was terminated by signal"
        self.assertEqual((status, text), (500, killed))
        self.assertEqual(len(set(edge.runs)), len(edge.runs))


class Http2(Base):
    """Against a client made of the same package; the fleet's tests have curl."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.edge, _ = self.serve(tls=self.folder)

    @contextlib.contextmanager
    def connected(self) -> Iterator[ssl.SSLSocket]:
        context = ssl.create_default_context(cafile=str(self.folder / "tls.crt"))
        context.set_alpn_protocols(["h2"])
        with socket.create_connection(("127.0.0.1", self.edge.port), 60) as sock:
            with context.wrap_socket(sock, server_hostname="127.0.0.1") as secure:
                self.assertEqual(secure.selected_alpn_protocol(), "h2")
                self.h2 = h2.connection.H2Connection(
                    h2.config.H2Configuration(header_encoding="utf-8")
                )
                self.h2.initiate_connection()
                yield secure

    def ask(self, sock: ssl.SSLSocket, body: bytes, streams: int = 1) -> list:
        """The events of so many equal requests, until all have ended."""
        head = [
            (":method", "POST"),
            (":scheme", "https"),
            (":authority", f"127.0.0.1:{self.edge.port}"),
            (":path", HERE),
            *TOKEN.items(),
        ]
        for _ in range(streams):
            stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(stream, head)
            self.h2.send_data(stream, body, end_stream=True)
        found: list = []
        ends = (e.StreamEnded, e.StreamReset, e.ConnectionTerminated)
        sock.sendall(self.h2.data_to_send())
        while sum(isinstance(event, ends) for event in found) < streams:
            data = sock.recv(1 << 16)
            if not data:
                break
            for event in self.h2.receive_data(data):
                found.append(event)
                if isinstance(event, e.DataReceived):
                    size = event.flow_controlled_length
                    self.h2.acknowledge_received_data(size, event.stream_id)
            sock.sendall(self.h2.data_to_send())
        return found

    @staticmethod
    def status(events: list) -> str:
        (head,) = (event for event in events if isinstance(event, e.ResponseReceived))
        return dict(head.headers)[":status"]

    def test_many_streams_and_large_answers(self) -> None:
        text = json.dumps("x" * 300_000)
        with self.connected() as sock:
            body = request('"n"')
            events = self.ask(sock, body, streams=20)
            ended = [event for event in events if isinstance(event, e.StreamEnded)]
            self.assertEqual(len(ended), 20)
            self.edge.rule("oversize", count=1, bytes=len(text))
            events = self.ask(sock, request('"n"'))
            self.assertEqual(self.status(events), "200")
            data = [x.data for x in events if isinstance(x, e.DataReceived)]
            self.assertEqual(json.loads(b"".join(data))["stdout"], "x" * len(text))
        self.assertEqual(self.edge.server.connections, 1)
        self.assertEqual(len(self.edge.runs), 21)

    def test_faults(self) -> None:
        for fault, runs, event in [
            ("refused", 0, e.StreamReset),
            ("close_before", 0, e.StreamReset),
            ("close_after", 1, e.StreamReset),
            ("truncate", 1, e.StreamReset),
            ("goaway", 0, e.ConnectionTerminated),
            ("drop_idle", 1, e.StreamEnded),
        ]:
            with self.subTest(fault), self.connected() as sock:
                before = len(self.edge.runs)
                self.edge.rule(fault, count=1)
                events = self.ask(sock, request("{}"))
                self.assertTrue([x for x in events if isinstance(x, event)], events)
                self.assertEqual(len(self.edge.runs) - before, runs)
                if fault == "refused":
                    self.assertEqual(events[-1].error_code, 7)
                    self.assertEqual(self.status(self.ask(sock, request("{}"))), "200")

    def test_the_connection_is_reset(self) -> None:
        self.edge.rule("reset_after", count=1)
        with self.connected() as sock:
            with contextlib.suppress(OSError):
                self.assertNotIn("200", str(self.ask(sock, request("{}"))))
        with self.connected() as sock:
            self.assertEqual(self.status(self.ask(sock, request("{}"))), "200")


class Program(unittest.TestCase):
    def test_command_line(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        rule = json.dumps({"fault": "lost_input", "count": 1})
        argv = [sys.executable, SCRIPT, "--engine", "echo", "--rule", rule]
        files = ["--port-file", folder / "port", "--log", folder / "runs"]
        child = subprocess.Popen([*argv, *files], stdout=subprocess.PIPE, text=True)
        try:
            assert child.stdout
            url = child.stdout.readline().strip()
            port = int((folder / "port").read_text())
            self.assertEqual(url, f"http://127.0.0.1:{port}")
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            for status in (500, 200):
                connection.request("POST", HERE, request(), TOKEN)
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
