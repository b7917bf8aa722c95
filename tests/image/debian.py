"""Another Debian to build and run things in, beside the one that this is.

A tree made once by debootstrap, from the mirror that this machine's own apt
uses; layers over it (overlayfs); programs inside, in namespaces of their own.
Mounts are seen by nobody else and go with the last process in there, whatever
way it ends, so nothing has to be cleaned up but folders in the cache.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APT = Path("/etc/apt")
# Which of apt's settings say how this machine reaches its mirror.
_HOW = re.compile(r"^Acquire::(https?::|Check-|Force|Retries|Languages)")
# As in the images of Debian for containers: no caches in what RUN leaves.
_CLEAN = """\
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
DPkg::Post-Invoke { "rm -f /var/cache/apt/archives/*.deb"; };
"""
_TOOLS = ("debootstrap", "unshare", "mount", "chroot")


class Unavailable(Exception):
    """This cannot be done on this machine; the text says why."""


def cache_dir() -> Path:
    found = os.environ.get("BLOCKFLEET_CACHE") or ROOT / ".cache"
    return Path(found).resolve() / "debian"


# ---- the mirror


@dataclass(frozen=True)
class Source:
    """One `deb` line, or one stanza of a .sources file."""

    uri: str
    suites: tuple[str, ...]
    components: tuple[str, ...]


def _of_stanzas(text: str) -> Iterator[Source]:
    for stanza in re.split(r"\n\s*\n", text):
        lines = [line for line in stanza.splitlines() if line[:1] != "#"]
        joined = re.sub(r"\n[ \t]+", " ", "\n".join(lines))
        pairs = (line.split(":", 1) for line in joined.splitlines() if ":" in line)
        fields = {name.strip().lower(): value.split() for name, value in pairs}
        if "deb" not in fields.get("types", []) or fields.get("enabled") == ["no"]:
            continue
        for uri in fields.get("uris", []):
            suites, components = fields.get("suites", []), fields.get("components", [])
            yield Source(uri, tuple(suites), tuple(components))


def _of_lines(text: str) -> Iterator[Source]:
    for line in text.splitlines():
        words = re.sub(r"\[.*?\]", "", line.split("#")[0]).split()
        if len(words) > 2 and words[0] == "deb":
            yield Source(words[1], (words[2],), tuple(words[3:]))


def sources(apt: Path = APT) -> list[Source]:
    """What this machine's apt is told to use."""
    found: list[Source] = []
    for path in [apt / "sources.list", *sorted((apt / "sources.list.d").glob("*"))]:
        if path.suffix == ".sources":
            found += _of_stanzas(path.read_text())
        elif path.suffix == ".list" and path.exists():
            found += _of_lines(path.read_text())
    return found


def codename() -> str:
    """Of the Debian that this is; "" when it is none."""
    with open("/etc/os-release") as file:
        pairs = (line.strip().split("=", 1) for line in file if "=" in line)
        fields = {name: value.strip('"') for name, value in pairs}
    return fields.get("VERSION_CODENAME", "") if fields.get("ID") == "debian" else ""


@dataclass(frozen=True)
class Mirror:
    main: str
    security: str  # "": none
    how: str  # lines of apt's configuration

    def sources_of(self, suite: str) -> str:
        stanza = "Types: deb\nURIs: {}\nSuites: {}\nComponents: main\nSigned-By: {}\n"
        keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
        text = stanza.format(self.main, f"{suite} {suite}-updates", keys)
        if self.security:
            text += "\n" + stanza.format(self.security, f"{suite}-security", keys)
        return text


def mirror(apt: Path = APT, here: str | None = None) -> Mirror:
    """Where this machine gets its own Debian from, and how."""
    name = codename() if here is None else here
    main = security = ""
    for source in sources(apt):
        if "main" in source.components and name in source.suites:
            main = main or source.uri
        if f"{name}-security" in source.suites:
            security = security or source.uri
    if not name or not main:
        raise Unavailable("apt has no mirror of Debian here")
    told = subprocess.run(["apt-config", "dump"], capture_output=True, text=True)
    how = [line for line in told.stdout.splitlines() if _HOW.match(line)]
    return Mirror(main, security, "".join(f"{line}\n" for line in how))


# ---- trees


def check() -> None:
    """Raises Unavailable when no tree can be made or entered here."""
    if os.geteuid() != 0:
        raise Unavailable("only root may make a Debian tree")
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"no {missing[0]} here")
    with scratch() as folder, Inside([folder]) as inside:
        tried = inside.run(["true"], probe=True)
    if tried.returncode:
        said = tried.stdout.strip().splitlines() or [""]
        raise Unavailable(f"no mounts or namespaces here: {said[-1]}")


@contextmanager
def locked() -> Iterator[None]:
    """One process at a time makes trees and layers."""
    cache_dir().mkdir(parents=True, exist_ok=True)
    with (cache_dir() / "lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextmanager
def scratch() -> Iterator[Path]:
    """A folder beside the trees. Nothing is ever mounted in it that we see."""
    parent = cache_dir() / "tmp"
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.iterdir():
        if not Path(f"/proc/{left.name.split('-')[0]}").exists():
            shutil.rmtree(left, ignore_errors=True)
    path = Path(tempfile.mkdtemp(dir=parent, prefix=f"{os.getpid()}-"))
    path.chmod(0o755)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)


def base(suite: str) -> Path:
    """The smallest tree of a suite, made when it is not there. Under locked()."""
    source = mirror()
    said = f"{source.sources_of(suite)}{source.how}{_CLEAN}"
    digest = hashlib.sha256(said.encode()).hexdigest()[:12]
    found = cache_dir() / f"{suite}-{digest}"
    if found.is_dir():
        return found
    partial = cache_dir() / f"{suite}.part"
    shutil.rmtree(partial, ignore_errors=True)
    command = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
    command += ["debootstrap", "--variant=minbase", "--include=ca-certificates"]
    command += [suite, str(partial), source.main]
    done = subprocess.run(
        command, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if done.returncode:
        tail = "\n".join((done.stdout + done.stderr).splitlines()[-10:])
        raise RuntimeError(f"debootstrap {suite} failed:\n{tail}")
    apt = partial / "etc/apt"
    (apt / "sources.list").unlink(missing_ok=True)
    (apt / "sources.list.d/debian.sources").write_text(source.sources_of(suite))
    (apt / "apt.conf.d/90machine").write_text(_CLEAN + source.how)
    for pattern in ("var/cache/apt/archives/*.deb", "var/cache/apt/*.bin"):
        for file in partial.glob(pattern):
            file.unlink()
    shutil.rmtree(partial / "var/lib/apt/lists")
    # To be mounted over.
    (partial / "etc/resolv.conf").write_text("")
    partial.rename(found)
    return found


# In namespaces of its own: $1 becomes the root, then the rest is run in it.
_ENTER = """
set -eu
root=$1; shift
mount --make-rprivate /
mount -t overlay overlay -o "$BF_OVERLAY" "$root"
mkdir -p "$root/proc" "$root/sys" "$root/dev" "$root/tmp" "$root/etc" "$root/run"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
mkdir "$root/dev/pts" "$root/dev/shm"
for name in null zero full random urandom tty; do
    touch "$root/dev/$name"
    mount --bind "/dev/$name" "$root/dev/$name"
done
mount -t devpts -o newinstance,ptmxmode=666 devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
for number in 0 1 2; do
    name=$(echo stdin stdout stderr | cut -d' ' -f$((number + 1)))
    ln -s "/proc/self/fd/$number" "$root/dev/$name"
done
[ ! -e "$root/etc/resolv.conf" ] || [ ! -e /etc/resolv.conf ] ||
    mount --bind /etc/resolv.conf "$root/etc/resolv.conf"
printf '%s\\n' "$BF_BINDS" | while IFS='|' read -r from to options; do
    [ -n "$from" ] || continue
    mkdir -p "$root$to"
    if [ "$from" = tmpfs ]; then
        mount -t tmpfs -o "$options" tmpfs "$root$to"
    else
        mount --bind "$from" "$root$to"
        mount -o "remount,bind,$options" "$root$to"
    fi
done
[ -z "$BF_READ_ONLY" ] || mount -o remount,ro "$root"
[ -z "$BF_HOSTNAME" ] || hostname "$BF_HOSTNAME"
unset BF_OVERLAY BF_BINDS BF_HOSTNAME BF_READ_ONLY
exec "$@"
"""


@dataclass
class Inside:
    """A tree to run programs in: read-only layers, and what is written here.

    layers: the lowest first. What is written goes to `upper`, which is empty
    at first and belongs to the caller; without one it is lost at the end.
    """

    layers: Sequence[Path]
    upper: Path | None = None
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: str = "/"
    user: str = ""  # as chroot --userspec
    hostname: str = ""
    # (folder out here, or "tmpfs"; place in there; mount options)
    binds: Sequence[tuple[str | Path, str, str]] = ()
    read_only: bool = False  # but for the binds

    def __enter__(self) -> "Inside":
        self._scratch = scratch()
        self._folder = self._scratch.__enter__()
        for name in ("upper", "work", "root"):
            (self._folder / name).mkdir()
        return self

    def __exit__(self, *_: object) -> None:
        self._scratch.__exit__(None, None, None)

    def command(self, argv: Sequence[str], *, probe: bool = False) -> list[str]:
        """A command line. Its first process in there is argv, as pid 1, and
        when it or this command ends, all is over in there."""
        layers = ":".join(str(path) for path in reversed(self.layers))
        upper = self.upper or self._folder / "upper"
        overlay = f"lowerdir={layers},upperdir={upper},workdir={self._folder / 'work'}"
        binds = "\n".join("|".join(map(str, bind)) for bind in self.binds)
        env = {
            "BF_OVERLAY": overlay,
            "BF_BINDS": binds,
            "BF_HOSTNAME": self.hostname,
            "BF_READ_ONLY": "yes" if self.read_only else "",
        }
        words = [f"{name}={value}" for name, value in env.items()]
        spaces = ["--mount", "--pid", "--ipc", "--uts", "--fork", "--kill-child"]
        root = str(self._folder / "root")
        enter = ["sh", "-c", _ENTER, "enter", root]
        if probe:
            return ["env", *words, "unshare", *spaces, *enter, *argv]
        chroot = ["chroot", *([f"--userspec={self.user}"] if self.user else []), root]
        clean = ["env", "-i", "-C", self.cwd, "HOME=/root"]
        inner = [f"{name}={value}" for name, value in self.env.items()]
        return [
            *("env", *words, "unshare", *spaces, *enter),
            *(*chroot, *clean, *inner, *argv),
        ]

    def run(
        self, argv: Sequence[str], *, probe: bool = False, loud: bool = False
    ) -> subprocess.CompletedProcess[str]:
        """Until it ends; loud: what it says goes where ours does."""
        return subprocess.run(
            self.command(argv, probe=probe),
            stdin=subprocess.DEVNULL,
            stdout=None if loud else subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
        )


def main() -> int:
    """Says why not, if it cannot be done here."""
    try:
        check()
        mirror()
    except Unavailable as error:
        print(error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
