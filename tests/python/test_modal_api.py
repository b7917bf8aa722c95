"""Modal's own SDK, unmodified, against our test server of Modal's control
plane: what passes here speaks their dialect."""

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = ROOT / "tests" / "providers"
sys.path.insert(0, str(PROVIDERS))

from modal_api import ModalApi  # noqa: E402

CODE = "def run(self, a, b):\n    return {'sum': a + b}\n"
SLOW = "import time\n\ndef run(self):\n    time.sleep(60)\n    return {}\n"
RAISES = "def run(self):\n    raise ValueError('no way')\n"


def head(code: str, number: int, workspace: str = "acme") -> str:
    told = {
        "run_id": f"{number:032x}",
        "workspace_id": workspace,
        "code_hash": hashlib.md5((code + "\n").encode()).hexdigest(),
        "code_str": code,
        "imports": [],
        "run_function_name": "run",
        "workflow_context": {},
        "timeout_seconds": "30",
    }
    return json.dumps(told)


def operation(op: str, code: str, number: int, **more: Any) -> dict[str, Any]:
    given = {"workspace": "acme", "head": head(code, number), "inputs": "{}"}
    return {"op": op, **given, **more}


class ModalSdk(unittest.TestCase):
    def setUp(self) -> None:
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.api = ModalApi(Path(folder.name))
        self.addCleanup(self.api.close)

    def sdk(self, *operations: dict[str, Any], **env: str) -> list[Any]:
        told = {
            "MODAL_SERVER_URL": self.api.url,
            "MODAL_TOKEN_ID": self.api.token[0],
            "MODAL_TOKEN_SECRET": self.api.token[1],
            "MODAL_PAYLOAD_FORMAT": "cbor",
            "MODAL_CONFIG_PATH": str(self.api.folder / "none.toml"),
            "SSL_CERT_FILE": str(self.api.ca),
            **env,
        }
        done = subprocess.run(
            [sys.executable, str(PROVIDERS / "modal_sdk.py")],
            input=json.dumps(operations),
            env={**os.environ, **told},
            capture_output=True,
            text=True,
            timeout=120,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return json.loads(done.stdout)

    def test_a_method_is_called_and_its_code_runs(self) -> None:
        add = '{"a": 2, "b": 40}'
        (first, failed) = self.sdk(
            operation("remote", CODE, 1, inputs=add), operation("remote", RAISES, 2)
        )
        told, result = first["value"]
        self.assertEqual(json.loads(result), {"sum": 42})
        self.assertIs(json.loads(told)["success"], True)
        told, result = failed["value"]
        self.assertIsNone(result)
        self.assertEqual(json.loads(told)["error_type"], "ValueError")
        self.assertEqual(
            [(run.run_id[-1], run.workspace) for run in self.api.ledger],
            [("1", "acme"), ("2", "acme")],
        )

    def test_what_is_spawned_can_be_fetched_again(self) -> None:
        add = '{"a": 1, "b": 2}'
        (done,) = self.sdk(operation("spawn", CODE, 1, inputs=add))
        first, again, call = done["value"]
        self.assertEqual(first, again)
        self.assertEqual(json.loads(first[1]), {"sum": 3})
        self.assertEqual(call, self.api.ledger[0].call)
        self.assertEqual(len(self.api.ledger), 1)

    def test_a_cancelled_call_is_killed(self) -> None:
        began = time.monotonic()
        (done,) = self.sdk(operation("spawn_cancel", SLOW, 1, seconds=1))
        self.assertEqual(done["error"], "RemoteError")
        self.assertIn("cancelled", done["says"])
        self.assertLess(time.monotonic() - began, 45)
        self.assertTrue(self.api.ledger[0].cancelled)
        killed = self.api.run_of(self.api.ledger[0].call).result(10)
        self.assertIs(killed["success"], False)

    def test_exceptions(self) -> None:
        bad, no_class, no_app = self.sdk(
            operation("bad_remote", CODE, 1),
            operation("remote", CODE, 2, cls="Nobody"),
            operation("remote", CODE, 3, app="nowhere"),
        )
        self.assertEqual(bad["error"], "RemoteError")
        self.assertIn("not enough values", bad["says"])
        self.assertEqual(no_class["error"], "NotFoundError")
        self.assertEqual(no_app["error"], "NotFoundError")
        self.assertEqual(self.api.ledger, [])

    def test_statuses_of_results(self) -> None:
        names = {
            "INTERNAL_FAILURE": "InternalFailure",
            "TIMEOUT": "FunctionTimeoutError",
            "TERMINATED": "RemoteError",
            "INIT_FAILURE": "RemoteError",
            "MEMORY_MANAGER_EVICTION": "RemoteError",
        }
        for code in names:
            self.api.rule("result", rpc="FunctionGetOutputs", code=code, count=1)
        operations = [operation("remote", CODE, n) for n in range(len(names))]
        done = self.sdk(*operations)
        self.assertEqual([one.get("error") for one in done], list(names.values()))

    def test_large_payloads_go_by_the_blob_store(self) -> None:
        echo = "def run(self, a):\n    return {'a': a}\n"
        self.api.max_object = 1000
        large = json.dumps({"a": "x" * 5000})
        (done,) = self.sdk(operation("remote", echo, 1, inputs=large))
        self.assertEqual(json.loads(done["value"][1]), json.loads(large))
        self.assertEqual(self.api.counts["blob_put"], 1)
        self.assertEqual(self.api.counts["blob_get"], 1)
        (sent,) = self.api.sent("FunctionMap")
        self.assertTrue(sent.message.pipelined_inputs[0].input.args_blob_id)

    def test_faults_that_the_sdk_gets_over(self) -> None:
        faults = [
            self.api.rule("status", rpc="FunctionMap", code="UNAVAILABLE", count=1),
            self.api.rule("status", rpc="FunctionMap", code="INTERNAL", count=1),
            self.api.rule("throttle", rpc="FunctionMap", seconds=0.2, count=1),
            self.api.rule("disconnect", rpc="FunctionGetOutputs", count=1),
            self.api.rule("goaway", rpc="FunctionGetOutputs", count=1),
            self.api.rule("refused", rpc="FunctionBindParams", count=1),
        ]
        (done,) = self.sdk(operation("remote", CODE, 1, inputs='{"a": 1, "b": 1}'))
        self.assertEqual(json.loads(done["value"][1]), {"sum": 2}, done)
        self.assertEqual([rule.hits for rule in faults], [1] * len(faults))
        self.assertEqual(len(self.api.ledger), 1)
        keys = {
            one.headers["x-idempotency-key"] for one in self.api.sent("FunctionMap")
        }
        self.assertEqual(len(keys), 1)
        self.assertEqual(len(self.api.sent("FunctionMap")), 4)
        waited = [
            one.headers["x-throttle-retry-attempt"]
            for one in self.api.sent("FunctionMap")
        ]
        self.assertEqual(waited, ["0", "0", "0", "1"])

    def test_a_reply_that_is_lost_starts_nothing_twice(self) -> None:
        self.api.rule("disconnect", rpc="FunctionMap", ran=True, count=1)
        (done,) = self.sdk(operation("remote", CODE, 1, inputs='{"a": 1, "b": 1}'))
        self.assertEqual(json.loads(done["value"][1]), {"sum": 2}, done)
        self.assertEqual(self.api.counts["idempotent"], 1)
        self.assertEqual(len(self.api.ledger), 1)

    def test_who_may_not_call(self) -> None:
        (done,) = self.sdk(operation("remote", CODE, 1), MODAL_TOKEN_SECRET="wrong")
        self.assertEqual(done["error"], "AuthError")
        self.assertEqual(self.api.ledger, [])


if __name__ == "__main__":
    unittest.main()
