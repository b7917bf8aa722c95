"""npm's e2b and @e2b/code-interpreter: installed once, kept in the cache."""

import os
import shutil
import subprocess
import unittest
from pathlib import Path

from e2b_case import ROOT, E2BServer

CACHE = Path(os.environ.get("BLOCKFLEET_CACHE") or ROOT / ".cache")
NPM = {"e2b": "2.51.0", "@e2b/code-interpreter": "2.8.0"}
QUIET = ("--no-audit", "--no-fund", "--ignore-scripts", "--loglevel=error")


def folder() -> Path:
    """Where they are; skips the test where they cannot be had."""
    if not shutil.which("npm") or not shutil.which("node"):
        raise unittest.SkipTest("no node or no npm on PATH")
    place = CACHE / ("e2b-npm-" + "-".join(NPM.values()))
    if (place / "done").exists():
        return place
    half = place.with_name(f"{place.name}.{os.getpid()}")
    half.mkdir(parents=True)
    wanted = [f"{name}@{version}" for name, version in NPM.items()]
    done = subprocess.run(
        ["npm", "install", "--prefix", str(half), *QUIET, *wanted],
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode:
        shutil.rmtree(half)
        raise unittest.SkipTest(f"npm install failed: {done.stderr[-300:]}")
    (half / "done").touch()
    try:
        half.rename(place)
    except OSError:  # another test was quicker
        shutil.rmtree(half)
    return place


def run(script: Path, server: E2BServer) -> subprocess.CompletedProcess[str]:
    """Runs a copy of the script that is beside its packages."""
    copy = folder() / script.name
    half = copy.with_name(f"{os.getpid()}-{script.name}")
    half.write_text(script.read_text())
    try:
        return subprocess.run(
            ["node", str(half)],
            env={**os.environ, **server.environment},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    finally:
        half.unlink()
