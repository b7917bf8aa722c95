"""docker-compose.yml and the Dockerfile, as far as reading them shows it.

tests/image carries them out; that takes minutes and root.
"""

import re
import shutil
import subprocess
import sys
import unittest
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "image"))
import dockerfile  # noqa: E402

OURS = ("init", "dispatcher", "worker", "blockfleet")


def options() -> set[str]:
    """The environment variables of all options."""
    found, section = set(), ""
    for line in (ROOT / "config/blockfleet.ini").read_text().splitlines():
        if match := re.fullmatch(r";?\[(.+)\]", line):
            section = match[1] + "."
        elif match := re.match(r";(\w+) =", line):
            found.add("BLOCKFLEET_" + (section + match[1]).upper().replace(".", "_"))
    return found


def seconds(text: str) -> int:
    match = re.fullmatch(r"(\d+)s", text)
    assert match, text
    return int(match[1])


class ComposeTest(unittest.TestCase):
    def setUp(self) -> None:
        text = (ROOT / "docker-compose.yml").read_text()
        self.services = yaml.safe_load(text)["services"]

    def test_an_engine_takes_it(self) -> None:
        for command in (["docker", "compose"], ["docker-compose"]):
            if shutil.which(command[0]) is None:
                continue
            if subprocess.run([*command, "version"], capture_output=True).returncode:
                continue
            done = subprocess.run(
                [*command, "-f", ROOT / "docker-compose.yml", "config", "-q"],
                capture_output=True,
                text=True,
            )
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            return
        self.skipTest("no docker compose here; --full gets one")

    def test_variables_are_options(self) -> None:
        """One that is none stops the start."""
        known = options()
        for name in OURS:
            for variable in self.services[name]["environment"]:
                self.assertIn(variable, known, name)

    def test_no_secret_stands_in_it(self) -> None:
        for name, service in self.services.items():
            for variable, value in service["environment"].items():
                self.assertNotRegex(variable, r"PASSWORD|SECRET|TOKEN", name)
                if variable.endswith("KEY_FILE"):
                    self.assertRegex(value, r"^keys/\w+$")
            for volume in service.get("volumes", []):
                self.assertRegex(volume, r"^\w+:/", "a volume, no folder out here")

    def test_who_waits_for_whom(self) -> None:
        for name, service in self.services.items():
            for other, how in service.get("depends_on", {}).items():
                if how["condition"] == "service_healthy":
                    check = self.services[other]["healthcheck"]
                    self.assertIn("test", check, f"{name} waits for {other}")
        for name in ("dispatcher", "worker"):
            waits = self.services[name]["depends_on"]
            self.assertEqual(
                waits, {"init": {"condition": "service_completed_successfully"}}
            )

    def test_workers_can_be_scaled(self) -> None:
        """Nothing of a worker's can be had only once; it is named by its host."""
        worker = self.services["worker"]
        for once in ("container_name", "hostname", "ports", "network_mode"):
            self.assertNotIn(once, worker)
        self.assertNotIn("BLOCKFLEET_INSTANCE", worker["environment"])

    def test_a_worker_has_time_to_drain(self) -> None:
        ini = (ROOT / "config/blockfleet.ini").read_text()
        drain = re.search(r"^;drain = (\w+)$", ini, re.MULTILINE)
        assert drain
        grace = seconds(self.services["worker"]["stop_grace_period"])
        self.assertGreater(grace, seconds(drain[1]) + 10)

    def test_only_this_machine_reaches_it(self) -> None:
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")

    def test_the_broker_is_the_one_that_the_tests_have(self) -> None:
        pom = (ROOT / "tests/kafka/pom.xml").read_text()
        version = re.search(
            r"<artifactId>kafka_2.13</artifactId>\s*<version>(.+?)<", pom
        )
        assert version
        self.assertEqual(self.services["broker"]["image"], f"apache/kafka:{version[1]}")


class DockerfileTest(unittest.TestCase):
    def setUp(self) -> None:
        self.text = (ROOT / "Dockerfile").read_text()
        self.stages = dockerfile.stages(dockerfile.parse(self.text))

    def runs(self, stage: str) -> str:
        steps = self.stages[stage].instructions
        return "\n".join(one.text for one in steps if one.name == "RUN")

    def test_it_has_the_libraries_that_the_build_wants(self) -> None:
        table = (ROOT / "run").read_text()
        wanted = re.findall(r"^pc:\S+ +(\S+)", table, re.MULTILINE)
        self.assertGreater(len(wanted), 5)
        for package in wanted:
            self.assertIn(f" {package} ", self.runs("tools"))

    def test_what_it_copies_is_ours(self) -> None:
        files = dockerfile.context()
        for stage in self.stages.values():
            for one in stage.instructions:
                words = one.words() if one.name == "COPY" else []
                if not words or words[0].startswith("--"):
                    continue
                for name in words[:-1]:
                    found = [f for f in files if f == name or f.startswith(name + "/")]
                    self.assertTrue(found, one)

    def test_an_engine_is_not_sent_what_git_ignores(self) -> None:
        sent = set((ROOT / ".dockerignore").read_text().split())
        for name in (ROOT / ".gitignore").read_text().split():
            if name.startswith("/"):
                self.assertIn(name.strip("/"), sent)

    def test_the_image_runs_as_nobody_in_particular(self) -> None:
        [*_, last] = self.stages.values()
        users = [one.text for one in last.instructions if one.name == "USER"]
        self.assertEqual(users, ["blockfleet"])
        names = [one.name for one in last.instructions]
        self.assertIn("HEALTHCHECK", names)
        self.assertNotIn("VOLUME", names)


class InterpreterTest(unittest.TestCase):
    """What it does not understand it refuses; the rest tests/image shows."""

    def refused(self, text: str, why: str) -> None:
        with self.assertRaisesRegex(dockerfile.Refused, why):
            builder = dockerfile.Builder(Path("/nonexistent"), f"FROM x\n{text}\n")
            image = dockerfile.Image((), "")
            for one in builder._stages["0"].instructions:
                image = builder._step(one, image)

    def test_what_it_refuses(self) -> None:
        self.refused("ADD a b", "not understood")
        self.refused("VOLUME /data", "not understood")
        self.refused('RUN ["true"]', "shell form")
        self.refused("RUN --mount=type=secret,id=x true", "not understood")
        self.refused("COPY --chown=1 a b", "not understood")
        self.refused("COPY a b c", "with a / at its end")
        self.refused("COPY nowhere there", "no nowhere among our files")
        self.refused("ENV A=$B", "not understood")
        self.refused("ARG A", "without a default")
        self.refused("WORKDIR here", "not an absolute path")
        with self.assertRaisesRegex(dockerfile.Refused, "neither a stage"):
            dockerfile.Builder(Path("/nonexistent"), "FROM alpine:3\n").build()
        with self.assertRaisesRegex(dockerfile.Refused, "before the first FROM"):
            dockerfile.Builder(Path("/nonexistent"), "RUN true\n")

    def test_how_lines_go_on(self) -> None:
        text = 'FROM a AS b\n# no\nRUN one \\\n# no\n    && two\nCMD ["x"]\n'
        steps = dockerfile.stages(dockerfile.parse(text))["b"].instructions
        self.assertEqual(
            [(one.name, one.text, one.line) for one in steps],
            [("RUN", "one && two", 3), ("CMD", '["x"]', 6)],
        )


if __name__ == "__main__":
    unittest.main()
