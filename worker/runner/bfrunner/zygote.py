"""The trusted process: takes runs from the worker, keeps templates, starts and
kills runs, answers.  It never executes user code.

A run goes queued -> booting -> starting -> running -> ending -> answered (runs.py);
a warm template skips booting.  Every way out ends in _finish or _refuse, and
each of them answers exactly once.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import sys
import time
from collections import OrderedDict, deque
from functools import partial
from typing import Any

from bfrunner import area, frames, procs, verdict
from bfrunner.cache import Key
from bfrunner.intake import Intake, Refused
from bfrunner.link import Link
from bfrunner.loop import READ, Loop
from bfrunner.options import MIB, REPORT_BYTES, Options
from bfrunner.runs import Run, Template
from bfrunner.template import PID, REPLY_BYTES, STATUS, Birth
from bfrunner.text import clean

_RUN_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_MAX_BACKLOG = 64 * MIB  # of unsent answers; above it no run is started
_KILL_NS = 2_000_000_000  # how long the end of a killed run may take
_POLL_NS = 2_000_000  # where there are no pidfds
_MAX_RETRIES = 2  # of a run whose template died before the run began
_LAST_OUTPUT = 32  # pieces of a dead run's output, 64 KiB each


class BecomeTemplate(BaseException):
    """Unwinds a forked child out of the zygote's frames, and memory."""

    def __init__(self, birth: Birth) -> None:
        super().__init__()
        self.birth = birth


class Zygote:
    def __init__(self, sock: socket.socket, options: Options) -> None:
        self._options = options
        self._pid = os.getpid()
        self._stopped = False
        self._intake = Intake(options)
        self._runs: dict[str, Run] = {}  # not yet answered
        self._queue: deque[Run] = deque()
        self._queue_bytes = 0
        self._active: set[Run] = set()  # the runs that hold a slot
        self._templates: OrderedDict[Key, Template] = OrderedDict()  # usable
        self._template_pids: dict[int, Template] = {}
        self._run_pids: dict[int, Run] = {}
        self._wake, wake = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
        self._loop = Loop()
        self._loop.watch(self._wake, READ, lambda _: self._on_signal())
        ceiling = options.input_bytes
        self._link = Link(sock, self._loop, ceiling, self._on_frame, self._schedule)

    def serve(self, preloaded: list[str]) -> None:
        """Until the socket closes or stop() is called; then all is killed."""
        ready = {"op": "ready", "pid": self._pid, "preloaded": preloaded}
        ready |= {"python": sys.version.split()[0], "isolation": "process"}
        ready |= {"slots": self._options.slots}
        try:
            self._link.send(ready)
            self._expire()
            while not self._stopped and not self._link.closed:
                self._loop.turn(self._fire_deadlines())
        except (frames.ProtocolError, ConnectionError) as error:
            print(f"bfrunner: {error}; everything is killed", file=sys.stderr)
        self._kill_everything()

    def stop(self, *_: Any) -> None:
        self._stopped = True

    def forget(self) -> None:
        """In a forked child: nothing of other workspaces stays in reach."""
        self.__dict__.clear()

    # -- what the worker wants --------------------------------------------

    def _on_frame(self, head: dict[str, Any], body: bytearray | None) -> None:
        run_id, op = head.get("run_id"), head.get("op")
        if not isinstance(run_id, str) or not _RUN_ID.fullmatch(run_id):
            raise frames.ProtocolError("a frame without a valid run_id")
        if op == "kill":
            self._on_kill(run_id)
        elif op != "run":
            raise frames.ProtocolError("a frame with an unknown op")
        elif run_id in self._runs:
            raise frames.ProtocolError(f"run {run_id!r} is already here")
        else:
            self._on_run(run_id, head, body)

    def _on_run(
        self, run_id: str, head: dict[str, Any], body: bytearray | None
    ) -> None:
        try:
            room = self._options.queue_bytes - self._queue_bytes
            run = self._intake.admit(run_id, head, body, room)
        except Refused as refused:
            asked = head.get("code_hash")
            hash_ = clean(asked, 64) if isinstance(asked, str) else None
            self._refuse(run_id, hash_, refused.error_type, str(refused))
            return
        self._runs[run_id] = run
        self._queue.append(run)
        self._queue_bytes += run.size
        self._schedule()

    def _refuse(
        self, run_id: str, hash_: str | None, error_type: str, error: str
    ) -> None:
        """Answers a run of which the zygote itself knows that it never began."""
        told = verdict.did_not_run(error_type, clean(error, 1024))
        now_ms = time.time_ns() // 1_000_000
        self._link.send(verdict.done(run_id, hash_, now_ms) | told)

    def _on_kill(self, run_id: str) -> None:
        run = self._runs.get(run_id)
        if run is None:
            return  # answered already: the two frames crossed
        if run.state == "queued":
            # It stays in its queue, and is passed over there.
            self._drop(run, "Killed", "the run was killed before it began")
        else:
            self._kill_run(run, "killed")

    def _drop(self, run: Run, error_type: str, error: str) -> None:
        if run in self._active:
            self._release(run)
        else:
            self._queue_bytes -= run.size
            self._close(run)
        self._refuse(run.id, run.key[1], error_type, error)
        self._loop.later(0, self._schedule)

    # -- what runs next -------------------------------------------------------

    def _schedule(self) -> None:
        while self._queue and len(self._active) < self._options.slots:
            if self._link.backlog > _MAX_BACKLOG:
                return  # again when it is drained
            run = self._queue.popleft()
            template = self._templates.get(run.key)
            if run.state != "queued":
                continue
            if template is not None and not template.ready:
                run.cold = True
                template.waiting.append(run)
            elif template is not None or self._make_room():
                self._begin(run, template)
            else:
                self._queue.appendleft(run)
                return  # again when a run ends

    def _make_room(self) -> bool:
        """For one more template: the longest unused one goes."""
        if len(self._template_pids) >= self._options.templates:
            for template in list(self._templates.values()):
                if template.ready and not template.active:
                    self._kill_template(template)
                    break
        # The dying do not count: they are gone in a moment.
        return len(self._templates) < self._options.templates

    def _begin(self, run: Run, template: Template | None) -> None:
        """Takes a slot: from here on, user code may start."""
        try:
            run.open_pipes()
        except OSError as error:
            self._drop(run, "RunnerBusy", f"no descriptors: {error}")
            return
        for fd in run.pipes:
            self._loop.watch(fd, READ, partial(self._on_output, run, fd))
        self._queue_bytes -= run.size
        self._active.add(run)
        run.start_ns = time.monotonic_ns()
        run.due_ns = run.start_ns + run.timeout_ms * 1_000_000
        run.started_at_ms = time.time_ns() // 1_000_000
        self._link.send({"op": "started", "run_id": run.id, "at_ms": run.started_at_ms})
        self._launch(run, template)

    def _launch(self, run: Run, template: Template | None) -> None:
        if template is None:
            self._boot(run)
        else:
            self._order_fork(run, template)

    # -- templates --------------------------------------------------------------

    def _boot(self, run: Run) -> None:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            pid = os.fork()
        except OSError as error:
            ours.close()
            theirs.close()
            self._drop(run, "RunnerBusy", f"cannot fork: {error}")
            return
        if pid == 0:
            out, err = run.writers
            raise BecomeTemplate(
                Birth(run.code, self._options, theirs, out, err, self._pid)
            )
        theirs.close()
        ours.setblocking(False)
        template = Template(run.key, pid, ours, run)
        run.state, run.template, run.cold = "booting", template, True
        template.active.add(run)
        # Another may be loading already: then this one serves one run only.
        self._templates.setdefault(run.key, template)
        self._template_pids[pid] = template
        self._loop.watch(ours, READ, lambda _: self._on_control(template))

    def _on_control(self, template: Template) -> None:
        while True:
            try:
                message = template.control.recv(REPLY_BYTES)
            except BlockingIOError:
                return
            except OSError:
                message = b""
            if not message or not self._on_message(template, message):
                self._kill_template(template)
                return

    def _on_message(self, template: Template, message: bytes) -> bool:
        """False when a template talks nonsense."""
        kind = message[:1]
        if kind == b"B" and template.booter is not None:
            return self._on_booted(template, template.booter, message[1:])
        if kind == b"P" and len(message) == PID.size and template.starting:
            return self._on_forked(template, PID.unpack(message)[1])
        if kind == b"E" and len(message) == PID.size and template.starting:
            error = os.strerror(PID.unpack(message)[1])
            self._drop(template.starting[0], "RunnerBusy", f"cannot fork: {error}")
            return True
        if kind == b"S" and len(message) == STATUS.size:
            _, pid, status, cpu_us, rss_kb = STATUS.unpack(message)
            # User code may have said this: no number that others choke on.
            used = min(cpu_us, 1 << 50) / 1e6, min(rss_kb, 1 << 40) << 10
            return self._on_reaped(template, pid, status, used)
        return False

    def _on_booted(self, template: Template, run: Run, raw: bytes) -> bool:
        try:
            report = json.loads(raw)
        except (ValueError, RecursionError):
            return False
        if not isinstance(report, dict) or len(raw) > REPORT_BYTES:
            return False
        if report.get("success") is not True:
            # It ends by itself; its run is answered when it is reaped.
            template.report = report
            self._retire(template)
            return True
        template.booter = None
        template.ready = True
        if not run.cause:
            self._order_fork(run, template)
        template.move_waiting(self._queue)
        self._loop.later(0, self._schedule)
        return True

    def _order_fork(self, run: Run, template: Template) -> None:
        run.state, run.template = "starting", template
        template.active.add(run)
        template.starting.append(run)
        if template.key in self._templates:
            self._templates.move_to_end(template.key)
        if template.stopped:
            template.stopped = False
            procs.kill(template.pid, signal.SIGCONT)
        try:
            socket.send_fds(template.control, [b"F"], [run.area, *run.writers])
        except OSError:
            self._kill_template(template)  # its death starts the run again

    def _on_forked(self, template: Template, pid: int) -> bool:
        run = template.starting[0]
        if pid in self._run_pids or procs.stat(pid)[1] != template.pid:
            return False
        self._know_pid(run, pid)
        run.pidfd = procs.open_pidfd(pid)
        if run.pidfd is not None:
            self._loop.watch(run.pidfd, READ, lambda _: self._on_dead(run))
        else:
            self._poll(run)
        if run.cause:
            procs.kill(pid)
        return True

    def _know_pid(self, run: Run, pid: int) -> None:
        assert run.template is not None
        run.template.starting.remove(run)
        run.close_writers()
        run.state, run.pid = "running", pid
        self._run_pids[pid] = run

    def _poll(self, run: Run) -> None:
        if run.state != "running":
            return
        if procs.stat(run.pid)[0] in ("", "Z"):
            self._on_dead(run)
        else:
            self._loop.later(_POLL_NS, lambda: self._poll(run))

    def _retire(self, template: Template) -> None:
        """No new run goes to it; those that wait for it look again."""
        template.dying = True
        if self._templates.get(template.key) is template:
            del self._templates[template.key]
        template.move_waiting(self._queue)
        self._loop.later(0, self._schedule)

    def _kill_template(self, template: Template) -> None:
        if self._template_pids.get(template.pid) is template:
            self._retire(template)
            procs.kill(template.pid)
            # What it still said is read when it is reaped.
            self._loop.unwatch(template.control)

    def _on_template_death(self, template: Template, status: int) -> None:
        del self._template_pids[template.pid]
        self._retire(template)
        self._loop.unwatch(template.control)
        self._hear_last_words(template)
        template.control.close()
        self._sweep()
        for run in list(template.active):
            if run.state == "booting":
                self._finish(run, status, template.report)
            elif run.state == "starting":
                self._restart(run, status)
            elif procs.stat(run.pid)[1] != self._pid:
                # It reaped the run and did not say so, or the run escaped.
                self._finish(run, None)

    def _hear_last_words(self, template: Template) -> None:
        """A status, or the pid of a run that is ours by inheritance by now."""
        while True:
            try:
                message = template.control.recv(REPLY_BYTES)
            except OSError:
                return
            if message[:1] == b"P" and len(message) == PID.size and template.starting:
                pid = PID.unpack(message)[1]
                if procs.stat(pid)[1] == self._pid and pid not in self._run_pids:
                    self._know_pid(template.starting[0], pid)
            elif not message or not self._on_message(template, message):
                return

    def _restart(self, run: Run, status: int) -> None:
        """Its template died, or was found dead, before the run was known."""
        entered = area.read(run.area, 0).entered
        if run.cause or entered or run.retries == _MAX_RETRIES:
            self._finish(run, status)
            return
        run.retries += 1
        assert run.template is not None
        run.template.active.discard(run)
        template = self._templates.get(run.key)
        # It has a slot already, and does not wait for one that is loading.
        self._launch(run, template if template and template.ready else None)

    def _expire(self) -> None:
        idle_ns = self._options.idle_seconds * 1_000_000_000
        horizon = time.monotonic_ns() - idle_ns
        for template in list(self._templates.values()):
            idle = template.ready and not template.active
            if idle and template.idle_since_ns <= horizon:
                self._kill_template(template)
        self._loop.later(max(idle_ns // 4, 50_000_000), self._expire)

    def _rest(self, template: Template) -> None:
        """A template without runs does nothing, whatever user code left there:
        nobody would pay for it."""
        template.idle_since_ns = time.monotonic_ns()
        if template.dying or not template.ready:
            return
        usable = self._templates.get(template.key) is template
        if not usable or procs.children(template.pid):
            self._kill_template(template)
        elif procs.threads(template.pid) > 1:
            template.stopped = True
            procs.kill(template.pid, signal.SIGSTOP)

    # -- the end of a run -----------------------------------------------------

    def _fire_deadlines(self) -> float | None:
        """Kills what is late; seconds to the next deadline.  At most `slots`
        runs are active, so they are looked through rather than kept in order."""
        now = time.monotonic_ns()
        for run in [run for run in self._active if run.due_ns <= now]:
            run.due_ns = now + _KILL_NS
            if not run.cause and run.state != "ending":
                self._kill_run(run, "deadline")
            elif run.template is not None:
                # Killed or dead, and not reaped: its template is in the way.
                self._kill_template(run.template)
        if not self._active:
            return None
        return max(0, min(run.due_ns for run in self._active) - now) / 1e9

    def _kill_run(self, run: Run, cause: str) -> None:
        if run.cause or run.state in ("ending", "answered"):
            return
        run.cause = cause
        if run.pid:
            procs.kill(run.pid)
        elif run.template is not None:
            # Loading, or about to fork: the template is what there is to kill.
            self._kill_template(run.template)

    def _on_dead(self, run: Run) -> None:
        """The run's process is dead and not reaped, so its pid is still its own."""
        if run.state != "running":
            return
        run.state = "ending"
        run.due_ns = time.monotonic_ns() + _KILL_NS
        self._close_pidfd(run)
        procs.kill(run.pid)  # the rest of its group
        template = run.template
        assert template is not None
        if template.pid not in self._template_pids:
            return  # ours by inheritance: _reap sees it
        try:
            template.control.send(PID.pack(b"W", run.pid))
        except OSError:
            self._kill_template(template)

    def _on_reaped(
        self, template: Template, pid: int, status: int, used: tuple[float, int]
    ) -> bool:
        run = self._run_pids.get(pid)
        if run is None or run.template is not template or run.state != "ending":
            return False
        run.cpu_seconds, run.max_rss_bytes = used
        self._finish(run, None if status < 0 else status)
        return True

    def _on_signal(self) -> None:
        self._drain_wake()
        self._reap()

    def _drain_wake(self) -> None:
        os.read(self._wake, 4096)

    def _reap(self) -> None:
        while True:
            try:
                pid, status, usage = os.wait4(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            template, run = self._template_pids.get(pid), self._run_pids.get(pid)
            if template is not None:
                self._on_template_death(template, status)
            elif run is not None:
                run.cpu_seconds = usage.ru_utime + usage.ru_stime
                run.max_rss_bytes = usage.ru_maxrss << 10
                self._finish(run, status)
            else:
                self._sweep()  # it may have left children, which are ours now

    def _sweep(self) -> None:
        """Kills what runs left behind.  Orphans become our children; whatever is
        a child and not known is one.  Theirs follow when those are reaped."""
        for pid in procs.children(self._pid):
            if pid not in self._template_pids and pid not in self._run_pids:
                procs.kill(pid)

    def _finish(
        self, run: Run, status: int | None, report: dict[str, Any] | None = None
    ) -> None:
        """Answers a run that began and is dead; report is what its template said
        about loading."""
        ended_ns = time.monotonic_ns()
        for fd in run.pipes:
            run.read_output(fd, _LAST_OUTPUT)
        answer = area.read(run.area, self._options.result_bytes)
        answer.report = report or answer.report
        end = verdict.End(
            status=status,
            cause=run.cause,
            timeout_ms=run.timeout_ms,
            cpu_seconds=run.cpu_seconds,
            cpu_limit=self._options.cpu_seconds,
            ended_ns=ended_ns,
        )
        told, result = verdict.judge(answer, end)
        done = verdict.done(run.id, run.key[1], run.started_at_ms)
        done["duration_us"] = (ended_ns - run.start_ns) // 1000
        done["cpu_us"] = round(run.cpu_seconds * 1e6)
        done["max_rss_bytes"] = run.max_rss_bytes
        done["boot"] = "cold" if run.cold else "warm"
        for name, capture in zip(("stdout", "stderr"), run.captures, strict=True):
            done[name], done[f"{name}_truncated"] = capture.text()
        self._release(run)
        self._sweep()
        self._link.send(done | told, result)
        self._schedule()

    def _release(self, run: Run) -> None:
        """Gives the slot back and forgets the run."""
        self._active.discard(run)
        if self._run_pids.get(run.pid) is run:
            del self._run_pids[run.pid]
        self._close(run)
        template = run.template
        if template is not None:
            template.active.discard(run)
            if run in template.starting:
                template.starting.remove(run)
            if not template.active:
                self._rest(template)

    def _close(self, run: Run) -> None:
        run.state = "answered"
        del self._runs[run.id]
        run.close_writers()
        for fd in run.pipes:
            self._loop.close(fd)
        run.pipes.clear()
        self._close_pidfd(run)
        os.close(run.area)
        run.area = -1

    def _close_pidfd(self, run: Run) -> None:
        if run.pidfd is not None:
            self._loop.close(run.pidfd)
            run.pidfd = None

    def _on_output(self, run: Run, fd: int, _: int) -> None:
        if not run.read_output(fd):
            del run.pipes[fd]
            self._loop.close(fd)

    # -- the end of everything ------------------------------------------------

    def _kill_everything(self) -> None:
        """Kills and reaps until no descendant is left: all of them end up as our
        children, at the latest when their parents are dead."""
        self._loop.release()
        loop = Loop()
        loop.watch(self._wake, READ, lambda _: self._drain_wake())
        give_up = time.monotonic_ns() + 5_000_000_000
        while time.monotonic_ns() < give_up:
            for pid in [*self._run_pids, *procs.children(self._pid)]:
                procs.kill(pid)
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                return
            loop.turn(0.05)
