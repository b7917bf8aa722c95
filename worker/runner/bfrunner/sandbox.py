"""A runner inside of a sandbox that knows nothing of us: E2B's stock template.

A worker brings this package along, starts a runner once (`start`, in the code
interpreter's kernel), or one for each run (`main`, a process of its own), and
gives it runs.  What comes back goes through somebody else's stdout, so each of
our lines is marked with the run's own random word:

    BF1 <word> ready | needs | begun
    BF1 <word> head <base64 of the done frame's head>
    BF1 <word> body <base64 of a piece of the result>
    BF1 <word> end <bytes of the result>

"needs" is said when there is no runner to give the run to, so that it certainly
did not begin; after "begun" user code may have run.
"""

from __future__ import annotations

import base64
import json
import os
import select
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from bfrunner import frames
from bfrunner.client import Runner, RunnerGone
from bfrunner.options import MIB

MARK = "BF1"
_PIECE = 48 << 10  # of a result, a multiple of three
_READY_S = 60
_LATE_S = 30  # a runner ends runs by itself at their deadline
_MAX_BODY = 64 * MIB

Say = Callable[[str], None]


class Sandbox:
    """A runner, and how its words get out."""

    def __init__(self, say: Say, arguments: Sequence[str] = ()) -> None:
        self._say = say
        self._runner = Runner(arguments)
        try:
            self._runner.wait_ready(_READY_S)
        except BaseException:
            self._runner.close()
            raise

    def close(self) -> None:
        """Ends whatever runs."""
        self._runner.close()

    def is_up(self) -> bool:
        """It never writes unasked: a readable socket is a closed one."""
        sock = self._runner.sock
        return (
            self._runner.process.poll() is None
            and not select.select([sock], [], [], 0)[0]
        )

    def run(self, word: str, payload: bytes) -> None:
        """payload: a frame, as to a runner's socket."""
        if not self.is_up():
            self._say(f"{MARK} {word} needs")
            return
        head, body = _frame(payload)
        run_id = head["run_id"]
        seconds = head["timeout_ms"] / 1000 + _LATE_S
        # Before it can begin: what it does may be the end of this process, too.
        self._say(f"{MARK} {word} begun")
        self._runner.send(head, body)
        try:
            done = self._runner.wait(run_id, seconds)
        except RunnerGone:
            return  # whoever asked sees that there is no answer
        self._runner.started.pop(run_id, None)
        for line in _lines(done.head, done.body):
            self._say(f"{MARK} {word} {line}")


def _frame(payload: bytes) -> tuple[dict[str, Any], bytes]:
    for head, body in frames.Reader(_MAX_BODY).feed(payload):
        if body is not None:
            return head, bytes(body)
    raise frames.ProtocolError("the payload is no frame")


def _lines(head: dict[str, Any], body: bytes) -> Iterator[str]:
    yield "head " + base64.b64encode(json.dumps(head).encode()).decode()
    for at in range(0, len(body), _PIECE):
        yield "body " + base64.b64encode(body[at : at + _PIECE]).decode()
    yield f"end {len(body)}"


def load(given: str) -> bytes:
    """base64, or @ and the path of a file, which is read once and removed."""
    if not given.startswith("@"):
        return base64.b64decode(given)
    with open(given[1:], "rb") as file:
        payload = file.read()
    os.unlink(given[1:])
    return payload


def _print(line: str) -> None:
    # The kernel's own stream, which may cut in anywhere but at flushes.
    print(line, flush=True)


_current: Sandbox | None = None


def start(word: str, *arguments: str) -> None:
    """In a kernel: a new runner, whatever an older one was doing."""
    global _current
    if _current is not None:
        _current.close()
        _current = None
    _current = Sandbox(_print, ("--slots", "1", *arguments))
    _print(f"{MARK} {word} ready")


def run(word: str, given: str) -> None:
    if _current is None:
        _print(f"{MARK} {word} needs")
    else:
        _current.run(word, load(given))


def main(arguments: list[str]) -> None:
    """In a process of its own: one run."""
    word, given = arguments
    own = os.fdopen(os.dup(1), "w", encoding="ascii")
    with open(os.devnull, "r+b", buffering=0) as null:
        os.dup2(null.fileno(), 1)

    def say(line: str) -> None:
        own.write(line + "\n")
        own.flush()

    sandbox = Sandbox(say, ("--slots", "1", "--preload", "none"))
    try:
        sandbox.run(word, load(given))
    finally:
        sandbox.close()
    sys.stderr.flush()
