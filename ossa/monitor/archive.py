"""The audit processor: what the bus brings goes to the archive and, where it is not there yet, to PostgreSQL.

What the stream lost is fetched from PostgreSQL. Both ways a link may come more than once: it always comes to the same
object and row, or to one more object that holds the same.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from ossa.audit.chain import BadLink, Link
from ossa.audit.heads import Head, Keys
from ossa.audit.segment import is_proven, runs
from ossa.bus.consumer import TryAgain
from ossa.bus.segments import AuditSegment
from ossa.store.errors import StorageFull, Unavailable
from ossa.store.records.audit import add, heads_since, links
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records
from ossa.store.trailarchive import TrailArchive

_log = logging.getLogger("ossa.audit")

GROUP: Final = "audit"  # the consumer group on ossa:audit
# Segments from which on a batch is a full one. After a smaller one the next is let grow for LINGER seconds, so that a
# quiet gateway does not make an object of each request.
FULL: Final = 100
LINGER: Final = 20.0
# The bus is given so long before PostgreSQL is asked for what it did not bring, and so often that is looked at.
GRACE: Final = timedelta(minutes=2)
INTERVAL: Final = 60.0
# Links in an object that is made from PostgreSQL, and how far back chains are looked at once all have been.
OBJECT: Final = 5_000
RECENT: Final = timedelta(days=2)
_Chain = tuple[str, str]


class Forged(ValueError):
    """A segment that no known key signed: it is parked, and neither archived nor recorded."""


class Archiver:
    """Archives. Any number of replicas may do so at once.

    handle: for a bus.consumer.Consumer of AuditSegment in group GROUP. keep_up: runs beside it.
    """

    def __init__(
        self,
        archive: TrailArchive | None,
        records: Records,
        keys: Keys,
        *,
        clock: Callable[[], datetime],
        linger: float = LINGER,
    ) -> None:
        """Without an archive what the bus brings goes to PostgreSQL alone."""
        self._archive, self._records, self._keys, self._clock = archive, records, keys, clock
        self._linger, self._stopping = linger, asyncio.Event()
        self._archived: dict[_Chain, int] = {}  # all up to this link of a chain lies in the archive
        self._seen_all = False

    def stop(self) -> None:
        """Ends what waits."""
        self._stopping.set()

    async def handle(self, messages: Sequence[AuditSegment]) -> None:
        """Archives and records what came.

        Raises:
            TryAgain: the storage or PostgreSQL is away.
            Forged: one of them proves nothing.
        """
        chains: dict[_Chain, tuple[list[Link], list[Head]]] = {}
        for message in messages:
            segment, head = message.segment, message.segment.head
            if not is_proven(segment, self._keys):
                raise Forged(
                    f"segment {message.id} of {head.writer}/{head.epoch} is signed by no known key, or altered"
                )
            held = chains.setdefault((head.writer, head.epoch), ([], []))
            held[0].extend(segment.read())
            held[1].append(head)
        try:
            if self._archive is not None:
                for found, heads in chains.values():
                    for run in runs(found):
                        await _put(self._archive, run, heads)
            pairs = [(found, max(heads, key=lambda head: head.seq)) for found, heads in chains.values()]
            await add(self._records, pairs)
        except (Unavailable, StorageFull, RecordsUnavailable) as error:
            raise TryAgain(str(error)) from error
        if len(messages) < FULL:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), self._linger)

    async def keep_up(self) -> None:
        """Fetches from PostgreSQL, again and again, what the bus did not bring; until `stop` or cancelled."""
        try:
            while not self._stopping.is_set():
                await self._try_to_catch_up()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), INTERVAL)
        finally:
            self.stop()

    async def _try_to_catch_up(self) -> None:
        try:
            await self.catch_up()
        except (Unavailable, StorageFull, RecordsUnavailable, asyncpg.UndefinedTableError) as error:
            # The table: it is there once the first process has made the schema.
            _log.warning("the audit archive does not catch up", extra={"error": str(error)})

    async def catch_up(self) -> int:
        """Archives what lies in PostgreSQL alone; how many links that were.

        Raises RecordsUnavailable, Unavailable, StorageFull.
        """
        now, total = self._clock(), 0
        if self._archive is None:
            return 0
        for head in await heads_since(self._records, now - RECENT if self._seen_all else None):
            try:
                total += await self._catch_up(self._archive, head, now - GRACE)
            except BadLink as error:
                chain = {"writer": head.writer, "epoch": head.epoch}
                _log.error("a row of the audit trail is no link; verify it", extra={"error": str(error), **chain})
        self._seen_all = True
        if total:
            _log.info("the audit archive has caught up", extra={"links": total})
        return total

    async def _catch_up(self, archive: TrailArchive, head: Head, until: datetime) -> int:
        chain, total = (head.writer, head.epoch), 0
        done = self._archived.get(chain, 0)
        there = [name async for name in archive.names(writer=head.writer, epoch=head.epoch, after=done)]
        missing: list[int] = []
        for first, last in gaps([(name.first, name.last) for name in there], done + 1, head.seq):
            for start in range(first, last + 1, OBJECT):
                end = min(last, start + OBJECT - 1)
                found = [link for link in await links(self._records, *chain, start, end) if link.body.recorded <= until]
                for run in runs(found):
                    await _put(archive, run, [head])
                total += len(found)
                if len(found) <= end - start:
                    missing.append(start)
        self._archived[chain] = min(missing) - 1 if missing else head.seq
        return total


async def _put(archive: TrailArchive, run: Sequence[Link], heads: Sequence[Head]) -> None:
    """An object of a run, with the head of its last link or the next one there is."""
    last = run[-1].body.seq
    covering = min((head for head in heads if head.seq >= last), key=lambda head: (head.seq, not head.closed))
    await archive.put(run, [covering])


def gaps(ranges: Sequence[tuple[int, int]], first: int, last: int) -> list[tuple[int, int]]:
    """What of `first` to `last` lies in none of the ranges."""
    found: list[tuple[int, int]] = []
    for low, high in sorted(ranges):
        if low > first:
            found.append((first, min(low - 1, last)))
        first = max(first, high + 1)
        if first > last:
            return found
    return [*found, (first, last)] if first <= last else found
