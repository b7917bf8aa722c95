"""How many test cases passed, read from what the runners print."""

import re
from dataclasses import dataclass, field


@dataclass
class Counts:
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    reasons: list[str] = field(default_factory=list)

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(
            self.passed + other.passed,
            self.failed + other.failed,
            self.skipped + other.skipped,
            sorted({*self.reasons, *other.reasons}),
        )

    def any(self) -> bool:
        return bool(self.passed or self.failed or self.skipped)

    def __str__(self) -> str:
        tail = f", {self.skipped} skipped" if self.skipped else ""
        return f"{self.passed} passed, {self.failed} failed{tail}"


_CMOCKA = re.compile(
    r"^(\d+): \[  (PASSED|FAILED|SKIPPED) *\] (?:.+: )?(\d+) test\(s\)", re.MULTILINE
)
_CTEST = re.compile(r"^ *\d+/\d+ Test +#(\d+): \S+ \.*(.*)$", re.MULTILINE)


def of_ctest(text: str) -> Counts:
    """Counts in the output of `ctest -V`.

    A program that reports its cases as cmocka does counts as those; one that
    does not (a replayed corpus), or that died before it could, counts as one.
    """
    cases: dict[str, Counts] = {}
    for test, what, number in _CMOCKA.findall(text):
        found = Counts(**{what.lower(): int(number)})
        cases[test] = cases.get(test, Counts()) + found
    total = Counts()
    for test, outcome in _CTEST.findall(text):
        counts = cases.get(test, Counts())
        if "Passed" in outcome:
            total += counts if counts.any() else Counts(passed=1)
        elif "Skipped" in outcome:
            total += Counts(skipped=1)
        else:
            total += counts if counts.failed else counts + Counts(failed=1)
    return total


def failures_of_ctest(text: str) -> str:
    """Of the output of `ctest -V` only what belongs to tests that failed."""
    bad = [n for n, outcome in _CTEST.findall(text) if "Passed" not in outcome]
    begins = tuple(f"{number}: " for number in bad)
    kept = [line for line in text.splitlines() if begins and line.startswith(begins)]
    return "\n".join([*kept, *text.split("tests failed out of", 1)[1:]]) or text


def of_unittest(text: str) -> Counts:
    """Counts in the output of `python -m unittest -v`."""
    ran = sum(map(int, re.findall(r"^Ran (\d+) tests?", text, re.MULTILINE)))
    last = re.findall(r"^(?:OK|FAILED|NO TESTS RAN)\b.*$", text, re.MULTILINE)
    tail = dict(re.findall(r"([a-z ]+)=(\d+)", last[-1] if last else ""))
    numbers = {name.strip(): int(value) for name, value in tail.items()}
    failed = sum(
        numbers.get(name, 0) for name in ("failures", "errors", "unexpected successes")
    )
    skipped = numbers.get("skipped", 0)
    reasons = re.findall(r"\.\.\. skipped ['\"](.*)['\"]$", text, re.MULTILINE)
    return Counts(max(0, ran - failed - skipped), failed, skipped, sorted({*reasons}))
