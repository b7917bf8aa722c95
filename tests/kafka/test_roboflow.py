"""Roboflow's own client, unmodified, with the dispatcher in the place of Modal:
what its inference servers do. Needs $BF_ROBOFLOW, see
providers/roboflow_client.py."""

import os
import sys
import unittest
from pathlib import Path

from harness.dist import cache_dir
from test_seam import SeamCase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

from roboflow_client import drive, judge

PYTHON = os.environ.get("BF_ROBOFLOW", "")


@unittest.skipUnless(PYTHON, "$BF_ROBOFLOW is not set")
class UnmodifiedClient(SeamCase):
    WORKSPACES = ("acme",)
    PYTHON = str(cache_dir() / "blocks-venv" / "bin" / "python")

    def test_all_of_it(self) -> None:
        url = f"http://{self.dispatcher.address}"
        judge(self, drive(PYTHON, url, self.key["id"], self.key["key"]))


if __name__ == "__main__":
    unittest.main()
