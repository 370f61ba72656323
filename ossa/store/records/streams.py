"""Writes what came over the bus: transitions and measurements. The same may be written again."""

from __future__ import annotations

from collections.abc import Sequence

from ossa.api.base import JSONObject
from ossa.bus.messages import Event, Metric
from ossa.store.records.pool import Connection

# A message that is told twice has the same id and time.
_EVENTS = """
INSERT INTO task_events (
    id, "time", type, namespace, execution_id, execution, workflow, sequence, phase, previous, task, index, round,
    attempt, agent, reason, message, "user", source, trace_id)
SELECT r.id, r."time", r.type, r.namespace, r.uid, r.execution, r.workflow, r.sequence, r.phase, r.previous, r.task,
    r.index, r.round, r.attempt, r.agent, r.reason, r.message, r."user", r.source, r.trace_id
FROM jsonb_to_recordset($1) AS r(
    id text, "time" timestamptz, type text, namespace text, uid uuid, execution text, workflow text, sequence bigint,
    phase text, previous text, task text, index integer, round integer, attempt integer, agent text, reason text,
    message text, "user" text, source text, trace_id text)
ORDER BY r.id
ON CONFLICT DO NOTHING
"""
# The key is made from the message's id. An agent that is not recorded yet leaves agent_id empty.
_METRICS = """
INSERT INTO metrics (id, agent_id, execution_id, namespace, metric_name, metric_value, labels, "timestamp")
SELECT md5(r.id)::uuid, a.id, r.execution_uid, r.namespace, r.name, r.value, r.labels, r."time"
FROM jsonb_to_recordset($1) AS r(
    id text, "time" timestamptz, namespace text, name text, value numeric, labels jsonb, execution_uid uuid, agent text)
LEFT JOIN LATERAL (
    SELECT id FROM agents WHERE namespace = r.namespace AND name = r.agent ORDER BY created_at DESC LIMIT 1
) a ON true
ORDER BY 1
ON CONFLICT DO NOTHING
"""


async def write_events(connection: Connection, events: Sequence[Event]) -> None:
    """Into task_events, in one statement. `id` and `time` are the same each time that the same event is told.

    Raises:
        asyncpg.DataError: one of them cannot be written as it is, such as an uid that is none; nothing was written.
    """
    await connection.execute(_EVENTS, [_plain(event) for event in events])


async def write_metrics(connection: Connection, metrics: Sequence[Metric]) -> None:
    """Into metrics, likewise. A value that is no finite number is DataError, too."""
    await connection.execute(_METRICS, [_plain(metric) for metric in metrics])


def _plain(message: Event | Metric) -> JSONObject:
    return message.model_dump(mode="json", exclude={"output"})
