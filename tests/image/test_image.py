"""The image, and the fleet that docker-compose.yml makes of it.

Where no engine is, the Dockerfile's steps are carried out in Debian trees
(dockerfile.py), docker-compose.yml is resolved by Debian's own docker-compose,
and the services' commands run as pid 1 of their namespaces, with the folders,
the user and the environment that an engine would give them; only the broker is
the tests', and they share the network of this machine.
"""

import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "kafka"))
import dockerfile
from debian import ROOT, Inside, Unavailable, cache_dir, check
from dockerfile import Image
from harness import Cluster, Proc, Procs, wait_until

COMPOSE = """\
FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends docker-compose \
    && rm -rf /var/lib/apt/lists/*
"""
UID = 10001
BLOCK = """\
import os
import numpy

def run(self, a, b):
    return {"sum": int(numpy.sum([a, b])), "uid": os.getuid()}
"""


def resolved() -> dict:
    """docker-compose.yml as docker-compose understands it."""
    with dockerfile.built(None, text=COMPOSE) as [image]:
        with Inside(image.layers, env=image.env, binds=[(ROOT, "/mnt", "ro")]) as tree:
            argv = ["docker-compose", "-f", "/mnt/docker-compose.yml"]
            argv += ["--profile", "tools", "config", "--format", "json"]
            done = tree.run(argv)
    if done.returncode:
        raise AssertionError(done.stdout)
    return json.loads(done.stdout)


class Container:
    """A service's process, as pid 1 of its namespaces."""

    def __init__(self, tree: Inside, proc: Proc, hostname: str) -> None:
        self.tree, self.proc, self.hostname = tree, proc, hostname

    @property
    def pid(self) -> int:
        """Of its first process, as it is out here."""
        path = Path(f"/proc/{self.proc.pid}/task/{self.proc.pid}/children")
        [child] = wait_until(lambda: path.read_text().split(), 20, "a first process")
        return int(child)

    def exec(self, argv: list[str]) -> subprocess.CompletedProcess[str]:
        """As an engine runs a health check."""
        enter = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root"]
        enter += ["--wd", f"--setuid={UID}", f"--setgid={UID}"]
        return subprocess.run(
            [*enter, *argv], stdin=subprocess.DEVNULL, capture_output=True, text=True
        )

    def processes(self) -> list[str]:
        """Names of what runs in there, and of what nobody has reaped."""
        done = self.exec(["sh", "-c", "cat /proc/[0-9]*/stat"])
        return re.findall(r"^\d+ \((.*)\)", done.stdout, re.MULTILINE)

    def stop(self) -> int:
        os.kill(self.pid, signal.SIGTERM)
        return self.proc.wait(60)


class Engine:
    """What an engine and compose would do with these services."""

    def __init__(self, image: Image, services: dict, folder: Path) -> None:
        self.image, self.services, self.folder = image, services, folder
        self.procs = Procs(folder / "logs")
        self.overrides: dict[str, str] = {}

    def _volume(self, name: str, target: str) -> Path:
        """A named volume begins as the image's folder: its owner, its mode."""
        path = self.folder / "volumes" / name
        if not path.exists():
            path.mkdir(parents=True)
            with Inside(self.image.layers) as tree:
                done = tree.run(["stat", "-c", "%u %g %a", target])
            uid, gid, mode = done.stdout.split()
            os.chown(path, int(uid), int(gid))
            path.chmod(int(mode, 8))
        return path

    def _binds(self, service: dict) -> list[tuple[str | Path, str, str]]:
        binds: list[tuple[str | Path, str, str]] = []
        for volume in service.get("volumes", []):
            path = self._volume(volume["source"], volume["target"])
            mode = "ro" if volume.get("read_only") else "rw"
            binds.append((path, volume["target"], mode))
        for line in service.get("tmpfs", []):
            target, _, options = line.partition(":")
            binds.append(("tmpfs", target, options or "mode=1777"))
        return binds

    def _tree(self, name: str, hostname: str, more: dict[str, str]) -> Inside:
        service = self.services[name]
        tree = Inside(
            self.image.layers,
            env={
                **self.image.env,
                **service["environment"],
                **self.overrides,
                **more,
            },
            cwd=self.image.cwd,
            user=self.image.user,
            hostname=hostname,
            binds=[*self._binds(service), (self.folder / "here", "/here", "ro")],
            read_only=service.get("read_only", False),
        )
        return tree

    def _argv(self, name: str, words: list[str]) -> list[str]:
        service = self.services[name]
        command = words or service.get("command") or self.image.command()
        return [*(service.get("entrypoint") or []), *command]

    def run(self, name: str, *words: str, **more: str) -> str:
        """To its end; what it said."""
        with self._tree(name, secrets.token_hex(6), more) as tree:
            done = tree.run(self._argv(name, list(words)))
        if done.returncode:
            raise AssertionError(f"{name} {words}: {done.returncode}\n{done.stdout}")
        return done.stdout

    def start(self, test: unittest.TestCase, name: str, **more: str) -> Container:
        hostname = secrets.token_hex(6)  # as engines call a container
        tree = test.enterContext(self._tree(name, hostname, more))
        argv = tree.command(self._argv(name, []))
        return Container(tree, self.procs.start(f"{name}-{hostname}", argv), hostname)


class ImageTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        try:
            check()
        except Unavailable as error:
            raise unittest.SkipTest(str(error)) from error
        [cls.image] = cls.enterClassContext(dockerfile.built(None))
        cls.services = resolved()["services"]

    def setUp(self) -> None:
        # Its volumes have to be reachable for the image's user.
        self.folder = Path(tempfile.mkdtemp(prefix="blockfleet-image-"))
        self.folder.chmod(0o755)
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)
        (self.folder / "here").mkdir()
        self.cluster = self.enterContext(Cluster())
        self.engine = Engine(self.image, self.services, self.folder)
        self.engine.overrides = {"BLOCKFLEET_KAFKA_BROKERS": self.cluster.bootstrap}
        self.enterContext(self.engine.procs)

    def keys(self) -> dict[str, bytes]:
        folder = self.folder / "volumes" / "keys"
        return {file.name: file.read_bytes() for file in folder.iterdir()}

    def dispatcher(self) -> tuple[Container, str]:
        """One that listens, on a free port."""
        container = self.engine.start(
            self,
            "dispatcher",
            BLOCKFLEET_DISPATCHER_LISTEN="0.0.0.0:0",
            BLOCKFLEET_DISPATCHER_PORT_FILE="view/address",
        )
        file = self.folder / "volumes" / "view" / "address"
        wait_until(file.exists, 60, f"an address, see {container.proc.log}")
        port = file.read_text().strip().rpartition(":")[2]
        return container, port

    def healthy(self, container: Container, test: list[str]) -> None:
        kind, *argv = test
        command = argv if kind == "CMD" else ["/bin/sh", "-c", *argv]
        wait_until(
            lambda: container.exec(command).returncode == 0,
            60,
            f"health, see {container.proc.log}",
            0.5,
        )

    def image_health(self) -> list[str]:
        """The image's own health check, as compose would write it."""
        text = self.image.notes["HEALTHCHECK"].text
        return ["CMD-SHELL", text.partition("CMD ")[2]]

    def job(self, url: str, code: str, *inputs: str) -> dict:
        """One through the command line; its result."""
        (self.folder / "here" / "block.py").write_text(code)
        words = ["submit", "-w", "demo", "-c", "/here/block.py", "--wait", "--json"]
        for word in inputs:
            words += ["--set", word]
        said = self.engine.run("blockfleet", *words, BLOCKFLEET_DISPATCHER_URL=url)
        [job] = [json.loads(line) for line in said.splitlines() if line[:1] == "{"]
        self.assertEqual(job["status"], "succeeded", said)
        said = self.engine.run(
            *("blockfleet", "results", "-w", "demo", "--raw", job["job"]),
            BLOCKFLEET_DISPATCHER_URL=url,
        )
        return json.loads(said)

    def test_docker_compose_takes_it(self) -> None:
        self.assertEqual(
            set(self.services), {"broker", "init", "dispatcher", "worker", "blockfleet"}
        )

    def test_a_fleet_of_it(self) -> None:
        self.engine.run("init")
        keys = self.keys()
        self.assertIn("operator", keys)
        self.engine.run("init")
        self.assertEqual(self.keys(), keys, "the second time it makes none")

        dispatcher, port = self.dispatcher()
        url = f"http://127.0.0.1:{port}"
        workers = [self.engine.start(self, "worker") for _ in range(2)]
        for worker in workers:
            up = worker.proc.wait_json(lambda line: line["event"] == "worker_up", 60)
            self.assertEqual(up["txn_id"], f"blockfleet-{worker.hostname}-0")
            self.healthy(worker, self.image_health())
        check = self.services["dispatcher"]["healthcheck"]["test"]
        self.healthy(dispatcher, [word.replace("8080", port) for word in check])

        result = self.job(url, BLOCK, "a=2", "b=40")
        self.assertEqual(result, {"sum": 42, "uid": UID})
        for container in [*workers, dispatcher]:
            # As with docker exec: it outlives its parent, then it ends.
            container.exec(["sh", "-c", "sleep 0.2 &"])
            wait_until(
                lambda c=container: "sleep" not in c.processes(), 20, "pid 1 to reap"
            )
        for container in [*workers, dispatcher]:
            self.assertEqual(container.stop(), 0, container.proc.tail())
        for worker in workers:
            self.assertIn("left_group", worker.proc.log.read_text())

    def test_a_worker_without_keys_says_so_and_ends(self) -> None:
        worker = self.engine.start(self, "worker")
        self.assertEqual(worker.proc.wait(60), 2)
        self.assertIn("no_key", worker.proc.log.read_text())

    def test_nothing_is_left(self) -> None:
        with Inside(self.image.layers) as tree:
            self.assertEqual(tree.run(["true"]).returncode, 0)
        mounts = Path("/proc/self/mountinfo").read_text()
        self.assertNotIn(str(cache_dir()), mounts)


if __name__ == "__main__":
    unittest.main()
