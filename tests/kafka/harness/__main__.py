"""`./run kafka start|stop|status`: one broker that outlives the command.

Its state is `<cache>/run/kafka.json`; standard output is the bootstrap address
and nothing else, so that a script can take it.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from .broker import Cluster
from .dist import Missing, cache_dir, locked
from .procs import HANG_S, Timeout, wait_until


def _state_file() -> Path:
    return cache_dir() / "run" / "kafka.json"


def _folder() -> Path:
    return cache_dir() / "run" / "kafka"


def _is_ours(pid: int) -> bool:
    """The process lives and is the broker of our folder, not a reused pid."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return os.fsencode(_folder()) in arguments


def _running() -> dict[str, Any] | None:
    try:
        state = json.loads(_state_file().read_text())
    except (OSError, ValueError):
        return None
    return state if _is_ours(state["pid"]) else None


def start() -> int:
    state = _running()
    if state is None:
        shutil.rmtree(_folder(), ignore_errors=True)
        _folder().mkdir(parents=True)
        cluster = Cluster(folder=_folder(), quick_death=False, detached=True)
        cluster.start()
        state = {"pid": cluster.brokers[0].pid, "bootstrap": cluster.bootstrap}
        _state_file().write_text(json.dumps(state) + "\n")
    print(state["bootstrap"])
    return 0


def stop() -> int:
    state = _running()
    if state is None:
        print("no broker is running", file=sys.stderr)
        return 0
    os.kill(state["pid"], signal.SIGTERM)
    try:
        wait_until(lambda: not _is_ours(state["pid"]), HANG_S, "broker stopped")
    except Timeout:
        with contextlib.suppress(ProcessLookupError):
            os.kill(state["pid"], signal.SIGKILL)
    _state_file().unlink()
    return 0


def status() -> int:
    state = _running()
    if state is None:
        print("no broker is running", file=sys.stderr)
        return 1
    print(state["bootstrap"])
    print(f"pid {state['pid']}, log {_folder() / 'node1.log'}", file=sys.stderr)
    return 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run kafka")
    actions = {"start": start, "stop": stop, "status": status}
    parser.add_argument("action", choices=actions)
    action = parser.parse_args().action
    try:
        with locked(cache_dir() / "run" / "kafka.lock"):
            return actions[action]()
    except (Missing, RuntimeError, Timeout) as error:
        print(f"run: {error}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
