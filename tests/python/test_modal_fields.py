"""The fields of Modal's schema that we use, against the descriptors of the
newest `modal` wheel that requirements.txt pins: nothing was renumbered, renamed
or given another type."""

import re
import unittest
from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor
from modal_proto import api_pb2

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "worker" / "wire" / "modal_fields.h"
TYPES = {
    number: name.removeprefix("TYPE_")
    for name, number in vars(FieldDescriptor).items()
    if name.startswith("TYPE_")
}


def rows(macro: str) -> list[list[str]]:
    text = TABLE.read_text().replace("\\\n", " ")
    (line,) = re.findall(rf"#define {macro}\(X\)(.*)", text)
    return [re.split(r"\s*,\s*", row) for row in re.findall(r"X\(([^)]*)\)", line)]


def named(name: str) -> object:
    """Message or enum; `_` stands between one and what is inside of it."""
    for text in (name.replace("_", "."), name):
        found: object = api_pb2
        try:
            for part in text.split("."):
                found = getattr(found, part)
        except AttributeError:
            continue
        return found
    raise AssertionError(f"Modal has no {name} any more")


class ModalFields(unittest.TestCase):
    def test_fields_are_those_of_the_schema(self) -> None:
        table = rows("BF_MODAL_FIELDS")
        self.assertGreater(len(table), 60)
        for message, name, number, kind in table:
            with self.subTest(message=message, field=name):
                fields = named(message).DESCRIPTOR.fields_by_name  # type: ignore
                self.assertIn(name, fields)
                self.assertEqual(fields[name].number, int(number))
                self.assertEqual(TYPES[fields[name].type], kind)

    def test_values_are_those_of_the_schema(self) -> None:
        table = rows("BF_MODAL_VALUES")
        self.assertGreater(len(table), 10)
        for enum, name, number in table:
            with self.subTest(enum=enum, value=name):
                self.assertEqual(named(enum).Value(name), int(number))  # type: ignore

    def test_every_status_of_a_result_is_known_to_us(self) -> None:
        ours = {row[1] for row in rows("BF_MODAL_VALUES")}
        theirs = api_pb2.GenericResult.GenericStatus.keys()
        self.assertEqual(set(theirs) - ours, set())


if __name__ == "__main__":
    unittest.main()
