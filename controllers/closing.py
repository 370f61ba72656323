"""Which ended Executions may be deleted when their time is over: those that the records have, where there are records.

No turn of an Execution waits for PostgreSQL. What is not known is asked for beside the turns, many at once, and the
Execution is woken when its rows are closed; with PostgreSQL away it stays.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from itertools import islice

from ossa.store.records.closing import closed
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records

log = logging.getLogger(__name__)

BATCH = 1000
# Seconds until those that are still open are asked for again, and likewise where PostgreSQL is away.
AGAIN, AWAY = 2.0, 5.0


class Closing:
    """`records` None: there are none, and nothing waits. `wake` is told the UID of an Execution that may go."""

    def __init__(self, records: Records | None, wake: Callable[[str], None]) -> None:
        self._records = records
        self._wake = wake
        self._closed: set[str] = set()
        self._asked: dict[str, str | None] = {}
        self._more = asyncio.Event()

    def may_go(self, uid: str, request: str | None) -> bool:
        """Whether it may be deleted; where that is not known it is found out. request: id of the one that made it."""
        if self._records is None or uid in self._closed:
            return True
        self._asked.setdefault(uid, request)
        self._more.set()
        return False

    def forget(self, uid: str) -> None:
        """It is gone."""
        self._closed.discard(uid)
        self._asked.pop(uid, None)

    async def run(self) -> None:
        """Asks until cancelled; returns at once where there are no records."""
        if self._records is None:
            return
        async with self._records as records:
            while True:
                await self._more.wait()
                await asyncio.sleep(await self._ask(records) * random.uniform(0.8, 1.0))  # noqa: S311

    async def _ask(self, records: Records) -> float:
        """One question; seconds until the next one."""
        batch = dict(islice(self._asked.items(), BATCH))
        try:
            async with records.connection() as connection:
                found = await closed(connection, batch)
        except RecordsUnavailable as error:
            told = {"waiting": len(self._asked), "error": str(error)}
            log.warning("ended Executions are not deleted: the records cannot be asked", extra=told)
            return AWAY
        for uid, request in batch.items():
            if uid not in self._asked:
                continue
            del self._asked[uid]
            if uid in found:
                self._closed.add(uid)
                self._wake(uid)
            else:
                self._asked[uid] = request  # after those that were not asked for yet
        if not self._asked:
            self._more.clear()
        return 0.0 if found else AGAIN
