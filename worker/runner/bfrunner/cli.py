"""The command line: a zygote for a worker, or one block tried by hand.

python3 -I -m bfrunner --fd N [limits]            as a worker starts it
python3 -m bfrunner run --block B --inputs I      for people
python3 -m bfrunner http --port N --keys FILE     a block server
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

from bfrunner.cache import Code
from bfrunner.client import Runner, RunnerGone
from bfrunner.options import add_arguments, from_arguments

# PROTOCOL.md §5.2: name -> (type, default)
_BLOCK: dict[str, tuple[Any, Any]] = {
    "run_function_code": (str, None),
    "run_function_name": (str, "run"),
    "imports": (list, []),
    "init_function_code": ((str, type(None)), None),
    "init_function_name": (str, "init"),
    "block_type": (str, ""),
}


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["run"]:
        return _run(_run_parser().parse_args(arguments[1:]))
    if arguments[:1] == ["http"]:
        from bfrunner import http_cli

        return http_cli.main(arguments[1:])
    found = _serve_parser().parse_args(arguments)
    options = from_arguments(found)
    from bfrunner.serve import serve

    serve(found.fd, options)
    return 0


def _serve_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bfrunner",
        description="Runs custom Python blocks for a worker.  "
        "`bfrunner run --help`: try one block by hand.  "
        "`bfrunner http --help`: a server for workers elsewhere.",
    )
    parser.add_argument("--fd", type=int, required=True, help="the inherited socket")
    add_arguments(parser)
    return parser


def _run_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bfrunner run",
        description="Runs one block as the fleet would.  The result goes to "
        "standard output, the rest of the answer to standard error.",
    )
    parser.add_argument(
        "--block",
        type=Path,
        required=True,
        help="JSON as in a job's bf_block header, or a .py file with the code",
    )
    parser.add_argument("--inputs", type=Path, help="a JSON object ({})")
    parser.add_argument("--context", type=json.loads, default={}, help="JSON")
    parser.add_argument("--timeout-ms", type=int, default=20_000, help="(%(default)s)")
    parser.add_argument("--memory-bytes", type=int, default=0, help="(no limit)")
    return parser


def _run(found: argparse.Namespace) -> int:
    try:
        block = read_block(found.block)
        inputs = found.inputs.read_bytes() if found.inputs else b"{}"
    except (OSError, ValueError) as error:
        print(f"bfrunner: {error}", file=sys.stderr)
        return 2
    code = Code(
        block["run_function_code"],
        tuple(block["imports"]),
        block["init_function_code"],
        block["init_function_name"],
    )
    limits = ["--preload", "none", "--memory-bytes", str(found.memory_bytes)]
    try:
        with Runner(limits) as runner:
            runner.submit(
                "cli",
                code,
                inputs,
                function=block["run_function_name"],
                timeout_ms=found.timeout_ms,
                context=found.context,
            )
            done = runner.wait("cli", found.timeout_ms / 1000 + 60)
    except RunnerGone as error:
        print(f"bfrunner: {error}", file=sys.stderr)
        return 2
    _show(done.head)
    sys.stdout.buffer.write(done.body + b"\n" if done.body else b"")
    return 0 if done.success else 1


def read_block(path: Path) -> dict[str, Any]:
    """A block as PROTOCOL.md §5.2 has it, with its defaults."""
    if path.suffix == ".py":
        given: Any = {"run_function_code": path.read_text("utf-8")}
    else:
        given = json.loads(path.read_bytes())
    if not isinstance(given, dict):
        raise ValueError(f"{path}: a block is a JSON object")
    for name in given:
        if name not in _BLOCK:
            raise ValueError(f"{path}: {name!r} is not a member of a block")
    block = {name: given.get(name, default) for name, (_, default) in _BLOCK.items()}
    for name, (kind, _) in _BLOCK.items():
        if not isinstance(block[name], kind):
            raise ValueError(f"{path}: {name!r} is missing or has the wrong type")
    return block


def _show(head: dict[str, Any]) -> None:
    for stream in ("stdout", "stderr"):
        for line in head[stream].splitlines():
            print(f"{stream} | {line}", file=sys.stderr)
    kept = {
        name: value
        for name, value in head.items()
        if value not in (None, "", False) and name not in ("op", "stdout", "stderr")
    }
    print(json.dumps(kept, indent=1, ensure_ascii=False), file=sys.stderr)
