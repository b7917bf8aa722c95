"""The billing example on a real broker: a total that crashes cannot change.

What it must come to is added up from what the oracle read, with fractions of
Python's decimal, not with the example's own code.
"""

import json
import random
import re
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
import unittest
from collections import Counter, defaultdict
from decimal import Decimal
from pathlib import Path

from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient
from dispatching import BIN, Dispatcher
from fleet import FULL, QUICK, ROOT, Fleet, bfwire, now_ms, spread_jobs
from harness import HANG_S, Cluster, Proc, wait_until
from oracle import Oracle
from reader import Reader
from test_crash import SHARDS, CrashCase

sys.path.insert(0, str(ROOT / "tests" / "providers"))

from receivers import OpenMeter, Stripe  # noqa: E402

BILLING = ROOT / "dispatcher" / "clients" / "billing"
KILLS = 20 if FULL else 5
JOBS = 12_000 if FULL else 2_000
WORKSPACES = 5
QUANTITIES = bfwire.QUANTITIES
Totals = dict[str, dict[str, Decimal]]
END = -1  # of a partition
PRICES = """
currency = "EUR"
places = 2
[[from]]
time = 2020-01-01T00:00:00Z
duration_seconds = "0.5"
runs = "0.001"
"""


def totals_of(records: list[bfwire.Record], billable: bool) -> Totals:
    """Exact sums by workspace of one row per ce_id."""
    rows = {rec.text("ce_id"): json.loads(rec.value or b"") for rec in records}
    sums: Totals = defaultdict(lambda: defaultdict(Decimal))
    for row in rows.values():
        for name in QUANTITIES:
            if (row["billable"] or not billable) and row[name] is not None:
                sums[row["workspace"]][name] += Decimal(row[name])
    return {workspace: dict(by) for workspace, by in sums.items()}


def counted(db: Path) -> Totals:
    """The same, of what the example has in its file."""
    sums: Totals = {}
    names = ", ".join(f"sum({name})" for name in QUANTITIES)
    found = sqlite3.connect(db).execute(
        f"SELECT workspace, {names} FROM rows GROUP BY 1"
    )
    for workspace, *values in found:
        told = zip(QUANTITIES, values, strict=True)
        sums[workspace] = {
            name: Decimal(n).scaleb(-6 if name.endswith("seconds") else 0)
            for name, n in told
            if n is not None
        }
    return sums


class Example(unittest.TestCase):
    """Runs the example's programs."""

    cluster: Cluster
    fleet: Fleet

    def use(self, folder: Path) -> None:
        self.db = folder / "billing.db"
        self.prices = folder / "prices.toml"
        self.prices.write_text(PRICES)

    def argv(self, program: str, *more: object) -> list[str]:
        return [sys.executable, str(BILLING / program), *map(str, more)]

    def following(self, db: Path, *more: object) -> list[str]:
        options = ["--brokers", self.cluster.bootstrap, "--db", db]
        trusted = ["--trusted", self.fleet.keys.folder / "trusted"]
        return self.argv("billing.py", "follow", *options, *trusted, *more)

    def run_it(self, argv: list[str], exits: int = 0) -> str:
        done = subprocess.run(argv, capture_output=True, text=True, timeout=HANG_S)
        self.assertEqual(done.returncode, exits, done.stderr[-2000:])
        return done.stdout

    def follow(self, db: Path | None = None, *more: object, exits: int = 0) -> None:
        self.run_it(self.following(db or self.db, "--until-end", *more), exits)

    def report(self, db: Path | None = None) -> dict:
        more = "--db", db or self.db, "--format", "json", "--prices", self.prices
        return json.loads(self.run_it(self.argv("billing.py", "report", *more)))

    def rows(self) -> int:
        try:
            found = sqlite3.connect(self.db).execute("SELECT count(*) FROM rows")
        except sqlite3.OperationalError:
            return 0  # the file is being made
        return found.fetchone()[0]

    def aside(self) -> list[str]:
        found = sqlite3.connect(self.db).execute("SELECT why FROM aside")
        return [why for (why,) in found]

    def usage(self) -> list[bfwire.Record]:
        oracle = Oracle(self.cluster.bootstrap, keys=self.fleet.keys.trusted())
        return oracle.collect(None).of("usage")


class KillTest(CrashCase, Example):
    """The one that must show: killed at random moments while rows are made."""

    slow = True

    def setUp(self) -> None:
        super().setUp()
        self.use(self.folder)

    def test_the_total_is_the_oracles_after_every_kill(self) -> None:
        jobs = spread_jobs(self.fleet, JOBS, WORKSPACES, lambda n: {})
        self.fleet.submit(jobs)
        options = {"worker__concurrency": 32 if FULL else 16, "noop__delay": "200ms"}
        first = self.start("w0", **options)
        self.reach(JOBS // 20)
        seen = self.kill_followers(first, options)
        self.assertTrue(any(0 < rows < JOBS for rows in seen), seen)
        oracle = Oracle(
            self.cluster.bootstrap, keys=self.fleet.keys.trusted(), shards=SHARDS
        )
        oracle.collect(lambda seen: len(seen.of("results")) >= JOBS, 180)
        for worker in self.fleet.procs.all:
            worker.stop()
        self.follow()
        usage = oracle.collect(None).of("usage")
        verdict = oracle.judge(self.fleet.run_logs, self.killed, samples=False)
        self.assertTrue(verdict.ok, verdict)
        print(f"\n{KILLS} kills, the file had {seen} rows at each, {verdict.counts}")
        self.compare(usage)
        self.rebuild()

    def kill_followers(self, worker: Proc, options: dict) -> list[int]:
        """Every other one while it counts, the others while they may still start."""
        seen = [0]
        for n in range(KILLS):
            follower = self.fleet.procs.start(f"billing{n}", self.following(self.db))
            if n % 2 == 0:
                wait_until(
                    lambda: self.rows() > min(seen[-1], JOBS - 1), HANG_S, "rows"
                )
            time.sleep(random.uniform(0, 1))  # to be killed anywhere, not a wait
            self.assertTrue(follower.alive(), follower.log_text()[-2000:])
            follower.kill9()
            seen.append(self.rows())
            if n == KILLS // 2:
                self.kill9(worker)
                self.start("w1", **options)
        return seen[1:]

    def compare(self, usage: list[bfwire.Record]) -> None:
        ids = {rec.text("ce_id") for rec in usage}
        self.assertEqual(len(ids), JOBS)
        self.assertEqual(self.rows(), JOBS)
        self.assertEqual(self.aside(), [])
        self.assertEqual(counted(self.db), totals_of(usage, billable=False))
        report = self.report()
        billed = totals_of(usage, billable=True)
        for name in ("runs", "duration_seconds", "input_bytes", "output_bytes"):
            by_workspace: Counter[str] = Counter()
            for line in report["lines"]:
                by_workspace[line["workspace"]] += Decimal(line[name])
            wanted = {workspace: sums[name] for workspace, sums in billed.items()}
            self.assertEqual(by_workspace, wanted)
            self.assertEqual(Decimal(report["total"][name]), sum(wanted.values()))
        self.assertEqual(
            Decimal(report["total"]["amount"]),
            sum(Decimal(line["amount"]) for line in report["lines"]),
        )

    def rebuild(self) -> None:
        """From nothing, and over what is there: the same."""
        again = self.folder / "again.db"
        self.follow(again)
        self.assertEqual(counted(again), counted(self.db))
        self.assertEqual(self.report(again)["lines"], self.report()["lines"])
        self.follow(self.db, "--from-start")
        self.assertEqual(self.rows(), JOBS)
        self.assertEqual(counted(again), counted(self.db))


class RecordsTest(Example):
    """Rows made by hand: corrections, late and forged ones, copies, lost ones."""

    slow = True

    @classmethod
    def setUpClass(cls) -> None:
        cls.cluster = cls.enterClassContext(Cluster())
        folder = Path(cls.enterClassContext(tempfile.TemporaryDirectory()))
        cls.fleet = Fleet(cls.cluster, folder, shards=SHARDS)
        cls.enterClassContext(cls.fleet.procs)
        cls.fleet.init_topics()

    def setUp(self) -> None:
        self.use(Path(self.enterContext(tempfile.TemporaryDirectory())))
        self.addCleanup(self.empty_the_topic)
        self.at_ms = now_ms()

    def empty_the_topic(self) -> None:
        admin = AdminClient({"bootstrap.servers": self.cluster.bootstrap, **QUICK})
        gone = [TopicPartition("bf.usage", at, END) for at in range(SHARDS)]
        for future in admin.delete_records(gone).values():
            future.result(HANG_S)

    def row(self, n: int, ended_at_ms: int) -> bfwire.Record:
        job = self.fleet.job("acme", f"job-{n}")
        end = bfwire.End(
            job=job,
            source=self.fleet.build(job),
            outcome="succeeded",
            delivery="ran",
            ended_at_ms=ended_at_ms,
            worker="w-0",
            run_id=bfwire.run_id(job.subject(1), n.to_bytes(16, "big")),
            backend="noop",
            isolation="none",
            started_at_ms=ended_at_ms - 100,
            duration_us=1_500_000,
            billable=True,
            has_usage=True,
            result=b"1",
        )
        return bfwire.usage_build(end, "main", self.fleet.place(job, "usage"))

    def correct(self, row_id: str, *more: str, exits: int = 0) -> None:
        (key,) = self.fleet.keys.folder.glob("result.*.key")
        options = ["--brokers", self.cluster.bootstrap, "--key", key, "--db", self.db]
        self.run_it(self.argv("correct.py", *options, row_id, *more), exits)

    def closing(self, month: str) -> list[str]:
        more = "--db", self.db, "--prices", self.prices
        return self.argv("billing.py", "close", month, *more)

    def seconds(self) -> list[str]:
        return [line["duration_seconds"] for line in self.report()["lines"]]

    def test_corrections_are_rows_of_their_own(self) -> None:
        first, second = (self.row(n, self.at_ms) for n in range(2))
        self.fleet.produce("result", [first, second])
        self.follow()
        name = first.text("ce_id")
        self.correct(name, "duration_seconds=-0.250000", "output_bytes=2")
        self.correct(name, "duration_seconds=-2.000000", exits=1)  # not yet read
        self.follow()
        self.correct(name, "--void")
        self.follow()
        self.assertEqual(self.seconds(), ["1.500000"])
        self.correct(name, "--void", exits=1)  # nothing is left of it
        with Reader(self.fleet, ("usage",)) as reader:
            reader.wait(lambda: len(reader.records["usage"]) == 4, HANG_S, "four rows")
        self.assertEqual(reader.problems, [])  # schema, spelling, id, signature
        fixes = [
            rec for rec in reader.records["usage"] if b"correction_of" in rec.value
        ]
        self.assertEqual({rec.partition for rec in fixes}, {first.partition})
        numbers = [json.loads(rec.value)["correction_number"] for rec in fixes]
        self.assertEqual(numbers, [1, 2])
        for n, rec in enumerate(fixes):
            value = json.loads(rec.value)
            changes = {q: value[q] for q in QUANTITIES if value[q] is not None}
            at = bfwire.un_rfc3339(rec.text("ce_time"), "bad")
            row = json.loads(first.value)
            fix = bfwire.Correction(row, name, n + 1, at, changes)
            place = rec.topic, rec.partition
            again = bfwire.correction_build(fix, "main", place)
            self.assertEqual(again.value, rec.value)
            self.assertEqual(again.headers, rec.headers[:-1])

    def cli(self, *words: str, exits: int = 0) -> dict:
        """A document of `blockfleet`; what it says when it fails."""
        brokers = f"--kafka.brokers={self.cluster.bootstrap}"
        keys = f"--keys.dir={self.fleet.keys.folder}"
        done = subprocess.run(
            [BIN / "blockfleet", *words, "--json", brokers, keys],
            capture_output=True,
            text=True,
            timeout=HANG_S,
        )
        self.assertEqual(done.returncode, exits, done.stderr)
        return json.loads(done.stdout) if exits in (0, 5) else {"why": done.stderr}

    def test_the_command_line_corrects_as_the_example_does(self) -> None:
        first, second = (self.row(n, self.at_ms) for n in range(2))
        self.fleet.produce("result", [first, second])
        self.follow()
        name = first.text("ce_id")
        some = "duration_seconds=-0.250000", "output_bytes=2"

        # The same id and the same bytes, by two who know nothing of each other.
        (key,) = self.fleet.keys.folder.glob("result.*.key")
        options = ["--brokers", self.cluster.bootstrap, "--key", key, "--db", self.db]
        dry = self.argv("correct.py", *options, name, *some, "--dry-run")
        example_id, example = self.run_it(dry).strip().split(" ", 1)
        shown = self.cli("usage", "correct", name, *some, "--dry-run")
        self.assertEqual((shown["id"], shown["written"]), (example_id, False))
        self.assertEqual(
            json.dumps(shown["correction"], separators=(",", ":")), example
        )
        self.assertEqual(len(self.usage()), 2)

        short = "duration_seconds=-0.25", "output_bytes=2"
        written = self.cli("usage", "correct", name, *short)
        self.assertEqual((written["id"], written["written"]), (example_id, True))
        self.cli("usage", "correct", name, "duration_seconds=-2", exits=4)
        self.cli("usage", "correct", name, "--void")
        self.assertIn(
            "nothing to correct",
            self.cli("usage", "correct", name, "--void", exits=4)["why"],
        )
        fixes = [rec for rec in self.usage() if b"correction_of" in rec.value]
        self.assertEqual(fixes[0].value, example.encode())
        for n, rec in enumerate(fixes):
            value = json.loads(rec.value)
            changes = {q: value[q] for q in QUANTITIES if value[q] is not None}
            at = bfwire.un_rfc3339(rec.text("ce_time"), "bad")
            fix = bfwire.Correction(json.loads(first.value), name, n + 1, at, changes)
            again = bfwire.correction_build(fix, "main", (rec.topic, first.partition))
            self.assertEqual((rec.partition, rec.value), (first.partition, again.value))
            self.assertEqual(again.headers, rec.headers[:-1])

        # Everybody who adds up comes to one row of the two.
        self.follow()
        self.assertEqual((self.rows(), self.aside()), (4, []))
        self.assertEqual(self.seconds(), ["1.500000"])
        # (No job of these has a result, and reconcile says so.)
        (books,) = self.cli("usage", "reconcile", exits=5)["workspaces"]
        self.assertEqual((books["rows"], books["corrections"]), (2, 2))
        self.assertEqual((books["runs"], books["seconds"]), (1, "1.500000"))
        self.assertEqual(self.told_by_a_dispatcher(), (1, "1.500000"))
        self.assertEqual(self.exported(), Counter({None: 2, name: 2}))

    def exported(self, *more: str) -> Counter[str | None]:
        """How often a row corrects what, in an export whose signatures are good."""
        file = self.db.with_name("usage.ndjson")
        words = "usage", "export", "-o", str(file), *more
        brokers = f"--kafka.brokers={self.cluster.bootstrap}"
        keys = f"--keys.dir={self.fleet.keys.folder}"
        subprocess.run([BIN / "blockfleet", *words, brokers, keys], check=True)
        lines = [json.loads(line) for line in file.read_text().splitlines()]
        told = self.cli("verify", "--file", str(file))
        self.assertEqual((told["records"], told["untrusted"]), (len(lines), 0))
        return Counter(json.loads(line["value"]).get("correction_of") for line in lines)

    def test_an_export_is_of_runs_that_ended_in_time(self) -> None:
        hour_ms = 3_600_000
        old, new = self.row(0, self.at_ms - 5 * hour_ms), self.row(1, self.at_ms)
        self.fleet.produce("result", [old, new])
        name = old.text("ce_id")
        self.cli("usage", "correct", name, "runs=-1")  # written now, of that hour
        both = Counter({None: 2, name: 1})
        self.assertEqual(self.exported(), both)
        self.assertEqual(self.exported("--since", "1h"), both)
        self.assertEqual(self.exported("--from", "4h"), Counter({None: 1}))
        self.assertEqual(self.exported("--to", "4h"), Counter({None: 1, name: 1}))
        middle = bfwire.rfc3339(self.at_ms - 5 * hour_ms)
        self.assertEqual(self.exported("--from", middle), both)
        self.assertEqual(self.exported("--to", middle), Counter())

    def told_by_a_dispatcher(self) -> tuple[int, str]:
        folder = self.db.parent
        options = {"topics.shards": str(SHARDS)}
        dispatcher = Dispatcher(
            self.fleet.procs, self.cluster.bootstrap, self.fleet.keys, folder, options
        ).start()

        def told() -> tuple[int, str]:
            sums = dispatcher.get("/v1/usage", workspace="acme").json()
            return sums["runs"], sums["duration_seconds"]

        wait_until(lambda: told()[1] == "1.500000", HANG_S, "the sums")
        sums = told()
        assert dispatcher.proc is not None
        dispatcher.proc.stop()
        return sums

    def test_the_command_line_believes_and_takes_only_what_is_good(self) -> None:
        row = self.row(0, self.at_ms)
        value, name = json.loads(row.value), row.text("ce_id")
        self.fleet.produce("result", [row])
        forged = bfwire.Correction(value, name, 1, self.at_ms, {"runs": "-1"})
        place = row.topic, row.partition
        # Not signed by who may: it takes nothing, and no number either.
        self.fleet.produce("job", [bfwire.correction_build(forged, "main", place)])
        told = self.cli("usage", "correct", name, "runs=-1")
        self.assertEqual(told["correction"]["correction_number"], 1)
        self.assertEqual(told["quantities"][0]["is"], "0")
        self.cli("usage", "correct", told["id"], "runs=1", exits=4)
        self.cli("usage", "correct", "0" * 32, "--void", exits=4)
        for words in (["x"], [name], [name, "runs"], [name, "runs=a"], [name, "x=1"]):
            self.cli("usage", "correct", *words, exits=2)
        self.cli("usage", "correct", name, "runs=1", "--void", exits=2)

    def open_transaction(self, partition: int) -> Producer:
        """A worker's, from here to its end: what comes behind it is hidden."""
        producer = Producer(
            {
                "bootstrap.servers": self.cluster.bootstrap,
                "transactional.id": "one-that-is-open",
                "transaction.timeout.ms": int(HANG_S * 1000),
                **QUICK,
            }
        )
        producer.init_transactions(HANG_S)
        producer.begin_transaction()
        producer.produce("bf.usage", b"{}", b"acme", partition)
        producer.flush(HANG_S)
        return producer

    def test_a_correction_behind_an_open_transaction(self) -> None:
        row = self.row(0, self.at_ms)
        words = "usage", "correct", row.text("ce_id")
        self.fleet.produce("result", [row])
        # It ends while the command looks: that takes longer, and all is well.
        producer = self.open_transaction(row.partition)
        ending = threading.Timer(3, producer.abort_transaction)
        ending.start()
        self.addCleanup(ending.join)
        told = self.cli(*words, "duration_seconds=-0.5")
        ending.join()
        self.assertEqual(told["correction"]["correction_number"], 1)
        # It does not: nobody came first, and nothing is to be done again.
        producer = self.open_transaction(row.partition)
        hidden = "duration_seconds=-0.25", "--timeout", "2"
        why = self.cli(*words, *hidden, exits=6)["why"]
        self.assertIn("it is written, as number 2, and not seen yet", why)
        producer.abort_transaction()
        told = self.cli(*words, "runs=-1", "--dry-run")
        self.assertEqual(told["correction"]["correction_number"], 3)
        by = {line["quantity"]: line for line in told["quantities"]}
        self.assertEqual(by["duration_seconds"]["was"], "0.750000")

    def test_the_same_correction_counts_once(self) -> None:
        row = self.row(0, self.at_ms)
        name, value = row.text("ce_id"), json.loads(row.value)
        place = row.topic, row.partition
        fixes = [
            bfwire.Correction(value, name, 1, self.at_ms, {"runs": runs})
            for runs in ("-1", "-1", "0")
        ]
        records = [bfwire.correction_build(fix, "main", place) for fix in fixes]
        self.fleet.produce("result", [*records, row])
        self.follow()
        self.assertEqual(self.rows(), 2)
        self.assertEqual(self.report()["total"]["runs"], "0")
        # Two people made number 1 at once: the second is not lost without a word.
        self.assertEqual(len(self.aside()), 1)
        self.assertIn("the id of another row", self.aside()[0])

    def test_a_late_row_goes_to_its_month_and_a_second_invoice(self) -> None:
        month = time.strftime("%Y-%m", time.gmtime(self.at_ms / 1000 - 40 * 86400))
        middle = bfwire.un_rfc3339(f"{month}-15T12:00:00.000Z", "bad")
        self.fleet.produce("result", [self.row(n, middle) for n in range(2)])
        close = self.closing(month)
        self.run_it(close, 2)  # there is no file yet
        self.follow()
        self.assertEqual(self.run_it(close), f"acme {month} 1 1.50 EUR\n")
        self.assertEqual(self.run_it(close), "")
        late = self.row(2, middle)
        self.fleet.produce("result", [late, self.row(3, self.at_ms)])
        self.follow()
        self.correct(late.text("ce_id"), "duration_seconds=-1.000000")
        self.follow()
        self.assertEqual(self.seconds(), ["3.500000", "1.500000"])
        self.assertEqual(self.run_it(close), f"acme {month} 2 0.25 EUR\n")
        for line in self.report()["lines"][:1]:
            self.assertEqual(line["invoiced"], line["amount"])

    def test_forged_and_foreign_records_are_set_aside(self) -> None:
        good, forged, moved, newer = (self.row(n, self.at_ms) for n in range(4))
        self.fleet.produce("result", [good, moved])
        moved.headers = [(n, v) for n, v in moved.headers]
        moved.partition = (moved.partition + 1) % SHARDS
        self.fleet.produce("job", [forged])
        newer.headers = [
            (n, b"dev.blockfleet.usage.v2" if n == "ce_type" else v)
            for n, v in newer.headers
        ]
        self.fleet.produce("result", [newer])
        self.fleet.produce(None, [moved, self.row(4, self.at_ms)])
        junk = bfwire.Record("bf.usage", 0, None, b"{", [("ce_id", b"\xff")])
        self.fleet.produce(None, [junk])
        self.follow()
        self.assertEqual(self.rows(), 2)
        self.assertEqual(len(self.aside()), 5, self.aside())
        month = time.strftime("%Y-%m", time.gmtime(self.at_ms / 1000))
        close = [*self.closing(month), "--grace-hours=-1000"]
        self.run_it(close, 1)
        self.assertIn(f"acme {month} 1 ", self.run_it([*close, "--despite-aside"]))

    def test_a_key_that_is_trusted_later_makes_its_rows_count(self) -> None:
        trusted = self.fleet.keys.folder / "trusted"
        lines = trusted.read_text()
        self.fleet.produce("result", [self.row(0, self.at_ms)])
        trusted.write_text(lines.replace("result ed", "revoked result ed"))
        self.follow()
        self.assertEqual((self.rows(), len(self.aside())), (0, 1))
        trusted.write_text(lines)
        self.follow(self.db, "--from-start")
        self.assertEqual((self.rows(), len(self.aside())), (1, 0))

    def test_what_was_deleted_unread_is_an_error(self) -> None:
        rows = [self.row(n, self.at_ms) for n in range(40)]
        # Now it stands at the beginning of an empty topic, and no end was told.
        self.follow(self.db, "-X", "enable.partition.eof=false")
        self.fleet.produce("result", rows[:20])
        self.empty_the_topic()
        self.follow(exits=4)
        self.follow(self.db, "--from-start")
        self.fleet.produce(None, rows[:20])
        self.follow()
        self.fleet.produce("result", rows[20:])
        self.empty_the_topic()
        self.follow(exits=4)
        self.assertEqual(self.rows(), 20)
        self.follow(self.db, "--from-start")  # whoever has understood goes on

    def test_two_followers_of_one_file_stop_one(self) -> None:
        procs = self.fleet.procs
        one = procs.start("one", self.following(self.db))
        self.fleet.produce("result", [self.row(0, self.at_ms)])
        wait_until(lambda: self.rows() == 1, HANG_S, "a row")
        two = procs.start("two", self.following(self.db))
        two.wait_log("reading", HANG_S)
        self.fleet.produce("result", [self.row(n, self.at_ms) for n in range(1, 30)])
        wait_until(lambda: self.rows() == 30, HANG_S, "thirty rows")
        wait_until(lambda: not (one.alive() and two.alive()), HANG_S, "one to stop")
        self.assertEqual({one.alive(), two.alive()}, {True, False})
        stopped = two if one.alive() else one
        self.assertEqual(stopped.wait(HANG_S), 5)
        self.assertEqual(self.aside(), [])

    def test_stop_by_signal_is_clean(self) -> None:
        follower = self.fleet.procs.start("one", self.following(self.db))
        self.fleet.produce("result", [self.row(0, self.at_ms)])
        wait_until(lambda: self.rows() == 1, HANG_S, "a row")
        self.assertEqual(follower.stop(), 0)

    def test_the_page_tells_the_truth(self) -> None:
        """Every command of README.md, in a copy of the folder by itself."""
        folder = Path(self.enterContext(tempfile.TemporaryDirectory())) / "copy"
        shutil.copytree(BILLING, folder)
        self.db = folder / "billing.db"
        (folder / "customers.toml").write_text('acme = "cus_1"\n')
        rows = [self.row(n, self.at_ms) for n in range(3)]
        self.fleet.produce("result", rows)
        page = (BILLING / "README.md").read_text()
        commands = re.findall(r"^python3 (?:.*\\\n)*.*$", page, re.MULTILINE)
        self.assertEqual(len(commands), 7)
        with OpenMeter() as openmeter, Stripe() as stripe:
            told = {
                "python3": sys.executable,
                "broker:9092": self.cluster.bootstrap,
                "keys/": f"{self.fleet.keys.folder}/",
                " ID ": f" {rows[0].text('ce_id')} ",
                "2026-11": time.strftime("%Y-%m", time.gmtime(self.at_ms / 1000)),
                "https://openmeter.cloud/api/v1/events": openmeter.url,
                "https://api.stripe.com/v1/billing/meter_events": stripe.url,
            }
            for command in commands:
                for old, new in told.items():
                    command = command.replace(old, new)
                done = subprocess.run(
                    command, shell=True, cwd=folder, capture_output=True, timeout=HANG_S
                )
                self.assertEqual(done.returncode, " close " in command, done)
        self.follow()
        # Both corrections were made before the other was read: the first counts.
        self.assertEqual((self.rows(), len(self.aside())), (4, 1))
        self.assertEqual(self.report()["total"]["runs"], "3")
