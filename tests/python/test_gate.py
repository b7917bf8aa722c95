"""The gate's own eyes: it must not count a failure as a pass."""

import contextlib
import io
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT / "tests" / "gate"))

import counts  # noqa: E402
import fuzz  # noqa: E402
import pieces  # noqa: E402
import source  # noqa: E402
import units  # noqa: E402

CTEST = """\
1: Test command: unit_crash
1: [==========] Running 4 test(s).
1/4 Test #1: unit.crash .......Subprocess aborted***Exception:   0.03 sec
2/4 Test #2: fuzz.corpus ......   Passed    0.02 sec
3: [==========] 3 test(s) run.
3: [  PASSED  ] 1 test(s).
3: [  SKIPPED ] 1 test(s), listed below:
3: [  SKIPPED ] skipped
3: [  FAILED  ] 1 test(s), listed below:
3: [  FAILED  ] bad
3/4 Test #3: unit.planted .....***Failed    0.03 sec
4: [  PASSED  ] group: 12 test(s).
4/4 Test #4: unit.buf .........   Passed    0.03 sec

33% tests passed, 2 tests failed out of 4
"""


class CountsTest(unittest.TestCase):
    def test_ctest_counts_cases_and_a_crash_as_one_failure(self) -> None:
        self.assertEqual(str(counts.of_ctest(CTEST)), "14 passed, 2 failed, 1 skipped")

    def test_ctest_failures_leave_out_what_passed(self) -> None:
        shown = counts.failures_of_ctest(CTEST)
        self.assertIn("1: Test command: unit_crash", shown)
        self.assertIn("[  FAILED  ] bad", shown)
        self.assertNotIn("group: 12", shown)

    def test_unittest(self) -> None:
        text = (
            "test_a (t.T.test_a) ... skipped 'no \"x\" here'\n"
            "Ran 9 tests in 0.1s\n\nFAILED (failures=1, errors=2, skipped=1)\n"
        )
        found = counts.of_unittest(text)
        self.assertEqual(str(found), "5 passed, 3 failed, 1 skipped")
        self.assertEqual(found.reasons, ['no "x" here'])
        good = counts.of_unittest("Ran 2 tests in 0.1s\n\nOK\n")
        self.assertEqual(str(good), "2 passed, 0 failed")


class FuzzTest(unittest.TestCase):
    def setUp(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(fuzz, "CACHE", folder / "cache"))
        self.enterContext(mock.patch.object(fuzz, "BUILD", folder / "build"))

    def test_each_target_has_a_source_and_a_corpus_that_stays(self) -> None:
        self.assertIn("json", fuzz.targets())
        piece = fuzz.piece("json", 90)
        words = [str(word) for word in piece.argv]
        self.assertIn("-max_total_time=90", words)
        folders = [word for word in words[1:] if not word.startswith("-")]
        self.assertEqual(folders[0], str(fuzz.CACHE / "json"))
        self.assertIn(str(ROOT / "tests" / "fuzz" / "corpus" / "json"), folders)

    def test_minutes_add_up(self) -> None:
        piece = fuzz.piece("json", 1)
        (fuzz.CACHE / "json" / "input").write_bytes(b"{}")
        piece.seconds = 90.0
        self.assertEqual(fuzz.added_up(piece), "1.5 min in all, 1 inputs kept")
        self.assertEqual(fuzz.added_up(piece), "3.0 min in all, 1 inputs kept")

    def test_a_wrong_name_is_refused(self) -> None:
        with contextlib.redirect_stderr(io.StringIO()) as said:
            self.assertRaises(SystemExit, fuzz.main, ["nothing"])
        self.assertIn("no target nothing", said.getvalue())


class Apart(unittest.TestCase):
    def one(self) -> None: ...

    def two(self) -> None: ...


class Sharing(Apart):
    @classmethod
    def setUpClass(cls) -> None: ...


class UnitsTest(unittest.TestCase):
    def test_only_what_shares_a_set_up_stays_together(self) -> None:
        tests = [cls(name) for cls in (Apart, Sharing) for name in ("one", "two")]
        sizes = [len(piece) for piece in units.pieces(tests)]
        self.assertEqual(sizes, [1, 1, 2])


class PiecesTest(unittest.TestCase):
    def test_slow_ones_begin_and_lonely_ones_end(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.enterContext(mock.patch.object(pieces, "LOGS", folder))
        names = ["a", "alone", "b", "slow"]
        some = [pieces.Piece(n, n, ["true"], {}, folder) for n in names]
        for piece in some:
            piece.alone, piece.slow = piece.log == "alone", piece.log == "slow"
        done = [piece.log for piece in pieces.finished(some, 1, 60)]
        self.assertEqual(done, ["slow", "a", "b", "alone"])
        self.assertEqual([piece.status for piece in some], [""] * 4)


class SourceTest(unittest.TestCase):
    def test_an_include_that_climbs_is_found(self) -> None:
        text = '#include "schemas/err.h"\n# include "config/log.h"\n'
        self.assertEqual(
            source.climbs("schemas/x.c", text),
            ["schemas/x.c:2: schemas/ must not include config/"],
        )
        self.assertEqual(source.climbs("worker/x.c", text), [])
        self.assertEqual(source.climbs("tests/unit/test_x.c", text), [])
        across = '#include "worker/ledger.h"\n'
        self.assertEqual(len(source.climbs("dispatcher/cli/x.c", across)), 1)

    def test_functions_of_one_name_are_found(self) -> None:
        text = "%sint bf_x_read(int a,\n              int b)\n{\n    return 0;\n}\n"
        with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
            for path, head in (
                ("config/x.c", ""),
                ("worker/x.c", ""),
                ("dispatcher/x.c", "static "),
            ):
                Path(path).parent.mkdir()
                Path(path).write_text(text % head)
            self.assertEqual(
                source.namesakes(["config/x.c", "worker/x.c", "dispatcher/x.c"]),
                ["worker/x.c: bf_x_read is in config/x.c, too"],
            )

    def test_length_of_functions(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "x.c"
            file.write_text("int f(void)\n{\n    return 0;\n}\n")
            self.assertEqual(source.functions([str(file)]), [(4, f"{file}:1: f")])


if __name__ == "__main__":
    unittest.main()
