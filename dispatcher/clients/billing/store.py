"""What is counted, in one SQLite file.

The one rule that makes it exact: rows, and the positions up to which the topic
was read, change in the same transaction. After a crash both are there or
neither, so nothing is lost; what is read again is known by its id.
"""

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from usage import QUANTITIES, Row

SCHEMA = f"""
CREATE TABLE IF NOT EXISTS rows(
  seq INTEGER PRIMARY KEY,            -- the order in which they came
  id TEXT NOT NULL UNIQUE,            -- ce_id; a copy finds it taken
  partition INTEGER NOT NULL,
  source TEXT NOT NULL, time TEXT NOT NULL, workspace TEXT NOT NULL,
  kind TEXT NOT NULL, billable INTEGER NOT NULL, ended_at TEXT NOT NULL,
  corrects TEXT, number INTEGER, value TEXT NOT NULL,
  {", ".join(f"{name} INTEGER" for name in QUANTITIES)}) STRICT;
CREATE INDEX IF NOT EXISTS rows_ended ON rows(ended_at);
CREATE INDEX IF NOT EXISTS rows_corrects ON rows(corrects) WHERE corrects NOTNULL;
CREATE TABLE IF NOT EXISTS positions(
  topic TEXT, partition INTEGER, next INTEGER NOT NULL,
  PRIMARY KEY(topic, partition)) STRICT;
-- Records that are not counted: somebody should look at them.
CREATE TABLE IF NOT EXISTS aside(
  topic TEXT, partition INTEGER, offset INTEGER, why TEXT NOT NULL, value BLOB,
  PRIMARY KEY(topic, partition, offset)) STRICT;
-- Every row that was committed before this time (ms) is counted.
CREATE TABLE IF NOT EXISTS complete(one INTEGER PRIMARY KEY, until_ms INTEGER) STRICT;
-- What was invoiced; a second one for a month is the difference since the first.
CREATE TABLE IF NOT EXISTS invoices(
  workspace TEXT, month TEXT, number INTEGER, made_at TEXT NOT NULL,
  amount TEXT NOT NULL, PRIMARY KEY(workspace, month, number)) STRICT;
"""
PLAIN = tuple(field.name for field in fields(Row) if field.name != "quantities")
COLUMNS = (*PLAIN, *QUANTITIES)
INSERT = (
    f"INSERT OR IGNORE INTO rows(partition, {', '.join(COLUMNS)})"
    f" VALUES(?{', ?' * len(COLUMNS)})"
)
Place = tuple[str, int]


class Fenced(Exception):
    """Another process writes this file too."""


@dataclass(frozen=True)
class Read:
    """A record: where it was, and a row or why it is none."""

    place: Place
    offset: int
    row: Row | None
    why: str = ""
    value: bytes | None = None


class Store:
    def __init__(self, path: Path, create: bool = False) -> None:
        if not create and not path.exists():
            raise FileNotFoundError(f"{path} is not there: billing.py follow makes it")
        self.db = sqlite3.connect(path, timeout=30, isolation_level=None)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = FULL")  # a power cut is a crash too
        self.db.executescript(SCHEMA)

    @contextmanager
    def transaction(self, how: str = "IMMEDIATE") -> Iterator[sqlite3.Connection]:
        """DEFERRED is for readers: they see one moment and hold nobody up."""
        self.db.execute(f"BEGIN {how}")
        try:
            yield self.db
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    # ---- reading the topic --------------------------------------------------

    def positions(self, topic: str) -> dict[Place, int]:
        found = self.db.execute(
            "SELECT partition, next FROM positions WHERE topic = ?", (topic,)
        )
        return {(topic, partition): next for partition, next in found}

    def forget_positions(self, topic: str) -> None:
        """Read it all again: rows that are there already stay as they are."""
        self.db.execute("DELETE FROM positions WHERE topic = ?", (topic,))

    def take(self, batch: list[Read], moves: dict[Place, tuple[int, int]]) -> int:
        """Rows and positions (from, to), together or not at all; how many were new."""
        with self.transaction() as db:
            new = sum(self._take(db, read) for read in batch)
            for (topic, partition), (old, next) in moves.items():
                db.execute(
                    "INSERT OR IGNORE INTO positions VALUES(?, ?, ?)",
                    (topic, partition, old),
                )
                moved = db.execute(
                    "UPDATE positions SET next = ?"
                    " WHERE topic = ? AND partition = ? AND next = ?",
                    (next, topic, partition, old),
                )
                if moved.rowcount != 1:
                    raise Fenced(f"{topic}[{partition}] is not at {old} any more")
        return new

    def _take(self, db: sqlite3.Connection, read: Read) -> int:
        where = (*read.place, read.offset)
        if read.row is None:
            self._aside(db, read, read.why)
            return 0
        plain = [getattr(read.row, name) for name in PLAIN]
        values = [read.row.quantities[name] for name in QUANTITIES]
        new = db.execute(INSERT, (read.place[1], *plain, *values)).rowcount
        same = "SELECT 1 FROM rows WHERE id = ? AND value = ?"
        if not new and not db.execute(same, (read.row.id, read.row.value)).fetchone():
            self._aside(db, read, f"the id of another row: {read.row.id}")
        else:
            at = "topic = ? AND partition = ? AND offset = ?"
            db.execute(f"DELETE FROM aside WHERE {at}", where)
        return new

    @staticmethod
    def _aside(db: sqlite3.Connection, read: Read, why: str) -> None:
        db.execute(
            "INSERT OR REPLACE INTO aside VALUES(?, ?, ?, ?, ?)",
            (*read.place, read.offset, why, read.value),
        )

    def complete(self, until_ms: int) -> None:
        self.db.execute("INSERT OR REPLACE INTO complete VALUES(1, ?)", (until_ms,))

    # ---- what is there ------------------------------------------------------

    def complete_until_ms(self) -> int:
        found = self.db.execute("SELECT until_ms FROM complete").fetchone()
        return found[0] if found else 0

    def count(self, what: str) -> int:
        return self.db.execute(f"SELECT count(*) FROM {what}").fetchone()[0]

    def rows(
        self, where: str, *values: object, limit: int = -1
    ) -> Iterator[tuple[int, int, Row]]:
        """(seq, partition, row) in the order in which they came."""
        for seq, partition, *rest in self.db.execute(
            f"SELECT seq, partition, {', '.join(COLUMNS)} FROM rows"
            f" WHERE {where} ORDER BY seq LIMIT {limit}",
            values,
        ):
            told = dict(zip(COLUMNS, rest, strict=True))
            quantities = {name: told.pop(name) for name in QUANTITIES}
            told["billable"] = bool(told["billable"])
            yield seq, partition, Row(quantities=quantities, **told)
