"""Who may ask for runs: public keys of purpose run, as `blockfleet keys public`
prints them (config/keys.h has the format of a line)."""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
import re
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

MAX_BYTES = 1 << 20
MAX_KEYS = 4096
ENVIRONMENT = "BLOCKFLEET_RUN_KEYS"

_PURPOSES = ("job", "control", "state", "result", "run")
_WORKSPACE = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LOOK_NS = 1_000_000_000
_CALM_NS = 10_000_000


class BadKeys(ValueError):
    """What is wrong in a text of keys; no key material."""


@dataclass(frozen=True)
class Key:
    id: str
    public: bytes
    workspaces: frozenset[str] | None = None  # None: all

    def speaks_for(self, workspace: str) -> bool:
        return self.workspaces is None or workspace in self.workspaces


def key_id(public: bytes) -> str:
    return hashlib.blake2b(public, digest_size=16).hexdigest()[:16]


def parse(text: str) -> dict[str, Key]:
    """The keys of purpose run by id, those revoked left out; BadKeys."""
    if len(text) > MAX_BYTES:
        raise BadKeys(f"keys: over {MAX_BYTES} bytes")
    found: dict[str, Key] = {}
    seen: set[bytes] = set()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        purpose, revoked, key = _line(line.split(), number)
        if key.public in seen:
            raise BadKeys(f"keys:{number}: this key came before")
        seen.add(key.public)
        if len(seen) > MAX_KEYS:
            raise BadKeys(f"keys:{number}: over {MAX_KEYS} keys")
        if purpose == "run" and not revoked:
            found[key.id] = key
    return found


def _line(words: list[str], number: int) -> tuple[str, bool, Key]:
    revoked = words[0] == "revoked"
    words = words[revoked:]
    if len(words) < 3 or words[0] not in _PURPOSES or words[1] != "ed25519":
        raise BadKeys(f"keys:{number}: not `<purpose> ed25519 <key> …`")
    try:
        public = base64.b64decode(words[2], validate=True)
    except (binascii.Error, ValueError):
        public = b""
    if len(public) != 32:
        raise BadKeys(f"keys:{number}: a public key is 32 bytes in base64")
    return words[0], revoked, Key(key_id(public), public, _bound(words[3:], number))


def _bound(rest: list[str], number: int) -> frozenset[str] | None:
    if not rest or "=" not in rest[0]:
        return None
    name, _, value = rest[0].partition("=")
    names = value.split(",")
    # "workspace=a" as a comment would trust the key for all of them.
    if name != "workspaces" or not all(map(_WORKSPACE.fullmatch, names)):
        raise BadKeys(f"keys:{number}: expected workspaces=a,b or a comment")
    return frozenset(names)


@dataclass
class Keys:
    """The keys now.  Those of a file are read again when it changes, once it
    has been left alone for a moment; a file that is wrong changes nothing."""

    path: Path | None = None
    text: str | None = None
    told: Callable[[str], None] = lambda _: None
    _keys: dict[str, Key] = field(default_factory=dict)
    _stamp: tuple[int, ...] = ()
    _looked_ns: int = 0

    def __post_init__(self) -> None:
        if (self.path is None) == (self.text is None):
            raise BadKeys("either a file of keys or their text")
        if self.path is not None:
            self._stamp, text = _read(self.path)
        else:
            text = self.text or ""
        self._keys = parse(text)
        self._looked_ns = time.monotonic_ns()

    def __len__(self) -> int:
        self._look()
        return len(self._keys)

    def get(self, key_id: str) -> Key | None:
        self._look()
        return self._keys.get(key_id)

    def ids(self) -> Iterable[str]:
        return self._keys.keys()

    def _look(self) -> None:
        now = time.monotonic_ns()
        if self.path is None or now - self._looked_ns < _LOOK_NS:
            return
        self._looked_ns = now
        try:
            stamp = _stamp(os.stat(self.path))
            if stamp == self._stamp or time.time_ns() - stamp[2] < _CALM_NS:
                return
            stamp, text = _read(self.path)
            keys = parse(text)
        except (OSError, ValueError) as error:
            self.told(f"keys stay as they were: {error}")
            return
        self._stamp, self._keys = stamp, keys
        self.told(f"{len(keys)} keys")


def _stamp(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size


def _read(path: Path) -> tuple[tuple[int, ...], str]:
    with path.open("rb") as file:
        stamp = _stamp(os.fstat(file.fileno()))
        raw = file.read(MAX_BYTES + 1)
    # Comments are people's, in any encoding.
    return stamp, raw.decode("utf-8", "replace")


def from_environment(
    environment: Mapping[str, str] = os.environ,
    told: Callable[[str], None] = lambda _: None,
) -> Keys | None:
    """BLOCKFLEET_RUN_KEYS: lines, which may be separated by `;`, or `@path`."""
    given = environment.get(ENVIRONMENT, "").strip()
    if not given:
        return None
    if given.startswith("@"):
        return Keys(path=Path(given[1:]), told=told)
    return Keys(text=given.replace(";", "\n"), told=told)
