"""How long what is recorded is kept.

Tables that grow with time are partitioned: partitions are made ahead, and dropped when all that they hold is older than
kept. A row for which there is no partition goes to the table's default partition, so that nothing is refused; when its
partition is made it is moved there. Run by one process; repeating it does no harm.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Connection, Records

log = logging.getLogger(__name__)

# How long a change of a table may wait for those who use it; it is tried again the next time.
LOCK_TIMEOUT = "2s"
EPOCH = datetime(2024, 1, 1, tzinfo=UTC)  # a Monday: where widths are counted from
STRAYS = 100  # partitions made at once for what lies in a default partition
PRUNED = 1000  # Executions deleted in one statement
HOUR, SOON = 3600.0, 60.0  # seconds between two runs, and after one that failed


@dataclass(frozen=True, slots=True)
class Partitioned:
    """A table partitioned by range of `column`, with a default partition TABLE_default.

    keep: None: nothing is dropped. ahead: how many partitions are made before they are needed.
    """

    table: str
    column: str
    width: timedelta
    keep: timedelta | None
    ahead: int = 3

    def start_of(self, time: datetime) -> datetime:
        """Where the partition begins to which `time` belongs."""
        return EPOCH + (time - EPOCH) // self.width * self.width

    def name_of(self, start: datetime) -> str:
        """tasks_20261123."""
        return f"{self.table}_{start:%Y%m%d}"

    def end_of(self, name: str) -> datetime | None:
        """Where the partition of this name ends; None where it is not one that is made here."""
        try:
            start = datetime.strptime(name.removeprefix(f"{self.table}_"), "%Y%m%d").replace(tzinfo=UTC)
        except ValueError:
            return None
        return start + self.width


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept; None: for ever. Of tasks the time counts from the creation of their Execution."""

    executions: timedelta | None = timedelta(days=365)  # once they are gone from the cluster
    tasks: timedelta | None = timedelta(days=90)
    task_events: timedelta | None = timedelta(days=90)
    metrics: timedelta | None = timedelta(days=30)

    @property
    def tables(self) -> tuple[Partitioned, ...]:
        """The partitioned tables of the core schema."""
        week, day = timedelta(days=7), timedelta(days=1)
        return (
            Partitioned("tasks", "execution_created_at", week, self.tasks),
            Partitioned("task_events", "time", week, self.task_events),
            Partitioned("metrics", "timestamp", day, self.metrics),
        )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done for one table: starts of partitions to make, names of those to drop."""

    make: list[datetime]
    drop: list[str]


def plan(table: Partitioned, there: Sequence[str], now: datetime, *, strays: Sequence[datetime] = ()) -> Plan:
    """There: names of the partitions that exist. strays: times of rows that lie in the default partition."""
    cutoff = now - table.keep if table.keep is not None else None
    ahead = [now + number * table.width for number in range(table.ahead + 1)]
    kept = [time for time in strays if cutoff is None or time >= cutoff]
    wanted = sorted({table.start_of(time) for time in (*ahead, *kept)})
    ends = {name: table.end_of(name) for name in there}
    return Plan(
        make=[start for start in wanted if table.name_of(start) not in ends],
        drop=sorted(name for name, end in ends.items() if cutoff is not None and end is not None and end <= cutoff),
    )


async def keep_up(records: Records, tables: Sequence[Partitioned], retention: Retention) -> None:
    """Runs until cancelled. `tables`: those of `retention`, and what else is partitioned."""
    while True:
        try:
            now = datetime.now(UTC)
            await upkeep(records, tables, now)
            if retention.executions is not None:
                await prune(records, now - retention.executions)
            pause = HOUR
        except RecordsUnavailable as error:
            log.warning("partitions are looked after later", extra={"error": str(error)})
            pause = SOON
        await asyncio.sleep(pause)


async def upkeep(records: Records, tables: Sequence[Partitioned], now: datetime) -> None:
    """Makes and drops partitions. What cannot be locked now is left to the next time.

    Raises:
        RecordsUnavailable: PostgreSQL is away; what was done stays.
    """
    for table in tables:
        async with records.connection() as connection:
            due = plan(table, await _partitions(connection, table), now, strays=await _strays(connection, table))
            for start in due.make:
                await _make(connection, table, start)
            for name in due.drop:
                await _drop(connection, name)
            if table.keep is not None:
                await connection.execute(
                    f'DELETE FROM "{table.table}_default" WHERE "{table.column}" < $1',  # noqa: S608 - our own names
                    now - table.keep,
                )


async def prune(records: Records, before: datetime) -> int:
    """Deletes Executions that are gone from the cluster and were created before; how many.

    Raises:
        RecordsUnavailable: as above.
    """
    deleted = 0
    async with records.connection() as connection:
        while True:
            done = await connection.execute(
                "DELETE FROM executions WHERE id IN (SELECT id FROM executions WHERE created_at < $1 "
                "AND deleted_at IS NOT NULL ORDER BY created_at, id LIMIT $2)",
                before,
                PRUNED,
            )
            count = int(done.split()[-1])
            deleted += count
            if count < PRUNED:
                return deleted


async def _partitions(connection: Connection, table: Partitioned) -> list[str]:
    rows = await connection.fetch(
        "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid WHERE i.inhparent = $1::regclass",
        table.table,
    )
    return [row["relname"] for row in rows]


async def _strays(connection: Connection, table: Partitioned) -> list[datetime]:
    """A time of each partition that is missing; those that hold the newest first."""
    rows = await connection.fetch(
        f'SELECT DISTINCT date_bin($1, "{table.column}", $2) AS start FROM "{table.table}_default" '  # noqa: S608
        "ORDER BY start DESC LIMIT $3",
        table.width,
        EPOCH,
        STRAYS,
    )
    return [row["start"] for row in rows]


async def _make(connection: Connection, table: Partitioned, start: datetime) -> None:
    name, default, bounds = table.name_of(start), f"{table.table}_default", (start, start + table.width)
    low, high = (bound.isoformat() for bound in bounds)
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            # Nothing comes to the default partition until what belongs here has left it.
            await connection.execute(f'LOCK TABLE "{default}" IN ACCESS EXCLUSIVE MODE')
            await connection.execute(f'CREATE TABLE "{name}" (LIKE "{table.table}" INCLUDING ALL)')
            await connection.execute(
                f'WITH moved AS (DELETE FROM "{default}" WHERE "{table.column}" >= $1 AND "{table.column}" < $2 '  # noqa: S608
                f'RETURNING *) INSERT INTO "{name}" SELECT * FROM moved',
                *bounds,
            )
            await connection.execute(
                f"ALTER TABLE \"{table.table}\" ATTACH PARTITION \"{name}\" FOR VALUES FROM ('{low}') TO ('{high}')"
            )
    except (asyncpg.LockNotAvailableError, asyncpg.DuplicateTableError, asyncpg.DeadlockDetectedError) as error:
        log.info("a partition is made later", extra={"partition": name, "error": type(error).__name__})


async def _drop(connection: Connection, name: str) -> None:
    try:
        async with connection.transaction():
            await connection.execute(f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'")
            await connection.execute(f'DROP TABLE IF EXISTS "{name}"')
        log.info("a partition was dropped: what it held is older than kept", extra={"partition": name})
    except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
        log.info("a partition is dropped later", extra={"partition": name})
