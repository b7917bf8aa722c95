"""Text that user code chose, made safe to pass on."""

from __future__ import annotations


def clean(text: str, max_bytes: int) -> str:
    """Valid UTF-8 of at most max_bytes, without lone surrogates and without NUL,
    which C programs and some JSON parsers cannot hold."""
    raw = text[:max_bytes].replace("\0", "\ufffd").encode("utf-8", "replace")
    return raw[:max_bytes].decode("utf-8", "ignore")


class Capture:
    """The first characters of a stream of bytes; the rest is only counted."""

    def __init__(self, max_chars: int) -> None:
        self._max_chars = max_chars
        self._kept = bytearray()
        self._seen = 0

    def add(self, data: bytes) -> None:
        # No character takes more than four bytes.
        room = self._max_chars * 4 - len(self._kept)
        if room > 0:
            self._kept += data[:room]
        self._seen += len(data)

    def text(self) -> tuple[str, bool]:
        """What was kept, and whether anything was lost."""
        text = self._kept.decode("utf-8", "replace").replace("\0", "\ufffd")
        lost = len(text) > self._max_chars or self._seen > len(self._kept)
        return text[: self._max_chars], lost
