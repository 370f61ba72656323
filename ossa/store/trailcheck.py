"""Reads a trail, from PostgreSQL or from the archive, for a verification."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from ossa.audit.findings import Finding, Verdict
from ossa.audit.heads import Head, Keys
from ossa.audit.spool import Spool
from ossa.audit.verify import Verifier
from ossa.store.errors import Damaged
from ossa.store.records.audit import Snapshot
from ossa.store.records.pool import Connection
from ossa.store.trailarchive import Name, TrailArchive

RECORDS: Final = "records"
ARCHIVE: Final = "archive"
# What was recorded so lately may not have come to the archive yet, or from the bus to PostgreSQL.
SETTLING: Final = timedelta(minutes=5)
# Partitions go as a whole, and a writer may have been silent at the border of two: that much more may be gone.
_SLACK: Final = timedelta(days=1)
_AHEAD: Final = 8  # objects that are fetched at once
_REPORTED: Final = 5000  # links from one word on the progress to the next
Progress = Callable[[str, int], None]


@dataclass(slots=True)
class Trail:
    """One place where a trail lies, as it is read."""

    name: str
    verifier: Verifier
    read: int = 0


@dataclass(slots=True)
class Check:
    """A verification of one trail in one or more places.

    kept: what is older than this may have been removed from PostgreSQL. progress: is told place and links read so far.
    """

    keys: Keys
    now: datetime
    kept: timedelta
    progress: Progress = lambda _place, _count: None
    trails: list[Trail] = field(default_factory=list)
    # Heads from anywhere hold for all places.
    _heads: Spool = field(default_factory=Spool, init=False, repr=False)

    async def records(self, connection: Connection | asyncpg.Connection[asyncpg.Record]) -> None:
        """PostgreSQL's, as it stands at this moment."""
        trail = self._begin(RECORDS, horizon=self.now - self.kept + _SLACK)
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = Snapshot(connection)
            for text in await snapshot.heads():
                self._heads.head(text, "audit_heads")
            async for row in snapshot.rows():
                trail.verifier.line(row.text, writer=row.writer, epoch=row.epoch, place="table audit")
                if row.differs:
                    text = f"the column {row.differs} of the table does not say what the link says"
                    trail.verifier.found(Finding("altered", row.writer, row.epoch, row.seq, row.seq, text))
                self._count(trail, 1)

    async def archive(self, archive: TrailArchive) -> None:
        """The archive's. Raises Unavailable."""
        trail = self._begin(ARCHIVE, horizon=None)
        some: list[Name] = []
        async for name in archive.names():
            some.append(name)
            if len(some) == _AHEAD:
                await self._objects(trail, archive, some)
                some = []
        await self._objects(trail, archive, some)

    async def _objects(self, trail: Trail, archive: TrailArchive, names: list[Name]) -> None:
        await asyncio.gather(*(self._object(trail, archive, name) for name in names))

    async def _object(self, trail: Trail, archive: TrailArchive, name: Name) -> None:
        try:
            lines = await archive.read(name)
        except Damaged as error:
            trail.verifier.found(Finding("altered", name.writer, name.epoch, name.first, name.last, error.detail))
            return
        for text in lines.links:
            trail.verifier.line(text, writer=name.writer, epoch=name.epoch, place=name.path)
        for text in lines.heads:
            self._heads.head(text, name.path)
        self._count(trail, len(lines.links))

    def finish(self, known: list[Head]) -> dict[str, Verdict]:
        """The verdict of each place. known: heads that an earlier verification kept."""
        verdicts = {}
        for trail in self.trails:
            for text, place in self._heads.heads():
                trail.verifier.head_line(text, place=place)
            for head in known:
                trail.verifier.head(head, place="what is known from before")
            verdicts[trail.name] = trail.verifier.finish()
        return verdicts

    def _begin(self, name: str, *, horizon: datetime | None) -> Trail:
        verifier = Verifier(self.keys, now=self.now, horizon=horizon, settled=self.now - SETTLING)
        trail = Trail(name, verifier)
        self.trails.append(trail)
        return trail

    def _count(self, trail: Trail, links: int) -> None:
        before, trail.read = trail.read, trail.read + links
        if before // _REPORTED != trail.read // _REPORTED:
            self.progress(trail.name, trail.read)
