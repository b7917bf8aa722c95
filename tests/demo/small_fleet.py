"""A small fleet on this machine: topics, one dispatcher, a few local workers.

Everything of it is in one folder; fleet.ini is read by all its programs, and
by `blockfleet --config`.
"""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import urllib.request
from pathlib import Path

from harness import Proc, Timeout, wait_until

ROOT = Path(__file__).resolve().parents[2]
SHARDS = 8
WORKSPACE = "demo"
START_S = 60

INI = """\
# One broker, one dispatcher and a few workers on this machine.
run_dir = {folder}/run

[kafka]
brokers = {brokers}
group = {group}

[topics]
prefix = {prefix}
shards = {shards}
# A workspace may use every shard, so that every worker gets some of it.
spread = {shards}

[keys]
dir = {folder}/keys

[log]
format = json

[worker]
backend = local

[local]
python = {python}
runners = 1
slots = 2
# Blocks run in processes of their own, without a jail around them: only code
# of one's own workspaces.
trusted_workspaces = {workspace}

[dispatcher]
listen = 127.0.0.1:0
port_file = {folder}/address
# No tokens: it listens on the loopback interface only.
anonymous = true
url = {url}
"""


class Fleet:
    """Processes of one folder. detached: they outlive this program."""

    def __init__(
        self, folder: Path, programs: Path, python: Path, *, detached: bool = False
    ) -> None:
        self.folder = folder
        self.programs = programs
        self.python = python
        self.detached = detached
        self.ini = folder / "fleet.ini"
        self.procs: list[Proc] = []
        self.address = ""

    def configure(self, brokers: str, prefix: str = "bf.") -> None:
        """An empty folder, but for the keys: topics of before need them."""
        self.brokers, self.prefix = brokers, prefix
        for name in ("logs", "run"):
            shutil.rmtree(self.folder / name, ignore_errors=True)
            (self.folder / name).mkdir(parents=True)
        self._write_ini()

    def _write_ini(self) -> None:
        text = INI.format(
            folder=self.folder,
            brokers=self.brokers,
            group="blockfleet" if self.prefix == "bf." else self.prefix.rstrip("."),
            prefix=self.prefix,
            shards=SHARDS,
            python=self.python,
            workspace=WORKSPACE,
            url=self.url,
        )
        self.ini.write_text(text)

    def command(self, *words: str) -> list[str]:
        """A command line of `blockfleet` for this fleet."""
        argv = [self.programs / "blockfleet", *words, "--config", self.ini]
        return [str(part) for part in argv]

    @property
    def url(self) -> str:
        return f"http://{self.address or '127.0.0.1:8080'}"

    def init_topics(self) -> str:
        """What `topics init` says; its own words when it fails."""
        done = subprocess.run(
            self.command("topics", "init", "--dev-keys"),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"topics init failed:\n{done.stdout}")
        return done.stdout

    def _start(self, name: str, program: str, *options: str) -> Proc:
        proc = Proc(
            [self.programs / program, "--config", self.ini, *options],
            self.folder / "logs" / f"{name}.log",
            cwd=self.folder,
            name=name,
            detached=self.detached,
        )
        self.procs.append(proc)
        return proc

    def start_dispatcher(self) -> None:
        file = self.folder / "address"
        file.unlink(missing_ok=True)
        proc = self._start("dispatcher", "blockfleet-dispatcher")

        def ready() -> bool:
            if not proc.alive():
                raise RuntimeError(f"the dispatcher ended:\n{proc.tail()}")
            return file.exists() and is_ready(file.read_text().strip())

        wait_until(ready, START_S, f"a ready dispatcher, see {proc.log}")
        self.address = file.read_text().strip()
        self._write_ini()  # now that there is an address to give

    def start_workers(self, names: list[str]) -> None:
        """All at once, until each has some of the shards."""
        procs = [
            self._start(name, "blockfleet-worker", f"--instance={name}")
            for name in names
        ]
        for proc in procs:
            for event in ("runner_ready", "shard_open"):
                proc.wait_json(lambda line, e=event: line.get("event") == e, START_S)

    def stop(self) -> None:
        """The youngest first: workers drain while the dispatcher listens."""
        for proc in self.procs:
            if proc.name != "dispatcher" and proc.alive():
                proc.signal(signal.SIGTERM)
        for proc in reversed(self.procs):
            proc.stop()


def is_ready(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{address}/readyz", timeout=5) as answer:
            return answer.status == 200
    except OSError:
        return False


class State:
    """The pids of a fleet that runs in the background, in a file."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def write(self, fleet: Fleet, brokers: str, own_broker: bool) -> None:
        state = {
            "url": fleet.url,
            "brokers": brokers,
            "own_broker": own_broker,
            "config": str(fleet.ini),
            "processes": {proc.name: proc.pid for proc in fleet.procs},
        }
        self.file.write_text(json.dumps(state, indent=2) + "\n")

    def read(self) -> dict | None:
        try:
            return json.loads(self.file.read_text())
        except (OSError, ValueError):
            return None

    def running(self) -> dict[str, int]:
        """Those that live and are still ours, not a reused pid."""
        state = self.read() or {"processes": {}, "config": ""}
        return {
            name: pid
            for name, pid in state["processes"].items()
            if has_argument(pid, state["config"])
        }

    def stop(self) -> list[str]:
        """Who was stopped; workers drain while the dispatcher listens."""
        running = self.running()
        last = {n: p for n, p in running.items() if n == "dispatcher"}
        for group in ({n: p for n, p in running.items() if n not in last}, last):
            for pid in group.values():
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGTERM)
            self._wait(set(group))
        self.file.unlink(missing_ok=True)
        return list(running)

    def _wait(self, names: set[str]) -> None:
        def gone() -> bool:
            return not names & set(self.running())

        try:
            wait_until(gone, 30, f"the end of {', '.join(sorted(names))}")
        except Timeout:
            for name, pid in self.running().items():
                if name in names:
                    with contextlib.suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGKILL)


def has_argument(pid: int, word: str) -> bool:
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return word.encode() in arguments
