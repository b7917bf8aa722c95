"""What a newcomer does: a video through a fleet of real runners."""

import json
import os
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from harness import HANG_S, Cluster, wait_until
from harness.dist import cache_dir

ROOT = Path(__file__).resolve().parents[2]
DEMO = ROOT / "tests" / "demo"
sys.path.insert(0, str(DEMO))
from small_fleet import Fleet, State  # noqa: E402

BIN = Path(os.environ.get("BF_BIN_DIR", ROOT / "build/crash/bin"))
PYTHON = cache_dir() / "demo-venv" / "bin" / "python"
FRAMES = 30
NAMED = """
def run(self, image, frame, file):
    height, width = image.numpy_image.shape[:2]
    return {"file": file, "frame": frame, "width": width, "image": image}
"""
FAILING = """
def run(self, image, frame):
    if frame in (3, 4):
        raise ValueError(f"not {frame}")
    return {"frame": frame, "image": image}
"""
SEVERAL = """
def run(self, image, frame, skip=-1, short=-1):
    assert len(image) == len(frame)
    values = [
        {"frame": n, "seen": one.video_metadata.frame_number, "image": one}
        for one, n in zip(image, frame)
    ]
    for value in values:
        if value["frame"] == skip:
            del value["image"]
    return values[:-1] if short in frame else values
"""
# Over what the dispatcher keeps at hand: fetched from Kafka one by one.
LARGE = """
def run(self, image, frame, size):
    return {"frame": frame, "pad": "x" * size}
"""


def make_clip(path: Path) -> Path:
    source = f"testsrc=size=320x180:rate=10:duration={FRAMES // 10}"
    command = ["ffmpeg", "-v", "error", "-f", "lavfi", "-i", source, str(path)]
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
    return path


def count_frames(path: Path) -> int:
    command = ["ffprobe", "-v", "error", "-count_frames", "-of", "csv=p=0"]
    command += ["-show_entries", "stream=nb_read_frames", str(path)]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def color(path: Path) -> tuple[int, int, int]:
    """What an image is like as a whole: red, green, blue."""
    command = ["ffmpeg", "-v", "error", "-i", str(path), "-vf", "scale=1:1"]
    command += ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    red, green, blue = subprocess.run(
        command, check=True, stdout=subprocess.PIPE
    ).stdout
    return red, green, blue


class VideoTest(unittest.TestCase):
    """One fleet; every test has blocks, and so jobs, of its own."""

    slow = True

    @classmethod
    def setUpClass(cls) -> None:
        cls.folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.cluster = cls.enterClassContext(Cluster())
        cls.clip = make_clip(cls.folder / "clip.mp4")
        cls.fleet = Fleet(cls.folder / "fleet", BIN, PYTHON)
        cls.addClassCleanup(cls.fleet.stop)
        cls.fleet.configure(cls.cluster.bootstrap)
        cls.fleet.init_topics()
        cls.fleet.start_dispatcher()
        cls.fleet.start_workers(["one", "two"])

    def video(self, *words: str, status: int = 0, path: Path | None = None) -> str:
        """What it said; files are in the folder `out`."""
        path = path or self.clip
        command = self.fleet.command("video", str(path), "-w", "demo", *words)
        done = subprocess.run(
            [*command, "-o", str(self.out)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=HANG_S,
        )
        self.assertEqual(done.returncode, status, done.stdout)
        return done.stdout

    def setUp(self) -> None:
        self.out = self.folder / "out" / self.id()

    def block(self, code: str) -> str:
        path = self.out.with_suffix(".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(code)
        return str(path)

    def summary(self) -> dict:
        return json.loads((self.out / "summary.json").read_text())

    def results(self) -> list[dict]:
        lines = (self.out / "results.ndjson").read_text().splitlines()
        rows = [json.loads(line) for line in lines]
        for row in rows:
            row.pop("as_of")  # when it was asked for
        return rows

    def test_every_frame_once_in_order_and_never_again(self) -> None:
        words = ("-c", str(DEMO / "block.py"))
        before = self.usage()
        told = self.video(*words)
        self.assertRegex(told, rf"jobs +{FRAMES} succeeded\n")
        self.assertRegex(told, r"isolation +process\n")
        report = self.summary()
        self.assertEqual(sum(report["workers"].values()), FRAMES)
        self.assertEqual(len(report["workers"]), 2, report["workers"])
        self.assertEqual(report["images"], FRAMES)
        self.assertGreater(report["latency_ms"]["p50"], 0)
        self.assertLessEqual(report["latency_ms"]["p50"], report["latency_ms"]["p99"])
        rows = self.results()
        self.assertEqual([row["batch_index"] for row in rows], list(range(FRAMES)))
        # It looked at the pixels: the test picture has a lot to find.
        values = [json.loads(row["result"]) for row in rows]
        self.assertTrue(all(value["count"] > 3 for value in values), told)
        self.assertTrue(all(40 < value["mean_luma"] < 220 for value in values))
        self.assertEqual(count_frames(self.out / "video.mp4"), FRAMES)
        self.assertTrue((self.out / "contact.jpg").stat().st_size > 10_000)
        self.assertEqual(self.usage() - before, FRAMES)
        again = self.video(*words)
        self.assertIn(f"sent        0 of {FRAMES} frames", again)
        self.assertEqual(self.usage() - before, FRAMES)
        self.assertEqual(self.results(), rows)

    def usage(self) -> int:
        """Runs that were metered so far."""
        block = self.block("def run(self, image, frame):\n    return frame\n")
        out, self.out = self.out, self.out.with_suffix(".probe")
        self.video("-c", block, "--max-frames", "1")
        runs = self.summary()["usage"]["runs"]
        self.out = out
        return runs

    def test_it_goes_on_where_it_was(self) -> None:
        words = ("-c", self.block(LARGE), "--set", "size=100000")
        self.video(*words, "--max-frames", "10")
        self.assertEqual(len(self.results()), 10)
        told = self.video(*words, "--fps", "10")
        self.assertIn(f"sent        {FRAMES - 10} of {FRAMES} frames", told)
        rows = self.results()
        self.assertEqual(len(rows), FRAMES)
        for frame, row in enumerate(rows):
            value = json.loads(row["result"])
            self.assertEqual(value, {"frame": frame, "pad": "x" * 100_000})
            self.assertNotIn("result_url", row)
        self.assertFalse((self.out / "video.mp4").exists())

    def test_a_folder_of_images(self) -> None:
        folder = self.folder / "images"
        folder.mkdir()
        split = ["-frames:v", "3", "-start_number", "8", str(folder / "%d.jpg")]
        scale = ["-frames:v", "1", "-vf", "scale=160:90", str(folder / "A.PNG")]
        for options in (split, scale):
            command = ["ffmpeg", "-v", "error", "-i", str(self.clip), *options]
            subprocess.run(command, check=True, stdin=subprocess.DEVNULL)
        (folder / "notes.txt").write_text("no image")
        told = self.video("-c", self.block(NAMED), path=folder)
        self.assertRegex(told, r"jobs +4 succeeded\n")
        names = ["10.jpg", "8.jpg", "9.jpg", "A.PNG"]
        values = [json.loads(row["result"]) for row in self.results()]
        self.assertEqual([value["file"] for value in values], names)
        self.assertEqual([value["width"] for value in values], [320, 320, 320, 160])
        self.assertEqual((self.out / "images.txt").read_text().split(), names)
        self.assertTrue((self.out / "contact.jpg").stat().st_size > 1000)
        again = self.video("-c", self.block(NAMED), path=folder)
        self.assertIn("sent        0 of 4 frames", again)

    def test_frames_that_fail_are_shown(self) -> None:
        told = self.video("-c", self.block(FAILING), "--fps", "2", status=1)
        self.assertRegex(told, r"jobs +4 succeeded, 2 failed|2 failed, 4 succeeded")
        self.assertIn("first frame without success is 3", told)
        self.assertIn("ValueError: not 3", told)
        self.assertRegex(told, r">>> +4 \|")
        self.assertEqual(self.summary()["images"], 4)
        self.assertEqual(count_frames(self.out / "video.mp4"), 6)
        frames = sorted(path.name for path in (self.out / "frames").iterdir())
        self.assertEqual(frames, [f"{n:06}.jpg" for n in range(6)])
        self.assertEqual(self.red(6), [3, 4])

    def red(self, frames: int) -> list[int]:
        """Those that are marked as missing."""
        colors = [color(self.out / f"frames/{n:06}.jpg") for n in range(frames)]
        return [n for n, (r, g, b) in enumerate(colors) if r > 90 and g < 50 > b]

    def test_several_frames_in_a_job(self) -> None:
        words = ("-c", self.block(SEVERAL), "--frames-per-job", "4")
        told = self.video(*words, "--set", "skip=5")
        self.assertRegex(told, rf"estimate +{FRAMES} frames of .*iB as JPEG, 8 jobs, ")
        self.assertRegex(told, r"jobs +8 succeeded\n")
        rows = self.results()
        self.assertEqual([row["batch_index"] for row in rows], list(range(0, 30, 4)))
        values = [value for row in rows for value in json.loads(row["result"])]
        self.assertEqual([value["frame"] for value in values], list(range(FRAMES)))
        self.assertEqual([value["seen"] for value in values], list(range(FRAMES)))
        self.assertEqual(count_frames(self.out / "video.mp4"), FRAMES)
        self.assertEqual((self.summary()["images"], self.red(FRAMES)), (29, [5]))
        again = self.video(*words, "--set", "skip=5")
        self.assertIn("sent        0 of 8 jobs of 4 frames", again)
        self.assertEqual(self.results(), rows)
        self.assertEqual(self.red(FRAMES), [5])
        told = self.video(*words, "--set", "short=9", status=1)
        self.assertIn("1 jobs returned no list with an entry for each", told)
        self.assertEqual(self.red(FRAMES), [11])
        self.video(*words, "--max-frames", "10", status=2)

    def test_a_batch_has_jobs_of_one_size(self) -> None:
        words = ("-c", self.block(SEVERAL), "--batch", "sized", "--max-frames", "8")
        self.video(*words, "--frames-per-job", "4")
        for other in (("--frames-per-job", "2"), ()):
            told = self.video(*words, *other, status=4)
            self.assertIn("was sent with --frames-per-job 4", told)
            self.assertNotIn("sent        ", told)
        again = self.video(*words, "--frames-per-job", "4")
        self.assertIn("sent        0 of 2 jobs of 4 frames", again)

    def test_what_does_not_fit(self) -> None:
        words = ("-c", self.block(SEVERAL), "--frames-per-job", "4")
        told = self.video(*words, self.small("16k"), status=4)
        self.assertRegex(told, r"takes 1\d\.\d KiB .*may be 16\.0 KiB .*inputs_bytes\)")
        self.assertIn("give --frames-per-job 1 or less", told)
        told = self.video(*words, self.small("4k"), status=4)
        self.assertRegex(told, r"may be 4\.0 KiB .*inputs_bytes\): make them smaller")

    def small(self, limit: str) -> str:
        """The option for a dispatcher that takes no larger inputs."""
        port = self.folder / f"{limit}.port"
        proc = self.fleet._start(
            f"small-{limit}",
            "blockfleet-dispatcher",
            f"--dispatcher.inputs_bytes={limit}",
            f"--dispatcher.port_file={port}",
            f"--dispatcher.view={self.folder / limit}.sqlite",
        )
        self.addCleanup(proc.stop)
        wait_until(port.exists, HANG_S, "the other dispatcher")
        return f"--dispatcher.url=http://{port.read_text().strip()}"

    def test_what_is_no_video(self) -> None:
        self.clip, clip = self.folder / "fleet" / "fleet.ini", self.clip
        try:
            told = self.video("-c", str(DEMO / "block.py"), status=7)
        finally:
            self.clip = clip
        self.assertIn("ffprobe: file:", told)

    def test_without_ffmpeg(self) -> None:
        command = self.fleet.command("video", str(self.clip), "-w", "demo")
        done = subprocess.run(
            [*command, "-c", str(DEMO / "block.py")],
            capture_output=True,
            text=True,
            env={"PATH": "/nowhere"},
        )
        self.assertEqual(done.returncode, 7)
        self.assertIn("apt-get install ffmpeg", done.stderr)


class NobodyTest(unittest.TestCase):
    """Nobody is there to take the frames."""

    def test_a_dispatcher_that_is_not_there(self) -> None:
        folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        (folder / "block.py").write_text("def run(self, image):\n    return 1\n")
        nobody = self.enterContext(socket.socket())
        nobody.bind(("127.0.0.1", 0))  # and never listens
        url = f"--dispatcher.url=http://127.0.0.1:{nobody.getsockname()[1]}"
        clip = make_clip(folder / "clip.mp4")
        for more in ((), ("--wait",)):
            done = subprocess.run(
                [BIN / "blockfleet", "video", clip, "-w", "demo"]
                + ["-c", folder / "block.py", url, *more],
                capture_output=True,
                text=True,
                timeout=HANG_S,
                cwd=folder,
            )
            self.assertEqual(done.returncode, 3, done.stderr)
            self.assertIn("127.0.0.1", done.stderr)


class CommandTest(unittest.TestCase):
    """`./run demo`, `up` and `down`, without what `run` installs and builds."""

    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.cluster = self.enterContext(Cluster())

    def demo(self, *words: str) -> str:
        done = subprocess.run(
            [sys.executable, str(DEMO / "demo.py"), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=180,
            cwd=self.folder,
            env={
                **os.environ,
                "BF_BIN_DIR": str(BIN),
                "BLOCKFLEET_BROKERS": self.cluster.bootstrap,
                "BF_DEMO_FOLDER": str(self.folder / "run"),
                "PYTHONPATH": str(ROOT / "tests" / "kafka"),
            },
        )
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_demo(self) -> None:
        clip = make_clip(self.folder / "clip.mp4")
        told = self.demo("demo", str(clip), "--frames", "20", "--out", "out")
        self.assertIn("checked     every frame succeeded", told)
        summary = json.loads((self.folder / "out/summary.json").read_text())
        self.assertEqual(summary["outcomes"], {"succeeded": 20})
        self.assertEqual(self.left(), [])

    def test_up_and_down(self) -> None:
        told = self.demo("up", "--workers", "1")
        state = State(self.folder / "run" / "fleet.json")
        try:
            self.assertEqual(set(state.running()), {"dispatcher", "worker-1"})
            self.assertIn("it is up already", self.demo("up"))
            begin = told.index("  curl")
            curl = told[begin : told.index("\n\n", begin)]
            answer = subprocess.run(curl, shell=True, stdout=subprocess.PIPE)
            job = json.loads(answer.stdout)
            self.assertEqual((job["status"], job["result_bytes"]), ("succeeded", 10))
        finally:
            self.demo("down")
        self.assertEqual(self.left(), [])
        self.assertIn("nothing is up", self.demo("down"))

    def left(self) -> list[str]:
        """Processes that still name our folder."""
        found = []
        for path in Path("/proc").glob("[0-9]*/cmdline"):
            try:
                text = path.read_bytes()
            except OSError:
                continue
            if os.fsencode(self.folder / "run") in text:
                found.append(text.decode().replace("\0", " "))
        return found


if __name__ == "__main__":
    unittest.main()
