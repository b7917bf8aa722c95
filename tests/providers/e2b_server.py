#!/usr/bin/env python3
"""E2B for tests: a control plane and a data plane on two ports of loopback,
with sandboxes that really run what they are given, and fail on demand.

    e2b_server.py --port-file P [--rule JSON ...] [--log RUNS]

    with E2BServer() as server:
        server.rules.add("execute", "vanish", share=0.03)
        ... E2B_API_URL=server.api_url E2B_SANDBOX_URL=server.sandbox_url ...
        server.ledger()

What it answers is measured by the vendor's own clients (test_e2b_sdk.py) and by
the vendor's own envd (test_e2b_envd.py). The parts are in e2bd/; its rules.py
lists the faults, its control.py and data.py the operations that they name.

Not here: pty, watches, StreamInput, snapshots, volumes, secrets, logs. RUN
steps of template builds are not run.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from e2bd.control import Control  # noqa: E402
from e2bd.data import Data  # noqa: E402
from e2bd.rules import Rules  # noqa: E402
from e2bd.web import Request, Server  # noqa: E402
from e2bd.world import Limits, Run, World  # noqa: E402

KEY = "e2b_" + "0" * 40


class E2BServer:
    """Serves from its birth; a context manager. Ports 0: any free ones."""

    def __init__(
        self,
        *,
        ports: tuple[int, int] = (0, 0),
        key: str = KEY,
        v2: bool = True,
        limits: Limits | None = None,
        idempotent: bool = False,
        interrupts: bool = False,
        seed: int = 1,
        keep: bool = False,
        path: str = "",
    ) -> None:
        """v2: False has only the routes of older clouds. idempotent: honours
        Idempotency-Key. interrupts: a client that goes interrupts its code.
        keep: leaves the sandboxes' folders. path: of programs that templates
        would install by RUN."""
        self.key = key
        self.rules = Rules(seed)
        self.world = World(limits or Limits(), self.rules, keep, path)
        self.control = Control(self.world, key, v2, idempotent)
        self.data = Data(self.world, interrupts)
        self._servers = [Server(self.control, ports[0]), Server(self.data, ports[1])]
        self.api_port, self.sandbox_port = (one.port for one in self._servers)
        self.api_url = f"http://127.0.0.1:{self.api_port}"
        self.sandbox_url = f"http://127.0.0.1:{self.sandbox_port}"

    def __enter__(self) -> E2BServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.world.closing.set()
        for server in self._servers:
            server.stop()
        self.world.close()

    @property
    def environment(self) -> dict[str, str]:
        """What the vendor's clients, and ours, find it by."""
        return {
            "E2B_API_KEY": self.key,
            "E2B_API_URL": self.api_url,
            "E2B_SANDBOX_URL": self.sandbox_url,
        }

    @property
    def runs(self) -> list[Run]:
        return list(self.world.runs)

    def ledger(self) -> dict[str, Any]:
        return self.world.ledger()

    def capture(self, take: Callable[[str, str, Request], None] | None) -> None:
        """Shows every request to `take(plane, operation, request)`."""
        self.control.capture = self.data.capture = take


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--api-port", type=int, default=0)
    parser.add_argument("--sandbox-port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="gets both, when they are open")
    parser.add_argument("--key", default=KEY)
    parser.add_argument("--v1", action="store_true", help="only older routes")
    parser.add_argument("--concurrent", type=int, default=0)
    parser.add_argument("--creates-per-s", type=float, default=0)
    parser.add_argument("--create-ms", type=int, default=0)
    parser.add_argument("--rule", action="append", default=[], metavar="JSON")
    parser.add_argument("--ledger", type=Path, help="gets the ledger at the end")
    options = parser.parse_args()
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    limits = Limits(
        concurrent=options.concurrent,
        creates_per_s=options.creates_per_s,
        create_ms=options.create_ms,
    )
    server = E2BServer(
        ports=(options.api_port, options.sandbox_port),
        key=options.key,
        v2=not options.v1,
        limits=limits,
    )
    with server:
        for text in options.rule:
            server.rules.add(**json.loads(text))
        if options.port_file:
            half = options.port_file.with_suffix(".new")
            half.write_text(f"{server.api_port} {server.sandbox_port}\n")
            half.rename(options.port_file)
        for name, value in server.environment.items():
            print(f"{name}={value}", flush=True)
        stop.wait()
        if options.ledger:
            options.ledger.write_text(json.dumps(server.ledger()))
    return 0


if __name__ == "__main__":
    sys.exit(main())
