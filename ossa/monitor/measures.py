"""Measurements that events give: how long things took, and how many attempts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

from ossa.api.base import JSONObject
from ossa.bus.messages import Event, Metric
from ossa.monitor.steps import moment

TASK_SECONDS, TASK_ATTEMPTS = "task_duration_seconds", "task_attempts"
EXECUTION_SECONDS, EXECUTION_ATTEMPTS = "execution_duration_seconds", "execution_attempts"
ENDED = ("Completed", "Failed")


def metrics_of(events: Iterable[Event], now: JSONObject | None) -> list[Metric]:
    """Of what ended in a state of an Execution: its tasks (items of a forEach aside), and itself.

    Seconds are those of the last attempt of a task, and of an Execution those from its start to its end.
    """
    if now is None:
        return []
    status = now.get("status") or {}
    found: list[Metric] = []
    for event in events:
        if event.type == "task" and event.index is None and event.phase in ENDED:
            held = (status.get("tasks") or {}).get(event.task) or {}
            found += _pair(event, held, (TASK_SECONDS, TASK_ATTEMPTS), event.attempt)
        elif event.type == "execution" and event.final and event.phase in ENDED:
            found += _pair(event, status, (EXECUTION_SECONDS, EXECUTION_ATTEMPTS), event.round)
    return found


def _pair(event: Event, held: JSONObject, names: tuple[str, str], attempts: int | None) -> Iterator[Metric]:
    seconds = _seconds(moment(held.get("startedAt")), moment(held.get("completedAt")))
    for name, value in zip(names, (seconds, attempts), strict=True):
        if value is not None:
            yield _metric(event, name, float(value))


def _metric(event: Event, name: str, value: float) -> Metric:
    labels = {"workflow": event.workflow, "phase": event.phase, "task": event.task, "reason": event.reason}
    return Metric(
        id=f"{event.id}/{name}",
        time=event.time,
        source="monitor",
        trace_id=event.trace_id,
        name=name,
        value=value,
        labels={key: text for key, text in labels.items() if text},
        namespace=event.namespace,
        execution_uid=event.uid,
        agent=event.agent,
    )


def _seconds(start: datetime | None, end: datetime | None) -> float | None:
    """A negative one comes of two clocks, and is none."""
    return max(0.0, (end - start).total_seconds()) if start is not None and end is not None else None
