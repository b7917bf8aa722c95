"""Signatures of forwarded runs, as a runner checks them; signed by the tests'
own code (tests/wire) and, for RFC 9421 itself, by the RFC's."""

import base64
import importlib
import json
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "wire")]

import bfwire as w  # noqa: E402
from bfrunner import keys as k  # noqa: E402
from bfrunner import verify as v  # noqa: E402

RUN, ZERO = "0f" * 16, "0" * 16
NOW = 1_795_266_000
TARGET = "https://acme--webexec.modal.run/?workspace_id=acme"
OURS, OTHER = w.private_key(b"r" * 32), w.private_key(b"s" * 32)
BODY = b'{"run_id": "%s", "workspace_id": "acme"}' % RUN.encode()


def line(key: object, before: str = "run", after: str = "") -> str:
    public = base64.b64encode(w.public_bytes(key)).decode()
    return f"{before} ed25519 {public} {after}".strip() + "\n"


def signed(
    body: bytes = BODY, key: object = OURS, **more: object
) -> list[tuple[str, str]]:
    fields = {
        "method": "POST",
        "target_uri": TARGET,
        "content_type": "application/json",
        "content_digest": w.content_digest(body),
        "run_id": RUN,
        "created_s": NOW,
        "expires_s": NOW + 50,
        "nonce": "ab" * 16,
        "key_id": w.key_id(w.public_bytes(key)),
        **more,
    }
    said, signature = w.http_sign(w.HttpMessage(**fields), key)
    return [
        ("Content-Type", fields["content_type"]),
        ("Content-Digest", fields["content_digest"]),
        ("Idempotency-Key", f'"{fields["run_id"]}"'),
        ("Signature-Input", said),
        ("Signature", signature),
        ("Host", "acme--webexec.modal.run"),
    ]


class Base(unittest.TestCase):
    def setUp(self) -> None:
        self.now = float(NOW)
        self.verifier = self.verify_with(line(OURS))

    def verify_with(self, text: str, **options: object) -> v.Verifier:
        return v.Verifier(k.Keys(text=text), clock=lambda: self.now, **options)

    def check(self, headers: list, body: bytes = BODY, target: str = TARGET) -> object:
        return self.verifier.check("POST", [target], headers, body)

    def refuse(self, code: str, headers: list, *rest: object) -> None:
        with self.assertRaises(v.Refused) as caught:
            self.check(headers, *rest)
        self.assertEqual(caught.exception.code, code, str(caught.exception))


class OfTheRfc(unittest.TestCase):
    """RFC 9421 B.2.6."""

    parts = (
        ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
        ("@method", "POST"),
        ("@path", "/foo"),
        ("@authority", "example.com"),
        ("content-type", "application/json"),
        ("content-length", "18"),
    )
    params = (
        '("date" "@method" "@path" "@authority" "content-type" "content-length")'
        ';created=1618884473;keyid="test-key-ed25519"'
    )
    public = base64.b64decode(
        "MCowBQYDK2VwAyEAJrQLj5P/89iXES9+vFgrIy29clF9CC/oPPsw3c5D0bs="
    )[-32:]
    signature = base64.b64decode(
        "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQ"
        "v5lIp5WPpBKRCw=="
    )

    def test_vector(self) -> None:
        base = v.signature_base(self.parts, self.params)
        for make in (v._by_cryptography, v._by_nacl):
            with self.subTest(make.__name__):
                verify = make()
                self.assertTrue(verify(self.public, self.signature, base))
                self.assertFalse(verify(self.public, self.signature, base + b" "))
                self.assertFalse(verify(bytes(32), self.signature, base))
                self.assertFalse(verify(b"short", self.signature, base))
                flipped = bytes([self.signature[0] ^ 1]) + self.signature[1:]
                self.assertFalse(verify(self.public, flipped, base))

    def test_without_a_library_it_says_so(self) -> None:
        def absent(name: str) -> object:
            raise ImportError(name)

        with mock.patch.object(importlib, "import_module", absent):
            with self.assertRaisesRegex(v.NoEd25519, "cryptography"):
                v.ed25519()


class Requests(Base):
    def test_good(self) -> None:
        said = self.check(signed())
        self.assertEqual((said.run_id, said.expires_s), (RUN, NOW + 50))
        self.assertEqual(said.key.id, w.key_id(w.public_bytes(OURS)))
        self.verifier.bind(said, {"run_id": RUN, "workspace_id": "acme"}, "acme")

    def test_any_of_several_targets(self) -> None:
        plain = TARGET.replace("https", "http")
        self.verifier.check("POST", [plain, TARGET], signed(), BODY)
        self.refuse("bad_signature", signed(), BODY, plain)

    def test_each_part_is_covered(self) -> None:
        good = dict(signed(nonce="cd" * 16))
        body = BODY.replace(b"acme", b"evil")
        digest = w.content_digest(body)
        said = good["Signature-Input"]
        changes = {
            "type": ("bad_signature", {"Content-Type": "text/plain"}),
            "digest": ("bad_signature", {"Content-Digest": digest}),
            "run": ("bad_signature", {"Idempotency-Key": f'"{"1f" * 16}"'}),
            "created": (
                "bad_signature",
                {"Signature-Input": said.replace(f"d={NOW}", f"d={NOW - 1}")},
            ),
            "expires": (
                "bad_signature",
                {"Signature-Input": said.replace(f"s={NOW + 50}", f"s={NOW + 51}")},
            ),
            "nonce": (
                "bad_signature",
                {"Signature-Input": said.replace("cdcd", "cdce", 1)},
            ),
            "key": (
                "unknown_key",
                {"Signature-Input": said.replace(w.key_id(w.public_bytes(OURS)), ZERO)},
            ),
            "fewer parts": (
                "bad_header",
                {"Signature-Input": said.replace(' "idempotency-key"', "")},
            ),
            "more parts": (
                "bad_header",
                {"Signature-Input": said.replace('"@method"', '"@method" "host"')},
            ),
            "another algorithm": (
                "bad_header",
                {"Signature-Input": said.replace("ed25519", "hmac-sha256")},
            ),
            "two signatures": ("bad_header", {"Signature-Input": f"{said}, {said}"}),
            "no signature": ("bad_header", {"Signature": "bf=::"}),
            "another signature": (
                "bad_signature",
                {"Signature": dict(signed(nonce="ce" * 16))["Signature"]},
            ),
        }
        for name, (code, change) in changes.items():
            with self.subTest(name):
                self.refuse(code, list({**good, **change}.items()))
        self.refuse("bad_signature", list(good.items()), BODY, TARGET + "2")
        with self.assertRaises(v.Refused):
            self.verifier.check("PUT", [TARGET], good.items(), BODY)
        self.refuse("bad_digest", list(good.items()), BODY + b" ")
        # None of these used the nonce up.
        self.check(list(good.items()))

    def test_no_character_can_be_changed(self) -> None:
        good = signed()[:5]
        for i, (name, value) in enumerate(good):
            for at, old in enumerate(value):
                for new in {"0", "A", '"', chr(ord(old) ^ 1)} - {old}:
                    changed = value[:at] + new + value[at + 1 :]
                    headers = [*good[:i], (name, changed), *good[i + 1 :]]
                    with self.assertRaises(v.Refused, msg=f"{name}: {changed}"):
                        self.verifier.head("POST", [TARGET], headers)
        self.check(good)

    def test_missing_and_doubled_headers(self) -> None:
        good = signed()
        for name, value in good[:5]:
            with self.subTest(name):
                rest = [pair for pair in good if pair[0] != name]
                self.refuse("unsigned", rest)
                self.refuse("duplicate_header", [*good, (name.lower(), value)])
                self.refuse("bad_header", [*rest, (name, value + "x" * 100_000)])
                self.refuse("bad_header", [*rest, (name, value[:9] + "\n")])
                self.refuse("bad_header", [*rest, (name, "é")])
        self.refuse("unsigned", [])

    def test_a_target_of_two_lines(self) -> None:
        evil = TARGET + '\n"content-type": text/plain'
        self.refuse("bad_signature", signed(), BODY, evil)

    def test_replay(self) -> None:
        self.check(signed())
        self.refuse("replayed", signed())
        self.check(signed(nonce="ac" * 16))
        self.now = NOW + 50 + v.SKEW_S
        self.refuse("replayed", signed())
        self.now += 1
        self.refuse("expired", signed())

    def test_a_body_that_comes_when_nobody_remembers(self) -> None:
        self.check(signed())
        self.now = NOW + 50 + v.SKEW_S
        known = self.verifier.head("POST", [TARGET], signed())
        self.now += 1
        with self.assertRaisesRegex(v.Refused, "expired"):
            self.verifier.body(known, BODY)

    def test_clocks(self) -> None:
        late = {"created_s": NOW - 500, "expires_s": NOW - v.SKEW_S}
        self.check(signed(nonce="01" * 16, **late))
        late["expires_s"] -= 1
        self.refuse("expired", signed(**late))
        ahead = {"created_s": NOW + v.SKEW_S, "expires_s": NOW + v.SKEW_S + 9}
        self.check(signed(nonce="02" * 16, **ahead))
        ahead["created_s"] += 1
        self.refuse("not_yet", signed(**ahead))
        long = {"expires_s": NOW + v.LONGEST_S}
        self.check(signed(nonce="03" * 16, **long))
        long["expires_s"] += 1
        self.refuse("bad_expiry", signed(**long))

    def test_memory_of_nonces_is_bounded(self) -> None:
        self.verifier = self.verify_with(line(OURS), max_nonces=10)
        for i in range(10):
            self.check(signed(nonce=f"{i:032x}"))
        with self.assertRaises(v.Full):
            self.check(signed(nonce=f"{10:032x}"))
        self.refuse("replayed", signed(nonce=f"{3:032x}"))
        self.now = NOW + 60 + v.SKEW_S
        fresh = {"created_s": NOW + 100, "expires_s": NOW + 150}
        self.check(signed(nonce=f"{10:032x}", **fresh))
        self.assertEqual(len(self.verifier._nonces), 1)
        self.assertEqual(len(self.verifier._expiries), 1)

    def test_one_of_many_at_once(self) -> None:
        """The same request on many threads runs once."""
        outcomes: list[str] = []
        start = threading.Barrier(8)

        def one() -> None:
            start.wait()
            try:
                self.check(signed())
                outcomes.append("ran")
            except v.Refused as refused:
                outcomes.append(refused.code)

        threads = [threading.Thread(target=one) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(outcomes), ["ran"] + ["replayed"] * 7)

    def test_what_is_inside(self) -> None:
        self.verifier = self.verify_with(line(OURS, after="workspaces=acme,b note"))
        said = self.check(signed())
        ok = {"run_id": RUN, "workspace_id": "b"}
        self.verifier.bind(said, ok)
        for code, inside, only in [
            ("wrong_run", {**ok, "run_id": "1f" * 16}, None),
            ("wrong_run", {"workspace_id": "b"}, None),
            ("wrong_run", [], None),
            ("wrong_workspace", {**ok, "workspace_id": "c"}, None),
            ("wrong_workspace", {**ok, "workspace_id": ["b"]}, None),
            ("wrong_workspace", ok, "acme"),
        ]:
            with self.subTest(inside=inside, only=only):
                with self.assertRaises(v.Refused) as caught:
                    self.verifier.bind(said, inside, only)
                self.assertEqual(caught.exception.code, code)

    def test_goldens(self) -> None:
        """What the worker's own code signs is accepted."""
        golden = ROOT / "schemas" / "golden" / "httpsig.json"
        checked = 0
        for case in json.loads(golden.read_text())["cases"]:
            if not case["name"].startswith("sign:") or "base" not in case["out"]:
                continue
            said, out = case["in"]["message"], case["out"]
            seed = w.private_key(bytes.fromhex(case["in"]["seed_hex"]))
            self.verifier = self.verify_with(line(seed))
            self.now = said["created_s"]
            headers = [
                ("content-type", said["content_type"]),
                ("content-digest", said["content_digest"]),
                ("idempotency-key", f'"{said["run_id"]}"'),
                ("signature-input", out["signature_input"]),
                ("signature", out["signature"]),
            ]
            with self.subTest(case["name"]):
                found = self.verifier.head(
                    said["method"], [said["target_uri"]], headers
                )
                self.assertEqual(found.run_id, said["run_id"])
                checked += 1
        self.assertGreater(checked, 2)


class WhoIsTrusted(Base):
    def test_two_keys_and_a_rotation(self) -> None:
        """Between the two, both are taken: no run is lost."""
        self.verifier = self.verify_with(line(OURS) + line(OTHER, after="new"))
        self.check(signed())
        self.check(signed(key=OTHER, nonce="02" * 16))

    def test_a_file_that_changes(self) -> None:
        folder = self.enterContext(tempfile.TemporaryDirectory())
        path = Path(folder) / "keys"
        path.write_text(line(OURS))
        told: list[str] = []
        keys = k.Keys(path=path, told=told.append)
        self.verifier = v.Verifier(keys, clock=lambda: self.now)
        self.refuse("unknown_key", signed(key=OTHER))
        for text, seen in [
            ("nonsense\n", "stay as they were"),
            (line(OURS, "revoked run") + line(OTHER), "1 keys"),
        ]:
            path.write_text(text)
            end = time.monotonic() + 30
            while not any(seen in said for said in told):
                self.assertLess(time.monotonic(), end, told)
                keys._looked_ns = 0  # its next look is due
                len(keys)
        self.refuse("unknown_key", signed())
        self.check(signed(key=OTHER))

    def test_lines(self) -> None:
        mine = w.key_id(w.public_bytes(OURS))
        text = "# a comment\n\n\t" + line(OURS, after="of the fleet in März")
        text += line(OTHER, "job") + line(w.private_key(b"t" * 32), "revoked run")
        self.assertEqual(list(k.parse(text)), [mine])
        self.assertIsNone(k.parse(text)[mine].workspaces)
        for bad in [
            "run",
            "run rsa AAAA",
            "run ed25519 AAAA",
            "run ed25519 !!!!",
            "walk " + line(OURS, "").strip(),
            line(OURS, after="workspace=a"),
            line(OURS, after="workspaces="),
            line(OURS, after="workspaces=a,"),
            line(OURS) + line(OURS, "revoked run"),
            "#" * (k.MAX_BYTES + 1),
        ]:
            with self.subTest(bad[:60]), self.assertRaises(k.BadKeys):
                k.parse(bad)

    def test_environment(self) -> None:
        both = line(OURS).strip() + ";" + line(OTHER).strip()
        found = k.from_environment({"BLOCKFLEET_RUN_KEYS": both})
        self.assertEqual(len(found or ""), 2)
        self.assertIsNone(k.from_environment({}))
        with tempfile.NamedTemporaryFile("w", suffix=".keys") as file:
            file.write(line(OURS))
            file.flush()
            named = {"BLOCKFLEET_RUN_KEYS": f"@{file.name}"}
            self.assertEqual(len(k.from_environment(named) or ""), 1)
        with self.assertRaises(k.BadKeys):
            k.Keys()


if __name__ == "__main__":
    unittest.main()
