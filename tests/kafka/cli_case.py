"""`blockfleet` as a user runs it: one broker, one dispatcher, maybe a worker."""

import json
import subprocess
import tempfile
import unittest
from pathlib import Path

import dispatching
from dispatching import Dispatcher, Keys, Log, bfwire
from harness import HANG_S, Cluster, Proc, Procs

SHARDS = 4
CODE = "def run(self, a):\n    return {'a': a}\n"


class CliCase(unittest.TestCase):
    """One broker and one dispatcher; every test has a workspace of its own."""

    worker: Proc | None = None

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.logs: dict[str, Log] = {}
        cls.keys = Keys(cls.folder / "keys")
        cls.cluster = cls.enterClassContext(Cluster())
        cls.procs = cls.enterClassContext(Procs(cls.folder / "logs"))
        cls.run_cli(
            *("topics", "init", f"--topics.shards={SHARDS}"),
            *(f"--kafka.brokers={cls.cluster.bootstrap}",),
            f"--keys.dir={cls.keys.folder}",
        )
        cls.dispatcher = Dispatcher(
            cls.procs, cls.cluster.bootstrap, cls.keys, cls.folder
        ).start()
        (cls.folder / "block.py").write_text(CODE)

    @classmethod
    def command(cls, *words: str) -> list[str]:
        return [str(dispatching.BIN / "blockfleet"), *words]

    @classmethod
    def run_cli(cls, *words: str, stdin: bytes = b"", status: int = 0) -> str:
        """Its stdout, after its exit status was checked."""
        done = subprocess.run(
            cls.command(*words),
            input=stdin,
            capture_output=True,
            timeout=HANG_S,
            cwd=cls.folder,
        )
        text = done.stdout.decode() + done.stderr.decode()
        assert done.returncode == status, f"{done.returncode}: {text}"
        return done.stdout.decode() if status == 0 else text

    def blockfleet(self, *words: str, stdin: bytes = b"", status: int = 0) -> str:
        url = f"--dispatcher.url=http://{self.dispatcher.address}"
        return self.run_cli(*words, url, stdin=stdin, status=status)

    def jobs(self, workspace: str, topic: str = "jobs") -> list[bfwire.Record]:
        name = f"bf.{topic}"
        log = self.logs.setdefault(name, Log(self.cluster.bootstrap, name, SHARDS))
        return [r for r in log.read() if r.key == workspace.encode()]

    def lines(self, workspace: str, count: int) -> bytes:
        block = {"run_function_code": CODE}
        return b"".join(
            json.dumps(
                {"workspace": workspace, "block": block, "inputs": {"a": n}}
            ).encode()
            + b"\n"
            for n in range(count)
        )

    @classmethod
    def work(cls) -> None:
        """Start the one worker, once; its noop backend returns the inputs."""
        if cls.worker is not None:
            return
        options = {
            "kafka.brokers": cls.cluster.bootstrap,
            "keys.dir": str(cls.keys.folder),
            "run_dir": str(cls.folder),
            "instance": "test",
            "log.format": "json",
            "topics.shards": str(SHARDS),
        }
        argv = [dispatching.BIN / "blockfleet-worker"]
        argv += [part for k, v in options.items() for part in (f"--{k}", v)]
        cls.worker = cls.procs.start("worker", argv, cwd=cls.folder)
        cls.worker.wait_json(lambda line: line.get("event") == "worker_up")
