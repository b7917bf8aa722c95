"""Did it grow? A judgement over samples, without processes or Kafka.

What grows for ever grows in the second half of a life, too, when caches are
full and all that is made once has been made. So growth is the slope of that
half (Theil and Sen's: the median of the slopes between any two samples, which
no peak moves) times its length, and is compared with a bound that is stated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import median

FEWEST = 8  # samples in a half that tell anything
MOST = 400  # of them are looked at: their pairs are many


@dataclass(frozen=True)
class Sample:
    at_s: float
    value: float


@dataclass(frozen=True)
class Bound:
    """How much a half of a life may add: so much, a share of what there is, and
    a part for each job (facts about jobs are kept for a day)."""

    fixed: float
    share: float = 0
    per_job: float = 0

    def of(self, level: float, jobs: float) -> float:
        return self.fixed + self.share * level + self.per_job * jobs


@dataclass(frozen=True)
class Growth:
    """Of one thing over one life, in its unit."""

    who: str
    what: str
    unit: str
    lived_s: float
    level: float  # median of the second half
    highest: float
    added: float
    bound: float
    judged: bool  # False: it did not live long enough to tell

    @property
    def ok(self) -> bool:
        return not self.judged or self.added <= self.bound


def slope(samples: Sequence[Sample]) -> float:
    """A second, by Theil and Sen."""
    step = -(-len(samples) // MOST)
    few = samples[::step]
    slopes = [
        (b.value - a.value) / (b.at_s - a.at_s)
        for a, b in combinations(few, 2)
        if b.at_s > a.at_s
    ]
    return median(slopes) if slopes else 0.0


def second_half(samples: Sequence[Sample]) -> list[Sample]:
    middle = (samples[0].at_s + samples[-1].at_s) / 2
    return [sample for sample in samples if sample.at_s >= middle]


def growth(
    who: str,
    what: str,
    unit: str,
    samples: Sequence[Sample],
    bound: Bound,
    *,
    least_s: float,
    jobs_per_s: float = 0,
) -> Growth:
    """least_s: a shorter life is told, not judged. Not without samples."""
    half = second_half(samples)
    lived_s = samples[-1].at_s - samples[0].at_s
    length_s = half[-1].at_s - half[0].at_s
    level = median(sample.value for sample in half)
    return Growth(
        who=who,
        what=what,
        unit=unit,
        lived_s=lived_s,
        level=level,
        highest=max(sample.value for sample in samples),
        added=slope(half) * length_s,
        bound=bound.of(level, jobs_per_s * length_s),
        judged=lived_s >= least_s and len(half) >= FEWEST,
    )
