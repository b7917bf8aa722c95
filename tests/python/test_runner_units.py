"""The runner's pure parts: frames, text, code cache, shared area, verdicts."""

from __future__ import annotations

import json
import os
import signal
import sys
import tempfile
import unittest
from datetime import date, datetime, timezone
from enum import Enum
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "worker" / "runner"), str(ROOT / "tests" / "runner")]

from bfrunner import area, codec, frames, kinds, verdict  # noqa: E402
from bfrunner.cache import CodeCache  # noqa: E402
from bfrunner.cli import main, read_block  # noqa: E402
from bfrunner.text import Capture, clean  # noqa: E402
from support import Code, procs  # noqa: E402


class FrameTest(unittest.TestCase):
    FRAMES = (({"a": "\u20ac"}, b""), ({"b": 1}, b"x" * 100), ({}, b"y"))

    def test_any_cut_gives_the_same_frames(self) -> None:
        raw = b"".join(b"".join(frames.pack(*frame)) for frame in self.FRAMES)
        for step in (1, 3, 7, 64, len(raw)):
            reader = frames.Reader(1000)
            found = []
            for at in range(0, len(raw), step):
                found += list(reader.feed(raw[at : at + step]))
            self.assertEqual(found, [(h, bytearray(b)) for h, b in self.FRAMES])

    def test_a_body_over_the_ceiling_is_passed_over(self) -> None:
        reader = frames.Reader(99)
        raw = b"".join(b"".join(frames.pack(*frame)) for frame in self.FRAMES)
        self.assertEqual([body for _, body in reader.feed(raw)], [b"", None, b"y"])

    def test_heads_that_are_refused(self) -> None:
        for length, text in ((3 << 20, b""), (1, b"{"), (2, b"[]"), (0, b"")):
            raw = frames.PREFIX.pack(length, 0) + text
            with self.assertRaises(frames.ProtocolError):
                list(frames.Reader(9).feed(raw))


class TextTest(unittest.TestCase):
    def test_clean_cuts_between_characters(self) -> None:
        self.assertEqual(clean("a\u20ac\u20ac", 4), "a\u20ac")
        self.assertEqual(clean("a\u20ac\u20ac", 6), "a\u20ac")
        self.assertEqual(clean("a\0\ud800", 99), "a\ufffd?")

    def test_capture_counts_characters_and_knows_what_it_lost(self) -> None:
        capture = Capture(4)
        for piece in (b"a\xe2", b"\x82\xac", b"bc"):
            capture.add(piece)
        self.assertEqual(capture.text(), ("a\u20acbc", False))
        capture.add(b"d")
        self.assertEqual(capture.text(), ("a\u20acbc", True))
        for _ in range(99):
            capture.add(b"e" * 99)
        self.assertEqual(capture.text(), ("a\u20acbc", True))


class CacheTest(unittest.TestCase):
    def keys(self, cache: CodeCache, *names: str) -> list[bool]:
        return [cache.get(("w", name, "")) is not None for name in names]

    def test_the_least_recently_used_goes_first(self) -> None:
        cache = CodeCache(2, 1000)
        for name in "ab":
            cache.put(("w", name, ""), Code("x"))
        cache.get(("w", "a", ""))
        cache.put(("w", "c", ""), Code("x"))
        self.assertEqual(self.keys(cache, "a", "b", "c"), [True, False, True])

    def test_the_size_is_bounded(self) -> None:
        cache = CodeCache(99, 10)
        for name in "abc":
            cache.put(("w", name, ""), Code("x" * 4))
            cache.put(("w", name, ""), Code("x" * 4))
        self.assertEqual(self.keys(cache, "a", "b", "c"), [False, True, True])
        cache.put(("w", "d", ""), Code("x" * 99))
        self.assertEqual(self.keys(cache, "b", "c", "d"), [False, False, True])


class AreaTest(unittest.TestCase):
    def setUp(self) -> None:
        self.fd = area.create({"n": 1}, b"inputs", 100)
        self.addCleanup(os.close, self.fd)
        self.mapped = area.Mapped(self.fd)

    def test_there_and_back(self) -> None:
        self.assertEqual(self.mapped.request(), ({"n": 1}, b"inputs"))
        self.assertFalse(area.read(self.fd, 100).entered)
        self.mapped.enter()
        self.mapped.begin(5)
        half = area.read(self.fd, 100)
        self.assertEqual((half.entered, half.began_ns, half.report), (True, 5, None))
        self.mapped.answer({"success": True}, b"r" * 100)
        answer = area.read(self.fd, 100)
        self.assertEqual(
            (answer.report, answer.result), ({"success": True}, b"r" * 100)
        )

    def test_nothing_in_it_is_trusted(self) -> None:
        self.mapped.answer({"success": True}, b"r" * 100)
        self.assertIsNone(area.read(self.fd, 99).report)
        for report in (b"[]", b"{", b"\xff", b"[" * 999):
            self.mapped.answer({"success": True}, b"")
            raw = b" " * 999
            os.pwrite(self.fd, report + raw[: 999 - len(report)], 64)
            os.pwrite(self.fd, (999).to_bytes(8, "little"), 40)
            self.assertIsNone(area.read(self.fd, 100).report)
        os.pwrite(self.fd, (2**63).to_bytes(8, "little"), 40)
        self.assertIsNone(area.read(self.fd, 100).report)


class VerdictTest(unittest.TestCase):
    def judge(self, report: object, **end: object) -> dict[str, object]:
        answer = area.Answer(True, 1, report, b"r")  # type: ignore[arg-type]
        return verdict.judge(answer, verdict.End(**end))[0]  # type: ignore[arg-type]

    def test_claims_are_checked(self) -> None:
        found = self.judge(
            {
                "success": 1,
                "reason": "deadline",
                "error": 5,
                "error_type": "x" * 999,
                "line_number": True,
                "function_name": [],
                "execution_time_seconds": float("nan"),
                "delivery": "did_not_run",
                "server_error": True,
            }
        )
        self.assertEqual(found["reason"], "user_error")
        self.assertEqual((found["success"], found["error"]), (False, ""))
        self.assertEqual(len(found["error_type"]), 256)  # type: ignore[arg-type]
        for name in ("line_number", "function_name", "execution_time_seconds"):
            self.assertIsNone(found[name])
        self.assertNotIn("delivery", found)
        self.assertNotIn("server_error", found)

    def test_an_answer_wins_over_a_deadline_but_not_over_a_kill(self) -> None:
        good = {"success": True, "execution_time_seconds": 1}
        self.assertTrue(self.judge(good, cause="deadline", status=9)["success"])
        self.assertFalse(self.judge(good, cause="killed", status=9)["success"])

    def test_cpu_limit(self) -> None:
        for status, cpu, limit, reason in (
            (signal.SIGXCPU, 0, 1, "cpu_limit"),
            (signal.SIGXCPU, 0, 0, "crashed"),
            (signal.SIGKILL, 2, 1, "cpu_limit"),
            (signal.SIGKILL, 0.5, 1, "crashed"),
            (0, 2, 1, "crashed"),
            (None, 2, 1, "crashed"),
        ):
            found = self.judge(None, status=status, cpu_seconds=cpu, cpu_limit=limit)
            self.assertEqual(found["reason"], reason)


class Colour(Enum):
    RED = "red"


class CodecTest(unittest.TestCase):
    """What needs nothing but the standard library."""

    def there(self, value: object) -> object:
        return json.loads(codec.encode_result(value))

    def back(self, tag: object) -> object:
        return codec.decode_inputs(json.dumps({"x": tag}).encode())["x"]

    def test_plain_values_are_as_json_has_them(self) -> None:
        value = {"a": [1, 2**63, 10**40, 1.5, True, None, "\u20ac\0\ud800"], "1": {}}
        raw = json.dumps(value).encode()
        self.assertEqual(codec.encode_result(codec.decode_inputs(raw)), raw)

    def test_nan_and_infinities_stand_bare(self) -> None:
        raw = b'{"a": [NaN, Infinity, -Infinity]}'
        self.assertEqual(codec.encode_result(codec.decode_inputs(raw)), raw)

    def test_tags_of_values(self) -> None:
        for tag, value in (
            (
                {"_type": "datetime", "value": "2026-01-02T03:04:05.000006+00:00"},
                datetime(2026, 1, 2, 3, 4, 5, 6, timezone.utc),  # noqa: UP017
            ),
            ({"_type": "bytes", "value": "AP8="}, b"\0\xff"),
        ):
            self.assertEqual(self.back(tag), value)
            self.assertEqual(self.there(value), tag)

    def test_tags_are_found_at_any_depth(self) -> None:
        tag = {"_type": "bytes", "value": "YQ=="}
        self.assertEqual(self.back([{"k": [tag]}]), [{"k": [b"a"]}])
        self.assertEqual(self.there([{"k": (b"a",)}]), [{"k": [tag]}])

    def test_an_unknown_tag_is_a_dict(self) -> None:
        tag = {"_type": "other", "v": {"_type": "bytes", "value": "YQ=="}}
        self.assertEqual(self.back(tag), {"_type": "other", "v": b"a"})
        self.assertEqual(self.back({"_type": ["x"]}), {"_type": ["x"]})

    def test_batches_come_in_and_leave_as_lists(self) -> None:
        tag = {
            "_type": "batch",
            "value": [1, {"_type": "bytes", "value": "YQ=="}],
            "indices": [[0], [1]],
        }
        batch = self.back(tag)
        self.assertIsInstance(batch, kinds.Batch)
        self.assertEqual((list(batch), batch.indices), ([1, b"a"], [(0,), (1,)]))
        self.assertEqual(self.there({"b": batch})["b"][0], 1)
        self.assertIsNone(self.back({**tag, "indices": None}).indices)
        nested = self.back({"_type": "batch", "value": [tag], "indices": [[0]]})
        self.assertEqual(nested[0][1], b"a")

    def test_objects_become_their_text(self) -> None:
        self.assertEqual(
            self.back({"_type": "object", "class": "C", "value": "v"}), "v"
        )
        self.assertEqual(
            self.there(SimpleNamespace(a=1)),
            {"_type": "object", "class": "SimpleNamespace", "value": "namespace(a=1)"},
        )
        self.assertEqual(self.there(1 + 2j)["value"], "(1+2j)")

    def test_what_the_engine_would_refuse_is_converted(self) -> None:
        self.assertEqual(self.there({3, 1, 2}), [1, 2, 3])
        self.assertEqual(sorted(map(str, self.there({1, "a"}))), ["1", "a"])
        self.assertEqual(self.there(date(2026, 1, 2)), "2026-01-02")
        self.assertEqual(self.there([range(2), (1,), Colour.RED]), [[0, 1], [1], "red"])
        self.assertEqual(
            self.there({1: 1, None: 2, (1, 2): 3}), {"1": 1, "null": 2, "(1, 2)": 3}
        )

    def test_video_metadata_there_and_back(self) -> None:
        tag = {
            "_type": "video_metadata",
            "video_identifier": "v",
            "frame_number": 3,
            "frame_timestamp": {"_type": "datetime", "value": "2026-01-02T03:04:05"},
            "fps": 30.0,
            "measured_fps": None,
            "comes_from_video_file": True,
        }
        found = self.back(tag)
        self.assertEqual(found.frame_timestamp.year, 2026)
        self.assertEqual(self.there(found), tag)
        stamp = {**tag, "frame_timestamp": "2026-01-02T03:04:05"}
        self.assertEqual(self.back(stamp), found)

    def test_an_image_that_is_only_passed_along_keeps_its_bytes(self) -> None:
        for extra in (
            {},
            {"video_metadata": None},
            {
                "parent_id": "crop",
                "parent_origin": _origin(1, 2),
                "root_parent_id": "image",
                "root_parent_origin": _origin(3, 4),
            },
        ):
            tag = {"_type": "workflow_image", "type": "base64", "value": "AAAA"}
            expected = tag | {k: v for k, v in extra.items() if v is not None}
            self.assertEqual(self.there(self.back(tag | extra)), expected)
        legacy = self.back({"type": "base64", "value": "AAAA"})
        self.assertIsInstance(legacy, kinds.WorkflowImageData)

    def test_references_are_not_followed(self) -> None:
        for value in ("http://localhost/x", "https://localhost/x"):
            with self.assertRaises(codec.InputError):
                self.back({"_type": "workflow_image", "value": value})

    def test_tags_that_do_not_decode(self) -> None:
        for tag in (
            {"_type": "datetime", "value": "nope"},
            {"_type": "datetime"},
            {"_type": "bytes", "value": 5},
            {"_type": "batch"},
            {"_type": "video_metadata"},
        ):
            with self.assertRaises(codec.InputError):
                self.back(tag)


def _origin(x: int, y: int) -> dict[str, int]:
    return {"offset_x": x, "offset_y": y, "width": 10, "height": 20}


class ProcsTest(unittest.TestCase):
    def test_both_ways_of_finding_children_agree(self) -> None:
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.read(read, 1)
            os._exit(0)
        try:
            self.assertEqual(procs.stat(pid)[1], os.getpid())
            self.assertIn(pid, procs._children_by_scan(os.getpid()))
            self.assertIn(pid, procs.children(os.getpid()))
        finally:
            os.write(write, b"x")
            os.waitpid(pid, 0)
            os.close(read)
            os.close(write)
        self.assertEqual(procs.stat(pid), ("", 0))


class CliTest(unittest.TestCase):
    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.block = Path(directory.name) / "block.json"

    def test_blocks_are_checked(self) -> None:
        for block in ([], {}, {"run_function_code": 1}, {"other": 1}):
            self.block.write_text(json.dumps(block))
            with self.assertRaises(ValueError):
                read_block(self.block)
        self.assertEqual(main(["run", "--block", str(self.block)]), 2)

    def test_a_block_is_run(self) -> None:
        code = "def go(self):\n    return self._init_results\n"
        block = {
            "run_function_code": code,
            "run_function_name": "go",
            "init_function_code": "def init():\n    return {'a': math.pi > 3}\n",
            "imports": ["import math"],
        }
        self.block.write_text(json.dumps(block))
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            os.dup2(write, 1)
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            sys.stdout = open(1, "w", closefd=False)
            status = main(["run", "--block", str(self.block)])
            sys.stdout.flush()
            os._exit(status)
        os.close(write)
        with open(read, "rb") as output:
            self.assertEqual(output.read(), b'{"a": true}\n')
        self.assertEqual(os.waitpid(pid, 0)[1], 0)


if __name__ == "__main__":
    unittest.main()
