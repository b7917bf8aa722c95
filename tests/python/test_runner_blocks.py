"""The block contract, as a worker sees it through the socket."""

from __future__ import annotations

import json
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "runner")]

from support import IDS, Code, RunnerTest  # noqa: E402

VALIDATE = """
def validate_syntax():
    import ast
    code = {source!r}
    try:
        compile(code, "<string>", "exec")
        ast.parse(code)
        return {{"valid": True}}
    except SyntaxError as e:
        return {{"valid": False, "error": str(e), "line": e.lineno}}
"""


class CallTest(RunnerTest):
    def test_run_without_self_gets_inputs_by_name(self) -> None:
        code = "def run(a, b):\n    return {'sum': a + b}\n"
        self.assertEqual(self.value(code, {"a": 1, "b": 2}), {"sum": 3})

    def test_self_has_context_init_results_and_no_key(self) -> None:
        code = (
            "def run(self, x):\n"
            "    return {'c': self.get_workflow_context(), 'x': x,\n"
            "            'i': self._init_results, 'k': self._api_key}\n"
        )
        context = {"step_name": "s", "workflow_execution_id": None}
        self.assertEqual(
            self.value(code, {"x": [1]}, context=context),
            {"c": context, "x": [1], "i": {}, "k": None},
        )

    def test_only_a_first_parameter_named_self_is_passed(self) -> None:
        code = "def run(me, self):\n    return [me, self]\n"
        self.assertEqual(self.value(code, {"me": 1, "self": 2}), [1, 2])

    def test_the_context_is_a_copy(self) -> None:
        code = (
            "def run(self):\n"
            "    self.get_workflow_context()['step_name'] = 'x'\n"
            "    return self.get_workflow_context()\n"
        )
        self.assertEqual(self.value(code, context={"step_name": "s"})["step_name"], "s")

    def test_another_function_name(self) -> None:
        code = "run = 1\ndef go():\n    return {'went': True}\n"
        self.assertEqual(self.value(code, function="go"), {"went": True})

    def test_a_missing_function_is_a_name_error_of_the_user(self) -> None:
        done = self.failure("x = 1\n", reason="user_error", function="nope")
        self.assertEqual(done.error_type, "NameError")
        self.assertIn("nope", done.error)

    def test_missing_input_is_the_users_error(self) -> None:
        done = self.failure("def run(a): pass\n", {"b": 1}, reason="user_error")
        self.assertEqual(done.error_type, "TypeError")

    def test_inputs_that_are_not_an_object(self) -> None:
        for raw in (b"[1]", b"{", b"\xff", b"", b"[" * 100_000):
            done = self.failure("def run(): pass\n", raw, reason="user_error")
            self.assertEqual(done.error_type, "InputError", raw[:10])

    def test_lists_and_lists_of_lists_are_results(self) -> None:
        code = "def run():\n    return [[{'a': 1}], [{'a': 2}]]\n"
        self.assertEqual(self.value(code), [[{"a": 1}], [{"a": 2}]])

    def test_the_syntax_validation_is_an_ordinary_block(self) -> None:
        good = VALIDATE.format(source="def run(self):\n    return {}\n")
        self.assertEqual(self.value(good, function="validate_syntax"), {"valid": True})
        bad = VALIDATE.format(source="x = 1\ndef run(self:\n    return {}\n")
        found = self.value(bad, function="validate_syntax")
        self.assertEqual((found["valid"], found["line"]), (False, 2))


class LoadTest(RunnerTest):
    def test_module_body_and_init_run_once_per_code_version(self) -> None:
        code = Code(
            "import os\nLOADED = os.getpid()\n"
            "def run(self):\n"
            "    return {'body': LOADED, 'init': self._init_results['pid'],\n"
            "            'run': os.getpid(), 'n': self._init_results['n']}\n",
            init="def init():\n    return {'pid': os.getpid(), 'n': 1}\n",
        )
        first, second = self.value(code), self.value(code)
        self.assertEqual(first["body"], first["init"])
        self.assertEqual(first["body"], second["body"])
        self.assertEqual(len({first["body"], first["run"], second["run"]}), 3)

    def test_what_a_run_writes_is_not_seen_by_the_next(self) -> None:
        code = Code(
            "import itertools\nN = [0]\nC = itertools.count()\n"
            "def run(self):\n"
            "    N[0] += 1\n"
            "    self._init_results['n'] += 1\n"
            "    globals['n'] = globals.get('n', 0) + 1\n"
            "    return [N[0], next(C), self._init_results['n'], globals['n']]\n",
            init="def init():\n    return {'n': 0}\n",
        )
        for _ in range(3):
            self.assertEqual(self.value(code), [1, 0, 1, 1])

    def test_init_code_is_part_of_the_version_but_not_of_the_hash(self) -> None:
        body = "def run(self):\n    return self._init_results\n"
        one = Code(body, init="def init():\n    return {'v': 1}\n")
        two = Code(body, init="def setup():\n    return {'v': 2}\n", init_name="setup")
        self.assertEqual(one.hash, two.hash)
        self.assertEqual(self.value(one), {"v": 1})
        self.assertEqual(self.value(two), {"v": 2})
        self.assertEqual(self.value(Code(body)), {})
        self.assertEqual(self.value(one), {"v": 1})

    def test_a_function_named_init_is_not_called_without_init_code(self) -> None:
        code = "def init(a):\n    raise ValueError\ndef run():\n    return 1\n"
        self.assertEqual(self.value(code), 1)

    def test_init_shares_the_namespace(self) -> None:
        code = Code(
            "K = 2\ndef run(self):\n    return self._init_results, K\n",
            init="def init():\n    global K\n    K += 1\n    return helper(K)\n"
            "def helper(x):\n    return x * 10\n",
        )
        self.assertEqual(self.value(code), [30, 3])

    def test_imports_do_not_move_line_numbers(self) -> None:
        code = Code("\n\ndef run():\n    return math.nope\n", ("import math", "", "#"))
        done = self.failure(code, reason="user_error")
        self.assertEqual((done.line_number, done.function_name), (4, "run"))
        self.assertEqual(done.error_type, "AttributeError")

    def test_a_future_import_reaches_the_code(self) -> None:
        code = Code(
            "def run(a: Nowhere = 1):\n    return run.__annotations__\n",
            ("from __future__ import annotations",),
        )
        self.assertEqual(self.value(code), {"a": "Nowhere"})

    def test_preloaded_names(self) -> None:
        code = (
            "HINTS = [Any, List[int], Dict[str, int], Set[int], Optional[int]]\n"
            "def run(x: BlockResult = None) -> BlockResult:\n"
            "    debug_traces.append(1, add_timestamp=True, timezone='UTC')\n"
            "    return {'m': math.floor(1.5), 't': time.time() > 0,\n"
            "            'j': json.dumps([]), 'o': os.sep, 'n': __name__,\n"
            "            'd': datetime(2026, 1, 2).year, 'g': dict(globals),\n"
            "            'b': list(Batch([1, 2], [(0,), (1,)])),\n"
            "            'w': WorkflowImageData.__name__}\n"
        )
        self.assertEqual(
            self.value(code),
            {
                "m": 1,
                "t": True,
                "j": "[]",
                "o": "/",
                "n": "__main__",
                "d": 2026,
                "g": {},
                "b": [1, 2],
                "w": "WorkflowImageData",
            },
        )

    def test_the_main_guard_runs_and_classes_can_be_pickled(self) -> None:
        code = (
            "import pickle\nclass A:\n    x = 1\n"
            "if __name__ == '__main__':\n    GUARD = True\n"
            "def run():\n    return [GUARD, pickle.loads(pickle.dumps(A())).x]\n"
        )
        self.assertEqual(self.value(code), [True, 1])

    def test_the_engines_types_can_be_imported(self) -> None:
        code = Code(
            "def run():\n    return [Batch is B2, VideoMetadata.__name__]\n",
            (
                "from inference.core.workflows.execution_engine.entities.base "
                "import Batch as B2, VideoMetadata",
                "from roboflow_workflows.prototypes.block import BlockResult",
            ),
        )
        self.assertEqual(self.value(code), [True, "VideoMetadata"])

    def test_user_code_finds_no_environment_and_no_input(self) -> None:
        code = (
            "import sys\nE = sorted(os.environ)\n"
            "def run():\n    return [E, sys.stdin.read(), sys.argv]\n"
        )
        names, read, argv = self.value(code)
        allowed = {"PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR"}
        threads = {f"{n}_NUM_THREADS" for n in ("OMP", "OPENBLAS", "MKL", "NUMEXPR")}
        self.assertLessEqual(set(names), allowed | threads)
        self.assertEqual((read, argv), ("", [""]))

    def test_a_run_has_no_descriptor_of_ours(self) -> None:
        code = "def run():\n    return sorted(os.listdir('/proc/self/fd'), key=int)\n"
        # The listing itself is the fourth.
        self.assertEqual(self.value(code), ["0", "1", "2", "3"])

    def test_code_at_load_time_has_only_one_descriptor_of_ours(self) -> None:
        code = "F = os.listdir('/proc/self/fd')\ndef run():\n    return len(F)\n"
        self.assertEqual(self.value(code), 5)


class FailureTest(RunnerTest):
    def test_the_line_is_the_deepest_of_user_code(self) -> None:
        code = (
            "import json\n"
            "def helper(text):\n"
            "    return json.loads(text)\n"
            "def run():\n"
            "    return helper('{')\n"
        )
        done = self.failure(code, reason="user_error")
        self.assertEqual((done.line_number, done.function_name), (3, "helper"))
        self.assertEqual(done.error_type, "JSONDecodeError")

    def test_callbacks_count_as_user_code(self) -> None:
        code = "def run():\n    return sorted([1, 2],\n      key=lambda x: 1 / 0)\n"
        done = self.failure(code, reason="user_error")
        self.assertEqual((done.line_number, done.function_name), (3, "<lambda>"))

    def test_errors_at_load_are_init_errors_with_their_line(self) -> None:
        done = self.failure("x = 1\ny = x / 0\n", reason="init_error")
        self.assertEqual((done.line_number, done.function_name), (2, "<module>"))
        self.assertEqual(done.error_type, "ZeroDivisionError")
        self.assertTrue(done.error.startswith("code initialization failed: "))

    def test_a_syntax_error_has_its_line(self) -> None:
        done = self.failure("x = 1\ndef run(:\n", reason="init_error")
        self.assertEqual((done.line_number, done.error_type), (2, "SyntaxError"))

    def test_bad_imports_are_init_errors(self) -> None:
        code = Code("def run(): pass\n", ("import os", "import no_such_module_x"))
        done = self.failure(code, reason="init_error")
        self.assertEqual(done.error_type, "ModuleNotFoundError")

    def test_init_raises(self) -> None:
        code = Code(
            "def run(self): pass\n", init="def init():\n\n    raise KeyError('k')\n"
        )
        done = self.failure(code, reason="init_error")
        self.assertEqual((done.error_type, done.line_number), ("KeyError", 3))
        self.assertEqual(done.function_name, "init")

    def test_init_function_missing(self) -> None:
        done = self.failure(
            Code("def run(): pass\n", init="x = 1"), reason="init_error"
        )
        self.assertEqual(done.error_type, "NameError")

    def test_a_failed_init_is_tried_again(self) -> None:
        code = Code("def run(): pass\n", init="def init():\n    raise OSError\n")
        for _ in range(2):
            self.failure(code, reason="init_error")

    def test_exits_and_interrupts_are_user_errors(self) -> None:
        for raised in ("SystemExit(3)", "KeyboardInterrupt()", "GeneratorExit()"):
            name = raised.partition("(")[0]
            code = f"def run():\n    raise {raised}\n"
            self.assertEqual(self.failure(code, reason="user_error").error_type, name)
            code = Code("def run(): pass\n", init=f"def init():\n    raise {raised}\n")
            self.assertEqual(self.failure(code, reason="init_error").error_type, name)

    def test_the_error_text_is_capped_and_valid(self) -> None:
        code = "def run():\n    raise ValueError('\\ud800\\0' + '\\u20ac' * 10**6)\n"
        done = self.failure(code, reason="user_error")
        self.assertEqual(done.error[:3], "?\ufffd\u20ac")
        self.assertLessEqual(len(done.error.encode()), 8 << 10)
        self.assertGreater(len(done.error.encode()), (8 << 10) - 4)

    def test_an_exception_that_cannot_be_printed(self) -> None:
        code = (
            "class E(Exception):\n    def __str__(self):\n        raise ValueError\n"
            "def run():\n    raise E\n"
        )
        done = self.failure(code, reason="user_error")
        self.assertEqual((done.error_type, done.line_number), ("E", 5))

    def test_a_class_named_like_ours_changes_nothing_but_the_name(self) -> None:
        code = (
            "class UnknownCodeHash(Exception): pass\n"
            "def run():\n    raise UnknownCodeHash\n"
        )
        done = self.failure(code, reason="user_error")
        self.assertEqual(done.error_type, "UnknownCodeHash")

    def test_recursion(self) -> None:
        done = self.failure("def run():\n    return run()\n", reason="user_error")
        self.assertEqual((done.error_type, done.line_number), ("RecursionError", 2))

    def test_results_that_are_not_json_like(self) -> None:
        for body in (
            "a = []; a.append(a); return a",
            "return 10 ** 5000",
            "class X:\n        def __str__(self): raise OSError\n    return X()",
        ):
            done = self.failure(f"def run():\n    {body}\n", reason="bad_output")
            self.assertIn("could not be encoded", done.error)
            self.assertIsNotNone(done.execution_time_seconds)


class OutputTest(RunnerTest):
    def test_both_streams_are_captured_at_descriptor_level(self) -> None:
        code = (
            "import subprocess, sys\nprint('load')\n"
            "def run():\n"
            "    print('p\\u00e4')\n"
            "    sys.stderr.write('e')\n"
            "    os.write(1, b'raw ')\n"
            "    subprocess.run(['echo', 'child'])\n"
            "    return {}\n"
        )
        done = self.answer(code)
        self.assertEqual(done.stdout, "load\np\u00e4\nraw child\n")
        self.assertEqual(done.stderr, "e")
        self.assertFalse(done.stdout_truncated or done.stderr_truncated)
        self.assertEqual(self.answer(code).stdout, "p\u00e4\nraw child\n")

    def test_output_before_a_failure_is_there(self) -> None:
        code = "print('at load', end='')\nraise ValueError\n"
        done = self.failure(code, reason="init_error")
        self.assertEqual(done.stdout, "at load")
        done = self.failure(
            "def run():\n    print('x', end='')\n    1/0\n", reason="user_error"
        )
        self.assertEqual(done.stdout, "x")

    def test_streams_are_cut_by_characters(self) -> None:
        code = (
            "import sys\ndef run(n):\n"
            "    print('\\U0001f600' * n, end='')\n"
            "    sys.stderr.write('e' * (n + 1))\n    return {}\n"
        )
        done = self.answer(code, {"n": 16_384})
        self.assertEqual(done.stdout, "\U0001f600" * 16_384)
        self.assertFalse(done.stdout_truncated)
        self.assertEqual(done.stderr, "e" * 16_384)
        self.assertTrue(done.stderr_truncated)

    def test_bytes_that_are_not_text(self) -> None:
        code = (
            "def run():\n    os.write(1, b'a\\xff\\x00b')\n    print('\\ud800')\n"
            "    return {}\n"
        )
        self.assertEqual(self.answer(code).stdout, "a\ufffd\ufffdb\\ud800\n")

    def test_replaced_streams_do_not_hurt(self) -> None:
        code = (
            "import io, sys\ndef run():\n    sys.stdout = io.StringIO()\n"
            "    print('lost')\n    sys.stderr = None\n    return {}\n"
        )
        self.assertEqual(self.answer(code).stdout, "")

    def test_execution_time_is_that_of_the_function_alone(self) -> None:
        code = (
            "time.sleep(1)\n"
            "def run(s):\n    time.sleep(s)\n    return {} if s else 1 / 0\n"
        )
        done = self.answer(code, {"s": 0.1})
        self.assertTrue(0.1 <= done.execution_time_seconds < 0.9, done.head)
        self.assertGreaterEqual(done.duration_us, 1_100_000)
        self.assertGreaterEqual(done.ended_at_ms - done.started_at_ms, 1099)
        done = self.failure(code, {"s": 0}, reason="user_error")
        self.assertTrue(0 <= done.execution_time_seconds < 0.9, done.head)
        self.assertLess(done.duration_us, 900_000)

    def test_a_result_at_and_over_the_ceiling(self) -> None:
        ceiling = 15 << 20
        code = "def run(n):\n    return 'x' * n\n"
        done = self.answer(code, {"n": ceiling - 2})
        self.assertTrue(done.success)
        self.assertEqual(len(done.body), ceiling)
        done = self.failure(code, {"n": ceiling - 1}, reason="output_too_large")
        self.assertEqual(done.error_type, "OutputTooLarge")
        self.assertIsNotNone(done.execution_time_seconds)

    def test_large_inputs_come_back(self) -> None:
        raw = json.dumps({"a": "x" * (15 << 20)}).encode()[: 15 << 20]
        raw = raw[:-2] + b'"}'
        self.assertEqual(len(raw), 15 << 20)
        done = self.answer("def run(a):\n    return {'a': a}\n", raw)
        self.assertEqual(done.body, raw)


class HashTest(RunnerTest):
    def ask(self, **changes: object) -> object:
        run_id = f"h{next(IDS)}"
        head = {
            "op": "run",
            "run_id": run_id,
            "workspace": "w1",
            "timeout_ms": 20_000,
            "run_function_name": "run",
            "context": {},
        }
        self.runner.send(head | changes, b"{}")
        return self.runner.wait(run_id)

    def test_the_vectors_of_the_code_hash(self) -> None:
        body = 'def run(a, b):\n    return {"sum": a + b}\n'
        self.assertEqual(Code(body).hash, "4468363b689be6b561105846d2fdaf99")
        code = Code(body, ("import re", "import math"))
        self.assertEqual(code.hash, "8c0f79ce50523d99e7af1cf17464374f")

    def test_code_is_found_by_its_hash_in_its_workspace_only(self) -> None:
        code = Code("def run():\n    return 'known'\n")
        unknown = self.ask(code_hash=code.hash)
        self.assert_unknown(unknown, code.hash)
        self.assertTrue(self.ask(code_str=code.code, code_hash=code.hash).success)
        known = self.ask(code_hash=code.hash)
        self.assertEqual((known.body, known.code_hash), (b'"known"', code.hash))
        self.assert_unknown(self.ask(code_hash=code.hash, workspace="w2"), code.hash)

    def assert_unknown(self, done: object, code_hash: str) -> None:
        self.assertEqual(done.error_type, "UnknownCodeHash")
        self.assertEqual((done.server_error, done.delivery), (True, "did_not_run"))
        self.assertEqual((done.code_hash, done.success), (code_hash, False))

    def test_code_with_init_is_found_only_with_its_init_hash(self) -> None:
        body = "def run(self):\n    return self._init_results\n"
        init = "def init():\n    return 7\n"
        code = Code(body, init=init)
        self.assertEqual(self.ask(code_str=body, init_function_code=init).body, b"7")
        self.assert_unknown(self.ask(code_hash=code.hash), code.hash)
        by_hash = self.ask(code_hash=code.hash, init_hash=code.init_hash)
        self.assertEqual(by_hash.body, b"7")
        by_code = self.ask(code_hash=code.hash, init_function_code=init)
        self.assertEqual(by_code.body, b"7")

    def test_requests_that_cannot_be_run(self) -> None:
        good = {"code_str": "def run():\n    return 1\n"}
        for changes in (
            {},
            {"code_str": ""},
            {**good, "code_hash": "0" * 32},
            {**good, "workspace": "a/b"},
            {**good, "workspace": None},
            {**good, "timeout_ms": 0},
            {**good, "timeout_ms": 1.5},
            {**good, "timeout_ms": 86_400_001},
            {**good, "imports": [1]},
            {**good, "context": []},
            {**good, "run_function_name": 1},
        ):
            done = self.ask(**changes)
            self.assertEqual(done.error_type, "InvalidRequest", changes)
            self.assertEqual((done.server_error, done.delivery), (True, "did_not_run"))
            self.assertEqual(done.duration_us, 0)
        self.assertTrue(self.ask(**good).success)


if __name__ == "__main__":
    unittest.main()
