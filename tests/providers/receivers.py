"""Receivers of usage that dedupe as OpenMeter and Stripe do, and lose answers.

A real HTTP server in this process. What is done to a request is drawn from
`faults`: what a client cannot tell apart is here told apart.
"""

import http.server
import json
import random
import threading
from collections import Counter
from decimal import Decimal
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs

FAULTS = ("lost", "dropped", "500 before", "500 after", "429", "503")


class Receiver:
    """`events` by id, each as it was when it was first taken."""

    path = "/"

    def __init__(self, faults: float = 0, seed: int = 1) -> None:
        self.events: dict[str, dict[str, Any]] = {}
        self.done: Counter[str] = Counter()
        self.requests = 0
        self.key = ""
        self.faults = faults
        self.refuse: set[str] = set()  # ids that it will never take
        self.random = random.Random(seed)
        self.lock = threading.Lock()
        receiver = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                receiver.handle(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.server_port}{self.path}"

    def forget(self) -> None:
        """The window in which ids are known is over; what was counted stays."""
        self.events = {f"{name} forgotten": e for name, e in self.events.items()}

    def handle(self, request: http.server.BaseHTTPRequestHandler) -> None:
        body = request.rfile.read(int(request.headers["Content-Length"]))
        with self.lock:
            self.requests += 1
            fault = ""
            if self.random.random() < self.faults:
                fault = self.random.choice(FAULTS)
            self.done[fault] += 1
            status, answer = 0, b""
            if request.headers.get("Authorization", "") != self.key:
                status = 401
            elif fault in ("", "lost", "500 after"):
                status, answer = self.take(request.headers["Content-Type"], body)
        if fault in ("lost", "dropped"):
            request.close_connection = True
            return
        status = int(fault[:3]) if fault else status
        request.send_response(status)
        request.send_header("Content-Length", str(len(answer)))
        request.end_headers()
        request.wfile.write(answer)

    def take(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        raise NotImplementedError

    def __enter__(self) -> Self:
        self.thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


class OpenMeter(Receiver):
    """POST /api/v1/events: 204 for what is new and for what is known; a batch in
    which one event is bad is refused as a whole."""

    path = "/api/v1/events"

    def take(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        if content_type != "application/cloudevents-batch+json":
            return 415, b""
        events = json.loads(body)
        if any(event["id"] in self.refuse for event in events):
            return 400, b'{"title": "Bad Request"}'
        for event in events:
            self.events.setdefault(f"{event['source']} {event['id']}", event)
        return 204, b""

    def total(self, meter: dict[str, Any], subject: str) -> Decimal:
        """As the meter says: its type, and the value at $.name of the data."""
        name = meter["valueProperty"].removeprefix("$.")
        values = [
            Decimal(event["data"][name])
            for event in self.events.values()
            if (event["type"], event["subject"]) == (meter["eventType"], subject)
        ]
        return sum(values, Decimal(0))


class Stripe(Receiver):
    """POST /v1/billing/meter_events: a known identifier is an error."""

    path = "/v1/billing/meter_events"

    def take(self, content_type: str, body: bytes) -> tuple[int, bytes]:
        if content_type != "application/x-www-form-urlencoded":
            return 415, b""
        fields = parse_qs(body.decode(), strict_parsing=True)
        event = {name: value for name, (value,) in fields.items()}
        name = event["identifier"]
        int(event["payload[value]"]), int(event["timestamp"])
        if name in self.events:
            return self.error(f"An event already exists with identifier {name}.")
        if name in self.refuse:
            return self.error("The timestamp is more than 35 days in the past.")
        self.events[name] = event
        return 200, b'{"object": "billing.meter_event"}'

    @staticmethod
    def error(message: str) -> tuple[int, bytes]:
        told = {"message": message, "type": "invalid_request_error"}
        return 400, json.dumps({"error": told}).encode()

    def total(self, name: str, customer: str) -> int:
        return sum(
            int(event["payload[value]"])
            for event in self.events.values()
            if event["event_name"] == name
            and event["payload[stripe_customer_id]"] == customer
        )
