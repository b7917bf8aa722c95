"""A fleet under test: keys, topics, signed jobs and workers on a real broker.

Written against PROTOCOL.md through bfwire, not through our own programs, so
that they and the tests cannot be wrong in the same way.
"""

import base64
import os
import secrets
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "wire"))

import bfwire
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from harness import HANG_S, Cluster, Proc, Procs

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(os.environ.get("BF_BIN_DIR", ROOT / "build/crash/bin"))
FULL = bool(os.environ.get("BF_FULL"))
LANES = ("jobs", "batch", "control")
PURPOSES = ("job", "control", "state", "result", "run")
TOPICS = (
    "jobs",
    "jobs.batch",
    "state",
    "results",
    "usage",
    "deadletter",
    "callbacks",
    "control",
    "events",
)
QUICK = {"reconnect.backoff.max.ms": "500", "log_level": "0"}
BLOCK = bfwire.dump(
    {
        "run_function_code": "def run(self, n):\n    return {'n': n}\n",
        "run_function_name": "run",
        "imports": [],
        "init_function_code": None,
        "init_function_name": "init",
        "block_type": "echo",
    }
).encode()


def now_ms() -> int:
    return time.time_ns() // 1_000_000


class Keys:
    """A directory of keys as config/keys.h describes it, made by hand."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(mode=0o700, parents=True)
        self.private = {p: self._make(p) for p in PURPOSES}

    def _make(self, purpose: str, workspaces: str = "") -> bfwire.Ed25519PrivateKey:
        seed = secrets.token_bytes(32)
        key = bfwire.private_key(seed)
        public = bfwire.public_bytes(key)
        path = self.folder / f"{purpose}.{bfwire.key_id(public)}.key"
        path.touch(mode=0o600)
        path.write_text(f"ed25519 {purpose} {base64.b64encode(seed).decode()}\n")
        bound = f" workspaces={workspaces}" if workspaces else ""
        with (self.folder / "trusted").open("a") as trusted:
            text = base64.b64encode(public).decode()
            trusted.write(f"{purpose} ed25519 {text}{bound}\n")
        return key

    def trusted(self) -> list[bfwire.TrustedKey]:
        return [
            bfwire.TrustedKey(bfwire.public_bytes(key), purpose)
            for purpose, key in self.private.items()
        ]


class Fleet:
    """One blockfleet on one cluster; its files live in `folder`.

    name: of one of several fleets of a cluster, in its topics and its group.
    """

    def __init__(
        self,
        cluster: Cluster,
        folder: Path,
        shards: int = 12,
        spread: int = 4,
        name: str = "",
    ) -> None:
        self.cluster = cluster
        self.folder = folder
        self.shards = shards
        self.spread = spread
        self.prefix = f"bf.{name}." if name else "bf."
        self.group = f"blockfleet.{name}" if name else "blockfleet"
        self.procs = Procs(folder / "logs")
        self.keys = Keys(folder / "keys")
        self.run_logs: list[Path] = []
        self.produced: dict[tuple[str, str, int], bfwire.Job] = {}
        self._producer = Producer(
            {
                "bootstrap.servers": cluster.bootstrap,
                "enable.idempotence": "true",
                "linger.ms": "5",
                "message.max.bytes": str(17 << 20),
                **QUICK,
            }
        )

    # ---- topics

    def topic(self, name: str) -> str:
        return self.prefix + name

    def init_topics(self, config: dict[str, dict[str, str]] | None = None) -> None:
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap, **QUICK})
        nodes = len(self.cluster.brokers)
        topics = [
            NewTopic(
                self.topic(name),
                self.shards,
                nodes,
                config={**self._config(name), **(config or {}).get(name, {})},
            )
            for name in TOPICS
        ]
        for future in admin.create_topics(topics).values():
            future.result(HANG_S)
        self.cluster.wait_topics(self.topic(name) for name in TOPICS)
        self._write_bases()

    @staticmethod
    def _config(name: str) -> dict[str, str]:
        if name == "state":
            return {"cleanup.policy": "compact"}
        if name in ("jobs", "jobs.batch", "results", "deadletter"):
            return {"max.message.bytes": str(16 << 20)}
        return {}

    def _write_bases(self) -> None:
        records = []
        for shard in range(self.shards):
            for lane in LANES:
                entry = bfwire.BaseEntry(
                    lane=lane,
                    base=0,
                    map=b"",
                    host="test",
                    pid=1,
                    txn_id="topics-init",
                    at_ms=now_ms(),
                )
                place = (self.topic("state"), shard)
                records.append(bfwire.entry_build(entry, 0, "main", place, now_ms()))
        self.produce("state", records)

    # ---- records

    def produce(self, purpose: str | None, records: Sequence[bfwire.Record]) -> None:
        """Sign in trees of 64, produce, wait for every delivery report."""
        failed: list[str] = []

        def report(error: object, _message: object) -> None:
            if error is not None:
                failed.append(str(error))

        for start in range(0, len(records), bfwire.MAX_TREE):
            tree = records[start : start + bfwire.MAX_TREE]
            if purpose is not None:
                key = self.keys.private[purpose]
                bfwire.sign_tree(purpose, key, now_ms(), tree)
            for rec in tree:
                self._producer.produce(
                    rec.topic,
                    key=rec.key,
                    value=rec.value,
                    partition=rec.partition,
                    headers=rec.headers,
                    on_delivery=report,
                )
            self._producer.poll(0)
        left = self._producer.flush(HANG_S)
        if left or failed:
            raise AssertionError(f"{left} not delivered, {failed[:3]}")

    def job(self, workspace: str, job_id: str, **more: object) -> bfwire.Job:
        fields = {
            "block": BLOCK,
            "inputs": b'{"n": 1}',
            "accepted_at_ms": now_ms(),
            "expires_at_ms": now_ms() + 3_600_000,
            "id_origin": "server",
            "spread": self.spread,
            **more,
        }
        return bfwire.Job(workspace, job_id, **fields)

    def place(self, job: bfwire.Job, topic: str = "jobs") -> tuple[str, int]:
        return self.topic(topic), bfwire.partition_of(
            job.workspace, job.order_key, job.id, self.spread, self.shards
        )

    def build(self, job: bfwire.Job, topic: str = "jobs") -> bfwire.Record:
        return bfwire.job_build(job, "main", self.place(job, topic))

    def submit(
        self, jobs: Iterable[bfwire.Job], topic: str = "jobs"
    ) -> list[bfwire.Record]:
        records: list[bfwire.Record] = []
        for job in jobs:
            self.produced[(job.workspace, job.id, job.generation)] = job
            records.append(self.build(job, topic))
        self.produce("job", records)
        return records

    # ---- workers

    def worker(
        self,
        name: str,
        *,
        env: dict[str, str] | None = None,
        bootstrap: str | None = None,
        **options: object,
    ) -> Proc:
        flags = {
            "kafka.brokers": bootstrap or self.cluster.bootstrap,
            "keys.dir": self.keys.folder,
            "kafka.group": self.group,
            "topics.prefix": self.prefix,
            "instance": "test",
            "run_dir": self.folder / "run",
            "log.format": "json",
            "worker.log_runs": self._run_log(name),
            "worker.session_timeout": "6s",
            **{key.replace("__", "."): value for key, value in options.items()},
        }
        argv = [str(BIN / "blockfleet-worker")]
        for key, value in flags.items():
            argv += [f"--{key}", str(value)]
        return self.procs.start(name, argv, env=env)

    def _run_log(self, name: str) -> Path:
        """A log a worker, so that it is known whose runs were lost."""
        path = self.folder / f"{name}.runs"
        path.touch()
        self.run_logs.append(path)
        return path

    def started(self, worker: Proc) -> Proc:
        worker.wait_json(lambda line: line.get("event") == "worker_up", HANG_S)
        return worker


def spread_jobs(
    fleet: Fleet, count: int, workspaces: int, make: Callable[[int], dict[str, object]]
) -> list[bfwire.Job]:
    return [
        fleet.job(f"ws-{n % workspaces}", f"job-{n}", **make(n)) for n in range(count)
    ]
