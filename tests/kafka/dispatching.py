"""A dispatcher under test: its keys, its process, its HTTP, its topics."""

import base64
import http.client
import json
import os
import sys
import tempfile
import time
import unittest
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from harness import HANG_S, Cluster, Proc, Procs, wait_until

sys.path.insert(0, str(Path(__file__).parents[1] / "wire"))
import bfwire  # noqa: E402

BIN = Path(os.environ.get("BF_BIN_DIR", Path(__file__).parents[2] / "build/crash/bin"))
QUICK = {"reconnect.backoff.max.ms": "500"}
SHARDS = 4
TOPICS = {
    "bf.jobs": {"max.message.bytes": "16777216"},
    "bf.jobs.batch": {"max.message.bytes": "16777216"},
    "bf.state": {"cleanup.policy": "compact"},
    "bf.results": {"max.message.bytes": "16777216"},
    "bf.usage": {},
    "bf.deadletter": {"max.message.bytes": "16777216"},
    "bf.callbacks": {},
    "bf.control": {},
    "bf.events": {},
}


def make_topics(
    bootstrap: str, shards: int, names: Iterable[str] = TOPICS, prefix: str = "bf."
) -> None:
    """names: as if the prefix were bf."""
    admin = AdminClient({"bootstrap.servers": bootstrap, **QUICK})
    new = [
        NewTopic(prefix + name.removeprefix("bf."), shards, config=TOPICS[name])
        for name in names
    ]
    for future in admin.create_topics(new).values():
        future.result(HANG_S)


class Keys:
    """A keys.dir with one key of each purpose, and the private halves."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True)
        self.private = {p: Ed25519PrivateKey.generate() for p in bfwire.PURPOSES}
        lines = []
        for purpose, key in self.private.items():
            public = bfwire.public_bytes(key)
            kid = bfwire.key_id(public)
            seed = base64.b64encode(key.private_bytes_raw()).decode()
            file = folder / f"{purpose}.{kid}.key"
            file.touch(mode=0o600)
            file.write_text(f"ed25519 {purpose} {seed}\n")
            lines.append(f"{purpose} ed25519 {base64.b64encode(public).decode()}\n")
        (folder / "trusted").write_text("".join(lines))

    def verifier(self) -> bfwire.Trust:
        trusted = [
            bfwire.TrustedKey(bfwire.public_bytes(key), purpose)
            for purpose, key in self.private.items()
        ]
        return bfwire.Trust(trusted)


@dataclass
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)

    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.body.splitlines()]


@dataclass
class Dispatcher:
    """One process on a free port. Options as for the program, without the --."""

    procs: Procs
    bootstrap: str
    keys: Keys
    folder: Path
    options: Mapping[str, str] = field(default_factory=dict)
    name: str = "dispatcher"
    proc: Proc | None = None
    address: str = ""

    def start(self, ready: bool = True) -> "Dispatcher":
        port_file = self.folder / f"{self.name}.port"
        port_file.unlink(missing_ok=True)
        options = {
            "kafka.brokers": self.bootstrap,
            "keys.dir": str(self.keys.folder),
            "run_dir": str(self.folder),
            "log.format": "json",
            "topics.shards": "4",
            "dispatcher.listen": "127.0.0.1:0",
            "dispatcher.port_file": str(port_file),
            "dispatcher.view": str(self.folder / f"{self.name}.sqlite"),
            "dispatcher.anonymous": "true",
            **self.options,
        }
        argv = [BIN / "blockfleet-dispatcher"]
        argv += [part for k, v in options.items() for part in (f"--{k}", v)]
        # The folder has no blockfleet.ini: nothing but these options counts.
        self.proc = self.procs.start(self.name, argv, cwd=self.folder)

        def listening() -> bool:
            assert self.proc is not None and self.proc.alive(), self.proc.tail()
            return port_file.exists()

        wait_until(listening, HANG_S, "the port file")
        self.address = port_file.read_text().strip()
        if ready:
            self.wait_ready()
        return self

    def wait_ready(self) -> None:
        wait_until(
            lambda: self.get("/readyz").status == 200, HANG_S, "a ready dispatcher"
        )

    def restart(self) -> None:
        assert self.proc is not None
        assert self.proc.stop() == 0, self.proc.tail()
        self.start()

    def request(
        self,
        method: str,
        path: str,
        body: bytes | Iterable[bytes] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        host, port = self.address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=HANG_S)
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            return Answer(answer.status, dict(answer.getheaders()), answer.read())
        finally:
            connection.close()

    def get(self, path: str, **query: str | int) -> Answer:
        return self.request("GET", f"{path}?{urlencode(query)}" if query else path)

    def get_lines(self, path: str, **query: str | int) -> Answer:
        """The same, as NDJSON."""
        accept = {"Accept": "application/x-ndjson"}
        return self.request("GET", f"{path}?{urlencode(query)}", headers=accept)

    def post(self, body: bytes, **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(
            "POST", "/v1/jobs", body, {"Content-Type": "application/json", **named}
        )

    def post_lines(self, lines: Iterable[bytes], **headers: str) -> Answer:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return self.request(
            "POST",
            "/v1/jobs",
            b"".join(line + b"\n" for line in lines),
            {"Content-Type": "application/x-ndjson", **named},
        )


def job(workspace: str, inputs: bytes = b"{}", **members: Any) -> bytes:
    """A job's JSON with these inputs in it byte by byte."""
    block = {"run_function_code": "def run(self, **kwargs):\n    return kwargs\n"}
    rest = json.dumps({"workspace": workspace, "block": block, **members})
    return rest[:-1].encode() + b', "inputs": ' + inputs + b"}"


class Log:
    """The committed records of a topic; each read() fetches only what is new."""

    def __init__(self, bootstrap: str, topic: str, shards: int) -> None:
        self.bootstrap = bootstrap
        self.topic = topic
        self.records: list[bfwire.Record] = []
        self._next = dict.fromkeys(range(shards), 0)

    def read(self) -> list[bfwire.Record]:
        """All that the topic has now, by partition and offset."""
        consumer = Consumer(
            {
                "bootstrap.servers": self.bootstrap,
                "group.id": "oracle",
                "isolation.level": "read_committed",
                "auto.offset.reset": "error",
                "enable.partition.eof": True,
                "enable.auto.commit": False,
                "fetch.wait.max.ms": "50",  # every end has to be told
                **QUICK,
            }
        )
        consumer.assign([TopicPartition(self.topic, *at) for at in self._next.items()])
        ended: set[int] = set()

        def done() -> bool:
            for message in consumer.consume(1_000, 0.05):
                error, partition = message.error(), message.partition()
                if error is None:
                    # Also behind an end that was told: others are waited for.
                    self.records.append(record_of(message))
                    self._next[partition] = message.offset() + 1
                elif error.code() == KafkaError._PARTITION_EOF:
                    ended.add(partition)
                    self._next[partition] = message.offset()
            return len(ended) == len(self._next)

        try:
            wait_until(done, HANG_S, f"the end of {self.topic}", every_s=0)
        finally:
            consumer.close()
        self.records.sort(key=lambda rec: (rec.partition, rec.offset))
        return self.records


def record_of(message: Message) -> bfwire.Record:
    return bfwire.Record(
        message.topic(),
        message.partition(),
        message.key(),
        message.value(),
        [(n, v) for n, v in message.headers() or []],
        message.offset(),
    )


def read_all(bootstrap: str, topic: str, shards: int) -> list[bfwire.Record]:
    """Every committed record that the topic has now, by partition and offset."""
    return Log(bootstrap, topic, shards).read()


class FakeWorker:
    """Writes what a worker would, signed, in transactions: ends and states."""

    NAME = "blockfleet-test-0"

    def __init__(self, bootstrap: str, keys: Keys, shards: int) -> None:
        self.keys = keys
        self.shards = shards
        self.seq = 0
        self.producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "transactional.id": self.NAME,
                "message.max.bytes": 16 << 20,
                **QUICK,
            }
        )
        self.producer.init_transactions(HANG_S)

    def write(self, records: Iterable[bfwire.Record], purpose: str) -> None:
        """One transaction; only the signature is added here."""
        self.producer.begin_transaction()
        key, now_ms = self.keys.private[purpose], time.time_ns() // 10**6
        for rec in records:
            if not rec.has("bf_signature"):
                bfwire.sign_tree(purpose, key, now_ms, [rec])
            self.producer.produce(
                rec.topic, rec.value, rec.key, rec.partition, headers=rec.headers
            )
        self.producer.commit_transaction(HANG_S)

    def end(self, source: bfwire.Record, **how: Any) -> bfwire.End:
        """How a job ended: as told, else it succeeded with its inputs."""
        found = bfwire.job_parse(source)
        now_ms = time.time_ns() // 10**6
        subject = found.subject()
        usual: dict[str, Any] = {
            "outcome": "succeeded",
            "delivery": "ran",
            "result": source.value,
            "run_id": bfwire.run_id(subject, os.urandom(16)),
            "backend": "noop",
            "isolation": "none",
            "fingerprint": "0" * 16,
            "block_type": "t",
            "started_at_ms": now_ms - 12,
            "duration_us": 12_345,
            "billable": True,
            "has_usage": True,
        }
        return bfwire.End(
            job=found,
            source=source,
            ended_at_ms=now_ms,
            worker=self.NAME,
            **{**usual, **how},
        )

    def records_of(self, end: bfwire.End) -> list[bfwire.Record]:
        shard = end.source.partition
        made = [bfwire.result_build(end, "main", ("bf.results", shard))]
        if end.has_usage:
            made.append(bfwire.usage_build(end, "main", ("bf.usage", shard)))
        return made

    def finish(self, ends: Iterable[bfwire.End]) -> None:
        self.write([rec for end in ends for rec in self.records_of(end)], "result")

    def state(self, source: bfwire.Record, state: str, attempt: int = 1) -> None:
        """The entry of one job in its shard."""
        found = bfwire.job_parse(source)
        self.seq += 1
        entry = bfwire.RunEntry(
            lane="batch" if source.topic.endswith(".batch") else "jobs",
            offset=source.offset,
            state=state,
            workspace=found.workspace,
            job=found.id,
            generation=found.generation,
            attempt=attempt,
            due_ms=0,
            expires_ms=found.expires_at_ms,
            id_origin=found.id_origin,
        )
        now_ms = time.time_ns() // 10**6
        place = ("bf.state", source.partition)
        self.write(
            [bfwire.entry_build(entry, self.seq, "main", place, now_ms)], "state"
        )


class DispatcherCase(unittest.TestCase):
    """A broker with topics, keys and a folder for a class, and dispatchers of
    its tests."""

    cluster: Cluster
    keys: Keys
    folder: Path
    procs: Procs

    @classmethod
    def setUpClass(cls) -> None:
        folder = tempfile.TemporaryDirectory(prefix="blockfleet-dispatcher-")
        cls.folder = Path(cls.enterClassContext(folder))
        cls.keys = Keys(cls.folder / "keys")
        cls.cluster = cls.enterClassContext(Cluster())
        make_topics(cls.cluster.bootstrap, SHARDS)
        cls.procs = cls.enterClassContext(Procs(cls.folder / "logs"))

    @classmethod
    def new_dispatcher(cls, name: str = "dispatcher", **options: str) -> Dispatcher:
        """Not started. In options, __ stands for a dot."""
        named = {key.replace("__", "."): value for key, value in options.items()}
        return Dispatcher(
            cls.procs, cls.cluster.bootstrap, cls.keys, cls.folder, named, name
        )
