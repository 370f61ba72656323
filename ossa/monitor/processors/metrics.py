"""The metric processor: measurements that the bus brings, into the table metrics."""

from __future__ import annotations

from collections.abc import Sequence

from ossa.bus.consumer import TryAgain
from ossa.bus.messages import Metric
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records
from ossa.store.records.streams import write_metrics


class MetricProcessor:
    """Keeps measurements."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def __call__(self, metrics: Sequence[Metric]) -> None:
        """Commits a batch. Raises TryAgain."""
        try:
            async with self._records.connection() as connection:
                await write_metrics(connection, metrics)
        except RecordsUnavailable as error:
            raise TryAgain(str(error)) from error
