"""What is to go wrong: rules that match requests by operation."""

from __future__ import annotations

import random
import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

BEFORE = frozenset(
    "status close_unread close_before hang_before port_closed vanish".split()
)
AFTER = frozenset(
    "close_after status_after port_closed_after hang cut half no_end slow delay "
    "garbage oversize vanish_after vanish_during".split()
)


About = tuple[str, str, Mapping[str, str]]  # operation, sandbox, its metadata


@dataclass
class Rule:
    """One fault, and how often. `op` is an operation or "*".

    before the operation (nothing ran):
      status         answer `status` with `message`, `error_code`, `retry_after`
      close_unread   close without reading the body
      close_before   read it all, close
      hang_before    never answer, until the peer goes
      port_closed    502 "port is not open" (data plane)
      vanish         the sandbox is gone before the request reaches it: 502
    after it, or while it runs:
      close_after    close without an answer
      status_after   answer `status` all the same (504: a sandbox may exist)
      port_closed_after  502 "port is not open" all the same: the proxy says so
                     of every connection that broke before an answer began
      hang           never answer
      cut            break the answer off in its middle, within a frame or line
      half           end the HTTP answer properly, within a frame or line
      no_end         end the answer properly, without its last frame or line
      slow           answer in parts over `seconds`
      delay          answer `seconds` later
      garbage        answer 200 with what is no answer
      oversize       answer without end, up to `bytes`
      vanish_during  the sandbox dies `seconds` after the request came
      vanish_after   the sandbox dies after its answer
    """

    op: str
    fault: str
    count: int = 1 << 30  # requests that it hits at most
    every: int = 1  # hits every nth request that it matches
    skip: int = 0  # lets the first ones pass
    share: float = 1.0  # of those left, by chance
    per_sandbox: bool = False  # count, every and skip are of each sandbox
    metadata: dict[str, str] = field(default_factory=dict)  # that it must have
    status: int = 0
    message: str = "on demand"
    error_code: str | None = None
    retry_after: int | None = None
    seconds: float = 1.0
    bytes: int = 64 << 20
    hits: int = 0
    seen: Counter[str] = field(default_factory=Counter)
    hit: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        if self.fault not in BEFORE | AFTER:
            raise ValueError(f"no fault is called {self.fault!r}")

    def takes(self, about: About, chance: random.Random) -> bool:
        op, sandbox, metadata = about
        if self.op not in (op, "*") or not self.metadata.items() <= metadata.items():
            return False
        key = sandbox if self.per_sandbox else ""
        if self.hit[key] >= self.count:
            return False
        self.seen[key] += 1
        turn = self.seen[key] - self.skip
        if turn <= 0 or turn % self.every:
            return False
        if self.share < 1 and chance.random() >= self.share:
            return False
        self.hit[key] += 1
        self.hits += 1
        return True


class Rules:
    """All rules; the first that takes a request has it."""

    def __init__(self, seed: int = 1) -> None:
        self._lock = threading.Lock()
        self._chance = random.Random(seed)
        self._rules: list[Rule] = []

    def add(self, op: str, fault: str, **options: Any) -> Rule:
        rule = Rule(op, fault, **options)
        with self._lock:
            self._rules.append(rule)
        return rule

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def take(self, about: About, unread: bool) -> Rule | None:
        """unread: before the body is, for those that act then; else the others."""
        with self._lock:
            for rule in self._rules:
                if (rule.fault == "close_unread") == unread:
                    if rule.takes(about, self._chance):
                        return rule
        return None

    def told(self) -> list[dict[str, Any]]:
        with self._lock:
            return [asdict(rule) for rule in self._rules]
