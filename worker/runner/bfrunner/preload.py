"""The names that a block finds without importing them, and warming them once."""

from __future__ import annotations

import importlib
import importlib.util
import json
import math
import os
import sys
import time
import types
from datetime import datetime
from typing import Any, Dict, List, Optional, Set  # noqa: UP035

from bfrunner import kinds

# Name in a block -> module, in the order in which they are warmed.
OPTIONAL = {
    "np": "numpy",
    "cv2": "cv2",
    "requests": "requests",
    "shapely": "shapely",
    "sv": "supervision",
}

# Where blocks import the engine's types from, by generation of the engine.
_ENGINE_MODULES = (
    "inference.core.workflows.execution_engine.entities.base",
    "inference.core.workflows.prototypes.block",
    "roboflow_workflows.execution_engine.entities.base",
    "roboflow_workflows.prototypes.block",
)
_ENGINE_NAMES = (
    "Batch",
    "BlockResult",
    "ImageParentMetadata",
    "OriginCoordinatesSystem",
    "VideoMetadata",
    "WorkflowImageData",
)


def quiet_threads() -> None:
    """A process that is forked must have one thread: these libraries start
    theirs at import, by the environment."""
    for name in ("OMP", "OPENBLAS", "MKL", "NUMEXPR"):
        os.environ.setdefault(f"{name}_NUM_THREADS", "1")


def warm(which: str) -> list[str]:
    """Imports what is installed (`auto`), nothing (`none`), or modules by name;
    returns the names now loaded.  One that fails to import is left out."""
    quiet_threads()
    if which == "none":
        return []
    auto = which == "auto"
    names = list(OPTIONAL.values()) if auto else which.split(",")
    loaded = []
    for name in names:
        try:
            importlib.import_module(name)
        except Exception as error:
            if not isinstance(error, ModuleNotFoundError) or not auto:
                print(f"bfrunner: cannot preload {name}: {error}", file=sys.stderr)
            continue
        loaded.append(name)
    if "cv2" in sys.modules:
        # Its thread pool does not survive a fork.
        sys.modules["cv2"].setNumThreads(1)
    if "supervision" in loaded:
        importlib.import_module("bfrunner.detections")
    return loaded


def names(wanted: set[str]) -> dict[str, Any]:
    """The preloaded namespace of a block.  Optional modules stand in it when they
    are warm already, or when they are installed and the code mentions them."""
    found: dict[str, Any] = {
        "Any": Any,
        "List": List,  # noqa: UP006
        "Dict": Dict,  # noqa: UP006
        "Set": Set,  # noqa: UP006
        "Optional": Optional,
        "math": math,
        "time": time,
        "json": json,
        "os": os,
        "datetime": datetime,
        "Batch": kinds.Batch,
        "WorkflowImageData": kinds.WorkflowImageData,
        "BlockResult": kinds.BlockResult,
        "debug_traces": kinds.DebugTraces(),
        "globals": {},
    }
    for name, path in OPTIONAL.items():
        module = sys.modules.get(path)
        if module is None and name in wanted:
            try:
                module = importlib.import_module(path)
            except ImportError:
                continue
        if module is not None:
            found[name] = module
    return found


def stand_in_for_engine() -> None:
    """Lets `from inference.core.workflows… import Batch` work where the engine
    is not installed."""
    for path in _ENGINE_MODULES:
        root = path.partition(".")[0]
        if not isinstance(sys.modules.get(root), _StandIn):
            if root in sys.modules or importlib.util.find_spec(root) is not None:
                continue
        parent: types.ModuleType | None = None
        parts = path.split(".")
        for i, part in enumerate(parts):
            name = ".".join(parts[: i + 1])
            module = sys.modules.get(name)
            if module is None:
                module = sys.modules[name] = _StandIn(name)
                module.__path__ = []
            if parent is not None:
                setattr(parent, part, module)
            parent = module
        for name in _ENGINE_NAMES:
            setattr(parent, name, getattr(kinds, name))


class _StandIn(types.ModuleType):
    pass
