"""The real-broker tests as pieces that can run side by side, one line each:

    MODULE  together|slow|alone  TEST-ID [TEST-ID ...]

Tests of a class with a setUpClass share what it makes and stay in one piece;
any other test stands by itself. A class with `alone = True` measures time and
gets the machine for itself; one with `slow = True` is begun before the others.
Run where the tests are: `units.py [-k NAME]`.
"""

import argparse
import sys
import unittest
from collections.abc import Iterator
from pathlib import Path


def cases(tests: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        else:
            yield test


def pieces(tests: list[unittest.TestCase]) -> list[list[unittest.TestCase]]:
    found: dict[object, list[unittest.TestCase]] = {}
    for test in tests:
        shares = type(test).setUpClass.__func__ is not (
            unittest.TestCase.setUpClass.__func__
        )
        found.setdefault(type(test) if shares else test.id(), []).append(test)
    return list(found.values())


def how(test: unittest.TestCase) -> str:
    for word in ("alone", "slow"):
        if getattr(test, word, False):
            return word
    return "together"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("-k", metavar="NAME", default="")
    options = parser.parse_args()
    sys.path.insert(0, str(Path.cwd()))
    loader = unittest.TestLoader()
    for file in sorted(Path.cwd().glob("test_*.py")):
        loaded = loader.loadTestsFromName(file.stem)
        chosen = [test for test in cases(loaded) if options.k in test.id()]
        for piece in pieces(chosen):
            print(file.stem, how(piece[0]), *[test.id() for test in piece])
    if loader.errors:
        sys.exit("\n".join(loader.errors))


if __name__ == "__main__":
    main()
