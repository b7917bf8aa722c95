"""bfwire against schemas/golden/, and against words of others."""

import base64
import json
import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "wire"))

import bfwire as w  # noqa: E402
import make_golden  # noqa: E402


class Golden(unittest.TestCase):
    def test_committed_files_are_what_bfwire_produces(self) -> None:
        for name in make_golden.FILES:
            with self.subTest(name):
                text = (make_golden.GOLDEN / f"{name}.json").read_text()
                self.assertTrue(
                    text == make_golden.document(name),
                    f"{name}.json differs: python tests/wire/make_golden.py",
                )

    def test_every_golden_file_has_a_generator(self) -> None:
        there = {path.stem for path in make_golden.GOLDEN.glob("*.json")}
        self.assertEqual(there, set(make_golden.FILES))

    def test_refused_cases_are_named_so(self) -> None:
        for name in make_golden.FILES:
            doc = json.loads((make_golden.GOLDEN / f"{name}.json").read_text())
            for case in doc["cases"]:
                refused = case["name"].startswith("refuse: ")
                self.assertEqual("error" in case["out"], refused, case["name"])


class OtherPeoplesVectors(unittest.TestCase):
    """What anyone can recompute without our code."""

    def test_frames_have_lengths(self) -> None:
        self.assertEqual(w.F("a", 10, b""), b"\0\0\0\1a\0\0\0\00210\0\0\0\0")

    def test_hashes_are_blake2b(self) -> None:
        # RFC 7693 appendix A has only the 64-byte digest; this is b2sum -l 128.
        self.assertEqual(w.h128(b"").hex(), "cae66941d9efbd404e4d88758ea67670")

    def test_code_hash_of_the_block_contract(self) -> None:
        code = 'def run(a, b):\n    return {"sum": a + b}\n'
        self.assertEqual(w.code_hash(code, []), "4468363b689be6b561105846d2fdaf99")
        self.assertEqual(
            w.code_hash(code, ["import re", "import math"]),
            "8c0f79ce50523d99e7af1cf17464374f",
        )

    def test_content_digest_of_rfc_9530(self) -> None:
        self.assertEqual(
            w.content_digest(b'{"hello": "world"}'),
            "sha-256=:X48E9qOokqqrvdts8nOJRJN3OWDUoyWxBf7kbu9DBPE=:",
        )

    def test_signature_base_of_rfc_9421_b_2_6(self) -> None:
        der = "MC4CAQAwBQYDK2VwBCIEIJ+DYvh6SEqVTm50DFtMDoQikTmiCqirVv9mWG9qfSnF"
        key = w.private_key(base64.b64decode(der)[-32:])
        components = [
            ("date", "Tue, 20 Apr 2021 02:07:55 GMT"),
            ("@method", "POST"),
            ("@path", "/foo"),
            ("@authority", "example.com"),
            ("content-type", "application/json"),
            ("content-length", "18"),
        ]
        params = (
            '("date" "@method" "@path" "@authority" "content-type" '
            '"content-length");created=1618884473;keyid="test-key-ed25519"'
        )
        signature = key.sign(w.http_base(components, params).encode())
        self.assertEqual(
            w.b64(signature),
            "wqcAqbmYJ2ji2glfAMaRy4gruYYnx2nEFN2HN6jrnDnQCK1u02Gb04v9EDgwUPiu4A0w6vuQ"
            "v5lIp5WPpBKRCw==",
        )

    def test_partition_by_hand(self) -> None:
        whole = int.from_bytes(w.h128(b"acme")[:8], "big")
        inside = int.from_bytes(w.h128(b"cam-1")[:8], "big") % 4
        self.assertEqual(
            w.partition_of("acme", b"cam-1", "job-1", 4, 12), (whole + inside) % 12
        )

    def test_our_json_is_jsons_json(self) -> None:
        text = "".join(map(chr, range(0x20, 0x300))) + "\u2028🎥"
        value = {"a": [1, "x\n\x1f", None, True], "b": {"c": text}}
        self.assertEqual(json.loads(w.dump(value)), value)
        self.assertEqual(w.dump("\x1f\b/\x7fé"), '"\\u001F\\b/\x7fé"')

    def test_times(self) -> None:
        for ms in (0, 1, 999, 951_782_400_000, 253_402_300_799_999):
            self.assertEqual(w.un_rfc3339(w.rfc3339(ms), "x"), ms)
        for bad in ("2026-02-29T00:00:00.000Z", "2026-01-01T00:00:60.000Z"):
            with self.assertRaises(w.WireError):
                w.un_rfc3339(bad, "x")

    def test_every_path_of_every_tree_leads_to_its_root(self) -> None:
        for count in range(1, w.MAX_TREE + 1):
            leaves = [bytes([n]) * 32 for n in range(count)]
            levels = w.tree_levels(leaves)
            for index, leaf in enumerate(leaves):
                path = w.tree_path(levels, index)
                root = w.tree_root(leaf, count, index, path)
                self.assertEqual(root, levels[-1][0])
                for wrong in (path[:-1], [*path, leaf]):
                    if wrong != path:
                        with self.assertRaises(w.WireError):
                            w.tree_root(leaf, count, index, wrong)


if __name__ == "__main__":
    unittest.main()
