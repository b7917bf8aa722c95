"""What a worker does with records that nobody should have written.

Every case of PROTOCOL.md §5.5 stands among good jobs of the same shards, on a
real broker: an untrusted record leaves a dead letter and nothing else, a bad
one that is validly signed a result and a dead letter, an expired one a result,
and the good ones do not notice.
"""

import base64
import tempfile
import unittest
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import fleet as fleets
from confluent_kafka import Message, Producer
from fleet import Fleet, bfwire, now_ms
from harness import HANG_S, Cluster
from oracle import Oracle
from reader import Place, Reader

SHARDS = 4
GOOD = 2_000 if fleets.FULL else 200
WORKSPACE = "hostile"
DAY_MS = 86_400_000


@dataclass
class Case:
    """A record, and how it must end."""

    name: str
    rec: bfwire.Record
    ends: str  # untrusted, nobody, rejected, expired or succeeded
    why: str = ""  # the dead letter's reason
    stage: str = ""
    whole: bool = True  # the dead letter has all of it
    compressed: bool = False
    strict: bool = True  # as our own writers are
    place: Place = ("", 0, 0)


class Sender:
    """Produces as it is told, and learns where the record came to stand."""

    def __init__(self, bootstrap: str, **config: str) -> None:
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap,
                "message.max.bytes": str(64 << 20),
                "linger.ms": "0",
                **config,
            }
        )

    def send(self, *cases: Case) -> None:
        """As one batch, if linger.ms lets them."""
        for case in cases:
            rec = case.rec
            self._producer.produce(
                rec.topic,
                key=rec.key,
                value=rec.value,
                partition=rec.partition,
                headers=rec.headers,
                on_delivery=partial(report, case),
            )
        assert self._producer.flush(HANG_S) == 0, cases[0].name


def report(case: Case, error: object, message: Message) -> None:
    assert error is None, f"{case.name}: {error}"
    case.place = message.topic(), message.partition(), message.offset()


class Attacker:
    """Makes the records. Its own keys: unknown, revoked, bound, misused."""

    def __init__(self, fleet: Fleet) -> None:
        self.fleet = fleet
        self.job_key = fleet.keys.private["job"]
        self.unknown = bfwire.private_key(b"u" * 32)
        self.revoked = bfwire.private_key(b"r" * 32)
        self.bound = bfwire.private_key(b"b" * 32)
        with (fleet.keys.folder / "trusted").open("a") as trusted:
            trusted.write(f"revoked job ed25519 {public(self.revoked)}\n")
            trusted.write(f"job ed25519 {public(self.bound)} workspaces=friend,pal\n")
        self.cases: list[Case] = []

    def job(self, name: str, **more: object) -> bfwire.Record:
        inputs = b'{"case": "' + name.encode() + b'"}'
        job = self.fleet.job(WORKSPACE, name, **{"inputs": inputs, **more})
        return self.fleet.build(job)

    def sign(self, rec: bfwire.Record, key=None, purpose="job", at_ms=0) -> None:
        at_ms = at_ms or now_ms()
        bfwire.sign_tree(purpose, key or self.job_key, at_ms, [rec])

    def add(
        self,
        name: str,
        ends: str,
        why: str = "",
        before: Callable[[bfwire.Record], object] | None = None,
        after: Callable[[bfwire.Record], object] | None = None,
        key: object = None,
        purpose: str = "job",
        at_ms: int = 0,
        job: dict[str, object] | None = None,
        **more: object,
    ) -> None:
        """A good job, changed before and after it is signed."""
        rec = self.job(name, **(job or {}))
        if before:
            before(rec)
        self.sign(rec, key, purpose, at_ms)
        if after:
            after(rec)
        self.cases.append(Case(name, rec, ends, why, **more))

    # ---- the tables ---------------------------------------------------------

    def untrusted(self) -> None:
        def unsigned(rec: bfwire.Record) -> None:
            rec.headers = [h for h in rec.headers if h[0] != "bf_signature"]

        def add(name: str, why: str, **more: object) -> None:
            self.add(name, "untrusted", why, stage="verify", **more)

        add("unsigned", "unsigned", after=unsigned)
        add("unknown-key", "unknown_key", key=self.unknown)
        add("revoked-key", "unknown_key", key=self.revoked)
        add("bound-key", "unknown_key", key=self.bound)
        state = self.fleet.keys.private["state"]
        add("state-key", "wrong_purpose", key=state, purpose="state")
        add("state-key-as-job", "unknown_key", key=state)
        add("moved-partition", "bad_signature", after=moved)
        add("moved-topic", "bad_signature", after=setter(topic="bf.jobs.batch"))
        add("signed-elsewhere", "misplaced", before=moved)
        add("other-key", "misplaced", before=setter(key=b"somebody"))
        add("null-key", "misplaced", before=setter(key=None))
        add("empty-key", "misplaced", before=setter(key=b""))
        add(
            "other-key-and-bad-too",
            "misplaced",
            before=lambda r: (setter(key=b"x")(r), header("bf_timeout_ms", b"no")(r)),
        )
        add("tampered-value", "bad_signature", after=setter(value=b'{"n": 2}'))
        add("value-removed", "bad_signature", after=setter(value=None))
        add("tampered-header", "bad_signature", after=header("bf_timeout_ms", b"1"))
        add("header-added", "bad_signature", after=appended("bf_backend", b"noop"))
        add("ahead", "created_ahead", at_ms=now_ms() + 600_000)
        twice = appended("bf_timeout_ms", b"1")
        add("header-twice", "duplicate_header", before=twice)
        again = appended("bf_signature", b"v1")
        add("signature-twice", "duplicate_header", after=again)
        add("no-signature", "bad_signature", after=header("bf_signature", b"v1.job"))
        add("null-signature", "unsigned", after=header("bf_signature", None))
        add("bad-workspace", "bad_workspace", before=header("bf_workspace", b"a b"))
        add("null-workspace", "bad_workspace", before=header("bf_workspace", None))
        crowd = filled(48)  # and the signature
        add("49-headers", "too_many_headers", before=crowd, whole=False)
        more = filled(200, "x-")
        add("200-headers", "too_many_headers", after=more, whole=False)
        add("naked", "bad_workspace", after=naked)
        add("naked-with-value", "bad_workspace", after=setter(headers=[]))
        bomb = setter(value=b" " * (20 << 20))
        add("bomb", "too_large", before=bomb, whole=False, compressed=True)

    def nobody(self) -> None:
        for name, change in {
            "no-job": without("bf_job"),
            "bad-job": header("bf_job", b"a/b"),
            "null-job": header("bf_job", None),
            "no-generation": without("bf_generation"),
            "bad-generation": header("bf_generation", b"01"),
        }.items():
            self.add(name, "nobody", "bad_record", change, stage="decode")

    def rejected(self) -> None:
        def add(name: str, why: str, before: object = None, **more: object) -> None:
            self.add(name, "rejected", why, before, stage="decode", **more)

        for name in (
            "bf_kind bf_id_origin bf_spread bf_execution bf_expires_at_ms bf_block "
            "bf_timeout_ms bf_max_attempts ce_id ce_type ce_time content-type"
        ).split():
            add(f"no-{name}", "bad_record", without(name))
            add(f"null-{name}", "bad_record", header(name, None))
        add("other-ce_id", "bad_record", header("ce_id", b"0" * 32))
        add("unknown-kind", "unknown_kind", header("bf_kind", b"sandbox.start"))
        far = {"expires_at_ms": now_ms() + 9 * DAY_MS}
        add("far-expiry", "bad_record", job=far)
        add("no-value", "bad_record", empty(None))
        add("empty-value", "bad_record", empty(b""))
        add("labels", "bad_record", job={"labels": b'{"n": 1}'})
        long = {"labels": b'{"n": "' + b"x" * 4_096 + b'"}'}
        add("long-labels", "too_large", job=long)
        add("long-unknown", "too_large", appended("bf_new", b"x" * 1_025))
        add("long-order-key", "too_large", job={"order_key": b"x" * 1_025})
        add("bad-order-key", "bad_record", job={"order_key": b"a\0b"})
        for name, block in {
            "block-not-json": b"def run(): pass",
            "block-empty": b"",
            "block-array": b"[]",
            "block-no-code": b"{}",
            "block-twice": b'{"run_function_code": "", "run_function_code": ""}',
            "block-number": b'{"run_function_code": 1}',
            "block-unknown": b'{"run_function_code": "", "secrets": "all"}',
            "block-surrogate": b'{"run_function_code": "\\ud800"}',
            "block-deep": b'{"run_function_code": ' + b"[" * 10_000 + b"}",
        }.items():
            add(name, "bad_block", job={"block": block})
        large = b'{"run_function_code": "' + b"x" * (256 << 10) + b'"}'
        add("block-large", "too_large", job={"block": large})
        inputs = b'"' + b"x" * (15 << 20) + b'"'
        add("inputs-large", "too_large", job={"inputs": inputs})
        elsewhere = {"backend": "modal"}
        name = "other-backend"
        self.add(name, "rejected", "no_backend", stage="dispatch", job=elsewhere)

    def rest(self) -> None:
        past = {"expires_at_ms": now_ms() - 1, "accepted_at_ms": now_ms() - DAY_MS}
        self.add("expired", "expired", job=past)
        self.add("expired-bad-block", "expired", job={**past, "block": b"no"})
        large = b'"' + b"\xff\0" * (15 << 19)
        self.add("large", "succeeded", job={"inputs": large[: 15 << 20]})
        odd = b'{"a": NaN, "b": 9223372036854775808, "c": "\\u0000", \xff\0}'
        self.add("odd-bytes", "succeeded", job={"inputs": odd})
        self.add("48-headers", "succeeded", before=filled(47, "x-"))
        self.add("other-names-twice", "succeeded", after=appended("x", b"1", 2))
        trace = {"traceparent": "00-x"}
        self.add("bad-traceparent", "succeeded", job=trace, strict=False)
        new = appended("bf_of_next_year", b"1")
        self.add("unknown-header", "succeeded", before=new, strict=False)


# ---- changes to a record ----------------------------------------------------


def public(key: bfwire.Ed25519PrivateKey) -> str:
    return base64.b64encode(bfwire.public_bytes(key)).decode()


def moved(rec: bfwire.Record) -> None:
    rec.partition = (rec.partition + 1) % SHARDS


def setter(**values: object) -> Callable[[bfwire.Record], None]:
    def change(rec: bfwire.Record) -> None:
        for name, value in values.items():
            setattr(rec, name, value)

    return change


def header(name: str, value: bytes | None) -> Callable[[bfwire.Record], None]:
    """The header's value is another one."""

    def change(rec: bfwire.Record) -> None:
        rec.headers = [(n, value if n == name else v) for n, v in rec.headers]

    return change


def without(name: str) -> Callable[[bfwire.Record], None]:
    def change(rec: bfwire.Record) -> None:
        rec.headers = [(n, v) for n, v in rec.headers if n != name]

    return change


def appended(
    name: str, value: bytes | None, times: int = 1
) -> Callable[[bfwire.Record], None]:
    def change(rec: bfwire.Record) -> None:
        rec.headers += [(name, value)] * times

    return change


def filled(count: int, prefix: str = "bf_x") -> Callable[[bfwire.Record], None]:
    """That many headers in all."""

    def change(rec: bfwire.Record) -> None:
        while len(rec.headers) < count:
            rec.headers.append((f"{prefix}{len(rec.headers)}", b"1"))

    return change


def empty(value: bytes | None) -> Callable[[bfwire.Record], None]:
    def change(rec: bfwire.Record) -> None:
        rec.value = value
        without("content-type")(rec)

    return change


def naked(rec: bfwire.Record) -> None:
    rec.headers, rec.key, rec.value = [], None, None


class HostileTest(unittest.TestCase):
    fleet: Fleet
    reader: Reader
    cases: list[Case]
    good: list[bfwire.Job]

    @classmethod
    def setUpClass(cls) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-hostile-")
        cls.addClassCleanup(temporary.cleanup)
        cluster = cls.enterClassContext(Cluster())
        cls.fleet = Fleet(cluster, Path(temporary.name), shards=SHARDS)
        cls.enterClassContext(cls.fleet.procs)
        cls.fleet.init_topics()
        attacker = Attacker(cls.fleet)
        attacker.untrusted()
        attacker.nobody()
        attacker.rejected()
        attacker.rest()
        cls.cases = attacker.cases
        cls._produce(cluster.bootstrap)
        cls.reader = cls.enterClassContext(Reader(cls.fleet))
        cls._run()

    @classmethod
    def _produce(cls, bootstrap: str) -> None:
        """Good jobs before, between and behind."""
        cls.good = [cls.fleet.job(f"ws-{n % 7}", f"good-{n}") for n in range(GOOD)]
        plain = Sender(bootstrap)
        compressing = Sender(bootstrap, **{"compression.type": "lz4"})
        step = GOOD // len(cls.cases) + 1
        for n, case in enumerate(cls.cases):
            cls.fleet.submit(cls.good[n * step : (n + 1) * step])
            (compressing if case.compressed else plain).send(case)
        cls.fleet.submit(cls.good[len(cls.cases) * step :])

    @classmethod
    def _run(cls) -> None:
        """Until all that must come is there, then to the worker's end."""
        cls.worker = cls.fleet.worker("worker", log__rate=0)
        waiting = {(job.workspace, job.id, 0) for job in cls.good} | {
            (WORKSPACE, case.name, 0)
            for case in cls.cases
            if case.ends in ("rejected", "expired", "succeeded")
        }
        letters = {
            case.place: case.name
            for case in cls.cases
            if case.ends in ("rejected", "untrusted", "nobody")
        }

        def done() -> bool:
            assert cls.worker.alive(), cls.worker.tail()
            waiting.difference_update(list(cls.reader.results))
            for place in list(cls.reader.letters):
                letters.pop(place, None)
            return not waiting and not letters

        try:
            cls.reader.wait(done, HANG_S, "every result and every letter")
        except AssertionError as error:
            missing = f"results of {waiting}, letters of {letters}"
            raise AssertionError(f"{error}; missing: {missing}") from None
        cls.code = cls.worker.stop()

    def by_end(self, *ends: str) -> list[Case]:
        return [case for case in self.cases if case.ends in ends]

    def letter(self, case: Case) -> bfwire.Record:
        found = self.reader.letters.get(case.place, [])
        self.assertEqual(len(found), 1, f"letters of {case.place}")
        return found[0]

    # ---- what is asserted ---------------------------------------------------

    def test_the_worker_stops_as_asked(self) -> None:
        self.assertEqual(self.code, 0, self.worker.tail())

    def test_the_oracle_agrees(self) -> None:
        """But for what it is stricter with, and where it has no clock."""
        cluster, keys = self.fleet.cluster, self.fleet.keys.trusted()
        oracle = Oracle(cluster.bootstrap, keys=keys, shards=SHARDS)
        with oracle.sampler("blockfleet"):
            evidence = oracle.collect()
        ahead = [case.place for case in self.cases if case.why == "created_ahead"]
        evidence.records["jobs"] = [
            rec
            for rec in evidence.of("jobs")
            if (rec.topic, rec.partition, rec.offset) not in ahead
        ]
        verdict = oracle.judge(self.fleet.run_logs)
        loose = verdict.differences.pop("bad_job_not_rejected", [])
        self.assertTrue(verdict.ok, str(verdict))
        self.assertEqual(len(loose), sum(not case.strict for case in self.cases))
        self.assertEqual(self.reader.problems, [])

    def test_good_jobs_do_not_notice(self) -> None:
        for job in self.good:
            result = self.reader.only((job.workspace, job.id, 0))
            self.assertEqual((result.outcome, result.value), ("succeeded", job.inputs))

    def test_untrusted_is_a_letter_without_a_name(self) -> None:
        for case in self.by_end("untrusted"):
            with self.subTest(case.name):
                letter = self.letter(case)
                self.check_letter(case, letter, "untrusted")
                for name in ("bf_workspace", "bf_job", "bf_generation"):
                    self.assertFalse(letter.has(name), name)
                self.assertNotIn((WORKSPACE, case.name, 0), self.reader.results)

    def test_nobody_to_answer_is_a_trusted_letter(self) -> None:
        for case in self.by_end("nobody"):
            with self.subTest(case.name):
                letter = self.letter(case)
                self.check_letter(case, letter, "trusted")
                self.assertEqual(letter.text("bf_workspace"), WORKSPACE)
                for name in ("bf_job", "bf_generation"):
                    self.assertFalse(letter.has(name), name)

    def test_rejected_is_a_result_and_a_letter(self) -> None:
        for case in self.by_end("rejected"):
            with self.subTest(case.name):
                result = self.reader.only((WORKSPACE, case.name, 0))
                said = result.outcome, result.reason, result.delivery, result.usage_id
                self.assertEqual(said, ("rejected", case.why, "did_not_run", None))
                letter = self.letter(case)
                self.check_letter(case, letter, "trusted")
                self.assertEqual(result.dead_letter, letter.text("ce_id"))
                self.assertEqual(letter.text("bf_job"), case.name)

    def test_expired_is_a_result_alone(self) -> None:
        for case in self.by_end("expired"):
            with self.subTest(case.name):
                result = self.reader.only((WORKSPACE, case.name, 0))
                said = result.outcome, result.delivery, result.dead_letter
                self.assertEqual(said, ("expired", "did_not_run", None))
                self.assertNotIn(case.place, self.reader.letters)

    def test_odd_but_allowed(self) -> None:
        for case in self.by_end("succeeded"):
            with self.subTest(case.name):
                result = self.reader.only((WORKSPACE, case.name, 0))
                self.assertEqual(result.outcome, "succeeded")
                self.assertTrue(result.value == case.rec.value, "another value")
                self.assertNotIn(case.place, self.reader.letters)

    def test_nothing_else_is_published(self) -> None:
        places = {case.place for case in self.by_end("untrusted", "nobody", "rejected")}
        self.assertEqual(set(self.reader.letters), places)
        names = {(job.workspace, job.id, 0) for job in self.good} | {
            (WORKSPACE, case.name, 0)
            for case in self.by_end("rejected", "expired", "succeeded")
        }
        self.assertEqual(set(self.reader.results), names)

    def check_letter(self, case: Case, letter: bfwire.Record, trust: str) -> None:
        said = [
            letter.text(name)
            for name in (
                "__connect.errors.stage",
                "__connect.errors.exception.class.name",
                "bf_trust",
            )
        ]
        self.assertEqual(said, [case.stage, case.why, trust])
        self.assertTrue(letter.text("__connect.errors.exception.message"))
        self.assertEqual(letter.key, case.rec.key)
        originals = bfwire.original_parse(letter.get("bf_original_headers") or b"")
        if case.whole:
            self.assertFalse(letter.has("bf_truncated"))
            self.assertTrue(letter.value == case.rec.value, "another value")
            self.assertEqual(originals, case.rec.headers)
        else:
            self.assertEqual(letter.text("bf_truncated"), "true")
            self.assertIn(letter.value, (b"", case.rec.value))
            self.assertEqual(originals, case.rec.headers[: len(originals)])


class ReplayTest(unittest.TestCase):
    """A whole signed record, written again by somebody who may write.

    An id of the client's, or from its key: one result. An id of the server's:
    a signature cannot tell the copy, so it runs again, under the same ids;
    that is what the topics' ACLs are for (PROTOCOL.md §6).
    """

    def test_replays(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-hostile-")
        self.addCleanup(temporary.cleanup)
        cluster = self.enterContext(Cluster())
        self.fleet = Fleet(cluster, Path(temporary.name), shards=SHARDS)
        self.enterContext(self.fleet.procs)
        self.fleet.init_topics()
        attacker = Attacker(self.fleet)
        for origin in bfwire.ID_ORIGINS:
            for execution in bfwire.EXECUTIONS:
                job = {"id_origin": origin, "execution": execution}
                attacker.add(f"{origin}-{execution}", "succeeded", job=job)
        bad = {"id_origin": "client", "block": b"no"}
        attacker.add("client-rejected", "rejected", job=bad)
        past = {"expires_at_ms": now_ms() - 1, "accepted_at_ms": now_ms() - DAY_MS}
        attacker.add("client-expired", "expired", job={"id_origin": "client", **past})
        sender = Sender(cluster.bootstrap)
        self.reader = self.enterContext(Reader(self.fleet))
        for life in range(2):
            sender.send(*attacker.cases, *attacker.cases)
            self.live(life, sender, len(attacker.cases) * 2)
        for case in attacker.cases:
            with self.subTest(case.name):
                self.check(case)
        self.assertEqual(self.reader.problems, [])

    def live(self, life: int, sender: Sender, sent: int) -> None:
        """A worker comes, ends what there is, and goes."""
        worker = self.fleet.worker(f"worker-{life}", log__rate=0)
        last = [Case(f"last-{n}", self.last(life, n), "") for n in range(16)]
        sender.send(*last)
        names = {(f"ws-{n}", f"last-{life}", 0) for n in range(16)}
        results = self.reader.results
        self.reader.wait(
            lambda: names <= set(results), HANG_S, "the last of each shard"
        )
        self.assertEqual(worker.stop(), 0)

    def last(self, life: int, n: int) -> bfwire.Record:
        rec = self.fleet.build(self.fleet.job(f"ws-{n}", f"last-{life}"))
        bfwire.sign_tree("job", self.fleet.keys.private["job"], now_ms(), [rec])
        return rec

    def check(self, case: Case) -> None:
        """Four copies were written, two in each life."""
        results = self.reader.results[WORKSPACE, case.name, 0]
        self.assertEqual(len({result.id for result in results}), 1)
        self.assertEqual(len({result.usage_id for result in results}), 1)
        self.assertEqual({result.outcome for result in results}, {case.ends})
        self.assertEqual(len(results), 4 if case.name.startswith("server") else 1)


class BombTest(unittest.TestCase):
    """Records that grow when they are unpacked, beyond what a client takes."""

    BATCH = 6

    def test_a_bomb_is_reported_and_its_neighbours_run(self) -> None:
        temporary = tempfile.TemporaryDirectory(prefix="blockfleet-hostile-")
        self.addCleanup(temporary.cleanup)
        cluster = self.enterContext(Cluster())
        fleet = Fleet(cluster, Path(temporary.name), shards=1, spread=1)
        self.enterContext(fleet.procs)
        fleet.init_topics()
        attacker = Attacker(fleet)
        good = []
        for codec in ("gzip", "zstd"):
            good.append(fleet.job("ws", f"before-{codec}"))
            fleet.submit(good[-1:])
            bomb = setter(value=b" " * (60 << 20))
            attacker.add(codec, "untrusted", after=bomb)
            sender = Sender(cluster.bootstrap, **{"compression.type": codec})
            sender.send(attacker.cases[-1])
        good.append(fleet.job("ws", "between"))
        fleet.submit(good[-1:])
        first = self.batch(attacker, cluster.bootstrap)
        good.append(fleet.job("ws", "last"))
        fleet.submit(good[-1:])

        reader = self.enterContext(Reader(fleet))
        worker = fleet.worker("worker")
        reader.wait(lambda: len(reader.results) == len(good), HANG_S, "good jobs")
        reader.wait(lambda: len(reader.letters) == 3, HANG_S, "letters")
        self.assertEqual(worker.stop(), 0)
        for case in attacker.cases[:2]:
            with self.subTest(case.name):
                (letter,) = reader.letters[case.place]
                reason = letter.text("__connect.errors.exception.class.name")
                # This librdkafka bounds what zstd unpacks to, and the rest not.
                what = "lost_records" if case.name == "zstd" else "too_large"
                self.assertEqual(reason, what)
        (letter,) = reader.letters["bf.jobs", 0, first]
        message = letter.text("__connect.errors.exception.message")
        span = f"{self.BATCH} records of offsets {first} to {first + self.BATCH - 1} "
        self.assertTrue(message.startswith(span), message)
        worker.wait_json(lambda line: line["event"] == "unreadable", HANG_S)

    def batch(self, attacker: Attacker, bootstrap: str) -> int:
        """Each of them is allowed, but not all in one batch. The first offset."""
        value = setter(value=b" " * (10 << 20))
        for n in range(self.BATCH):
            attacker.add(f"batch-{n}", "untrusted", after=value)
        config = {
            "compression.type": "zstd",
            "linger.ms": "500",
            "batch.size": str(128 << 20),
            "message.max.bytes": str(128 << 20),
        }
        cases = attacker.cases[-self.BATCH :]
        Sender(bootstrap, **config).send(*cases)
        self.assertEqual(
            [case.place[2] - cases[0].place[2] for case in cases],
            list(range(self.BATCH)),
        )
        return cases[0].place[2]


if __name__ == "__main__":
    unittest.main()
