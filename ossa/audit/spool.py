"""What a verification has read, on disk: a trail may be larger than the memory of who verifies it.

A database of SQLite without a name: a file in $TMPDIR that nobody else sees, and that is gone with the process however
it ends. About 110 bytes for each link, and 16 MiB of memory. With no room left every method raises
sqlite3.OperationalError.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from ossa.audit.chain import Witnessed

_SCHEMA: Final = """
PRAGMA journal_mode = OFF;
PRAGMA synchronous = OFF;
PRAGMA cache_size = -16384;
CREATE TABLE links (chain, seq, n, hash, previous, recorded, place, PRIMARY KEY (chain, seq, n)) WITHOUT ROWID;
CREATE TABLE places (place INTEGER PRIMARY KEY, name);
CREATE TABLE claims (chain, seq, n, hash, time, source, closed, PRIMARY KEY (chain, seq, n)) WITHOUT ROWID;
CREATE TABLE witnessed (chain, seq, n, writer, epoch, at, hash, PRIMARY KEY (chain, seq, n)) WITHOUT ROWID;
CREATE TABLE heads (text, place, PRIMARY KEY (text, place)) WITHOUT ROWID;
"""
# The same text of a link in another place is a copy.
_ADD: Final = (
    "INSERT INTO links SELECT ?1, ?2, ?3, ?4, ?5, ?6, ?7"
    " WHERE NOT EXISTS (SELECT 1 FROM links WHERE chain = ?1 AND seq = ?2 AND hash = ?4)"
)
_TOGETHER: Final = 1000  # rows that are written at once
_BEGAN: Final = datetime(1970, 1, 1, tzinfo=UTC)
_TICK: Final = timedelta(microseconds=1)


@dataclass(frozen=True, slots=True)
class Claim:
    """That the chain had come to `seq` with `hash` at `time`; proven, by whom `source` says."""

    seq: int
    hash: str
    time: datetime
    source: str
    closed: bool = False


@dataclass(frozen=True, slots=True)
class Held:
    """What is kept of a link."""

    hash: bytes
    previous: bytes
    recorded: datetime
    place: int


class Spool:
    """Links, claims and heads by chains, which have numbers. One thread at a time."""

    def __init__(self) -> None:
        self._held = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._held.executescript(_SCHEMA)
        self._waiting: list[tuple[Any, ...]] = []
        self._count = 0
        self._place = ("", 0)

    def add(self, chain: int, seq: int, held: Held) -> None:
        """A link; one of the same hash is there once."""
        row = (chain, seq, self._next(), held.hash, held.previous, (held.recorded - _BEGAN) // _TICK, held.place)
        self._waiting.append(row)
        if len(self._waiting) >= _TOGETHER:
            self._flush()

    def place(self, name: str) -> int:
        """A number for a place."""
        if self._place[0] != name:
            self._place = (name, self._next())
            self._held.execute("INSERT INTO places VALUES (?, ?)", (self._place[1], name))
        return self._place[1]

    def name_of(self, place: int) -> str:
        """The place of a number."""
        return str(self._one("SELECT name FROM places WHERE place = ?", place)[0])

    def claim(self, chain: int, claim: Claim) -> None:
        """What something proven says of a chain."""
        moment = (claim.time - _BEGAN) // _TICK
        row = (chain, claim.seq, self._next(), bytes.fromhex(claim.hash), moment, claim.source, claim.closed)
        self._held.execute("INSERT INTO claims VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def witness(self, chain: int, seq: int, said: Witnessed) -> None:
        """What a link says of another chain."""
        row = (chain, seq, self._next(), said.writer, said.epoch, said.seq, said.hash)
        self._held.execute("INSERT INTO witnessed VALUES (?, ?, ?, ?, ?, ?, ?)", row)

    def witnesses(self, chain: int) -> Iterator[int]:
        """The links of a chain that witnessed something which was not taken yet. It may be taken meanwhile."""
        seq = 0
        while (
            found := self._one("SELECT min(seq) FROM witnessed WHERE chain = ? AND seq > ?", chain, seq)[0]
        ) is not None:
            seq = int(found)
            yield seq

    def take(self, chain: int, seq: int) -> list[Witnessed]:
        """What a link witnessed, once."""
        query = "DELETE FROM witnessed WHERE chain = ? AND seq = ? RETURNING n, writer, epoch, at, hash"
        rows = sorted(self._held.execute(query, (chain, seq)).fetchall())
        return [Witnessed(writer=row[1], epoch=row[2], seq=row[3], hash=row[4]) for row in rows]

    def links_down(self, chain: int) -> Iterator[tuple[int, Held]]:
        """All links from the last one down; versions of the same one as they came."""
        self._flush()
        query = "SELECT seq, hash, previous, recorded, place FROM links WHERE chain = ? ORDER BY seq DESC, n"
        for seq, *held in self._held.execute(query, (chain,)):
            yield seq, _held_of(held)

    def claims_down(self, chain: int) -> Iterator[tuple[int, tuple[bytes, str]]]:
        """Hash and source of each, but of those of an empty chain, likewise."""
        query = "SELECT seq, hash, source FROM claims WHERE chain = ? AND seq > 0 ORDER BY seq DESC, n"
        for seq, digest, source in self._held.execute(query, (chain,)):
            yield seq, (digest, source)

    def first_version(self, chain: int, seq: int) -> Held | None:
        """The link as it was found first."""
        self._flush()
        query = "SELECT hash, previous, recorded, place FROM links WHERE chain = ? AND seq = ? ORDER BY n LIMIT 1"
        row = self._held.execute(query, (chain, seq)).fetchone()
        return _held_of(row) if row is not None else None

    def has(self, chain: int, seq: int, *, digest: str = "", place: int = 0) -> bool:
        """Whether there is such a link, of this hash or in this place."""
        self._flush()
        query = "SELECT 1 FROM links WHERE chain = ? AND seq = ? AND (hash = ? OR place = ?)"
        return self._held.execute(query, (chain, seq, bytes.fromhex(digest), place)).fetchone() is not None

    def first_claim(self, chain: int, seq: int) -> tuple[datetime, str] | None:
        """Time and source of the earliest claim about this link or a later one."""
        query = "SELECT time, source FROM claims WHERE chain = ? AND seq >= ? ORDER BY time, n LIMIT 1"
        row = self._held.execute(query, (chain, seq)).fetchone()
        return (_BEGAN + row[0] * _TICK, row[1]) if row is not None else None

    def last_claimed(self, chain: int) -> datetime | None:
        """The time of the latest claim."""
        (found,) = self._one("SELECT max(time) FROM claims WHERE chain = ?", chain)
        return _BEGAN + found * _TICK if found is not None else None

    def closed_at(self, chain: int) -> int | None:
        """Where its writer says that it ended the chain."""
        query = "SELECT seq FROM claims WHERE chain = ? AND closed ORDER BY n LIMIT 1"
        row = self._held.execute(query, (chain,)).fetchone()
        return int(row[0]) if row is not None else None

    def head(self, text: str, place: str) -> None:
        """A head as it was found."""
        self._held.execute("INSERT OR IGNORE INTO heads VALUES (?, ?)", (text, place))

    def heads(self) -> Iterator[tuple[str, str]]:
        """Text and place of each."""
        yield from self._held.execute("SELECT text, place FROM heads")

    def _one(self, query: str, *values: object) -> Any:
        return self._held.execute(query, values).fetchone()

    def _next(self) -> int:
        self._count += 1
        return self._count

    def _flush(self) -> None:
        if self._waiting:
            self._held.executemany(_ADD, self._waiting)
            self._waiting.clear()


def _held_of(row: Any) -> Held:
    digest, previous, recorded, place = row
    return Held(digest, previous, _BEGAN + recorded * _TICK, place)
