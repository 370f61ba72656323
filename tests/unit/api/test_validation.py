"""Errors name the field and say what to do."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.api.execution import ExecutionSpec
from ossa.api.validation import (
    AGENT_LIMIT,
    EXECUTION_INPUTS_LIMIT,
    InvalidSpecError,
    agent_problems,
    execution_problems,
    parse_spec,
    unchanged_problems,
    workflow_size_problems,
)
from ossa.api.workflow import WorkflowSpec


def agent(**runtime: Any) -> AgentSpec:
    return AgentSpec.model_validate({"capabilities": [{"name": "a"}], "runtime": runtime or {"handler": "a:b"}})


def shape_problems(model: Any, value: object) -> list[str]:
    with pytest.raises(InvalidSpecError) as raised:
        parse_spec(model, value)
    return raised.value.problems


def task(**fields: Any) -> dict[str, Any]:
    return {"tasks": [{"name": "a", "agent": "a"}, {"name": "b", "agent": "b", **fields}]}


@pytest.mark.parametrize(
    ("fields", "problem"),
    [
        ({"input": 3}, "spec.tasks[1].input: must be an object"),
        ({"agent": 1}, "spec.tasks[1].agent: must be text; put it in quotes"),
        ({"approval": "alice"}, "spec.tasks[1].approval: must be an object"),
        ({"approval": {"message": "?", "count": 0}}, "spec.tasks[1].approval.count: "),
        (
            {"approval": {"message": "?", "timeout": "1 day"}},
            "spec.tasks[1].approval.timeout: must be a duration such as 30s, 5m or 1h30m",
        ),
        (
            {"name": "B_1"},
            "spec.tasks[1].name: must be lower case letters, digits and '-', and begin and end with a",
        ),
        (
            {"timeout": "5 minutes"},
            "spec.tasks[1].timeout: must be a duration such as 30s, 5m or 1h30m, not '5 min",
        ),
        ({"dependsOn": "a"}, "spec.tasks[1].dependsOn: must be a list"),
        ({"dependson": ["a"]}, "spec.tasks[1].dependson: is not a field that is known here; remove it"),
        ({"when": ""}, "spec.tasks[1].when: must be at least 1 characters long"),
        ({"when": "x" * 5000}, "spec.tasks[1].when: is 5000 characters long, and at most 4096 are taken"),
        ({"agent": "A"}, "spec.tasks[1].agent: must be lower case letters, digits, '-' or '.'"),
    ],
)
def test_a_task_of_the_wrong_shape(fields: dict[str, Any], problem: str) -> None:
    (found,) = shape_problems(WorkflowSpec, task(**fields))
    assert found.startswith(problem)


def test_all_problems_are_told_at_once() -> None:
    value = {"published": "maybe", "tasks": [{"agent": "a"}, {"name": "b", "approval": {}}], "outputs": []}
    assert shape_problems(WorkflowSpec, value) == [
        "spec.tasks[0].name: is required; add it",
        "spec.tasks[1].approval.message: is required; add it",
        "spec.outputs: must be an object",
        "spec.published: must be true or false",
    ]


def test_lists_have_bounds() -> None:
    assert shape_problems(WorkflowSpec, {"tasks": []}) == ["spec.tasks: must have at least 1 item"]
    many = [{"name": f"t{n}", "agent": "a"} for n in range(101)]
    assert shape_problems(WorkflowSpec, {"tasks": many}) == ["spec.tasks: has 101 items, and at most 100 are taken"]


def test_a_choice_is_named_with_what_was_meant() -> None:
    (found,) = shape_problems(
        AgentSpec, {"type": "wrker", "capabilities": [{"name": "a"}], "runtime": {"handler": "a:b"}}
    )
    assert found == (
        "spec.type: must be one of orchestrator, worker, critic, judge, trainer, governor, monitor, "
        "integrator, not 'wrker'; did you mean 'worker'?"
    )


def test_a_union_is_told_once() -> None:
    runtime = {"handler": "a:b", "resources": {"limits": {"cpu": [1]}}}
    assert shape_problems(AgentSpec, {"capabilities": [{"name": "a"}], "runtime": runtime}) == [
        "spec.runtime.resources.limits.cpu: must be a whole number, or text such as 500m or 256Mi"
    ]


def test_a_spec_that_is_no_object() -> None:
    assert shape_problems(ExecutionSpec, 3) == ["spec: must be an object"]


def test_a_good_agent() -> None:
    template = {
        "metadata": {"labels": {"team": "data"}},
        "spec": {
            "nodeSelector": {"disk": "ssd"},
            "volumes": [{"name": "cache", "emptyDir": {}}],
            "containers": [
                {
                    "name": "main",
                    "volumeMounts": [
                        {"name": "cache", "mountPath": "/cache"},
                        {"name": "cache", "mountPath": "/ossa-cache"},
                    ],
                    "env": [{"name": "A", "value": "b"}],
                }
            ],
        },
    }
    assert agent_problems(agent(handler="a.b:c", image="x", podTemplate=template)) == []


def test_schemas_of_capabilities_are_sound() -> None:
    spec = AgentSpec.model_validate(
        {
            "capabilities": [
                {"name": "a"},
                {"name": "b", "outputSchema": {"type": "object", "properties": {"x": {"type": "strng"}}}},
            ],
            "runtime": {"handler": "a:b"},
        }
    )
    (found,) = agent_problems(spec)
    assert found.startswith("spec.capabilities[1].outputSchema.properties.x.type: ")


def test_capabilities_have_names_of_their_own() -> None:
    spec = AgentSpec.model_validate({"capabilities": [{"name": "a"}, {"name": "a"}], "runtime": {"handler": "a:b"}})
    assert agent_problems(spec) == ["spec.capabilities[1].name: 'a' is there already; give each its own name"]


@pytest.mark.parametrize(
    ("runtime", "problem"),
    [
        ({"image": "x"}, "spec.runtime: set exactly one of handler"),
        ({"handler": "a:b", "container": {"image": "x"}}, "spec.runtime: set exactly one of handler"),
        ({"container": {"image": "x"}, "image": "y"}, "spec.runtime.image: is the worker image of a handler"),
    ],
)
def test_how_an_agent_runs(runtime: dict[str, Any], problem: str) -> None:
    assert agent_problems(agent(**runtime))[0].startswith(problem)


@pytest.mark.parametrize(
    ("template", "problem"),
    [
        ({"metadata": {"labels": {"ossa.dev/task": "x"}}}, "metadata.labels['ossa.dev/task']: is written by"),
        (
            {"metadata": {"labels": {"app.kubernetes.io/managed-by": "x"}}},
            "metadata.labels['app.kubernetes.io/ma",
        ),
        (
            {"metadata": {"annotations": {"ossa.dev/input": "{}"}}},
            "metadata.annotations['ossa.dev/input']: is",
        ),
        (
            {"spec": {"serviceAccountName": "x"}},
            "spec.serviceAccountName: may not be set here; set spec.runtime.",
        ),
        ({"spec": {"serviceAccount": "x"}}, "spec.serviceAccount: may not be set here"),
        ({"spec": {"securityContext": []}}, None),
        ({"spec": {"securityContext": [1]}}, "spec.securityContext: must be an object"),
        ({"spec": {"volumes": {"a": 1}}}, "spec.volumes: must be a list"),
        ({"spec": {"volumes": ["a"]}}, "spec.volumes[0]: must be an object with a name"),
        (
            {"spec": {"volumes": [{"name": "ossa-in"}]}},
            "spec.volumes[0].name: volumes whose names begin with",
        ),
        ({"spec": {"containers": [{"image": "x"}]}}, "spec.containers[0]: must be an object with a name"),
        (
            {"spec": {"containers": [{"name": "a"}, {"name": "a"}]}},
            "spec.containers[1].name: 'a' is there already",
        ),
    ],
)
def test_pod_templates(template: dict[str, Any], problem: str | None) -> None:
    found = agent_problems(agent(handler="a:b", podTemplate=template))
    if problem is None:
        assert found == []
    else:
        assert len(found) == 1
        assert found[0].startswith(f"spec.runtime.podTemplate.{problem}")


@pytest.mark.parametrize("path", ["/ossa", "/ossa/", "/ossa/in", "//ossa/in/", "/x/../ossa/in", "ossa/token", "/", ""])
@pytest.mark.parametrize("containers", ["containers", "initContainers"])
def test_nothing_is_mounted_over_the_contract(path: str, containers: str) -> None:
    template = {"spec": {containers: [{"name": "main", "volumeMounts": [{"name": "x", "mountPath": path}]}]}}
    (found,) = agent_problems(agent(handler="a:b", podTemplate=template))
    assert found.startswith(f"spec.runtime.podTemplate.spec.{containers}[0].volumeMounts[0].mountPath: ")


def test_the_operators_volumes_are_not_mounted_elsewhere() -> None:
    mount = {"name": "ossa-token", "mountPath": "/x"}
    template = {"spec": {"containers": [{"name": "other", "volumeMounts": [mount]}]}}
    (found,) = agent_problems(agent(handler="a:b", podTemplate=template))
    assert "'ossa-token' is the operator's" in found


def test_a_good_execution() -> None:
    assert execution_problems(ExecutionSpec(workflow="a", inputs={"x": [{"y": 1}]})) == []


def test_no_artifact_comes_in_from_outside() -> None:
    spec = ExecutionSpec(workflow="a", inputs={"x": [1, {"y": {"$artifact": "AAAA", "size": 1}}]})
    (found,) = execution_problems(spec)
    assert found.startswith("spec.inputs.x[1].y: an artifact may not come in from outside")
    assert execution_problems(ExecutionSpec(workflow="a", inputs={"$artifact": "AAAA"}))


def test_sizes_are_bounded() -> None:
    large = ExecutionSpec(workflow="a", inputs={"x": "é" * (EXECUTION_INPUTS_LIMIT // 2)})
    (found,) = execution_problems(large)
    assert found.startswith(f"spec.inputs: is {EXECUTION_INPUTS_LIMIT + 8} bytes of JSON")
    schema = {"type": "object", "description": "x" * AGENT_LIMIT}
    spec = AgentSpec.model_validate(
        {"capabilities": [{"name": "a", "inputSchema": schema}], "runtime": {"handler": "a:b"}}
    )
    assert agent_problems(spec)[0].startswith("spec: is ")
    workflow = WorkflowSpec.model_validate(task(input={"x": "y" * 300_000}))
    assert workflow_size_problems(workflow)[0].startswith("spec: is ")
    assert workflow_size_problems(WorkflowSpec.model_validate(task())) == []


def test_an_execution_never_changes() -> None:
    old = {"workflow": "a", "inputs": {"x": 1}}
    assert unchanged_problems(old, old) == []
    assert unchanged_problems(old, {"workflow": "a", "inputs": {"y": 1}}) == [
        "spec.inputs: an Execution may not be changed; create another one"
    ]
    assert len(unchanged_problems(old, {"workflow": "b"})) == 2
