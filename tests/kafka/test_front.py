"""The dispatcher's front door: keys, for people who have none and too many."""

import contextlib
import http.client
import json
import os
import re
import resource
import socket
import ssl
import subprocess
import sys
import time
import unittest
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml
from dispatching import (
    BIN,
    SHARDS,
    Answer,
    Dispatcher,
    DispatcherCase,
    FakeWorker,
    bfwire,
    job,
    read_all,
)
from fleet import ROOT
from harness import HANG_S, wait_until
from jsonschema import Draft202012Validator, FormatChecker
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(ROOT / "tests" / "providers"))

from tls import certificate  # noqa: E402


class Front(DispatcherCase):
    """One broker and one folder for a class; each test has its own workspaces."""

    @classmethod
    def cli(cls, *words: str, **env: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [BIN / "blockfleet", *words, f"--keys.dir={cls.keys.folder}"],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            cwd=cls.folder,
            env={**os.environ, **env},
        )

    @classmethod
    def new_key(cls, *workspaces: str) -> dict[str, Any]:
        named = [f"--workspace={name}" for name in workspaces]
        made = cls.cli("apikeys", "new", "--json", *(named or ["--all-workspaces"]))
        assert made.returncode == 0, made.stderr
        return json.loads(made.stdout)

    def assert_problem(self, answer: Answer, status: int, code: str) -> None:
        self.assertEqual(answer.status, status, answer.body)
        self.assertEqual(answer.headers["Content-Type"], "application/problem+json")
        told = answer.json()
        self.assertEqual(told["type"], f"urn:blockfleet:problem:{code}")
        self.assertEqual(told["status"], status)
        challenge = answer.headers.get("WWW-Authenticate")
        self.assertEqual(challenge == 'Bearer realm="blockfleet"', status == 401)


def bearer(key: dict[str, Any]) -> dict[str, str]:
    return {"Authorization": f"Bearer {key['key']}"}


class KeysTest(Front):
    GETS = (
        "/v1/jobs",
        "/v1/jobs/k1",
        "/v1/jobs/k1/result",
        "/v1/results",
        "/v1/batches/b",
        "/v1/usage",
    )

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.one = cls.new_key("one")
        cls.two = cls.new_key("two", "three")
        cls.all = cls.new_key()
        cls.dispatcher = cls.new_dispatcher(
            "keys", dispatcher__anonymous="false"
        ).start()

    def get(self, path: str, key: dict[str, Any] | None) -> Answer:
        return self.dispatcher.request(
            "GET", path, headers=bearer(key) if key else None
        )

    def test_whoever_has_no_key_gets_nothing_but_health(self) -> None:
        self.assertEqual(self.dispatcher.get("/healthz").status, 200)
        self.assertEqual(self.dispatcher.get("/readyz").status, 200)
        for path in self.GETS:
            answer = self.dispatcher.get(path, workspace="one")
            self.assert_problem(answer, 401, "unauthorized")
        self.assert_problem(self.dispatcher.post(job("one")), 401, "unauthorized")
        wrong = {**self.one, "key": self.one["key"][:-2] + "AA"}
        for key in (wrong, {"key": ""}, {"key": self.two["id"]}):
            answer = self.get("/v1/usage?workspace=one", key)
            self.assert_problem(answer, 401, "unauthorized")
            self.assertNotIn(self.one["key"][16:], answer.body.decode())

    def test_a_key_is_for_its_workspaces(self) -> None:
        mine = bearer(self.one)
        answer = self.dispatcher.post(job("one", id="k1"), **mine)
        self.assertEqual(answer.status, 202, answer.body)
        # A key of one workspace need not name it.
        text = job("one", id="k2").replace(b'"workspace": "one", ', b"")
        answer = self.dispatcher.post(text, **mine)
        self.assertEqual((answer.status, answer.json()["workspace"]), (202, "one"))
        answer = self.dispatcher.post(text, **bearer(self.two))
        self.assert_problem(answer, 422, "bad_field")
        self.assertEqual(self.get("/v1/jobs/k2", self.one).json()["job"], "k2")
        self.assert_problem(self.get("/v1/jobs/k2", self.two), 400, "bad_request")
        self.assert_problem(self.dispatcher.post(job("two"), **mine), 403, "forbidden")
        for path in self.GETS:
            for workspace, key in (("two", self.one), ("one", self.two)):
                answer = self.get(f"{path}?workspace={workspace}", key)
                self.assert_problem(answer, 403, "forbidden")
        found = self.get("/v1/jobs/k1?workspace=one", self.all)
        self.assertEqual(found.status, 200, found.body)
        for path in ("/v1/batches", "/v1/batches/b/seal"):
            answer = self.dispatcher.request(
                "POST", f"{path}?workspace=two", b'{"count":1}', mine
            )
            self.assert_problem(answer, 403, "forbidden")

    def test_the_usage_of_all_is_for_operators(self) -> None:
        path = "/v1/usage?group_by=workspace"
        self.assertEqual(self.get(path, self.all).status, 200)
        self.assertIsNone(self.get(path, self.all).json()["workspace"])
        self.assertEqual(self.get(path, self.one).json()["workspace"], "one")
        self.assert_problem(self.get(path, self.two), 400, "bad_request")
        self.assert_problem(self.get(path, None), 401, "unauthorized")
        answer = self.get(f"{path}&workspace=", self.two)
        self.assert_problem(answer, 400, "bad_request")

    def test_metrics_are_for_operators(self) -> None:
        self.assert_problem(self.get("/metrics", None), 401, "unauthorized")
        self.assert_problem(self.get("/metrics", self.one), 403, "forbidden")
        self.assertEqual(self.get("/metrics", self.all).status, 200)

    def test_each_line_of_an_upload_is_asked_about(self) -> None:
        lines = [job(name) for name in ("two", "one", "three", "four")]
        told = self.dispatcher.post_lines(lines, **bearer(self.two)).lines()
        self.assertEqual([line["status"] for line in told], [202, 403, 202, 403])
        self.assertEqual(told[1]["field"], "workspace")
        told = self.dispatcher.post_lines(lines, **bearer(self.all)).lines()
        self.assertEqual([line["status"] for line in told], [202] * 4)

    def test_a_key_comes_and_goes_while_it_runs(self) -> None:
        key = self.new_key("five")
        wait_until(
            lambda: self.get("/v1/usage", key).status == 200, HANG_S, "the new key"
        )

        def lines() -> Iterator[bytes]:
            yield job("five") + b"\n"
            done = self.cli("apikeys", "revoke", key["id"])
            assert done.returncode == 0, done.stderr
            wait_until(
                lambda: self.get("/v1/usage", key).status == 401, HANG_S, "no key"
            )
            yield job("five") + b"\n"

        headers = {"Content-Type": "application/x-ndjson", **bearer(key)}
        answer = self.dispatcher.request("POST", "/v1/jobs", lines(), headers)
        told = [line["status"] for line in answer.lines()]
        self.assertEqual(told, [202, 401], answer.body)

    def test_the_command_line_shows_its_key(self) -> None:
        file = self.folder / "mine"
        made = self.cli("apikeys", "new", "-w", "six", "-o", str(file))
        self.assertEqual(made.returncode, 0, made.stderr)
        key = file.read_text().strip()
        wait_until(
            lambda: self.get("/v1/usage", {"key": key}).status == 200, HANG_S, "the key"
        )
        url = f"--dispatcher.url=http://{self.dispatcher.address}"
        code = self.folder / "block.py"
        code.write_text("def run(self):\n    return {}\n")
        submit = ("submit", url, "-w", "six", "-c", str(code), "--id", "c1", "--json")
        kept_out = self.cli(*submit)
        self.assertEqual(kept_out.returncode, 4, kept_out.stderr)
        self.assertIn("API key", kept_out.stderr)
        sent = self.cli(*submit, f"--dispatcher.key_file={file}")
        self.assertEqual(sent.returncode, 0, sent.stderr)
        asked = self.cli(
            "status", url, "-w", "six", "c1", BLOCKFLEET_SECRET_API_KEY=key
        )
        self.assertEqual(asked.returncode, 0, asked.stderr)
        for said in (kept_out, sent, asked):
            self.assertNotIn(key[16:], said.stdout + said.stderr)
        file.chmod(0o644)
        open_to_all = self.cli(*submit, f"--dispatcher.key_file={file}")
        self.assertEqual(open_to_all.returncode, 7, open_to_all.stderr)

    def test_keys_let_it_listen_to_the_world(self) -> None:
        world = self.new_dispatcher(
            "world", dispatcher__anonymous="false", dispatcher__listen="0.0.0.0:0"
        ).start(ready=False)
        assert world.proc is not None
        self.assertEqual(world.proc.stop(), 0, world.proc.tail())


class DoorTest(Front):
    def test_tls(self) -> None:
        cert, key = certificate(self.folder)
        dispatcher = self.new_dispatcher(
            "tls", dispatcher__tls_cert=str(cert), dispatcher__tls_key=str(key)
        ).start(ready=False)
        host, port = dispatcher.address.rsplit(":", 1)
        context = ssl.create_default_context(cafile=str(cert))

        def request(method: str, path: str, body: bytes | None = None) -> Answer:
            connection = http.client.HTTPSConnection(
                host, int(port), timeout=HANG_S, context=context
            )
            try:
                connection.request(method, path, body)
                answer = connection.getresponse()
                return Answer(answer.status, dict(answer.getheaders()), answer.read())
            finally:
                connection.close()

        wait_until(lambda: request("GET", "/readyz").status == 200, HANG_S, "readiness")
        big = b'{"blob":"' + b"x" * (10 << 20) + b'"}'
        answer = request("POST", "/v1/jobs", job("tls", big, id="t1"))
        self.assertEqual(answer.status, 202, answer.body)
        self.assertEqual(request("GET", "/v1/jobs/t1?workspace=tls").status, 200)

        # Old TLS and no TLS get nothing.
        with self.assertRaises((OSError, http.client.HTTPException)):
            dispatcher.get("/healthz")
        old = ssl.create_default_context(cafile=str(cert))
        old.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
            old.minimum_version = old.maximum_version = ssl.TLSVersion.TLSv1_1
        with self.assertRaises(OSError):
            connection = http.client.HTTPSConnection(
                host, int(port), timeout=HANG_S, context=old
            )
            connection.request("GET", "/healthz")

        ask = ("status", f"--dispatcher.url=https://{dispatcher.address}")
        ask += ("-w", "tls", "t1")
        trusting = self.cli(*ask, f"--dispatcher.ca_file={cert}")
        self.assertEqual(trusting.returncode, 0, trusting.stderr)
        wary = self.cli(*ask)
        self.assertEqual(wary.returncode, 3, wary.stderr)
        self.assertIn("certificate", wary.stderr)

    def test_a_renewed_certificate_is_taken_by_a_running_dispatcher(self) -> None:
        folder = self.folder / "renewed"
        folder.mkdir()
        cert, key = certificate(folder)
        first = cert.read_text()
        dispatcher = self.new_dispatcher(
            "renew",
            dispatcher__tls_cert=str(cert),
            dispatcher__tls_key=str(key),
            dispatcher__connections="16",
        ).start(ready=False)
        assert dispatcher.proc is not None
        host, port = dispatcher.address.rsplit(":", 1)
        trusting = ssl.create_default_context(cadata=first)

        def connected() -> http.client.HTTPSConnection:
            connection = http.client.HTTPSConnection(
                host, int(port), timeout=HANG_S, context=trusting
            )
            connection.connect()
            return connection

        def ask(connection: http.client.HTTPSConnection) -> str | None:
            connection.request("GET", "/healthz")
            answer = connection.getresponse()
            answer.read()
            self.assertEqual(answer.status, 200)
            return answer.getheader("Connection")

        def served() -> str:
            return ssl.get_server_certificate((host, int(port)), timeout=20)

        def told(event: str, times: int) -> Callable[[], bool]:
            return lambda: times == sum(
                line.get("event") == event for line in dispatcher.proc.log_json()
            )

        kept = [connected() for _ in range(8)]
        self.assertNotEqual(ask(kept[0]), "close")
        self.assertEqual(served(), first)
        for times in (1, 2):
            certificate(folder)
            wait_until(told("tls_renewed", times), HANG_S, "the new certificate")
            self.assertEqual(served(), cert.read_text())
            self.assertNotEqual(served(), first)
            self.assertEqual(ask(kept[times]), "close")
        # All of them count, whichever certificate they have; six are left.
        trusting.load_verify_locations(cadata=cert.read_text())
        more: list[http.client.HTTPSConnection] = []
        with self.assertRaises(OSError):
            while len(more) <= 10:
                more.append(connected())
        for connection in more + kept:
            connection.close()
        second = cert.read_text()
        fds = Path(f"/proc/{dispatcher.proc.pid}/fd")
        before = len(list(fds.iterdir()))
        cert.write_text(first)  # no more the key's
        wait_until(told("tls_not_renewed", 1), HANG_S, "the complaint")
        wait_until(lambda: len(list(fds.iterdir())) <= before, HANG_S, "no more fds")
        self.assertEqual(served(), second)
        certificate(folder)
        wait_until(told("tls_renewed", 3), HANG_S, "the next certificate")
        self.assertEqual(served(), cert.read_text())
        # Of those before, nothing is left but what they are counted by.
        before = len(list(fds.iterdir()))
        certificate(folder)
        wait_until(told("tls_renewed", 4), HANG_S, "one more")
        wait_until(lambda: len(list(fds.iterdir())) <= before, HANG_S, "no more fds")
        self.assertEqual(dispatcher.proc.stop(), 0)

    def test_tls_that_cannot_be_is_told_at_start(self) -> None:
        cert, key = certificate(self.folder)
        other = self.folder / "other.key"
        other.touch(mode=0o600)
        other.write_text("nonsense")
        cases = [
            ({"dispatcher__tls_cert": str(cert)}, "if and only if"),
            (
                {"dispatcher__tls_cert": "nowhere", "dispatcher__tls_key": str(key)},
                "cannot read nowhere",
            ),
            (
                {"dispatcher__tls_cert": str(cert), "dispatcher__tls_key": str(other)},
                "a certificate and its key",
            ),
        ]
        for options, words in cases:
            dispatcher = self.new_dispatcher("no-tls", **options)
            with self.assertRaises((AssertionError, TimeoutError)):
                dispatcher.start(ready=False)
            assert dispatcher.proc is not None
            self.assertNotEqual(dispatcher.proc.wait(HANG_S), 0)
            self.assertIn(words, dispatcher.proc.log_text())

    def test_a_workspace_submits_no_faster_than_it_may(self) -> None:
        dispatcher = self.new_dispatcher(
            "rate", dispatcher__workspace_jobs_per_s="10"
        ).start()
        answers = [dispatcher.post(job("fast")) for _ in range(60)]
        statuses = {answer.status for answer in answers}
        self.assertEqual(statuses, {202, 429})
        self.assertEqual([answer.status for answer in answers[:10]], [202] * 10)
        refused = next(answer for answer in answers if answer.status == 429)
        self.assert_problem(refused, 429, "rate_limited")
        self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        self.assertEqual(dispatcher.post(job("calm")).status, 202)
        # An upload is not refused: it is read no faster than that.
        began = time.monotonic()
        told = dispatcher.post_lines([job("many")] * 30).lines()
        took = time.monotonic() - began
        self.assertEqual([line["status"] for line in told], [202] * 30)
        self.assertGreater(took, 1.8)

    def test_orders_about_batches_count_as_jobs_do(self) -> None:
        dispatcher = self.new_dispatcher(
            "orders", dispatcher__workspace_bytes_per_s="10"
        ).start()

        def order(path: str, **members: str | int) -> Answer:
            body = json.dumps(members).encode()
            return dispatcher.request("POST", f"{path}?workspace=orders", body)

        name = "b" * 60  # its bytes take several seconds to be earned
        self.assertEqual(order("/v1/batches", batch=name).status, 201)
        refused = order(f"/v1/batches/{name}/seal", count=1)
        self.assert_problem(refused, 429, "rate_limited")
        self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
        self.assertEqual(dispatcher.post(job("orders")).status, 429)
        # What is said already is not written again, and costs nothing.
        self.assertEqual(order("/v1/batches", batch=name).status, 200)

    def test_who_stalls_stops_nobody(self) -> None:
        dispatcher = self.new_dispatcher(
            "stalled",
            dispatcher__header_timeout="8s",
            dispatcher__connections_per_ip="600",
            dispatcher__least_bytes_per_s="1M",
        ).start()
        host, port = dispatcher.address.rsplit(":", 1)
        unfinished = (
            b"",
            b"GET /v1/us",
            b"GET /healthz HTTP/1.1\r\nHost: x\r\nX-Slow: ",
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\nContent-Length: 999\r\n\r\n{",
            b"POST /v1/jobs HTTP/1.1\r\nHost: x\r\n"
            b"Content-Type: application/x-ndjson\r\nContent-Length: 999\r\n\r\n{",
        )
        with contextlib.ExitStack() as stack:
            stalled = []
            for number in range(500):
                stalled.append(
                    stack.enter_context(socket.create_connection((host, int(port))))
                )
                stalled[-1].sendall(unfinished[number % len(unfinished)])
            for number in range(20):
                began = time.monotonic()
                self.assertEqual(
                    dispatcher.post(job("calm", id=f"c{number}")).status, 202
                )
                self.assertLess(time.monotonic() - began, 6)

            def trickle() -> bool:
                """A byte now and then does not help them."""
                for one in list(stalled):
                    try:
                        one.setblocking(False)
                        if one.recv(1) == b"":
                            stalled.remove(one)
                            continue
                    except BlockingIOError:
                        pass
                    except OSError:
                        stalled.remove(one)
                        continue
                    with contextlib.suppress(OSError):
                        one.send(b"a")
                return not stalled

            wait_until(trickle, 40, "the end of those who stall", every_s=0.5)
        self.assertEqual(dispatcher.get("/healthz").status, 200)

    def test_answers_that_nobody_reads_have_their_room(self) -> None:
        dispatcher = self.new_dispatcher(
            "unread", dispatcher__inflight_bytes="64M", dispatcher__max_body="16M"
        ).start()
        inputs = b'{"a":"' + b"x" * (12 << 20) + b'"}'
        self.assertEqual(dispatcher.post(job("unread", inputs, id="u")).status, 202)
        worker = FakeWorker(self.cluster.bootstrap, self.keys, SHARDS)
        jobs = read_all(self.cluster.bootstrap, "bf.jobs", SHARDS)
        worker.finish([worker.end(rec) for rec in jobs if rec.key == b"unread"])
        path = "/v1/jobs/u/result"

        def status() -> int:
            return dispatcher.get(path, workspace="unread").status

        wait_until(lambda: status() == 200, HANG_S, "the result")
        host, port = dispatcher.address.rsplit(":", 1)
        with contextlib.ExitStack() as stack:
            for _ in range(8):
                one = stack.enter_context(socket.socket())
                one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                one.connect((host, int(port)))
                request = f"GET {path}?workspace=unread HTTP/1.1\r\nHost: x\r\n\r\n"
                one.sendall(request.encode())
            wait_until(lambda: status() == 429, HANG_S, "an answer too many")
            refused = dispatcher.get(path, workspace="unread")
            self.assert_problem(refused, 429, "busy")
            one = dispatcher.get("/v1/jobs/u", workspace="unread")
            self.assertEqual(one.status, 200)
        wait_until(lambda: status() == 200, HANG_S, "room again")

    def test_metrics(self) -> None:
        dispatcher = self.new_dispatcher(
            "metrics", **{"librdkafka__statistics.interval.ms": "200"}
        )
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1024), hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        dispatcher.start()
        for number in range(7):
            answer = dispatcher.post(job("metered", lane="batch"))
            self.assertEqual(answer.status, 202, number)
        self.assertEqual(dispatcher.get("/v1/jobs/x", workspace="metered").status, 404)
        self.assertEqual(dispatcher.get("/nowhere").status, 404)
        families = self.scrape(dispatcher)

        def value(name: str, **labels: str) -> float:
            family = next(f for f in families if name.startswith(f.name))
            found = [
                sample.value
                for sample in family.samples
                if sample.name == name and labels.items() <= sample.labels.items()
            ]
            self.assertEqual(len(found), 1, (name, labels))
            return found[0]

        took = "http_server_request_duration_seconds"
        posts = {"http_route": "/v1/jobs", "http_request_method": "POST"}
        self.assertEqual(
            value(took + "_count", **posts, http_response_status_code="202"), 7
        )
        self.assertEqual(value(took + "_bucket", **posts, le="+Inf"), 7)
        self.assertGreater(value(took + "_sum", **posts), 0)
        self.assertEqual(value(took + "_count", http_route="/v1/jobs/{id}"), 1)
        self.assertEqual(value(took + "_count", http_request_method="_OTHER"), 1)
        sent = {"messaging_destination_name": "bf.jobs.batch", "error_type": ""}
        self.assertEqual(value("messaging_client_sent_messages_total", **sent), 7)
        self.assertGreater(value("blockfleet_stored_bytes_total"), 7)
        self.assertEqual(value("blockfleet_outbox_messages"), 0)
        self.assertEqual(value("blockfleet_view_caught_up"), 1)
        self.assertLess(value("blockfleet_view_age_seconds"), 60)
        self.assertEqual(value("blockfleet_shards"), SHARDS)
        # This very request.
        self.assertEqual(value("http_server_active_requests"), 1)
        assert dispatcher.proc is not None
        fds = len(list(Path(f"/proc/{dispatcher.proc.pid}/fd").iterdir()))
        self.assertAlmostEqual(value("process_open_fds"), fds, delta=3)
        self.assertEqual(value("process_max_fds"), hard)  # whatever it came with
        self.assertLess(abs(time.time() - value("process_start_time_seconds")), 600)

        def connected() -> bool:
            nonlocal families
            families = self.scrape(dispatcher)
            return value("blockfleet_kafka_brokers_up") == 1

        wait_until(connected, HANG_S, "librdkafka's statistics")
        self.assertGreater(value("blockfleet_kafka_requests_total"), 0)

    def scrape(self, dispatcher: Dispatcher) -> list[Metric]:
        """As Prometheus reads it, with what promtool would complain of."""
        answer = dispatcher.get("/metrics")
        self.assertEqual(answer.status, 200)
        self.assertTrue(
            answer.headers["Content-Type"].startswith("text/plain; version")
        )
        families = list(text_string_to_metric_families(answer.body.decode()))
        names = [family.name for family in families]
        self.assertEqual(len(names), len(set(names)))
        seen = set()
        for family in families:
            self.assertNotEqual(family.type, "unknown", family.name)
            self.assertGreater(len(family.documentation), 5, family.name)
            self.assertRegex(family.name, "^[a-z_]+$")
            for sample in family.samples:
                place = (sample.name, tuple(sorted(sample.labels.items())))
                self.assertNotIn(place, seen)
                seen.add(place)
                self.assertGreaterEqual(sample.value, 0)
                if family.type == "counter":
                    self.assertTrue(sample.name.endswith("_total"), sample.name)
            if family.type == "histogram":
                self.check_buckets(family)
        return families

    def check_buckets(self, family: Metric) -> None:
        series: dict[Any, list[float]] = {}
        for sample in family.samples:
            if sample.name.endswith("_bucket"):
                labels = {k: v for k, v in sample.labels.items() if k != "le"}
                series.setdefault(tuple(labels.items()), []).append(sample.value)
        for counts in series.values():
            self.assertEqual(counts, sorted(counts))

    def test_one_address_has_so_many_connections(self) -> None:
        dispatcher = self.new_dispatcher(
            "narrow", dispatcher__connections_per_ip="16"
        ).start(ready=False)
        host, port = dispatcher.address.rsplit(":", 1)
        with contextlib.ExitStack() as stack:
            for _ in range(16):
                stack.enter_context(socket.create_connection((host, int(port))))
            with self.assertRaises((OSError, http.client.HTTPException)):
                dispatcher.get("/healthz")
        wait_until(lambda: self.answers(dispatcher), HANG_S, "a connection again")

    @staticmethod
    def answers(dispatcher: Dispatcher) -> bool:
        try:
            return dispatcher.get("/healthz").status == 200
        except (OSError, http.client.HTTPException):
            return False

    def test_what_the_library_answers_itself(self) -> None:
        """As LIMITS.md says: a status, but no problem+json."""
        dispatcher = self.new_dispatcher("raw").start(ready=False)
        host, port = dispatcher.address.rsplit(":", 1)

        def ask(head: bytes) -> tuple[int, bytes]:
            with socket.create_connection(
                (host, int(port)), timeout=HANG_S
            ) as connection:
                tail = b"\r\nHost: x\r\nConnection: close\r\n\r\n"
                connection.sendall(head + tail)
                told = b"".join(iter(lambda: connection.recv(65536), b""))
            return (int(told.split()[1]) if told else 0), told

        long = b"a" * 70_000
        cases = [
            (b"GET /" + long + b" HTTP/1.1", 414),
            (b"GET /healthz HTTP/1.1\r\nX-Long: " + long, 431),
            (b"GET /healthz HTTP/1.1\r\nno colon", 400),
            (b"GET /healthz HTTP/3.0", 505),
            (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: x", 400),
            (b"POST /v1/jobs HTTP/1.1\r\nContent-Length: " + b"9" * 30, 413),
        ]
        for head, status in cases:
            found, told = ask(head)
            self.assertEqual(found, status, told)
            self.assertNotIn(b"problem+json", told)
        # What is ours is told as ours, however long it is.
        found, told = ask(b"GET /" + b"a" * 30_000 + b" HTTP/1.1")
        self.assertEqual(found, 404)
        self.assertIn(b"application/problem+json", told)
        self.assertIn(b"urn:blockfleet:problem:not_found", told)


class DocumentTest(Front):
    """Real answers are what GET /openapi.yaml says of them."""

    @classmethod
    def setUpClass(cls) -> None:
        super().setUpClass()
        cls.dispatcher = cls.new_dispatcher(
            "document", dispatcher__inputs_bytes="64k"
        ).start()
        served = cls.dispatcher.get("/openapi.yaml")
        assert served.status == 200, served
        cls.doc = yaml.safe_load(served.body)
        cls.seen: set[tuple[str, str]] = set()

    def check(self, place: str, status: int, answer: Answer) -> Answer:
        """place: "get /v1/jobs/{id}"."""
        self.assertEqual(answer.status, status, answer.body)
        method, path = place.split()
        told = self.doc["paths"][path][method]["responses"][str(status)]
        if "$ref" in told:
            told = self.doc["components"]["responses"][told["$ref"].split("/")[-1]]
        kind = answer.headers["Content-Type"].split(";")[0]
        schema = {
            "components": self.doc["components"],
            "allOf": [told["content"][kind]["schema"]],
        }
        validator = Draft202012Validator(schema, format_checker=FormatChecker())
        lines = kind == "application/x-ndjson"
        if kind.endswith(("json", "ndjson")):
            for document in answer.lines() if lines else [answer.json()]:
                validator.validate(document)
        self.seen.add((place, str(status)))
        return answer

    def ask(self, path: str, status: int = 200, **query: str | int) -> Answer:
        """path with the values of braces after it: "/v1/jobs/{id} j1"."""
        template, *values = path.split()
        url = template
        for value in values:
            url = re.sub(r"\{[a-z]+\}", value, url, count=1)
        return self.check(f"get {template}", status, self.dispatcher.get(url, **query))

    def send(self, path: str, status: int, body: Any, **query: str) -> Answer:
        template, *values = path.split()
        url = template.replace("{batch}", values[0]) if values else template
        answer = self.dispatcher.request(
            "POST", f"{url}?{urlencode(query)}", json.dumps(body).encode()
        )
        return self.check(f"post {template}", status, answer)

    def test_answers_are_as_the_document_says(self) -> None:
        at = {"workspace": "doc"}
        for path in ("/healthz", "/readyz", "/version", "/metrics", "/openapi.yaml"):
            self.ask(path)
        self.send("/v1/batches", 201, {"batch": "b", "max_failure_rate": 0.5}, **at)
        lines = [
            job("doc", id=f"j{n}", batch="b", batch_index=n, labels={"n": str(n)})
            for n in range(3)
        ]
        lines += [b"{", b"", job("doc", surprise=1), job("doc", id="j4", order_key="o")]
        told = self.dispatcher.post_lines(lines)
        self.check("post /v1/jobs", 200, told)
        self.assertEqual(
            [line["status"] for line in told.lines()], [202] * 3 + [400, 422] + [202]
        )
        self.check("post /v1/jobs", 202, self.dispatcher.post(job("doc", id="j5")))
        self.send("/v1/batches/{batch}/seal b", 200, {"count": 3}, **at)

        worker = FakeWorker(self.cluster.bootstrap, self.keys, SHARDS)
        sources = {
            bfwire.job_parse(rec).id: rec
            for rec in read_all(self.cluster.bootstrap, "bf.jobs", SHARDS)
            if rec.key == b"doc"
        }
        failed = {"outcome": "failed", "reason": "user_error", "result": None}
        worker.finish(
            [
                worker.end(sources["j0"]),
                worker.end(sources["j1"], **failed),
                worker.end(sources["j4"]),
            ]
        )
        worker.state(sources["j2"], "started")
        wait_until(
            lambda: self.ask("/v1/jobs/{id} j2", **at).json()["status"] == "running",
            HANG_S,
            "the view",
        )
        for number in (0, 1, 2, 4, 5):
            self.ask(f"/v1/jobs/{{id}} j{number}", wait=0, **at)
        self.ask("/v1/jobs/{id}/result j0", **at)
        self.ask("/v1/jobs/{id}/result j1", 409, **at)
        self.ask("/v1/jobs/{id}/result nobody", 404, **at)
        self.ask("/v1/jobs/{id} nobody", 404, **at)
        self.ask("/v1/batches/{batch} nobody", 404, **at)
        self.assertEqual(len(self.ask("/v1/jobs", **at).json()["jobs"]), 5)
        self.assertEqual(len(self.ask("/v1/results", **at).json()["results"]), 3)
        batch = self.ask("/v1/batches/{batch} b", **at).json()
        self.assertEqual((batch["total"], batch["count"]), (3, 3))
        self.send("/v1/batches", 201, {"batch": "later"}, **at)
        listed = self.ask("/v1/batches", **at).json()["batches"]
        self.assertEqual([b["batch"] for b in listed], ["later", "b"])
        self.assertEqual({**listed[1], "as_of": None}, {**batch, "as_of": None})
        self.ask("/v1/usage", **at)
        grouped = self.ask("/v1/usage", group_by="workspace,block,day,billable", **at)
        self.assertEqual(len(grouped.json()["groups"]), 1)
        for path in ("/v1/jobs", "/v1/results", "/v1/batches"):
            accept = {"Accept": "application/x-ndjson"}
            answer = self.dispatcher.request(
                "GET", f"{path}?workspace=doc&limit=2", headers=accept
            )
            self.check(f"get {path}", 200, answer)
            self.assertEqual(len(answer.lines()), 2)

    def test_refusals_are_as_the_document_says(self) -> None:
        gets = [p for p, item in self.doc["paths"].items() if "get" in item]
        for path in gets:
            url = re.sub(r"\{[a-z]+\}", "x", path)
            answer = self.dispatcher.get(url, workspace="doc", nonsense="1")
            self.assert_problem(answer, 400, "bad_request")
            self.assertRegex(answer.json()["field"], "^(nonsense|workspace)$")
        for path in ("/v1/jobs", "/v1/results", "/v1/batches"):
            self.ask(path, 400)
            self.ask(path, 400, workspace="a/b")
            self.ask(path, 400, workspace="doc", limit=1001)
        self.ask("/v1/usage", 400, workspace="doc", group_by="mood")
        self.send("/v1/batches", 422, {"batch": "/"}, workspace="doc")
        seal = "/v1/batches/{batch}/seal sealed"
        self.send(seal, 200, {"count": 1}, workspace="doc")
        # The replica reads its own seal from Kafka, as every other one does.
        batch = "/v1/batches/sealed?workspace=doc"
        wait_until(
            lambda: self.dispatcher.get(batch).json().get("sealed_at"),
            HANG_S,
            "the seal",
        )
        self.send(seal, 409, {"count": 2}, workspace="doc")
        post = self.dispatcher.post
        self.check("post /v1/jobs", 400, post(b"{"))
        self.check("post /v1/jobs", 422, post(job("doc", id="a/b")))
        big = b'{"blob":"' + b"x" * (65 << 10) + b'"}'
        self.check("post /v1/jobs", 413, post(job("doc", big)))
        answer = self.dispatcher.request(
            "POST", "/v1/jobs", b"x", {"Content-Type": "text/plain"}
        )
        self.check("post /v1/jobs", 415, answer)


if __name__ == "__main__":
    unittest.main()
