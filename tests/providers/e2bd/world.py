"""What both planes share: sandboxes, templates, limits, and the ledger."""

from __future__ import annotations

import secrets
import shutil
import signal
import string
import tempfile
import threading
import time
import uuid
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from .box import Box
from .rules import Rules
from .web import Failure, json_reply

ENVD_VERSION = "0.6.13"
ENVD, INTERPRETER = 49983, 49999
CLIENT_ID = "6532622b"


@dataclass
class Limits:
    """0: none."""

    concurrent: int = 0
    creates_per_s: float = 0
    create_burst: int = 1
    requests_per_s: float = 0  # of the control plane
    max_timeout_s: int = 86_400
    create_ms: int = 0  # how long a create takes
    lag_s: float = 0  # those that ended are listed and counted for so long


@dataclass
class Template:
    id: str
    name: str
    build_id: str = field(default_factory=lambda: str(uuid.uuid4()))
    cpu: int = 2
    memory_mb: int = 512
    envs: dict[str, str] = field(default_factory=dict)
    workdir: str = ""
    interpreter: bool = False
    start_cmd: str = ""
    ready_cmd: str = ""
    image: Path | None = None  # what COPY steps made


@dataclass
class Run:
    """User code that was started, as the ledger has it."""

    serial: int
    sandbox: str
    path: str  # execute, start or port
    what: bytes  # the code, the command, or the request's body
    headers: dict[str, str]
    started: float
    ended: float | None = None


@dataclass
class Sandbox:
    id: str
    template: Template
    metadata: dict[str, str]
    box: Box
    started: float
    ends: float
    envd_token: str | None
    traffic_token: str | None
    asked: dict[str, Any]
    key: str | None = None  # Idempotency-Key
    execution: str = field(default_factory=lambda: str(uuid.uuid4()))
    state: str = "running"
    ended: float | None = None
    ended_by: str = ""  # api, timeout, vanished, closed
    auto_pause: bool = False
    inside: dict[str, Any] = field(default_factory=dict)  # what the planes keep

    def listed(self) -> dict[str, Any]:
        return {
            "templateID": self.template.id,
            "alias": self.template.name,
            "sandboxID": self.id,
            "clientID": CLIENT_ID,
            "startedAt": rfc3339(self.started),
            "endAt": rfc3339(self.ends),
            "cpuCount": self.template.cpu,
            "memoryMB": self.template.memory_mb,
            "diskSizeMB": 512,
            "metadata": self.metadata,
            "state": "paused" if self.state == "paused" else "running",
            "envdVersion": ENVD_VERSION,
            "volumeMounts": [],
        }

    def made(self) -> dict[str, Any]:
        told: dict[str, Any] = {
            "templateID": self.template.id,
            "sandboxID": self.id,
            "clientID": CLIENT_ID,
            "alias": self.template.name,
            "envdVersion": ENVD_VERSION,
            "trafficAccessToken": self.traffic_token,
            "domain": None,
        }
        if self.envd_token:
            told["envdAccessToken"] = self.envd_token
        return told


def rfc3339(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat().replace("+00:00", "Z")


def error(
    status: int, message: str, error_code: str | None = None, **headers: str
) -> Failure:
    told: dict[str, Any] = {"code": status, "message": message}
    if error_code:
        told["error_code"] = error_code
    return Failure(json_reply(status, told, **headers))


def no_sandbox(sandbox: str) -> Failure:
    return error(
        404,
        f"Sandbox \"{sandbox}\" doesn't exist or you don't have access to it",
    )


class World:
    def __init__(
        self, limits: Limits, rules: Rules, keep: bool = False, path: str = ""
    ) -> None:
        self.limits = limits
        self.rules = rules
        self.closing = threading.Event()
        self.folder = Path(tempfile.mkdtemp(prefix="e2b-"))
        self.templates: dict[str, Template] = {}
        self.sandboxes: dict[str, Sandbox] = {}  # those, too, that ended
        self.live: dict[str, Sandbox] = {}  # running or paused
        self._coming = 0  # admitted, not there yet
        self.runs: list[Run] = []
        self.events: list[dict[str, Any]] = []
        self._keep = keep
        self.path = path
        self._lock = threading.RLock()
        self._change = threading.Condition(self._lock)
        self._creates: deque[float] = deque()
        self._reaper = threading.Thread(target=self._reap)
        for name, memory, interpreter in (
            ("base", 512, False),
            ("code-interpreter-v1", 2048, True),
        ):
            self.add(Template(new_id(""), name, interpreter=interpreter))
            self.templates[name].memory_mb = memory
        self._reaper.start()

    def add(self, template: Template, *names: str) -> None:
        with self._lock:
            for name in (template.id, template.name, *names):
                self.templates[name] = template

    # ---- lives ----

    def create(self, asked: dict[str, Any], secure: bool, timeout: int) -> Sandbox:
        template = self.templates.get(str(asked["templateID"]))
        if template is None:
            raise error(404, f"template '{asked['templateID']}' not found")
        self._admit()
        try:
            return self._make(template, asked, secure, timeout)
        finally:
            with self._lock:
                self._coming -= 1

    def _make(
        self, template: Template, asked: dict[str, Any], secure: bool, timeout: int
    ) -> Sandbox:
        network = asked.get("network") or {}
        private = network.get("allowPublicTraffic") is False
        sandbox_id = new_id("i")
        envs = {**template.envs, **(asked.get("envVars") or {})}
        box = self.box(sandbox_id, template, envs)
        if self.limits.create_ms:
            self.closing.wait(self.limits.create_ms / 1000)
        now = time.time()
        sandbox = Sandbox(
            sandbox_id,
            template,
            dict(asked.get("metadata") or {}),
            box,
            now,
            now + timeout,
            secrets.token_hex(32) if secure else None,
            secrets.token_hex(32) if private else None,
            asked,
            auto_pause=bool(asked.get("autoPause")),
        )
        with self._change:
            self.sandboxes[sandbox_id] = self.live[sandbox_id] = sandbox
            self._event(sandbox, "created")
            self._change.notify()
        return sandbox

    def box(self, name: str, template: Template, envs: dict[str, str]) -> Box:
        return Box(self.folder / name, name, envs, template.image, self.path)

    def _admit(self) -> None:
        limits, now = self.limits, time.monotonic()
        with self._lock:
            if limits.creates_per_s:
                window = limits.create_burst / limits.creates_per_s
                while self._creates and now - self._creates[0] >= window:
                    self._creates.popleft()
                if len(self._creates) >= limits.create_burst:
                    raise rate_limited(limits.create_burst)
            there = len(self.alive()) + self._coming + len(self.lagging())
            if limits.concurrent and there >= limits.concurrent:
                raise error(
                    429,
                    "you have reached the maximum number of concurrent E2B "
                    f"sandboxes ({limits.concurrent})",
                )
            self._creates.append(now)
            self._coming += 1

    def alive(self) -> list[Sandbox]:
        with self._lock:
            return [one for one in self.live.values() if one.state == "running"]

    def lagging(self) -> list[Sandbox]:
        """Ended, and not known to be by lists and limits."""
        if not self.limits.lag_s:
            return []
        since = time.time() - self.limits.lag_s
        with self._lock:
            return [one for one in self.sandboxes.values() if (one.ended or 0) > since]

    def get(self, sandbox_id: str) -> Sandbox:
        """A sandbox that has not ended, or 404. The old form of an id has the
        client's id behind a dash."""
        with self._lock:
            sandbox = self.live.get(sandbox_id.split("-")[0])
            if sandbox is None:
                raise no_sandbox(sandbox_id)
            return sandbox

    def metadata(self, sandbox_id: str) -> dict[str, str]:
        with self._lock:
            sandbox = self.sandboxes.get(sandbox_id.split("-")[0])
            return sandbox.metadata if sandbox else {}

    def set_end(self, sandbox: Sandbox, ends: float) -> None:
        with self._change:
            sandbox.ends = ends
            self._event(sandbox, "updated")
            self._change.notify()

    def pause(self, sandbox: Sandbox) -> None:
        with self._change:
            if sandbox.state != "running":
                raise error(409, f"Sandbox '{sandbox.id}' is already paused")
            sandbox.state = "paused"
            sandbox.box.signal_all(signal.SIGSTOP)
            self._event(sandbox, "paused")

    def resume(self, sandbox: Sandbox) -> bool:
        with self._change:
            if sandbox.state != "paused":
                return False
            sandbox.state = "running"
            sandbox.box.signal_all(signal.SIGCONT)
            self._event(sandbox, "resumed")
            return True

    def kill(self, sandbox_id: str, by: str) -> bool:
        with self._change:
            sandbox = self.live.pop(sandbox_id.split("-")[0], None)
            if sandbox is None:
                return False
            sandbox.state = "ended"
            sandbox.ended = time.time()
            sandbox.ended_by = by
            self._event(sandbox, "killed")
        sandbox.box.close(self._keep)
        return True

    def _reap(self) -> None:
        while not self.closing.is_set():
            with self._change:
                now = time.time()
                due = [one for one in self.alive() if one.ends <= now]
                if not due:
                    ends = [one.ends for one in self.alive()]
                    self._change.wait(min([1.0, *(end - now for end in ends)]))
                    continue
            for sandbox in due:
                if sandbox.auto_pause:
                    self.pause(sandbox)
                else:
                    self.kill(sandbox.id, "timeout")

    def close(self) -> None:
        self.closing.set()
        with self._change:
            self._change.notify()
        self._reaper.join()
        for sandbox_id in list(self.live):
            self.kill(sandbox_id, "closed")
        if not self._keep:
            shutil.rmtree(self.folder, ignore_errors=True)

    # ---- books ----

    def run(
        self, sandbox: Sandbox, path: str, what: bytes, headers: Mapping[str, str]
    ) -> Run:
        """Enters a run before its code starts."""
        with self._lock:
            serial = len(self.runs)
            run = Run(serial, sandbox.id, path, what, dict(headers), time.time())
            self.runs.append(run)
            return run

    def ledger(self) -> dict[str, Any]:
        with self._lock:
            return {
                "sandboxes": [
                    {
                        "id": one.id,
                        "template": one.template.name,
                        "created": one.started,
                        "ended": one.ended,
                        "ended_by": one.ended_by,
                        "state": one.state,
                        "cpu": one.template.cpu,
                        "memory_mb": one.template.memory_mb,
                        "metadata": one.metadata,
                    }
                    for one in self.sandboxes.values()
                ],
                "runs": [
                    {
                        "serial": one.serial,
                        "sandbox": one.sandbox,
                        "path": one.path,
                        "started": one.started,
                        "ended": one.ended,
                    }
                    for one in self.runs
                ],
            }

    def _event(self, sandbox: Sandbox, label: str) -> None:
        data: dict[str, Any] = {"sandbox_metadata": sandbox.metadata}
        if label in ("killed", "paused"):
            data["execution"] = {
                "started_at": rfc3339(sandbox.started),
                "vcpu_count": sandbox.template.cpu,
                "memory_mb": sandbox.template.memory_mb,
                "execution_time": round((time.time() - sandbox.started) * 1000),
            }
        self.events.append(
            {
                "id": str(uuid.uuid4()),
                "version": "v2",
                "type": f"sandbox.lifecycle.{label}",
                "timestamp": rfc3339(time.time()),
                "event_category": "lifecycle",
                "event_label": label,
                "event_data": data,
                "sandbox_id": sandbox.id,
                "sandbox_execution_id": sandbox.execution,
                "sandbox_template_id": sandbox.template.id,
                "sandbox_build_id": sandbox.template.build_id,
                "sandbox_team_id": "00000000-0000-4000-8000-000000000000",
            }
        )


def new_id(prefix: str) -> str:
    letters = string.ascii_lowercase + string.digits
    return prefix + "".join(secrets.choice(letters) for _ in range(20))


def rate_limited(limit: float) -> Failure:
    return error(
        429,
        "Rate limit exceeded, please try again later",
        retry_after="1",
        ratelimit_limit=str(int(limit)),
        ratelimit_remaining="0",
        ratelimit_reset="1",
    )
