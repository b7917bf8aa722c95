"""The control plane: sandboxes, templates, events."""

from __future__ import annotations

import base64
import binascii
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, unquote

from .builds import Builds
from .rules import Rule
from .web import Reply, Request, json_reply
from .world import Sandbox, World, error, rate_limited, rfc3339

ID = r"(?P<id>[^/]+)"
# method, path, operation; the first that fits.
ROUTES = [
    ("POST", r"/v2/sandboxes", "create"),
    ("POST", r"/sandboxes", "create_v1"),
    ("GET", r"/v2/sandboxes", "list"),
    ("GET", r"/sandboxes", "list_v1"),
    ("GET", r"/sandboxes/metrics", "metrics_all"),
    ("GET", rf"/sandboxes/{ID}", "get"),
    ("DELETE", rf"/sandboxes/{ID}", "delete"),
    ("POST", rf"/v2/sandboxes/{ID}/connect", "connect"),
    ("POST", rf"/sandboxes/{ID}/connect", "connect_v1"),
    ("POST", rf"/sandboxes/{ID}/timeout", "timeout"),
    ("POST", rf"/sandboxes/{ID}/refreshes", "refreshes"),
    ("POST", rf"/sandboxes/{ID}/pause", "pause"),
    ("GET", rf"/sandboxes/{ID}/metrics", "metrics"),
    ("GET", r"/events/sandboxes", "events"),
    ("GET", rf"/events/sandboxes/{ID}", "events"),
    ("GET", r"/health", "api_health"),
    ("POST", r"/v3/templates", "template"),
    ("GET", r"/templates/aliases/(?P<id>.+)", "template_alias"),
    ("GET", rf"/templates/{ID}/tags", "template_tags"),
    ("GET", rf"/templates/{ID}/files/(?P<hash>[^/]+)", "template_files"),
    ("PUT", rf"/upload/{ID}/(?P<hash>[^/]+)", "template_upload"),
    ("POST", rf"/v2/templates/{ID}/builds/(?P<build>[^/]+)", "template_build"),
    ("GET", rf"/templates/{ID}/builds/(?P<build>[^/]+)/status", "template_status"),
]
V2_ONLY = frozenset(("create", "connect"))
OPEN = frozenset(("api_health", "template_upload"))


class Control:
    def __init__(self, world: World, key: str, v2: bool, idempotent: bool) -> None:
        self.world = world
        self.rules = world.rules
        self.closing = world.closing
        self.v2 = v2
        self.idempotent = idempotent
        self.capture: Callable[[str, str, Request], None] | None = None
        self.builds = Builds(world)
        self._key = key
        self._lock = threading.Lock()
        self._keyed: dict[str, str] = {}
        self._recent: deque[float] = deque()
        self._routes = [(method, re.compile(path), op) for method, path, op in ROUTES]

    # ---- the plane ----

    def operation(self, request: Request) -> tuple[str, str]:
        for method, path, op in self._routes:
            if method != request.method or (op in V2_ONLY and not self.v2):
                continue
            if found := path.fullmatch(request.path):
                return op, unquote(found.groupdict().get("id", ""))
        return "unknown", ""

    def metadata(self, op: str, sandbox: str, request: Request) -> dict[str, str]:
        if op in ("create", "create_v1"):
            try:
                return dict(request.json().get("metadata") or {})
            except (ValueError, AttributeError, TypeError):
                return {}
        return self.world.metadata(sandbox)

    def note(self, op: str, request: Request) -> None:
        if self.capture:
            self.capture("control", op, request)

    def vanish(self, sandbox: str, after_seconds: float = 0) -> None:
        if sandbox:
            self.world.kill(sandbox, "vanished")

    def refusal(self, rule: Rule, sandbox: str) -> Reply:
        headers = {}
        if rule.retry_after is not None:
            headers["retry_after"] = str(rule.retry_after)
        status = rule.status or 500
        return error(status, rule.message, rule.error_code, **headers).reply

    def answer(self, op: str, sandbox: str, request: Request) -> Reply:
        if op == "unknown":
            raise error(404, "no such route")
        if op not in OPEN:
            self._let_in(request)
        try:
            if op.startswith("template"):
                return self.builds.answer(op, sandbox, request)
            return getattr(self, f"do_{op}")(sandbox, request)
        except (ValueError, KeyError, TypeError, AttributeError) as broken:
            raise error(400, f"validation error: {broken!r}") from None

    def _let_in(self, request: Request) -> None:
        if request.headers.get("x-api-key") != self._key:
            raise error(401, "Invalid API key")
        per_second = self.world.limits.requests_per_s
        if not per_second:
            return
        now = time.monotonic()
        with self._lock:
            while self._recent and now - self._recent[0] >= 1:
                self._recent.popleft()
            if len(self._recent) >= per_second:
                raise rate_limited(per_second)
            self._recent.append(now)

    # ---- create ----

    def do_create(self, _: str, request: Request) -> Reply:
        return self._create_as(request, secure=True, default=300)

    def do_create_v1(self, _: str, request: Request) -> Reply:
        asked = request.json()
        return self._create_as(request, bool(asked.get("secure")), default=15)

    def _create_as(self, request: Request, secure: bool, default: int) -> Reply:
        asked = request.json()
        timeout = self._timeout(asked, default)
        self._check(asked, secure)
        key = request.headers.get("idempotency-key")
        if key and self.idempotent:
            return self._create_once(key, asked, secure, timeout)
        return json_reply(201, self.world.create(asked, secure, timeout).made())

    def _create_once(
        self, key: str, asked: dict[str, Any], secure: bool, timeout: int
    ) -> Reply:
        if not re.fullmatch(r"[a-z0-9-]{1,255}", key):
            raise error(400, "validation error: Idempotency-Key")
        with self._lock:  # so that one key makes one sandbox
            known = self._keyed.get(key)
            if known:
                sandbox = self.world.sandboxes[known]
                if sandbox.asked != asked:
                    raise error(409, "another request", "idempotency_request_mismatch")
            else:
                sandbox = self.world.create(asked, secure, timeout)
                self._keyed[key] = sandbox.id
        return json_reply(201, sandbox.made())

    def _timeout(self, asked: dict[str, Any], default: int) -> int:
        timeout = asked.get("timeout", default)
        if type(timeout) is not int or timeout <= 0:
            raise error(400, "validation error: timeout must be greater than 0")
        most = self.world.limits.max_timeout_s
        if timeout > most:
            hours = most // 3600
            raise error(400, f"Timeout cannot be greater than {hours} hours")
        return timeout

    def _check(self, asked: dict[str, Any], secure: bool) -> None:
        if not isinstance(asked["templateID"], str):
            raise TypeError("templateID")
        for name in ("metadata", "envVars"):
            for key, value in (asked.get(name) or {}).items():
                if not isinstance(key, str) or not isinstance(value, str):
                    raise TypeError(name)
        network = asked.get("network") or {}
        if network.get("allowPublicTraffic") is False and not secure:
            raise error(400, "restricted traffic needs a secure sandbox")
        for rule in network.get("denyOut") or ():
            if not re.fullmatch(r"[0-9a-fA-F.:]+(/\d+)?", rule):
                raise error(400, f"denyOut: '{rule}' is no IP address or CIDR")

    # ---- list ----

    def do_list(self, _: str, request: Request) -> Reply:
        states = request.one("state", "running,paused").split(",")
        limit = int(request.one("limit", "100"))
        if not 1 <= limit <= 100:
            raise error(400, "validation error: limit")
        found = self._matching(request, states)
        newest_first = request.one("order", "desc") == "desc"
        found.sort(key=lambda one: (one.started, one.id), reverse=newest_first)
        found = _after(found, request.one("nextToken"), newest_first)
        running = sum(one.state == "running" for one in found)
        reply = json_reply(
            200,
            [one.listed() for one in found[:limit]],
            x_total_running=str(running),
        )
        if len(found) > limit:
            reply.headers["x-next-token"] = _token(found[limit - 1])
        return reply

    def do_list_v1(self, _: str, request: Request) -> Reply:
        found = self._matching(request, ["running"])
        found.sort(key=lambda one: (one.started, one.id), reverse=True)
        return json_reply(200, [one.listed() for one in found])

    def _matching(self, request: Request, states: list[str]) -> list[Sandbox]:
        wanted = {}
        pairs = parse_qsl(request.one("metadata"), strict_parsing=True)
        for name, value in pairs if request.one("metadata") else ():
            if "=" in unquote(name) or "=" in unquote(value):
                raise error(400, "Invalid metadata: '=' in a key or value")
            wanted[unquote(name)] = unquote(value)
        after = request.one("startedAfter")
        since = datetime.fromisoformat(after).timestamp() if after else 0.0
        template = request.one("template")
        with self.world._lock:
            return [
                one
                for one in (*self.world.live.values(), *self.world.lagging())
                if (one.state if one.state != "ended" else "running") in states
                and wanted.items() <= one.metadata.items()
                and one.started > since
                and template in ("", one.template.id, one.template.name)
            ]

    # ---- one sandbox ----

    def do_get(self, sandbox_id: str, _: Request) -> Reply:
        sandbox = self.world.get(sandbox_id)
        told = sandbox.listed()
        told |= {"domain": None, "network": sandbox.asked.get("network") or {}}
        told["lifecycle"] = {
            "autoResume": False,
            "onTimeout": "pause" if sandbox.auto_pause else "kill",
        }
        told["allowInternetAccess"] = sandbox.asked.get("allow_internet_access")
        if sandbox.envd_token:
            told["envdAccessToken"] = sandbox.envd_token
        return json_reply(200, told)

    def do_delete(self, sandbox_id: str, _: Request) -> Reply:
        self.world.get(sandbox_id)
        if not self.world.kill(sandbox_id, "api"):
            self.world.get(sandbox_id)  # somebody else was quicker: 404
        return Reply(204)

    def do_connect(self, sandbox_id: str, request: Request) -> Reply:
        asked = request.json() or {}
        return self._connect_for(sandbox_id, self._timeout(asked, 300))

    def do_connect_v1(self, sandbox_id: str, request: Request) -> Reply:
        asked = request.json()
        asked["timeout"]  # required
        return self._connect_for(sandbox_id, self._timeout(asked, 0))

    def _connect_for(self, sandbox_id: str, timeout: int) -> Reply:
        sandbox = self.world.get(sandbox_id)
        resumed = self.world.resume(sandbox)
        ends = time.time() + timeout
        if resumed or ends > sandbox.ends:
            self.world.set_end(sandbox, ends)
        return json_reply(201 if resumed else 200, sandbox.made())

    def do_timeout(self, sandbox_id: str, request: Request) -> Reply:
        sandbox = self.world.get(sandbox_id)
        asked = request.json()
        asked["timeout"]
        if asked["timeout"] == 0:  # ends it now
            self.world.set_end(sandbox, time.time())
        else:
            self.world.set_end(sandbox, time.time() + self._timeout(asked, 0))
        return Reply(204)

    def do_refreshes(self, sandbox_id: str, request: Request) -> Reply:
        sandbox = self.world.get(sandbox_id)
        seconds = max(15, min(3600, int((request.json() or {}).get("duration", 15))))
        self.world.set_end(sandbox, max(sandbox.ends, time.time() + seconds))
        return Reply(204)

    def do_pause(self, sandbox_id: str, _: Request) -> Reply:
        self.world.pause(self.world.get(sandbox_id))
        return Reply(204)

    # ---- figures ----

    def do_metrics(self, sandbox_id: str, _: Request) -> Reply:
        """Empty for the first 5 s, as its sampling is."""
        return json_reply(200, sampled(self.world.get(sandbox_id)))

    def do_metrics_all(self, _: str, request: Request) -> Reply:
        wanted = request.one("sandbox_ids").split(",")[:100]
        with self.world._lock:
            there = [self.world.live[one] for one in wanted if one in self.world.live]
        last = {one.id: sampled(one)[-1] for one in there if sampled(one)}
        return json_reply(200, {"sandboxes": last})

    def do_events(self, sandbox_id: str, request: Request) -> Reply:
        limit = int(request.one("limit", "10"))
        offset = int(request.one("offset", "0"))
        if not 1 <= limit <= 100 or offset < 0:
            raise error(400, "validation error: limit or offset")
        types = request.query.get("types")
        with self.world._lock:
            found = [
                event
                for event in self.world.events
                if sandbox_id in ("", event["sandbox_id"])
                and (not types or event["type"] in types)
            ]
        if request.one("orderAsc", "false") != "true":
            found.reverse()
        return json_reply(200, found[offset : offset + limit])

    def do_api_health(self, _: str, __: Request) -> Reply:
        return Reply(200, b"Health check successful")


def sampled(sandbox: Sandbox) -> list[dict[str, Any]]:
    age = time.time() - sandbox.started
    return [
        {
            "timestamp": rfc3339(sandbox.started + at),
            "timestampUnix": int(sandbox.started + at),
            "cpuCount": sandbox.template.cpu,
            "cpuUsedPct": 1.0,
            "memUsed": 100 << 20,
            "memTotal": sandbox.template.memory_mb << 20,
            "memCache": 10 << 20,
            "diskUsed": 100 << 20,
            "diskTotal": 512 << 20,
        }
        for at in range(5, int(age) + 1, 5)
    ]


def _token(sandbox: Sandbox) -> str:
    return base64.urlsafe_b64encode(
        f"{sandbox.started!r} {sandbox.id}".encode()
    ).decode()


def _after(found: list[Sandbox], token: str, newest_first: bool) -> list[Sandbox]:
    if not token:
        return found
    try:
        started, sandbox_id = base64.urlsafe_b64decode(token).decode().split()
    except (ValueError, binascii.Error):
        raise error(400, "Invalid next token") from None
    last = (float(started), sandbox_id)
    if newest_first:
        return [one for one in found if (one.started, one.id) < last]
    return [one for one in found if (one.started, one.id) > last]
