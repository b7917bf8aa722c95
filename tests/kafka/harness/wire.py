"""Just enough of the Kafka protocol to ask a broker three things.

Whether it is ready: an open port says little, a broker accepts connections
before it knows the cluster. And what a group has committed, metadata included:
confluent-kafka reads metadata beyond its end (it is not NUL-terminated).
And who coordinates a group or a transaction, for what the first question does.
Layouts: https://kafka.apache.org/protocol (Metadata v4 and FindCoordinator v2,
the newest that need no flexible encoding; OffsetFetch v7, the first that can be
told to wait for what the coordinator has not replicated yet).
"""

import contextlib
import socket
import struct
from dataclasses import dataclass, field

METADATA = 3
METADATA_VERSION = 4
OFFSET_FETCH = 9
OFFSET_FETCH_VERSION = 7
FIND_COORDINATOR = 10
FIND_COORDINATOR_VERSION = 2
MAX_REPLY_BYTES = 16 << 20
NO_TAGS = b"\0"
NULL_ARRAY = b"\0"


class WireError(Exception):
    """The peer closed, answered nonsense, or an answer was cut short."""


@dataclass
class Partition:
    leader: int
    replicas: list[int]
    in_sync: list[int]


@dataclass
class Metadata:
    """What one broker believes: live nodes, the controller, the topics."""

    brokers: dict[int, tuple[str, int]] = field(default_factory=dict)
    controller: int = -1
    topics: dict[str, list[Partition]] = field(default_factory=dict)

    def in_sync(self) -> bool:
        """Every partition has a leader and all of its replicas in sync."""
        return all(
            p.leader >= 0 and set(p.replicas) == set(p.in_sync)
            for partitions in self.topics.values()
            for p in partitions
        )


class _Reader:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, count: int) -> bytes:
        if self.at + count > len(self.data):
            raise WireError("reply is shorter than its fields")
        self.at += count
        return self.data[self.at - count : self.at]

    def int(self, code: str) -> int:
        return struct.unpack(">" + code, self.take(struct.calcsize(code)))[0]

    def string(self) -> str:
        size = self.int("h")
        return self.take(size).decode() if size >= 0 else ""

    def ints(self) -> list[int]:
        return [self.int("i") for _ in range(max(0, self.int("i")))]

    # ---- the flexible encoding, KIP-482

    def varint(self) -> int:
        value, shift = 0, 0
        while True:
            byte = self.int("B")
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7

    def count(self) -> int:
        """Of a compact array or string; null counts as empty."""
        return max(0, self.varint() - 1)

    def compact(self) -> str:
        return self.take(self.count()).decode()

    def skip_tags(self) -> None:
        for _ in range(self.varint()):
            self.varint()
            self.take(self.varint())


def _exchange(address: tuple[str, int], frame: bytes, timeout_s: float) -> bytes:
    with socket.create_connection(address, timeout=timeout_s) as sock:
        sock.sendall(struct.pack(">i", len(frame)) + frame)
        size = struct.unpack(">i", _read_exactly(sock, 4))[0]
        if not 4 <= size <= MAX_REPLY_BYTES:
            raise WireError(f"reply of {size} bytes")
        return _read_exactly(sock, size)[4:]


def _read_exactly(sock: socket.socket, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = sock.recv(count - len(data))
        if not more:
            raise WireError("connection closed in the middle of a reply")
        data += more
    return bytes(data)


def _ask(
    address: tuple[str, int],
    api: int,
    version: int,
    body: bytes,
    timeout_s: float,
    *,
    flexible: bool = False,
) -> _Reader:
    client = b"blockfleet-harness"
    head = struct.pack(">hhih", api, version, 1, len(client)) + client
    if flexible:
        head += NO_TAGS
    reply = _Reader(_exchange(address, head + body, timeout_s))
    if flexible:
        reply.skip_tags()
    return reply


@dataclass(frozen=True)
class Committed:
    topic: str
    partition: int
    offset: int
    metadata: str


def committed(
    address: tuple[str, int], group: str, timeout_s: float = 20.0
) -> list[Committed]:
    """What a group has committed, as its coordinator says: only what is stable,
    so a partition of which a transaction is just ending is not among it.

    Without require_stable (KIP-447) a coordinator answers from what it knows
    to be replicated. One that has just taken over knows less than the last one
    told: offsets would seem to go back.

    Raises OSError, or WireError when this broker cannot tell.
    """
    name = group.encode()
    body = bytes([len(name) + 1]) + name + NULL_ARRAY  # every topic
    body += struct.pack(">?", True) + NO_TAGS  # require_stable
    reply = _ask(
        address, OFFSET_FETCH, OFFSET_FETCH_VERSION, body, timeout_s, flexible=True
    )
    reply.int("i")  # throttle_time_ms
    found = [at for _ in range(reply.count()) for at in _committed_of_topic(reply)]
    error = reply.int("h")
    if error:
        raise WireError(f"OffsetFetch: error {error}")
    return found


def _committed_of_topic(reply: _Reader) -> list[Committed]:
    found = []
    topic = reply.compact()
    for _ in range(reply.count()):
        partition, offset = reply.int("i"), reply.int("q")
        reply.int("i")  # leader epoch
        # confluent-kafka writes metadata with the NUL of its C string.
        text = reply.compact().removesuffix("\0")
        if reply.int("h") == 0:
            found.append(Committed(topic, partition, offset, text))
        reply.skip_tags()
    reply.skip_tags()
    return found


def find_coordinator(
    address: tuple[str, int], name: str, kind: int = 0, timeout_s: float = 2.0
) -> tuple[str, int]:
    """Where this broker believes the coordinator of a group to be; kind 1: of a
    transactional.id.

    Raises OSError, or WireError when it does not know.
    """
    body = struct.pack(">h", len(name)) + name.encode() + struct.pack(">b", kind)
    reply = _ask(address, FIND_COORDINATOR, FIND_COORDINATOR_VERSION, body, timeout_s)
    reply.int("i")  # throttle_time_ms
    error = reply.int("h")
    reply.string()
    if error:
        raise WireError(f"FindCoordinator: error {error}")
    reply.int("i")  # node
    return reply.string(), reply.int("i")


def find_coordinators(address: tuple[str, int]) -> None:
    """Ask for both, whatever the answers: the first question has the broker make
    its internal topics."""
    for kind in (0, 1):
        with contextlib.suppress(WireError):
            find_coordinator(address, "blockfleet-harness", kind)


def metadata(address: tuple[str, int], timeout_s: float = 2.0) -> Metadata:
    """Ask one broker for its view of the cluster, all topics included.

    Raises OSError when it cannot be reached and WireError on a bad answer.
    """
    every_topic_create_none = struct.pack(">i?", -1, False)
    reply = _ask(
        address, METADATA, METADATA_VERSION, every_topic_create_none, timeout_s
    )
    found = Metadata()
    reply.int("i")  # throttle_time_ms
    for _ in range(reply.int("i")):
        node, host, port = reply.int("i"), reply.string(), reply.int("i")
        reply.string()  # rack
        found.brokers[node] = (host, port)
    reply.string()  # cluster id
    found.controller = reply.int("i")
    for _ in range(reply.int("i")):
        reply.int("h")  # error
        name = reply.string()
        reply.int("b")  # is_internal
        found.topics[name] = [_partition(reply) for _ in range(reply.int("i"))]
    return found


def _partition(reply: _Reader) -> Partition:
    reply.int("h")  # error
    reply.int("i")  # index
    return Partition(reply.int("i"), reply.ints(), reply.ints())
