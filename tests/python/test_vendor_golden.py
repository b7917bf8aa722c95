"""tests/wire/golden/ is what the libraries that requirements.txt pins write."""

import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "wire"))

import vendor_golden  # noqa: E402


class VendorGolden(unittest.TestCase):
    def test_committed_files_are_what_the_libraries_write(self) -> None:
        for name in vendor_golden.FILES:
            with self.subTest(name):
                text = (vendor_golden.GOLDEN / f"{name}.json").read_text()
                self.assertTrue(
                    text == vendor_golden.document(name),
                    f"{name}.json differs: python tests/wire/vendor_golden.py",
                )


if __name__ == "__main__":
    unittest.main()
