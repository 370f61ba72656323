"""Admission: what it refuses, and how it says so."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.admission.handlers import REVIEWS, message, review
from ossa.governance.review import exception_problems, policy_problems
from tests.unit.controllers.reviews import BAD, FIELD, GOOD, body


@pytest.mark.parametrize("kind", REVIEWS)
def test_good_objects_pass(kind: str) -> None:
    assert review(kind, body(GOOD[kind]), None) == []


@pytest.mark.parametrize("kind", REVIEWS)
def test_bad_objects_are_refused_with_the_field(kind: str) -> None:
    (problem,) = review(kind, body(BAD[kind]), None)
    assert problem.startswith(FIELD[kind])


@pytest.mark.parametrize("kind", REVIEWS)
def test_what_was_taken_once_may_get_labels_and_be_deleted(kind: str) -> None:
    assert review(kind, body(BAD[kind], labels={"a": "b"}), body(BAD[kind])) == []
    assert review(kind, body(BAD[kind], deletionTimestamp="2026-01-01T00:00:00Z"), body(GOOD[kind])) == []


@pytest.mark.parametrize("kind", ["agents", "workflows"])
def test_an_edit_is_looked_at(kind: str) -> None:
    assert review(kind, body(BAD[kind]), body(GOOD[kind])) != []
    assert review(kind, body(GOOD[kind]), body(BAD[kind])) == []


def test_an_execution_is_never_edited() -> None:
    changed = {"workflow": "w", "inputs": {"y": 1}}
    assert review("executions", body(changed), body(GOOD["executions"])) == [
        "spec.inputs: an Execution may not be changed; create another one"
    ]


def test_a_wrong_shape_names_every_field() -> None:
    problems = review("workflows", body({"tasks": [{"agent": "a"}, {"name": "b", "input": 3}]}), None)
    assert problems == [
        "spec.tasks[0].name: is required; add it",
        "spec.tasks[1].input: must be an object",
    ]


def test_many_problems_make_one_message() -> None:
    assert message(["a: b"]) == "a: b"
    assert message(["a", "b"]) == "2 problems:\n- a\n- b"
    assert message([str(n) for n in range(12)]).endswith("- 9\n- and 2 more")


def test_the_operator_alone_makes_executions_whose_inputs_refer_to_artifacts() -> None:
    made = body(BAD["executions"])
    assert review("executions", made, None, by_operator=True) == []
    assert review("executions", made, None)[0].startswith(FIELD["executions"])
    # Whoever steers one that is there is not asked about its inputs.
    steered = body({**BAD["executions"], "suspend": True})
    assert review("executions", steered, made) == []
    large = body({"workflow": "w", "inputs": {"x": "x" * 30_000}})
    assert "at most 24576 are taken" in review("executions", large, None, by_operator=True)[0]


def test_a_policy_is_refused_with_the_field_and_the_position() -> None:
    spec = {"match": {"kinds": ["Agent"]}, "rules": [{"expression": "object.spec.owner = 'x'"}]}
    (problem,) = policy_problems({"apiVersion": "ossa.dev/v1alpha1", "kind": "AgentPolicy", **body(spec)})
    assert problem.startswith("spec.rules[0].expression: `object.spec.owner = 'x'`: at character ")
    assert policy_problems({**body({"match": {}}), "apiVersion": "", "kind": ""}) == [
        "spec.match.kinds: is required; add it"
    ]


def test_an_exception_ends_at_a_time() -> None:
    target = {"kind": "Agent", "name": "a", "specHash": f"sha256:{'0' * 64}"}
    spec = {"policy": "p", "target": target, "owner": "me", "reason": "r", "expiresAt": "soon"}
    assert exception_problems(body(spec))[0].startswith("spec.expiresAt: 'soon' is not a time")
    assert exception_problems(body({**spec, "expiresAt": "2026-01-31T00:00:00Z"})) == []
    assert exception_problems(body({**spec, "policy": "P!"}))[0].startswith("spec.policy: ")


def inline(*tasks: dict[str, Any], **fields: Any) -> dict[str, Any]:
    return {"workflowSpec": {"tasks": list(tasks) or [{"name": "a", "agent": "a"}], **fields}}


def test_an_execution_names_a_workflow_or_holds_one() -> None:
    one = "spec: set exactly one of workflow (the name of a Workflow) and workflowSpec (a workflow written here)"
    assert review("executions", body(inline()), None) == []
    assert review("executions", body({**inline(), "workflow": "w"}), None) == [one]
    assert review("executions", body({}), None) == [one]


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        (
            inline({"name": "a", "agent": "a", "input": {"x": "${{ tasks.b.output }}"}}),
            "spec.workflowSpec.tasks[0].input.x: there is no task 'b'",
        ),
        (
            inline({"name": "a", "agent": "a", "when": "${{ status == 'x' }}"}),
            "spec.workflowSpec.tasks[0].when: `status` is how the Execution ended; it is known in "
            "spec.workflowSpec.finally",
        ),
        (
            inline(inputs={"type": "object", "properties": {"x": {"type": "objct"}}}),
            "spec.workflowSpec.inputs.properties.x.type: ",
        ),
        (inline(outputs={"x": "${{ tasks.b.output }}"}), "spec.workflowSpec.outputs.x: there is no task 'b'"),
        (inline(timeout="0s"), "spec.workflowSpec.timeout: it must be more than zero"),
        (
            inline(**{"finally": [{"name": "a", "agent": "b"}]}),
            "spec.workflowSpec.finally[0].name: the name 'a' is taken by spec.workflowSpec.tasks[0]",
        ),
        (
            inline(triggers=[{"name": "t", "cron": "@daily"}]),
            "spec.workflowSpec.triggers: is a field of Workflows alone: this one runs once",
        ),
        (inline(published=False), "spec.workflowSpec.published: is a field of Workflows alone"),
        (inline({"name": "a", "agent": "A"}), "spec.workflowSpec.tasks[0].agent: must be lower case letters"),
        (
            inline(description="x", outputs={"x": "y" * 33_000}),
            "spec.workflowSpec: it and the inputs are ",
        ),
    ],
)
def test_a_workflow_in_an_execution_is_looked_at_like_any(spec: dict[str, Any], problem: str) -> None:
    (found,) = review("executions", body(spec), None)
    assert found.startswith(problem)


def test_a_workflow_in_an_execution_is_never_edited() -> None:
    assert review("executions", body(inline(timeout="1h")), body(inline())) == [
        "spec.workflowSpec: an Execution may not be changed; create another one"
    ]
