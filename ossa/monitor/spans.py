"""The orchestrator's spans, told from what the status of an Execution says once it has ended.

orchestrator-process is the Execution from its creation to its end, orchestrator-task each of its tasks,
orchestrator-aggregate what came between the last of them and the end. Their ids hang on the Execution alone: whoever
tells of it again, after a failover or a repeat, tells of the same spans.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.trace import AGGREGATE, PROCESS, TASK, ExecutionTrace, aggregate_span, process_span, task_span, trace_of
from ossa.engine.clock import from_text
from ossa.engine.states import is_finished
from ossa.monitor.outbox import Change
from ossa.tracing import Attribute, Span, Tracing

# What ended longer ago was told of by somebody: all that there is comes once more where a process begins.
RECENT = 900.0  # seconds


class SpanSink:
    """A sink of the outbox. It is never unavailable: what the endpoint does not take is lost, and holds up nothing."""

    def __init__(self, tracing: Tracing, now: Callable[[], float] = time.time) -> None:
        self._tracing = tracing
        self._now = now

    async def write(self, changes: Sequence[Change]) -> None:
        """Tells of the Executions that have ended."""
        for change in changes:
            if change.kind == "executions" and change.now is not None and self._is_news(change.before, change.now):
                for span in spans_of(change.now):
                    self._tracing.tell(span)

    async def recorded(self) -> Mapping[str, Mapping[str, int]]:
        """Nothing is known to be there."""
        return {}

    def _is_news(self, before: JSONObject | None, now: JSONObject) -> bool:
        ended = _moment((now.get("status") or {}).get("completedAt"))
        if ended is None or not _has_ended(now):
            return False
        if before is None:
            return self._now() - ended.timestamp() < RECENT
        return not _has_ended(before)


def spans_of(execution: Mapping[str, Any]) -> list[Span]:
    """Pure: the spans of an Execution that has ended; none where they are not to be exported, or it never said when."""
    metadata, status = execution["metadata"], execution.get("status") or {}
    trace = trace_of(metadata.get("annotations") or {}, metadata["uid"], status.get("traceId"))
    created, ended = _moment(metadata.get("creationTimestamp")), _moment(status.get("completedAt"))
    if created is None or ended is None or not trace.sampled:
        return []
    tasks = list(_tasks(trace, metadata["uid"], status.get("tasks") or {}))
    last = max((span.end for span in tasks), default=_nanoseconds(_moment(status.get("startedAt")) or ended))
    uid, error = metadata["uid"], status.get("error") or {}
    failed = status.get("phase") == "Failed"
    process = Span(
        name=PROCESS,
        trace_id=trace.trace_id,
        span_id=process_span(uid),
        parent=trace.parent,
        start=_nanoseconds(created),
        end=_nanoseconds(ended),
        attributes=_attributes(execution),
        error=str(error.get("reason") or "Failed") if failed else None,
    )
    aggregate = Span(
        name=AGGREGATE,
        trace_id=trace.trace_id,
        span_id=aggregate_span(uid),
        parent=process.span_id,
        start=min(last, process.end),
        end=process.end,
        attributes={"ossa.progress": str(status.get("progress") or "")},
    )
    return [process, *tasks, aggregate]


def _tasks(trace: ExecutionTrace, uid: str, tasks: Mapping[str, Mapping[str, Any]]) -> Iterator[Span]:
    """Of those that ran, and of which it is said when. Of a forEach the whole: its items are the workers' to tell."""
    for name, task in tasks.items():
        started, ended = _moment(task.get("startedAt")), _moment(task.get("completedAt"))
        if started is None or ended is None:
            continue
        told = {"phase": task.get("phase"), "attempts": task.get("attempt"), "pod": task.get("pod")}
        told |= {"reason": task.get("reason"), "items": (task.get("items") or {}).get("total")}
        yield Span(
            name=TASK,
            trace_id=trace.trace_id,
            span_id=task_span(uid, name),
            parent=process_span(uid),
            start=_nanoseconds(started),
            end=_nanoseconds(ended),
            attributes={"ossa.task": name, **{f"ossa.task.{key}": value for key, value in told.items() if value}},
            error=str(task.get("reason") or "Failed") if task.get("phase") == "Failed" else None,
        )


def _attributes(execution: Mapping[str, Any]) -> dict[str, Attribute]:
    metadata, spec, status = execution["metadata"], execution.get("spec") or {}, execution.get("status") or {}
    return {
        "ossa.namespace": metadata.get("namespace", ""),
        "ossa.execution": metadata.get("name", ""),
        "ossa.execution.uid": metadata["uid"],
        "ossa.workflow": spec.get("workflow") or "",
        "ossa.revision": status.get("revision") or "",
        "ossa.phase": status.get("phase") or "",
        "ossa.attempts": int(status.get("attempt") or 1),
    }


def _has_ended(execution: Mapping[str, Any]) -> bool:
    status = execution.get("status") or {}
    return status.get("phase") == "Completed" or is_finished(status)


def _moment(text: object) -> datetime | None:
    try:
        return from_text(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _nanoseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000) * 1000
