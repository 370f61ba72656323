"""What an object itself proves wrong is refused at `kubectl apply`, with a message that names the field."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from ossa.kube.client import NotFound
from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.objects import agent, resource

JSONObject = dict[str, Any]
# Unknown and missing fields are told in two ways: by the API server, or by a kubectl that could not ask whether the API
# server does it.


def flow(*tasks: JSONObject, **more: Any) -> JSONObject:
    """A workflow of the name that the tests look for."""
    return workflow("refused", list(tasks), **more)


def sound_agent(**spec: Any) -> JSONObject:
    """An agent that would be taken, but for `spec`."""
    item = agent("refused", {"container": {"image": "busybox"}})
    item["spec"].update(copy.deepcopy(spec))
    return item


WORKFLOWS: dict[str, tuple[JSONObject, list[str]]] = {
    "cycle": (
        flow(
            task("a", "x", give={"v": "${{ tasks.c.output.v }}"}),
            task("b", "x", after=["a"]),
            task("c", "x", when="${{ tasks.b.output.ok }}"),
        ),
        ["spec.tasks: these tasks wait for each other: ", "a -> ", "b -> ", "c", "take one of the references out"],
    ),
    "self": (flow(task("a", "x", after=["a"])), ["spec.tasks[0].dependsOn", "a task may not depend on itself"]),
    "unknown task in an expression": (
        flow(task("first", "x"), task("b", "x", give={"v": {"w": "${{ tasks.fist.output.v }}"}})),
        ["spec.tasks[1].input", "there is no task 'fist'; did you mean 'first'?"],
    ),
    "unknown task in dependsOn": (
        flow(task("first", "x"), task("b", "x", after=["fist"])),
        ["spec.tasks[1].dependsOn[0]: there is no task 'fist'; did you mean 'first'?"],
    ),
    "expression that does not compile": (
        flow(task("a", "x", give={"v": "${{ inputs. + }}"})),
        ["spec.tasks[0].input.v: `inputs. +`"],
    ),
    "condition that does not compile": (
        flow(task("a", "x", when="${{ inputs.n > }}")),
        ["spec.tasks[0].when: `inputs.n >`"],
    ),
    "neither an agent nor an approval": (
        flow({"name": "a"}),
        ["spec.tasks[0]", "set exactly one of agent (who does it), workflow and approval (people who must approve)"],
    ),
    "an agent and an approval": (
        flow({**task("a", "x"), "approval": {"message": "?", "approverUsers": ["bob"]}}),
        ["spec.tasks[0]", "set exactly one of agent (who does it), workflow and approval (people who must approve)"],
    ),
    "an approval of nobody": (
        flow({"name": "a", "approval": {"message": "?"}}),
        ["spec.tasks[0].approval", "name who may approve: set approverGroups, approverUsers or both"],
    ),
    "more approvals than approvers": (
        flow({"name": "a", "approval": {"message": "?", "approverUsers": ["bob"], "count": 2}}),
        ["spec.tasks[0].approval", "name more who may approve"],
    ),
    "an approval with an input": (
        flow({"name": "a", "input": {"n": 1}, "approval": {"message": "?", "approverUsers": ["bob"]}}),
        ["spec.tasks[0]", "belong to a task that runs something"],
    ),
    "a question that refers to no task": (
        flow({"name": "a", "approval": {"message": "${{ tasks.b.output }}?", "approverUsers": ["bob"]}}),
        ["spec.tasks[0].approval.message: there is no task 'b'"],
    ),
    "unknown root": (flow(task("a", "x", give={"v": "${{ input.v }}"})), ["spec.tasks[0].input.v: `input.v`"]),
    "output that refers to no task": (
        flow(task("a", "x"), outputs={"v": "${{ tasks.b.output }}"}),
        ["spec.outputs", "there is no task 'b'"],
    ),
    "input that the schema does not have": (
        flow(
            task("a", "x", give={"v": "${{ inputs.cuont }}"}),
            inputs={"type": "object", "additionalProperties": False, "properties": {"count": {"type": "integer"}}},
        ),
        ["spec.tasks[0].input", "spec.inputs has no property 'cuont'; did you mean 'count'?"],
    ),
    "schema that is none": (
        flow(task("a", "x"), inputs={"type": "object", "properties": {"n": {"type": "strng"}}}),
        ["spec.inputs.properties.n.type", "strng"],
    ),
    "literal reference": (
        flow(task("a", "x", give={"v": {"$artifact": "x"}})),
        ["spec.tasks[0].input.v", "$artifact"],
    ),
    "two tasks of one name": (flow(task("a", "x"), task("b", "x"), task("a", "x")), ["spec.tasks[2]", 'name":"a"']),
    "unknown field": (
        flow({**task("a", "x"), "dependson": ["b"]}),
        ["unknown field", "spec.tasks[0]", 'dependson"'],
    ),
    "wrong type": (flow({**task("a", "x"), "dependsOn": "b"}), ["spec.tasks[0].dependsOn", "array"]),
    "bad name": (flow(task("A_b", "x")), ["spec.tasks[0].name", "A_b"]),
    "bad timeout": (flow(task("a", "x", timeout="soon")), ["spec.tasks[0].timeout", "soon"]),
    "no tasks": (flow(), ["spec.tasks"]),
    "cron with four fields": (
        flow(task("a", "x"), triggers=[{"name": "t", "cron": "0 2 * *"}]),
        ["spec.triggers[0].cron", "must be five fields: minute, hour", "@daily"],
    ),
    "cron with a wrong minute": (
        flow(task("a", "x"), triggers=[{"name": "t", "cron": "61 2 * * *"}]),
        ["spec.triggers[0].cron: '61' in '61 2 * * *' is no minute; write * or 0-59"],
    ),
    "unknown time zone": (
        flow(task("a", "x"), triggers=[{"name": "t", "cron": "@daily", "timeZone": "Europe/Berln"}]),
        ["spec.triggers[0].timeZone: there is no time zone 'Europe/Berln'; did you mean 'Europe/Berlin'?"],
    ),
    "two triggers of one name": (
        flow(task("a", "x"), triggers=[{"name": "t", "cron": "@daily"}, {"name": "t", "cron": "@hourly"}]),
        ["spec.triggers[1]", 'name":"t"'],
    ),
    "trigger whose inputs break the schema": (
        flow(
            task("a", "x"),
            inputs={"type": "object", "properties": {"n": {"type": "integer"}}},
            triggers=[{"name": "t", "cron": "@daily", "inputs": {"n": "x"}}],
        ),
        ["spec.triggers[0].inputs.n: 'x' is not of type 'integer'; this breaks spec.inputs"],
    ),
}

AGENTS: dict[str, tuple[JSONObject, list[str]]] = {
    "handler and container": (
        sound_agent(runtime={"handler": "rules:run", "container": {"image": "busybox"}}),
        ["spec.runtime", "handler", "container"],
    ),
    "neither": (sound_agent(runtime={}), ["spec.runtime", "handler", "container"]),
    "unknown type": (sound_agent(type="wroker"), ["spec.type", "wroker"]),
    "unknown field": (sound_agent(ownr="me"), ["unknown field", "spec", 'ownr"']),
    "two capabilities of one name": (
        sound_agent(capabilities=[{"name": "do"}, {"name": "do"}]),
        ["spec.capabilities[1]", '"do"'],
    ),
    "schema that is none": (
        sound_agent(capabilities=[{"name": "do", "inputSchema": {"type": "objct"}}]),
        ["spec.capabilities[0].inputSchema.type", "objct"],
    ),
    "reserved label": (
        sound_agent(
            runtime={"container": {"image": "b"}, "podTemplate": {"metadata": {"labels": {"ossa.dev/task": "x"}}}}
        ),
        ["spec.runtime.podTemplate.metadata.labels", "ossa.dev/task", "use a key of your own"],
    ),
    "service account by the back door": (
        sound_agent(runtime={"container": {"image": "b"}, "podTemplate": {"spec": {"serviceAccountName": "root"}}}),
        ["spec.runtime.podTemplate.spec", "set spec.runtime.serviceAccountName instead"],
    ),
}

EXECUTIONS: dict[str, tuple[JSONObject, list[str]]] = {
    "artifact from outside": (
        execution("refused", "flow", {"a": [{"b": {"$artifact": "x", "size": 1, "sha256": "0" * 64}}]}),
        ["spec.inputs.a[0].b", "an artifact may not come in from outside"],
    ),
    "no workflow": (resource("Execution", "refused", {"inputs": {}}), ["spec", "set exactly one of workflow"]),
    "unknown field": (
        resource("Execution", "refused", {"workflow": "flow", "input": {}}),
        ["unknown field", "spec", 'input"'],
    ),
    "inputs too large": (
        execution("refused", "flow", {"text": "x" * 30_000}),
        ["spec.inputs: is 300", "pass where the data lies"],
    ),
}


async def check(namespace: Namespace, plural: str, item: JSONObject, expected: list[str]) -> None:
    """Applies an object as a user does, and sees it refused."""
    said = (await namespace.kubectl_apply(item)).refused()
    missing = [text for text in expected if text not in said]
    assert not missing, f"{missing} not in:\n{said}"
    with pytest.raises(NotFound):
        await namespace.get(plural, "refused")


@pytest.mark.parametrize("case", WORKFLOWS)
async def test_workflow(namespace: Namespace, case: str) -> None:
    await check(namespace, "workflows", *WORKFLOWS[case])


@pytest.mark.parametrize("case", AGENTS)
async def test_agent(namespace: Namespace, case: str) -> None:
    await check(namespace, "agents", *AGENTS[case])


@pytest.mark.parametrize("case", EXECUTIONS)
async def test_execution(namespace: Namespace, case: str) -> None:
    await check(namespace, "executions", *EXECUTIONS[case])


def _other_workflow(spec: JSONObject) -> None:
    spec["workflow"] = "other"


def _more_inputs(spec: JSONObject) -> None:
    spec["inputs"]["b"] = 2


def _renamed_input(spec: JSONObject) -> None:
    spec["inputs"] = {"b": 1}


@pytest.mark.parametrize("edit", [_other_workflow, _more_inputs, _renamed_input])
async def test_an_execution_is_never_changed(namespace: Namespace, edit: Callable[[JSONObject], None]) -> None:
    item = execution("run", "flow", {"a": 1})
    (await namespace.kubectl_apply(item)).ok()
    before = (await namespace.get("executions", "run"))["spec"]
    changed = copy.deepcopy(item)
    edit(changed["spec"])
    said = (await namespace.kubectl_apply(changed)).refused()
    assert "create another" in said
    assert (await namespace.get("executions", "run"))["spec"] == before


async def test_labels_of_an_execution_may_change(namespace: Namespace) -> None:
    (await namespace.kubectl_apply(execution("run", "flow"))).ok()
    (await namespace.kubectl("label", "execution", "run", "team=data")).ok()
    (await namespace.kubectl("annotate", "execution", "run", "note=checked")).ok()


async def test_all_problems_are_told_at_once(namespace: Namespace) -> None:
    item = flow(
        task("a", "x", give={"v": "${{ inputs. }}"}),
        task("b", "x", after=["nobody"], when="${{ tasks.c.output.d }}"),
    )
    said = (await namespace.kubectl_apply(item)).refused()
    assert "spec.tasks[0].input.v" in said
    assert "spec.tasks[1].dependsOn[0]: there is no task 'nobody'" in said
    assert "there is no task 'c'" in said
