"""Just enough of the Kafka protocol to ask a broker three things.

Whether it is ready: an open port says little, a broker accepts connections
before it knows the cluster. And what a group has committed, metadata included:
confluent-kafka reads metadata beyond its end (it is not NUL-terminated).
And who coordinates a group or a transaction, for what the first question does.
Layouts: https://kafka.apache.org/protocol (request header v1, Metadata v4,
OffsetFetch v5, FindCoordinator v2: the newest that need no flexible encoding).
"""

import socket
import struct
from dataclasses import dataclass, field

METADATA = 3
METADATA_VERSION = 4
OFFSET_FETCH = 9
OFFSET_FETCH_VERSION = 5
FIND_COORDINATOR = 10
FIND_COORDINATOR_VERSION = 2
MAX_REPLY_BYTES = 16 << 20


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
    address: tuple[str, int], api: int, version: int, body: bytes, timeout_s: float
) -> _Reader:
    client = b"blockfleet-harness"
    head = struct.pack(">hhih", api, version, 1, len(client)) + client
    return _Reader(_exchange(address, head + body, timeout_s))


@dataclass(frozen=True)
class Committed:
    topic: str
    partition: int
    offset: int
    metadata: str


def committed(
    address: tuple[str, int], group: str, timeout_s: float = 2.0
) -> list[Committed]:
    """What a group has committed, as its coordinator says: a stable answer,
    without what open transactions have pending.

    Raises OSError, or WireError when this broker cannot tell.
    """
    name = group.encode()
    every_topic = struct.pack(">h", len(name)) + name + struct.pack(">i", -1)
    reply = _ask(address, OFFSET_FETCH, OFFSET_FETCH_VERSION, every_topic, timeout_s)
    found = []
    reply.int("i")  # throttle_time_ms
    for _ in range(reply.int("i")):
        topic = reply.string()
        for _ in range(reply.int("i")):
            partition, offset = reply.int("i"), reply.int("q")
            reply.int("i")  # leader epoch
            # confluent-kafka writes metadata with the NUL of its C string.
            text = reply.string().removesuffix("\0")
            at = Committed(topic, partition, offset, text)
            if reply.int("h") == 0:
                found.append(at)
    error = reply.int("h")
    if error:
        raise WireError(f"OffsetFetch: error {error}")
    return found


def find_coordinators(address: tuple[str, int], timeout_s: float = 2.0) -> None:
    """Ask for those of a group and of a transaction, whatever the answers: the
    first question has the broker make its internal topics.

    Raises OSError or WireError when it does not answer.
    """
    name = b"blockfleet-harness"
    for kind in (0, 1):
        body = struct.pack(">h", len(name)) + name + struct.pack(">b", kind)
        _ask(address, FIND_COORDINATOR, FIND_COORDINATOR_VERSION, body, timeout_s)


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
