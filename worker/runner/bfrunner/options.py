"""What a runner is started with; every ceiling has its number here."""

from __future__ import annotations

import argparse
import os
import tempfile
from dataclasses import dataclass, field, fields
from typing import Any

MIB = 1 << 20

# Ceilings that are part of the contract rather than of a deployment.
STREAM_CHARS = 16_384  # of stdout and of stderr, each
ERROR_BYTES = 8 << 10
NAME_BYTES = 256  # error_type, function_name
REPORT_BYTES = 64 << 10  # what a run or a template says about itself
FRAME_HEAD_BYTES = 2 * MIB  # a block of 256 KiB, escaped as JSON, fits

# What user code may see of the environment; nothing of whoever started us.
ENVIRONMENT = ("PATH", "HOME", "LANG", "LC_ALL", "LC_CTYPE", "TZ", "TMPDIR")


def start_environment() -> dict[str, str]:
    """For a process that will run user code.  What it removes later could still
    be read in its /proc/self/environ."""
    kept = (*ENVIRONMENT, "LD_LIBRARY_PATH")
    return {name: os.environ[name] for name in kept if name in os.environ}


def _option(default: object, text: str) -> Any:
    return field(default=default, metadata={"help": text})


@dataclass(frozen=True)
class Options:
    slots: int = _option(8, "runs at the same time; the rest waits")
    templates: int = _option(64, "initialised code versions kept warm")
    idle_seconds: int = _option(600, "how long an unused one is kept")
    code_versions: int = _option(256, "code versions remembered")
    code_bytes: int = _option(64 * MIB, "and their size in all")
    input_bytes: int = _option(64 * MIB, "inputs of one run")
    result_bytes: int = _option(15 * MIB, "result of one run")
    queue_bytes: int = _option(256 * MIB, "inputs of runs that wait")
    memory_bytes: int = _option(0, "RLIMIT_AS of user code, 0 = none")
    cpu_seconds: int = _option(0, "RLIMIT_CPU of a run, 0 = none")
    nproc: int = _option(0, "RLIMIT_NPROC of a run, 0 = none")
    fsize_bytes: int = _option(0, "RLIMIT_FSIZE of a run, 0 = none")
    preload: str = _option("auto", "auto, none, or modules by comma")
    workdir: str = _option(tempfile.gettempdir(), "working directory of user code")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    for item in fields(Options):
        parser.add_argument(
            "--" + item.name.replace("_", "-"),
            type=type(item.default),
            default=item.default,
            metavar="N" if isinstance(item.default, int) else "TEXT",
            help=f"{item.metadata['help']} (%(default)s)",
        )


def from_arguments(found: argparse.Namespace) -> Options:
    values = {item.name: getattr(found, item.name) for item in fields(Options)}
    for name, value in values.items():
        if isinstance(value, int) and value < 0:
            raise SystemExit(f"--{name.replace('_', '-')} must not be negative")
    if values["slots"] < 1 or values["templates"] < 1:
        raise SystemExit("--slots and --templates must be at least 1")
    return Options(**values)
