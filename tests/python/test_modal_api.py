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
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = ROOT / "tests" / "providers"
sys.path[:0] = [str(PROVIDERS), str(ROOT / "tests" / "wire")]

import cbor2  # noqa: E402
from modal_api import ModalApi, Seen  # noqa: E402
from vendor_golden import modal_request  # noqa: E402

CODE = "def run(self, a, b):\n    return {'sum': a + b}\n"
SLOW = "import time\n\ndef run(self):\n    time.sleep(60)\n    return {}\n"
RAISES = "def run(self):\n    raise ValueError('no way')\n"


def operation(
    op: str, code: str, number: int, inputs: str = "{}", **more: Any
) -> dict[str, Any]:
    head = {
        "run_id": f"{number:032x}",
        "workspace_id": "acme",
        "code_hash": hashlib.md5((code + "\n").encode()).hexdigest(),
        "code_str": code,
        "imports": [],
        "run_function_name": "run",
        "workflow_context": {},
        "timeout_seconds": "30",
    }
    given = {"workspace": "acme", "head": json.dumps(head), "inputs": inputs}
    return {"op": op, **given, **more}


def result(done: dict[str, Any]) -> Any:
    """What the block returned."""
    return json.loads(done["value"][1])


# Of what we send, too: the rest says which client it is.
HEADERS = (
    "x-modal-client-type x-modal-client-version x-modal-token-id "
    "x-modal-token-secret x-modal-host x-idempotency-key x-retry-attempt "
    "x-throttle-retry-attempt"
).split()
NAME = {"app": "blockfleet", "cls": "Executor", "environment": ""}
EXPECTED = ["value", "error", "value"]


def map_values(api: ModalApi, sent: Any) -> dict[str, Any]:
    given = sent.pipelined_inputs[0].input
    (args, kwargs) = cbor2.loads(given.args) if given.args else ([b"", b""], {})
    assert kwargs == {}
    return {
        "function_id": sent.function_id,
        "method": "call",
        "async": sent.function_call_invocation_type == 3,
        "head_hex": args[0].hex(),
        "inputs_hex": args[1].hex(),
        "blob": given.args_blob_id,
    }


def blob_values(api: ModalApi, sent: Any) -> dict[str, Any]:
    (large,) = api.blobs.kept.values()
    return {"bytes_hex": large.hex()}


VALUES: dict[str, Callable[[ModalApi, Any], dict[str, Any]]] = {
    "FunctionGet": lambda _, sent: NAME,
    "FunctionBindParams": lambda _, sent: {
        **NAME,
        "function_id": "fu-1",
        "workspace": "acme",
    },
    "FunctionMap": map_values,
    "FunctionGetOutputs": lambda _, sent: {
        "call_id": sent.function_call_id,
        "wait_s": sent.timeout,
        "now_ms": sent.requested_at * 1000,
    },
    "FunctionCallCancel": lambda _, sent: {"call_id": sent.function_call_id},
    "BlobCreate": blob_values,
}


def clean(seen: Seen) -> Any:
    """Without what is said only by them: statistics of uploads, and that a
    result is to be forgotten once it was sent."""
    sent = type(seen.message)()
    sent.CopyFrom(seen.message)
    if seen.rpc == "FunctionGetOutputs":
        sent.clear_on_success = False
    if seen.rpc == "FunctionMap":
        del sent.pipelined_inputs[0].blob_upload_results[:]
    return sent


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
        self.assertEqual(result(first), {"sum": 42})
        told = json.loads(failed["value"][0])
        self.assertIs(told["success"], False)
        self.assertEqual(told["error_type"], "ValueError")
        self.assertEqual(
            [(run.run_id[-1], run.workspace) for run in self.api.ledger],
            [("1", "acme"), ("2", "acme")],
        )

    def test_what_is_spawned_can_be_fetched_again(self) -> None:
        add = '{"a": 1, "b": 2}'
        (done,) = self.sdk(operation("spawn", CODE, 1, inputs=add))
        first, again, call = done["value"]
        self.assertEqual(first, again)
        self.assertEqual(result({"value": first}), {"sum": 3})
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
        self.assertEqual(result(done), json.loads(large))
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
        self.assertEqual(result(done), {"sum": 2}, done)
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
        self.assertEqual(result(done), {"sum": 2}, done)
        self.assertEqual(self.api.counts["idempotent"], 1)
        self.assertEqual(len(self.api.ledger), 1)

    def test_what_the_sdk_sends_is_what_we_send(self) -> None:
        """The unit tests hold our bytes to modal_request(); here it is held to
        the SDK, field by field, but for what clean() takes away."""
        large = json.dumps({"a": 1, "b": 2, "c": "x" * 9000})
        done = self.sdk(
            operation("remote", CODE, 1, inputs='{"a": 1, "b": 2}'),
            operation("spawn_cancel", SLOW, 2, seconds=0.1),
            operation("spawn", CODE.replace("b)", "b, c)"), 3, inputs=large),
        )
        self.assertEqual([list(one)[0] for one in done], EXPECTED, done)
        compared = set()
        for seen in list(self.api.seen):
            if seen.rpc not in VALUES:
                continue
            with self.subTest(rpc=seen.rpc):
                sent = clean(seen)
                ours = modal_request(seen.rpc, VALUES[seen.rpc](self.api, seen.message))
                if seen.rpc == "FunctionGetOutputs":
                    # Through milliseconds and back.
                    ours.requested_at = sent.requested_at  # type: ignore
                self.assertEqual(str(sent), str(ours))
                self.assertEqual(
                    sent.SerializeToString(deterministic=True),
                    ours.SerializeToString(deterministic=True),
                )
                compared.add(seen.rpc)
        self.assertEqual(compared, set(VALUES))

    def test_headers_that_the_sdk_sends(self) -> None:
        self.sdk(operation("remote", CODE, 1, inputs='{"a": 1, "b": 2}'))
        for seen in self.api.seen:
            self.assertEqual(set(HEADERS) - set(seen.headers), set(), seen.rpc)
            self.assertEqual(seen.headers["x-modal-client-type"], "1")
            self.assertEqual(seen.headers["x-modal-host"], "localhost")

    def test_who_may_not_call(self) -> None:
        (done,) = self.sdk(operation("remote", CODE, 1), MODAL_TOKEN_SECRET="wrong")
        self.assertEqual(done["error"], "AuthError")
        self.assertEqual(self.api.ledger, [])


if __name__ == "__main__":
    unittest.main()
