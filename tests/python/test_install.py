"""What `cmake --install` puts where, and what systemd says of the units."""

import os
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILDS = [ROOT / "build" / preset for preset in ("dev", "crash", "release")]
# Not ours, but ours name them.
STUBS = ("sysinit", "basic", "shutdown", "network-online", "multi-user")
UNITS = ("blockfleet-worker@1.service", "blockfleet-dispatcher.service")


class InstallTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        built = [build for build in BUILDS if (build / "bin/blockfleet").exists()]
        if not built:
            raise unittest.SkipTest("no build to install from")
        folder = cls.enterClassContext(tempfile.TemporaryDirectory())
        done = subprocess.run(
            ["cmake", "--install", built[0]],
            env={**os.environ, "DESTDIR": folder},
            capture_output=True,
            text=True,
        )
        if done.returncode:
            raise AssertionError(done.stdout + done.stderr)
        cls.destination = Path(folder)
        [cls.bin] = Path(folder).glob("**/bin")
        cls.prefix = cls.bin.parent

    def files(self, pattern: str) -> set[str]:
        found = self.prefix.glob(pattern)
        return {str(f.relative_to(self.prefix)) for f in found if f.is_file()}

    def test_programs_and_the_runner_beside_them(self) -> None:
        names = {"blockfleet", "blockfleet-worker", "blockfleet-dispatcher"}
        self.assertEqual(self.files("bin/*"), {f"bin/{name}" for name in names})
        package = ROOT / "worker/runner/bfrunner"
        ours = {f"lib/blockfleet/bfrunner/{f.name}" for f in package.glob("*.py")}
        self.assertEqual(self.files("lib/blockfleet/**/*"), ours)
        commands = [[self.bin / name, "--help"] for name in sorted(names)]
        runner = self.prefix / "lib/blockfleet/bfrunner"
        for command in [*commands, ["python3", "-I", runner, "--help"]]:
            done = subprocess.run(command, capture_output=True, text=True)
            self.assertEqual(done.returncode, 0, done.stderr)

    def test_documents_and_schemas(self) -> None:
        documents = {Path(name).name for name in self.files("share/doc/blockfleet/*")}
        for name in ("README.md", "LICENSE", "blockfleet.ini", "CONFIGURATION.md"):
            self.assertIn(name, documents)
        schemas = {f.name for f in (ROOT / "schemas").glob("*.json")}
        found = {Path(name).name for name in self.files("share/blockfleet/**/*")}
        self.assertEqual({name for name in found if name.endswith(".json")}, schemas)

    def test_the_manual_page_and_completion(self) -> None:
        page = self.prefix / "share/man/man1/blockfleet.1"
        self.assertIn(".SH COMMANDS", page.read_text())
        for name in (
            "bash-completion/completions/blockfleet",
            "fish/vendor_completions.d/blockfleet.fish",
        ):
            self.assertIn("submit", (self.prefix / "share" / name).read_text())

    def test_nothing_is_left_of_the_build(self) -> None:
        for unit in self.files("lib/systemd/system/*"):
            text = (self.prefix / unit).read_text()
            self.assertNotIn("@CMAKE", text, unit)
            self.assertNotIn(str(self.destination), text, unit)

    def test_systemd_takes_the_units(self) -> None:
        if shutil.which("systemd-analyze") is None:
            self.skipTest("no systemd-analyze here")
        system = self.destination / "usr/lib/systemd/system"
        system.mkdir(parents=True, exist_ok=True)
        for unit in (self.prefix / "lib/systemd/system").iterdir():
            if unit.parent != system:
                shutil.copy(unit, system)
        for name in STUBS:
            (system / f"{name}.target").write_text("[Unit]\n")
        done = subprocess.run(
            ["systemd-analyze", f"--root={self.destination}", "verify", *UNITS],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
        )
        self.assertEqual((done.returncode, done.stdout + done.stderr), (0, ""))

    def test_units_stop_no_sooner_than_the_programs(self) -> None:
        """systemd waits longer than the worker drains by default."""
        ini = (ROOT / "config/blockfleet.ini").read_text()
        drain = re.search(r"^;drain = (\d+)s$", ini, re.MULTILINE)
        unit = self.prefix / "lib/systemd/system/blockfleet-worker@.service"
        wait = re.search(r"^TimeoutStopSec=(\d+)s$", unit.read_text(), re.MULTILINE)
        assert drain and wait
        self.assertGreater(int(wait[1]), int(drain[1]) + 10)


if __name__ == "__main__":
    unittest.main()
