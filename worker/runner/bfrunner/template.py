"""The two kinds of process that user code lives in.

A *template* has executed one code version's imports, module body and init; for
each run it forks a *run*, which calls the function once and ends.  Both are
untrusted from the first line of user code on: the zygote believes nothing they
say except what the kernel confirms.

Orders from the zygote, one datagram each on a SOCK_SEQPACKET pair:

    F + descriptors (area, stdout, stderr)   fork a run      -> P pid | E errno
    W pid                                    reap that child -> S pid status µs rss_kb

and once, unasked: B + JSON, the report on loading ({"success": true, …}).
A run is reaped only when told to, so its pid cannot be another's while the
zygote still signals it.
"""

from __future__ import annotations

import gc
import io
import json
import os
import resource
import socket
import struct
import sys
import traceback
import warnings
from dataclasses import dataclass
from typing import Any

from bfrunner import area, block, preload, procs
from bfrunner.cache import Code
from bfrunner.options import Options

PID = struct.Struct("<cI")
STATUS = struct.Struct("<cIiQQ")
ORDER_BYTES = 16
REPLY_BYTES = 96 << 10

# User code may replace these in their modules, for itself.
_dumps = json.dumps
_fork = os.fork
_getpid = os.getpid
_exit = os._exit
_wait4 = os.wait4
_recv_fds = socket.recv_fds


class BecomeRun(BaseException):
    """Unwinds a forked child out of the template's frames."""

    def __init__(self, fds: list[int]) -> None:
        super().__init__()
        self.fds = fds


@dataclass
class Birth:
    """What the zygote gives a template; parent is the zygote."""

    code: Code
    options: Options
    control: socket.socket
    stdout: int
    stderr: int
    parent: int


def template_main(birth: Birth) -> None:
    """Never returns."""
    try:
        _settle(birth)
        loaded = _load(birth)
        if loaded is None:
            _exit(0)
        else:
            try:
                _serve(birth.control, _getpid())
            except BecomeRun as forked:
                _run_main(loaded, birth, forked.fds)
    except BaseException:
        traceback.print_exc()  # a bug of ours; the run's stderr carries it
        _flush()
    finally:
        _exit(70)


def _settle(birth: Birth) -> None:
    os.setsid()
    procs.die_with_parent(birth.parent)
    procs.reset_signals()
    os.dup2(birth.stdout, 1)
    os.dup2(birth.stderr, 2)
    procs.close_all_but([birth.control.fileno()])
    options = birth.options
    procs.limit(resource.RLIMIT_AS, options.memory_bytes)
    procs.limit(resource.RLIMIT_CPU, options.cpu_seconds, resource.RLIM_INFINITY)
    _limit_run(options)
    _fresh_streams()
    _reseed()
    os.chdir(options.workdir)
    sys.argv = [""]
    # Later Pythons warn when user code made threads before a fork.
    warnings.filterwarnings("ignore", ".*fork.*", DeprecationWarning)
    preload.stand_in_for_engine()


def _limit_run(options: Options) -> None:
    procs.limit(resource.RLIMIT_NPROC, options.nproc)
    procs.limit(resource.RLIMIT_FSIZE, options.fsize_bytes)


def _fresh_streams() -> None:
    """Line by line, so that a killed run's output is there; and printing any
    string works."""
    sys.stdin = open(0, encoding="utf-8", closefd=False)
    sys.stdout = _writer(1)
    sys.stderr = _writer(2)
    for name in ("stdin", "stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))


def _writer(fd: int) -> io.TextIOWrapper:
    return io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(fd, "w", closefd=False)),
        encoding="utf-8",
        errors="backslashreplace",
        line_buffering=True,
    )


def _reseed() -> None:
    """Forks share the state of numpy's global generator; `random` reseeds itself."""
    numpy = sys.modules.get("numpy")
    if numpy is not None:
        numpy.random.seed()


def _load(birth: Birth) -> block.Loaded | None:
    control = birth.control
    mine = _getpid()
    try:
        loaded = block.load(birth.code)
    except block.Failure as failed:
        if _getpid() != mine:
            _exit(0)
        _flush()
        control.send(b"B" + _dumps(failed.report).encode())
        return None
    if _getpid() != mine:
        _exit(0)  # a fork that user code made and did not end
    _flush()
    with open(os.devnull, "r+b", buffering=0) as null:
        os.dup2(null.fileno(), 1)
        os.dup2(null.fileno(), 2)
    procs.reset_signals()
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))
    gc.collect()
    gc.freeze()
    control.send(b'B{"success":true}')
    return loaded


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__):
        try:
            stream.flush()  # type: ignore[union-attr]
        except BaseException:
            pass  # closed by user code, or not a stream at all


def _serve(control: socket.socket, mine: int) -> None:
    while True:
        order, fds, _, _ = _recv_fds(control, ORDER_BYTES, 3)
        if not order:
            _exit(0)
        if order[:1] == b"F":
            _answer_fork(control, fds, mine)
        else:
            _answer_wait(control, PID.unpack_from(order)[1])


def _answer_fork(control: socket.socket, fds: list[int], mine: int) -> None:
    try:
        pid = _fork()
    except OSError as error:
        pid, failed = -1, error.errno or 1
    if pid == 0:
        control.close()
        procs.die_with_parent(mine)
        raise BecomeRun(fds)
    for fd in fds:
        os.close(fd)
    control.send(PID.pack(b"E", failed) if pid < 0 else PID.pack(b"P", pid))


def _answer_wait(control: socket.socket, pid: int) -> None:
    try:
        _, status, usage = _wait4(pid, 0)
        cpu_us = int((usage.ru_utime + usage.ru_stime) * 1e6)
        rss_kb = max(0, usage.ru_maxrss)
    except ChildProcessError:
        status, cpu_us, rss_kb = -1, 0, 0
    control.send(STATUS.pack(b"S", pid, status, cpu_us, rss_kb))


def _run_main(loaded: block.Loaded, birth: Birth, fds: list[int]) -> None:
    mine = _getpid()
    os.setsid()
    procs.adopt_orphans()
    shared = area.Mapped(fds[0])
    os.dup2(fds[1], 1)
    os.dup2(fds[2], 2)
    for fd in fds:
        os.close(fd)
    options = birth.options
    if options.cpu_seconds:
        procs.limit(resource.RLIMIT_CPU, options.cpu_seconds, options.cpu_seconds + 1)
    _reseed()
    head, inputs = shared.request()
    call = block.Call(
        name=head["run_function_name"],
        context=head["context"],
        inputs=inputs,
        max_result=options.result_bytes,
        begun=shared.begin,
    )
    shared.enter()
    report, result = call.run(loaded)
    # A fork that user code made may come out of the function as well.
    if _getpid() == mine:
        _answer(shared, report, result)
    _exit(0)


def _answer(shared: area.Mapped, report: dict[str, Any], result: bytes) -> None:
    procs.reset_signals()
    _flush()
    shared.answer(report, result)
