"""The gate, `./run test`: builds, then all tests side by side; a line a step as
it ends, then the counts.

A step's output goes to build/logs/<step>.log and is shown only when it fails.
A step that needs a failed or skipped one is skipped. Each step counts as one
test, besides the test cases that its runner reports.
"""

import argparse
import os
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import fuzz
from counts import Counts, failures_of_ctest, of_ctest, of_unittest
from pieces import BUILD, LOGS, ROOT, Argv, Piece, finished, run

HERE = ROOT / "tests" / "gate"
KAFKA = ROOT / "tests" / "kafka"
IMAGE = ROOT / "tests" / "image"
TAIL_LINES = 150
CORES = os.cpu_count() or 1
Count = Callable[[str], Counts]


@dataclass
class Gate:
    """Runs steps and remembers how they went; prints as it goes."""

    total: Counts = field(default_factory=Counts)
    results: dict[str, str] = field(default_factory=dict)

    def step(
        self,
        name: str,
        argv: Argv,
        *,
        count: Count | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        minutes: float = 15,
    ) -> bool:
        """Run one command; True when it passed."""
        print(f"{name:<28} ", end="", flush=True)
        begin = time.monotonic()
        status, text = run(name, argv, env or {}, cwd, minutes * 60)
        counts = count(text) if count else Counts()
        if status and count is of_ctest:
            text = failures_of_ctest(text)
        self.close(name, status, counts, text, time.monotonic() - begin)
        return self.results[name] == "ok"

    def close(
        self, name: str, status: str, counts: Counts, text: str, seconds: float
    ) -> None:
        """A step is over: remember it, say it, and show what went wrong."""
        if not status and counts.failed:
            status = "its runner reports failures"
        self.results[name] = "failed" if status else "ok"
        self.total += counts
        self.total += Counts(failed=1) if status else Counts(passed=1)
        word = f"FAILED: {status}" if status else "ok"
        detail = f", {counts}" if counts.any() else ""
        print(f"{word} ({seconds:.1f} s{detail})", flush=True)
        for reason in counts.reasons:
            print(f"    skipped: {reason}")
        if status:
            lines = text.splitlines()[-TAIL_LINES:]
            print("\n".join(f"    | {line}" for line in lines), flush=True)

    def done(self, name: str, seconds: float) -> None:
        """A step that already ran, well, before this program."""
        print(f"{name:<28} ok ({seconds:.1f} s)", flush=True)
        self.results[name] = "ok"
        self.total += Counts(passed=1)

    def skip(self, name: str, reason: str) -> bool:
        print(f"{name:<28} skipped: {reason}", flush=True)
        self.results[name] = "skipped"
        self.total += Counts(skipped=1)
        return False

    def tool(self, name: str, program: str, argv: Argv) -> bool:
        """A step of a program that not every distribution has."""
        if shutil.which(program) is None:
            return self.skip(name, f"no {program} here")
        return self.step(name, argv)


def files(*patterns: str) -> list[str]:
    """Our files (tracked or not yet added), never ignored ones."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "--", *patterns],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    return [f for f in listed.stdout.splitlines() if (ROOT / f).exists()]


def check_format(gate: Gate) -> None:
    clang_format = ["clang-format-14", "--dry-run", "-Werror", *files("*.c", "*.h")]
    gate.tool("format C", clang_format[0], clang_format)
    ruff = str(Path(sys.executable).parent / "ruff")
    gate.step("format Python", [ruff, "format", "--check"])
    gate.step("lint Python", [ruff, "check", "--no-cache"])


def build(gate: Gate, preset: str, *targets: str) -> bool:
    command = ["./run", "build", preset]
    if targets:
        command += ["--target", *targets]
    return gate.step(f"build {preset}", command)


def ctest(gate: Gate, preset: str, *selection: str) -> list[Piece]:
    """The tests of a build. Many of them wait more than they compute."""
    name = f"ctest {preset}"
    if gate.results.get(f"build {preset}") != "ok":
        gate.skip(name, f"needs 'build {preset}'")
        return []
    command = ["ctest", "--test-dir", BUILD / preset, "-V", "--no-tests=ignore"]
    command += ["-j", str(CORES)]
    if preset == "tsan":
        command = [*_fixed_addresses(), *command]
    suppressions = ROOT / "tests" / "tsan.supp"
    env = {}
    if suppressions.exists():
        env["TSAN_OPTIONS"] = f"suppressions={suppressions}"
    argv = [*command, *selection]
    return [Piece(name, name, argv, env, ROOT, slow=True, count=of_ctest)]


def _fixed_addresses() -> list[str]:
    """TSan's shadow does not fit the layouts of a kernel that randomizes more
    than it knew of; some containers forbid the personality that stops it."""
    prefix = ["setarch", os.uname().machine, "-R"]
    tried = subprocess.run([*prefix, "true"], capture_output=True)
    return prefix if tried.returncode == 0 else []


def compilers(gate: Gate) -> list[Piece]:
    """Builds, and their tests to run."""
    build(gate, "dev")
    if shutil.which("clang-14") is None:
        gate.skip("build clang", "no clang-14 here")
    else:
        build(gate, "clang")
    build(gate, "tsan")
    return [
        *ctest(gate, "tsan", "-L", "unit|mock"),
        *ctest(gate, "dev"),
        *ctest(gate, "clang", "-L", "unit"),
    ]


def checks(gate: Gate, full: bool) -> list[Piece]:
    source = [sys.executable, HERE / "source.py", *files("*.c", "*.h")]
    gate.tool("layers and lengths", "ctags", source)
    if shutil.which("clang-tidy-14") is None:
        gate.skip("clang-tidy", "no clang-tidy-14 here")
        return []
    tidy = [sys.executable, HERE / "tidy.py", *(["--tests"] if full else [])]
    return [Piece("clang-tidy", "clang-tidy", tidy, {}, ROOT, slow=True)]


def fuzzers(gate: Gate) -> None:
    """As many at a time as there are cores: they do nothing but compute."""
    minutes = float(os.environ.get("BF_FUZZ_MINUTES", "1"))
    names = fuzz.targets()
    if "BF_FUZZ_MINUTES" not in os.environ:
        whole = 10 * -(-len(names) // CORES)
        print(f"fuzzers: a minute each; BF_FUZZ_MINUTES=10 would take {whole} min")
    if build(gate, "fuzz"):
        pieces = [fuzz.piece(name, minutes * 60) for name in names]
        side_by_side(gate, pieces, CORES, minutes + 5)
        for piece in pieces:
            print(f"    {piece.step}: {fuzz.added_up(piece)}")


def other_debian(gate: Gate) -> None:
    """Debian 13 in folders of the cache: its compiler and libraries, and the
    image with a fleet of it."""
    steps = ("debian 13", "image")
    tried = subprocess.run(
        [sys.executable, IMAGE / "debian.py"], capture_output=True, text=True
    )
    if tried.returncode:
        for name in steps:
            gate.skip(name, tried.stdout.strip() or tried.stderr.strip())
        return
    check = [sys.executable, IMAGE / "dockerfile.py", "--target", "check"]
    gate.step(steps[0], check, count=of_ctest, minutes=60)
    image = [sys.executable, "-m", "unittest", "-v", "test_image"]
    gate.step(steps[1], image, count=of_unittest, cwd=IMAGE, minutes=60)


def python_tests(pattern: list[str]) -> list[Piece]:
    """A process a file; the runner's with the Python that has what blocks
    import."""
    cache = Path(os.environ.get("BLOCKFLEET_CACHE", ROOT / ".cache"))
    blocks = cache / "blocks-venv" / "bin" / "python"
    pieces = []
    for file in files("tests/python/test_*.py"):
        runner = Path(file).name.startswith("test_runner")
        python = blocks if runner else sys.executable
        step = "python runner" if runner else "python"
        log = f"python {Path(file).stem.removeprefix('test_')}"
        argv = [python, "-m", "unittest", "-v", *pattern, Path(file).stem]
        where = ROOT / "tests" / "python"
        pieces.append(Piece(step, log, argv, {}, where, count=of_unittest))
    return pieces


def side_by_side(gate: Gate, pieces: list[Piece], lanes: int, minutes: float) -> None:
    """Pieces of steps, several at a time; a step is closed with its last."""
    left = Counter(piece.step for piece in pieces)
    for piece in finished(pieces, lanes, minutes * 60):
        left[piece.step] -= 1
        if not left[piece.step]:
            close_pieces(gate, [p for p in pieces if p.step == piece.step])


def close_pieces(gate: Gate, pieces: list[Piece]) -> None:
    counts = Counts()
    for piece in pieces:
        counts += piece.count(piece.text) if piece.count else Counts()
    bad = [piece for piece in pieces if piece.status]
    status = bad[0].status if bad else ""
    text = "\n".join(
        failures_of_ctest(p.text) if p.count is of_ctest else p.text for p in bad
    )
    print(f"{pieces[0].step:<28} ", end="")
    seconds = sum(piece.seconds for piece in pieces)
    gate.close(pieces[0].step, status, counts, text, seconds)


def kafka_pieces(gate: Gate, pattern: list[str], env: Mapping[str, str]) -> list[Piece]:
    """What there is to run; a module that cannot be loaded fails its step."""
    listing = [sys.executable, HERE / "units.py", *pattern]
    if not gate.step("kafka tests", listing, env=env, cwd=KAFKA):
        return []
    pieces = []
    for line in (LOGS / "kafka-tests.log").read_text().splitlines():
        module, how, *tests = line.split()
        step = f"kafka {module.removeprefix('test_')}"
        log = f"kafka {tests[0].removeprefix('test_')}"
        argv = [sys.executable, "-m", "unittest", "-v", *tests]
        piece = Piece(step, log, argv, env, KAFKA, count=of_unittest)
        piece.alone, piece.slow = how == "alone", how == "slow"
        pieces.append(piece)
    return pieces


def kafka_tests(gate: Gate, pattern: list[str], full: bool) -> list[Piece]:
    """One step a file, on optimised programs with crash points."""
    if not build(gate, "crash", "programs"):
        gate.skip("kafka", "needs 'build crash'")
        return []
    env = {"BF_BIN_DIR": str(BUILD / "crash" / "bin")}
    if full:
        env["BF_FULL"] = "1"
    return kafka_pieces(gate, pattern, env)


def run_all(gate: Gate, pieces: list[Piece], full: bool) -> None:
    """Many wait more than they compute (sessions end, brokers start): more at
    a time than there are cores."""
    side_by_side(gate, pieces, CORES + 2, 180 if full else 15)


def everything(gate: Gate, full: bool) -> None:
    check_format(gate)
    pieces = [*compilers(gate), *checks(gate, full)]
    pieces += kafka_tests(gate, [], full)
    run_all(gate, [*pieces, *python_tests([])], full)
    if full:
        other_debian(gate)
        fuzzers(gate)


def only(gate: Gate, pattern: str, full: bool) -> None:
    build(gate, "dev")
    pieces = ctest(gate, "dev", "-R", pattern)
    pieces += kafka_tests(gate, ["-k", pattern], full)
    run_all(gate, [*pieces, *python_tests(["-k", pattern])], full)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run test")
    parser.add_argument("--full", action="store_true", help="the stated sizes")
    parser.add_argument("-k", metavar="NAME", help="only tests with NAME in theirs")
    parser.add_argument("--deps-seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    LOGS.mkdir(parents=True, exist_ok=True)
    # As an exception, so that what runs is ended on the way out.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    gate = Gate()
    begin = time.monotonic()
    if options.deps_seconds is not None:
        gate.done("deps", options.deps_seconds)
    if options.k:
        only(gate, options.k, options.full)
    else:
        everything(gate, options.full)
    print(f"took {time.monotonic() - begin:.0f} s; logs in build/logs/")
    print(gate.total)
    return 1 if gate.total.failed else 0


if __name__ == "__main__":
    sys.exit(main())
