"""The little of Linux that the standard library does not wrap."""

from __future__ import annotations

import ctypes
import os
import resource
import signal
from collections.abc import Iterable

_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36
_libc = ctypes.CDLL(None, use_errno=True)


def _prctl(option: int, value: int) -> None:
    zero = ctypes.c_ulong(0)
    if _libc.prctl(option, ctypes.c_ulong(value), zero, zero, zero) != 0:
        errno = ctypes.get_errno()
        raise OSError(errno, f"prctl {option}: {os.strerror(errno)}")


def die_with_parent(parent: int) -> None:
    """SIGKILL for this process when `parent` ends, also if it has already."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def adopt_orphans() -> None:
    """Descendants whose parent ends become children of this process."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def children(pid: int) -> list[int]:
    try:
        with open(f"/proc/{pid}/task/{pid}/children", "rb") as file:
            return [int(word) for word in file.read().split()]
    except (FileNotFoundError, ProcessLookupError):
        return _children_by_scan(pid)


def _children_by_scan(parent: int) -> list[int]:
    """For kernels without CONFIG_PROC_CHILDREN."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and stat(int(name))[1] == parent:
            found.append(int(name))
    return found


def stat(pid: int) -> tuple[str, int]:
    """State letter and parent of a process; ("", 0) when there is none."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            rest = file.read().rpartition(b")")[2].split()
        return rest[0].decode(), int(rest[1])
    except (OSError, IndexError):
        return "", 0


def threads(pid: int) -> int:
    try:
        return len(os.listdir(f"/proc/{pid}/task"))
    except OSError:
        return 0


def open_pidfd(pid: int) -> int | None:
    """None where the kernel has no pidfds (some sandboxes)."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        return None


def kill(pid: int, number: int = signal.SIGKILL, group: bool = True) -> None:
    """Signals the process and, when it leads one, its group; gone is fine."""
    if group:
        try:
            os.killpg(pid, number)
        except OSError:
            pass
    try:
        os.kill(pid, number)
    except OSError:
        pass


def close_all_but(keep: Iterable[int]) -> None:
    low = 0
    for fd in sorted({*keep, 0, 1, 2}):
        if low < fd:  # an empty range would close everything
            os.closerange(low, fd)
        low = fd + 1
    try:
        high = max(int(name) for name in os.listdir("/proc/self/fd")) + 1
    except (OSError, ValueError):
        high = min(resource.getrlimit(resource.RLIMIT_NOFILE)[0], 1 << 16)
    if low < high:
        os.closerange(low, high)


def limit(what: int, soft: int, hard: int | None = None) -> None:
    """Lowers a limit, the hard one to `hard` or else to `soft`; 0 leaves it."""
    if soft <= 0:
        return
    hard = soft if hard is None else hard
    ceiling = resource.getrlimit(what)[1]
    if ceiling != resource.RLIM_INFINITY:
        soft = min(soft, ceiling)
        hard = ceiling if hard == resource.RLIM_INFINITY else min(hard, ceiling)
    resource.setrlimit(what, (soft, hard))


def reset_signals() -> None:
    """What a process expects that was not forked from a server."""
    signal.set_wakeup_fd(-1)
    for number in signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP}:
        if signal.getsignal(number) != signal.SIG_DFL:
            signal.signal(number, signal.SIG_DFL)
    # As Python does: a broken pipe or a file over its limit is an OSError.
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.pthread_sigmask(signal.SIG_SETMASK, set())
