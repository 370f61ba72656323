"""The metric processor: measurements that the bus brings, into the table metrics."""

from __future__ import annotations

from collections.abc import Sequence

from ossa.bus.consumer import TryAgain
from ossa.bus.messages import Metric
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records

# The key is made from the message's id. An agent that is not recorded yet leaves agent_id empty.
_INSERT = """
INSERT INTO metrics (id, agent_id, execution_id, namespace, metric_name, metric_value, labels, "timestamp")
SELECT md5(told.id)::uuid, agent.id, execution_uid, told.namespace, told.name, value, told.labels, "time"
FROM jsonb_to_recordset($1::jsonb) AS told(
    id text, "time" timestamptz, namespace text, execution_uid uuid, name text, value numeric, labels jsonb, agent text
)
LEFT JOIN LATERAL (
    SELECT agents.id FROM agents
    WHERE agents.namespace = told.namespace AND agents.name = told.agent
    ORDER BY created_at DESC LIMIT 1
) AS agent ON true
ON CONFLICT DO NOTHING
"""


class MetricProcessor:
    """Keeps measurements."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def __call__(self, metrics: Sequence[Metric]) -> None:
        """Commits a batch. Raises TryAgain."""
        rows = [metric.model_dump(mode="json") for metric in metrics]
        try:
            async with self._records.connection() as connection:
                await connection.execute(_INSERT, rows)
        except RecordsUnavailable as error:
            raise TryAgain(str(error)) from error
