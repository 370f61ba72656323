"""What a task gives to the workflow that it runs: also artifacts."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ossa.api.execution import MAX_LINEAGE
from ossa.api.validation import EXECUTION_INPUTS_LIMIT
from ossa.engine.decision import ChildRequest
from ossa.engine.snapshot import ListValue
from tests.unit.engine.world import Run, agent, compiled, reference, spec

PARENT = ("uid-parent", "uid-older")


def given(value: Any) -> ChildRequest:
    """What a child is asked for with, where a task before gave the value."""
    call = {"name": "call", "agent": None, "workflow": "other", "input": {"x": "${{ tasks.a.output.x }}", "n": 1}}
    run = Run(compiled(spec({"name": "a"}, call)))
    run.change(issued=lambda _ref, _uid: True)
    run.step()
    run.succeed("a", {"x": value})
    (request,) = run.last.children
    return request


def test_a_reference_is_passed_on() -> None:
    request = given(reference())
    assert (request.inputs, request.large) == ({"x": reference(), "n": 1}, {})


def test_what_is_too_large_for_an_execution_goes_by_reference() -> None:
    value = "x" * (EXECUTION_INPUTS_LIMIT // 10)
    call = {"name": "call", "agent": None, "workflow": "other", "input": {"x": "${{ tasks.a.output }}", "n": 1}}
    run = Run(compiled(spec({"name": "a", "forEach": {"range": {"count": 20}, "parallelism": 20}}, call)))
    run.step()
    for index in range(20):
        run.succeed(f"a[{index}]", {"x": value})
    (request,) = run.last.children
    assert (request.inputs, list(request.large)) == ({"n": 1}, ["x"])
    assert json.loads(request.large["x"].body) == [{"x": value}] * 20


def child(inputs: dict[str, Any], *tasks: dict[str, Any], given_by: tuple[str, ...] = PARENT, **fields: Any) -> Run:
    run = Run(compiled(spec(*tasks, **fields), agent(outputSchema={})), inputs)
    run.change(given_by=given_by)
    run.step()
    return run


USE: dict[str, Any] = {"name": "use", "input": {"rows": "${{ inputs.rows }}"}}


def test_a_child_takes_what_the_operator_gave_it_and_may_read_it() -> None:
    run = child({"rows": reference(), "n": 1}, USE, outputs={"rows": "${{ inputs.rows }}"})
    (request,) = run.requests
    assert request.input == {"rows": reference()}
    assert run.status.lineage == list(PARENT)
    assert request.identity.lineage == PARENT
    run.succeed("use", {"rows": reference()})
    assert (run.phase(), run.status.outputs) == ("Completed", {"rows": reference()})


def test_without_a_proof_it_is_refused() -> None:
    run = child({"rows": reference()}, USE, given_by=())
    assert (run.phase(), run.requests) == ("Failed", [])
    assert run.status.error is not None
    assert run.status.error.reason == "InvalidInput"
    assert "only tasks of the same Execution may pass artifacts on" in run.status.error.message


def test_without_artifacts_it_has_no_lineage() -> None:
    assert child({"rows": [1]}, USE).status.lineage is None


@pytest.mark.parametrize("stolen", [reference(2), {**reference(), "size": 1}])
def test_only_what_it_was_given_counts(stolen: dict[str, Any]) -> None:
    literal = json.dumps(stolen).replace('"', "'")
    run = child({"rows": reference()}, {"name": "use", "input": {"rows": "${{ " + literal + " }}"}})
    assert run.status.tasks["use"].reason == "InvalidInput"
    assert "no task of this Execution gave" in (run.status.tasks["use"].message or "")


def test_a_for_each_goes_over_a_list_that_it_was_given() -> None:
    each = {"name": "each", "forEach": {"items": "${{ inputs.rows }}"}, "input": {"row": "${{ item }}"}}
    run = child({"rows": reference()}, each)
    assert [ref.to_json() for ref in run.last.need_values] == [reference()]
    assert run.last.status.lineage == list(PARENT)
    run.change(values={"id-1": ListValue([{"deep": reference(7)}], references=True)})
    run.step()
    assert [request.input for request in run.requests] == [{"row": {"deep": reference(7)}}]


def test_its_own_uid_is_never_in_its_lineage() -> None:
    assert child({"rows": reference()}, USE, given_by=("uid-run", *PARENT)).status.lineage == list(PARENT)


def test_more_than_it_may_take_over_is_refused() -> None:
    many = tuple(f"uid-{number}" for number in range(MAX_LINEAGE + 1))
    run = child({"rows": reference()}, USE, given_by=many)
    assert (run.phase(), run.status.lineage) == ("Failed", None)
    assert f"of more than {MAX_LINEAGE} Executions" in (run.status.message or "")
    assert child({"rows": reference()}, USE, given_by=many[:-1]).phase() == "Running"
