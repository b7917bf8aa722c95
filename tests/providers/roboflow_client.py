#!/usr/bin/env python3
"""Runs blocks as Roboflow's inference does, by its own unmodified code: asks
whatever speaks execute_block at a URL, and prints a line of JSON per operation.

    PYTHON roboflow_client.py URL [TOKEN-ID TOKEN-SECRET] | ...

PYTHON has roboflow-workflows: one of roboflow_venv.py's, which lacks torch and
the models, or one with all of it, gigabytes, in $BF_ROBOFLOW. (0.2.13 is what
the captured requests are of.)

    python3 -m venv V && V/bin/pip install roboflow-workflows==0.2.13
    cd tests/python
    BF_ROBOFLOW=V/bin/python ../../.cache/blocks-venv/bin/python \\
        -m unittest -v test_roboflow_client
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import unittest
from collections.abc import Mapping
from typing import Any

WORKSPACE = "acme"
CONTEXT = {
    "step_name": "s",
    "step_selector": "$steps.s",
    "block_type": "b",
    "workflow_execution_id": "e",
}
ECHO = "def run(self, **k):\n    print('hi')\n    return k\n"


class Client:
    def __init__(self, url: str, token: tuple[str, str]) -> None:
        os.environ["MODAL_WEB_ENDPOINT_URL"] = url
        from roboflow_workflows import configuration as c

        engine = c.EngineConfiguration(custom_python_execution_mode="modal")
        modal = c.ModalConfiguration(token_id=token[0], token_secret=token[1])
        c.configure_process(c.WorkflowsConfiguration(engine=engine, modal=modal))
        from roboflow_workflows.execution_engine.v1.dynamic_blocks import (
            modal_executor,
        )
        from roboflow_workflows.execution_engine.v1.dynamic_blocks.entities import (
            PythonCode,
        )

        self._module, self._code = modal_executor, PythonCode
        self._executor = modal_executor.ModalExecutor(WORKSPACE)

    def code(self, text: str, imports: tuple[str, ...] = (), **more: Any) -> Any:
        return self._code(
            type="PythonCode", run_function_code=text, imports=list(imports), **more
        )

    def valid(self, name: str, text: str) -> None:
        self._told(
            name,
            lambda: self._module.validate_code_in_modal(self.code(text), WORKSPACE),
        )

    def run(self, name: str, code: Any, inputs: dict[str, Any]) -> None:
        def execute() -> Any:
            return self._executor.execute_remote(
                "b", code, inputs, workspace_id=WORKSPACE, workflow_context=CONTEXT
            )

        self._told(name, execute)

    @staticmethod
    def _told(name: str, what: Any) -> None:
        line: dict[str, Any] = {"name": name}
        sys.stdout = sys.stderr  # what blocks print is printed again
        try:
            line["result"] = text(what())
        except Exception as error:
            line["error"] = str(error)
            line["type"] = type(error).__name__
            line["context"] = getattr(error, "context", None)
            line["stdout"] = getattr(error, "stdout", None)
        finally:
            sys.stdout = sys.__stdout__
        print(json.dumps(line), flush=True)


def text(value: Any) -> str:
    shown = getattr(value, "numpy_image", None)
    return repr(value) if shown is None else f"image {shown.shape}"


# ---- who calls us -------------------------------------------------------------


def drive(python: str, url: str, *token: str) -> dict[str, dict[str, Any]]:
    """What each operation came to, by name; python: one that has the package."""
    argv = [python, __file__, url, *token]
    child = subprocess.run(argv, capture_output=True, text=True, timeout=300)
    if child.returncode:
        raise AssertionError(child.stderr)
    lines = map(json.loads, child.stdout.splitlines())
    return {line.pop("name"): line for line in lines}


def judge(case: unittest.TestCase, told: Mapping[str, dict[str, Any]]) -> None:
    """As a deployment of theirs would have answered."""
    case.assertEqual(told["valid"].get("result"), "True", told["valid"])
    case.assertIn("was never closed", told["invalid"]["error"])
    first = "{'a': 1, 'b': [1.5, None, nan, 1180591620717411303424]}"
    case.assertEqual(told["first"].get("result"), first, told["first"])
    hashed = "{'c': '\u00e9\\u2028', 't': [1, 2]}"
    case.assertEqual(told["by hash"].get("result"), hashed, told["by hash"])
    case.assertIn(r"b'\x00\xff'", told["bytes"]["result"])
    case.assertIn("dtype=uint8", told["array"]["result"])
    case.assertEqual(told["image"]["result"], "image (8, 6, 3)")
    case.assertEqual(told["batch"]["result"], "[{'v': 2}, {'v': 3}]")
    raised = told["raises"]
    case.assertEqual(raised["error"], "Error in line 3, in run: KeyError: 'k'")
    case.assertEqual(raised["stdout"], "out\n")
    case.assertEqual(raised["type"], "DynamicBlockCodeError")
    case.assertEqual(told["nameless"]["type"], "DynamicBlockCodeError")
    case.assertIn("'step_selector': '$steps.s'", told["context"]["result"])
    case.assertIn("No module named 'nope'", told["init"]["error"])
    case.assertTrue(told["large"]["result"].startswith("{'n': 5000000"))


# ---- in their Python ----------------------------------------------------------


def main() -> int:
    url, *token = sys.argv[1:]
    client = Client(url, (token[0], token[1]) if token else ("wk-test", "ws-test"))
    from datetime import datetime

    import numpy as np
    from roboflow_workflows.execution_engine.entities.base import (
        Batch,
        ImageParentMetadata,
        WorkflowImageData,
    )

    image = WorkflowImageData(
        parent_metadata=ImageParentMetadata(parent_id="p"),
        numpy_image=np.zeros((8, 6, 3), np.uint8),
    )
    echo = client.code(ECHO, ("import re",))
    client.valid("valid", "def run(self, a):\n    return {'a': a}\n")
    client.valid("invalid", "def run(self, a:\n")
    client.run("first", echo, {"a": 1, "b": [1.5, None, float("nan"), 2**70]})
    client.run("by hash", echo, {"c": "\u00e9\u2028", "t": (1, 2)})
    client.run("bytes", echo, {"d": datetime(2026, 1, 2, 3, 4, 5), "x": b"\0\xff"})
    client.run("array", echo, {"n": np.arange(6, dtype=np.uint8).reshape(2, 3)})
    client.run("image", client.code("def run(self, i):\n    return i\n"), {"i": image})
    batch = Batch(content=[1, 2], indices=[(0,), (1,)])
    each = client.code("def run(self, b):\n    return [{'v': x + 1} for x in b]\n")
    client.run("batch", each, {"b": batch})
    raises = "def run(self):\n    print('out')\n    raise KeyError('k')\n"
    client.run("raises", client.code(raises), {})
    nameless = client.code("def run(self):\n    return 1\n", run_function_name="other")
    client.run("nameless", nameless, {})
    context = "def run(self):\n    return self.get_workflow_context()\n"
    client.run("context", client.code(context), {})
    client.run("init", client.code("import nope\ndef run(self):\n    return 1\n"), {})
    large = client.code("def run(self, s):\n    return {'n': len(s), 's': s[::-1]}\n")
    client.run("large", large, {"s": "x" * 5_000_000})
    return 0


if __name__ == "__main__":
    sys.exit(main())
