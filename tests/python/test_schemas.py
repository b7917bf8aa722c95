"""Schemas and validator: golden records pass, hostile changes do not."""

import copy
import json
import re
import sys
import unittest
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "wire"))

import bfwire as w  # noqa: E402
import make_golden as g  # noqa: E402
import validate as v  # noqa: E402
import yaml  # noqa: E402
from jsonschema import Draft202012Validator  # noqa: E402

BUILT = ("job", "result", "usage", "dead", "callback", "control", "event", "state")
KEYS = {p: w.private_key(bytes([n]) * 32) for n, p in enumerate(w.PURPOSES)}
TRUSTED = [w.TrustedKey(w.public_bytes(k), p) for p, k in KEYS.items()]
# The key that signed the records inside of golden dead letters.
TRUSTED.append(w.TrustedKey(w.public_bytes(w.private_key(g.SEED)), "job"))


def golden_records(name: str) -> Iterator[tuple[str, w.Record]]:
    """What the builders made, signed."""
    doc = json.loads((ROOT / "schemas" / "golden" / f"{name}.json").read_text())
    for case in doc["cases"]:
        if case["name"].startswith("build: "):
            rec = w.record_from_json(case["out"]["record"])
            yield case["name"], sign(rec)


def sign(rec: w.Record) -> w.Record:
    rec = g.without(copy.deepcopy(rec), "bf_signature")
    purpose = w.topic_purpose(rec.topic)
    if purpose is not None:
        w.sign_tree(purpose, KEYS[purpose], g.NOW, [rec])
    return rec


def one(name: str, case: str) -> w.Record:
    return next(rec for n, rec in golden_records(name) if n == f"build: {case}")


class Goldens(unittest.TestCase):
    def test_every_golden_record_is_valid(self) -> None:
        validator = v.Validator(TRUSTED)
        for name in BUILT:
            for case, rec in golden_records(name):
                with self.subTest(name, case=case):
                    validator.validate_record(rec)
                    kind = v.kind_of(rec)
                    document = v.document(kind, rec)
                    self.assertTrue(v.schema(kind).is_valid(document))

    def test_golden_blocks_and_the_schema_agree(self) -> None:
        doc = json.loads((ROOT / "schemas" / "golden" / "block.json").read_text())
        for case in doc["cases"]:
            text = bytes.fromhex(case["in"]["text_hex"])
            with self.subTest(case["name"]):
                if "error" not in case["out"]:
                    v.check_schema("block", json.loads(text))

    def test_schemas_are_schemas(self) -> None:
        names = sorted(path.name for path in v.SCHEMAS.glob("*.v1.json"))
        self.assertEqual(len(names), 11)
        for name in names:
            doc = json.loads((v.SCHEMAS / name).read_text())
            self.assertEqual(doc["$id"], v.BASE + name)
            Draft202012Validator.check_schema(doc)


class Hostile(unittest.TestCase):
    """Whatever is changed in a good record is seen, signed or not."""

    def refused(self, rec: w.Record, text: str = "") -> None:
        """By the schema or another check, without help of the signature."""
        with self.assertRaises((v.Invalid, w.WireError)) as caught:
            v.Validator(None).validate_record(rec)
        self.assertIn(text, str(caught.exception))

    def by_schema(self, rec: w.Record) -> None:
        kind = v.kind_of(rec)
        with self.assertRaises(v.Invalid) as caught:
            v.check_schema(kind, v.document(kind, rec))
        self.assertIn(f"{kind}.v1.json", str(caught.exception))
        self.assertNotIn("jsonschema accepts it", str(caught.exception))

    def test_every_missing_required_header(self) -> None:
        for name in BUILT:
            case, rec = next(golden_records(name))
            kind = v.kind_of(rec)
            document = v.schema(kind).schema["properties"]["headers"]
            common = v.schema("common").schema["$defs"]["attributes"]
            for header in {*document["required"], *common["required"]}:
                with self.subTest(name, header=header):
                    if header != "ce_type":
                        self.by_schema(g.without(copy.deepcopy(rec), header))

    def test_another_covered_header(self) -> None:
        for name in BUILT:
            _, rec = next(golden_records(name))
            with self.subTest(name):
                self.by_schema(g.with_header(rec, "bf_extra", b"1"))

    def test_words_that_do_not_exist(self) -> None:
        for name, case, header, word in (
            ("job", "everything", "bf_execution", "exactly_once"),
            ("job", "everything", "bf_id_origin", "server "),
            ("job", "everything", "bf_kind", "sandbox"),
            ("job", "everything", "bf_batch_index", "01"),
            ("job", "everything", "bf_timeout_ms", "0"),
            ("job", "everything", "ce_specversion", "0.3"),
            ("job", "everything", "ce_source", "/elsewhere/main"),
            ("job", "everything", "ce_type", "dev.blockfleet.job.v2"),
            ("result", "failed", "bf_outcome", "ok"),
            ("result", "failed", "bf_reason", "because"),
            ("result", "failed", "bf_delivery", "maybe"),
            ("result", "failed", "bf_run_id", "0F" * 16),
            ("dead", "untrusted", "bf_trust", "maybe"),
            ("dead", "untrusted", "__connect.errors.stage", "somewhere"),
            ("dead", "truncated", "bf_truncated", "false"),
            ("control", "pause", "bf_control", "halt"),
            ("callback", "expired", "bf_callback_url", "ftp://x/"),
            ("state", "base", "bf_seq", "-1"),
        ):
            with self.subTest(header, word=word):
                rec = g.with_header(one(name, case), header, word.encode())
                if header == "ce_type":
                    self.refused(rec)
                else:
                    self.by_schema(rec)

    def test_headers_that_do_not_go_together(self) -> None:
        for name, case, changes in (
            ("result", "succeeded", {"bf_delivery": "did_not_run"}),
            ("result", "succeeded", {"bf_reason": "oom"}),
            ("result", "failed", {"bf_reason": "deadline"}),
            ("result", "failed", {"content-type": "application/json"}),
            ("result", "expired", {"bf_delivery": "ran"}),
            ("result", "expired", {"bf_backend": "local"}),
            ("result", "expired", {"bf_usage_id": "0f" * 16}),
            ("job", "least", {"bf_batch": "clip"}),
            ("dead", "untrusted", {"bf_workspace": "acme"}),
            ("state", "end of a run", {"content-type": "application/json"}),
        ):
            with self.subTest(case, changes=changes):
                rec = one(name, case)
                for header, value in changes.items():
                    rec = g.with_header(rec, header, value.encode())
                self.by_schema(rec)
        rec = one("result", "failed")
        rec.value = b"{}"
        self.by_schema(rec)
        rec = g.without(one("dead", "trusted"), "bf_workspace")
        self.by_schema(rec)

    def edit(self, rec: w.Record, change: Callable[[dict[str, Any]], Any]) -> w.Record:
        value = json.loads(rec.value or b"")
        change(value)
        rec.value = json.dumps(
            value, ensure_ascii=False, separators=(",", ":")
        ).encode()
        return rec

    def test_members_of_a_usage_row(self) -> None:
        changes: dict[str, Any] = {
            "duration_seconds": 1.2,
            "runs": 1,
            "input_bytes": 13,
            "execution_seconds": "1.1",
            "vcpu_seconds": "-1.000000",
            "generation": "0",
            "attempt": 0,
            "kind": "other",
            "billable": "true",
            "provider": {"cost": 1},
            "outcome": "ok",
            "reason": "",
            "delivery": None,
            "ended_at": "2026-11-21T13:00:00Z",
            "sandbox": "sb-1",
            "correction_of": "0f" * 16,
            "user": "x",
            "output_bytes": "01",
        }
        for name, value in changes.items():
            with self.subTest(name):
                rec = one("usage", "everything")
                self.by_schema(self.edit(rec, lambda m: m.update({name: value})))  # noqa: B023
        for name in v.schema("usage").schema["properties"]["value"]["required"]:
            with self.subTest(f"no {name}"):
                rec = one("usage", "everything")
                self.by_schema(self.edit(rec, lambda m: m.pop(name)))  # noqa: B023
        billed = self.edit(
            one("usage", "unknown, taken over"), lambda m: m.update(billable=True)
        )
        self.by_schema(billed)
        order = self.edit(
            one("usage", "everything"),
            lambda m: m.update(workspace=m.pop("workspace")),
        )
        self.refused(order, "order")

    def test_another_spelling_of_our_json(self) -> None:
        whole = one("usage", "everything")
        self.refused(self.edit(whole, lambda m: m.update(attempt=2.0)), "JSON")
        for name, case in (("usage", "everything"), ("state", "started")):
            rec = one(name, case)
            rec.value = json.dumps(json.loads(rec.value or b"")).encode()
            self.refused(rec, "spelling")

    def test_shapes_of_controls(self) -> None:
        for case, change in (
            ("cancel a job", lambda m: m.pop("until")),
            ("cancel a job", lambda m: m.update(batch="clip")),
            ("replay", lambda m: m.pop("generation")),
            ("seal a batch", lambda m: m.update(count="300")),
            ("pause", lambda m: m.update(job="job-1")),
            ("resume", lambda m: m.update(v=2)),
            ("cancel a batch", lambda m: m["ends"].update(lane=[])),
            ("cancel a batch", lambda m: m["ends"].update(jobs=[[1]])),
        ):
            with self.subTest(case):
                self.by_schema(self.edit(one("control", case), change))

    def test_state_values(self) -> None:
        for case, change in (
            ("base", lambda m: m.pop("owner")),
            ("base", lambda m: m["owner"].update(user="x")),
            ("started", lambda m: m.update(state="done")),
            ("started", lambda m: m.update(handle={"a": 1})),
            ("range", lambda m: m.update(width=16_385)),
            ("finished", lambda m: m.update(ids="x")),
            ("cancel of all", lambda m: m.update(ends={"lane": 1})),
        ):
            with self.subTest(case):
                self.by_schema(self.edit(one("state", case), change))
        rec = one("state", "base")
        rec.key = b"r/jobs/1"
        self.by_schema(rec)

    def test_ids_that_are_not_derived(self) -> None:
        for name, case in (
            ("job", "least"),
            ("result", "succeeded"),
            ("usage", "succeeded"),
            ("usage", "idle"),
            ("usage", "correction"),
            ("dead", "trusted"),
            ("callback", "succeeded"),
            ("control", "pause"),
            ("event", "started"),
            ("state", "base"),
        ):
            with self.subTest(name, case=case):
                self.refused(
                    g.with_header(one(name, case), "ce_id", b"0f" * 16), "ce_id"
                )
        for header in ("bf_usage_id", "bf_dead_letter"):
            rec = one("result", "dead")
            self.refused(g.with_header(rec, header, b"0f" * 16), header)

    def test_records_out_of_place(self) -> None:
        validator = v.Validator(TRUSTED, shards=12)
        rec = one("job", "least")
        home = w.partition_of("acme", None, "job-1", 4, 12)
        rec.partition = home
        validator.validate_record(sign(rec))
        rec.partition = (home + 1) % 12
        with self.assertRaisesRegex(v.Invalid, f"partition {home}"):
            validator.validate_record(sign(rec))
        rec = one("result", "succeeded")
        rec.partition += 1
        self.refused(sign(rec), "shard")
        rec = one("result", "succeeded")
        rec.topic = "bf.usage"
        self.refused(rec, "on bf.usage")

    def test_signatures(self) -> None:
        validator = v.Validator(TRUSTED)
        for name in BUILT:
            if name == "event":
                continue
            _, rec = next(golden_records(name))
            with self.subTest(name):
                wrong = "control" if name != "control" else "job"
                forged = g.without(copy.deepcopy(rec), "bf_signature")
                w.sign_tree(wrong, KEYS[wrong], g.NOW, [forged])
                with self.assertRaises((v.Invalid, w.WireError)):
                    validator.validate_record(forged)
                stranger = g.without(copy.deepcopy(rec), "bf_signature")
                purpose = w.topic_purpose(rec.topic) or ""
                w.sign_tree(purpose, w.private_key(b"s" * 32), g.NOW, [stranger])
                with self.assertRaisesRegex(w.WireError, "unknown_key"):
                    validator.validate_record(stranger)
        event = one("event", "started")
        self.by_schema(g.with_header(event, "bf_signature", b"v1.x"))


class Words(unittest.TestCase):
    """One table for the code, the schemas and bfwire: schemas/outcome.h."""

    def table(self, name: str) -> list[list[str]]:
        text = (ROOT / "schemas" / "outcome.h").read_text()
        found = re.search(rf"#define {name}\(X\)(.*?)\n\n", text, re.S)
        assert found is not None, name
        rows = re.split(r"\bX\(\w+,", found[1].replace("\\\n", "\n"))[1:]
        return [re.findall(r'"((?:[^"\\]|\\.)*)"', row) for row in rows]

    def schema_words(self, name: str) -> list[str]:
        words = v.schema("common").schema["$defs"][name]["oneOf"]
        return [word["const"] for word in words]

    def test_outcomes(self) -> None:
        names = [row[0] for row in self.table("BF_OUTCOME_TABLE")]
        self.assertEqual(self.schema_words("outcome"), names)
        self.assertEqual(list(w.WORDS.outcomes), names)

    def test_deliveries(self) -> None:
        names = [row[0] for row in self.table("BF_DELIVERY_TABLE")]
        self.assertEqual(self.schema_words("delivery"), names)
        self.assertEqual(list(w.WORDS.deliveries), names)

    def test_reasons(self) -> None:
        rows = [row for row in self.table("BF_REASON_TABLE") if row[0]]
        names = [row[0] for row in rows]
        self.assertEqual(self.schema_words("reason"), names)
        self.assertEqual(list(w.WORDS.reasons), names)

    def test_which_outcomes_a_reason_goes_with(self) -> None:
        rows = [row for row in self.table("BF_REASON_TABLE") if row[0]]
        rules = v.schema("result").schema["properties"]["headers"]["allOf"]
        said = {
            rule["if"]["properties"]["bf_reason"]["const"]: rule["then"]["properties"][
                "bf_outcome"
            ]["enum"]
            for rule in rules
            if "bf_reason" in rule["if"]["properties"]
        }
        self.assertEqual(said, {row[0]: row[1].split(", ") for row in rows})


class AsyncApi(unittest.TestCase):
    def setUp(self) -> None:
        text = (ROOT / "schemas" / "asyncapi.yaml").read_text()
        self.doc = yaml.safe_load(text)

    def refs(self, node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"]
            for member in node.values():
                yield from self.refs(member)
        elif isinstance(node, list):
            for member in node:
                yield from self.refs(member)

    def test_every_reference_leads_somewhere(self) -> None:
        found = set(self.refs(self.doc))
        self.assertGreater(len(found), 20)
        for ref in found:
            path, _, pointer = ref.partition("#")
            node = self.doc
            if path:
                node = json.loads((ROOT / "schemas" / path).read_text())
            for part in filter(None, pointer.split("/")):
                self.assertIn(part.replace("~1", "/"), node, ref)
                node = node[part.replace("~1", "/")]

    def test_topics_are_those_of_the_protocol(self) -> None:
        text = (ROOT / "schemas" / "PROTOCOL.md").read_text()
        rows = re.findall(
            r"^\| (`bf\..*?) \| .* \| (\d+ days?|compact) \|$", text, re.M
        )
        policy = {}
        for names, cleanup in rows:
            for name in re.findall(r"`(bf\.[a-z.]+)`", names):
                policy[name] = cleanup
        self.assertEqual(len(policy), 9)
        channels = {c["address"]: c for c in self.doc["channels"].values()}
        self.assertEqual(set(channels), set(policy))
        for name, cleanup in policy.items():
            settings = channels[name]["bindings"]["kafka"]["topicConfiguration"]
            with self.subTest(name):
                large = name in ("bf.results", "bf.deadletter") or "jobs" in name
                limit = 16 * w.MIB if large else w.MIB
                self.assertEqual(settings["max.message.bytes"], limit)
                if cleanup == "compact":
                    self.assertEqual(settings["cleanup.policy"], ["compact"])
                    continue
                days = int(cleanup.split()[0])
                self.assertEqual(settings["cleanup.policy"], ["delete"])
                self.assertEqual(settings["retention.ms"], days * 86_400_000)

    def test_every_channel_is_sent_and_received(self) -> None:
        actions: dict[str, set[str]] = {}
        for operation in self.doc["operations"].values():
            channel = operation["channel"]["$ref"].rpartition("/")[2]
            actions.setdefault(channel, set()).add(operation["action"])
        self.assertEqual(set(actions), set(self.doc["channels"]))


if __name__ == "__main__":
    unittest.main()
