"""A sandbox's insides: a folder, and processes that see it as their /home,
/tmp and /opt. Whatever was started in it dies with it.

With mount namespaces (root) paths are the sandbox's own everywhere. Without,
files and working directories are mapped, and a program that names an absolute
path gets the host's.
"""

from __future__ import annotations

import functools
import os
import shutil
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

HOME = "/home/user"
OWN = ("home", "opt", "tmp")  # what of the root a sandbox has for itself
MARK = "E2B_SANDBOX_ID"
_ENTER = """
root=$1 cwd=$2; shift 2
case $SHOWN in
/home/* | /opt/* | /tmp/*)  # is to be seen in spite of what follows
    mkdir -p "$root$SHOWN" && mount --bind "$SHOWN" "$root$SHOWN" || exit 126 ;;
esac
for own in home opt tmp; do
    # tmp last: the root may be in it.
    [ -d "/$own" ] && { mount --rbind "$root/$own" "/$own" || exit 126; }
done
[ -z "$LOOPBACK" ] || ip link set lo up
unset LOOPBACK SHOWN
cd "$cwd" && exec "$@"
"""


@functools.cache
def namespaces() -> str:
    """What `unshare` may do here: "net" (with mounts), "mount", or "" """
    for name, flags in (("net", ("--mount", "--net")), ("mount", ("--mount",))):
        command = ["unshare", *flags, "true"]
        try:
            done = subprocess.run(command, capture_output=True, check=False)
        except OSError:
            return ""
        if done.returncode == 0:
            return name
    return ""


class Box:
    def __init__(
        self,
        root: Path,
        sandbox: str,
        envs: Mapping[str, str],
        image: Path | None,
        path: str = "",
    ) -> None:
        """path: folders of programs, before the machine's own."""
        self.path = path
        self.root = root
        self.sandbox = sandbox
        self.envs = dict(envs)
        for own in OWN:
            (root / own).mkdir(parents=True)
        if image:
            shutil.copytree(image, root, dirs_exist_ok=True, symlinks=True)
        (root / HOME[1:]).mkdir(exist_ok=True)
        self._lock = threading.Lock()
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        self._used = False
        self.closed = False

    # ---- paths ----

    def absolute(self, path: str) -> str:
        """A path as the sandbox sees it."""
        if path == "~" or path.startswith("~/"):
            path = HOME + path[1:]
        if not path.startswith("/"):
            path = f"{HOME}/{path}" if path else HOME
        return os.path.normpath(path)

    def host(self, path: str) -> Path:
        """Where it is on this machine. The first folder decides: what is not
        the sandbox's own is the machine's, and never written."""
        parts = PurePosixPath(self.absolute(path)).parts
        if len(parts) > 1 and parts[1] in OWN:
            return self.root.joinpath(*parts[1:])
        return Path(*parts)

    def may_write(self, path: str) -> bool:
        parts = PurePosixPath(self.absolute(path)).parts
        return len(parts) > 1 and parts[1] in OWN

    # ---- processes ----

    def spawn(
        self,
        command: Sequence[str],
        *,
        cwd: str = HOME,
        envs: Mapping[str, str] | None = None,
        network: bool = False,
        **options: Any,
    ) -> subprocess.Popen[bytes]:
        """network: with a loopback of its own (if the machine allows it)."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        environment = {
            "PATH": f"{self.path}:{path}" if self.path else path,
            "HOME": HOME if namespaces() else str(self.host(HOME)),
            "USER": "user",
            "LOGNAME": "user",
            "E2B_SANDBOX": "true",
            **self.envs,
            **(envs or {}),
            MARK: self.sandbox,
        }
        if not namespaces():
            options["cwd"] = self.host(cwd)
        else:
            flags = ["--mount"]
            if network and namespaces() == "net":
                flags.append("--net")
                environment["LOOPBACK"] = "1"
            enter = ["/bin/sh", "-c", _ENTER, "sh", str(self.root), cwd]
            environment["SHOWN"] = str(Path(self.path).parent) if self.path else ""
            command = ["unshare", *flags, *enter, *command]
        with self._lock:
            if self.closed:
                raise BoxClosed(self.sandbox)
            process = subprocess.Popen(
                command, env=environment, start_new_session=True, **options
            )
            self._processes[process.pid] = process
            self._used = True
        return process

    def ended(self, pid: int) -> None:
        """Its group may live on in children; it is looked for by its mark."""
        with self._lock:
            self._processes.pop(pid, None)

    def signal_all(self, number: int) -> None:
        with self._lock:
            groups = list(self._processes)
        for group in groups:
            try:
                os.killpg(group, number)
            except ProcessLookupError:
                pass

    def close(self, keep: bool = False) -> None:
        with self._lock:
            if self.closed:
                return
            self.closed = True
        self.signal_all(signal.SIGKILL)
        for pid in marked(self.sandbox) if self._used else ():
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        for process in list(self._processes.values()):
            process.wait()
        if not keep:
            shutil.rmtree(self.root, ignore_errors=True)


class BoxClosed(Exception):
    """The sandbox ended; nothing starts in it any more."""


def marked(sandbox: str) -> list[int]:
    """Processes of a sandbox, by their environment: those, too, that left
    their group or session."""
    mark = f"{MARK}={sandbox}".encode()
    found = []
    for entry in os.scandir("/proc"):
        if not entry.name.isdecimal():
            continue
        try:
            with open(f"/proc/{entry.name}/environ", "rb") as file:
                if mark in file.read().split(b"\0"):
                    found.append(int(entry.name))
        except OSError:
            pass
    return found
