"""The orchestrator's spans, from what a status says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from ossa.api.contract import ANNOTATION_TRACEPARENT
from ossa.api.trace import aggregate_span, process_span, task_span, trace_of
from ossa.engine.clock import from_text
from ossa.monitor.outbox import Change
from ossa.monitor.spans import RECENT, SpanSink, spans_of
from ossa.tracing import Span, Tracing

PARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
CREATED, ENDED = "2026-01-01T12:00:00Z", "2026-01-01T12:01:00Z"


@dataclass
class Told:
    """Keeps what it is told of."""

    spans: list[Span] = field(default_factory=list)

    def tell(self, span: Span) -> None:
        self.spans.append(span)


def an_execution(**status: Any) -> dict[str, Any]:
    tasks = {
        "a": {"phase": "Completed", "attempt": 2, "startedAt": CREATED, "completedAt": "2026-01-01T12:00:40Z"},
        "b": {
            "phase": "Failed",
            "attempt": 1,
            "reason": "OOMKilled",
            "startedAt": CREATED,
            "completedAt": "2026-01-01T12:00:50.5Z",
        },
        "c": {"phase": "Skipped", "completedAt": ENDED},
    }
    held = {"phase": "Completed", "completedAt": ENDED, "startedAt": CREATED, "tasks": tasks, **status}
    metadata = {"name": "run", "namespace": "team", "uid": "u1", "creationTimestamp": CREATED}
    return {"metadata": metadata, "spec": {"workflow": "flow"}, "status": held}


def test_what_is_told_of_an_execution() -> None:
    process, first, second, aggregate = spans_of(an_execution())
    assert (process.trace_id, process.span_id, process.parent) == (
        trace_of({}, "u1").trace_id,
        process_span("u1"),
        None,
    )
    assert process.end - process.start == 60 * 10**9
    assert process.attributes["ossa.workflow"] == "flow"
    assert (first.span_id, first.error, first.attributes["ossa.task.attempts"]) == (task_span("u1", "a"), None, 2)
    assert (second.error, second.attributes["ossa.task"]) == ("OOMKilled", "b")
    assert (aggregate.span_id, aggregate.end - aggregate.start) == (aggregate_span("u1"), 9_500_000_000)
    assert {span.parent for span in (first, second, aggregate)} == {process.span_id}
    assert spans_of(an_execution()) == [process, first, second, aggregate]


def test_what_failed_before_it_started() -> None:
    held = an_execution(phase="Failed", tasks={}, startedAt=None, error={"reason": "InvalidInput"})
    process, aggregate = spans_of(held)
    assert process.error == "InvalidInput"
    assert aggregate.start == aggregate.end


@pytest.mark.parametrize("completed", [None, "long ago"])
def test_what_never_said_when_it_ended(completed: str | None) -> None:
    assert spans_of(an_execution(completedAt=completed)) == []


def test_what_is_not_sampled_is_not_told() -> None:
    held = an_execution()
    held["metadata"]["annotations"] = {ANNOTATION_TRACEPARENT: PARENT}
    assert spans_of(held)[0].parent == PARENT[36:52]
    held["metadata"]["annotations"] = {ANNOTATION_TRACEPARENT: PARENT[:-1] + "0"}
    assert spans_of(held) == []


async def told(before: dict[str, Any] | None, now: dict[str, Any] | None, *, later: float = 1.0) -> int:
    """How many spans are told of, so many seconds after the end."""
    held = Told()
    clock = from_text(ENDED).timestamp() + later
    sink = SpanSink(cast(Tracing, held), now=lambda: clock)
    await sink.write([Change("workflows", "w", 1, None, an_execution()), Change("executions", "e", 2, before, now)])
    assert await sink.recorded() == {}
    return len(held.spans)


async def test_it_is_told_of_once_and_at_the_end() -> None:
    running, finished = an_execution(phase="Running", completedAt=None), an_execution()
    assert await told(running, finished) == 4
    assert await told(None, finished) == 4
    # Anything that changes afterwards is no end.
    assert await told(finished, finished) == 0
    assert await told(None, running) == 0
    assert await told(finished, None) == 0
    # What a process finds as it begins was told of, unless it has just ended.
    assert await told(None, finished, later=RECENT + 1) == 0
    # A failure that is tried again is none yet.
    assert await told(running, an_execution(phase="Failed")) == 0
    over = [{"type": "Finished", "status": "True", "reason": "Failed"}]
    assert await told(running, an_execution(phase="Failed", conditions=over)) == 4
