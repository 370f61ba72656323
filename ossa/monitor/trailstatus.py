"""Verifies the audit trail from time to time, and tells what was found: a ConfigMap, a log line, numbers."""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

import asyncpg

from ossa.api.trail import STATUS_KEY, TRAIL_STATUS, TrailStatus
from ossa.audit.findings import Verdict
from ossa.audit.heads import Keys
from ossa.engine.clock import to_text
from ossa.kube.client import ApiClient
from ossa.kube.errors import ApiError
from ossa.kube.paths import core
from ossa.store.errors import Problem
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import connect
from ossa.store.trailarchive import TrailArchive
from ossa.store.trailcheck import RECORDS, Check

_log = logging.getLogger("ossa.audit")

# Seconds between two verifications: at most; at least; and while there is nothing, or it could not be looked at.
INTERVAL: Final = 6 * 3600.0
AGAIN: Final = 300.0
RETRY: Final = 60.0
# All of the trail is read each time, so the pause is so many times what that took.
PAUSE_TIMES: Final = 100.0
MANAGER: Final = "ossa-monitor"
# What keeps it from verifying, and may be over by the next time; the last one: no room for what was read.
PASSING: Final = (RecordsUnavailable, Problem, ApiError, asyncpg.UndefinedTableError, sqlite3.OperationalError)


class TrailVerifier:
    """Verifies for the replica that leads. kept: how long PostgreSQL keeps links."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        *,
        api: ApiClient,
        namespace: str,
        records_url: str,
        archive: TrailArchive | None,
        keys: Keys,
        kept: timedelta,
        clock: Callable[[], datetime],
    ) -> None:
        self._api, self._namespace = api, namespace
        self._records_url, self._archive = records_url, archive
        self._keys, self._kept, self._clock = keys, kept, clock

    async def run(self) -> None:
        """Verifies at once and then again and again, until it is cancelled."""
        while True:
            began = time.monotonic()
            try:
                status = await self.verify()
                pause = pause_after(status.links, time.monotonic() - began)
            except PASSING as error:
                pause = RETRY
                _log.warning("the audit trail could not be verified", extra={"error": str(error)})
            await asyncio.sleep(pause)

    async def verify(self) -> TrailStatus:
        """Verifies once and tells it.

        Raises RecordsUnavailable, Problem where the archive is away, ApiError where it cannot be told.
        """
        check = Check(self._keys, self._clock(), self._kept)
        # Not from the pool: it takes as long as it takes.
        async with connect(self._records_url, application=MANAGER) as connection:
            await check.records(connection)
        if self._archive is not None:
            await check.archive(self._archive)
        # What lies there is checked against itself; a walk over millions of links would hold up the loop.
        verdicts = await asyncio.to_thread(check.finish, [])
        status = status_of(verdicts, check.now, kept=self._kept, archived=self._archive is not None)
        tell = _log.error if status.faults else _log.info
        tell("the audit trail was verified", extra=status.to_json())
        path = core("configmaps", self._namespace, TRAIL_STATUS)
        await self._api.apply(path, manifest(self._namespace, status), manager=MANAGER)
        return status


def pause_after(links: int, took: float) -> float:
    """Seconds until the next verification: soon while a trail is empty or short, so that what is told is true."""
    if not links:
        return RETRY
    return min(INTERVAL, max(AGAIN, PAUSE_TIMES * took))


def status_of(verdicts: Mapping[str, Verdict], now: datetime, *, kept: timedelta, archived: bool) -> TrailStatus:
    """What is told of verdicts by place."""
    records = verdicts[RECORDS]
    faults = [(place, fault) for place, verdict in verdicts.items() for fault in verdict.faults]
    since = min((chain.since for chain in records.chains if chain.since is not None), default=None)
    first = ""
    if faults:
        place, fault = faults[0]
        first = f"{place}: {fault.kind}: {fault.writer}/{fault.epoch} {fault.first}-{fault.last}: {fault.text}"[:1024]
    return TrailStatus(
        verified_at=to_text(now),
        chains=len(records.chains),
        links=records.links,
        faults=len(faults),
        finding=first,
        since=None if since is None else to_text(since),
        kept_days=kept.days,
        archived=archived,
    )


def manifest(namespace: str, status: TrailStatus) -> dict[str, object]:
    """The ConfigMap."""
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {
            "name": TRAIL_STATUS,
            "namespace": namespace,
            "labels": {"app.kubernetes.io/part-of": "ossa", "app.kubernetes.io/managed-by": MANAGER},
        },
        "data": {STATUS_KEY: status.model_dump_json(by_alias=True, exclude_none=True)},
    }
