"""`./run live` against the test servers: what passes there, and that what is
wrong is seen."""

from __future__ import annotations

import asyncio
import base64
import importlib
import os
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path
from typing import Any
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [
    str(ROOT / "tests" / "providers"),
    str(ROOT / "tests" / "wire"),
    str(ROOT / "worker" / "runner"),
]

import bfwire as w  # noqa: E402
from e2b_server import E2BServer  # noqa: E402
from e2bd import box  # noqa: E402
from modal_edge import ModalEdge  # noqa: E402

SEED = b"r" * 32
KEY = w.private_key(SEED)
LINE = f"run ed25519 {w.b64(w.public_bytes(KEY))} test"
TOKEN = {"MODAL_TOKEN_ID": "wk-test", "MODAL_TOKEN_SECRET": "ws-test"}
HOP_S = 1.0


class Live(unittest.TestCase):
    def live(self, *arguments: str, **given: str) -> tuple[int, dict[str, str], str]:
        """Exit status, verdicts by operation, and all that it said."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        name = f"run.{w.key_id(w.public_bytes(KEY))}.key"
        seed = base64.b64encode(SEED).decode()
        (folder / name).write_text(f"ed25519 run {seed}\n")
        command = [sys.executable, str(ROOT / "tests" / "live" / "live.py")]
        done = subprocess.run(
            [*command, "--keys", str(folder), "--without=network", *arguments],
            env={"PATH": os.environ["PATH"], **given},
            capture_output=True,
            text=True,
            timeout=120,
        )
        rows = [line for line in done.stdout.splitlines() if line.count("  ") > 1]
        verdicts = {row[7:21].strip(): row[22:30].strip() for row in rows}
        return done.returncode, verdicts, done.stdout + done.stderr

    def modal(self, keys: str = LINE) -> str:
        """Containers of the real app behind the edge."""
        with mock.patch.dict(os.environ, {"BLOCKFLEET_RUN_KEYS": keys}):
            sys.modules.pop("modal_app", None)
            module = importlib.import_module("modal_app")
        made: list[Any] = []

        async def start(workspace: str) -> Any:
            container = module.Container(module.SETTINGS)
            made.append(container)
            await container.start()
            container.open(workspace)
            return container.application

        async def stop() -> None:
            for container in made:
                await container.stop()

        edge = ModalEdge(engine="echo", app=start, hop_s=HOP_S)
        self.addCleanup(edge.close)
        self.addCleanup(
            lambda: asyncio.run_coroutine_threadsafe(stop(), edge.server._loop).result()
        )
        return edge.url

    def test_modal(self) -> None:
        given = {"MODAL_WEB_ENDPOINT_URL": self.modal(), **TOKEN}
        status, verdicts, said = self.live("modal", **given)
        self.assertEqual(set(verdicts.values()), {"ok"}, said)
        self.assertEqual(len(verdicts), 8, said)  # no token, and seven more
        self.assertEqual(status, 0)
        self.assertIn("killed after 2.", said)  # over two hops

    def test_modal_that_knows_another_key(self) -> None:
        other = w.b64(w.public_bytes(w.private_key(b"s" * 32)))
        url = self.modal(f"run ed25519 {other}")
        status, verdicts, said = self.live(MODAL_WEB_ENDPOINT_URL=url, **TOKEN)
        self.assertEqual(status, 1)
        self.assertEqual((verdicts["run"], verdicts["no token"]), ("FAILED", "ok"))
        self.assertIn("unknown_key", said)
        self.assertIn("not set: E2B_API_KEY", said)
        self.assertNotIn("ws-test", said)

    def test_the_stock_template_of_e2b(self) -> None:
        with E2BServer() as server:
            status, verdicts, said = self.live("e2b", **server.environment)
            self.assertEqual((status, verdicts["stock"]), (0, "ok"), said)
            ended = [one.ended_by for one in server.world.sandboxes.values()]
            self.assertEqual(ended, ["api"])

    @unittest.skipUnless(box.namespaces() == "net", "needs network namespaces (root)")
    def test_a_template_of_ours_in_e2b(self) -> None:
        with E2BServer(path=str(Path(sys.executable).parent)) as server:
            built = subprocess.run(
                ["/usr/bin/python3", ROOT / "worker" / "runner" / "e2b_template.py"],
                env={
                    "PATH": os.environ["PATH"],
                    **server.environment,
                    "BLOCKFLEET_RUN_KEYS": LINE,
                    "BF_E2B_USER": "",  # whom RUN would have made
                },
                capture_output=True,
                text=True,
                timeout=120,
            )
            self.assertEqual(built.returncode, 0, built.stderr)
            name = built.stdout.strip()
            status, verdicts, said = self.live(
                "e2b", **server.environment, E2B_TEMPLATE_ID=name
            )
            self.assertEqual(set(verdicts.values()), {"ok"}, said)
            self.assertEqual((status, len(verdicts)), (0, 8), said)
            ended = [one.ended_by for one in server.world.sandboxes.values()]
            self.assertEqual(ended, ["api"])

    def test_nothing_is_set(self) -> None:
        status, verdicts, said = self.live()
        self.assertEqual(status, 0, said)
        self.assertIn("0 as they should be, 0 not", said)


if __name__ == "__main__":
    unittest.main()
