"""./run e2b template against the E2B server: what it builds is what its
sandboxes run."""

import json
import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

from e2b_case import ROOT, E2BCase, box

sys.path[:0] = [str(ROOT / "tests" / "runner"), str(ROOT / "tests" / "wire")]

from http_server import KEY as RUN_KEY  # noqa: E402
from http_server import OTHER, key_line, request, signed  # noqa: E402

TOOL = ROOT / "worker" / "runner" / "e2b_template.py"
PORT = 8000
NET = box.namespaces() == "net"


class Template(E2BCase):
    def setUp(self) -> None:
        self.serve(path=str(Path(sys.executable).parent))

    def build(self, *arguments: str, **more: str) -> tuple[int, str, str]:
        environment = {
            "PATH": os.environ["PATH"],
            **self.server.environment,
            "BLOCKFLEET_RUN_KEYS": key_line(RUN_KEY),
            "BF_E2B_USER": "",  # whom RUN would have made
            **more,
        }
        done = subprocess.run(
            ["/usr/bin/python3", str(TOOL), *arguments],
            env={name: value for name, value in environment.items() if value != "-"},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        return done.returncode, done.stdout.strip(), done.stderr

    def post(self, made: Any, body: bytes, headers: dict[str, str]) -> Any:
        """As a worker that routes by host names."""
        host = f"{PORT}-{made['sandboxID']}.e2b.app"
        headers |= {"host": host, "content-type": "application/json"}
        headers["e2b-traffic-access-token"] = made["trafficAccessToken"]
        return self.ask(
            self.server.sandbox_port, "POST", "/execute_block", body, headers
        )

    @unittest.skipUnless(NET, "needs network namespaces (root)")
    def test_a_sandbox_of_it_runs_blocks_for_who_signs(self) -> None:
        code, name, said = self.build()
        self.assertEqual(code, 0, said)
        self.assertRegex(name, r"^blockfleet-runner:1-[0-9a-f]{12}$")
        private = {"allowPublicTraffic": False}
        sandboxes = [self.create(name, network=private) for _ in range(2)]
        for made in sandboxes:  # each has a port 8000
            url = f"https://{PORT}-{made['sandboxID']}.e2b.app/execute_block"
            body = request(inputs='{"name": "e2b"}')
            answer = self.post(made, body, signed(url, body))
            self.assertEqual(answer.status, 200, answer.body)
            self.assertEqual(json.loads(answer.json()["result"]), {"hello": "e2b"})
            for headers in ({}, signed(url, body, OTHER)):
                refused = self.post(made, body, headers)
                self.assertIn(refused.status, (401, 503))
        self.assertEqual({run.path for run in self.server.runs}, {"port"})
        shut = self.data(sandboxes[0], 8001, "GET", "/healthz")
        self.assertEqual(shut.status, 502)
        self.assertEqual(shut.json()["port"], 8001)

    @unittest.skipUnless(NET, "needs network namespaces (root)")
    def test_what_is_there_is_not_built_again(self) -> None:
        _, name, _ = self.build()
        code, again, said = self.build()
        self.assertEqual((code, again), (0, name))
        self.assertIn("there already", said)
        self.assertEqual(len(self.server.control.builds.asked), 1)
        _, other, _ = self.build(BLOCKFLEET_RUN_KEYS=key_line(OTHER))
        self.assertNotEqual(other, name)
        _, larger, _ = self.build(BF_E2B_MEMORY="2048")
        self.assertNotIn(larger, (name, other))
        self.assertEqual(
            self.create(larger)["templateID"], self.create(name)["templateID"]
        )

    def test_what_goes_wrong_is_said(self) -> None:
        for wrong, word in (
            ({"E2B_API_KEY": "-"}, "E2B_API_KEY is not set"),
            ({"E2B_API_KEY": "e2b_1"}, "401"),
            ({"BLOCKFLEET_RUN_KEYS": "-"}, "no key of purpose run"),
            ({"BF_E2B_CPU": "3"}, "400 validation error"),
            ({"BF_E2B_PORT": "x"}, "invalid literal"),
        ):
            code, name, said = self.build(**wrong)
            self.assertEqual((code, name), (1, ""))
            self.assertIn(word, said)
            self.assertNotIn("Traceback", said)

    @unittest.skipUnless(NET, "needs network namespaces (root)")
    def test_a_build_that_fails_says_at_which_step(self) -> None:
        code, _, said = self.build(BF_E2B_PORT="70000")
        self.assertEqual(code, 1)
        self.assertIn("(step finalize): start command exited", said)
        # Its tag is there all the same.
        code, _, said = self.build(BF_E2B_PORT="70000")
        self.assertEqual(code, 1)
        self.assertIn("but error: it is built again", said)
        self.assertEqual(len(self.server.control.builds.asked), 2)

    def test_a_build_that_never_began_is_built_again(self) -> None:
        rule = self.server.rules.add("template_build", "status", status=400)
        for again in (False, True):
            code, _, said = self.build()
            self.assertEqual((code, "but waiting" in said), (1, again))
        self.assertEqual(rule.hits, 2)

    def test_a_build_that_is_gone(self) -> None:
        for op in ("template_files", "template_status"):
            rule = self.server.rules.add(op, "status", status=404)
            code, name, said = self.build()
            rule.count = 0
            self.assertEqual((code, name), (1, ""))
            self.assertIn("404 on demand", said)
            self.assertIn("Run this again", said)
            self.assertNotIn("Traceback", said)

    def test_the_key_goes_to_the_api_alone(self) -> None:
        seen: list[tuple[str, str | None]] = []
        self.server.capture(
            lambda _, op, asked: seen.append((op, asked.headers.get("x-api-key")))
        )
        self.server.rules.add("template_build", "status", status=400)
        self.build()
        self.assertIn(("template_upload", None), seen)
        self.assertIn(("template", self.server.key), seen)

    def test_it_waits_and_asks_again(self) -> None:
        self.server.rules.add("template", "status", status=429, retry_after=0, count=1)
        rule = self.server.rules.add("template_build", "status", status=400)
        code, _, said = self.build()
        self.assertEqual(code, 1)
        self.assertIn("400 on demand", said)
        self.assertEqual(rule.hits, 1)

    def test_a_dry_run_asks_nobody(self) -> None:
        seen: list[str] = []
        self.server.capture(lambda _, op, __: seen.append(op))
        code, name, said = self.build("--dry-run", BF_E2B_USER="blocks")
        self.assertEqual((code, seen), (0, []))
        self.assertIn("--run-as blocks", said)
        self.assertTrue(name.startswith("blockfleet-runner:"))
