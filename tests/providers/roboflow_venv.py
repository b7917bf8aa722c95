"""A Python that has Roboflow's client, roboflow-workflows, unmodified.

$BF_ROBOFLOW, or a venv of our own without what takes gigabytes and is
not needed to call execute_block: torch and the models, for which any name does.
"""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CACHE = Path(os.environ.get("BLOCKFLEET_CACHE") or ROOT / ".cache").resolve()
VENV = CACHE / "roboflow-venv"
PACKAGE = "roboflow-workflows==0.2.14"
# What its executor imports, in the versions that it asks for.
NEEDED = (
    "pydantic>=2.8,<2.12 typing-extensions<=4.15 networkx<4 packaging~=24.0 "
    "numpy<2.4 supervision>=0.30.6,<0.31 opencv-python-headless<4.13 pillow<13 "
    "shapely<2.1 pybase64~=1.0.0 requests>=2.33,<3 msgpack filelock<4"
).split()
INSTALL_S = 360.0
ABSENT = """\
import importlib.abc
import importlib.machinery
import sys
import types

ABSENT = {"torch", "torchvision", "inference_models", "pycocotools", "skimage"}


class Absent(types.ModuleType):
    __path__ = []

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {})
        setattr(self, name, made)
        return made


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] not in ABSENT:
            return None
        return importlib.machinery.ModuleSpec(name, self, is_package=True)

    def create_module(self, spec):
        return Absent(spec.name)

    def exec_module(self, module):
        pass


sys.meta_path.append(Finder())  # after all others: what is there is taken
"""


class Missing(Exception):
    """There is none, and why."""


def _pip(python: Path, *words: str) -> None:
    argv = [python, "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*argv, *words],
            capture_output=True,
            text=True,
            timeout=INSTALL_S,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired as late:
        raise Missing(f"{PACKAGE} was not installed in {INSTALL_S:.0f} s") from late
    if done.returncode:
        raise Missing(f"{PACKAGE} cannot be installed: {done.stderr.strip()[-300:]}")


def _make(python: Path, stamp: Path) -> None:
    argv = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    subprocess.run(argv, check=True, capture_output=True)
    _pip(python, "--no-deps", PACKAGE)
    _pip(python, *NEEDED)
    [packages] = VENV.glob("lib/python3*/site-packages")
    (packages / "absent.py").write_text(ABSENT)
    (packages / "absent.pth").write_text("import absent\n")
    stamp.write_text(f"{PACKAGE} {' '.join(NEEDED)}\n")


def python() -> Path:
    """Made when it is first asked for."""
    given = os.environ.get("BF_ROBOFLOW")
    if given:
        return Path(given)
    found, stamp = VENV / "bin" / "python", VENV / "stamp"
    if not stamp.exists() or stamp.read_text() != f"{PACKAGE} {' '.join(NEEDED)}\n":
        _make(found, stamp)
    return found
