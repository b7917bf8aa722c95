"""The command line of the block server."""

from __future__ import annotations

import argparse
import asyncio
import ipaddress
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from bfrunner import keys
from bfrunner.door import Door, Limits
from bfrunner.engine import Engine
from bfrunner.options import MIB, Options, add_arguments, from_arguments
from bfrunner.server import Pace, Server, serve
from bfrunner.verify import NoEd25519, Verifier

_ORIGIN = re.compile(r"https?://[A-Za-z0-9._\[\]:-]+")


def main(arguments: list[str]) -> int:
    found = _parser().parse_args(arguments)
    options = from_arguments(found)
    try:
        server = _server(found, options, os.environ)
    except (keys.BadKeys, NoEd25519, OSError) as error:
        return _fail(str(error))
    try:
        asyncio.run(serve(server, found.host, found.port, lambda p: _tell(found, p)))
    except OSError as error:
        return _fail(str(error))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bfrunner http",
        description="Runs blocks for workers elsewhere: POST /execute_block as "
        "PROTOCOL.md §9 has it, and GET /healthz.",
        epilog="Keys: the lines that `blockfleet keys public` prints, in a file "
        f"(read again when it changes) or in {keys.ENVIRONMENT}.",
    )
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    add("--port", type=int, required=True, help="0: any free one")
    add("--port-file", type=Path, help="gets the port, when it is open")
    add("--keys", type=Path, metavar="FILE", help="whose runs are taken")
    add("--unsigned", action="store_true", help="take anybody's; loopback only")
    add("--workspace", help="serve this one alone")
    add(
        "--origin",
        action="append",
        default=[],
        metavar="URL",
        help="what workers call us, as https://host; more than one may be given "
        "(default: what the Host header says)",
    )
    add("--run-as", metavar="USER", help="whose rights blocks have; needs root")
    add("--max-timeout-seconds", type=int, default=86_400, help="(%(default)s)")
    add("--held-bytes", type=int, default=256 * MIB, help="of bodies (%(default)s)")
    for item, text in _PACE.items():
        default = next(f.default for f in fields(Pace) if f.name == item)
        name = text[0]
        add(name, type=type(default), default=default, help=f"{text[1]} (%(default)s)")
    group = parser.add_argument_group("limits of runs")
    add_arguments(group)
    return parser


_PACE = {
    "connections": ("--connections", "that are open at once"),
    "idle": ("--keepalive-seconds", "that one may be silent"),
    "head": ("--head-seconds", "for the head of a request"),
    "body": ("--body-seconds", "for a body or an answer, and 4 s for each MiB"),
    "drain": ("--drain-seconds", "that runs get when this is to end"),
}


def _server(
    found: argparse.Namespace, options: Options, environment: Mapping[str, str]
) -> Server:
    verifier = _verifier(found, environment)
    for origin in found.origin:
        if not _ORIGIN.fullmatch(origin):
            raise keys.BadKeys(f"--origin {origin!r} is not https://host")
    arguments = []
    for item in fields(Options):
        name = "--" + item.name.replace("_", "-")
        arguments += [name, str(getattr(options, item.name))]
    engine = Engine(arguments, options.result_bytes, found.run_as, _say)
    limits = Limits(
        runs=options.slots,
        input_bytes=options.input_bytes,
        held_bytes=found.held_bytes,
        timeout_ms=found.max_timeout_seconds * 1000,
    )
    given = {item: _value(found, text[0]) for item, text in _PACE.items()}
    door = Door(engine, verifier, limits, found.workspace)
    return Server(door, found.origin, Pace(**given))


def _value(found: argparse.Namespace, name: str) -> float:
    value: float = getattr(found, name[2:].replace("-", "_"))
    return value


def _verifier(
    found: argparse.Namespace, environment: Mapping[str, str]
) -> Verifier | None:
    if found.unsigned or environment.get("BF_UNSIGNED") == "1":
        if not _is_loopback(found.host):
            raise keys.BadKeys("unsigned runs are taken on a loopback address alone")
        return None
    if found.keys is not None:
        known = keys.Keys(path=found.keys, told=_say)
    else:
        known = keys.from_environment(environment, _say) or keys.Keys(text="")
    if len(known) == 0:
        raise keys.BadKeys(
            f"no key of purpose run: give --keys FILE or {keys.ENVIRONMENT}"
        )
    return Verifier(known)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _tell(found: argparse.Namespace, port: int) -> None:
    host = f"[{found.host}]" if ":" in found.host else found.host
    if found.port_file is not None:
        half = found.port_file.with_suffix(".new")
        half.write_text(f"{port}\n")
        half.rename(found.port_file)
    print(f"http://{host}:{port}/execute_block", flush=True)


def _say(text: str) -> None:
    print(f"bfrunner: {text}", file=sys.stderr, flush=True)


def _fail(text: str) -> int:
    _say(text)
    return 2
