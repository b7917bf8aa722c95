#!/usr/bin/env python3
"""Issues a correction: a signed row of differences to a row that stays as it is.

    correct.py --brokers HOST:PORT --key keys/result.<key id>.key ID \\
        duration_seconds=-1.500000 runs=-1
    correct.py --brokers HOST:PORT --key keys/result.<key id>.key ID --void

ID is the row's ce_id; it must be in the file of billing.py. --void takes back all
that is left of the row, earlier corrections included. --dry-run only shows.
"""

import argparse
import json
import re
import sys
import time
from base64 import b64decode, urlsafe_b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from confluent_kafka import KafkaException, Producer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from exits import LOOK, OK, UNREACHABLE, USAGE, say
from signature import F, H, leaf
from store import Store
from usage import QUANTITIES, TYPE, Headers, Refused, Row, parse, require, text, whole


@dataclass(frozen=True)
class Corrected:
    """A row with what its corrections have left of it."""

    row: Row
    partition: int
    last_number: int
    left: dict[str, int | None]


def find(store: Store, row_id: str) -> Corrected:
    found = next(store.rows("id = ?", row_id), None)
    require(found is not None, f"no row {row_id}: follow --until-end first")
    assert found is not None
    _, partition, row = found
    require(row.kind != "correction", f"{row_id} is a correction: correct its row")
    last, left = 0, dict(row.quantities)
    for _, _, fix in store.rows("corrects = ?", row_id):
        last = max(last, fix.number or 0)
        for name, difference in fix.quantities.items():
            before = left[name]
            left[name] = before if difference is None else (before or 0) + difference
    return Corrected(row, partition, last, left)


def differences(what: Corrected, given: list[str], void: bool) -> dict[str, str]:
    if void:
        return {name: text(name, -n) for name, n in what.left.items() if n}
    out = dict(item.split("=", 1) for item in given if "=" in item)
    require(len(out) == len(given), "differences are NAME=VALUE")
    for name, value in out.items():
        require(name in QUANTITIES, f"{name} is none of {', '.join(QUANTITIES)}")
        left = (what.left[name] or 0) + (whole(name, value) or 0)
        require(left >= 0, f"{name} would be {text(name, left)}, below nothing")
    return out


def dump(value: Any) -> bytes:
    """JSON as section 1 of PROTOCOL.md spells it."""
    plain = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    upper = re.sub(
        r"\\(u[0-9a-f]{4}|.)", lambda m: "\\" + m[1][0] + m[1][1:].upper(), plain
    )
    return upper.encode()


def build(
    what: Corrected, changes: dict[str, str], now_ms: int
) -> tuple[bytes, Headers]:
    """Value and headers; the same number is the same id, so it counts once."""
    number = what.last_number + 1
    value = {**json.loads(what.row.value), "kind": "correction"}
    for name in QUANTITIES:
        nothing = None if value[name] is None else text(name, 0)
        value[name] = changes.get(name, nothing)
    value |= {"correction_of": what.row.id, "correction_number": number}
    about = (TYPE, what.row.workspace, "correction", what.row.id, number)
    at = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now_ms // 1000))
    told = {
        "ce_specversion": "1.0",
        "ce_id": H(F("blockfleet/v1/event", *about), 16).hex(),
        "ce_source": what.row.source,
        "ce_type": TYPE,
        "ce_time": f"{at}.{now_ms % 1000:03d}Z",
        "ce_subject": f"{what.row.workspace}/{what.row.id}",
        "content-type": "application/json",
        "bf_workspace": what.row.workspace,
        "bf_job": value["job"],
        "bf_run_id": value["run_id"],
    }
    return dump(value), [(n, v.encode()) for n, v in told.items() if v is not None]


def sign(node: bytes, key: Ed25519PrivateKey, now_ms: int) -> bytes:
    """A tree of one leaf: its root is the leaf, its path is empty."""
    kid = H(key.public_key().public_bytes_raw(), 16).hex()[:16]
    made = key.sign(F("blockfleet/v1/root", "result", kid, now_ms, 1, node))
    text64 = urlsafe_b64encode(made).decode().rstrip("=")
    return f"v1.result.{kid}.{now_ms}.1.0..{text64}".encode()


def read_key(path: Path) -> Ed25519PrivateKey:
    words = path.read_text().split()
    require(words[:2] == ["ed25519", "result"], f"{path} is no key of purpose result")
    return Ed25519PrivateKey.from_private_bytes(b64decode(words[2]))


def send(options: argparse.Namespace, at: int, key: bytes, value: bytes, h: Headers):
    failed: list[str] = []
    producer = Producer(
        {"bootstrap.servers": options.brokers, "enable.idempotence": True}
        | dict(setting.split("=", 1) for setting in options.X)
    )
    producer.produce(
        options.topic,
        value,
        key,
        at,
        on_delivery=lambda error, _: error and failed.append(str(error)),
        headers=h,
    )
    if producer.flush(60) or failed:
        raise KafkaException(*failed or ["not delivered within 60 s"])


def correct(options: argparse.Namespace) -> int:
    now_ms = time.time_ns() // 1_000_000
    what = find(Store(options.db), options.id)
    changes = differences(what, options.difference, options.void)
    require(changes, "nothing to correct")
    value, headers = build(what, changes, now_ms)
    key = what.row.workspace.encode()
    print(parse(key, value, headers).id, value.decode())
    if not options.dry_run:
        node = leaf(options.topic, what.partition, key, value, headers)
        signature = sign(node, read_key(options.key), now_ms)
        headers.append(("bf_signature", signature))
        send(options, what.partition, key, value, headers)
    return OK


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("id", metavar="ID")
    parser.add_argument("difference", nargs="*", metavar="NAME=DIFFERENCE")
    parser.add_argument("--void", action="store_true")
    parser.add_argument("--dry-run", action="store_true")
    parser.add_argument("--db", type=Path, default="billing.db")
    parser.add_argument("--brokers", required=True)
    parser.add_argument("--topic", default="bf.usage")
    parser.add_argument("--key", type=Path, required=True)
    parser.add_argument("-X", action="append", default=[], metavar="NAME=VALUE")
    options = parser.parse_args()
    try:
        return correct(options)
    except Refused as why:
        say(str(why))
        return LOOK
    except OSError as error:
        say(str(error))
        return USAGE
    except KafkaException as error:
        say(str(error))
        return UNREACHABLE


if __name__ == "__main__":
    sys.exit(main())
