"""`./run live`: the fleet's wire against Modal and E2B themselves.

    ./run live [--keys DIR] [--workspace W] [--slow] [modal] [e2b]

Needs accounts, costs a few cents, and is no part of the gate. What is not set
is skipped, and said to be:

MODAL_WEB_ENDPOINT_URL          of ./run modal deploy, without workspace_id
MODAL_TOKEN_ID, _SECRET         a proxy token (wk-…, ws-…)
E2B_API_KEY                     a team's key
E2B_TEMPLATE_ID                 of ./run e2b template; the stock one without
E2B_DOMAIN, E2B_API_URL, E2B_SANDBOX_URL        another cloud than e2b.app

--keys: the fleet's keys.dir, whose private key of purpose run signs; its public
half is what was deployed.  Each line is one operation: what it was, whether it
went as PROTOCOL.md says, how long it took, what was seen.  Exits 1 when one of
them did not; sandboxes that were made are killed whatever happens.
"""

from __future__ import annotations

import argparse
import base64
import http.client
import json
import os
import secrets
import ssl
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urljoin, urlsplit

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "wire"))

import bfwire as w  # noqa: E402

STOCK = "code-interpreter-v1"
PORT, INTERPRETER = 8000, 49999
MAX_REPLY = 32 << 20
PATIENCE_S = 300.0  # for one HTTP exchange: cold starts, and a hop of Modal's
HELLO = "def run(name):\n    print('hello', name)\n    return {'hello': name}\n"
RAISES = "def run():\n    a = 1\n    raise ValueError('on purpose')\n"
SPINS = "def run():\n    while True: pass\n"
CALLS = "import socket\ndef run():\n    socket.create_connection(('1.1.1.1', 443), 5)\n"


class Wrong(Exception):
    """What was seen is not what should have been."""


def expect(condition: object, seen: object) -> None:
    if not condition:
        raise Wrong(str(seen)[:300])


# ---- HTTP ---------------------------------------------------------------------


@dataclass(frozen=True)
class Reply:
    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise Wrong(f"{self.status} {self.body[:200]!r}") from None


def exchange(
    method: str, url: str, headers: Mapping[str, str], body: bytes | None = None
) -> Reply:
    """One request on a connection of its own; redirects are the caller's."""
    parts = urlsplit(url)
    if parts.scheme == "https":
        made: http.client.HTTPConnection = http.client.HTTPSConnection(
            parts.netloc, timeout=PATIENCE_S, context=ssl.create_default_context()
        )
    else:
        made = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE_S)
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    try:
        made.request(method, target, body, dict(headers))
        reply = made.getresponse()
        text = reply.read(MAX_REPLY + 1)
    finally:
        made.close()
    expect(len(text) <= MAX_REPLY, "an answer without an end")
    told = {name.lower(): value for name, value in reply.headers.items()}
    return Reply(reply.status, told, text)


# ---- who signs ----------------------------------------------------------------


@dataclass(frozen=True)
class Signer:
    key: Any
    id: str

    @classmethod
    def of(cls, directory: Path) -> Signer:
        """The youngest private key of purpose run in a keys.dir."""
        files = sorted(directory.glob("run.*.key"), key=lambda f: f.stat().st_mtime)
        if not files:
            raise Wrong(f"no run.*.key in {directory}: blockfleet keys new run")
        words = files[-1].read_text().split()
        key = w.private_key(base64.b64decode(words[2], validate=True))
        return cls(key, w.key_id(w.public_bytes(key)))

    def headers(self, url: str, body: bytes, run_id: str) -> dict[str, str]:
        now = int(time.time())
        message = w.HttpMessage(
            method="POST",
            target_uri=url,
            content_type="application/json",
            content_digest=w.content_digest(body),
            run_id=run_id,
            created_s=now,
            expires_s=now + 330,
            nonce=secrets.token_hex(16),
            key_id=self.id,
        )
        said, signature = w.http_sign(message, self.key)
        return {
            "content-type": message.content_type,
            "content-digest": message.content_digest,
            "idempotency-key": f'"{run_id}"',
            "signature-input": said,
            "signature": signature,
        }


# ---- operations on blocks -----------------------------------------------------


@dataclass
class Blocks:
    """A place that runs blocks as PROTOCOL.md §9 has it."""

    url: str
    workspace: str
    signer: Signer
    secret: Mapping[str, str]  # headers that get us in
    hops: int = 0

    def ask(self, code: str | None, inputs: Any = None, **more: Any) -> Reply:
        run_id = secrets.token_hex(16)
        whole = {} if code is None else {"code_str": code, "imports": []}
        body = {
            "code_hash": w.code_hash(code or "", []),
            "run_function_name": "run",
            "inputs_json": json.dumps(inputs or {}),
            "workflow_context": {},
            "timeout_seconds": "30.000000",
            "workspace_id": self.workspace,
            "run_id": run_id,
            **whole,
            **more,
        }
        text = json.dumps(body).encode()
        return self.send(text, self.signer.headers(self.url, text, run_id))

    def send(self, body: bytes, headers: Mapping[str, str]) -> Reply:
        """303 is followed with GET, on the same host alone."""
        url = self.url
        reply = exchange("POST", url, {**headers, **self.secret}, body)
        while reply.status == 303:
            where = urljoin(url, reply.headers.get("location", ""))
            same = urlsplit(where)[:2] == urlsplit(self.url)[:2]
            expect(same, f"sent elsewhere: {where}")
            self.hops += 1
            reply = exchange("GET", where, self.secret)
        return reply

    def told(self, reply: Reply) -> dict[str, Any]:
        expect(reply.status == 200, f"{reply.status} {reply.body[:200]!r}")
        found = reply.json()
        expect(isinstance(found, dict), found)
        return dict(found)


def _runs(blocks: Blocks) -> str:
    told = blocks.told(blocks.ask(HELLO, {"name": "wörld"}))
    expect(told.get("success") is True, told)
    expect(json.loads(told["result"]) == {"hello": "wörld"}, told)
    expect(told["stdout"] == "hello wörld\n", told)
    spent = told["ended_at_ms"] - told["started_at_ms"]
    return f"{told.get('boot')}, {spent} ms, {told.get('cpu_us')} µs of CPU"


def _unknown_hash(blocks: Blocks) -> str:
    told = blocks.told(blocks.ask(None, code_hash=secrets.token_hex(16)))
    expect(told.get("server_error") is True, told)
    expect(told.get("error_type") == "UnknownCodeHash", told)
    return "UnknownCodeHash"


def _by_hash(blocks: Blocks) -> str:
    """Another container may answer, which does not know it: that is right, too."""
    known = w.code_hash(HELLO, [])
    told = blocks.told(blocks.ask(None, {"name": "x"}, code_hash=known))
    unknown = told.get("error_type") == "UnknownCodeHash"
    expect(told.get("success") is True or unknown, told)
    return "another container" if unknown else f"{told.get('boot')}"


def _raises(blocks: Blocks) -> str:
    told = blocks.told(blocks.ask(RAISES))
    expect(told.get("success") is False and not told.get("server_error"), told)
    expect((told["error_type"], told["line_number"]) == ("ValueError", 3), told)
    return f"line {told['line_number']}"


def _timeout(blocks: Blocks) -> str:
    told = blocks.told(blocks.ask(SPINS, timeout_seconds="2.000000"))
    expect(told.get("error_type") == "CustomPythonBlockTimeout", told)
    expect(1_900_000 < told["duration_us"] < 10_000_000, told)
    return f"killed after {told['duration_us'] / 1e6:.2f} s"


def _unsigned(blocks: Blocks) -> str:
    body = json.dumps({"run_id": secrets.token_hex(16)}).encode()
    reply = blocks.send(body, {"content-type": "application/json"})
    expect(reply.status == 401, f"{reply.status} {reply.body[:200]!r}")
    return str(reply.json().get("error"))[:60]


def _forged(blocks: Blocks) -> str:
    """Signed for another address, by the right key."""
    run_id = secrets.token_hex(16)
    body = json.dumps({"run_id": run_id, "workspace_id": blocks.workspace}).encode()
    headers = blocks.signer.headers("https://elsewhere.example/", body, run_id)
    reply = blocks.send(body, headers)
    expect(reply.status == 401, f"{reply.status} {reply.body[:200]!r}")
    return str(reply.json().get("error"))[:60]


def _network(blocks: Blocks) -> str:
    told = blocks.told(blocks.ask(CALLS))
    expect(told.get("success") is False, "a block reached the internet")
    return str(told.get("error"))[:60]


def _long(blocks: Blocks) -> str:
    """Over Modal's hop of 150 s."""
    code = "def run():\n    time.sleep(170)\n    return 'slept'\n"
    before = blocks.hops
    told = blocks.told(blocks.ask(code, timeout_seconds="240.000000"))
    expect(told.get("result") == '"slept"', told)
    return f"{blocks.hops - before} redirects"


Operation = Callable[[Blocks], str]
OPERATIONS: dict[str, Operation] = {
    "run": _runs,
    "run, by hash": _by_hash,
    "unknown hash": _unknown_hash,
    "error": _raises,
    "timeout": _timeout,
    "unsigned": _unsigned,
    "forged": _forged,
    "network": _network,
}


# ---- E2B ----------------------------------------------------------------------


@dataclass
class E2B:
    """The control plane, and a sandbox behind the shared host."""

    key: str
    environment: Mapping[str, str]
    sandboxes: list[str] = field(default_factory=list)

    def _get(self, name: str, default: str) -> str:
        return (self.environment.get(name) or default).rstrip("/")

    @property
    def domain(self) -> str:
        return self._get("E2B_DOMAIN", "e2b.app")

    @property
    def api(self) -> str:
        return self._get("E2B_API_URL", f"https://api.{self.domain}")

    @property
    def plane(self) -> str:
        return self._get("E2B_SANDBOX_URL", f"https://sandbox.{self.domain}")

    def call(self, method: str, path: str, body: Any = None) -> Reply:
        headers = {"x-api-key": self.key}
        text = None
        if body is not None:
            headers["content-type"] = "application/json"
            text = json.dumps(body).encode()
        return exchange(method, self.api + path, headers, text)

    @contextmanager
    def sandbox(self, template: str) -> Iterator[dict[str, Any]]:
        asked = {
            "templateID": template,
            "timeout": 300,
            "secure": True,
            "metadata": {"bf": "live"},
            "allow_internet_access": False,
            "network": {"allowPublicTraffic": False, "denyOut": ["0.0.0.0/0"]},
        }
        reply = self.call("POST", "/v2/sandboxes", asked)
        if reply.status in (404, 405):  # an older cloud
            reply = self.call("POST", "/sandboxes", asked)
        expect(reply.status == 201, f"{reply.status} {reply.body[:300]!r}")
        made = reply.json()
        self.sandboxes.append(made["sandboxID"])
        try:
            yield made
        finally:
            self.kill(made["sandboxID"])

    def kill(self, sandbox: str) -> None:
        reply = self.call("DELETE", f"/sandboxes/{sandbox}")
        expect(reply.status in (204, 404), f"not killed: {sandbox} {reply.status}")
        self.sandboxes.remove(sandbox)

    def way_in(self, made: Mapping[str, Any], port: int) -> dict[str, str]:
        found = {"e2b-sandbox-id": made["sandboxID"], "e2b-sandbox-port": str(port)}
        if made.get("trafficAccessToken"):
            found["e2b-traffic-access-token"] = made["trafficAccessToken"]
        if made.get("envdAccessToken"):
            found["x-access-token"] = made["envdAccessToken"]
        return found

    def execute(self, made: Mapping[str, Any], code: str) -> list[dict[str, Any]]:
        headers = {"content-type": "application/json"}
        headers |= self.way_in(made, INTERPRETER)
        body = json.dumps({"code": code, "language": "python"}).encode()
        reply = exchange("POST", f"{self.plane}/execute", headers, body)
        expect(reply.status == 200, f"{reply.status} {reply.body[:300]!r}")
        try:
            return [json.loads(line) for line in reply.body.splitlines() if line]
        except ValueError:
            raise Wrong(f"no lines of JSON: {reply.body[:200]!r}") from None


# ---- the report ---------------------------------------------------------------


@dataclass
class Report:
    failed: int = 0
    passed: int = 0

    def row(self, who: str, what: str, verdict: str, seen: str, ms: int = 0) -> None:
        print(f"{who:<6} {what:<14} {verdict:<8} {ms:>7} ms  {seen}", flush=True)

    def skip(self, who: str, why: str) -> None:
        print(f"{who:<6} {'-':<14} {'skipped':<8} {why}", flush=True)

    def tried(self, who: str, what: str, action: Callable[[], str]) -> bool:
        begin = time.monotonic()
        try:
            verdict, seen = "ok", action()
            self.passed += 1
        except (Wrong, OSError, http.client.HTTPException, KeyError) as error:
            verdict, seen = "FAILED", f"{type(error).__name__}: {error}"
            self.failed += 1
        ms = round((time.monotonic() - begin) * 1000)
        self.row(who, what, verdict, " ".join(seen.split()), ms)
        return verdict == "ok"


def missing(environment: Mapping[str, str], *names: str) -> str:
    return ", ".join(name for name in names if not environment.get(name))


def on_blocks(
    report: Report, who: str, blocks: Blocks, found: argparse.Namespace
) -> None:
    chosen = {n: o for n, o in OPERATIONS.items() if n not in found.without}
    if found.slow:
        chosen["170 s"] = _long
    for name, operation in chosen.items():
        report.tried(who, name, partial(operation, blocks))


def modal(report: Report, found: argparse.Namespace, env: Mapping[str, str]) -> None:
    lacks = missing(env, "MODAL_WEB_ENDPOINT_URL", "MODAL_TOKEN_ID")
    if lacks or not env.get("MODAL_TOKEN_SECRET"):
        report.skip("modal", f"not set: {lacks or 'MODAL_TOKEN_SECRET'}")
        return
    base = env["MODAL_WEB_ENDPOINT_URL"].rstrip("/")
    url = f"{base}/?workspace_id={found.workspace}"
    token = {
        "modal-key": env["MODAL_TOKEN_ID"],
        "modal-secret": env["MODAL_TOKEN_SECRET"],
    }

    def locked() -> str:
        reply = exchange("POST", url, {"content-type": "application/json"}, b"{}")
        expect(reply.status == 401, f"{reply.status} {reply.body[:200]!r}")
        return reply.body.decode("utf-8", "replace")[:60]

    report.tried("modal", "no token", locked)
    blocks = Blocks(url, found.workspace, Signer.of(found.keys), token)
    on_blocks(report, "modal", blocks, found)


def e2b(report: Report, found: argparse.Namespace, env: Mapping[str, str]) -> None:
    if missing(env, "E2B_API_KEY"):
        report.skip("e2b", "not set: E2B_API_KEY")
        return
    cloud = E2B(env["E2B_API_KEY"], env)
    if not env.get("E2B_TEMPLATE_ID"):
        report.skip("e2b", "not set: E2B_TEMPLATE_ID; the stock template, then")
        report.tried("e2b", "stock", lambda: _stock(cloud))
        return

    def ours() -> str:
        with cloud.sandbox(env["E2B_TEMPLATE_ID"]) as made:
            blocks = Blocks(
                f"{cloud.plane}/execute_block",
                found.workspace,
                Signer.of(found.keys),
                cloud.way_in(made, found.port),
            )
            on_blocks(report, "e2b", blocks, found)
            return f"{made['sandboxID']}, killed"

    report.tried("e2b", "sandbox", ours)


def _stock(cloud: E2B) -> str:
    with cloud.sandbox(STOCK) as made:
        events = cloud.execute(made, "print(6 * 7)")
        said = [e.get("text") for e in events if e.get("type") == "stdout"]
        expect("".join(filter(None, said)) == "42\n", events)
        events = cloud.execute(made, "1 / 0")
        errors = [e.get("name") for e in events if e.get("type") == "error"]
        expect(errors == ["ZeroDivisionError"], events)
    return f"{made['sandboxID']}: executed, and killed"


PROVIDERS = {"modal": modal, "e2b": e2b}


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(
        prog="./run live",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("providers", nargs="*", metavar="PROVIDER", help="(all)")
    parser.add_argument("--keys", type=Path, default=Path("keys"), metavar="DIR")
    parser.add_argument("--workspace", default="live")
    parser.add_argument("--port", type=int, default=PORT, help="of our server in E2B")
    parser.add_argument("--slow", action="store_true", help="and a run of 170 s")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=OPERATIONS,
        metavar="OPERATION",
        help=", ".join(OPERATIONS),
    )
    found = parser.parse_args(argv)
    for name in found.providers:
        if name not in PROVIDERS:
            parser.error(f"no provider is called {name!r}: {', '.join(PROVIDERS)}")
    report = Report()
    for name in found.providers or PROVIDERS:
        try:
            PROVIDERS[name](report, found, os.environ)
        except Wrong as wrong:
            report.row(name, "-", "FAILED", str(wrong))
            report.failed += 1
    print(f"{report.passed} as they should be, {report.failed} not", flush=True)
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main())
