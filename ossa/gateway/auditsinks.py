"""Where the links of the audit trail go: PostgreSQL, with it away the disk of Redis, and a copy for the archive."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from typing import Final

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from ossa.audit.chain import Link
from ossa.audit.heads import Head
from ossa.bus.messages import AUDIT
from ossa.bus.publisher import FIELD, LENGTHS
from ossa.bus.segments import message_of
from ossa.gateway.auditmetrics import AuditMetrics
from ossa.store.records.audit import add
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records

_log = logging.getLogger("ossa.audit")

Linked = tuple[list[Link], Head]
# Seconds that each of the two may take, and that are left between two copies once one failed.
ANSWER: Final = 2.5
PAUSE: Final = 2.0
# Seconds in which segments gather for one copy: nobody waits for it, and one for each change would cost a call each.
GATHER: Final = 0.1
# Segments that wait to be copied to the stream: the archive fetches from PostgreSQL what is left out, or trimmed there.
COPIES: Final = 1_000


class Sinks:
    """Writes segments. Everything may be written again: a link is told by its chain and number."""

    def __init__(self, records: Records, bus: Redis | None, metrics: AuditMetrics) -> None:
        self.records, self._bus, self.metrics = records, bus, metrics
        self._copies: list[Linked] = []
        self._copy = asyncio.Event()

    async def write(self, segments: Sequence[Linked]) -> bool:
        """Whether they are durable now."""
        entries = sum(len(links) for links, _ in segments)
        if await self.metrics.write("records", entries, self._to_records(segments)):
            # Where Redis does not answer, nobody waits for it, and nothing is piled up.
            self._copies = [*self._copies, *segments][-COPIES:]
            self._copy.set()
            return True
        if self._bus is None:
            return False
        return await self.metrics.write("stream", entries, self._to_bus(self._bus, segments, durably=True))

    async def copy(self) -> None:
        """Copies what PostgreSQL has to the stream, until it is cancelled."""
        while True:
            await self._copy.wait()
            await asyncio.sleep(GATHER)
            if not await self.copy_rest():
                await asyncio.sleep(PAUSE)

    async def copy_rest(self) -> bool:
        """Copies what waits for it; whether that went well."""
        self._copy.clear()
        waiting, self._copies = self._copies, []
        if not waiting or self._bus is None:
            return True
        entries = sum(len(links) for links, _ in waiting)
        return await self.metrics.write("copy", entries, self._to_bus(self._bus, waiting, durably=False))

    async def _to_records(self, segments: Sequence[Linked]) -> bool:
        try:
            async with asyncio.timeout(ANSWER):
                await add(self.records, segments)
        except (RecordsUnavailable, TimeoutError, asyncpg.UndefinedTableError) as error:  # the schema is not made yet
            _log.warning("PostgreSQL does not take the audit trail", extra={"error": str(error) or "no answer"})
            return False
        return True

    @staticmethod
    async def _to_bus(bus: Redis, segments: Sequence[Linked], *, durably: bool) -> bool:
        """Durably: whether Redis has it on its disk, for which it needs `appendonly yes`."""
        pipeline = bus.pipeline(transaction=False)
        for links, head in segments:
            text = message_of(links, head).model_dump_json(exclude_none=True)
            # While PostgreSQL is away the stream alone has them: nothing is trimmed.
            pipeline.xadd(AUDIT, {FIELD: text}, maxlen=None if durably else LENGTHS[AUDIT], approximate=True)
        if durably:
            pipeline.execute_command("WAITAOF", 1, 0, int(ANSWER * 1000))
        try:
            async with asyncio.timeout(ANSWER):
                answers = await pipeline.execute()
        except (RedisError, OSError, TimeoutError) as error:
            if durably:
                _log.error("Redis does not take the audit trail", extra={"error": str(error) or "no answer"})
            return False
        return not durably or int(answers[-1][0]) >= 1
