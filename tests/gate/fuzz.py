"""`./run fuzz`: the fuzz targets of tests/fuzz, side by side, for some minutes.

    ./run fuzz [--minutes N] [TARGET ...]

What a target has found interesting stays in the cache, with how long it has
looked: minutes add up over runs. What breaks it is in build/fuzz/found/.
"""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from pieces import BUILD, LOGS, ROOT, Piece, finished

SOURCES = ROOT / "tests" / "fuzz"
CACHE = Path(os.environ.get("BLOCKFLEET_CACHE", ROOT / ".cache")) / "fuzz"
CORES = os.cpu_count() or 1
TAIL_LINES = 60


def targets() -> list[str]:
    return sorted(p.stem.removeprefix("fuzz_") for p in SOURCES.glob("fuzz_*.c"))


def piece(name: str, seconds: float) -> Piece:
    """Not run yet. The first folder is where libFuzzer adds what is new."""
    found, kept = BUILD / "fuzz" / "found" / name, CACHE / name
    for folder in (found, kept):
        folder.mkdir(parents=True, exist_ok=True)
    options = [f"-max_total_time={max(1, round(seconds))}"]
    options.append(f"-artifact_prefix={found}/")
    words = SOURCES / f"{name}.dict"
    if words.exists():
        options.append(f"-dict={words}")
    corpus = SOURCES / "corpus" / name
    inputs = [kept, *([corpus] if corpus.is_dir() else [])]
    argv = [BUILD / "fuzz" / "tests" / f"fuzz_{name}", *options, *inputs]
    return Piece(f"fuzz {name}", f"fuzz {name}", argv, {}, ROOT)


def added_up(done: Piece) -> str:
    """Remembers its time; what there is by now."""
    name = done.step.removeprefix("fuzz ")
    ledger = CACHE / f"{name}.seconds"
    before = float(ledger.read_text()) if ledger.exists() else 0.0
    seconds = before + done.seconds
    ledger.write_text(f"{seconds:.0f}\n")
    inputs = sum(1 for _ in (CACHE / name).iterdir())
    return f"{seconds / 60:.1f} min in all, {inputs} inputs kept"


def run(names: Sequence[str], minutes: float) -> bool:
    """As many at a time as there are cores: they do nothing but compute."""
    ok = True
    pieces = [piece(name, minutes * 60) for name in names]
    for done in finished(pieces, CORES, minutes * 60 + 300):
        word = f"FAILED: {done.status}" if done.status else "ok"
        line = f"{word} ({done.seconds:.0f} s; {added_up(done)})"
        print(f"{done.step:<28} {line}", flush=True)
        if done.status:
            ok = False
            lines = done.text.splitlines()[-TAIL_LINES:]
            print("\n".join(f"    | {line}" for line in lines), flush=True)
    return ok


def main(argv: Sequence[str] | None = None) -> int:
    known = targets()
    parser = argparse.ArgumentParser(prog="./run fuzz")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(known))
    parser.add_argument("--minutes", type=float, default=10, help="each; default: 10")
    options = parser.parse_args(argv)
    wrong = [name for name in options.targets if name not in known]
    if wrong:
        parser.error(f"no target {wrong[0]}: {', '.join(known)}")
    LOGS.mkdir(parents=True, exist_ok=True)
    # As an exception, so that what runs is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    names = options.targets or known
    turns = -(-len(names) // CORES)
    print(
        f"{len(names)} targets, {options.minutes:g} min each, {CORES} at a time:"
        f" {turns * options.minutes:g} min",
        flush=True,
    )
    return 0 if run(names, options.minutes) else 1


if __name__ == "__main__":
    sys.exit(main())
