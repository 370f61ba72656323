"""The audit trail of one process: entries become durable links before what they tell of is answered.

Links go to PostgreSQL in batches, and from there on to the bus for the archive. With PostgreSQL away the bus' stream
holds them, where Redis has written them to its disk. With both away nothing is changed: what asks for it is answered
503 before (outcome `asked`). Refusals are not waited for, and a flood of them becomes entries with a count.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from ossa.audit.chain import Chain, Witnessed, new_epoch
from ossa.audit.entry import Entry
from ossa.audit.heads import Signer
from ossa.audit.thinning import Thinning
from ossa.audit.verify import HEARTBEAT
from ossa.gateway.auditsinks import ANSWER, Linked, Sinks
from ossa.gateway.problems import Unkept
from ossa.store.records.audit import heads_since
from ossa.store.records.errors import RecordsUnavailable

_log = logging.getLogger("ossa.audit")

BATCH: Final = 200  # links in one segment
# Seconds to wait for more to write together, where so many came together: what a commit costs is mostly the same
# whatever is in it, and a lone request need not wait for others.
GATHER: Final = 0.005
SIBLINGS: Final = 4
RETRY: Final = 1.0  # seconds between two tries with both away, and between two looks at what was counted
# How far back other chains are witnessed, and how many at once.
WITNESSED: Final = timedelta(days=2)
WITNESSED_MOST: Final = 500


@dataclass(frozen=True, slots=True)
class _Waiting:
    """An entry, and who waits for it to be durable; nobody for what the process tells of itself and for refusals."""

    entry: Entry
    done: asyncio.Future[None] | None = None
    witnessed: tuple[Witnessed, ...] = ()


class Unwritten(Exception):
    """Neither PostgreSQL nor Redis took the entry."""


class Auditing:
    """The trail of this process: `run` beside the server, `record` from anywhere in its event loop.

    writer: this process' name, e.g. its pod's. Each Auditing is an epoch of its own.
    """

    def __init__(self, sinks: Sinks, *, writer: str, signer: Signer, clock: Callable[[], datetime]) -> None:
        self._sinks, self._signer, self._clock = sinks, signer, clock
        self._chain = Chain(writer, new_epoch(clock()))
        self._thinning = Thinning()
        self._queue: list[_Waiting] = []
        self._batch: list[_Waiting] = []  # what is being written
        self._unwritten: list[Linked] = []
        self._told: dict[tuple[str, str], int] = {}
        self._wake, self._stopping, self._ended = asyncio.Event(), asyncio.Event(), False
        self._available = True
        sinks.metrics.pending.set_function(lambda: self.pending)

    @property
    def available(self) -> bool:
        """Whether entries can be kept now, as far as is known."""
        return self._available and not self._ended

    @property
    def pending(self) -> int:
        """Entries that are not durable yet."""
        return len(self._queue) + sum(len(links) for links, _ in self._unwritten)

    @property
    def epoch(self) -> str:
        """This life of the process, in the trail."""
        return self._chain.epoch

    async def record(self, entry: Entry) -> None:
        """Returns once the entry is durable; at once where it tells of a refusal.

        Raises:
            Unkept: 503, where it can be kept nowhere, or this process has ended its chain.
        """
        if entry.outcome == "denied":
            self._refused(entry)
        else:
            await self.keep(entry)

    async def keep(self, entry: Entry) -> None:
        """Returns once the entry is durable, whatever it tells of. Raises as `record`."""
        if not self.available:
            self._count(entry)
            raise self._unavailable(entry)
        done = asyncio.get_running_loop().create_future()
        self._put(_Waiting(entry, done))
        try:
            await done
        except Unwritten as error:
            raise self._unavailable(entry) from error

    async def run(self) -> None:
        """Writes until `stop`, and then what is left."""
        copying = asyncio.create_task(self._sinks.copy())
        try:
            await self._write_on()
            await self._close()
        finally:
            self._ended = True
            self._give_up([*self._batch, *self._queue])
            copying.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await copying

    def stop(self) -> None:
        """Ends `run`. Call it once all requests have ended: whoever comes later is answered 503."""
        self._stopping.set()
        self._wake.set()

    async def _write_on(self) -> None:
        loop = asyncio.get_running_loop()
        beat = loop.time() + HEARTBEAT.total_seconds()
        self._put(_Waiting(self._own("open", "a process begins"), None, await self._witness()))
        while not self._stopping.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for((self._wake if self._available else self._stopping).wait(), RETRY)
            if loop.time() >= beat:
                beat = loop.time() + HEARTBEAT.total_seconds()
                witnessed = await self._witness()
                self._put(_Waiting(self._own("witness", "how far other chains have come"), None, witnessed))
            self._queue += [_Waiting(entry) for entry in self._thinning.tell(self._clock())]
            await self._flush()

    async def _close(self) -> None:
        """The last words: what was counted, and that this is the end of the epoch."""
        told = [_Waiting(entry) for entry in self._thinning.tell(self._clock(), all_of_it=True)]
        self._queue += [*told, _Waiting(self._own("close", "the process ends"))]
        await self._flush(closing=True)
        if not self._available:
            links = sum(len(links) for links, _ in self._unwritten)
            _log.error("the end of the audit trail could not be written", extra={"links": links, "epoch": self.epoch})
            return
        await self._sinks.copy_rest()

    async def _flush(self, *, closing: bool = False) -> None:
        """Links what waits and writes it, a segment at a time; stops where nobody takes it."""
        self._wake.clear()
        while self._unwritten or self._queue:
            # Those of the last batch are likely to come again.
            if max(len(self._queue), len(self._batch)) >= SIBLINGS and len(self._queue) < BATCH and not closing:
                await asyncio.sleep(GATHER)
            batch = self._batch = self._queue[:BATCH]
            self._queue = self._queue[BATCH:]
            links = [self._chain.append(one.entry, self._clock(), witnessed=one.witnessed) for one in batch]
            if links:
                closed = closing and not self._queue
                head = self._signer.sign(self._chain, self._clock(), closed=closed)
                self._unwritten.append((links, head))
                if batch[0].entry.resource == "audit":
                    # The log is one more place that an attacker would have to reach.
                    _log.info("the audit trail has come to", extra={"head": head.text})
            self._available = await self._sinks.write(self._unwritten)
            if not self._available:
                # What was linked stays, and is written when that is possible: a number is never given twice.
                self._give_up(batch, linked=True)
                self._give_up([one for one in self._queue if one.done is not None])
                self._queue = [one for one in self._queue if one.done is None]
                return
            self._unwritten = []
            for one in batch:
                if one.done is not None and not one.done.done():
                    one.done.set_result(None)

    def _give_up(self, waiting: Sequence[_Waiting], *, linked: bool = False) -> None:
        for one in waiting:
            if one.done is not None and not one.done.done():
                one.done.set_exception(Unwritten())
                if not linked:
                    self._count(one.entry)

    def _put(self, waiting: _Waiting) -> None:
        self._queue.append(waiting)
        self._wake.set()

    def _refused(self, entry: Entry) -> None:
        if not self.available:
            self._thinning.put_off(entry)
            return
        for told in self._thinning.take(entry, self._clock()):
            self._put(_Waiting(told))

    def _count(self, entry: Entry) -> None:
        """A change that was answered by 503: counted, for one link each would fill the memory meanwhile."""
        self._thinning.put_off(entry.model_copy(update={"outcome": "failed", "status": 503}))

    async def _witness(self) -> tuple[Witnessed, ...]:
        """How far the other chains have come since this one last told of them."""
        try:
            async with asyncio.timeout(ANSWER):
                heads = await heads_since(self._sinks.records, self._clock() - WITNESSED, limit=WITNESSED_MOST)
        except (RecordsUnavailable, TimeoutError, asyncpg.UndefinedTableError):
            return ()
        others = {(head.writer, head.epoch): head for head in heads if head.epoch != self._chain.epoch}
        news = [head for chain, head in others.items() if self._told.get(chain, 0) < head.seq]
        self._told = {chain: head.seq for chain, head in others.items()}
        return tuple(Witnessed(writer=head.writer, epoch=head.epoch, seq=head.seq, hash=head.hash) for head in news)

    def _own(self, verb: str, reason: str) -> Entry:
        return Entry(
            id=f"{self._chain.epoch}/{verb}",
            time=self._clock(),
            user="",
            verb=verb,
            resource="audit",
            name=self._chain.writer,
            outcome="allowed",
            status=0,
            reason=reason,
        )

    def _unavailable(self, entry: Entry) -> Unkept:
        self._sinks.metrics.refused.inc()
        after = "it may have been done: look, or ask again with the same Idempotency-Key"
        if entry.outcome == "asked":
            after = "nothing was done"
        return Unkept(
            f"the audit trail cannot be written just now, and without it nothing is changed; {after}. Try again later"
        )
