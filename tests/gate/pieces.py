"""Commands of the gate as processes: one, or several side by side."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

from counts import Counts

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
LOGS = BUILD / "logs"
RUNNING: set[subprocess.Popen[bytes]] = set()

Argv = Sequence[str | Path]


def run(
    name: str, argv: Argv, env: Mapping[str, str], cwd: Path, limit_s: float
) -> tuple[str, str]:
    """What went wrong ("" when nothing did) and the output, also in the log."""
    log = LOGS / (name.replace(" ", "-") + ".log")
    with log.open("wb") as out:
        child = subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **env},
            cwd=cwd,
            process_group=0,
        )
        RUNNING.add(child)
        try:
            code = child.wait(limit_s)
            status = "" if code == 0 else f"exit {code}, log {log.relative_to(ROOT)}"
        except subprocess.TimeoutExpired:
            status = f"not done after {limit_s / 60:.0f} minutes"
        finally:
            end_group(child)
            RUNNING.discard(child)
    return status, log.read_text(errors="replace")


def end_group(child: subprocess.Popen[bytes]) -> None:
    """Nothing that a step started may outlive it, nor an interrupted gate."""
    try:
        os.killpg(child.pid, 9)
    except ProcessLookupError:
        pass
    child.wait()


@dataclass
class Piece:
    """One process of a step that has several, or that others run beside."""

    step: str
    log: str
    argv: Argv
    env: Mapping[str, str]
    cwd: Path
    alone: bool = False  # it measures time: nothing beside it
    slow: bool = False  # it is begun first, so that nobody waits for it last
    count: Callable[[str], Counts] | None = None  # cases in its output
    status: str = ""
    text: str = ""
    seconds: float = 0

    def run(self, limit_s: float) -> "Piece":
        begin = time.monotonic()
        self.status, self.text = run(self.log, self.argv, self.env, self.cwd, limit_s)
        self.seconds = time.monotonic() - begin
        return self


def finished(pieces: Sequence[Piece], lanes: int, limit_s: float) -> Iterator[Piece]:
    """Run them, so many at a time, and yield each when it is over."""
    pool = ThreadPoolExecutor(lanes)
    ordered = sorted(pieces, key=lambda piece: not piece.slow)
    together = [pool.submit(p.run, limit_s) for p in ordered if not p.alone]
    try:
        for future in as_completed(together):
            yield future.result()
        for piece in pieces:
            if piece.alone:
                yield piece.run(limit_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(RUNNING):
            end_group(child)
