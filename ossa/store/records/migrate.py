"""The schema: numbered SQL files, each applied once by whichever process comes first, and never edited after it landed.

All that is missing is applied in one transaction under an advisory lock, so that a process may die at any line.

A database with migrations that this version does not know is taken as it is: a migration only adds to what the version
before it reads, so that one version can be rolled back while the schema stays. docs/records.md says what follows for
whoever writes one.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import resources

from ossa.backoff import backoff
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.locks import Lock, hold
from ossa.store.records.pool import connect

log = logging.getLogger(__name__)

PACKAGE = "ossa.store.records"
# Seconds between tries with PostgreSQL away.
PAUSE_FIRST, PAUSE_MOST = 0.5, 5.0
_TABLE = """
CREATE TABLE IF NOT EXISTS schema_migrations (
    number integer PRIMARY KEY,
    name text NOT NULL,
    sha256 text NOT NULL,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""


class SchemaMismatch(Exception):
    """The database holds another schema than this version would have made; says what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    """One file: 0001_core.sql."""

    number: int
    name: str
    sql: str

    @property
    def sha256(self) -> str:
        """Of its text."""
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations() -> list[Migration]:
    """Those of this version, in order."""
    folder = resources.files(PACKAGE) / "migrations"
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".sql"))
    return [Migration(int(name[:4]), name, (folder / name).read_text(encoding="utf-8")) for name in names]


def missing(known: Sequence[Migration], applied: Mapping[int, str]) -> list[Migration]:
    """What is to be applied. `applied`: sha256 by number.

    Raises:
        SchemaMismatch: one that was applied had another text.
    """
    for migration in known:
        if applied.get(migration.number, migration.sha256) != migration.sha256:
            raise SchemaMismatch(
                f"migration {migration.name} was applied with another text. Run the version of OSSA that applied it; "
                "migrations that landed are never edited"
            )
    return [migration for migration in known if migration.number not in applied]


async def migrate(url: str, *, known: Sequence[Migration] | None = None) -> list[str]:
    """Brings the database to this version's schema; the names of what was applied now.

    Raises:
        RecordsUnavailable: PostgreSQL cannot be reached now; nothing was changed.
        SchemaMismatch: see `missing`.
    """
    known = migrations() if known is None else known
    async with connect(url, application="ossa-migrate") as connection, connection.transaction():
        await hold(connection, Lock.SCHEMA)
        await connection.execute(_TABLE)
        applied = {
            row["number"]: row["sha256"]
            for row in await connection.fetch("SELECT number, sha256 FROM schema_migrations")
        }
        due = missing(known, applied)
        for migration in due:
            await connection.execute(migration.sql)
            await connection.execute(
                "INSERT INTO schema_migrations (number, name, sha256) VALUES ($1, $2, $3)",
                migration.number,
                migration.name,
                migration.sha256,
            )
    newer = sorted(applied.keys() - {migration.number for migration in known})
    if newer:
        log.warning("the schema is newer than this version, which goes on with it", extra={"migrations": newer})
    if due:
        log.info("the schema was migrated", extra={"applied": [migration.name for migration in due]})
    return [migration.name for migration in due]


async def migrated(url: str) -> list[str]:
    """As `migrate`; with PostgreSQL away, once it is back. Raises SchemaMismatch."""
    failures = 0
    while True:
        try:
            return await migrate(url)
        except RecordsUnavailable as error:
            log.warning("the schema cannot be looked at", extra={"error": str(error)})
            await asyncio.sleep(backoff(failures, first=PAUSE_FIRST, most=PAUSE_MOST))
            failures += 1
