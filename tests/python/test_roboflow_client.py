"""Roboflow's own client, unmodified, against the edge's `webexec` dialect: what
the edge understands there is what a deployment of theirs does.

Needs a Python that has their package (providers/roboflow_client.py says how) in
$BF_ROBOFLOW, and to be run itself by .cache/blocks-venv's, for numpy in
the blocks. With $BF_CAPTURE set it writes the client's requests down anew.
"""

import gzip
import json
import os
import sys
import unittest
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
PROVIDERS = ROOT / "tests" / "providers"
sys.path.insert(0, str(PROVIDERS))

from modal_edge import ModalEdge  # noqa: E402
from roboflow_client import drive, judge  # noqa: E402

PYTHON = os.environ.get("BF_ROBOFLOW", "")
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


@unittest.skipUnless(PYTHON, "$BF_ROBOFLOW is not set")
class UnmodifiedClient(unittest.TestCase):
    maxDiff = None

    def test_all_of_it_at_once_and_over_redirects(self) -> None:
        for hop_s, delay_s in ((150.0, 0.0), (0.05, 0.12)):
            with ModalEdge(
                engine="runner",
                dialect="webexec",
                hop_s=hop_s,
                delay_s=delay_s,
                keep=100,
            ) as edge:
                judge(self, drive(PYTHON, edge.url))
                self.assertGreater(edge.stats["by_hash"], 0)
                self.assertEqual(delay_s > 0, "redirected" in edge.stats)
                requests = written(edge)
        # Without the one of 5 MB, those with times, and their own code.
        small = [
            one
            for one in requests
            if len(str(one)) < 4000
            and "frame_timestamp" not in one["body"]["inputs_json"]
            and one["body"]["run_function_name"] != "validate_syntax"
        ]
        if os.environ.get("BF_CAPTURE"):
            CAPTURED.write_text(json.dumps(small, indent=1) + "\n")
        self.assertEqual(small, json.loads(CAPTURED.read_text()))


if __name__ == "__main__":
    unittest.main()
