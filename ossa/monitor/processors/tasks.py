"""The task processor: each transition that the bus tells, into the table task_events."""

from __future__ import annotations

from collections.abc import Sequence

from ossa.bus.consumer import TryAgain
from ossa.bus.messages import Event
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Records

# A message that is told twice has the same id and time.
_INSERT = """
INSERT INTO task_events (
    id, "time", type, namespace, execution_id, execution, workflow, sequence, phase, previous, task, index, round,
    attempt, agent, reason, message, "user", source, trace_id
)
SELECT
    id, "time", type, namespace, uid, execution, workflow, sequence, phase, previous, task, index, round,
    attempt, agent, reason, message, "user", source, trace_id
FROM jsonb_to_recordset($1::jsonb) AS told(
    id text, "time" timestamptz, type text, namespace text, uid uuid, execution text, workflow text, sequence bigint,
    phase text, previous text, task text, index integer, round integer, attempt integer, agent text, reason text,
    message text, "user" text, source text, trace_id text
)
ON CONFLICT DO NOTHING
"""


class TaskProcessor:
    """Keeps the history of what happened. What tasks gave stands in the table of tasks."""

    def __init__(self, records: Records) -> None:
        self._records = records

    async def __call__(self, events: Sequence[Event]) -> None:
        """Commits a batch. Raises TryAgain."""
        rows = [event.model_dump(mode="json", exclude={"output"}) for event in events]
        try:
            async with self._records.connection() as connection:
                await connection.execute(_INSERT, rows)
        except RecordsUnavailable as error:
            raise TryAgain(str(error)) from error
