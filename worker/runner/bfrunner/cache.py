"""Code versions: what identifies one, and the bounded memory of them."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass


def code_hash(code: str, imports: Sequence[str]) -> str:
    """The `execute_block` cache key: a name, not a security boundary."""
    content = code + "\n" + "\n".join(imports)
    return hashlib.md5(
        content.encode("utf-8", "surrogatepass"), usedforsecurity=False
    ).hexdigest()


def init_hash(code: str | None, name: str) -> str:
    """Names init code, which the code hash does not cover; "" for none."""
    if not code:
        return ""
    content = f"{name}\0{code}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(content, digest_size=16).hexdigest()


@dataclass(frozen=True)
class Code:
    """One code version: all that is executed before `run` is called."""

    code: str
    imports: tuple[str, ...] = ()
    init: str | None = None
    init_name: str = "init"

    @property
    def hash(self) -> str:
        return code_hash(self.code, self.imports)

    @property
    def init_hash(self) -> str:
        return init_hash(self.init, self.init_name)

    @property
    def size(self) -> int:
        return len(self.code) + sum(map(len, self.imports)) + len(self.init or "")


Key = tuple[str, str, str]  # workspace, code hash, init hash


class CodeCache:
    """Least recently used code goes first; never over either ceiling, except
    that the newest entry always stays."""

    def __init__(self, max_versions: int, max_size: int) -> None:
        self._max_versions = max_versions
        self._max_size = max_size
        self._size = 0
        self._entries: OrderedDict[Key, Code] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, key: Key) -> Code | None:
        found = self._entries.get(key)
        if found is not None:
            self._entries.move_to_end(key)
        return found

    def put(self, key: Key, code: Code) -> None:
        old = self._entries.pop(key, None)
        if old is not None:
            self._size -= old.size
        self._entries[key] = code
        self._size += code.size
        while len(self._entries) > 1 and (
            len(self._entries) > self._max_versions or self._size > self._max_size
        ):
            _, gone = self._entries.popitem(last=False)
            self._size -= gone.size
