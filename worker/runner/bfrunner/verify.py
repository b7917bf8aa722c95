"""Is this request for a run from a worker that we trust, for us, new, and whole?

RFC 9421 (ed25519) over RFC 9530, of exactly the components that PROTOCOL.md §9
names.  Two steps, so that nothing of a stranger's is read beyond its headers:
`head` before the body, `body` when it is here; `bind` when it is parsed.

Ed25519 comes from `cryptography`, or from PyNaCl.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import hmac
import importlib
import re
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from bfrunner.keys import Key, Keys

SKEW_S = 60  # how far clocks may be apart
LONGEST_S = 86_400 + 3_600  # of a run of a day
MAX_NONCES = 200_000
MAX_VALUE = 4096  # of a header that is signed, in characters

_COVERED = '("@method" "@target-uri" "content-type" "content-digest" "idempotency-key")'
_INPUT = re.compile(
    r"bf=(?P<params>" + re.escape(_COVERED) + r";created=(?P<created>[0-9]{1,12})"
    r";expires=(?P<expires>[0-9]{1,12});nonce=\"(?P<nonce>[0-9a-f]{16,128})\""
    r";keyid=\"(?P<key>[0-9a-f]{16})\";alg=\"ed25519\")"
)
_SIGNATURE = re.compile(r"bf=:(?P<value>[A-Za-z0-9+/]{86}==):")
_RUN = re.compile(r'"(?P<id>[0-9a-f]{32})"')
_DIGEST = re.compile(r"sha-256=:(?P<value>[A-Za-z0-9+/]{43}=):")
_PRINTABLE = re.compile(r"[\x20-\x7e]+")
_GRAPHIC = re.compile(r"[\x21-\x7e]+")

Headers = Iterable[tuple[str, str]]


class Refused(Exception):
    """Nothing of the request was run, and it is wrong: why, in a word first."""

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code


class Full(Exception):
    """So many requests in so short a time that replays could not be told."""


class NoEd25519(RuntimeError):
    """This Python cannot check a signature."""


@dataclass(frozen=True)
class Signed:
    """What a good signature says."""

    run_id: str
    key: Key
    nonce: str
    digest: bytes
    created_s: int
    expires_s: int


@dataclass
class Verifier:
    """For any number of threads; `clock` gives seconds since 1970."""

    keys: Keys
    clock: Callable[[], float] = time.time
    max_nonces: int = MAX_NONCES
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _nonces: set[str] = field(default_factory=set)
    _expiries: list[tuple[int, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._verify = ed25519()

    def head(self, method: str, targets: Sequence[str], headers: Headers) -> Signed:
        """The signature over the headers, and whether it is of now.  targets:
        what @target-uri may be, for the same request may look like several
        behind a proxy."""
        given = Given(headers)
        signed, params, signature = self._read(given)
        for target in targets:
            base = signature_base(
                [
                    ("@method", method),
                    ("@target-uri", _graphic(target)),
                    ("content-type", given.one("content-type")),
                    ("content-digest", given.one("content-digest")),
                    ("idempotency-key", given.one("idempotency-key")),
                ],
                params,
            )
            if self._verify(signed.key.public, signature, base):
                self._check_time(signed)
                return signed
        raise Refused("bad_signature", "not what this key signed")

    def body(self, signed: Signed, body: bytes | bytearray | memoryview) -> None:
        """It is the body that was signed, and comes for the first time, and
        while we would still know if it did not."""
        if not hmac.compare_digest(hashlib.sha256(body).digest(), signed.digest):
            raise Refused("bad_digest", "the body is not the one that was signed")
        self._check_time(signed)
        now = int(self.clock())
        with self._lock:
            self._forget(now)
            if signed.nonce in self._nonces:
                raise Refused("replayed", "this request came before")
            if len(self._nonces) >= self.max_nonces:
                raise Full(f"{self.max_nonces} requests that have not expired")
            self._nonces.add(signed.nonce)
            heapq.heappush(self._expiries, (signed.expires_s, signed.nonce))

    def bind(self, signed: Signed, request: Any, workspace: str | None = None) -> None:
        """What is inside is what the signature is for; workspace: the only one
        that is served here."""
        said = request if isinstance(request, dict) else {}
        if said.get("run_id") != signed.run_id:
            raise Refused("wrong_run", "run_id is not the one that was signed")
        asked = said.get("workspace_id")
        if not isinstance(asked, str) or not signed.key.speaks_for(asked):
            raise Refused("wrong_workspace", "this key does not speak for it")
        if workspace is not None and asked != workspace:
            raise Refused("wrong_workspace", "another workspace is served here")

    def check(
        self,
        method: str,
        targets: Sequence[str],
        headers: Headers,
        body: bytes | bytearray | memoryview,
    ) -> Signed:
        """head and body in one."""
        signed = self.head(method, targets, headers)
        self.body(signed, body)
        return signed

    def _read(self, given: Given) -> tuple[Signed, str, bytes]:
        said = given.match("signature-input", _INPUT)
        value = given.match("signature", _SIGNATURE)["value"]
        run = given.match("idempotency-key", _RUN)
        digest = given.match("content-digest", _DIGEST)["value"]
        key = self.keys.get(said["key"])
        if key is None:
            raise Refused("unknown_key", said["key"])
        signed = Signed(
            run["id"],
            key,
            said["nonce"],
            _unb64(digest),
            int(said["created"]),
            int(said["expires"]),
        )
        return signed, said["params"], _unb64(value)

    def _check_time(self, signed: Signed) -> None:
        now = self.clock()
        if signed.created_s > now + SKEW_S:
            raise Refused("not_yet", "signed in the future; do the clocks agree?")
        if signed.expires_s < now - SKEW_S:
            raise Refused("expired", "signed too long ago; do the clocks agree?")
        if not 0 <= signed.expires_s - signed.created_s <= LONGEST_S:
            raise Refused("bad_expiry", f"it must expire within {LONGEST_S} s")

    def _forget(self, now: int) -> None:
        while self._expiries and self._expiries[0][0] < now - SKEW_S:
            self._nonces.discard(heapq.heappop(self._expiries)[1])


class Given:
    """Headers by lower-case name; what is signed may not stand there twice."""

    def __init__(self, headers: Headers) -> None:
        self._values: dict[str, list[str]] = {}
        for name, value in headers:
            self._values.setdefault(name.lower(), []).append(value)

    def one(self, name: str) -> str:
        values = self._values.get(name, [])
        if not values:
            raise Refused("unsigned", f"no {name}")
        if len(values) > 1:
            raise Refused("duplicate_header", f"{name} twice")
        value = values[0].strip(" \t")
        if len(value) > MAX_VALUE or not _PRINTABLE.fullmatch(value):
            raise Refused("bad_header", f"{name} is too long, or no text")
        return value

    def match(self, name: str, pattern: re.Pattern[str]) -> re.Match[str]:
        found = pattern.fullmatch(self.one(name))
        if found is None:
            raise Refused("bad_header", f"{name} is not as it must be")
        return found


def signature_base(components: Sequence[tuple[str, str]], params: str) -> bytes:
    """RFC 9421 §2.5; params: the value of @signature-params."""
    lines = [f'"{name}": {value}' for name, value in components]
    return "\n".join([*lines, f'"@signature-params": {params}']).encode("ascii")


def _graphic(target: str) -> str:
    """A target that could end a line of the base is nobody's."""
    return target if _GRAPHIC.fullmatch(target) else ""


def _unb64(text: str) -> bytes:
    """Of one form alone: bits that nobody reads are no place to hide in."""
    try:
        raw = base64.b64decode(text, validate=True)
    except binascii.Error:
        raw = b""
    if base64.b64encode(raw).decode() != text:
        raise Refused("bad_header", "no base64, or not as it is written")
    return raw


def ed25519() -> Callable[[bytes, bytes, bytes], bool]:
    """(public key, signature, bytes) -> is it good?"""
    for make in (_by_cryptography, _by_nacl):
        try:
            return make()
        except ImportError:
            continue
    raise NoEd25519(
        "signatures cannot be checked: install the Python package "
        "`cryptography`, or PyNaCl"
    )


def _by_cryptography() -> Callable[[bytes, bytes, bytes], bool]:
    base = "cryptography.hazmat.primitives.asymmetric"
    public_key = importlib.import_module(f"{base}.ed25519").Ed25519PublicKey
    wrong = importlib.import_module("cryptography.exceptions").InvalidSignature

    def verify(public: bytes, signature: bytes, data: bytes) -> bool:
        try:
            public_key.from_public_bytes(public).verify(signature, data)
        except (wrong, ValueError):
            return False
        return True

    return verify


def _by_nacl() -> Callable[[bytes, bytes, bytes], bool]:
    verify_key = importlib.import_module("nacl.signing").VerifyKey
    wrong = importlib.import_module("nacl.exceptions").CryptoError

    def verify(public: bytes, signature: bytes, data: bytes) -> bool:
        try:
            verify_key(public).verify(data, signature)
        except (wrong, ValueError):
            return False
        return True

    return verify
