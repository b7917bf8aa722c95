"""The billing example without Kafka: what is counted, believed, priced."""

import copy
import sqlite3
import tempfile
import unittest
from base64 import b64encode
from decimal import Decimal
from pathlib import Path

from usage_rows import KEY, NOW, correction, parsed, record, signed, taken, w

# isort: split
import correct
import prices
import signature
import usage
from store import Fenced, Read, Store

PLACE = ("bf.usage", 3)
PRICES = """
currency = "EUR"
places = 2
[[from]]
time = 2026-01-01T00:00:00Z
duration_seconds = "0.1"
[[from]]
time = 2026-11-21T12:00:00Z
duration_seconds = "0.2"
runs = "0.000001"
"""


class Case(unittest.TestCase):
    def setUp(self) -> None:
        self.folder = Path(self.enterContext(tempfile.TemporaryDirectory()))
        self.store = Store(self.folder / "billing.db", create=True)
        self.addCleanup(self.store.db.close)

    def load(self, text: str) -> prices.Prices:
        path = self.folder / "prices.toml"
        path.write_text(text)
        return prices.load(path)


class Parse(unittest.TestCase):
    def test_quantities_are_whole_and_come_back(self) -> None:
        for name, text, number in (
            ("runs", "-12", -12),
            ("duration_seconds", "0.000001", 1),
            ("duration_seconds", "-0.000001", -1),
            ("duration_seconds", "-12.500000", -12_500_000),
            ("vcpu_seconds", "0.000000", 0),
        ):
            self.assertEqual(usage.whole(name, text), number)
            self.assertEqual(usage.text(name, number), text)

    def test_what_is_no_quantity_is_refused(self) -> None:
        for name, text in (
            ("runs", "1.0"),
            ("runs", "01"),
            ("runs", "-0"),
            ("runs", "1\n"),
            ("runs", "9" * 19),
            ("runs", 1),
            ("duration_seconds", "1.5"),
            ("duration_seconds", "1e3"),
            ("duration_seconds", "nan"),
            ("duration_seconds", 1.5),
            ("duration_seconds", "٣.000000"),
        ):
            with self.assertRaises(usage.Refused, msg=f"{name} {text!r}"):
                usage.whole(name, text)

    def test_what_breaks_a_rule_is_refused(self) -> None:
        for change, why in (
            ({"workspace": "other"}, "key"),
            ({"kind": "gift"}, "kind"),
            ({"billable": 1}, "billable"),
            ({"ended_at": "2026-13-01T00:00:00.000Z"}, "time"),
            ({"duration_seconds": "-1.000000"}, "negative"),
            ({"kind": "correction"}, "corrects"),
        ):
            rec = record(1)
            rec.value = w.dump({**w.load(rec.value, "bad"), **change}).encode()
            with self.assertRaisesRegex(usage.Refused, why, msg=str(change)):
                parsed(rec)

    def test_hostile_bytes_are_refused(self) -> None:
        good = record(1)
        for value in (None, b"", b"[]", b"{", b"\xff", b"[" * 100_000, b'{"a":1e999}'):
            with self.assertRaises(usage.Refused, msg=f"{value!r:.20}"):
                usage.parse(good.key, value, good.headers)
        for headers in ([], [("ce_id", b"\xff")], [("ce_id", b"x")]):
            with self.assertRaises(usage.Refused):
                usage.parse(good.key, good.value, headers)


class Signatures(Case):
    def keys(self, line: str) -> signature.Keys:
        (self.folder / "trusted").write_text(f"# ours\n{line}\n")
        return signature.Keys(self.folder / "trusted")

    def line(self, words: str = "result ed25519", rest: str = "") -> str:
        return f"{words} {b64encode(w.public_bytes(KEY)).decode()} {rest}"

    def check(self, keys: signature.Keys, rec: w.Record) -> None:
        keys.check(rec.topic, rec.partition, rec.key, rec.value, rec.headers)

    def test_trees_of_every_size(self) -> None:
        keys = self.keys(self.line())
        for count in (1, 2, 3, 5, 33, 64):
            records = [record(n) for n in range(count)]
            for rec in records:
                rec.headers.pop()
            signed(*records)
            for rec in records:
                self.check(keys, rec)

    def test_any_change_is_refused(self) -> None:
        keys, good = (
            self.keys(self.line("result ed25519", "workspaces=acme")),
            record(1),
        )
        self.check(keys, good)

        def edited(**change: object) -> w.Record:
            rec = copy.deepcopy(good)
            for name, value in change.items():
                setattr(rec, name, value)
            return rec

        text = good.text("bf_signature").split(".")
        signatures = [
            ".".join([*text[:n], new, *text[n + 1 :]]).encode()
            for n, new in (
                (0, "v2"),
                (1, "job"),
                (2, "0" * 16),
                (3, "1"),
                (4, "2"),
                (5, "1"),
                (5, "-1"),
                (6, "A" * 43),
                (7, "A" * 86),
                (7, "*"),
            )
        ]
        plain = good.headers[:-1]
        bad = [
            edited(topic="bf.results"),
            edited(partition=4),
            edited(value=good.value.replace(b'"runs":"1"', b'"runs":"0"')),
            edited(headers=plain),
            edited(headers=[*good.headers, good.headers[0]]),
            edited(headers=[*good.headers, ("bf_more", b"1")]),
            *(edited(headers=[*plain, ("bf_signature", s)]) for s in signatures),
            record(1, "other"),
        ]
        for rec in bad:
            with self.assertRaises(usage.Refused):
                self.check(keys, rec)
        self.check(keys, edited(headers=[("x-proxy", b"1"), *good.headers]))

    def test_revoked_and_other_keys_are_not_trusted(self) -> None:
        for line in ("", self.line("revoked result ed25519"), self.line("job ed25519")):
            with self.assertRaisesRegex(usage.Refused, "KeyError"):
                self.check(self.keys(line), record(1))

    def test_it_is_short(self) -> None:
        text = Path(signature.__file__).read_text()
        self.assertLessEqual(len(text.splitlines()), 60)


class Counting(Case):
    def test_rows_and_positions_change_together(self) -> None:
        taken(self.store, [record(0)])
        reads = [Read(PLACE, 1, parsed(record(1)))]
        with self.assertRaises(Fenced):
            self.store.take(reads, {PLACE: (7, 8)})
        self.assertEqual(self.store.count("rows"), 1)
        self.assertEqual(self.store.positions("bf.usage"), {PLACE: 1})
        self.store.take(reads, {PLACE: (1, 2)})
        self.assertEqual(self.store.count("rows"), 2)

    def test_copies_count_once(self) -> None:
        taken(self.store, [record(n % 3) for n in range(9)])
        self.assertEqual(self.store.count("rows"), 3)
        self.assertEqual(self.store.count("aside"), 0)

    def test_rows_come_back_as_they_were(self) -> None:
        records = [record(0), record(1), correction(record(0), 1, runs="-1")]
        taken(self.store, records)
        rows = [row for _, _, row in self.store.rows("1")]
        self.assertEqual(rows, [parsed(rec) for rec in records])

    def test_an_overflow_is_an_error_and_not_a_number(self) -> None:
        for n in range(2):
            most = correction(record(n), 1, duration_seconds="999999999999.999999")
            for m in range(6):
                fix = correction(record(m + 6 * n), 1, **quantity(most))
                taken(self.store, [fix])
        with self.assertRaisesRegex(sqlite3.OperationalError, "overflow"):
            prices.bill(self.store.db, self.load(PRICES))


def quantity(rec: w.Record) -> dict[str, str]:
    return {"duration_seconds": w.load(rec.value, "bad")["duration_seconds"]}


class Money(Case):
    def bill(self, records: list[w.Record]) -> list[prices.Line]:
        taken(self.store, records)
        return prices.bill(self.store.db, self.load(PRICES))

    def test_each_row_has_the_price_of_its_time(self) -> None:
        noon = w.un_rfc3339("2026-11-21T12:00:00.000Z", "bad")
        before = record(0, ended_at_ms=noon - 1, duration_us=10_000_000)
        after = record(1, ended_at_ms=noon, duration_us=10_000_000)
        (line,) = self.bill([before, after])
        self.assertEqual(line.amount, Decimal("3.00"))
        self.assertEqual(line.quantities["duration_seconds"], 20_000_000)

    def test_a_correction_has_the_price_of_its_row(self) -> None:
        noon = w.un_rfc3339("2026-11-21T12:00:00.000Z", "bad")
        row = record(0, ended_at_ms=noon - 1, duration_us=10_000_000)
        void = correction(row, 1, duration_seconds="-10.000000", runs="-1")
        (line,) = self.bill([row, void])
        self.assertEqual((line.rows, line.corrections), (2, 1))
        self.assertEqual(line.amount, Decimal("0.00"))

    def test_rounding_is_once_and_exact(self) -> None:
        """50 runs of 0.0001 are 0.005; each by itself is nothing."""
        rows = [record(n, duration_us=0, billable=True) for n in range(50)]
        taken(self.store, rows[:49])
        table = self.load(PRICES.replace('"0.000001"', '"0.0001"'))
        (line,) = prices.bill(self.store.db, table)
        self.assertEqual(line.amount, Decimal("0.00"))
        taken(self.store, rows[49:])
        (line,) = prices.bill(self.store.db, table)
        self.assertEqual(line.amount, Decimal("0.01"))

    def test_what_is_not_billable_costs_nothing(self) -> None:
        (line,) = self.bill([record(n) for n in range(5)])
        self.assertEqual(line.rows, 4)

    def test_bad_prices_are_refused(self) -> None:
        for text in (
            PRICES.replace('"0.1"', "0.1"),
            PRICES.replace("runs", "rums"),
            PRICES.replace("T12:00:00Z", "T12:00:00"),
            PRICES.replace("2026-01-01", "2027-01-01"),
            PRICES.replace('"0.1"', '"0,1"'),
            PRICES.replace('"0.1"', '"NaN"'),
            PRICES.replace("[[from]]", "[[since]]"),
        ):
            with self.assertRaises(prices.BadPrices, msg=text):
                self.load(text)

    def test_a_row_without_a_price_is_an_error(self) -> None:
        early = record(0, ended_at_ms=NOW - 400 * 86_400_000)
        with self.assertRaisesRegex(prices.BadPrices, "before the first price"):
            self.bill([early])

    def test_the_prices_that_come_along_are_good(self) -> None:
        found = prices.load(Path(prices.__file__).with_name("prices.toml"))
        self.assertEqual(len(found.periods), 2)


class Corrections(Case):
    def build(self, rec: w.Record, *given: str, void: bool = False) -> w.Record:
        what = correct.find(self.store, rec.text("ce_id"))
        changes = correct.differences(what, list(given), void)
        value, headers = correct.build(what, changes, NOW)
        key = what.row.workspace.encode()
        node = signature.leaf("bf.usage", what.partition, key, value, headers)
        headers.append(("bf_signature", correct.sign(node, KEY, NOW)))
        return w.Record("bf.usage", what.partition, key, value, headers)

    def test_the_same_bytes_as_bfwire(self) -> None:
        row = record(3, vcpu_us=5)
        taken(self.store, [row])
        made = self.build(row, "runs=-1", "vcpu_seconds=-0.000005")
        fix = w.Correction(
            w.load(row.value, "bad"),
            row.text("ce_id"),
            1,
            NOW,
            {"runs": "-1", "vcpu_seconds": "-0.000005"},
        )
        again = w.correction_build(fix, "main", PLACE)
        w.sign_tree("result", KEY, NOW, [again])
        self.assertEqual(made.value, again.value)
        self.assertEqual(made.headers, again.headers)

    def test_void_leaves_nothing(self) -> None:
        row = record(3)
        taken(self.store, [row])
        taken(self.store, [self.build(row, "duration_seconds=-0.500000")])
        taken(self.store, [self.build(row, void=True)])
        left = correct.find(self.store, row.text("ce_id"))
        self.assertEqual(left.last_number, 2)
        self.assertEqual(set(left.left.values()), {0, None})

    def test_what_cannot_be_corrected(self) -> None:
        row = record(3)
        fix = correction(row, 1, runs="-1")
        taken(self.store, [row, fix])
        for rec, given, why in (
            (record(7), ["runs=1"], "no row"),
            (fix, ["runs=1"], "is a correction"),
            (row, ["runs=-1"], "below nothing"),
            (row, ["rums=1"], "is none of"),
            (row, ["runs"], "NAME=VALUE"),
            (row, ["runs=1", "runs=2"], "NAME=VALUE"),
            (row, ["runs=1.5"], "runs is"),
        ):
            with self.assertRaisesRegex(usage.Refused, why):
                self.build(rec, *given)


if __name__ == "__main__":
    unittest.main()
