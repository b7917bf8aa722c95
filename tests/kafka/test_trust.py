"""Who is trusted changes while workers and dispatchers run: `blockfleet keys
trust` and `revoke`, and a file that somebody has spoilt."""

import base64
import json
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path

import dispatching
from dispatching import Dispatcher
from fleet import BIN, Fleet, bfwire, now_ms
from harness import HANG_S, Cluster, Proc, wait_until
from reader import Reader

SHARDS = 4
STRANGER = bfwire.private_key(b"s" * 32)
LINE = "job ed25519 " + base64.b64encode(bfwire.public_bytes(STRANGER)).decode()
KEY_ID = bfwire.key_id(bfwire.public_bytes(STRANGER))


def blockfleet(keys: Path, *words: str) -> None:
    done = subprocess.run(
        [BIN / "blockfleet", *words, f"--keys.dir={keys}"],
        capture_output=True,
        text=True,
        timeout=HANG_S,
        cwd=keys,
    )
    assert done.returncode == 0, done.stdout + done.stderr


class TrustTest(unittest.TestCase):
    def setUp(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-trust-")
        self.addCleanup(temporary.cleanup)
        self.folder = Path(temporary.name)
        self.cluster = self.enterContext(Cluster())
        self.fleet = Fleet(self.cluster, self.folder, shards=SHARDS)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()
        self.reader = self.enterContext(Reader(self.fleet))

    def count(self, proc: Proc, event: str) -> int:
        return sum(line.get("event") == event for line in proc.log_json())

    def wait_for(self, proc: Proc, event: str, count: int) -> None:
        wait_until(lambda: self.count(proc, event) >= count, HANG_S, f"{event} {count}")

    def send(self, name: str, key: bfwire.Ed25519PrivateKey) -> None:
        rec = self.fleet.build(self.fleet.job("ws", name))
        bfwire.sign_tree("job", key, now_ms(), [rec])
        self.fleet.produce(None, [rec])

    def ends(self, name: str) -> None:
        key = ("ws", name, 0)
        self.reader.wait(lambda: key in self.reader.results, HANG_S, name)
        self.assertEqual(self.reader.only(key).outcome, "succeeded")

    def is_refused(self, letters: int) -> None:
        """As many dead letters by now, the last one of an unknown key."""

        def found() -> list[bfwire.Record]:
            return self.reader.records["deadletter"]

        self.reader.wait(lambda: len(found()) >= letters, HANG_S, "a dead letter")
        self.assertEqual(len(found()), letters)
        self.assertEqual(found()[-1].text("bf_trust"), "untrusted")
        self.assertEqual(
            found()[-1].text("__connect.errors.exception.class.name"), "unknown_key"
        )

    def test_a_worker_learns_whom_to_trust(self) -> None:
        keys, ours = self.fleet.keys.folder, self.fleet.keys.private["job"]
        worker = self.fleet.started(self.fleet.worker("worker"))
        self.send("before", STRANGER)
        self.is_refused(1)

        blockfleet(keys, "keys", "trust", LINE)
        self.wait_for(worker, "keys_read", 1)
        self.send("trusted", STRANGER)
        self.ends("trusted")

        good = (keys / "trusted").read_text()
        (keys / "trusted").write_text("nonsense\n")
        self.wait_for(worker, "keys_unchanged", 1)
        self.send("spoilt", STRANGER)
        self.send("spoilt-ours", ours)
        self.ends("spoilt")
        self.ends("spoilt-ours")
        (keys / "trusted").write_text(good)
        self.wait_for(worker, "keys_read", 2)

        blockfleet(keys, "keys", "revoke", KEY_ID)
        self.wait_for(worker, "keys_read", 3)
        self.send("forged", STRANGER)
        self.send("ours", ours)
        self.ends("ours")
        self.is_refused(2)
        self.assertNotIn(("ws", "forged", 0), self.reader.results)
        self.assertEqual(self.count(worker, "keys_unchanged"), 1)
        self.assertEqual(self.count(worker, "signing_key_revoked"), 0)
        self.assertEqual(self.reader.problems, [])
        self.assertEqual(worker.stop(), 0, worker.tail())

    def test_a_dispatcher_learns_whom_to_trust(self) -> None:
        """It takes no result for true that it has no trusted key for."""
        folder = self.folder / "dispatcher-keys"
        shutil.copytree(self.fleet.keys.folder, folder)
        good = (folder / "trusted").read_text()
        keys = dispatching.Keys(self.folder / "unused")
        keys.folder = folder
        (folder / "trusted").write_text(good.replace("result ", "revoked result "))
        self.fleet.started(self.fleet.worker("worker"))
        dispatcher = Dispatcher(
            self.fleet.procs, self.cluster.bootstrap, keys, self.folder
        ).start()
        self.submit(dispatcher, "unseen")
        self.ends("unseen")
        (folder / "trusted").write_text(good)
        assert dispatcher.proc is not None
        self.wait_for(dispatcher.proc, "keys_read", 1)
        self.submit(dispatcher, "seen")
        self.ends("seen")
        wait_until(
            lambda: self.status(dispatcher, "seen") == "succeeded", HANG_S, "a result"
        )
        # Its result came before, and was nobody's then.
        self.assertEqual(self.status(dispatcher, "unseen"), "waiting")
        blockfleet(folder, "keys", "revoke", self.job_key())
        self.wait_for(dispatcher.proc, "signing_key_revoked", 1)

    def job_key(self) -> str:
        return bfwire.key_id(bfwire.public_bytes(self.fleet.keys.private["job"]))

    def submit(self, dispatcher: Dispatcher, name: str) -> None:
        answer = dispatcher.post(dispatching.job("ws", id=name))
        self.assertEqual(answer.status, 202, answer.body)

    def status(self, dispatcher: Dispatcher, name: str) -> str:
        answer = dispatcher.get(f"/v1/jobs/{name}", workspace="ws")
        self.assertEqual(answer.status, 200, answer.body)
        return json.loads(answer.body)["status"]


if __name__ == "__main__":
    unittest.main()
