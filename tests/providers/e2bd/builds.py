"""Template builds (the v2 build system): names, files, steps, start command.

COPY, ENV and WORKDIR are done; RUN and USER are logged and not done, because
what they install would go to this machine: E2BServer(path=…) says where it is.
The start command really runs, and the ready command decides whether the build
is good.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import tarfile
import threading
import time
import uuid
from typing import Any

from .box import HOME, Box
from .web import Reply, Request, json_reply
from .world import Template, World, error, new_id, rfc3339

READY_S = 20.0


class Builds:
    def __init__(self, world: World) -> None:
        self._world = world
        self._lock = threading.Lock()
        self._files: dict[tuple[str, str], bytes] = {}  # (template, hash)
        self._builds: dict[str, dict[str, Any]] = {}
        self._ids: dict[str, str] = {}  # name without tag: template id
        self.asked: list[dict[str, Any]] = []  # bodies of builds, for tests

    def answer(self, op: str, template: str, request: Request) -> Reply:
        return getattr(self, f"do_{op}")(template, request)

    def do_template(self, _: str, request: Request) -> Reply:
        asked = request.json()
        name, _, tag = asked["name"].partition(":")
        tags = [*filter(None, [tag]), *asked.get("tags", [])] or ["default"]
        cpu, memory = asked.get("cpuCount", 2), asked.get("memoryMB", 1024)
        if not name or (cpu != 1 and cpu % 2) or memory % 2 or memory < 128:
            raise error(400, "validation error: name, cpuCount or memoryMB")
        build = str(uuid.uuid4())
        with self._lock:
            template = self._ids.setdefault(name, new_id(""))
            self._builds[build] = {
                "template": template,
                "name": name,
                "tags": tags,
                "cpu": cpu,
                "memory": memory,
                "status": "waiting",
                "log": [],
                "reason": None,
                "created": rfc3339(time.time()),
            }
        told = {"templateID": template, "buildID": build, "public": False}
        told |= {"names": [name], "tags": tags, "aliases": [name]}
        return json_reply(202, told)

    def do_template_alias(self, name: str, _: Request) -> Reply:
        template = self._ids.get(name.partition(":")[0])
        if template is None:
            raise error(404, f"template alias '{name}' not found")
        return json_reply(200, {"templateID": template, "public": False})

    def do_template_tags(self, template: str, _: Request) -> Reply:
        template = self._ids.get(template.partition(":")[0], template)
        if template not in self._ids.values():
            raise error(404, f"template '{template}' not found")
        # The last build that was asked for of each, whatever came of it.
        told = {
            tag: {"tag": tag, "buildID": build, "createdAt": one["created"]}
            for build, one in self._builds.items()
            if one["template"] == template
            for tag in one["tags"]
        }
        return json_reply(200, list(told.values()))

    def do_template_files(self, template: str, request: Request) -> Reply:
        name = request.path.rpartition("/")[2]
        there = (template, name) in self._files
        host = request.headers["host"]
        url = f"http://{host}/upload/{template}/{name}"
        return json_reply(201, {"present": there, "url": url})

    def do_template_upload(self, template: str, request: Request) -> Reply:
        if "content-length" not in request.headers:
            return Reply(411)  # as a bucket's pre-signed URL answers
        self._files[template, request.path.rpartition("/")[2]] = request.body
        return Reply(200)

    def do_template_build(self, template: str, request: Request) -> Reply:
        asked = request.json()
        build = self._builds.get(request.path.rpartition("/")[2])
        if build is None or build["template"] != template:
            raise error(404, "build not found")
        if ("fromImage" in asked) == ("fromTemplate" in asked):
            raise error(400, "either fromImage or fromTemplate is needed")
        self.asked.append(asked)
        build["status"] = "building"
        threading.Thread(target=self._build, args=(build, asked), daemon=True).start()
        return Reply(202)

    def do_template_status(self, template: str, request: Request) -> Reply:
        name = request.path.split("/")[-2]
        build = self._builds.get(name)
        if build is None or build["template"] != template:
            raise error(404, "build not found")
        skip = int(request.one("logsOffset", "0"))
        log = build["log"][skip : skip + int(request.one("limit", "100"))]
        told = {"templateID": template, "buildID": name, "status": build["status"]}
        told |= {"logEntries": log, "logs": [entry["message"] for entry in log]}
        if build["reason"]:
            told["reason"] = build["reason"]
        return json_reply(200, told)

    # ---- building ----

    def _build(self, build: dict[str, Any], asked: dict[str, Any]) -> None:
        def say(message: str, step: str = "") -> None:
            build["log"].append(
                {
                    "timestamp": rfc3339(time.time()),
                    "message": message,
                    "level": "info",
                    "step": step,
                }
            )

        step = "base"
        try:
            made = self._template(build, asked)
            for at, one in enumerate(asked.get("steps") or (), 1):
                step = str(at)
                say(f"[{at}] {one['type']} {' '.join(one.get('args') or ())}", step)
                self._step(made, build["template"], one)
            step = "finalize"
            say("start command", step)
            self._try(made)
        except Exception as broken:  # a build tells what went wrong
            build["reason"] = {"message": f"{broken}", "step": step, "logEntries": []}
            build["status"] = "error"
            return
        names = [f"{made.name}:{tag}" for tag in build["tags"]]
        names += [f"{made.id}:{tag}" for tag in build["tags"]]
        with self._world._lock:
            default = "default" in build["tags"] or made.name not in (
                self._world.templates
            )
            for name in [*names, *([made.name, made.id] if default else [])]:
                self._world.templates[name] = made
        say("done", step)
        build["status"] = "ready"

    def _template(self, build: dict[str, Any], asked: dict[str, Any]) -> Template:
        base = self._world.templates.get(asked.get("fromTemplate", "base"))
        if base is None:
            raise ValueError(f"no template '{asked['fromTemplate']}'")
        image = self._world.folder / "images" / new_id("")
        image.mkdir(parents=True)
        if base.image:
            shutil.copytree(base.image, image, dirs_exist_ok=True, symlinks=True)
        return Template(
            build["template"],
            build["name"],
            cpu=build["cpu"],
            memory_mb=build["memory"],
            envs=dict(base.envs),
            # A start command takes the place of the one that served 49999.
            interpreter=base.interpreter and not asked.get("startCmd"),
            start_cmd=asked.get("startCmd") or base.start_cmd,
            ready_cmd=asked.get("readyCmd") or base.ready_cmd,
            image=image,
        )

    def _step(self, made: Template, template: str, step: dict[str, Any]) -> None:
        args = step.get("args") or []
        match step["type"]:
            case "COPY":
                self._copy(made, template, args, step["filesHash"])
            case "ENV":
                made.envs |= dict(zip(args[::2], args[1::2], strict=True))
            case "WORKDIR":
                made.workdir = args[0]
            case "RUN" | "USER":
                pass
            case other:
                raise ValueError(f"no step is called {other!r}")

    def _copy(self, made: Template, template: str, args: list[str], files: str) -> None:
        """The archive holds the sources by their paths in the context; what
        matches `source` goes to `target`, a folder's contents into it."""
        source, target = args[0], args[1]
        assert made.image
        if not target.startswith("/"):
            target = f"{made.workdir or HOME}/{target}"
        with tarfile.open(fileobj=io.BytesIO(self._files[template, files])) as archive:
            unpacked = self._world.folder / "unpacked" / new_id("")
            for member in archive:
                plain = member.isreg() or member.isdir() or member.issym()
                if not plain or ".." in member.name or member.name[:1] == "/":
                    raise ValueError(f"COPY: {member.name}")
                archive.extract(member, unpacked)
        inside = unpacked if source == "." else unpacked / source.rstrip("/")
        place = made.image / target.lstrip("/").rstrip("/")
        if inside.is_dir():
            shutil.copytree(inside, place, dirs_exist_ok=True, symlinks=True)
        elif inside.is_file():
            if target.endswith("/"):
                place = place / inside.name
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(inside, place)
        else:
            raise ValueError(f"COPY {source}: no such file")

    def _try(self, made: Template) -> None:
        """Starts what is to be warm, until the ready command says so."""
        if not made.start_cmd:
            return
        name = new_id("b")
        box = self._world.box(name, made, made.envs)
        try:
            started = start(box, made)
            end = time.monotonic() + READY_S
            while made.ready_cmd and not is_ready(box, made, started.pid):
                if started.poll() is not None:
                    raise ValueError(f"start command exited: {started.returncode}")
                if time.monotonic() > end or self._world.closing.wait(0.1):
                    raise ValueError("ready command did not succeed")
        finally:
            box.close()


def start(box: Box, made: Template) -> subprocess.Popen[bytes]:
    """Runs a template's start command as the sandbox's own server."""
    return box.spawn(
        ["/bin/bash", "-c", made.start_cmd],
        cwd=made.workdir or HOME,
        network=True,
        stdin=subprocess.DEVNULL,
        stdout=_log(box),
        stderr=subprocess.STDOUT,
    )


def _log(box: Box) -> Any:
    return (box.root / "start.log").open("ab")


def is_ready(box: Box, made: Template, pid: int) -> bool:
    """By its own ready command, within its network."""
    command = ["/bin/bash", "-c", made.ready_cmd]
    enter = ["nsenter", "-t", str(pid), "--mount", "--net"]
    null = subprocess.DEVNULL
    try:
        return not subprocess.call(
            [*enter, *command], stdin=null, stdout=null, stderr=null, timeout=5
        )
    except subprocess.TimeoutExpired:
        return False
