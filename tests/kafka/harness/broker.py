"""Apache Kafka brokers for tests: start, kill -9, freeze, restart, on free ports.

    with Cluster() as cluster:              # one node; Cluster(3) is RF 3
        client = Producer({"bootstrap.servers": cluster.bootstrap})
        cluster.brokers[0].kill9()
        cluster.brokers[0].restart()

Settings, JVM flags and times are measured ones: a node answers in about
1.3 s. Data and logs live in a temporary folder that goes with the
cluster (BF_KEEP=1 keeps it).
"""

import base64
import contextlib
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Self

from . import wire
from .dist import Dist, dist, locked
from .ports import PortLease
from .procs import Proc, wait_until

READY_S = 90.0
STORAGE = "bootstrap.checkpoint"  # in the folder of data, beside the ids

_COMMON = {
    "process.roles": "broker,controller",
    "controller.listener.names": "CONTROLLER",
    "inter.broker.listener.name": "PLAINTEXT",
    "offsets.topic.num.partitions": "4",
    "transaction.state.log.num.partitions": "4",
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "2",
    "num.io.threads": "4",
    "log.cleaner.dedupe.buffer.size": "4194304",
    "log.cleaner.threads": "1",
    "auto.create.topics.enable": "false",
}

# A killed broker is declared dead, and a dangling transaction aborted, soon.
_QUICK_DEATH = {
    "broker.session.timeout.ms": "3000",
    "broker.heartbeat.interval.ms": "500",
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "1000",
}


def replication(nodes: int) -> dict[str, str]:
    """Replication of topics and of the broker's own state on `nodes` nodes."""
    factor, in_sync = (3, 2) if nodes >= 3 else (1, 1)
    found = {"default.replication.factor": factor, "min.insync.replicas": in_sync}
    found["offsets.topic.replication.factor"] = factor
    for log in ("transaction.state.log", "share.coordinator.state.topic"):
        found[f"{log}.replication.factor"] = factor
        found[f"{log}.min.isr"] = in_sync
    return {name: str(value) for name, value in found.items()}


def random_id() -> str:
    """A uuid as Kafka spells it."""
    text = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22]
    # The first character may not be a dash: it would look like an option.
    return "b" + text[1:]


def _properties(lines: Mapping[str, str]) -> str:
    return "".join(f"{name}={value}\n" for name, value in lines.items())


def _keep(made: Path, kept: Path) -> None:
    """Whole or not at all, whoever else does the same."""
    partial = kept.with_suffix(f".{os.getpid()}")
    shutil.copyfile(made, partial)
    partial.rename(kept)


class Broker:
    """One node. Its ports stay the same for life; methods block until done."""

    def __init__(self, cluster: "Cluster", node_id: int) -> None:
        self.cluster = cluster
        self.node_id = node_id
        self.dir = cluster.dir / f"node{node_id}"
        self.log = cluster.dir / f"node{node_id}.log"
        self._leases = {name: PortLease() for name in cluster.listeners}
        self.proc: Proc | None = None

    def port(self, listener: str = "PLAINTEXT") -> int:
        return self._leases[listener].port

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port()}"

    @property
    def proxy_port(self) -> int:
        """Where a proxy must listen: advertised to clients of PROXY."""
        return self.port("ADVERTISED")

    @property
    def proxy_target(self) -> tuple[str, int]:
        """Where that proxy must forward to."""
        return ("127.0.0.1", self.port("PROXY"))

    @property
    def pid(self) -> int:
        assert self.proc is not None, "broker was never started"
        return self.proc.pid

    def start(self) -> None:
        """Start the process; Cluster.wait_ready() tells when it answers."""
        assert self.proc is None or not self.proc.alive(), "already running"
        self.proc = Proc(
            self.cluster.command("kafka.Kafka", str(self.dir / "server.properties")),
            self.log,
            name=f"broker {self.node_id}",
            detached=self.cluster.detached,
        )

    def kill9(self) -> None:
        """SIGKILL, and wait until the process is gone."""
        if self.proc is not None:
            self.proc.kill_group()

    def stop(self) -> None:
        """SIGTERM: a controlled shutdown, 1.5–2.5 s."""
        if self.proc is not None:
            self.proc.stop()

    def restart(self, ready: bool = True) -> None:
        """Start again (stopping first if it runs) on the same ports and data."""
        self.stop()
        self.start()
        if ready:
            self.cluster.wait_ready()

    def sigstop(self) -> None:
        if self.proc is not None:
            self.proc.sigstop()

    def sigcont(self) -> None:
        if self.proc is not None:
            self.proc.sigcont()

    def alive(self) -> bool:
        return self.proc is not None and self.proc.alive()

    def metadata(self) -> wire.Metadata | None:
        """Its view of the cluster, None while it does not answer."""
        try:
            return wire.metadata(("127.0.0.1", self.port()))
        except (OSError, wire.WireError):
            return None

    def format(self, config: Mapping[str, str]) -> None:
        """Write the properties and an empty storage.

        Kafka's tool for it is one more JVM to start, and what it writes is the
        same for every node but for the ids: it runs once, its file is kept.
        """
        self.dir.mkdir()
        file = self.dir / "server.properties"
        lines = {**self._own_config(), **config}
        file.write_text(_properties(lines))
        data, kept = self.dir / "data", self.cluster.dist.storage
        if not kept.exists():
            self._run_format(file)
            _keep(data / STORAGE, kept)
            return
        data.mkdir()
        shutil.copyfile(kept, data / STORAGE)
        ids = {
            "version": "1",
            "cluster.id": self.cluster.id,
            "node.id": str(self.node_id),
            "directory.id": random_id(),
        }
        (data / "meta.properties").write_text(_properties(ids))

    def _run_format(self, properties: Path) -> None:
        tool = ["kafka.tools.StorageTool", "format", "-t", self.cluster.id]
        with self.log.open("ab") as log:
            subprocess.run(
                self.cluster.command(*tool, "-c", str(properties)),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=True,
            )

    def _own_config(self) -> dict[str, str]:
        names = [name for name in self._leases if name != "ADVERTISED"]
        listen = {name: f"{name}://127.0.0.1:{self.port(name)}" for name in names}
        advertised = {"PLAINTEXT": listen["PLAINTEXT"]}
        if "PROXY" in listen:
            advertised["PROXY"] = f"PROXY://127.0.0.1:{self.proxy_port}"
        return {
            "node.id": str(self.node_id),
            "log.dirs": str(self.dir / "data"),
            "listeners": ",".join(listen.values()),
            "advertised.listeners": ",".join(advertised.values()),
            "listener.security.protocol.map": ",".join(f"{n}:PLAINTEXT" for n in names),
        }

    def release(self) -> None:
        for lease in self._leases.values():
            lease.release()


class Cluster:
    """`nodes` brokers, each also a controller; ready when the block is entered.

    proxied: every node has a second listener, PROXY, whose advertised address
    is `broker.proxy_port`; whoever bootstraps there stays on the proxy's side.
    config: more broker properties. quick_death: see _QUICK_DEATH.
    folder: where data and logs live, instead of a temporary folder.
    java: another JVM and jars than those of prepare().
    detached: the brokers outlive this process unless stop() is called.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        proxied: bool = False,
        config: Mapping[str, str] | None = None,
        quick_death: bool = True,
        folder: Path | None = None,
        java: Dist | None = None,
        detached: bool = False,
    ) -> None:
        self.detached = detached
        self.dist = java or prepare()
        self.heap_mb = 512 if nodes == 1 else 384
        self.id = random_id()
        self._temporary = folder is None
        self.dir = folder or Path(tempfile.mkdtemp(prefix="blockfleet-kafka-"))
        self.listeners = ["PLAINTEXT", "CONTROLLER"]
        if proxied:
            self.listeners += ["PROXY", "ADVERTISED"]
        self.brokers = [Broker(self, node + 1) for node in range(nodes)]
        self._config = {
            **_COMMON,
            **replication(nodes),
            **(_QUICK_DEATH if quick_death else {}),
            "controller.quorum.voters": ",".join(
                f"{b.node_id}@127.0.0.1:{b.port('CONTROLLER')}" for b in self.brokers
            ),
            **(config or {}),
        }

    def command(self, *arguments: str) -> list[str]:
        return [*self.dist.command(self.heap_mb), *arguments]

    @property
    def bootstrap(self) -> str:
        """bootstrap.servers for clients that talk to the brokers directly."""
        return ",".join(b.address for b in self.brokers)

    @property
    def proxy_bootstrap(self) -> str:
        """bootstrap.servers for clients that go through a proxy."""
        return ",".join(f"127.0.0.1:{b.proxy_port}" for b in self.brokers)

    def start(self) -> Self:
        try:
            for broker in self.brokers:
                broker.format(self._config)
                broker.start()
            self.wait_ready()
            self._wake_coordinators()
        except BaseException:
            self.stop()
            raise
        return self

    def _wake_coordinators(self) -> None:
        """Have the topics of groups and transactions made, while a test makes
        its own: whoever came first would be told to ask again in a second."""
        broker = self.brokers[0]
        with contextlib.suppress(OSError, wire.WireError):
            wire.find_coordinators(("127.0.0.1", broker.port()))

    def wait_ready(self, deadline_s: float = READY_S) -> None:
        """Until every running node knows every running node and a controller."""

        def settled() -> bool:
            alive = [b for b in self.brokers if b.alive()]
            for broker in self.brokers:
                self._raise_if_failed(broker)
            return bool(alive) and all(self._knows(b, alive) for b in alive)

        wait_until(settled, deadline_s, f"brokers ready (logs in {self.dir})", 0.05)

    @staticmethod
    def _raise_if_failed(broker: Broker) -> None:
        """A node that gave up at start ends the wait, with its last words."""
        if broker.proc is not None and broker.proc.returncode == 1:
            raise RuntimeError(f"{broker.proc.name} failed:\n{broker.proc.tail()}")

    @staticmethod
    def _knows(broker: Broker, alive: list[Broker]) -> bool:
        view = broker.metadata()
        return view is not None and {b.node_id for b in alive} <= set(view.brokers)

    def wait_in_sync(self, deadline_s: float = READY_S) -> None:
        """Until no partition lacks a leader or a replica: for rolling restarts."""

        def healed() -> bool:
            views = [b.metadata() for b in self.brokers]
            return all(view is not None and view.in_sync() for view in views)

        wait_until(healed, deadline_s, "all replicas in sync", 0.05)

    def wait_topics(self, names: Iterable[str]) -> None:
        """Until every running node knows them: who made them is told sooner."""
        wanted = set(names)

        def known() -> bool:
            views = [b.metadata() for b in self.brokers if b.alive()]
            return all(view and wanted <= set(view.topics) for view in views)

        wait_until(known, READY_S, f"topics {sorted(wanted)}")

    def stop(self) -> None:
        """Kill all nodes, free the ports, remove the data."""
        for broker in self.brokers:
            broker.kill9()
            broker.release()
        if self._temporary and not os.environ.get("BF_KEEP"):
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *error: object) -> None:
        self.stop()


def prepare() -> Dist:
    """Jars and class archive in place; the archive is made by one short run."""
    found = dist()
    if not found.archive.exists():
        with locked(found.archive.with_suffix(".lock")):
            if not found.archive.exists():
                _make_archive(found)
    return found


def _make_archive(found: Dist) -> None:
    """A run that dumps its classes on SIGTERM (a JVM of 17 has no better way)."""
    partial = found.archive.with_suffix(".part")
    dumping = replace(found, flags=(f"-XX:ArchiveClassesAtExit={partial}",))
    with Cluster(java=dumping) as cluster:
        cluster.brokers[0].stop()
    with contextlib.suppress(FileNotFoundError):
        partial.rename(found.archive)
