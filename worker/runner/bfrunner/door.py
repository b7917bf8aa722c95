"""From an HTTP request to a run and its answer, whatever server brought it:
first its headers (`enter`), then its body (`run`)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

from bfrunner import execute
from bfrunner.client import Done
from bfrunner.engine import Engine, Gone, NotReady
from bfrunner.execute import Answer, BadRequest
from bfrunner.options import FRAME_HEAD_BYTES, MIB
from bfrunner.verify import Full, Given, Refused, Signed, Verifier

_LARGE = 128 << 10  # is read and checked on a thread

# 401, unless it stands here, is what would be wrong with all that this worker
# sends; 400 and 422 are wrong with one request.  What may be right in a moment
# did not run and is to be sent again: nothing is lost when a worker has a new
# key before we know it.  A request that came before may have run.
_STATUS = {
    "unknown_key": 503,
    "expired": 503,
    "not_yet": 503,
    "replayed": 500,
    "wrong_run": 400,
    "bad_digest": 400,
    "bad_header": 400,
    "bad_expiry": 400,
    "duplicate_header": 400,
    "wrong_workspace": 422,
}


@dataclass(frozen=True)
class Limits:
    runs: int = 8  # at once; one more is refused
    input_bytes: int = 64 * MIB
    held_bytes: int = 256 * MIB  # of all bodies at once
    timeout_ms: int = 86_400_000
    boot_seconds: float = 60.0  # how long a run waits for the runner

    @property
    def body_bytes(self) -> int:
        most = execute.most_body(self.input_bytes, FRAME_HEAD_BYTES)
        return min(most, self.held_bytes)


class Turned(Exception):
    """Answered without a run."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(answer.status)
        self.answer = answer


@dataclass
class Ticket:
    """A place among the runs; signed is None where nobody signs."""

    signed: Signed | None
    workspace: str | None
    encoding: str


@dataclass
class Door:
    engine: Engine
    verifier: Verifier | None  # None: unsigned runs are served
    limits: Limits = field(default_factory=Limits)
    workspace: str | None = None  # the only one that is served
    container: str = ""  # what the provider calls this place
    runs: int = 0  # under way
    held: int = 0  # bytes of their bodies
    counts: dict[str, int] = field(default_factory=dict)

    @contextlib.contextmanager
    def enter(
        self,
        method: str,
        targets: Sequence[str],
        headers: Sequence[tuple[str, str]],
        length: int,
    ) -> Iterator[Ticket]:
        """Turned: what to say instead, before a byte of the body is read."""
        ticket = self._admit(method, targets, headers, length)
        self.runs += 1
        self.held += length
        try:
            yield ticket
        finally:
            self.runs -= 1
            self.held -= length

    def _admit(
        self,
        method: str,
        targets: Sequence[str],
        headers: Sequence[tuple[str, str]],
        length: int,
    ) -> Ticket:
        signed = None
        try:
            if self.verifier is not None:
                signed = self.verifier.head(method, targets, headers)
            named = Given(headers)
            encoding = named.one("content-encoding") if _has(headers) else ""
            only = self._only(targets)
        except Refused as refused:
            raise Turned(self._refuse(refused)) from None
        if length > self.limits.body_bytes:
            self.count("refused")
            raise Turned(execute.problem(413, "the body is too large"))
        full = self.held + length > self.limits.held_bytes and self.runs > 0
        if self.runs >= self.limits.runs or full:
            raise Turned(self._busy("server busy"))
        return Ticket(signed, only, encoding.lower())

    async def run(self, ticket: Ticket, raw: bytes | bytearray) -> Answer:
        """Cancelled, the run is killed."""
        try:
            if len(raw) > _LARGE:
                head, body = await asyncio.to_thread(self._read, ticket, raw)
            else:
                head, body = self._read(ticket, raw)
            done = await self.hand(head, body)
            if len(done.body) > _LARGE:
                return await asyncio.to_thread(execute.answer, done, self.container)
            return execute.answer(done, self.container)
        except Refused as refused:
            return self._refuse(refused)
        except Full as full:
            return self._busy(str(full))
        except NotReady as error:
            return self._busy(str(error))
        except (BadRequest, ValueError) as error:
            self.count("invalid")
            return execute.invalid(str(error)[:1024])
        except Gone as error:
            self.count("gone")
            return execute.problem(500, str(error), began=True)

    async def hand(self, head: dict[str, Any], body: bytes) -> Done:
        """To the runner, once there is one; NotReady and Gone as it says."""
        cold = not self.engine.up
        await self.engine.wait_ready(self.limits.boot_seconds)
        self.count("runs")
        done = await self.engine.run(head, body)
        if cold:
            done.head["boot"] = "cold"
        return done

    def _read(
        self, ticket: Ticket, raw: bytes | bytearray
    ) -> tuple[dict[str, Any], bytes]:
        signed = ticket.signed
        if signed is not None and self.verifier is not None:
            self.verifier.body(signed, raw)
        request = execute.load(raw, ticket.encoding, self.limits.body_bytes)
        if signed is not None and self.verifier is not None:
            self.verifier.bind(signed, request, ticket.workspace)
        elif ticket.workspace not in (None, request.get("workspace_id")):
            raise Refused("wrong_workspace", "another workspace is served here")
        return execute.frame(request, self.limits.timeout_ms)

    def _only(self, targets: Sequence[str]) -> str | None:
        """The workspace that this door or the address names."""
        query = targets[0].partition("?")[2] if targets else ""
        try:
            named = parse_qs(query, max_num_fields=16).get("workspace_id", [])
        except ValueError:
            raise Refused("bad_header", "too many parameters") from None
        found = {*named, *([self.workspace] if self.workspace is not None else [])}
        if len(found) > 1:
            raise Refused("wrong_workspace", "another workspace is served here")
        return found.pop() if found else None

    def _refuse(self, refused: Refused) -> Answer:
        self.count("refused")
        status = _STATUS.get(refused.code, 401)
        again = 2 if status == 503 else None
        return execute.problem(status, str(refused), again, began=status == 500)

    def _busy(self, why: str) -> Answer:
        self.count("busy")
        return execute.problem(503, why, retry_after_s=1)

    def count(self, what: str) -> None:
        self.counts[what] = self.counts.get(what, 0) + 1


def _has(headers: Sequence[tuple[str, str]]) -> bool:
    return any(name.lower() == "content-encoding" for name, _ in headers)
