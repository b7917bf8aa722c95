"""The app for Modal: what it asks Modal for, and what its containers answer,
behind a test's edge; without an account nobody has deployed it here."""

import asyncio
import gzip
import http.client
import importlib
import json
import os
import signal
import sys
import time
import unittest
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
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
from modal_edge import ModalEdge  # noqa: E402

KEY = w.private_key(b"r" * 32)
LINE = f"run ed25519 {w.b64(w.public_bytes(KEY))} test"
CODE = "def run(a):\n    return {'twice': 2 * a}\n"
TOKEN = {"modal-key": "wk-test", "modal-secret": "ws-test"}


@contextmanager
def deployed(**given: str) -> Iterator[Any]:
    """The app as it is when it is deployed with this environment."""
    names = {f"BF_MODAL_{name}": value for name, value in given.items()}
    keys = {"BLOCKFLEET_RUN_KEYS": LINE}
    with mock.patch.dict(os.environ, {**keys, **names}):
        sys.modules.pop("modal_app", None)
        yield importlib.import_module("modal_app")


def request(number: int, run: int, **more: Any) -> dict[str, Any]:
    return {
        "code_hash": w.code_hash(CODE, []),
        "run_function_name": "run",
        "inputs_json": json.dumps({"a": number}),
        "workflow_context": {},
        "code_str": CODE,
        "imports": [],
        "timeout_seconds": "5.000000",
        "workspace_id": "acme",
        "run_id": f"{run:032x}",
        **more,
    }


def signed(url: str, body: bytes, run: int) -> dict[str, str]:
    now = int(time.time())
    message = w.HttpMessage(
        method="POST",
        target_uri=url,
        content_type="application/json",
        content_digest=w.content_digest(body),
        run_id=f"{run:032x}",
        created_s=now,
        expires_s=now + 35,
        nonce=f"{run:032x}",
        key_id=w.key_id(w.public_bytes(KEY)),
    )
    given, signature = w.http_sign(message, KEY)
    return {
        "content-type": message.content_type,
        "content-digest": message.content_digest,
        "idempotency-key": f'"{message.run_id}"',
        "signature-input": given,
        "signature": signature,
    }


class Asked(unittest.TestCase):
    """What Modal is asked for."""

    def test_pooled_containers_are_shut_in(self) -> None:
        with deployed() as module:
            told = module.SETTINGS.cls()
        self.assertIs(told["restrict_modal_access"], True)
        self.assertIs(told["block_network"], True)
        self.assertIs(told["enable_memory_snapshot"], True)
        self.assertIs(told["single_use_containers"], False)
        self.assertIs(told["include_source"], False)
        self.assertEqual((told["cpu"], told["memory"]), ((1.0, 1.0), (1024, 1024)))
        self.assertEqual(told["env"], {"BLOCKFLEET_RUN_KEYS": LINE})
        self.assertNotIn("gpu", told)

    def test_strict_and_otherwise_as_told(self) -> None:
        given = {
            "APP": "fleet-strict",
            "PROFILE": "strict",
            "NETWORK": "1",
            "CPU": "0.5,2",
            "MEMORY": "512,4096",
            "SLOTS": "8",
            "GPU": "T4",
            "PACKAGES": "pillow==11.0.0",
            "TIMEOUT": "60",
            "REGION": "eu-west",
            "MAX": "3",
            "SNAPSHOT": "0",
        }
        with deployed(**given) as module:
            self.assertEqual(module.app.name, "fleet-strict")
            told = module.SETTINGS.cls()
            self.assertEqual(module.SETTINGS.slots, 1)
        self.assertIs(told["single_use_containers"], True)
        self.assertIs(told["block_network"], False)
        self.assertIs(told["enable_memory_snapshot"], False)
        self.assertEqual((told["cpu"], told["memory"]), ((0.5, 2.0), (512, 4096)))
        self.assertEqual((told["gpu"], told["region"]), ("T4", "eu-west"))
        self.assertEqual((told["timeout"], told["max_containers"]), (120, 3))

    def test_what_is_no_profile(self) -> None:
        with self.assertRaisesRegex(ValueError, "pooled or strict"):
            with deployed(PROFILE="loose"):
                pass

    def test_without_keys_no_container_starts(self) -> None:
        with deployed() as module, mock.patch.dict(os.environ):
            del os.environ["BLOCKFLEET_RUN_KEYS"]
            with self.assertRaisesRegex(ValueError, "no key of purpose run"):
                module.Container(module.Settings())


class Containers(unittest.TestCase):
    """Really running blocks, behind the edge."""

    def setUp(self) -> None:
        self.module = self.enterContext(deployed(SLOTS="2"))
        self.containers: list[Any] = []
        self.edge = self.enterContext(ModalEdge(engine="echo", app=self.start))
        self.http = http.client.HTTPConnection("127.0.0.1", self.edge.port, timeout=60)
        self.addCleanup(self.http.close)

    def tearDown(self) -> None:
        async def stop() -> None:
            for container in self.containers:
                await container.stop()

        self.edge.server.run(stop())

    async def start(self, workspace: str) -> Any:
        container = self.module.Container(self.module.SETTINGS)
        self.containers.append(container)
        await container.start()
        with mock.patch.dict(os.environ, {"MODAL_TASK_ID": "ta-test"}):
            container.open(workspace)
        return container.application

    def post(
        self, run: int, query: str = "workspace_id=acme", **more: Any
    ) -> tuple[int, dict[str, Any]]:
        body = json.dumps(request(21, run, **more)).encode()
        body = gzip.compress(body) if run % 2 else body
        headers = {**TOKEN, **signed(f"{self.edge.url}/?{query}", body, run)}
        if run % 2:
            headers["content-encoding"] = "gzip"
        return self.ask(body, query, headers)

    def ask(
        self, body: bytes, query: str, headers: dict[str, str]
    ) -> tuple[int, dict[str, Any]]:
        self.http.request("POST", f"/?{query}", body, headers)
        reply = self.http.getresponse()
        return reply.status, json.loads(reply.read())

    def test_only_what_is_signed_for_this_workspace_runs(self) -> None:
        for run in (1, 2):
            status, told = self.post(run)
            self.assertEqual((status, told["result"]), (200, '{"twice": 42}'))
            self.assertGreater(told["duration_us"], 0)
            self.assertEqual(told["container_id"], "ta-test")
        status, told = self.post(2)
        self.assertEqual(status, 500, "a replay may have run")
        status, told = self.post(3, workspace_id="other")
        self.assertEqual((status, told["delivery"]), (422, "did_not_run"))
        body = json.dumps(request(21, 4)).encode()
        status, told = self.ask(body, "workspace_id=acme", TOKEN)
        self.assertEqual((status, told["delivery"]), (401, "did_not_run"))
        headers = {**TOKEN, **signed("http://elsewhere/?workspace_id=acme", body, 5)}
        self.assertEqual(self.ask(body, "workspace_id=acme", headers)[0], 401)
        self.assertEqual(len(self.edge.ledger), 2)

    def test_code_is_known_in_its_own_container_only(self) -> None:
        unknown = {"code_str": None, "imports": None}
        for run, query, known in (
            (1, "acme", False),
            (2, "acme", True),
            (3, "other", False),
        ):
            if known:
                self.assertEqual(self.post(10)[0], 200)
            status, told = self.post(
                run, f"workspace_id={query}", workspace_id=query, **unknown
            )
            self.assertEqual((status, told["success"]), (200, known))
            if not known:
                self.assertEqual(told["error_type"], "UnknownCodeHash")
                self.assertIs(told["server_error"], True)

    def test_the_method_for_grpc(self) -> None:
        async def call() -> list[Any]:
            container = self.module.Container(self.module.SETTINGS)
            await container.start()
            container.open("acme")
            found = []
            for changes in ({}, {"workspace_id": "other"}, {"code_str": "1 +"}):
                asked = request(0, 1, **changes)
                del asked["inputs_json"]
                head, result = await container.call(
                    json.dumps(asked).encode(), b'{"a": 4}'
                )
                found.append((json.loads(head), result))
            await container.stop()
            return found

        ran, other, broken = asyncio.run(call())
        self.assertEqual(ran[1], b'{"twice": 8}')
        self.assertIs(ran[0]["success"], True)
        self.assertNotIn("result", ran[0])
        self.assertEqual((other[0]["error_type"], other[1]), ("InvalidRequest", None))
        self.assertIs(other[0]["server_error"], True)
        self.assertIs(broken[0]["success"], False)

    def test_the_method_says_what_of_a_run_without_a_runner(self) -> None:
        code = "def run(a):\n    time.sleep(60)\n"
        asked = request(0, 1, code_str=code, code_hash=w.code_hash(code, []))
        del asked["inputs_json"]
        head = json.dumps(asked).encode()

        async def call() -> list[Any]:
            container = self.module.Container(self.module.SETTINGS)
            container.open("acme")
            door, engine = container.door, container.engine
            door.limits = replace(door.limits, boot_seconds=0.05)
            found = [await container.call(head, b'{"a": 4}')]
            await container.start()
            run = asyncio.create_task(container.call(head, b'{"a": 4}'))
            while not engine._waiting and not run.done():
                await asyncio.sleep(0.01)
            os.kill(engine._process.pid, signal.SIGKILL)
            found.append(await run)
            await container.stop()
            return found

        # No `success`: that is what tells a worker that it is no run's answer.
        for (told, result), delivery in zip(
            asyncio.run(call()), ("did_not_run", "unknown"), strict=True
        ):
            self.assertEqual(sorted(json.loads(told)), ["delivery", "error"])
            self.assertEqual((json.loads(told)["delivery"], result), (delivery, None))


if __name__ == "__main__":
    unittest.main()
