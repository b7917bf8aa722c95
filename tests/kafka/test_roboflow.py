"""Roboflow's own client, unmodified, with the dispatcher in the place of Modal:
what its inference servers do. With BF_FULL=1, or a Python of theirs in
$BF_ROBOFLOW: providers/roboflow_venv.py."""

import os
import sys
import unittest
from pathlib import Path

from fleet import FULL
from harness.dist import cache_dir
from test_seam import SeamCase

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "providers"))

import roboflow_venv
from roboflow_client import drive, judge


@unittest.skipUnless(
    FULL or os.environ.get("BF_ROBOFLOW"), "neither BF_FULL nor $BF_ROBOFLOW is set"
)
class UnmodifiedClient(SeamCase):
    slow = True
    WORKSPACES = ("acme",)
    PYTHON = str(cache_dir() / "blocks-venv" / "bin" / "python")

    @classmethod
    def setUpClass(cls) -> None:
        try:
            cls.python = roboflow_venv.python()
        except roboflow_venv.Missing as why:
            print(f"skipped: {why}", file=sys.stderr)
            raise unittest.SkipTest(str(why)) from why
        super().setUpClass()

    def test_all_of_it_at_once_and_after_spaces(self) -> None:
        for dispatcher in (self.dispatcher, self.hasty):
            url = f"http://{dispatcher.address}"
            told = drive(str(self.python), url, self.key["id"], self.key["key"])
            judge(self, told)


if __name__ == "__main__":
    unittest.main()
