"""The 60-line producer for other teams, checked without Kafka."""

import sys
import unittest
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CLIENTS = ROOT / "dispatcher" / "clients"
sys.path[:0] = [str(ROOT / "tests" / "wire"), str(CLIENTS)]

import bfwire as w  # noqa: E402
import sign_producer  # noqa: E402
import validate as v  # noqa: E402

KEY = w.private_key(b"k" * 32)
BLOCK = '{"run_function_code": "def run(n):\\n    return n = 1\\n"}'
NOW = 1_795_266_000_007


def records(count: int) -> list[w.Record]:
    jobs = []
    for n in range(count):
        inputs = f'{{"n":{n},"x":NaN}}'.encode()
        job = sign_producer.build("acme", f"b-{n}", BLOCK, inputs, NOW, 12)
        jobs.append(job)
    sign_producer.sign(jobs, KEY, NOW)
    return [record(job) for job in jobs]


def record(job: list) -> w.Record:
    topic, partition, workspace, has_value, value, *rest = job
    assert has_value == 1
    headers = [
        (name, text.encode()) for name, text in zip(rest[::2], rest[1::2], strict=True)
    ]
    return w.Record(topic, partition, workspace.encode(), value, headers)


class SignProducer(unittest.TestCase):
    def trusted(self, *workspaces: str) -> v.Validator:
        bound = frozenset(workspaces)
        return v.Validator([w.TrustedKey(w.public_bytes(KEY), "job", bound)], shards=12)

    def test_bfwire_verifies_trees_of_every_size(self) -> None:
        validator = self.trusted("acme", "other")
        for count in (1, 2, 3, 5, 8, 33, 63, 64):
            for rec in records(count):
                validator.validate_record(rec)

    def test_the_same_jobs_as_bfwire(self) -> None:
        rec = records(1)[0]
        job = w.job_parse(rec)
        again = w.job_build(job, "main", (rec.topic, rec.partition))
        w.sign_tree("job", KEY, NOW, [again])
        theirs = dict(rec.headers)
        del theirs["bf_signature"]
        ours = dict(again.headers)
        del ours["bf_signature"]
        self.assertEqual(theirs, ours)

    def test_a_key_of_another_workspace_is_refused(self) -> None:
        with self.assertRaisesRegex(w.WireError, "unknown_key"):
            self.trusted("other").validate_record(records(1)[0])

    def test_a_moved_record_is_refused(self) -> None:
        first, second = records(2)
        first.value, second.value = second.value, first.value
        for rec in (first, second):
            with self.assertRaisesRegex(w.WireError, "bad_signature"):
                self.trusted("acme").validate_record(rec)

    def test_it_stands_alone_and_is_short(self) -> None:
        text = (CLIENTS / "sign_producer.py").read_text()
        self.assertLessEqual(len(text.splitlines()), 60)
        self.assertNotIn("bfwire", text)


if __name__ == "__main__":
    unittest.main()
