"""clang-tidy over every C file of the product, two at a time; `--tests`: over
those of the tests as well.

A file that passed is not looked at again while it, the headers of ours that it
includes, its compile command and .clang-tidy stay the same: .cache/tidy holds
an empty file per passed digest. One file per process: clang-tidy 14 carries
false va_list findings from one file into the next.
"""

import hashlib
import json
import os
import re
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
TIDY = "clang-tidy-14"
PARALLEL = 2
PRODUCT = ("schemas/", "config/", "worker/", "dispatcher/")
FORGET_S = 30 * 86400


def database() -> Path:
    """A configured build: clang's own if there is one."""
    for preset in ("clang", "dev"):
        if (ROOT / "build" / preset / "compile_commands.json").exists():
            return ROOT / "build" / preset
    sys.exit("no build has a compile_commands.json")


def included(build: Path) -> dict[str, set[str]]:
    """Source -> files of ours that its last compilation read, told by ninja."""
    listed = subprocess.run(
        ["ninja", "-C", str(build), "-t", "deps"],
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, set[str]] = {}
    for block in listed.stdout.split("\n\n"):
        lines = [line.strip() for line in block.splitlines()[1:]]
        paths = [os.path.normpath(build / line) for line in lines if line]
        if paths:
            found[paths[0]] = {p for p in paths if p.startswith(f"{ROOT}/")}
    return found


def digest(entry: dict[str, str], headers: set[str], common: bytes) -> str:
    """Of all that the verdict on one file depends on, wherever the clone is."""
    command = entry["command"].replace(str(ROOT), ".")
    sum_ = hashlib.sha256(common + command.encode())
    for path in sorted({entry["file"], *headers}):
        name = os.path.relpath(path, ROOT)
        sum_.update(name.encode() + b"\0" + Path(path).read_bytes())
    return sum_.hexdigest()


def check(build: Path, file: str) -> tuple[bool, str]:
    done = subprocess.run(
        [TIDY, "--quiet", "-p", str(build), file], capture_output=True, text=True
    )
    return done.returncode == 0, done.stdout + done.stderr


def forget_old(passed: Path) -> None:
    for file in passed.iterdir():
        if file.stat().st_mtime < time.time() - FORGET_S:
            file.unlink()


def main() -> int:
    build = database()
    cache = Path(os.environ.get("BLOCKFLEET_CACHE") or ROOT / ".cache")
    passed = cache / "tidy"
    passed.mkdir(parents=True, exist_ok=True)
    forget_old(passed)
    version = subprocess.run([TIDY, "--version"], capture_output=True).stdout
    common = version + (ROOT / ".clang-tidy").read_bytes()
    headers = included(build)
    listed = json.loads((build / "compile_commands.json").read_text())
    wanted = ("",) if "--tests" in sys.argv else PRODUCT
    entries = [e for e in listed if os.path.relpath(e["file"], ROOT).startswith(wanted)]
    keys = {
        e["file"]: digest(e, headers.get(e["file"], set()), common) for e in entries
    }
    for key in keys.values():
        if (passed / key).exists():
            (passed / key).touch()
    todo = [file for file, key in keys.items() if not (passed / key).exists()]
    print(f"{len(keys)} files, {len(todo)} to check")
    findings: set[str] = set()
    good = True
    with ThreadPoolExecutor(PARALLEL) as pool:
        verdicts = pool.map(lambda file: check(build, file), todo)
        for file, (ok, text) in zip(todo, verdicts, strict=True):
            if ok:
                (passed / keys[file]).touch()
            else:
                good = False
                findings.update(re.findall(r"^.*: error: .*$", text, re.MULTILINE))
                print(f"--- {os.path.relpath(file, ROOT)}\n{text}")
    # Last, where it is read first: the findings without their long stories.
    print("\n".join(sorted(f.removeprefix(f"{ROOT}/") for f in findings)))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
