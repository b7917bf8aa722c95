#!/usr/bin/env python3
"""Builds the E2B template whose sandboxes run the fleet's block server:
`./run e2b template`, with the user's own key.

    e2b_template.py [--force] [--dry-run]

Says name:tag on standard output; `e2b.template` of the workers is to be that.
The tag is made of what is built, so that a template that is there already is
not built again, and a worker never meets one that changed under its name.
The server is started while the template is built and is part of its snapshot:
a sandbox has it warm.  Public keys are in it: a new key is a new template.

It is told what to build by its environment:

E2B_API_KEY                whose template it is; required
E2B_API_URL, E2B_DOMAIN    where (https://api.e2b.app)
BLOCKFLEET_RUN_KEYS        what `blockfleet keys public` prints; required
BF_E2B_NAME                of the template, without a tag (blockfleet-runner)
BF_E2B_IMAGE               of a registry, Debian with Python (python:3.12-slim)
BF_E2B_PACKAGES            from PyPI, separated by spaces (numpy opencv-python-
                           headless supervision shapely requests)
BF_E2B_APT                 from Debian, separated by spaces
BF_E2B_CPU                 vCPU, 1 or even (2)
BF_E2B_MEMORY              MiB, even (1024)
BF_E2B_SLOTS               runs of a sandbox at once (1)
BF_E2B_PORT                where the server listens (8000)
BF_E2B_USER                whose rights blocks have (blocks)
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import os
import shlex
import sys
import tarfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))

from bfrunner import __version__, keys  # noqa: E402

PREFIX = "BF_E2B_"
DEFAULTS = {
    "NAME": "blockfleet-runner",
    "IMAGE": "python:3.12-slim",
    "PACKAGES": "numpy opencv-python-headless supervision shapely requests",
    "APT": "",
    "CPU": "2",
    "MEMORY": "1024",
    "SLOTS": "1",
    "PORT": "8000",
    "USER": "blocks",
}
SIGNATURES = "cryptography==45.0.7"
FOLDER = "/opt/blockfleet"
TRIES = 4
POLL_SECONDS = 0.5
BUILD_SECONDS = 1800.0
MAX_ANSWER = 16 << 20


class Failed(Exception):
    """What is to be said before the end; never a key."""


class Missing(Failed):
    """E2B does not know what it was asked about."""


# ---- what is built ------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    name: str
    cpu: int
    memory_mb: int
    files: bytes  # a tar, gzipped
    body: dict[str, Any]  # of the build, without the hash of files

    @property
    def tag(self) -> str:
        """A version, and a hash of everything that is in it."""
        seen = hashlib.sha256(self.files)
        rest = [self.cpu, self.memory_mb, self.body]
        seen.update(json.dumps(rest, sort_keys=True).encode())
        return f"{__version__}-{seen.hexdigest()[:12]}"


def plan(environment: Mapping[str, str]) -> Plan:
    given = {
        name: environment.get(PREFIX + name, default).strip()
        for name, default in DEFAULTS.items()
    }
    lines = environment.get(keys.ENVIRONMENT, "").strip().replace(";", "\n")
    if lines.startswith("@"):
        lines = Path(lines[1:]).read_text()
    if not keys.parse(lines):
        raise Failed(f"{keys.ENVIRONMENT}: no key of purpose run")
    port, slots = int(given["PORT"]), int(given["SLOTS"])
    server = f"python3 -I {FOLDER}/bfrunner http --host 0.0.0.0 --port {port}"
    server += f" --slots {slots} --keys {FOLDER}/run_keys"
    if given["USER"]:
        server += f" --run-as {shlex.quote(given['USER'])}"
    url = f"http://127.0.0.1:{port}/healthz"
    ready = f"import urllib.request as r; r.urlopen({url!r}, timeout=2)"
    return Plan(
        given["NAME"],
        int(given["CPU"]),
        int(given["MEMORY"]),
        archive(lines),
        {
            "fromImage": given["IMAGE"],
            "steps": steps(given),
            "startCmd": f"exec {server}",
            "readyCmd": f"python3 -c {shlex.quote(ready)}",
            "force": False,
        },
    )


def steps(given: Mapping[str, str]) -> list[dict[str, Any]]:
    """In their order; that which changes most is last."""

    def run(command: str) -> dict[str, Any]:
        return {"type": "RUN", "args": [command, "root"], "force": False}

    found = []
    if given["APT"]:
        apt = "apt-get install -y --no-install-recommends"
        names = shlex.join(given["APT"].split())
        found.append(run(f"apt-get update && {apt} {names}"))
    names = shlex.join([SIGNATURES, *given["PACKAGES"].split()])
    found.append(run(f"python3 -m pip install --no-cache-dir {names}"))
    if given["USER"]:  # without sudo, which the template's own user has
        user = shlex.quote(given["USER"])
        found.append(run(f"id {user} || useradd --system {user}"))
    target = [".", FOLDER, "root:root", ""]
    found.append({"type": "COPY", "args": target, "force": False})
    found.append({"type": "WORKDIR", "args": [FOLDER], "force": False})
    found.append({"type": "USER", "args": ["root"], "force": False})
    return found


def archive(key_lines: str) -> bytes:
    """The runner's files and the keys; the same bytes for the same content."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for file in sorted(HERE.glob("bfrunner/*.py")):
            _add(tar, f"bfrunner/{file.name}", file.read_bytes())
        _add(tar, "run_keys", key_lines.encode() + b"\n")
    return gzip.compress(out.getvalue(), mtime=0)


def _add(tar: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size, member.mode = len(data), 0o644
    tar.addfile(member, io.BytesIO(data))


# ---- who builds it --------------------------------------------------------------


class _Stay(urllib.request.HTTPRedirectHandler):
    """Our key goes to the address that we were given, and to no other."""

    def redirect_request(self, *_: Any) -> None:
        return None


class Api:
    def __init__(self, environment: Mapping[str, str]) -> None:
        self._key = environment.get("E2B_API_KEY", "").strip()
        if not self._key:
            raise Failed("E2B_API_KEY is not set")
        domain = environment.get("E2B_DOMAIN") or "e2b.app"
        url = environment.get("E2B_API_URL") or f"https://api.{domain}"
        self._url = url.rstrip("/")
        self._opener = urllib.request.build_opener(_Stay())

    def ask(self, method: str, path: str, body: Any = None) -> Any:
        """The answer's JSON, None when it has none; Failed, Missing for 404."""
        data = None if body is None else json.dumps(body).encode()
        headers = {"X-API-Key": self._key, "Accept": "application/json"}
        if data is not None:
            headers["Content-Type"] = "application/json"
        text = self._send(method, self._url + path, data, headers)
        return json.loads(text) if text.strip() else None

    def upload(self, url: str, data: bytes, headers: Mapping[str, str]) -> None:
        """To a bucket, mostly: without our key."""
        self._send("PUT", url, data, dict(headers))

    def _send(
        self, method: str, url: str, data: bytes | None, headers: dict[str, str]
    ) -> bytes:
        for attempt in range(TRIES):
            request = urllib.request.Request(url, data, headers, method=method)
            try:
                with self._opener.open(request, timeout=120) as answer:
                    return answer.read(MAX_ANSWER)
            except urllib.error.HTTPError as refused:
                wait = self._wait(refused, attempt, method, url)
            except OSError as broken:
                if attempt == TRIES - 1:
                    where = url.partition("?")[0]
                    raise Failed(f"{method} {where}: {broken}") from None
                wait = 2.0**attempt
            time.sleep(wait)
        raise AssertionError("unreachable")

    def _wait(
        self, refused: urllib.error.HTTPError, attempt: int, method: str, url: str
    ) -> float:
        """How long until the next try; raises when there is to be none."""
        text = refused.read(2000).decode(errors="replace")
        try:
            text = str(json.loads(text)["message"])
        except (ValueError, KeyError, TypeError):
            pass
        where = url.partition("?")[0]  # what is behind may be a signature
        said = f"{method} {where}: {refused.code} {text}"
        if refused.code == 404 and method == "GET":
            raise Missing(said)
        passes = refused.code == 429 or refused.code >= 500
        if not passes or attempt == TRIES - 1:
            raise Failed(said)
        after = refused.headers.get("retry-after", "")
        return min(60.0, float(after)) if after.isdecimal() else 2.0**attempt


def is_built(api: Api, name: str, tag: str, say: Callable[[str], None]) -> bool:
    """A tag is there from when its build was asked for, whatever came of it."""
    try:
        found = api.ask("GET", f"/templates/aliases/{quote(name, safe='')}")
        template = quote(_of(found, "templateID"))
        listed = api.ask("GET", f"/templates/{template}/tags")
        for one in listed or ():
            if _of(one, "tag") == tag:
                path = _status(template, quote(_of(one, "buildID")))
                status = _of(api.ask("GET", f"{path}?limit=0"), "status")
                if status == "ready":
                    return True
                say(f"a build of it is there, but {status}: it is built again")
    except Missing:
        pass
    return False


def build(api: Api, what: Plan, force: bool, say: Callable[[str], None]) -> None:
    asked = {"name": f"{what.name}:{what.tag}"}
    asked |= {"cpuCount": what.cpu, "memoryMB": what.memory_mb}
    made = api.ask("POST", "/v3/templates", asked)
    template, build_id = quote(_of(made, "templateID")), quote(_of(made, "buildID"))
    try:
        _build(api, what, force, (template, build_id))
        _follow(api, _status(template, build_id), say)
    except Missing as gone:
        raise Failed(
            f"{gone}\nE2B does not know its own build any more: somebody has deleted "
            f"the template {what.name}, or built it at the same time.  Run this again, "
            f"or set {PREFIX}NAME to a name of your own."
        ) from None


def _build(api: Api, what: Plan, force: bool, ids: tuple[str, str]) -> None:
    template, build_id = ids
    files = hashlib.sha256(what.files).hexdigest()
    link = api.ask("GET", f"/templates/{template}/files/{files}")
    if force or not (link or {}).get("present"):
        api.upload(_of(link, "url"), what.files, link.get("headers") or {})
    body = json.loads(json.dumps(what.body)) | {"force": force}
    for step in body["steps"]:
        if step["type"] == "COPY":
            step["filesHash"] = files
    api.ask("POST", f"/v2/templates/{template}/builds/{build_id}", body)


def _status(template: str, build_id: str) -> str:
    return f"/templates/{template}/builds/{build_id}/status"


def _of(told: Any, name: str) -> str:
    """A member of an answer."""
    found = told.get(name) if isinstance(told, dict) else None
    if not isinstance(found, str):
        raise Failed(f"what answers is not E2B's API, it says no {name}: E2B_API_URL?")
    return found


def _follow(api: Api, path: str, say: Callable[[str], None]) -> None:
    seen, end = 0, time.monotonic() + BUILD_SECONDS
    while time.monotonic() < end:
        now = api.ask("GET", f"{path}?logsOffset={seen}&limit=100")
        status = _of(now, "status")
        entries = now.get("logEntries") or []
        for entry in entries:
            say(str(entry.get("message", "")))
        seen += len(entries)
        if entries:
            continue  # there may be more
        if status == "ready":
            return
        if status == "error":
            reason = now.get("reason") or {}
            step = f" (step {reason['step']})" if reason.get("step") else ""
            raise Failed(f"the build failed{step}: {reason.get('message', '')}")
        time.sleep(POLL_SECONDS)
    raise Failed(f"not built after {BUILD_SECONDS:.0f} s")


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--force", action="store_true", help="build it all again")
    parser.add_argument("--dry-run", action="store_true", help="say what would be")
    options = parser.parse_args()

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        what = plan(os.environ)
        if options.dry_run:
            print(json.dumps(what.body, indent=1), file=sys.stderr)
        else:
            api = Api(os.environ)
            if not options.force and is_built(api, what.name, what.tag, say):
                say("it is there already")
            else:
                build(api, what, options.force, say)
    except (Failed, keys.BadKeys, OSError, ValueError) as wrong:
        say(f"e2b: {wrong}")
        return 1
    print(f"{what.name}:{what.tag}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
