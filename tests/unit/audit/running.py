"""A trail in this process, with real servers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from ossa.audit.entry import Entry
from ossa.audit.findings import Verdict
from ossa.audit.heads import Keys
from ossa.audit.verify import Verifier
from ossa.bus.connection import connect
from ossa.bus.messages import AUDIT
from ossa.bus.segments import AuditSegment
from ossa.gateway.auditing import Auditing
from ossa.gateway.auditmetrics import AuditMetrics
from ossa.gateway.auditsinks import Sinks
from ossa.store.records.audit import Snapshot
from ossa.store.records.pool import Records
from ossa.store.trailarchive import TrailArchive
from tests.unit.audit.trails import entry_of, signer_of

KEYS = Keys([signer_of().public])


def now() -> datetime:
    return datetime.now(UTC)


@asynccontextmanager
async def writing(
    url: str,
    bus: str | None,
    *,
    writer: str = "gateway-0",
    crash: bool = False,
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[Auditing]:
    """A trail that is written while the block runs. crash: it ends as by SIGKILL, without last words."""
    client: Redis | None = connect(bus, name=writer) if bus is not None else None
    async with Records(url, application=writer) as records:
        metrics = AuditMetrics(registry if registry is not None else CollectorRegistry())
        sinks = Sinks(records, client, metrics)
        trail = Auditing(sinks, writer=writer, signer=signer_of(), clock=now)
        running = asyncio.create_task(trail.run())
        try:
            yield trail
        finally:
            if crash:
                running.cancel()
                await asyncio.wait([running])
            else:
                trail.stop()
                await running
            if client is not None:
                await client.aclose()


async def verified(
    url: str, *, later: timedelta = timedelta(hours=1), kept: timedelta = timedelta(days=183)
) -> Verdict:
    """What PostgreSQL proves, looked at a while later."""
    connection = await asyncpg.connect(url)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            snapshot = Snapshot(connection)
            verifier = Verifier(KEYS, now=now() + later, horizon=now() + later - kept)
            for text in await snapshot.heads():
                verifier.head_line(text, place="audit_heads")
            async for row in snapshot.rows():
                verifier.line(row.text, writer=row.writer, epoch=row.epoch, place="audit")
                assert not row.differs
            return verifier.finish()
    finally:
        await connection.close()


async def archived(archive: TrailArchive) -> Verdict:
    """What the archive proves."""
    verifier = Verifier(KEYS, now=now())
    async for name in archive.names():
        lines = await archive.read(name)
        for text in lines.links:
            verifier.line(text, writer=name.writer, epoch=name.epoch, place=name.path)
        for text in lines.heads:
            verifier.head_line(text, place=name.path)
    return verifier.finish()


async def on_stream(bus: str) -> list[AuditSegment]:
    """What lies on the stream, in its order."""
    client = connect(bus, name="test")
    try:
        held: Any = await client.xrange(AUDIT)
        return [AuditSegment.model_validate_json(fields[b"message"]) for _, fields in held]
    finally:
        await client.aclose()


async def entries(url: str) -> list[Entry]:
    """Of PostgreSQL, as they were linked."""
    connection = await asyncpg.connect(url)
    try:
        return [
            Entry.model_validate_json(row["entry"])
            for row in await connection.fetch(
                "SELECT (body::jsonb -> 'entry')::text AS entry FROM audit ORDER BY writer, epoch, seq"
            )
        ]
    finally:
        await connection.close()


async def record_many(trail: Auditing, first: int, last: int) -> None:
    """So many at once."""
    await asyncio.gather(*(trail.record(entry_of(number)) for number in range(first, last + 1)))
