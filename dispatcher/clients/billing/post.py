"""One HTTP request, and what its answer means for the events in it."""

import http.client
import json
from dataclasses import dataclass
from enum import Enum
from urllib.parse import urlsplit


class Means(Enum):
    HAS_IT = "the receiver has it, now or since earlier"
    REFUSED = "it will never take this"
    NOT_TAKEN = "it certainly did not take it: again later"
    UNSURE = "it may have taken it: again, soon"
    STOP = "nothing will be taken: the key or the address is wrong"


@dataclass(frozen=True)
class Answer:
    means: Means
    note: str
    wait_s: float = 0


def meaning(status: int, body: bytes) -> Means:
    if 200 <= status < 300:
        return Means.HAS_IT
    # Stripe's word for an identifier that it knows: proof of delivery.
    if status == 400 and b"event already exists with identifier" in body:
        return Means.HAS_IT
    if status in (401, 403, 404):
        return Means.STOP
    if status == 429:
        return Means.NOT_TAKEN
    if status in (408, 409) or status >= 500:
        return Means.UNSURE
    return Means.REFUSED


class Client:
    """Keeps its connection. No Idempotency-Key: Stripe would repeat a 500 under
    it for a day; the identifier inside the event is what counts."""

    def __init__(self, url: str, key: str, timeout_s: float = 30) -> None:
        at = urlsplit(url)
        kind = {
            "http": http.client.HTTPConnection,
            "https": http.client.HTTPSConnection,
        }
        if at.scheme not in kind or not at.hostname:
            raise ValueError(f"{url} is no http or https URL")
        self.path = at.path or "/"
        self.headers = {"Authorization": f"Bearer {key}"} if key else {}
        self.connection = kind[at.scheme](at.hostname, at.port, timeout=timeout_s)

    def post(self, content_type: str, body: bytes) -> Answer:
        try:
            if self.connection.sock is None:
                self.connection.connect()
        except OSError as error:
            return Answer(Means.NOT_TAKEN, f"no connection: {error}")
        try:
            headers = {**self.headers, "Content-Type": content_type}
            self.connection.request("POST", self.path, body, headers)
            reply = self.connection.getresponse()
            text = reply.read(64 << 10)
            reply.read()
        except (OSError, http.client.HTTPException) as error:
            self.connection.close()
            return Answer(Means.UNSURE, f"the answer is lost: {error!r}")
        wait = reply.getheader("Retry-After", "")
        wait_s = min(float(wait), 300) if wait.isdecimal() else 0
        return Answer(meaning(reply.status, text), said(reply.status, text), wait_s)


def said(status: int, body: bytes) -> str:
    try:
        message = json.loads(body)["error"]["message"]
    except (ValueError, KeyError, TypeError):
        message = body[:200].decode(errors="replace")
    return f"{status} {message}"
