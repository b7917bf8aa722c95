"""The fleet's app on Modal: `./run modal deploy`, with the user's own account.

Two doors to the same runner: a web endpoint behind Modal's proxy auth, where
one of BLOCKFLEET_RUN_KEYS must have signed a run, and a method for gRPC, for
who has the account's API token.  Each workspace has containers of its own.

It is told what to be by the environment of whoever deploys it:

BLOCKFLEET_RUN_KEYS        what `blockfleet keys public` prints; required
BF_MODAL_APP               name of the app (blockfleet)
BF_MODAL_PROFILE           pooled: containers live on between runs; strict: a
                           fresh one for each run, each a cold start (pooled)
BF_MODAL_NETWORK           1: blocks may reach the internet (0)
BF_MODAL_CPU               cores, or REQUEST,LIMIT (1,1)
BF_MODAL_MEMORY            MiB, or REQUEST,LIMIT (1024,1024)
BF_MODAL_SLOTS             runs of a container at once; strict: 1 (4)
BF_MODAL_TIMEOUT           seconds that a run may take, at most (900)
BF_MODAL_IMAGE             of a registry, with Python; Debian slim without
BF_MODAL_PACKAGES          from PyPI, separated by spaces (numpy opencv-python-
                           headless supervision shapely requests)
BF_MODAL_APT               from Debian, separated by spaces
BF_MODAL_GPU               such as T4, or H100:2
BF_MODAL_REGION, _CLOUD, _ROUTING_REGION                where (anywhere)
BF_MODAL_SCALEDOWN         seconds that an idle container is kept (60)
BF_MODAL_MIN, _MAX, _BUFFER                             containers a workspace
BF_MODAL_SNAPSHOT          0: no memory snapshots (1)
BF_MODAL_ORIGIN            what workers call the endpoint, when it is not what
                           its Host header says: https://host
"""

import json
import os
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import modal

HERE = Path(__file__).resolve().parent
FOLDER = "/opt/blockfleet"  # in the container
INSIDE = not HERE.joinpath("bfrunner").is_dir()
sys.path.insert(0, FOLDER if INSIDE else str(HERE))

from bfrunner import execute, keys, verify  # noqa: E402
from bfrunner.asgi import Application, Headers  # noqa: E402
from bfrunner.client import Done  # noqa: E402
from bfrunner.door import Door, Limits  # noqa: E402
from bfrunner.engine import Engine, Gone, NotReady  # noqa: E402
from bfrunner.options import FRAME_HEAD_BYTES  # noqa: E402

PREFIX = "BF_MODAL_"
PACKAGES = "numpy opencv-python-headless supervision shapely requests"
SIGNATURES = "cryptography==45.0.7"
PYTHON = "3.12"


def _pair(given: str, kind: type) -> tuple[Any, Any]:
    """REQUEST,LIMIT; one of them is both."""
    request, _, limit = given.partition(",")
    return kind(request), kind(limit or request)


@dataclass
class Settings:
    """What the environment says; the defaults stand in the page above."""

    given: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def get(self, name: str, default: str = "") -> str:
        return self.given.get(PREFIX + name, "").strip() or default

    def number(self, name: str) -> int | None:
        return int(self.get(name)) if self.get(name) else None

    @property
    def app(self) -> str:
        return self.get("APP", "blockfleet")

    @property
    def strict(self) -> bool:
        profile = self.get("PROFILE", "pooled")
        if profile not in ("pooled", "strict"):
            raise ValueError(f"{PREFIX}PROFILE is pooled or strict, not {profile!r}")
        return profile == "strict"

    @property
    def slots(self) -> int:
        return 1 if self.strict else int(self.get("SLOTS", "4"))

    @property
    def timeout_s(self) -> int:
        return int(self.get("TIMEOUT", "900"))

    @property
    def snapshot(self) -> bool:
        return self.get("SNAPSHOT", "1") != "0"

    def environment(self) -> dict[str, str | None]:
        """What the container is told; public keys are no secrets."""
        told = {n: v for n, v in self.given.items() if n.startswith(PREFIX)}
        return {**told, keys.ENVIRONMENT: self.given.get(keys.ENVIRONMENT, "")}

    def cls(self) -> dict[str, Any]:
        """Arguments of modal.App.cls()."""
        found = {
            "image": self.image(),
            "env": self.environment(),
            "restrict_modal_access": True,
            "block_network": self.get("NETWORK", "0") != "1",
            "single_use_containers": self.strict,
            "enable_memory_snapshot": self.snapshot,
            "include_source": False,
            # A run's own deadline comes first, and says more.
            "timeout": self.timeout_s + 60,
            "startup_timeout": 300,
            "cpu": _pair(self.get("CPU", "1"), float),
            "memory": _pair(self.get("MEMORY", "1024"), int),
            "scaledown_window": int(self.get("SCALEDOWN", "60")),
            "gpu": self.get("GPU") or None,
            "region": self.get("REGION") or None,
            "cloud": self.get("CLOUD") or None,
            "routing_region": self.get("ROUTING_REGION") or None,
            "min_containers": self.number("MIN"),
            "max_containers": self.number("MAX"),
            "buffer_containers": self.number("BUFFER"),
            "_experimental_restrict_output": True,
        }
        return {name: value for name, value in found.items() if value is not None}

    def rows(self) -> list[tuple[str, str]]:
        """What would be deployed, for people."""
        told = {**self.cls(), "env": ", ".join(sorted(self.environment()))}
        told["image"] = self.get("IMAGE", f"debian_slim, Python {PYTHON}")
        known = keys.from_environment(self.given)
        return [
            ("app", self.app),
            ("profile", "strict" if self.strict else "pooled"),
            ("doors", "execute_block (web, proxy auth), call (gRPC)"),
            ("parameter", "workspace_id"),
            ("keys", ", ".join(known.ids()) if known else "none"),
            ("runs at once", str(self.slots)),
            ("run timeout", f"{self.timeout_s} s"),
            ("packages", " ".join([SIGNATURES, self.get("PACKAGES", PACKAGES)])),
            ("apt", self.get("APT", "none")),
            *((name, str(value)) for name, value in told.items()),
        ]

    def concurrent(self, cls: type) -> Any:
        return cls if self.strict else modal.concurrent(max_inputs=self.slots)(cls)

    def image(self) -> modal.Image:
        if self.get("IMAGE"):
            image = modal.Image.from_registry(self.get("IMAGE")).entrypoint([])
        else:
            image = modal.Image.debian_slim(python_version=PYTHON)
        if self.get("APT"):
            image = image.apt_install(*self.get("APT").split())
        packages = self.get("PACKAGES", PACKAGES).split()
        # Blocks can read what is here, so it is no more than they need.
        return (
            image.pip_install(SIGNATURES, *packages)
            .add_local_dir(
                HERE / "bfrunner", f"{FOLDER}/bfrunner", ignore=["**/__pycache__"]
            )
            .add_local_file(__file__, "/root/modal_app.py")
        )


class Container:
    """What runs blocks in a container of a workspace."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        known = keys.from_environment(settings.given, _say)
        if known is None or len(known) == 0:
            raise keys.BadKeys(f"{keys.ENVIRONMENT} has no key of purpose run")
        limits = Limits(runs=settings.slots, timeout_ms=settings.timeout_s * 1000)
        # Modal's own process, with whatever it knows, is root's.
        user = "nobody" if INSIDE and os.geteuid() == 0 else None
        slots = ["--slots", str(settings.slots)]
        self.engine = Engine(slots, run_as=user, told=_say)
        self.door = Door(self.engine, verify.Verifier(known), limits)
        self.application = Application(self.door, self.targets)

    async def start(self) -> None:
        """Ready to run, with all that blocks import: worth a snapshot, of which
        any workspace's container may be made."""
        self.engine.start()
        await self.engine.wait_ready(300)

    def open(self, workspace: str) -> None:
        self.door.workspace = workspace
        self.door.container = os.environ.get("MODAL_TASK_ID", "")

    async def stop(self) -> None:
        await self.engine.close()

    def targets(self, path: str, query: str, headers: Headers) -> list[str]:
        """As workers sign it, whatever Modal's edge makes of it: the parameter
        may have been taken out, the path of a root may be missing."""
        host = next((v for n, v in headers if n.lower() == "host"), "")
        origins = [f"https://{host}", f"http://{host}"]
        if self.settings.get("ORIGIN"):
            origins = [self.settings.get("ORIGIN").rstrip("/")]
        queries = {query, f"workspace_id={quote(self.door.workspace or '', safe='')}"}
        return [f"{origin}{path}?{one}" for origin in origins for one in queries]

    async def call(self, head: bytes, inputs: bytes) -> list[bytes | None]:
        """head: the request without inputs_json; back: the answer without its
        result, and that.  Not signed: who may call it could as well deploy."""
        try:
            request = execute.load(head, "identity", FRAME_HEAD_BYTES)
            if request.get("workspace_id") != self.door.workspace:
                raise execute.BadRequest("another workspace is served here")
            most = self.door.limits.timeout_ms
            frame, _ = execute.frame({**request, "inputs_json": ""}, most)
            done = await self.door.hand(frame, inputs)
        except (execute.BadRequest, ValueError) as error:
            return [execute.invalid(str(error)[:1024]).body, None]
        # Of an exception nobody could know whether the run had begun.
        except NotReady as error:
            return [execute.problem(503, str(error)).body, None]
        except Gone as error:
            return [execute.problem(500, str(error), began=True).body, None]
        result = done.body if done.success else None
        told = json.loads(
            execute.answer(Done(done.head, b""), self.door.container).body
        )
        told.pop("result", None)
        return [json.dumps(told).encode(), result]


def _say(text: str) -> None:
    print(f"blockfleet: {text}", file=sys.stderr, flush=True)


SETTINGS = Settings()
app = modal.App(SETTINGS.app, include_source=False)


@app.cls(**SETTINGS.cls())
@SETTINGS.concurrent
class Executor:
    workspace_id: str = modal.parameter()

    @modal.enter(snap=SETTINGS.snapshot)
    async def begin(self) -> None:
        self.container = Container(SETTINGS)
        await self.container.start()

    @modal.enter(snap=False)
    async def open(self) -> None:
        self.container.open(self.workspace_id)

    @modal.exit()
    async def end(self) -> None:
        await self.container.stop()

    @modal.asgi_app(requires_proxy_auth=True)
    def execute_block(self) -> Application:
        return self.container.application

    @modal.method()
    async def call(self, head: bytes, inputs: bytes) -> list[bytes | None]:
        return await self.container.call(head, inputs)


if __name__ == "__main__":
    for name, value in SETTINGS.rows():
        print(f"{name:<30} {value}")
