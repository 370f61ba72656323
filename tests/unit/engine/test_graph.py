"""Graphs: their edges and order, and what is wrong with a workflow."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.workflow import WorkflowSpec
from ossa.engine.checks import workflow_problems
from ossa.engine.expressions import CompileError
from ossa.engine.revision import Revision, compile_revision, revision_name
from tests.unit.engine.world import agent, compiled, spec


def problems(*tasks: dict[str, Any], **fields: Any) -> list[str]:
    return [str(problem) for problem in workflow_problems(spec(*tasks, **fields))]


def test_references_are_edges() -> None:
    graph = compiled(
        spec(
            {"name": "last", "dependsOn": ["b"], "input": {"x": ["${{ tasks['a-1'].output.x }}"]}},
            {"name": "b", "when": "${{ tasks.c.phase == 'Completed' }}"},
            {"name": "a-1"},
            {"name": "c", "input": {"text": "a ${{ tasks['a-1'].output.y }} b"}},
        )
    ).graph
    assert graph.parents == {
        "last": {"b", "a-1"},
        "b": {"c"},
        "a-1": set(),
        "c": {"a-1"},
    }
    assert graph.order == ("a-1", "c", "b", "last")


def test_a_sound_workflow_has_no_problems() -> None:
    assert problems({"name": "a"}, {"name": "b", "input": {"x": "${{ tasks.a.output.y }}"}}) == []


@pytest.mark.parametrize(
    ("tasks", "problem"),
    [
        ([{"name": "a"}, {"name": "a"}], "spec.tasks[1].name: the name 'a' is taken by spec.tasks[0]"),
        (
            [{"name": "ingest"}, {"name": "b", "dependsOn": ["ingset"]}],
            "spec.tasks[1].dependsOn[0]: there is no task 'ingset'; did you mean 'ingest'?",
        ),
        (
            [{"name": "ingest"}, {"name": "b", "input": {"x": "${{ tasks.ingst.output }}"}}],
            "spec.tasks[1].input.x: there is no task 'ingst'; did you mean 'ingest'?",
        ),
        ([{"name": "a", "dependsOn": ["a"]}], "spec.tasks[0].dependsOn[0]: the task 'a' waits for itself"),
        ([{"name": "a", "when": "${{ tasks.a.output.x }}"}], "spec.tasks[0].when: the task 'a' waits for itself"),
        (
            [{"name": "c", "dependsOn": ["b"]}, {"name": "b", "dependsOn": ["a"]}, {"name": "a", "dependsOn": ["c"]}],
            "spec.tasks: these tasks wait for each other: a -> b -> c -> a",
        ),
        ([{"name": "a", "when": "inputs.x > 1"}], "spec.tasks[0].when: 'inputs.x > 1' must be one expression"),
        ([{"name": "a", "input": {"x": "${{ foo }}"}}], "spec.tasks[0].input.x: `foo`: at character 1: undeclared"),
        (
            [{"name": "a", "input": {"x": [{"$artifact": "i"}]}}],
            "spec.tasks[0].input.x[0]['$artifact']: the key $artifact",
        ),
        ([{"name": "a", "timeout": "0s"}], "spec.tasks[0].timeout: it must be more than zero"),
        ([{"name": "a", "input": {"x": "${{ execution.id }}"}}], "spec.tasks[0].input.x: `execution` has no 'id'"),
        (
            [{"name": "a"}, {"name": "b", "input": {"x": "${{ tasks.a.outputs.x }}"}}],
            "spec.tasks[1].input.x: a task has `output`, `phase`, `error`, not 'outputs'",
        ),
    ],
)
def test_problems_name_the_field_and_what_to_do(tasks: list[dict[str, Any]], problem: str) -> None:
    found = problems(*tasks)
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_problems_of_outputs() -> None:
    found = problems({"name": "a"}, outputs={"x": "${{ tasks.b.output }}", "y": {"$artifact": "z"}})
    assert [text.partition(":")[0] for text in found] == ["spec.outputs.y['$artifact']", "spec.outputs.x"]


def test_problems_of_inputs() -> None:
    task = {"name": "a", "input": {"x": "${{ inputs.datset }}"}}
    properties = {"dataset": {"type": "string"}}
    assert problems(task, inputs={"type": "object", "properties": properties}) == []
    assert problems(task, inputs={"type": "object", "properties": properties, "additionalProperties": False}) == [
        "spec.tasks[0].input.x: spec.inputs has no property 'datset'; did you mean 'dataset'?"
    ]
    assert problems(task, inputs={"properties": properties}) == [
        "spec.inputs.type: inputs are an object: write type: object"
    ]
    found = problems(task, inputs={"type": "object", "properties": {"x": {"type": "strng"}}})
    assert len(found) == 1
    assert found[0].startswith("spec.inputs.properties.x.type: ")


def test_all_problems_are_reported_at_once() -> None:
    found = problems(
        {"name": "a", "dependsOn": ["x"], "when": "true", "input": {"y": "${{ ( }}"}},
        {"name": "b", "dependsOn": ["c"]},
        {"name": "c", "dependsOn": ["b"]},
    )
    assert len(found) == 4


def test_many_tasks_in_a_row_are_ordered() -> None:
    tasks = [{"name": f"t{n}", "dependsOn": [f"t{n - 1}"] if n else []} for n in range(100)]
    graph = compiled(spec(*reversed(tasks))).graph
    assert graph.order == tuple(f"t{n}" for n in range(100))


def revision(workflow: WorkflowSpec, name: str = "flow", **capability: Any) -> Revision:
    return Revision(workflow=name, version="1", spec=workflow, agents={"worker": agent(**capability)})


def test_a_revision_is_named_by_its_content() -> None:
    one = spec({"name": "a", "input": {"x": 1, "y": 2}})
    same = spec({"input": {"y": 2, "x": 1}, "name": "a"})
    assert revision_name(revision(one)) == revision_name(revision(same))
    assert revision_name(revision(one)) != revision_name(revision(one, inputSchema={"type": "object"}))
    stored = Revision.model_validate(revision(one).to_json())
    assert revision_name(stored) == revision_name(revision(one))
    assert revision_name(revision(one)).startswith("flow-")
    long = revision_name(revision(one, name="a" * 51 + "." + "b" * 201))
    assert len(long) <= 63
    assert ".-" not in long


@pytest.mark.parametrize(
    ("task", "why"),
    [
        ({"agent": "other"}, "the revision holds no agent 'other'"),
        ({"capability": "other"}, "agent 'worker' has no capability 'other'; it has work"),
        ({"dependsOn": ["other"]}, "there is no task 'other'"),
        ({"input": {"x": "${{ foo }}"}}, "undeclared reference"),
    ],
)
def test_a_revision_that_makes_no_sense_does_not_compile(task: dict[str, Any], why: str) -> None:
    with pytest.raises(CompileError, match=why):
        compile_revision(revision(spec({"name": "a", **task})))


def approval(**fields: Any) -> dict[str, Any]:
    """A task that waits for bob."""
    return {"name": "ask", "agent": None, "approval": {"message": "Release?", "approverUsers": ["bob"], **fields}}


def test_a_task_may_wait_for_people() -> None:
    asks = approval(message="Release ${{ tasks.a.output.n }} rows?")
    assert workflow_problems(spec({"name": "a"}, asks, {"name": "b", "dependsOn": ["ask"]})) == []


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        (
            {"name": "ask", "agent": None},
            "spec.tasks[0]: set exactly one of agent (who does it), workflow and",
        ),
        (
            {**approval(), "agent": "worker"},
            "spec.tasks[0]: set exactly one of agent (who does it), workflow and",
        ),
        (approval(approverUsers=[]), "spec.tasks[0].approval: name who may approve: set approverGroups, approverUsers"),
        (
            approval(count=2),
            "spec.tasks[0].approval.count: 2 must approve, and approverUsers names only 1; lower it, or name more",
        ),
        (
            {**approval(), "timeout": "5m"},
            "spec.tasks[0].timeout: it belongs to a task with an agent, and not to an app",
        ),
        ({**approval(), "input": {"a": 1}}, "spec.tasks[0].input: it belongs to a task with an agent"),
        ({**approval(), "capability": "x"}, "spec.tasks[0].capability: it belongs to a task with an agent"),
        (approval(timeout="0s"), "spec.tasks[0].approval.timeout: it must be more than zero; leave it out for 24h"),
        (approval(message="${{ tasks.b.output }}"), "spec.tasks[0].approval.message: there is no task 'b'"),
        (
            approval(message="${{ tasks.ask.output }}"),
            "spec.tasks[0].approval.message: the task 'ask' waits for itself",
        ),
        (approval(message="${{ 1 + }}"), "spec.tasks[0].approval.message: `1 +`"),
    ],
)
def test_an_approval_that_makes_no_sense(task: dict[str, Any], problem: str) -> None:
    (found,) = workflow_problems(spec(task))
    assert str(found).startswith(problem)
