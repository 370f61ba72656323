"""The trace of an Execution in its status and in what its workers are given."""

from __future__ import annotations

import pytest

from ossa.api.contract import ANNOTATION_TRACEPARENT
from ossa.api.trace import process_span, trace_of
from tests.unit.engine.world import Run, compiled, spec

GIVEN = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def a_run(annotation: str | None) -> Run:
    run = Run(compiled(spec({"name": "a"}, {"name": "b", "dependsOn": ["a"]})))
    marks = {} if annotation is None else {ANNOTATION_TRACEPARENT: annotation}
    held = run.snapshot.execution.metadata.model_copy(update={"annotations": marks})
    run.change(execution=run.snapshot.execution.model_copy(update={"metadata": held}))
    return run


@pytest.mark.parametrize(
    ("annotation", "trace"),
    [(GIVEN, GIVEN[3:35]), (None, trace_of({}, "uid-run").trace_id), ("00-x", trace_of({}, "uid-run").trace_id)],
)
def test_the_first_status_has_the_trace_and_each_worker_its_parent(annotation: str | None, trace: str) -> None:
    run = a_run(annotation)
    first = run.step()
    assert first.status.trace_id == trace
    expected = f"00-{trace}-{process_span('uid-run')}-01"
    assert [request.identity.traceparent for request in run.requests] == [expected]
    # An annotation that is changed later on changes nothing.
    held = run.snapshot.execution.metadata.model_copy(
        update={"annotations": {ANNOTATION_TRACEPARENT: GIVEN.replace("4bf9", "ffff")}}
    )
    run.change(execution=run.snapshot.execution.model_copy(update={"metadata": held}))
    run.succeed("a")
    assert run.status.trace_id == trace
    assert run.requests[1].identity.traceparent == expected


def test_what_waits_says_it_together_with_why() -> None:
    run = a_run(None)
    run.change(workflow=None, revision=None)
    assert run.step().status.trace_id == trace_of({}, "uid-run").trace_id
    assert run.status.message is not None
