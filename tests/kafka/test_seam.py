"""An existing Roboflow inference server in front of a fleet: its calls to
execute_block go to the dispatcher, and run on this machine's runners."""

import gzip
import json
import subprocess
import sys
import tempfile
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import dispatching
from dispatching import Dispatcher, Keys, Log, bfwire
from fleet import FULL
from harness import HANG_S, Cluster, Proc, Procs, wait_until
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

from inference_client import (
    VALIDATION,
    CodeError,
    HttpError,
    InferenceClient,
    Lost,
    code_hash,
)

SHARDS = 4
PROVIDERS = Path(__file__).resolve().parents[1] / "providers"
ECHO = "def run(self, **given):\n    return given\n"
WAIT = (
    "import os, time\n"
    "def run(self, path):\n"
    "    while not os.path.exists(path):\n"
    "        time.sleep(0.02)\n"
    "    return {'waited': True}\n"
)
CONTEXT = {
    "step_name": "step",
    "step_selector": "$steps.step",
    "block_type": "my_block",
    "workflow_execution_id": None,
}
# As the runner prints them again: what other parsers would lose or refuse.
EXACT = [
    ('{"a": NaN}', '{"a": NaN}'),
    ('{"a": 9223372036854775808}', '{"a": 9223372036854775808}'),
    ('{"a": "\\u0000 \\ud800 \\" \\\\ /"}', '{"a": "\\u0000 \\ud800 \\" \\\\ /"}'),
    (' {"a":[1, 2.50,null ] }\n', '{"a": [1, 2.5, null]}'),
    ('{"a": "caf\u00e9\u2028"}', '{"a": "caf\\u00e9\\u2028"}'),
]


class SeamCase(unittest.TestCase):
    """One broker, two dispatchers and a worker for all; a workspace a test."""

    WORKSPACES = ("seam", "other", "valid", "metered", "late", "acme")
    PYTHON = "/usr/bin/python3"  # of the blocks

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.keys = Keys(cls.folder / "keys")
        cls.cluster = cls.enterClassContext(Cluster())
        cls.procs = cls.enterClassContext(Procs(cls.folder / "logs"))
        cls.cli(
            *("topics", "init", f"--topics.shards={SHARDS}"),
            f"--kafka.brokers={cls.cluster.bootstrap}",
        )
        cls.operator = json.loads(
            cls.cli("apikeys", "new", "--json", "--all-workspaces")
        )
        cls.key = cls.new_key(*cls.WORKSPACES, "untrusted")
        cls.worker = cls.new_worker()
        cls.dispatcher = cls.new_dispatcher("usual")
        # Answers with 200 and a space before anything can have ended.
        cls.hasty = cls.new_dispatcher(
            "hasty", block_keepalive="100ms", block_timeout="2s", block_expiry="1s"
        )

    @classmethod
    def cli(cls, *words: str) -> str:
        done = subprocess.run(
            [dispatching.BIN / "blockfleet", *words, f"--keys.dir={cls.keys.folder}"],
            capture_output=True,
            text=True,
            timeout=HANG_S,
            cwd=cls.folder,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @classmethod
    def new_key(cls, *workspaces: str) -> dict[str, Any]:
        named = [f"--workspace={name}" for name in workspaces]
        return json.loads(cls.cli("apikeys", "new", "--json", *named))

    @classmethod
    def new_dispatcher(cls, name: str, **options: str) -> Dispatcher:
        named = {f"dispatcher.{key}": value for key, value in options.items()}
        return Dispatcher(
            cls.procs,
            cls.cluster.bootstrap,
            cls.keys,
            cls.folder,
            {"dispatcher.anonymous": "false", **named},
            name,
        ).start()

    @classmethod
    def new_worker(cls, name: str = "worker") -> Proc:
        options = {
            "kafka.brokers": cls.cluster.bootstrap,
            "keys.dir": str(cls.keys.folder),
            "run_dir": str(cls.folder),
            "instance": name,
            "log.format": "json",
            "topics.shards": str(SHARDS),
            "worker.backend": "local",
            "worker.session_timeout": "6s",
            "local.python": cls.PYTHON,
            "local.preload": "none",
            "local.trusted_workspaces": ",".join(cls.WORKSPACES),
        }
        argv = [str(dispatching.BIN / "blockfleet-worker")]
        argv += [part for k, v in options.items() for part in (f"--{k}", v)]
        worker = cls.procs.start(name, argv, cwd=cls.folder)
        worker.wait_json(lambda line: line.get("event") == "worker_up", HANG_S)
        return worker

    def client(
        self,
        workspace: str = "seam",
        dispatcher: Dispatcher | None = None,
        path: str = "",
        **more: Any,
    ) -> InferenceClient:
        address = (dispatcher or self.dispatcher).address
        client = InferenceClient(
            f"http://{address}{path}",
            workspace,
            more.pop("token_id", self.key["id"]),
            more.pop("token_secret", self.key["key"]),
            **more,
        )
        self.addCleanup(client.close)
        return client

    def records(self, topic: str, workspace: str) -> list[bfwire.Record]:
        log = Log(self.cluster.bootstrap, f"bf.{topic}", SHARDS)
        return [r for r in log.read() if r.key == workspace.encode()]

    def calls(self, dispatcher: Dispatcher) -> dict[str, float]:
        """blockfleet_block_calls_total by outcome."""
        headers = {"Authorization": f"Bearer {self.operator['key']}"}
        answer = dispatcher.request("GET", "/metrics", headers=headers)
        self.assertEqual(answer.status, 200, answer.body)
        return {
            sample.labels["outcome"]: sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
            if sample.name == "blockfleet_block_calls_total"
        }


class SeamTest(SeamCase):
    maxDiff = None

    # ---- calls

    def test_a_call_is_answered_as_the_endpoint_does(self) -> None:
        code = (
            "def run(self, a, b):\n    print('hi')\n    return {'sum': fsum([a, b])}\n"
        )
        how: dict[str, Any] = {"imports": ["from math import fsum"], "context": CONTEXT}
        for path in ("", "/", "/execute_block"):
            client = self.client(path=path)
            answer = client.execute_raw(code, '{"a": 1, "b": 2}', **how)
            seconds = answer.pop("execution_time_seconds")
            self.assertIsInstance(seconds, float)
            self.assertGreater(seconds, 0)
            self.assertLess(seconds, HANG_S)
            self.assertEqual(
                answer,
                {
                    "success": True,
                    "result": '{"sum": 3.0}',
                    "stdout": "hi\n",
                    "stderr": "",
                },
            )
            # The code is known now, to each of them.
            client.execute_raw(code, '{"a": 1, "b": 3}', **how)
            self.assertNotIn("code_str", client.sent[-1])
            self.assertEqual(len(client.sent), 2)

    def test_results_are_a_string_of_the_same_bytes(self) -> None:
        client = self.client()
        for inputs, result in EXACT:
            answer = client.execute_raw(ECHO, inputs)
            self.assertTrue(answer["success"], answer)
            self.assertEqual(answer["result"], result)
        plain = json.dumps({"code_str": ECHO, "inputs_json": '{"n": 1}'}).encode()
        answer = client.post(plain, {"Content-Encoding": "identity"})
        self.assertEqual(json.loads(answer.read())["result"], '{"n": 1}')

    def test_the_code_is_asked_for_when_its_hash_is_not_known(self) -> None:
        code = "def run(self):\n    return {'here': 1}\n"
        client = self.client()
        client.known.add(code_hash(code))
        self.assertEqual(client.execute(code, {}), {"here": 1})
        self.assertEqual(["code_str" in sent for sent in client.sent], [False, True])
        # What one workspace sent is not known to another.
        stranger = self.client("other")
        stranger.known.add(code_hash(code))
        self.assertEqual(stranger.execute(code, {}), {"here": 1})
        self.assertEqual(len(stranger.sent), 2)
        answer = stranger.exchange({"code_hash": "0" * 32, "inputs_json": "{}"})
        self.assertEqual(
            (answer["success"], answer["error_type"], answer["server_error"]),
            (False, "UnknownCodeHash", True),
        )

    def failure(self, code: str, client: InferenceClient | None = None) -> Any:
        with self.assertRaises(CodeError) as caught:
            (client or self.client()).execute(code, {})
        self.assertNotIn("server_error", caught.exception.answer)
        return caught.exception.answer

    def test_what_the_users_code_does_is_told_as_such(self) -> None:
        answer = self.failure(
            "def helper():\n    raise ValueError('no')\n"
            "def run(self):\n    print('so far')\n    helper()\n"
        )
        self.assertGreaterEqual(answer.pop("execution_time_seconds"), 0)
        self.assertEqual(len(answer.pop("code_hash")), 32)
        self.assertEqual(
            answer,
            {
                "success": False,
                "error": "no",
                "error_type": "ValueError",
                "line_number": 2,
                "function_name": "helper",
                "stdout": "so far\n",
                "stderr": "",
            },
        )
        # A name that would make them send the call again, and run it twice.
        answer = self.failure(
            "class UnknownCodeHash(Exception):\n    pass\n"
            "def run(self):\n    raise UnknownCodeHash('x')\n"
        )
        self.assertEqual(answer["error_type"], "UnknownCodeHash")
        self.assertEqual(self.failure("nonsense = 1 +\n")["error_type"], "SyntaxError")
        answer = self.failure("import os\ndef run(self):\n    os.abort()\n")
        self.assertTrue(answer["error_type"])

    def test_large_inputs_and_results_go_both_ways(self) -> None:
        text = '"\\ ' * 1_700_000
        self.assertEqual(self.client().execute(ECHO, {"a": text}), {"a": text})

    def test_what_their_own_client_sent_is_understood(self) -> None:
        client = self.client("acme", token_id="wk-test", token_secret="ws-test")
        headers = {name.lower(): value for name, value in client.headers().items()}
        client.token_id, client.token_secret = self.key["id"], self.key["key"]
        requests = json.loads((PROVIDERS / "captured" / "webexec.json").read_text())
        imports: dict[str, Any] = {}  # what a hash stands for
        failed = []
        for request in requests:
            self.assertEqual(request["target"], "/?workspace_id=acme")
            self.assertEqual(request["headers"], headers)
            body = request["body"]
            digest = body["code_hash"]
            code, names = imports.setdefault(
                digest, (body.get("code_str"), body.get("imports"))
            )
            answer = client.execute_raw(
                *(code, body["inputs_json"], body["run_function_name"], names),
                body["workflow_context"],
            )
            # We and they: the same members with the same values.
            self.assertEqual(client.sent[-1], body)
            if not answer["success"]:
                failed.append(answer["error_type"])
        self.assertEqual(failed, ["KeyError", "NameError", "ModuleNotFoundError"])

    def test_many_at_once(self) -> None:
        def several(n: int) -> list[Any]:
            client = self.client()
            return [client.execute(ECHO, {"n": n, "k": k})["k"] for k in range(5)]

        with ThreadPoolExecutor(10) as pool:
            for told in pool.map(several, range(10)):
                self.assertEqual(told, list(range(5)))

    def test_a_job_says_where_it_came_from(self) -> None:
        client = self.client("metered")
        client.execute(ECHO, {"n": 1}, context={**CONTEXT, "new_one_day": 1})
        [record] = self.records("jobs", "metered")
        job = bfwire.job_parse(record)
        self.assertEqual(json.loads(job.labels)["source"], "execute_block")
        self.assertEqual(job.execution, "at_most_once")
        self.assertEqual(job.timeout_ms, 700_000)
        self.assertLessEqual(job.expires_at_ms - job.accepted_at_ms, 60_000)
        self.assertEqual(json.loads(job.context), CONTEXT)
        [row] = [json.loads(rec.value) for rec in self.records("usage", "metered")]
        self.assertEqual((row["block_type"], row["billable"]), ("my_block", True))

    # ---- validations

    def test_a_validation_runs_once(self) -> None:
        before = self.calls(self.dispatcher)
        client = self.client("valid")
        for _ in range(3):
            self.assertEqual(client.validate(ECHO), {"valid": True})
            told = client.validate("def run(:\n    pass\n")
            self.assertEqual((told["valid"], told["line"]), (False, 1))
        self.assertEqual(len(self.records("jobs", "valid")), 2)
        after = self.calls(self.dispatcher)
        self.assertEqual(after["remembered"] - before["remembered"], 4)
        self.assertEqual(after["succeeded"] - before["succeeded"], 2)
        # Its form alone does not do: with inputs it is a block like any other.
        named = {"function": "validate_syntax"}
        code = VALIDATION.format(code="x").replace("syntax()", "syntax(n)")
        for _ in range(2):
            self.assertEqual(client.execute(code, {"n": 1}, **named)["valid"], True)
        self.assertEqual(len(self.records("jobs", "valid")), 4)

    # ---- waiting

    def test_a_client_is_kept_waiting(self) -> None:
        go = self.folder / "go"
        client = self.client(dispatcher=self.hasty, read_timeout_s=1.0)
        body = json.dumps(
            {"code_str": WAIT, "inputs_json": json.dumps({"path": str(go)})}
        )
        answer = client.post(gzip.compress(body.encode()))
        self.assertEqual(answer.status, 200)
        self.assertEqual(answer.getheader("Content-Type"), "application/json")
        self.assertEqual(answer.getheader("X-Accel-Buffering"), "no")
        self.assertEqual(answer.read(3), b"   ")
        go.touch()
        rest = answer.read()
        self.assertEqual(json.loads(rest)["result"], '{"waited": true}')
        # The connection is as good as it was.
        self.assertEqual(client.execute(ECHO, {"n": 1}), {"n": 1})

    @unittest.skipUnless(FULL, "takes longer than their client waits: BF_FULL=1")
    def test_a_block_of_more_than_their_patience(self) -> None:
        code = "import time\ndef run(self):\n    time.sleep(33)\n    return {}\n"
        self.assertEqual(self.client().execute(code, {}), {})

    def test_a_block_past_its_time_is_the_users(self) -> None:
        client = self.client(dispatcher=self.hasty)
        with self.assertRaises(CodeError) as caught:
            client.execute(WAIT, {"path": "/nowhere"})
        self.assertEqual(
            caught.exception.answer["error_type"], "CustomPythonBlockTimeout"
        )

    def test_what_is_not_the_users_is_no_answer(self) -> None:
        with self.assertRaises(HttpError) as caught:
            self.client("untrusted").execute(ECHO, {})
        self.assertEqual(caught.exception.status, 403)
        self.assertNotIn("{", caught.exception.text)
        before = self.calls(self.hasty)
        # 200 is committed long before a worker is free: what is left is a cut.
        self.worker.sigstop()
        try:
            with self.assertRaises(Lost):
                self.client("late", dispatcher=self.hasty).execute(ECHO, {})
        finally:
            self.worker.sigcont()
        after = self.calls(self.hasty)
        self.assertEqual(after["broken"] - before["broken"], 1)
        # And nobody runs it now that nobody waits.
        wait_until(lambda: len(self.records("results", "late")) == 1, HANG_S, "its end")
        [result] = self.records("results", "late")
        self.assertEqual(bfwire.result_parse(result).outcome, "expired")

    @unittest.skipUnless(FULL, "waits for a session to end: BF_FULL=1")
    def test_a_worker_that_dies_is_not_the_users(self) -> None:
        began = self.folder / "began"
        code = (
            "import os, time\n"
            "def run(self, began):\n"
            "    open(began, 'x').close()\n"  # fails when it runs again
            "    time.sleep(60)\n"
        )
        with ThreadPoolExecutor(1) as pool:
            call = pool.submit(self.client().execute, code, {"began": str(began)})
            wait_until(began.exists, HANG_S, "the run")
            self.worker.kill9()
            type(self).worker = self.new_worker("heir")
            error = call.exception(HANG_S)
        self.assertIsInstance(error, HttpError | Lost)
        if isinstance(error, HttpError):
            self.assertEqual(error.status, 500)

    @unittest.skipUnless(FULL, "a dispatcher stops for 8 s: BF_FULL=1")
    def test_a_dispatcher_that_stops_is_not_the_users(self) -> None:
        for keepalive, expected in (("100ms", Lost), ("20s", HttpError)):
            going = self.new_dispatcher("going", block_keepalive=keepalive)
            client = self.client(dispatcher=going)
            began = self.folder / f"began-{keepalive}"
            code = (
                "def run(self, began):\n"
                "    open(began, 'x').close()\n"
                "    import time; time.sleep(30)\n"
            )
            with ThreadPoolExecutor(1) as pool:
                call = pool.submit(client.execute, code, {"began": str(began)})
                wait_until(began.exists, HANG_S, "the run")
                self.assertIsNotNone(going.proc)
                self.assertEqual(going.proc.stop(), 0, going.proc.tail())
                self.assertIsInstance(call.exception(HANG_S), expected)

    def test_a_client_that_left_is_noticed(self) -> None:
        go = self.folder / "left"
        before = self.calls(self.hasty)
        client = self.client(dispatcher=self.hasty)
        body = json.dumps(
            {"code_str": WAIT, "inputs_json": json.dumps({"path": str(go)})}
        )
        self.assertEqual(client.post(gzip.compress(body.encode())).read(1), b" ")
        client.close()
        wait_until(
            lambda: self.calls(self.hasty)["gone"] > before["gone"], HANG_S, "its end"
        )
        go.touch()

    # ---- refusals

    def refused(self, body: bytes, **more: Any) -> tuple[int, str]:
        headers = more.pop("headers", {})
        answer = self.client(**more).post(body, headers)
        text = answer.read().decode()
        self.assertEqual(
            answer.getheader("Content-Type"), "text/plain; charset=utf-8", text
        )
        return answer.status, text

    def test_keys(self) -> None:
        body = gzip.compress(b'{"code_hash": "' + b"0" * 32 + b'"}')
        other = self.new_key("other")
        wait_until(
            lambda: self.client(
                "other", token_id=other["id"], token_secret=other["key"]
            )
            .post(body)
            .status
            == 200,
            HANG_S,
            "the new key",
        )
        wrong = {
            "no key": ("", ""),
            "no such key": (self.key["id"], self.key["key"][:-2] + "AA"),
            "another's id": (other["id"], self.key["key"]),
            "nobody": ("anonymous", "anonymous"),
        }
        for name, (token_id, secret) in wrong.items():
            with self.subTest(name):
                status, text = self.refused(
                    body, token_id=token_id, token_secret=secret
                )
                self.assertEqual(status, 401)
                self.assertNotIn(self.key["key"][16:], text)
        status, _ = self.refused(body, token_id=other["id"], token_secret=other["key"])
        self.assertEqual(status, 403)
        for workspace in ("", "a/b", "seam&x=1"):
            self.assertEqual(self.refused(body, workspace=workspace)[0], 400)
        self.assertEqual(self.dispatcher.get("/").status, 405)
        open_door = self.new_dispatcher("open", anonymous="true")
        for token_id in ("anonymous", self.key["id"]):
            client = self.client("seam", open_door, token_id=token_id)
            self.assertEqual(client.execute(ECHO, {"n": 2}), {"n": 2})
        answer = self.client(dispatcher=open_door, token_id="ak-1").post(body)
        self.assertEqual(answer.status, 401)

    def test_bodies(self) -> None:
        def zipped(**members: Any) -> bytes:
            return gzip.compress(json.dumps(members).encode())

        good = zipped(code_str=ECHO)
        bomb = gzip.compress(b" " * (64 << 20))
        rows: list[tuple[str, bytes, int, dict[str, str]]] = [
            ("cut", good[:-9], 400, {}),
            ("no gzip", b"{}", 400, {}),
            ("more than gzip", good + b"x", 400, {}),
            ("bomb", bomb, 413, {}),
            ("no JSON", gzip.compress(b"{"), 400, {}),
            ("no object", gzip.compress(b"[]"), 400, {}),
            ("no code", zipped(inputs_json="{}"), 400, {}),
            ("code is a number", zipped(code_str=1), 400, {}),
            ("imports are text", zipped(code_str=ECHO, imports="import os"), 400, {}),
            ("inputs are no text", zipped(code_str=ECHO, inputs_json={}), 400, {}),
            ("inputs are no object", zipped(code_str=ECHO, inputs_json="[]"), 400, {}),
            ("two inputs", zipped(code_str=ECHO, inputs_json='{},"id":"x"'), 400, {}),
            ("the hash of others", zipped(code_str=ECHO, code_hash="0" * 32), 400, {}),
            ("no hash", zipped(code_hash="../../x"), 400, {}),
            ("code of 1 MB", zipped(code_str="#" * (1 << 20)), 413, {}),
            ("brotli", good, 415, {"Content-Encoding": "br"}),
        ]
        for name, body, status, headers in rows:
            with self.subTest(name):
                told = self.refused(body, headers=headers)
                self.assertEqual(told[0], status, told)
        # InvalidRequest by name, and nothing of what was sent.
        _, text = self.refused(zipped(code_str=ECHO, code_hash="0" * 32))
        self.assertIn("InvalidRequest: code_hash", text)
