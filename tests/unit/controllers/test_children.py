"""Child Executions, against an API server without a kubelet of its own: pods end at once."""

from __future__ import annotations

from typing import Any

from controllers.cache import ObjectCache
from controllers.governance.judges import Judges, NoJudges
from controllers.revisions import Revisions
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_AUTHORS,
    ANNOTATION_BREAK_GLASS,
    ANNOTATION_CREATED_BY,
    ANNOTATION_SPEC_CHANGED_BY,
    ANNOTATION_TRACEPARENT,
    API_VERSION,
)
from ossa.api.execution import ExecutionStatus
from ossa.api.trace import process_span
from ossa.api.workflow import WorkflowSpec
from ossa.engine.revision import Revision
from ossa.kube.client import ApiClient
from tests.unit.controllers.lives import EXECUTIONS, WORKFLOWS, Cluster, reconciler, until_ended
from tests.unit.controllers.test_judges import Known, policy, until_failed

PARENT: list[dict[str, Any]] = [
    {"name": "call", "workflow": "flow"},
    {"name": "after", "workflow": "flow", "dependsOn": ["call"]},
]


async def prepare(cluster: Cluster, api: ApiClient) -> None:
    """A Workflow `outer` that runs the Workflow `flow` twice, and an Execution of it."""
    await cluster.prepare(api)
    del cluster.objects[f"{EXECUTIONS}/run"]
    spec = WorkflowSpec.model_validate({"tasks": PARENT, "outputs": {"first": "${{ tasks.call.output.first }}"}})
    meta = {"namespace": "lab"}
    kind = {"apiVersion": API_VERSION, "kind": "Workflow"}
    outer = cluster.create(WORKFLOWS, {**kind, "metadata": {**meta, "name": "outer"}, "spec": spec.to_json()})
    name = await Revisions(api).publish(outer, Revision(workflow="outer", version="1", spec=spec, agents={}))
    cluster.put(WORKFLOWS, {**outer, "status": {"phase": "Published", "revision": name, "observedGeneration": 1}})
    cluster.create(
        EXECUTIONS,
        {
            "apiVersion": API_VERSION,
            "kind": "Execution",
            "metadata": {**meta, "name": "run"},
            "spec": {"workflow": "outer"},
        },
    )


async def test_children_are_run_one_after_the_other() -> None:
    cluster = Cluster()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await prepare(cluster, api)
        async with reconciler(config):
            await until_ended(cluster)
    status = cluster.status()
    assert status.phase == "Completed"
    assert status.outputs == {"first": "first#1"}
    children = [item for item in cluster.of(EXECUTIONS) if item["metadata"]["name"] != "run"]
    assert len(children) == 2
    assert {ExecutionStatus.model_validate(child["status"]).phase for child in children} == {"Completed"}
    assert {child["status"]["traceId"] for child in children} == {status.trace_id}
    spans = {str(child["metadata"]["annotations"][ANNOTATION_TRACEPARENT])[36:52] for child in children}
    assert spans == {process_span(cluster.objects[f"{EXECUTIONS}/run"]["metadata"]["uid"])}
    assert {task.pod for task in status.tasks.values()} == {child["metadata"]["name"] for child in children}


async def test_a_reconciler_that_dies_makes_no_child_twice() -> None:
    for at in range(2, 8):
        for after in (False, True):
            cluster = Cluster()
            async with cluster.served() as config:
                async with ApiClient(config) as api:
                    await prepare(cluster, api)
                async with reconciler(config, at=at, after=after) as mortal:
                    await until_ended(cluster, dead=mortal.dead)
                async with reconciler(config):
                    await until_ended(cluster)
            assert cluster.status().phase == "Completed", (at, after)
            assert len(cluster.of(EXECUTIONS)) == 3, (at, after)


async def ended_under(judges: NoJudges, annotations: dict[str, str]) -> Cluster:
    """The cluster once the Execution with these annotations has ended."""
    cluster = Cluster()
    async with cluster.served() as config:
        async with ApiClient(config) as api:
            await prepare(cluster, api)
        run = cluster.objects[f"{EXECUTIONS}/run"]
        cluster.put(EXECUTIONS, {**run, "metadata": {**run["metadata"], "annotations": annotations}})
        async with reconciler(config, judges=judges):
            await until_failed(cluster)
    return cluster


async def test_a_child_is_judged_by_itself() -> None:
    cluster = await ended_under(judges_with(policy()), {})
    error = cluster.status().error
    assert error is not None
    assert (error.task, error.reason) == ("call", "ChildFailed")
    assert "policy 'no-last'" in error.message
    (child,) = (item for item in cluster.of(EXECUTIONS) if item["metadata"]["name"] != "run")
    assert child["status"]["error"]["reason"] == "PolicyDenied"


async def test_children_of_a_break_glass_run_are_such_too() -> None:
    cluster = await ended_under(judges_with(policy()), {ANNOTATION_BREAK_GLASS: "eve"})
    assert cluster.status().phase == "Completed"
    children = [item for item in cluster.of(EXECUTIONS) if item["metadata"]["name"] != "run"]
    assert {child["metadata"]["annotations"][ANNOTATION_BREAK_GLASS] for child in children} == {"eve"}
    assert {child["status"]["overruled"][0]["policy"] for child in children} == {"no-last"}


async def test_a_child_is_theirs_whose_the_parent_is() -> None:
    """The author is who created the parent, whoever has paused it since."""
    names = {ANNOTATION_CREATED_BY: "ada", ANNOTATION_SPEC_CHANGED_BY: "bob"}
    cluster = await ended_under(NoJudges(), names)
    assert cluster.status().authors == ["ada", "bob"]
    children = [item for item in cluster.of(EXECUTIONS) if item["metadata"]["name"] != "run"]
    held = [child["metadata"]["annotations"] for child in children]
    assert [(one[ANNOTATION_AUTHOR], one[ANNOTATION_AUTHORS]) for one in held] == [("ada", '["ada", "bob"]')] * 2


def judges_with(*policies: dict[str, Any]) -> Judges:
    return Judges(Known(*policies), ObjectCache(), ObjectCache())
