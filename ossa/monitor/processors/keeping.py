"""The processors that keep what the bus brings: transitions in the table task_events, measurements in metrics."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

from ossa.bus.consumer import TryAgain
from ossa.bus.messages import Message
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Connection, Records

M = TypeVar("M", bound=Message)


class Keeper(Generic[M]):
    """Commits each batch by one function of the records."""

    def __init__(self, records: Records, write: Callable[[Connection, Sequence[M]], Awaitable[None]]) -> None:
        self._records, self._write = records, write

    async def __call__(self, messages: Sequence[M]) -> None:
        """Commits a batch. Raises TryAgain."""
        try:
            async with self._records.connection() as connection:
                await self._write(connection, messages)
        except RecordsUnavailable as error:
            raise TryAgain(str(error)) from error
