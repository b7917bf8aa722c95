"""The E2B server that other tests rely on, in words of HTTP alone."""

import contextlib
import gzip
import http.client
import json
import os
import shlex
import threading
import time
import unittest
import urllib.parse
from pathlib import Path

from e2b_case import (
    ENVD,
    INTERPRETER,
    Answer,
    E2BCase,
    Limits,
    Template,
    box,
    files,
    texts,
)


def wait_for(condition, seconds=20.0):
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise AssertionError("it did not come true")
        time.sleep(0.01)


class ControlPlane(E2BCase):
    def test_a_life(self) -> None:
        self.serve()
        made = self.create(timeout=100, metadata={"bf": "1"})
        self.assertRegex(made["sandboxID"], r"^i[a-z0-9]{20}$")
        self.assertIsNone(made["trafficAccessToken"])
        path = f"/sandboxes/{made['sandboxID']}"
        seen = self.api("GET", path).json()
        self.assertEqual(seen["metadata"], {"bf": "1"})
        self.assertEqual((seen["cpuCount"], seen["memoryMB"]), (2, 2048))
        self.assertEqual(seen["envdAccessToken"], made["envdAccessToken"])
        self.assertNotIn("trafficAccessToken", seen)
        before = self.server.world.live[made["sandboxID"]].ends
        longer = self.api("POST", f"/v2{path}/connect", {"timeout": 200})
        self.assertEqual(longer.status, 200)
        after = self.server.world.live[made["sandboxID"]].ends
        self.assertGreater(after, before + 50)
        self.api("POST", f"/v2{path}/connect", {"timeout": 1})  # never shortens
        self.assertEqual(self.server.world.live[made["sandboxID"]].ends, after)
        self.assertEqual(self.api("DELETE", path).status, 204)
        gone = self.api("DELETE", path)
        self.assertEqual(gone.status, 404)
        self.assertIn("doesn't exist or you don't have access", gone.json()["message"])
        [entry] = self.server.ledger()["sandboxes"]
        self.assertEqual(entry["ended_by"], "api")
        self.assertEqual(list(self.server.world.folder.glob("i*")), [])

    def test_its_time_ends_it(self) -> None:
        self.serve()
        made = self.create(timeout=600)
        self.start(made, "(sleep 600 & setsid sleep 600 &) >/dev/null 2>&1", tag="t")
        path = f"/sandboxes/{made['sandboxID']}/timeout"
        self.assertEqual(self.api("POST", path, {"timeout": 1}).status, 204)
        wait_for(lambda: not self.server.world.live)
        [entry] = self.server.ledger()["sandboxes"]
        self.assertEqual(entry["ended_by"], "timeout")
        wait_for(lambda: not box.marked(made["sandboxID"]))

    def test_who_may_ask(self) -> None:
        self.serve()
        for key in ("", "e2b_1111"):
            refused = self.api("GET", "/v2/sandboxes", x_api_key=key)
            self.assertEqual(refused.status, 401)
            self.assertEqual(refused.json()["code"], 401)
        self.assertEqual(self.api("GET", "/health", x_api_key="").status, 200)

    def test_what_may_be_asked(self) -> None:
        self.serve(limits=Limits(max_timeout_s=3600))
        for wrong in (
            {},
            {"templateID": 1},
            {"templateID": "base", "timeout": 0},
            {"templateID": "base", "timeout": 4000},
            {"templateID": "base", "metadata": {"a": 1}},
            {"templateID": "base", "network": {"denyOut": ["example.com"]}},
        ):
            refused = self.api("POST", "/v2/sandboxes", wrong)
            self.assertEqual(refused.status, 400, wrong)
        unknown = self.api("POST", "/v2/sandboxes", {"templateID": "none"})
        self.assertEqual(unknown.status, 404)
        self.assertEqual(self.server.world.sandboxes, {})

    def test_list_in_pages_and_by_metadata(self) -> None:
        self.serve()
        made = [self.create("base", metadata={"n": str(n % 2)}) for n in range(7)]
        ids = [one["sandboxID"] for one in made]
        seen, token = [], ""
        for _ in range(10):
            query = f"?order=asc&limit=3&nextToken={token}"
            page = self.api("GET", "/v2/sandboxes" + query)
            seen += [one["sandboxID"] for one in page.json()]
            token = urllib.parse.quote(page.headers.get("x-next-token", ""))
            if not token:
                break
        self.assertEqual(seen, ids)
        odd = self.api("GET", "/v2/sandboxes?metadata=n%3D1&state=running").json()
        self.assertEqual([one["sandboxID"] for one in odd], ids[5:0:-2])
        self.assertNotIn("envdAccessToken", odd[0])
        none = self.api("GET", "/v2/sandboxes?metadata=n%3D1%26m%3D2").json()
        self.assertEqual(none, [])
        bad = self.api("GET", "/v2/sandboxes?metadata=n%3Da%253Db")
        self.assertEqual(bad.status, 400)

    def test_older_clouds_have_only_the_first_routes(self) -> None:
        self.serve(v2=False)
        asked = {"templateID": "base", "secure": True}
        self.assertEqual(self.api("POST", "/v2/sandboxes", asked).status, 404)
        made = self.api("POST", "/sandboxes", asked)
        self.assertEqual(made.status, 201)
        self.assertTrue(made.json()["envdAccessToken"])
        path = f"/sandboxes/{made.json()['sandboxID']}/connect"
        self.assertEqual(self.api("POST", "/v2" + path, {}).status, 404)
        self.assertEqual(self.api("POST", path, {"timeout": 60}).status, 200)
        self.assertEqual(self.api("POST", path, {}).status, 400)
        insecure = self.api("POST", "/sandboxes", {"templateID": "base"})
        self.assertNotIn("envdAccessToken", insecure.json())

    def test_at_most_so_many_at_once_and_so_often(self) -> None:
        self.serve(limits=Limits(concurrent=2))
        made = [self.create("base") for _ in range(2)]
        refused = self.api("POST", "/v2/sandboxes", {"templateID": "base"})
        self.assertEqual(refused.status, 429)
        self.assertNotIn("retry-after", refused.headers)
        self.assertIn("maximum number of concurrent", refused.json()["message"])
        self.api("DELETE", f"/sandboxes/{made[0]['sandboxID']}")
        self.create("base")

        self.serve(limits=Limits(creates_per_s=1, create_burst=2))
        self.create("base"), self.create("base")
        refused = self.api("POST", "/v2/sandboxes", {"templateID": "base"})
        self.assertEqual(refused.status, 429)
        self.assertEqual(refused.headers["retry-after"], "1")

    def test_lists_and_limits_may_lag(self) -> None:
        self.serve(limits=Limits(concurrent=1, lag_s=1))
        made = self.create("base")
        path = f"/sandboxes/{made['sandboxID']}"
        self.assertEqual(self.api("DELETE", path).status, 204)
        [listed] = self.api("GET", "/v2/sandboxes?state=running").json()
        self.assertEqual(listed["sandboxID"], made["sandboxID"])
        asked = {"templateID": "base"}
        self.assertEqual(self.api("POST", "/v2/sandboxes", asked).status, 429)
        self.assertEqual(self.api("GET", path).status, 404)
        wait_for(lambda: not self.api("GET", "/v2/sandboxes").json())
        self.create("base")

    def test_one_key_makes_one_sandbox_where_keys_count(self) -> None:
        asked = {"templateID": "base"}
        for idempotent, there in ((True, 1), (False, 2)):
            self.serve(idempotent=idempotent)
            for _ in range(2):
                self.api("POST", "/v2/sandboxes", asked, idempotency_key="a1")
            self.assertEqual(len(self.server.world.live), there)

    def test_events_say_what_was_used(self) -> None:
        self.serve()
        made = self.create("base", metadata={"bf": "1"})
        self.api("DELETE", f"/sandboxes/{made['sandboxID']}")
        path = f"/events/sandboxes/{made['sandboxID']}"
        events = self.api("GET", path + "?orderAsc=true").json()
        labels = [event["event_label"] for event in events]
        self.assertEqual(labels, ["created", "killed"])
        told = events[1]["event_data"]
        self.assertEqual(told["sandbox_metadata"], {"bf": "1"})
        self.assertEqual(told["execution"]["vcpu_count"], 2)
        only = "/events/sandboxes?types=sandbox.lifecycle.killed"
        self.assertEqual(self.api("GET", only).json(), events[1:])


class DataPlane(E2BCase):
    def test_both_kinds_of_502_and_no_address(self) -> None:
        self.serve()
        nobody = {"sandboxID": "i" + "0" * 20}
        gone = self.data(nobody, ENVD, "GET", "/health")
        self.assertEqual(gone.status, 502)
        self.assertEqual(gone.json()["message"], "The sandbox was not found")
        self.assertNotIn("port", gone.json())
        made = self.create("base")
        shut = self.data(made, INTERPRETER, "POST", "/execute", {"code": "1"})
        self.assertEqual(shut.status, 502)
        self.assertEqual(shut.json()["port"], INTERPRETER)
        self.assertIn("port is not open", shut.json()["message"])
        port = self.server.sandbox_port
        self.assertEqual(self.ask(port, "GET", "/health").status, 400)
        host = f"{ENVD}-{made['sandboxID']}.e2b.app"
        direct = self.ask(port, "GET", "/health", None, {"host": host})
        self.assertEqual(direct.status, 204)

    def test_tokens(self) -> None:
        self.serve()
        made = self.create(network={"allowPublicTraffic": False})
        self.assertTrue(made["trafficAccessToken"])
        for token in ("", "wrong"):
            refused = self.data(
                made,
                INTERPRETER,
                "POST",
                "/execute",
                {"code": "1"},
                e2b_traffic_access_token=token,
            )
            self.assertEqual(refused.status, 403)
            refused = self.data(
                made, ENVD, "POST", "/process.Process/List", {}, x_access_token=token
            )
            self.assertEqual(refused.status, 401)
        health = self.data(made, ENVD, "GET", "/health", x_access_token="")
        self.assertEqual(health.status, 204)
        open_one = self.create()  # /execute asks for no token of envd's
        answer = self.data(
            open_one, INTERPRETER, "POST", "/execute", {"code": "1"}, x_access_token=""
        )
        self.assertEqual(answer.lines()[-1], {"type": "end_of_execution"})

    def test_execute(self) -> None:
        self.serve()
        made = self.create()
        answer = self.execute(
            made,
            "import os, sys\nx = 1\nprint('hi')\nos.write(1, b'raw\\n')\n"
            "print('é' * 20000, file=sys.stderr)\n{'a': x}",
        )
        self.assertNotIn("content-type", answer.headers)
        lines = answer.lines()
        self.assertEqual(
            lines[0], {"type": "number_of_executions", "execution_count": 1}
        )
        self.assertEqual(texts(answer, "stdout"), "hi\nraw\n")
        self.assertEqual(texts(answer, "stderr"), "é" * 20000 + "\n")
        [result] = [line for line in lines if line["type"] == "result"]
        self.assertEqual((result["text"], result["json"]), ("{'a': 1}", {"a": 1}))
        self.assertTrue(result["is_main_result"])
        self.assertEqual(lines[-1], {"type": "end_of_execution"})
        second = self.execute(made, "'%d' % (x + 1)").lines()
        self.assertEqual(second[0]["execution_count"], 2)
        self.assertEqual(second[1]["text"], "2")  # its quotes are stripped
        awaited = "import asyncio\nawait asyncio.sleep(0, 'later')"
        self.assertEqual(self.execute(made, awaited).lines()[1]["text"], "later")
        wrong = self.execute(made, "def f():\n    1/0\nf()").lines()[1]
        self.assertEqual(wrong["name"], "ZeroDivisionError")
        self.assertIn("line 2, in f", wrong["traceback"])
        self.assertEqual([run.path for run in self.server.runs], ["execute"] * 4)

    def test_execute_and_its_traps(self) -> None:
        self.serve()
        made = self.create()
        lost = self.execute(made, "x = 1\nimport os\nos._exit(3)").lines()
        self.assertEqual(lost[-2]["name"], "ContextRestarting")
        again = self.execute(made, "x").lines()
        self.assertEqual(again[1]["name"], "NameError")  # its state is lost
        pasted = self.execute(made, "1", env_vars={"A": "it's"}).lines()
        self.assertEqual(pasted[1]["name"], "SyntaxError")
        large = self.execute(made, "#" * (10 << 20) + "#").lines()
        self.assertEqual(large[0]["name"], "WebSocketError")
        both = self.execute(made, "1", context_id="x", language="python")
        self.assertEqual(both.status, 404)
        asked = {"code": "1", "context_id": "x", "language": "python"}
        both = self.data(made, INTERPRETER, "POST", "/execute", asked)
        self.assertEqual(both.status, 400)
        bad = self.data(made, INTERPRETER, "POST", "/execute", {"cod": 1})
        self.assertEqual(bad.status, 422)

    def test_contexts_have_their_own_state_and_turn(self) -> None:
        self.serve()
        made = self.create()
        self.execute(made, "x = 1")
        other = self.data(made, INTERPRETER, "POST", "/contexts", {}).json()["id"]
        there = self.execute(made, "x", context_id=other).lines()
        self.assertEqual(there[1]["name"], "NameError")
        seen: list[float] = []

        def sleep() -> None:
            self.execute(made, "import time; time.sleep(0.3)", context_id=other)
            seen.append(time.monotonic())

        threads = [threading.Thread(target=sleep) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertGreater(abs(seen[0] - seen[1]), 0.25)
        path = f"/contexts/{other}"
        self.assertEqual(self.data(made, INTERPRETER, "DELETE", path).body, b"null")
        gone = self.execute(made, "1", context_id=other)
        self.assertEqual(gone.status, 404)
        default = self.data(made, INTERPRETER, "GET", "/contexts").json()[0]["id"]
        self.data(made, INTERPRETER, "POST", f"/contexts/{default}/restart")
        stale = self.data(made, INTERPRETER, "POST", "/execute", {"code": "1"})
        self.assertEqual((stale.status, stale.body), (200, b""))
        fresh = self.execute(made, "x").lines()
        self.assertEqual(fresh[1]["name"], "NameError")

    def _leave(self, made: object, code: str) -> None:
        """Asks, and is gone before the answer."""
        asked = {"code": code, "language": "python"}
        with contextlib.suppress(TimeoutError):
            client = http.client.HTTPConnection(
                "127.0.0.1", self.server.sandbox_port, timeout=0.5
            )
            headers = {
                "e2b-sandbox-id": made["sandboxID"],
                "e2b-sandbox-port": str(INTERPRETER),
            }
            client.request("POST", "/execute", json.dumps(asked), headers)
            client.getresponse().read()
        client.close()

    def test_who_leaves_is_waited_for_or_interrupts(self) -> None:
        for interrupts in (False, True):
            self.serve(interrupts=interrupts)
            made = self.create()
            self.execute(made, "import time")
            self._leave(made, "time.sleep(1.2); done = True")
            begin = time.monotonic()
            after = self.execute(made, "'done' in dir()").lines()[1]
            self.assertEqual(after["text"], str(not interrupts))
            if not interrupts:
                self.assertGreater(time.monotonic() - begin, 0.4)

    def test_commands(self) -> None:
        self.serve()
        made = self.create("base", envVars={"A": "1"})
        answer = self.start(made, "echo $A $HOME; echo err >&2; exit 3", tag="t")
        frames = answer.frames()
        self.assertIn("pid", frames[0][1]["event"]["start"])
        self.assertTrue(texts(answer, "stdout").startswith("1 "))
        self.assertEqual(texts(answer, "stderr"), "err\n")
        end = {"exitCode": 3, "exited": True}
        end |= {"status": "exit status 3", "error": "exit status 3"}
        self.assertEqual(frames[-2], (0, {"event": {"end": end}}))
        self.assertEqual(frames[-1], (2, {}))
        good = self.start(made, "true").frames()[-2][1]["event"]["end"]
        self.assertEqual(good, {"exited": True, "status": "exit status 0"})
        missing = {"process": {"cmd": "/bin/nonexist"}, "stdin": False}
        answer = self.stream(made, "Start", missing)
        self.assertIn("No such file or directory", texts(answer, "stderr"))
        nowhere = {"process": {"cmd": "true", "cwd": "/nope"}}
        refused = self.stream(made, "Start", nowhere).frames()
        self.assertEqual(refused[0][0], 2)
        self.assertEqual(refused[0][1]["error"]["code"], "invalid_argument")

    def test_a_deadline_kills_the_command_alone(self) -> None:
        self.serve()
        made = self.create("base")
        answer = self.start(
            made,
            "(trap '' HUP; sleep 60) & wait",
            headers={"connect_timeout_ms": "300"},
        )
        error = answer.frames()[-1][1]["error"]
        self.assertEqual(error["code"], "deadline_exceeded")
        self.assertTrue(box.marked(made["sandboxID"]))  # its child lives on
        self.api("DELETE", f"/sandboxes/{made['sandboxID']}")
        wait_for(lambda: not box.marked(made["sandboxID"]))

    def test_keepalive_signal_and_a_second_listener(self) -> None:
        self.serve()
        made = self.create("base")
        answers = []

        def run() -> None:
            headers = {"keepalive_ping_interval": "0.2"}
            answers.append(self.start(made, "exec sleep 60", headers=headers))

        thread = threading.Thread(target=run)
        thread.start()
        listed: list[dict] = []

        def there() -> bool:
            listed[:] = (
                self.call(made, "process.Process/List", {}).json().get("processes", [])
            )
            return bool(listed)

        wait_for(there)
        selector = {"process": {"pid": listed[0]["pid"]}}
        other: list[object] = []
        watcher = threading.Thread(
            target=lambda: other.append(self.stream(made, "Connect", selector))
        )
        watcher.start()
        sandbox = self.server.world.live[made["sandboxID"]]
        processes = sandbox.inside["processes"]
        wait_for(lambda: len(processes.find(selector)._listeners) == 2)
        time.sleep(0.5)  # for keepalives to come
        kill = {**selector, "signal": "SIGNAL_SIGKILL"}
        killed = self.call(made, "process.Process/SendSignal", kill)
        self.assertEqual((killed.status, killed.json()), (200, {}))
        thread.join()
        watcher.join()
        frames = answers[0].frames()
        self.assertIn((0, {"event": {"keepalive": {}}}), frames)
        end = {"exitCode": -1, "status": "signal: killed", "error": "signal: killed"}
        self.assertEqual(frames[-2][1]["event"]["end"], end)
        self.assertEqual(other[0].frames()[-2][1]["event"]["end"], end)
        again = self.call(made, "process.Process/SendSignal", kill)
        self.assertEqual(again.status, 404)
        self.assertEqual(again.json()["code"], "not_found")

    def test_files(self) -> None:
        self.serve()
        made = self.create("base")
        raw = {"content_type": "application/octet-stream"}
        body = os.urandom(70_000)
        put = self.data(made, ENVD, "POST", "/files?path=d/q.bin", body, **raw)
        self.assertIn("text/plain", put.headers["content-type"])
        entry = {"name": "q.bin", "path": "/home/user/d/q.bin", "type": "file"}
        self.assertEqual(put.json(), [entry])
        self.assertEqual(self.data(made, ENVD, "GET", "/files?path=d/q.bin").body, body)
        self.data(
            made,
            ENVD,
            "POST",
            "/files?path=/tmp/z",
            gzip.compress(b"plain"),
            content_encoding="gzip",
            **raw,
        )
        shown = texts(self.start(made, "cat /tmp/z"), "stdout")
        if box.namespaces():
            self.assertEqual(shown, "plain")
        self.assertFalse(Path("/tmp/z").exists())
        other = self.data(
            made, ENVD, "POST", "/files?path=a", b"{}", content_type="a/b"
        )
        self.assertEqual(other.status, 400)
        none = self.data(made, ENVD, "GET", "/files?path=nope")
        self.assertEqual(none.status, 404)
        self.assertEqual(
            none.json()["message"], "path '/home/user/nope' does not exist"
        )
        outside = self.data(made, ENVD, "POST", "/files?path=/etc/x", b"x", **raw)
        self.assertEqual(outside.status, 403)
        self.assertFalse(Path("/etc/x").exists())

    def test_signed_files(self) -> None:
        self.serve()
        made = self.create("base")
        soon = str(int(time.time()) + 60)
        token = made["envdAccessToken"]
        for expiration, status in (("", 404), (soon, 404), ("1000", 401)):
            signed = files.signature(token, "x", "read", "", expiration)
            query = urllib.parse.urlencode(
                {"path": "x", "signature": signed}
                | ({"signature_expiration": expiration} if expiration else {})
            )
            got = self.data(made, ENVD, "GET", f"/files?{query}", x_access_token="")
            self.assertEqual(got.status, status, got.body)
        got = self.data(made, ENVD, "GET", "/files?path=x", x_access_token="")
        self.assertEqual(got.json()["message"], "missing signature query parameter")

    def test_folders(self) -> None:
        self.serve()
        made = self.create("base")
        call = "filesystem.Filesystem/"
        entry = self.call(made, call + "MakeDir", {"path": "zz/a"}).json()["entry"]
        self.assertEqual(entry["path"], "/home/user/zz/a")
        self.assertEqual((entry["type"], entry["mode"]), ("FILE_TYPE_DIRECTORY", 493))
        taken = self.call(made, call + "MakeDir", {"path": "zz/a"})
        self.assertEqual(taken.status, 409)
        self.assertEqual(taken.json()["code"], "already_exists")
        listed = self.call(made, call + "ListDir", {"path": "zz", "depth": 1}).json()
        self.assertEqual([one["name"] for one in listed["entries"]], ["a"])
        moved = {"source": "zz/a", "destination": "zz/b"}
        self.assertEqual(self.call(made, call + "Move", moved).status, 200)
        self.assertEqual(self.call(made, call + "Stat", {"path": "zz/a"}).status, 404)
        for _ in range(2):
            removed = self.call(made, call + "Remove", {"path": "zz"})
            self.assertEqual((removed.status, removed.json()), (200, {}))

    def test_only_one_of_many_makes_a_folder(self) -> None:
        self.serve()
        made = self.create("base")
        answers = []
        lease = {"path": "/tmp/bf-lease"}

        def take() -> None:
            answer = self.call(made, "filesystem.Filesystem/MakeDir", lease)
            answers.append(answer.status)

        threads = [threading.Thread(target=take) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(sorted(answers), [200] + [409] * 7)


SLOW = """
import http.server, time
class Slow(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        time.sleep(float(self.path[1:]))
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.headers["host"].encode())
http.server.ThreadingHTTPServer(("127.0.0.1", 8000), Slow).serve_forever()
"""


@unittest.skipUnless(box.namespaces() == "net", "needs network namespaces (root)")
class Ports(E2BCase):
    """A server that a template starts, in each sandbox on the same port."""

    def setUp(self) -> None:
        self.serve()
        command = f"exec python3 -c {shlex.quote(SLOW)}"
        template = Template("t" * 20, "slow", start_cmd=command)
        self.server.world.add(template)

    def post(self, made: dict, path: str, port: int = 8000, **headers: str) -> Answer:
        return self.data(made, port, "POST", path, b"", **headers)

    def test_each_has_its_own(self) -> None:
        made = [self.create("slow") for _ in range(2)]
        for one in made:
            host = f"8000-{one['sandboxID']}.e2b.app"
            answer = self.post(one, "/0", host=host)
            self.assertEqual((answer.status, answer.body), (200, host.encode()))
        shut = self.post(made[0], "/0", 8001)
        self.assertEqual((shut.status, shut.json()["port"]), (502, 8001))
        self.assertEqual(len(self.server.runs), 2)

    def test_for_who_has_the_token(self) -> None:
        made = self.create("slow", network={"allowPublicTraffic": False})
        for token, status in (("", 403), ("x", 403), (made["trafficAccessToken"], 200)):
            answer = self.post(made, "/0", e2b_traffic_access_token=token)
            self.assertEqual(answer.status, status)

    def test_a_run_that_is_lost_with_its_sandbox(self) -> None:
        """Before an answer has begun nothing tells it from a closed port."""
        made = self.create("slow")
        self.post(made, "/0")
        self.server.rules.add("port", "vanish_during", seconds=0.3)
        lost = self.post(made, "/60")
        self.assertEqual(lost.status, 502)
        self.assertIn("port is not open", lost.json()["message"])
        self.assertEqual(len(self.server.runs), 2)
        gone = self.post(made, "/0")
        self.assertEqual(gone.json()["message"], "The sandbox was not found")


class Faults(E2BCase):
    def broken(self, sandbox: object, code: str = "1") -> bool:
        try:
            answer = self.execute(sandbox, code)
        except (OSError, http.client.HTTPException):
            return True
        return not answer.whole or not answer.body.endswith(b'end_of_execution"}\n')

    def test_a_sandbox_that_vanishes_before_the_run(self) -> None:
        self.serve()
        made = self.create()
        self.server.rules.add("execute", "vanish", count=1)
        answer = self.execute(made, "1")
        self.assertEqual(answer.status, 502)
        self.assertEqual(answer.json()["message"], "The sandbox was not found")
        self.assertEqual(self.server.runs, [])
        self.assertEqual(self.server.ledger()["sandboxes"][0]["ended_by"], "vanished")

    def test_a_sandbox_that_vanishes_within_the_run(self) -> None:
        self.serve()
        made = self.create()
        self.server.rules.add("execute", "vanish_during", seconds=0.3, count=1)
        self.assertTrue(self.broken(made, "import time; time.sleep(60)"))
        self.assertEqual(len(self.server.runs), 1)

    def test_made_but_the_answer_is_lost(self) -> None:
        for fault in ("close_after", "status_after"):
            self.serve()
            self.server.rules.add("create", fault, status=504, count=1)
            asked = {"templateID": "base"}
            if fault == "close_after":
                with self.assertRaises((OSError, http.client.HTTPException)):
                    self.api("POST", "/v2/sandboxes", asked)
            else:
                lost = self.api("POST", "/v2/sandboxes", asked)
                self.assertEqual(lost.status, 504)
            self.assertEqual(len(self.server.world.live), 1)

    def test_refusals_have_the_words_asked_for(self) -> None:
        self.serve()
        words = {"message": "no node", "error_code": "sandbox_capacity_unavailable"}
        self.server.rules.add("create", "status", status=503, retry_after=7, **words)
        refused = self.api("POST", "/v2/sandboxes", {"templateID": "base"})
        self.assertEqual(refused.status, 503)
        self.assertEqual(refused.headers["retry-after"], "7")
        self.assertEqual(refused.json(), {"code": 503, **words})

    def test_streams_that_do_not_end_well(self) -> None:
        for fault in (
            "cut",
            "half",
            "no_end",
            "close_after",
            "garbage",
            "close_before",
        ):
            self.serve()
            made = self.create()
            self.server.rules.add("execute", fault, count=1)
            self.assertTrue(self.broken(made), fault)
            ran = fault != "close_before"
            self.assertEqual(len(self.server.runs), ran, fault)
            self.assertFalse(self.broken(made), fault)
            self.server.rules.clear()
            self.server.rules.add("start", fault, count=1)
            whole = True
            try:
                frames = self.start(made, "echo").frames()
                whole = frames[-1] == (2, {})
            except (OSError, http.client.HTTPException, ValueError):
                whole = False
            except Exception as broken:  # struct.error: half a frame
                whole = type(broken).__name__ != "error"
            self.assertFalse(whole, fault)

    def test_a_slow_answer_is_whole(self) -> None:
        self.serve()
        made = self.create()
        self.server.rules.add("execute", "slow", seconds=0.5, count=1)
        begin = time.monotonic()
        self.assertFalse(self.broken(made))
        self.assertGreater(time.monotonic() - begin, 0.4)

    def test_a_port_that_opens_late_in_each_sandbox(self) -> None:
        self.serve()
        self.server.rules.add("execute", "port_closed", count=2, per_sandbox=True)
        for _ in range(2):
            made = self.create()
            statuses = [self.execute(made, "1").status for _ in range(3)]
            self.assertEqual(statuses, [502, 502, 200])

    def test_what_the_proxy_says_of_a_run_that_it_lost(self) -> None:
        """No word on whether it ran: the same as of a port that is closed."""
        self.serve()
        made = self.create()
        self.server.rules.add("execute", "port_closed_after", count=1)
        answer = self.execute(made, "1")
        self.assertEqual(answer.status, 502)
        self.assertIn("port is not open", answer.json()["message"])
        self.assertEqual(len(self.server.runs), 1)

    def test_for_sandboxes_by_their_metadata(self) -> None:
        self.serve()
        mine = {"bf.workspace": "a"}
        self.server.rules.add("create", "status", status=500, metadata=mine)
        self.server.rules.add("execute", "status", status=500, metadata={"n": "1"})
        asked = {"templateID": "base", "metadata": {**mine, "x": "y"}}
        self.assertEqual(self.api("POST", "/v2/sandboxes", asked).status, 500)
        statuses = []
        for n in "12":
            made = self.create(metadata={"n": n})
            statuses.append(self.execute(made, "1").status)
        self.assertEqual(statuses, [500, 200])

    def test_by_chance_and_again_the_same(self) -> None:
        hits = []
        for _ in range(2):
            self.serve(seed=7)
            rule = self.server.rules.add("health", "status", status=502, share=0.3)
            made = self.create("base")
            for _ in range(50):
                self.data(made, ENVD, "GET", "/health")
            hits.append(rule.hits)
        self.assertEqual(hits[0], hits[1])
        self.assertTrue(5 <= hits[0] <= 25, hits)
