"""Where the broker comes from: jars by Maven, once, and a JVM class archive.

They live in `<cache>/kafka`, cache being $BLOCKFLEET_CACHE or `.cache` in the
repository. The folder's name carries a digest of pom.xml and of the JVM's
version, because an archive fits one set of jars and one JVM only.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

POM = Path(__file__).resolve().parent.parent / "pom.xml"
REPOSITORY = POM.parent.parent.parent
JAVA_MINIMUM = 17


class Missing(RuntimeError):
    """A tool that the broker needs is not installed."""


@dataclass(frozen=True)
class Dist:
    java: str
    jars: Path
    archive: Path
    storage: Path
    flags: tuple[str, ...] = ()

    def command(self, heap_mb: int) -> list[str]:
        """The JVM's command line up to the main class: quick to start."""
        flags = [f"-Xmx{heap_mb}m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"]
        flags += self.flags
        if not self.flags and self.archive.exists():
            flags += [f"-XX:SharedArchiveFile={self.archive}", "-Xshare:auto"]
        return [self.java, *flags, *_LOGGING, "-cp", f"{self.jars}/*"]


_LOGGING = [
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=HH:mm:ss.SSS",
]


def cache_dir() -> Path:
    return Path(os.environ.get("BLOCKFLEET_CACHE") or REPOSITORY / ".cache").resolve()


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold an exclusive lock on a file, across processes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _java() -> tuple[str, str]:
    """The first JVM that is new enough, and its version text."""
    home = os.environ.get("JAVA_HOME")
    found = [f"{home}/bin/java"] if home else []
    found += [java for java in [shutil.which("java")] if java]
    found += sorted(map(str, Path("/usr/lib/jvm").glob("*/bin/java")), reverse=True)
    for java in found:
        try:
            text = subprocess.run(
                [java, "-version"], capture_output=True, text=True, check=True
            ).stderr
        except (OSError, subprocess.CalledProcessError):
            continue
        match = re.search(r'version "(\d+)', text)
        if match and int(match[1]) >= JAVA_MINIMUM:
            return java, text
    raise Missing(f"no Java {JAVA_MINIMUM} or newer: ./run deps")


def _resolve(target: Path) -> None:
    """Copy the broker's jars to `target`; all of them or none."""
    maven = shutil.which("mvn")
    if not maven:
        raise Missing("no mvn: ./run deps")
    partial = target.with_name(target.name + ".part")
    shutil.rmtree(partial, ignore_errors=True)
    done = subprocess.run(
        [maven, "-B", "-q", "-ntp", "-f", str(POM), "dependency:copy-dependencies"]
        + [f"-DoutputDirectory={partial}"],
        capture_output=True,
        text=True,
    )
    if done.returncode != 0:
        raise RuntimeError(f"maven failed:\n{done.stdout}{done.stderr}")
    partial.rename(target)


@cache
def dist() -> Dist:
    """The broker's files; the first call downloads 44 MB if need be.

    The class archive may still be missing: broker.prepare() makes it. So may
    `storage`, what formatting writes: the first broker keeps it.
    """
    java, version = _java()
    pom = hashlib.sha256(POM.read_bytes()).hexdigest()[:12]
    root = cache_dir() / "kafka"
    jars = root / f"jars-{pom}"
    if not jars.is_dir():
        with locked(root / "lock"):
            if not jars.is_dir():
                _resolve(jars)
    tag = hashlib.sha256(f"{jars}{version}".encode()).hexdigest()[:12]
    archive, storage = root / f"classes-{tag}.jsa", root / f"storage-{tag}.checkpoint"
    return Dist(java, jars, archive, storage)
