"""The vendor's own clients, unmodified, against the E2B server: what they
accept is right. Python's from PyPI, JavaScript's from npm."""

import os
import unittest
from pathlib import Path
from typing import Any

import e2b_npm
from e2b_case import ROOT, E2BServer, Limits

SCRIPT = Path(__file__).parent / "e2b_sdk.mjs"


class SdkCase(unittest.TestCase):
    limits = Limits()

    def setUp(self) -> None:
        self.server = E2BServer(limits=self.limits)
        self.addCleanup(self.server.close)
        self.opts: dict[str, Any] = {
            "api_key": self.server.key,
            "api_url": self.server.api_url,
            "sandbox_url": self.server.sandbox_url,
        }


class PythonSdk(SdkCase):
    def create(self, interpreter: bool = False, **more: Any) -> Any:
        if interpreter:
            from e2b_code_interpreter import Sandbox
        else:
            from e2b import Sandbox
        return Sandbox.create(**more, **self.opts)

    def test_commands(self) -> None:
        from e2b import CommandExitException

        box = self.create(envs={"WHO": "world"})
        said: list[str] = []
        done = box.commands.run(
            "echo hello $WHO; echo oops >&2; pwd", on_stdout=said.append
        )
        self.assertEqual(done.stderr, "oops\n")
        self.assertTrue(done.stdout.startswith("hello world\n"))
        self.assertEqual("".join(said), done.stdout)
        with self.assertRaises(CommandExitException) as caught:
            box.commands.run("exit 7", cwd="/tmp", envs={"A": "b"})
        self.assertEqual(caught.exception.exit_code, 7)
        self.assertEqual(box.commands.list(), [])

    def test_a_command_in_the_background(self) -> None:
        from e2b import CommandExitException

        box = self.create()
        cat = box.commands.run("cat", background=True, stdin=True)
        [listed] = box.commands.list()
        self.assertEqual(listed.pid, cat.pid)
        box.commands.send_stdin(cat.pid, "abc")
        cat.close_stdin()
        self.assertEqual(cat.wait().stdout, "abc")
        sleep = box.commands.run("exec sleep 60", background=True)
        again = box.commands.connect(sleep.pid)
        self.assertTrue(box.commands.kill(sleep.pid))
        for handle in (sleep, again):
            with self.assertRaises(CommandExitException) as caught:
                handle.wait()
            self.assertEqual(caught.exception.exit_code, -1)
            self.assertEqual(caught.exception.error, "signal: killed")
        self.assertFalse(box.commands.kill(sleep.pid))

    def test_a_commands_deadline(self) -> None:
        from e2b import TimeoutException

        box = self.create()
        with self.assertRaises(TimeoutException):
            box.commands.run("exec sleep 60", timeout=0.5)

    def test_files(self) -> None:
        from e2b import FileNotFoundException, FileType

        box = self.create()
        box.files.write("a/b.txt", "héllo")
        self.assertEqual(box.files.read("a/b.txt"), "héllo")
        data = os.urandom(100_000)
        with (ROOT / "README.md").open("rb") as file:
            box.files.write("readme", file)  # streamed, in chunks
        readme = (ROOT / "README.md").read_bytes()
        self.assertEqual(bytes(box.files.read("readme", format="bytes")), readme)
        box.files.write("z", data, gzip=True)
        got = box.files.read("z", format="bytes", gzip=True)
        self.assertEqual(bytes(got), data)
        self.assertTrue(box.files.make_dir("dir"))
        self.assertFalse(box.files.make_dir("dir"))
        moved = box.files.rename("a/b.txt", "dir/c.txt")
        self.assertEqual(moved.path, "/home/user/dir/c.txt")
        self.assertFalse(box.files.exists("a/b.txt"))
        entries = box.files.list(".", depth=2)
        found = {entry.path.removeprefix("/home/user/"): entry for entry in entries}
        self.assertEqual(sorted(found), ["a", "dir", "dir/c.txt", "readme", "z"])
        self.assertEqual(found["dir"].type, FileType.DIR)
        self.assertEqual(found["z"].size, len(data))
        box.files.remove("dir")
        with self.assertRaises(FileNotFoundException):
            box.files.read("dir/c.txt")

    def test_a_signed_address(self) -> None:
        import urllib.request

        box = self.create()
        box.files.write("s.txt", "signed")
        url = box.download_url("s.txt", use_signature_expiration=60)
        port = {"E2b-Sandbox-Id": box.sandbox_id, "E2b-Sandbox-Port": "49983"}
        asked = urllib.request.Request(url, headers=port)
        with urllib.request.urlopen(asked, timeout=60) as answer:
            self.assertEqual(answer.read(), b"signed")

    def test_a_life(self) -> None:
        from e2b import Sandbox, SandboxQuery, SandboxState

        made = [self.create(metadata={"k": "a b&c", "n": str(n)}) for n in range(3)]
        query = SandboxQuery(metadata={"k": "a b&c"}, state=[SandboxState.RUNNING])
        pages = Sandbox.list(query=query, limit=2, **self.opts)
        seen = []
        while pages.has_next:
            seen += [one.sandbox_id for one in pages.next_items()]
        self.assertEqual(seen, [one.sandbox_id for one in reversed(made)])
        info = made[0].get_info()
        self.assertEqual(info.metadata, {"k": "a b&c", "n": "0"})
        made[0].set_timeout(1000)
        left = made[0].get_info().end_at - info.end_at
        self.assertGreater(left.total_seconds(), 600)
        same = Sandbox.connect(made[0].sandbox_id, **self.opts)
        self.assertEqual(same.commands.run("echo ok").stdout, "ok\n")
        self.assertTrue(made[0].is_running())
        self.assertTrue(made[0].kill())
        self.assertFalse(same.is_running())
        self.assertFalse(made[0].kill())
        self.assertEqual(made[1].get_metrics(), [])

    def test_pause_and_resume(self) -> None:
        from e2b import Sandbox

        box = self.create()
        box.pause()
        self.assertFalse(box.is_running())
        again = Sandbox.connect(box.sandbox_id, **self.opts)
        self.assertTrue(again.is_running())

    def test_code(self) -> None:
        box = self.create(True)
        said: list[str] = []
        done = box.run_code(
            "x = 2\nprint('out')\nx * 21", on_stdout=lambda one: said.append(one.line)
        )
        self.assertEqual((done.text, done.logs.stdout), ("42", ["out\n"]))
        self.assertEqual(said, ["out\n"])
        error = box.run_code("1/0").error
        self.assertEqual(error.name, "ZeroDivisionError")
        other = box.create_code_context()
        self.assertEqual(box.run_code("x", context=other).error.name, "NameError")
        self.assertEqual(len(box.list_code_contexts()), 2)
        box.run_code("y = 1", context=other)
        box.restart_code_context(other)
        self.assertEqual(box.run_code("y", context=other).error.name, "NameError")
        box.remove_code_context(other)
        self.assertEqual(len(box.list_code_contexts()), 1)
        self.assertEqual(box.run_code("x").text, "2")

    def test_codes_deadline_and_private_traffic(self) -> None:
        from e2b import TimeoutException

        network = {"allow_public_traffic": False}
        box = self.create(True, network=network)
        self.assertTrue(box.traffic_access_token)
        with self.assertRaises(TimeoutException):
            box.run_code("import time; time.sleep(3)", timeout=0.5)
        box.kill()

    def test_errors_are_known_for_what_they_are(self) -> None:
        import e2b

        rules = self.server.rules
        opts = {**self.opts, "retries": 0}
        for status, kind in (
            (401, e2b.AuthenticationException),
            (429, e2b.RateLimitException),
            (500, e2b.SandboxException),
        ):
            rules.add("create", "status", status=status, count=1)
            with self.assertRaises(kind):
                e2b.Sandbox.create(**opts)
        # With its own retries it gets over what passes.
        rules.add("create", "status", status=503, retry_after=0, count=2)
        box = self.create()
        self.server.world.kill(box.sandbox_id, "vanished")
        with self.assertRaises(e2b.SandboxException):
            box.commands.run("true")

    def test_a_sandbox_that_dies_within_a_command(self) -> None:
        import e2b

        box = self.create()
        self.server.rules.add("start", "vanish_during", seconds=0.3)
        with self.assertRaises(e2b.SandboxException) as caught:
            box.commands.run("sleep 60")
        self.assertIn("killed or reached its end", str(caught.exception))

    def test_templates(self) -> None:
        from e2b import Template

        context = ROOT / "tests" / "providers"
        template = (
            Template(file_context_path=str(context))
            .from_python_image("3.12")
            .copy("e2bd", "/opt/e2bd")
            .run_cmd("false")
            .set_envs({"BUILT": "1"})
        )
        info = Template.build(
            template, "bf-test:v1", cpu_count=2, memory_mb=1024, **self.opts
        )
        self.assertEqual(info.name.partition(":")[0], "bf-test")
        self.assertTrue(Template.exists("bf-test", **self.opts))
        box = self.create(template="bf-test:v1")
        shown = box.commands.run("echo $BUILT").stdout
        self.assertEqual(shown, "1\n")
        self.assertTrue(box.files.exists("/opt/e2bd/kernel.py"))
        self.assertEqual(box.get_info().memory_mb, 1024)


class JavaScriptSdk(SdkCase):
    @classmethod
    def setUpClass(cls) -> None:
        e2b_npm.folder()

    def test_all_of_it(self) -> None:
        done = e2b_npm.run(SCRIPT, self.server)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.assertEqual(done.stdout.split()[-1], "done")
        self.assertFalse(self.server.world.live)
