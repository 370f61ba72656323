"""The task processor: each transition that the bus tells, into the table task_events."""

from __future__ import annotations

from collections.abc import Sequence

from ossa.bus.consumer import TryAgain
from ossa.bus.messages import Event
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records
from ossa.store.records.streams import write_events


class TaskProcessor:
    """Keeps the history of what happened. What tasks gave stands in the table of tasks."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def __call__(self, events: Sequence[Event]) -> None:
        """Commits a batch. Raises TryAgain."""
        try:
            async with self._records.connection() as connection:
                await write_events(connection, events)
        except RecordsUnavailable as error:
            raise TryAgain(str(error)) from error
