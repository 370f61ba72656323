"""An Execution that has not started: what it waits for, and inputs that it cannot start with."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.engine.snapshot import WorkflowView
from tests.unit.engine.world import Run, compiled, reference, spec

SCHEMA = {
    "type": "object",
    "properties": {"n": {"type": "integer", "default": 3}, "s": {"type": "string"}},
    "required": ["s"],
}
REVISION = compiled(spec({"name": "a"}, inputs=SCHEMA))


@pytest.mark.parametrize(
    ("view", "message"),
    [
        (None, "Workflow 'flow' was not found in namespace 'team'; apply it and this Execution starts by itself"),
        (
            WorkflowView("Published", "flow-1", None, current=False),
            "waiting for the operator to look at Workflow 'flow'",
        ),
        (
            WorkflowView("Draft", None, "agent 'x' is missing", current=True),
            "Workflow 'flow' is not published: agent 'x' is missing",
        ),
        (WorkflowView("Published", "flow-1", None, current=True), "waiting for revision 'flow-1' of Workflow 'flow'"),
    ],
)
def test_it_waits_and_says_for_what(view: WorkflowView | None, message: str) -> None:
    run = Run(REVISION, {"s": "x"})
    run.change(workflow=view, revision=None)
    run.step()
    assert (run.phase(), run.status.message) == ("Pending", message)
    assert run.step().status.to_json() == run.status.to_json()
    run.change(workflow=WorkflowView("Published", "flow-1", None, current=True), revision=REVISION)
    run.step()
    assert (run.phase(), run.status.message) == ("Running", None)


def test_defaults_are_filled_in() -> None:
    run = Run(REVISION, {"s": "x"})
    run.step()
    assert run.status.inputs == {"n": 3, "s": "x"}


@pytest.mark.parametrize(
    ("inputs", "why"),
    [
        ({}, "spec.inputs.s: is required"),
        ({"s": 1}, "spec.inputs.s: 1 is not of type 'string'"),
        ({"s": "x", "r": [reference()]}, "spec.inputs: they hold an artifact reference"),
    ],
)
def test_inputs_that_are_not_valid_fail_it(inputs: dict[str, Any], why: str) -> None:
    run = Run(REVISION, inputs)
    decision = run.step()
    assert decision.create == ()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.reason == "InvalidInput"
    assert why in run.status.error.message
    assert run.status.duration is None


def test_inputs_of_any_depth_are_answered() -> None:
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    run = Run(REVISION)
    held = run.snapshot.execution
    run.change(execution=held.model_copy(update={"spec": held.spec.model_copy(update={"inputs": {"s": deep}})}))
    run.step()
    assert run.phase() == "Failed"
    assert "deeper than 64 levels" in (run.status.message or "")
