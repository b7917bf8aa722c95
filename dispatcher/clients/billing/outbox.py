"""Events on their way to one receiver, in the file in which the rows are.

An event is sent until an answer says that the receiver has it. When an answer is
lost it is sent again, with the same id, and the receiver keeps one: for as long
as it remembers ids. What it may have and may have forgotten is `doubtful` and is
not sent again unless a person says so.
"""

import json
import random
import time
from dataclasses import dataclass
from urllib.parse import urlencode

import events
from exits import say
from post import Answer, Client, Means
from store import Store
from usage import Row

SCHEMA = """
CREATE TABLE IF NOT EXISTS targets(
  name TEXT PRIMARY KEY, filled INTEGER NOT NULL) STRICT;  -- up to which seq
CREATE TABLE IF NOT EXISTS outbox(
  target TEXT, id TEXT, seq INTEGER NOT NULL, workspace TEXT NOT NULL,
  event TEXT NOT NULL,            -- JSON
  state TEXT NOT NULL DEFAULT 'waiting',  -- then sent, refused or doubtful
  unsure_since_ms INTEGER,        -- since when the receiver may have it
  note TEXT NOT NULL DEFAULT '', PRIMARY KEY(target, id)) STRICT;
CREATE INDEX IF NOT EXISTS outbox_open ON outbox(target, seq) WHERE state != 'sent';
"""
READY = (
    "SELECT id, workspace, event, unsure_since_ms FROM outbox"
    " WHERE target = ?1 AND state = 'waiting'"
    " AND (?2 IS NULL OR workspace IN (SELECT value FROM json_each(?2)))"
    " ORDER BY seq, id LIMIT ?3"
)
FILL = 500


@dataclass(frozen=True)
class Target:
    name: str  # openmeter or stripe
    batch: int  # events in one request
    dedupe_hours: float  # for how long it is sure to know an id again
    attempts: int  # one after the other, before giving up for now
    customers: dict[str, str] | None = None  # workspace -> Stripe's customer


@dataclass(frozen=True)
class Event:
    id: str
    workspace: str
    event: str
    unsure_since_ms: int | None


class GaveUp(Exception):
    """The receiver takes nothing now; what waits is still there."""


class Outbox:
    def __init__(self, store: Store, target: Target) -> None:
        self.store, self.target = store, target
        store.db.executescript(SCHEMA)

    # ---- filling ------------------------------------------------------------

    def begin(self, start: str | None) -> bool:
        """Whether it is known which rows to send: all, or those from now on."""
        known = "SELECT 1 FROM targets WHERE name = ?"
        with self.store.transaction() as db:
            if db.execute(known, (self.target.name,)).fetchone():
                return True
            last = db.execute("SELECT coalesce(max(seq), 0) FROM rows").fetchone()[0]
            if start is not None:
                values = (self.target.name, last if start == "now" else 0)
                db.execute("INSERT INTO targets VALUES(?, ?)", values)
        return start is not None

    def fill(self) -> None:
        """Events of new rows, and up to where: together, like rows and positions."""
        while self._fill():
            pass

    def _fill(self) -> bool:
        name = self.target.name
        with self.store.transaction() as db:
            filled = "SELECT filled FROM targets WHERE name = ?"
            after = db.execute(filled, (name,)).fetchone()[0]
            rows = list(self.store.rows("seq > ?", after, limit=FILL))
            for seq, _, row in rows:
                made = events_of(name, row) if row.billable else {}
                db.executemany(
                    "INSERT OR IGNORE INTO outbox(target, id, seq, workspace, event)"
                    " VALUES(?, ?, ?, ?, ?)",
                    [(name, i, seq, row.workspace, e) for i, e in made.items()],
                )
            if rows:
                update = "UPDATE targets SET filled = ? WHERE name = ?"
                db.execute(update, (rows[-1][0], name))
        return bool(rows)

    # ---- sending ------------------------------------------------------------

    def send(self, client: Client) -> None:
        """All that can be sent. GaveUp when the receiver does not take it."""
        size, failures = self.target.batch, 0
        self._doubt()
        while batch := self._ready(size):
            self._mark(batch)
            answer = client.post(*self._request(batch))
            if answer.means in (Means.NOT_TAKEN, Means.UNSURE, Means.STOP):
                failures += 1
                self._wait(batch, answer, failures)
            elif answer.means is Means.REFUSED and len(batch) > 1:
                self._unmark(batch)  # a batch is refused as a whole: which one is it?
                size = 1
            else:
                state = "sent" if answer.means is Means.HAS_IT else "refused"
                self._settle(batch, state, answer.note)
                size, failures = min(size * 2, self.target.batch), 0

    def _wait(self, batch: list[Event], answer: Answer, failures: int) -> None:
        if answer.means is not Means.UNSURE:
            self._unmark(batch)
        if answer.means is Means.STOP or failures >= self.target.attempts:
            raise GaveUp(answer.note)
        say(f"again: {answer.note}")
        backoff = min(30.0, 0.1 * 2**failures) * random.uniform(0.5, 1)
        time.sleep(max(answer.wait_s, backoff))
        self._doubt()  # the waiting may have been a night with the lid closed

    def _ready(self, size: int) -> list[Event]:
        customers = self.target.customers
        mapped = None if customers is None else json.dumps(list(customers))
        found = self.store.db.execute(READY, (self.target.name, mapped, size))
        return [Event(*row) for row in found]

    def _request(self, batch: list[Event]) -> tuple[str, bytes]:
        if self.target.customers is None:
            body = "[" + ",".join(e.event for e in batch) + "]"
            return "application/cloudevents-batch+json", body.encode()
        (event,) = batch
        customer = self.target.customers[event.workspace]
        form = {**json.loads(event.event), "payload[stripe_customer_id]": customer}
        return "application/x-www-form-urlencoded", urlencode(form).encode()

    # ---- what is known of an event -------------------------------------------

    def _mark(self, batch: list[Event]) -> None:
        """Before the request leaves: from now on the receiver may have them."""
        now_ms = time.time_ns() // 1_000_000
        self._update(
            "unsure_since_ms = ?", [(e.unsure_since_ms or now_ms, e) for e in batch]
        )

    def _unmark(self, batch: list[Event]) -> None:
        """This request certainly brought nothing; an earlier one may have."""
        self._update("unsure_since_ms = ?", [(e.unsure_since_ms, e) for e in batch])

    def _settle(self, batch: list[Event], state: str, note: str) -> None:
        say(f"{batch[0].id}: {note}") if state != "sent" else None
        self._update("state = ?, note = ?", [(state, note, e) for e in batch])

    def _update(self, change: str, values: list[tuple[object, ...]]) -> None:
        where = "WHERE target = ? AND id = ?"
        with self.store.transaction() as db:
            db.executemany(
                f"UPDATE outbox SET {change} {where}",
                [(*rest, self.target.name, event.id) for *rest, event in values],
            )

    def _doubt(self) -> None:
        """What it may have had for too long: sending it again might count twice."""
        before = time.time_ns() // 1_000_000 - int(self.target.dedupe_hours * 3_600_000)
        self.store.db.execute(
            "UPDATE outbox SET state = 'doubtful', note = 'may be there and forgotten'"
            " WHERE target = ? AND state = 'waiting' AND unsure_since_ms < ?",
            (self.target.name, before),
        )

    def resolve(self, to: str) -> None:
        """A person has looked: `sent` (it is there) or `waiting` (it is not)."""
        self.store.db.execute(
            "UPDATE outbox SET state = ?, unsure_since_ms = NULL"
            " WHERE target = ? AND state IN ('doubtful', 'refused')",
            (to, self.target.name),
        )

    def unmapped(self) -> list[str]:
        """Workspaces whose events wait for a customer to be named."""
        if self.target.customers is None:
            return []
        found = self.store.db.execute(
            "SELECT DISTINCT workspace FROM outbox"
            " WHERE target = ? AND state = 'waiting' ORDER BY 1",
            (self.target.name,),
        )
        return [name for (name,) in found if name not in self.target.customers]

    def counts(self) -> dict[str, int]:
        """Events by state."""
        return dict(
            self.store.db.execute(
                "SELECT state, count(*) FROM outbox WHERE target = ? GROUP BY 1",
                (self.target.name,),
            )
        )


def events_of(target: str, row: Row) -> dict[str, str]:
    """JSON by id."""
    if target == "openmeter":
        made = {row.id: events.openmeter(row, json.loads(row.value))}
    else:
        made = {event["identifier"]: event for event in events.stripe(row)}
    return {name: json.dumps(event) for name, event in made.items()}
