"""Whether a worker signed a record of bf.usage: section 6 of PROTOCOL.md, alone.
Without it, whoever may write to the topic may write bills."""

import re
import time
from base64 import b64decode, urlsafe_b64decode
from hashlib import blake2b
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from usage import Headers, Refused, require


def F(*parts: bytes | str | int) -> bytes:
    data = [p if isinstance(p, bytes) else str(p).encode() for p in parts]
    return b"".join(len(d).to_bytes(4, "big") + d for d in data)


def H(data: bytes, size: int = 32) -> bytes:
    return blake2b(data, digest_size=size).digest()


def leaf(topic: str, at: int, key: bytes, value: bytes, headers: Headers) -> bytes:
    ours = [h for h in headers if re.match("(ce|bf|kafka)_|content-type$", h[0])]
    require(len(dict(ours)) == len(ours), "a covered header stands twice")
    covered = [part for h in ours if h[0] != "bf_signature" for part in h]
    return H(F("blockfleet/v1/leaf", "result", topic, at, key, 1, value, *covered))


class Keys:
    def __init__(self, trusted: Path) -> None:
        """The keys of purpose "result" in the file `trusted` of a keys.dir."""
        self.keys: dict[str, tuple[Ed25519PublicKey, list[str]]] = {}
        for words in map(str.split, trusted.read_text().splitlines()):
            if words[:2] == ["result", "ed25519"]:  # "revoked result ..." is not
                key = Ed25519PublicKey.from_public_bytes(raw := b64decode(words[2]))
                bound = [w[11:].split(",") for w in words if w[:11] == "workspaces="]
                self.keys[H(raw, 16).hex()[:16]] = key, sum(bound, [])

    def check(self, topic: str, at: int, key: bytes, value: bytes, h: Headers) -> None:
        """Refused says what is wrong with the signature."""
        try:
            node, text = leaf(topic, at, key, value, h), dict(h)["bf_signature"]
            v, purpose, kid, made, n, i, *data = text.decode().split(".")
            path, made_by = (urlsafe_b64decode(d + "=" * (-len(d) % 4)) for d in data)
            public, workspaces = self.keys[kid]
            require((v, purpose) == ("v1", "result"), f"signed as {purpose}")
            require(int(made) < (time.time() + 300) * 1000, "signed in the future")
            require(key.decode() in (workspaces or [key.decode()]), "not its workspace")
            width, index = int(n), int(i)
            while 1 < width <= 64:  # an odd last node is promoted as it is
                if index ^ 1 < width:
                    pair = (path[:32], node) if index % 2 else (node, path[:32])
                    node, path = H(F("blockfleet/v1/node", *pair)), path[32:]
                index, width = index // 2, (width + 1) // 2
            require((width, index, path) == (1, 0, b""), "the path is not of this leaf")
            public.verify(made_by, F("blockfleet/v1/root", purpose, kid, made, n, node))
        except (ValueError, KeyError, InvalidSignature) as error:
            raise Refused(f"signature: {error!r}") from None
