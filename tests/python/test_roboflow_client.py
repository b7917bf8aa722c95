"""Roboflow's own client, unmodified, against the edge's `webexec` dialect: what
the edge understands there is what a deployment of theirs does.

Needs a Python that has their package (providers/roboflow_client.py says how) in
$BLOCKFLEET_ROBOFLOW, and to be run itself by .cache/blocks-venv's, for numpy in
the blocks. With $BF_CAPTURE set it writes the client's requests down anew.
"""

import gzip
import json
import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = ROOT / "tests" / "providers"
sys.path.insert(0, str(PROVIDERS))

from modal_edge import ModalEdge  # noqa: E402

PYTHON = os.environ.get("BLOCKFLEET_ROBOFLOW", "")
CAPTURED = PROVIDERS / "captured" / "webexec.json"
# Of a request, what is the client library's own business.
INCIDENTAL = frozenset(
    "accept-encoding accept connection content-length host user-agent".split()
)


def written(edge: ModalEdge) -> list[dict[str, Any]]:
    found = []
    for request, body in edge.requests:
        headers = {
            name: value
            for name, value in sorted(request.headers.items())
            if name not in INCIDENTAL
        }
        text = gzip.decompress(body).decode()
        said = {"method": request.method, "target": request.target}
        found.append({**said, "headers": headers, "body": json.loads(text)})
    return found


@unittest.skipUnless(PYTHON, "$BLOCKFLEET_ROBOFLOW is not set")
class UnmodifiedClient(unittest.TestCase):
    maxDiff = None

    def drive(self, edge: ModalEdge) -> dict[str, dict[str, Any]]:
        argv = [PYTHON, str(PROVIDERS / "roboflow_client.py"), edge.url]
        child = subprocess.run(argv, capture_output=True, text=True, timeout=300)
        self.assertEqual(child.returncode, 0, child.stderr)
        lines = map(json.loads, child.stdout.splitlines())
        return {line.pop("name"): line for line in lines}

    def judge(self, told: dict[str, dict[str, Any]]) -> None:
        self.assertEqual(told["valid"]["result"], "True")
        self.assertIn("was never closed", told["invalid"]["error"])
        first = "{'a': 1, 'b': [1.5, None, nan, 1180591620717411303424]}"
        self.assertEqual(told["first"]["result"], first)
        hashed = "{'c': '\u00e9\\u2028', 't': [1, 2]}"
        self.assertEqual(told["by hash"]["result"], hashed)
        self.assertIn(r"b'\x00\xff'", told["bytes"]["result"])
        self.assertIn("dtype=uint8", told["array"]["result"])
        self.assertEqual(told["image"]["result"], "image (8, 6, 3)")
        self.assertEqual(told["batch"]["result"], "[{'v': 2}, {'v': 3}]")
        raised = told["raises"]
        self.assertEqual(raised["error"], "Error in line 3, in run: KeyError: 'k'")
        self.assertEqual(raised["stdout"], "out\n")
        self.assertEqual(raised["type"], "DynamicBlockCodeError")
        self.assertEqual(told["nameless"]["type"], "DynamicBlockCodeError")
        self.assertIn("'step_selector': '$steps.s'", told["context"]["result"])
        self.assertIn("No module named 'nope'", told["init"]["error"])
        self.assertTrue(told["large"]["result"].startswith("{'n': 5000000"))

    def test_all_of_it_at_once_and_over_redirects(self) -> None:
        for hop_s, delay_s in ((150.0, 0.0), (0.05, 0.12)):
            with ModalEdge(
                engine="runner",
                dialect="webexec",
                hop_s=hop_s,
                delay_s=delay_s,
                keep=100,
            ) as edge:
                self.judge(self.drive(edge))
                self.assertGreater(edge.stats["by_hash"], 0)
                self.assertEqual(delay_s > 0, "redirected" in edge.stats)
                requests = written(edge)
        # Without the one of 5 MB, and without their own code.
        small = [
            one
            for one in requests
            if len(str(one)) < 4000
            and one["body"]["run_function_name"] != "validate_syntax"
        ]
        if os.environ.get("BF_CAPTURE"):
            CAPTURED.write_text(json.dumps(small, indent=1) + "\n")
        self.assertEqual(small, json.loads(CAPTURED.read_text()))


if __name__ == "__main__":
    unittest.main()
