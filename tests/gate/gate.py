"""The gate, `./run test`: every step in order, one line each, then the counts.

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
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

from counts import Counts, failures_of_ctest, of_ctest, of_unittest

ROOT = Path(__file__).resolve().parent.parent.parent
BUILD = ROOT / "build"
HERE = ROOT / "tests" / "gate"
KAFKA = ROOT / "tests" / "kafka"
IMAGE = ROOT / "tests" / "image"
TAIL_LINES = 150
RUNNING: set[subprocess.Popen[bytes]] = set()

Argv = Sequence[str | Path]
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
        needs: Sequence[str] = (),
        count: Count | None = None,
        env: Mapping[str, str] | None = None,
        cwd: Path = ROOT,
        minutes: float = 15,
    ) -> bool:
        """Run one command; True when it passed."""
        missing = [need for need in needs if self.results.get(need) != "ok"]
        if missing:
            return self.skip(name, f"needs '{missing[0]}'")
        print(f"{name:<28} ", end="", flush=True)
        begin = time.monotonic()
        status, text = _run(name, argv, env, cwd, minutes * 60)
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


def _run(
    name: str, argv: Argv, env: Mapping[str, str] | None, cwd: Path, limit_s: float
) -> tuple[str, str]:
    """What went wrong ("" when nothing did) and the output, also in the log."""
    log = BUILD / "logs" / (name.replace(" ", "-") + ".log")
    with log.open("wb") as out:
        child = subprocess.Popen(
            [str(a) for a in argv],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(env or {})},
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
            _end_group(child)
            RUNNING.discard(child)
    return status, log.read_text(errors="replace")


def _end_group(child: subprocess.Popen[bytes]) -> None:
    """Nothing that a step started may outlive it, nor an interrupted gate."""
    try:
        os.killpg(child.pid, 9)
    except ProcessLookupError:
        pass
    child.wait()


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


def ctest(gate: Gate, preset: str, *selection: str, minutes: float = 15) -> bool:
    command = ["ctest", "--test-dir", BUILD / preset, "-V", "--no-tests=ignore", "-j2"]
    if preset == "tsan":
        command = [*_fixed_addresses(), *command]
    suppressions = ROOT / "tests" / "tsan.supp"
    env = {}
    if suppressions.exists():
        env["TSAN_OPTIONS"] = f"suppressions={suppressions}"
    return gate.step(
        f"ctest {preset}",
        [*command, *selection],
        needs=[f"build {preset}"],
        count=of_ctest,
        env=env,
        minutes=minutes,
    )


def _fixed_addresses() -> list[str]:
    """TSan's shadow does not fit the layouts of a kernel that randomizes more
    than it knew of; some containers forbid the personality that stops it."""
    prefix = ["setarch", os.uname().machine, "-R"]
    tried = subprocess.run([*prefix, "true"], capture_output=True)
    return prefix if tried.returncode == 0 else []


def compilers(gate: Gate) -> None:
    build(gate, "dev")
    ctest(gate, "dev")
    if shutil.which("clang-14") is None:
        gate.skip("build clang", "no clang-14 here")
    else:
        build(gate, "clang")
    ctest(gate, "clang", "-L", "unit")
    build(gate, "tsan")
    ctest(gate, "tsan", "-L", "unit|mock")


def checks(gate: Gate, full: bool) -> None:
    tidy = [sys.executable, HERE / "tidy.py", *(["--tests"] if full else [])]
    gate.tool("clang-tidy", "clang-tidy-14", tidy)
    source = [sys.executable, HERE / "source.py", *files("*.c", "*.h")]
    gate.tool("layers and lengths", "ctags", source)


def fuzz(gate: Gate, seconds: int) -> None:
    if not files("tests/fuzz/fuzz_*.c"):
        gate.skip("build fuzz", "no fuzz targets yet")
        return
    if not build(gate, "fuzz"):
        return
    for source in files("tests/fuzz/fuzz_*.c"):
        stem = Path(source).stem
        name = stem.removeprefix("fuzz_")
        found = BUILD / "fuzz" / "found" / name
        found.mkdir(parents=True, exist_ok=True)
        corpus = ROOT / "tests" / "fuzz" / "corpus" / name
        options = [f"-max_total_time={seconds}", f"-artifact_prefix={found}/"]
        words = ROOT / "tests" / "fuzz" / f"{name}.dict"
        if words.exists():
            options.append(f"-dict={words}")
        inputs = [found, *([corpus] if corpus.is_dir() else [])]
        target = BUILD / "fuzz" / "tests" / stem
        gate.step(f"fuzz {name}", [target, *options, *inputs], needs=["build fuzz"])


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


def python_tests(gate: Gate, pattern: list[str]) -> None:
    """The runner's with the Python that has what blocks import."""
    cache = Path(os.environ.get("BLOCKFLEET_CACHE", ROOT / ".cache"))
    blocks = cache / "blocks-venv" / "bin" / "python"
    for name, python, which in (
        ("python", Path(sys.executable), "test_[!r]*.py"),
        ("python runner", blocks, "test_runner*.py"),
    ):
        discover = [python, "-m", "unittest", "discover", "-v", *pattern]
        where = ["-s", "tests/python", "-p", which]
        gate.step(name, [*discover, *where], count=of_unittest)


@dataclass
class Piece:
    """Real-broker tests that run in one process: a line of units.py."""

    module: str
    alone: bool
    tests: list[str]
    status: str = ""
    text: str = ""
    seconds: float = 0

    def run(self, env: Mapping[str, str], limit_s: float) -> "Piece":
        argv = [sys.executable, "-m", "unittest", "-v", *self.tests]
        begin = time.monotonic()
        log = f"kafka {self.tests[0].removeprefix('test_')}"
        self.status, self.text = _run(log, argv, env, KAFKA, limit_s)
        self.seconds = time.monotonic() - begin
        return self


def kafka_pieces(gate: Gate, pattern: list[str], env: Mapping[str, str]) -> list[Piece]:
    """What there is to run; a module that cannot be loaded fails its step."""
    listing = [sys.executable, HERE / "units.py", *pattern]
    if not gate.step("kafka tests", listing, env=env, cwd=KAFKA):
        return []
    lines = (BUILD / "logs" / "kafka-tests.log").read_text().splitlines()
    words = [line.split() for line in lines]
    return [Piece(module, how == "alone", tests) for module, how, *tests in words]


def finished(
    pieces: list[Piece], env: Mapping[str, str], limit_s: float
) -> Iterable[Piece]:
    """Run them, yield each when it is over. They mostly wait (sessions end,
    brokers start), so more than there are cores; then those that measure."""
    pool = ThreadPoolExecutor((os.cpu_count() or 1) + 1)
    side_by_side = [
        pool.submit(piece.run, env, limit_s) for piece in pieces if not piece.alone
    ]
    try:
        for future in as_completed(side_by_side):
            yield future.result()
        for piece in pieces:
            if piece.alone:
                yield piece.run(env, limit_s)
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in list(RUNNING):
            _end_group(child)


def kafka_tests(gate: Gate, pattern: list[str], full: bool) -> None:
    """One step a file, on optimised programs with crash points."""
    if not build(gate, "crash", "programs"):
        gate.skip("kafka", "needs 'build crash'")
        return
    env = {"BF_BIN_DIR": str(BUILD / "crash" / "bin")}
    if full:
        env["BF_FULL"] = "1"
    pieces = kafka_pieces(gate, pattern, env)
    left = Counter(piece.module for piece in pieces)
    for piece in finished(pieces, env, (180 if full else 15) * 60):
        left[piece.module] -= 1
        if not left[piece.module]:
            close_module(gate, [p for p in pieces if p.module == piece.module])


def close_module(gate: Gate, pieces: list[Piece]) -> None:
    name = f"kafka {pieces[0].module.removeprefix('test_')}"
    counts = Counts()
    for piece in pieces:
        counts += of_unittest(piece.text)
    bad = [piece for piece in pieces if piece.status]
    print(f"{name:<28} ", end="")
    gate.close(
        name,
        bad[0].status if bad else "",
        counts,
        "\n".join(piece.text for piece in bad),
        sum(piece.seconds for piece in pieces),
    )


def everything(gate: Gate, full: bool) -> None:
    check_format(gate)
    compilers(gate)
    checks(gate, full)
    python_tests(gate, [])
    kafka_tests(gate, [], full)
    if full:
        other_debian(gate)
        fuzz(gate, 60)


def only(gate: Gate, pattern: str, full: bool) -> None:
    build(gate, "dev")
    ctest(gate, "dev", "-R", pattern)
    python_tests(gate, ["-k", pattern])
    kafka_tests(gate, ["-k", pattern], full)


def main() -> int:
    parser = argparse.ArgumentParser(prog="./run test")
    parser.add_argument("--full", action="store_true", help="the stated sizes")
    parser.add_argument("-k", metavar="NAME", help="only tests with NAME in theirs")
    parser.add_argument("--deps-seconds", type=float, help=argparse.SUPPRESS)
    options = parser.parse_args()
    (BUILD / "logs").mkdir(parents=True, exist_ok=True)
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
