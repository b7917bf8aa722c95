"""Mixed work for a fleet: single jobs that are waited for, lines, batches, large
ones, slow ones, blocks that fail, signed records past the dispatcher, and
records that nobody trusts.

Each kind has a thread, and a rate that is a part of the whole. Whatever is
refused or cut is sent again to another dispatcher, under the same ids.
"""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Self

from confluent_kafka import KafkaException
from dispatching import Answer, Dispatcher
from fleet import Fleet, bfwire

WORKSPACES = [f"soak-{n}" for n in range(4)]
LARGE = b'{"n": "' + b"x" * (256 << 10) + b'"}'
HUGE = b'{"n": "' + b"x" * (4 << 20) + b'"}'
GIVE_UP_S = 120.0
CODES = {
    "echo": "def run(self, **kw):\n    return kw\n",
    "slow": "import time\ndef run(self, **kw):\n    time.sleep(0.3)\n    return kw\n",
    "poison": "def run(self, **kw):\n    raise ValueError('poison')\n",
}
BLOCKS = {
    name: bfwire.dump(
        {
            "run_function_code": code,
            "run_function_name": "run",
            "imports": [],
            "init_function_code": None,
            "init_function_name": "init",
            "block_type": name,
        }
    ).encode()
    for name, code in CODES.items()
}


class Refused(AssertionError):
    """An answer that no load should get."""


def line_of(workspace: str, name: str, n: int, **members: object) -> bytes:
    """A job's JSON; every 100th is large, every 20th fails or is slow."""
    inputs = LARGE if n % 100 == 50 else b'{"n": %d}' % n
    code = CODES[("poison", "slow", *["echo"] * 18)[n % 20]]
    execution = "at_most_once" if n % 3 == 0 else "at_least_once"
    told = {"workspace": workspace, "id": name, "execution": execution, **members}
    told["block"] = {"run_function_code": code}
    return json.dumps(told)[:-1].encode() + b', "inputs": ' + inputs + b"}"


@dataclass
class Load:
    """acknowledged: (workspace, id) of what a dispatcher has taken."""

    fleet: Fleet
    dispatchers: Sequence[Dispatcher]
    jobs_per_s: float
    acknowledged: set[tuple[str, str]] = field(default_factory=set)
    counts: Counter[str] = field(default_factory=Counter)
    failed: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._lock = threading.Lock()
        kinds: list[tuple[Callable[[int, Random], int], float]] = [
            (self.lines, 0.55),
            (self.batch, 0.15),
            (self.waited, 0.1),
            (self.direct, 0.2),
            (self.huge, 0.0005),
            (self.asked, 0.02),
        ]
        self._threads = [
            threading.Thread(target=self._run, args=kind, name=kind[0].__name__)
            for kind in kinds
        ]

    # ---- kinds: each does some jobs and says how many

    def lines(self, n: int, dice: Random) -> int:
        workspace = dice.choice(WORKSPACES)
        count = dice.randint(5, 60)
        self.send_lines(workspace, f"lines-{n}", count)
        return count

    def batch(self, n: int, dice: Random) -> int:
        """Opened, filled, sealed, and followed to its end."""
        workspace, name = dice.choice(WORKSPACES), f"batch-{n}"
        count = dice.randint(20, 60)
        where = f"?workspace={workspace}"
        told = {"batch": name, "max_failure_rate": 1}
        self.order(f"/v1/batches{where}", told, (200, 201))
        self.send_lines(workspace, name, count, batch=name)
        seal = f"/v1/batches/{name}/seal{where}"
        self.order(seal, {"count": count}, (200,))

        def complete(by: Dispatcher) -> bool:
            answer = by.get(f"/v1/batches/{name}", workspace=workspace)
            return answer.status == 200 and answer.json()["state"] == "complete"

        self.ask_until(complete, f"{workspace}/{name} complete")
        self.count("batches complete")
        return count

    def waited(self, n: int, dice: Random) -> int:
        workspace, name = dice.choice(WORKSPACES), f"waited-{n}"
        body = line_of(workspace, name, n)

        def ended(by: Dispatcher) -> bool:
            answer = by.post(body, Prefer="wait=5")
            if answer.status not in (200, 202):
                return self.later(answer)
            self.take([(workspace, name)])
            return answer.status == 200

        self.ask_until(ended, f"an end of {name}")
        self.count("waited for")
        return 1

    def direct(self, n: int, dice: Random) -> int:
        """Signed records of a producer of its own, and some of nobody's."""
        workspace = dice.choice(WORKSPACES)
        jobs = [
            self.fleet.job(
                workspace,
                f"direct-{n}-{k}",
                block=BLOCKS["slow" if k == 0 else "poison" if k == 1 else "echo"],
                inputs=LARGE if (n, k) == (n // 16 * 16, 2) else b'{"n":%d}' % k,
                execution="at_most_once" if k % 3 == 0 else "at_least_once",
                id_origin="client" if k % 2 else "server",
            )
            for k in range(dice.randint(3, 12))
        ]
        topic = "jobs.batch" if n % 2 else "jobs"
        self.fleet.submit(jobs, topic)
        forged = self.fleet.job(workspace, f"forged-{n}", block=BLOCKS["echo"])
        garbage = self.fleet.job(workspace, f"garbage-{n}", block=b'{"no": "block"}')
        if n % 4 == 0:
            self.fleet.produce("result", [self.fleet.build(forged, topic)])
            self.fleet.submit([garbage], topic)
            self.count("forged or garbage", 2)
        return len(jobs)

    def huge(self, n: int, dice: Random) -> int:
        told = {"workspace": dice.choice(WORKSPACES), "id": f"huge-{n}"}
        told["block"] = {"run_function_code": CODES["echo"]}
        body = json.dumps(told)[:-1].encode() + b', "inputs": ' + HUGE + b"}"

        def taken(by: Dispatcher) -> bool:
            answer = by.post(body)
            return answer.status == 202 or self.later(answer)

        self.ask_until(taken, f"huge-{n} taken")
        self.take([(told["workspace"], told["id"])])
        return 1

    def asked(self, n: int, dice: Random) -> int:
        """What people look at."""
        workspace = dice.choice(WORKSPACES)
        path = ("/v1/jobs", "/v1/usage", "/v1/results", "/metrics")[n % 4]

        def answered(by: Dispatcher) -> bool:
            query = {} if path == "/metrics" else {"workspace": workspace}
            answer = by.get(path, **query)
            return answer.status == 200 or self.later(answer)

        self.ask_until(answered, f"GET {path}")
        self.count("pages read")
        return 1

    # ---- how

    def send_lines(self, workspace: str, name: str, count: int, **more: object) -> None:
        """Lines that were not taken are sent again, all that are left."""
        left = dict.fromkeys(range(count))

        def all_taken(by: Dispatcher) -> bool:
            numbers = list(left)
            lines = [
                line_of(
                    workspace,
                    f"{name}-{k}",
                    k,
                    **more,
                    **({"batch_index": k} if more else {}),
                )
                for k in numbers
            ]
            answer = by.post_lines(lines)
            if answer.status != 200:
                return self.later(answer)
            for told in answer.lines():
                if told["status"] == 202:
                    left.pop(numbers[told["line"] - 1], None)
                elif told["status"] not in (429, 503):
                    raise Refused(f"{name}: {told}")
            return not left

        self.ask_until(all_taken, f"{name} taken")
        self.take([(workspace, f"{name}-{k}") for k in range(count)])

    def order(self, path: str, members: object, good: Sequence[int]) -> None:
        def done(by: Dispatcher) -> bool:
            answer = by.request("POST", path, json.dumps(members).encode())
            return answer.status in good or self.later(answer)

        self.ask_until(done, path)

    def later(self, answer: Answer) -> bool:
        """False: to be tried again."""
        if answer.status not in (429, 503):
            raise Refused(f"{answer.status} {answer.body[:300]!r}")
        self.count(f"answers {answer.status}")
        return False

    def ask_until(self, done: Callable[[Dispatcher], bool], what: str) -> None:
        """Of one dispatcher after the other: they are killed."""
        end = time.monotonic() + GIVE_UP_S
        n = 0
        while time.monotonic() < end:
            try:
                if done(self.dispatchers[n % len(self.dispatchers)]):
                    return
            except (OSError, http.client.HTTPException, ValueError) as error:
                self.count(f"cut: {type(error).__name__}")
            n += 1
            time.sleep(0.1)
        raise Refused(f"not within {GIVE_UP_S:.0f} s: {what}")

    def take(self, jobs: Sequence[tuple[str, str]]) -> None:
        with self._lock:
            self.acknowledged.update(jobs)

    def count(self, what: str, n: int = 1) -> None:
        with self._lock:
            self.counts[what] += n

    # ---- threads

    def _run(self, kind: Callable[[int, Random], int], share: float) -> None:
        name = kind.__name__
        dice, n, begin, done = Random(name), 0, time.monotonic(), 0
        while not self._stop.is_set():
            try:
                some = kind(n, dice)
            except (AssertionError, KafkaException) as error:
                self.failed.append(f"{name}: {error}")
                return
            n, done = n + 1, done + some
            self.count(name, some)
            due = begin + done / (self.jobs_per_s * share)
            # What a broker's restart has held up is not made up for at once.
            begin = max(begin, begin + time.monotonic() - due - 5)
            self._stop.wait(due - time.monotonic())

    def total(self) -> int:
        kinds = ("lines", "batch", "waited", "direct", "huge")
        return sum(self.counts[kind] for kind in kinds)

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()
