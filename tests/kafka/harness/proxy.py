"""A TCP proxy that knows Kafka's frames and harms chosen requests.

    with Cluster(proxied=True) as cluster, Proxy(cluster) as proxy:
        client = Producer({"bootstrap.servers": cluster.proxy_bootstrap})
        cut = proxy.rule(Api.END_TXN, "cut_reply", count=3)
        ...
        cut.wait_hits(3)

It runs an asyncio loop in a thread of its own; every method here may be called
from any thread. A reply is told from the next one by its correlation id, so a
request without a reply (acks=0) does no harm. What a rule does to one request
also stops the requests behind it on the same connection, as TCP would.
"""

import asyncio
import contextlib
import struct
import threading
from collections import Counter
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal, Self, get_args

from .broker import Broker, Cluster
from .procs import HANG_S, wait_until

MAX_FRAME_BYTES = 128 << 20


class Api(IntEnum):
    """Request keys of the Kafka protocol that tests have a use for."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    API_VERSIONS = 18
    INIT_PRODUCER_ID = 22
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    TXN_OFFSET_COMMIT = 28


Action = Literal[
    "cut_request",  # close the connection; the broker never sees the request
    "cut_reply",  # the broker has done it; close before the reply goes back
    "delay_request",  # pass the request on `delay_s` later
    "delay_reply",  # pass the reply on `delay_s` later
    "hold_request",  # keep the request until release()
    "hold_reply",  # the broker has done it; keep the reply until release()
    "old_reply",  # give the reply that the last such OffsetFetch had before
]


@dataclass
class Rule:
    """What happens to the next requests of one kind. Made by Proxy.rule()."""

    api: int | None
    action: Action
    count: int | None
    skip: int
    delay_s: float
    client: str | None
    hits: int = 0
    _free: threading.Event = field(default_factory=threading.Event)

    def matches(self, api: int, client: str) -> bool:
        """Is this the rule's business at all, spent or not?"""
        return self.api in (None, api) and (self.client or "") in client

    def release(self) -> None:
        """Let go of what is held, and hold nothing any more."""
        self.count = self.hits
        self._free.set()

    def released(self) -> bool:
        return self._free.is_set()

    def wait_hits(self, hits: int = 1, deadline_s: float = HANG_S) -> None:
        """Wait until the rule has been applied that often."""
        wait_until(lambda: self.hits >= hits, deadline_s, f"{hits} hits of {self}")


@dataclass
class _Connection:
    """One client connection and its twin to the broker; loop thread only."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    broker: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    reply_rules: dict[int, Rule] = field(default_factory=dict)
    questions: dict[int, bytes] = field(default_factory=dict)

    def cut(self) -> None:
        for _, writer in (self.client, self.broker):
            writer.transport.abort()


class Proxy:
    """In front of every broker of a proxied cluster."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._lock = threading.Lock()
        self._rules: list[Rule] = []
        self._seen: Counter[int] = Counter()
        self._last_replies: dict[bytes, bytes] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def rule(
        self,
        api: int | None,
        action: Action,
        *,
        count: int | None = 1,
        skip: int = 0,
        delay_s: float = 0.0,
        client: str | None = None,
    ) -> Rule:
        """Apply `action` to the next `count` (None: all) requests of `api`
        (None: any) after letting `skip` of them pass; client: only where the
        client.id contains this. Of several rules that match, the oldest that
        is not spent applies."""
        if action not in get_args(Action):
            raise ValueError(f"no action {action!r}")
        made = Rule(api, action, count, skip, delay_s, client)
        with self._lock:
            self._rules.append(made)
        return made

    def clear(self) -> None:
        """Forget all rules and let go of everything that they hold."""
        with self._lock:
            for rule in self._rules:
                rule.release()
            self._rules.clear()

    def seen(self, api: int) -> int:
        """How many requests of this kind have arrived here."""
        with self._lock:
            return self._seen[api]

    def cut_all(self) -> None:
        """Close every connection now; new ones are welcome."""
        self._call(self._cancel_all())

    # ---- the loop's thread ---------------------------------------------------

    def _pick(self, api: int, client: str) -> Rule | None:
        with self._lock:
            self._seen[api] += 1
            for rule in self._rules:
                if not rule.matches(api, client) or rule.count == rule.hits:
                    continue
                if rule.skip > 0:
                    rule.skip -= 1
                    continue
                rule.hits += 1
                return rule
        return None

    async def _serve(self, broker: Broker) -> asyncio.Server:
        async def accept(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter
        ) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            try:
                await self._relay((reader, writer), broker.proxy_target)
            finally:
                writer.transport.abort()
                self._tasks.discard(task)

        return await asyncio.start_server(accept, "127.0.0.1", broker.proxy_port)

    async def _relay(
        self,
        client: tuple[asyncio.StreamReader, asyncio.StreamWriter],
        target: tuple[str, int],
    ) -> None:
        """One connection from its first byte to its last."""
        try:
            broker = await asyncio.open_connection(*target)
        except OSError:
            return
        connection = _Connection(client, broker)
        ways = [
            asyncio.create_task(self._requests(connection)),
            asyncio.create_task(self._replies(connection)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            connection.cut()
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)

    async def _requests(self, connection: _Connection) -> None:
        while True:
            frame = await _read_frame(connection.client[0])
            api, correlation, client = _request_head(frame)
            rule = self._pick(api, client)
            if api == Api.OFFSET_FETCH:
                connection.questions[correlation] = frame[:4] + frame[8:]
            if rule is not None:
                if rule.action == "cut_request":
                    return
                if rule.action.endswith("_reply"):
                    connection.reply_rules[correlation] = rule
                else:
                    await _wait(rule)
            await _write_frame(connection.broker[1], frame)

    async def _replies(self, connection: _Connection) -> None:
        while True:
            frame = await _read_frame(connection.broker[0])
            correlation = struct.unpack_from(">i", frame)[0]
            rule = connection.reply_rules.pop(correlation, None)
            last = frame
            question = connection.questions.pop(correlation, None)
            if question is not None:
                if rule is None or rule.action != "old_reply":
                    self._last_replies[question] = frame
                last = self._last_replies.get(question, frame)
            if rule is not None:
                if rule.action == "cut_reply":
                    return
                if rule.action == "old_reply":
                    frame = frame[:4] + last[4:]
                await _wait(rule)
            await _write_frame(connection.client[1], frame)

    async def _cancel_all(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- life ----------------------------------------------------------------

    def _call(self, work):
        """Run a coroutine in the loop's thread and wait for its result."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(HANG_S)

    def __enter__(self) -> Self:
        self._thread.start()
        self._servers = [self._call(self._serve(b)) for b in self._cluster.brokers]
        return self

    def __exit__(self, *error: object) -> None:
        for server in self._servers:
            self._loop.call_soon_threadsafe(server.close)
        self.clear()
        self._call(self._cancel_all())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(HANG_S)
        self._loop.close()


async def _wait(rule: Rule) -> None:
    """The delay of a rule, or its hold until released."""
    if rule.action.startswith("delay"):
        await asyncio.sleep(rule.delay_s)
    while rule.action.startswith("hold") and not rule.released():
        await asyncio.sleep(0.005)


async def _read_frame(reader: asyncio.StreamReader) -> bytes:
    size = struct.unpack(">i", await reader.readexactly(4))[0]
    if not 4 <= size <= MAX_FRAME_BYTES:
        raise ConnectionError(f"frame of {size} bytes")
    return await reader.readexactly(size)


async def _write_frame(writer: asyncio.StreamWriter, frame: bytes) -> None:
    writer.write(struct.pack(">i", len(frame)) + frame)
    await writer.drain()


def _request_head(frame: bytes) -> tuple[int, int, str]:
    """Api key, correlation id and client.id of a request (header v1 or v2)."""
    with contextlib.suppress(struct.error):
        api, _, correlation, size = struct.unpack_from(">hhih", frame)
        return api, correlation, frame[10 : 10 + max(0, size)].decode(errors="replace")
    raise ConnectionError("request is shorter than its header")
