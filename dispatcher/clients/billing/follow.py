"""Reads bf.usage into the store, from where the store says."""

import argparse
import signal
import sys
import time

from confluent_kafka import (
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    TopicPartition,
)
from exits import FENCED, LOST, OK, UNREACHABLE, say
from signature import Keys
from store import Fenced, Place, Read, Store
from usage import Refused, parse

ASK_EVERY_S = 15  # for the ends of the topic, to know how far it is complete
LATEST = -1  # as the time of a record: the end


class Lost(Exception):
    """The topic does not hold any more what was to be read next."""


class Follower:
    """Reads the topic into the store, from where the store says."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.store = Store(options.db, create=True)
        self.topic: str = options.topic
        self.keys = Keys(options.trusted) if options.trusted else None
        self.at: dict[Place, int] = {}
        self.stop = False
        self.consumer = Consumer(
            {
                "bootstrap.servers": options.brokers,
                # What an aborted transaction wrote never happened.
                "isolation.level": "read_committed",
                # Positions are in the store: the group is never joined, and a
                # position that the topic does not have is an error, not a guess.
                "group.id": "billing",
                "enable.auto.commit": False,
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": 2048,  # a partition
                **dict(setting.split("=", 1) for setting in options.X),
            }
        )

    def assign(self) -> None:
        known = self.store.positions(self.topic)
        found = self.consumer.list_topics(self.topic, timeout=30).topics[self.topic]
        if found.error is not None:
            raise KafkaException(found.error)
        starts = []
        for partition in found.partitions:
            place, low = (self.topic, partition), 0
            if place not in known:
                asked = TopicPartition(*place)
                low, _ = self.consumer.get_watermark_offsets(asked, timeout=30)
                if low > 0:
                    say(f"{place} begins at {low}: nothing before it is counted")
            self.at[place] = known.get(place, low)
            starts.append(TopicPartition(*place, self.at[place]))
        # An empty topic tells no position: what is deleted later would be missed.
        new = {at: (self.at[at], self.at[at]) for at in self.at if at not in known}
        self.store.take([], new)
        self.consumer.assign(starts)
        say(f"reading {len(starts)} partitions of {self.topic}")

    def read(self, message: Message) -> Read:
        place = message.topic(), message.partition()
        key, value = message.key(), message.value()
        headers = [(name, data or b"") for name, data in message.headers() or []]
        try:
            row = parse(key, value, headers)
            if self.keys is not None:
                self.keys.check(*place, key or b"", value or b"", headers)
        except Refused as why:
            say(f"set aside {place}@{message.offset()}: {why}")
            return Read(place, message.offset(), None, str(why), value)
        return Read(place, message.offset(), row, "", value)

    def step(self) -> int:
        """One batch, one transaction."""
        batch, moves = [], dict[Place, tuple[int, int]]()
        for message in self.consumer.consume(500, 0.5):
            error = message.error()
            if error is None:
                batch.append(self.read(message))
            elif error.code() == KafkaError._AUTO_OFFSET_RESET:
                raise Lost(error.str())
            elif error.fatal():
                raise KafkaException(error)
            elif error.code() != KafkaError._PARTITION_EOF:
                say(error.str())  # a broker is away: the client connects again
                continue
            place = message.topic(), message.partition()
            # At the end of a partition come markers of transactions, no records.
            next = message.offset() + (0 if error else 1)
            moves[place] = moves.get(place, (self.at[place], 0))[0], next
        if moves:
            new = self.store.take(batch, moves)
            self.at.update({place: next for place, (_, next) in moves.items()})
            if batch:
                say(f"{len(batch)} records, {new} new")
        return len(batch)

    def ends(self) -> dict[Place, int]:
        """What can be read now; behind an open transaction, nothing can."""
        asked = [TopicPartition(*place, LATEST) for place in self.at]
        found = self.consumer.offsets_for_times(asked, timeout=10)
        return {(at.topic, at.partition): at.offset for at in found if not at.error}

    def reached(self, ends: dict[Place, int]) -> bool:
        return all(self.at[place] >= ends.get(place, sys.maxsize) for place in self.at)

    def run(self, until_end: bool, timeout_s: float) -> int:
        """Each time all that was there at one moment is counted, say so."""
        deadline = time.monotonic() + timeout_s
        ends, asked_ms, next_ask = dict[Place, int](), 0, 0.0
        while not self.stop:
            if not ends and time.monotonic() >= next_ask:
                asked_ms = time.time_ns() // 1_000_000
                try:
                    ends = self.ends()
                except KafkaException as error:
                    say(f"no answer: {error}")
                next_ask = time.monotonic() + (1 if not ends else ASK_EVERY_S)
            self.step()
            if ends and self.reached(ends):
                self.store.complete(asked_ms)
                ends = {}
                if until_end:
                    return OK
            if until_end and time.monotonic() > deadline:
                say("the end was not reached in time")
                return UNREACHABLE
        return OK


def follow(options: argparse.Namespace) -> int:
    follower = Follower(options)
    if options.from_start:
        follower.store.forget_positions(options.topic)

    def stop(*_: object) -> None:
        follower.stop = True

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        follower.assign()
        return follower.run(options.until_end, options.timeout)
    except Lost as error:
        say(f"records were deleted before they were read: {error}")
        return LOST
    except Fenced as error:
        say(f"another process writes this file: {error}")
        return FENCED
    except KafkaException as error:
        say(str(error))
        return UNREACHABLE
    finally:
        follower.consumer.close()
