"""Executions that hold their workflow themselves, in the reconciler: revisions that are made once, and stay in use."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import pytest

from controllers.cache import Key, ObjectCache
from controllers.collector import RevisionCollector
from controllers.executions import ExecutionController
from controllers.inline import InlineWorkflows
from controllers.namespaces import Namespaces
from controllers.revisions import Revisions
from controllers.working import kept
from ossa.api.contract import API_VERSION, LABEL_WORKFLOW
from ossa.api.execution import Execution
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.store.client import ArtifactClient
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import SETTINGS

EXECUTIONS, REVISIONS = paths.ossa("executions", "lab"), paths.apps("controllerrevisions", "lab")
AGENT: dict[str, Any] = {
    "metadata": {"name": "worker", "namespace": "lab", "uid": "uid-worker", "generation": 1, "resourceVersion": "1"},
    "spec": {"capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}},
    "status": {"observedGeneration": 1, "ready": "True"},
}
TASKS = {"tasks": [{"name": "a", "agent": "worker"}]}


@dataclass
class Lab:
    """A reconciler's part that is about Executions, against an API server of ours."""

    cluster: ApiServer
    api: ApiClient
    agents: ObjectCache
    executions: ObjectCache
    revisions: Revisions
    inline: InlineWorkflows
    controller: ExecutionController
    collector: RevisionCollector

    def create(self, name: str, **spec: Any) -> dict[str, Any]:
        metadata = {"name": name, "namespace": "lab"}
        made = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": metadata}
        item = self.cluster.create(EXECUTIONS, {**made, "spec": spec or {"workflowSpec": TASKS}})
        self.controller.seen("ADDED", item)
        return item

    async def turn(self, item: dict[str, Any]) -> dict[str, Any]:
        """One turn, and the status that was written."""
        await self.controller.reconcile(item["metadata"]["uid"])
        status: dict[str, Any] = self.cluster.objects[f"{EXECUTIONS}/{item['metadata']['name']}"].get("status") or {}
        return status

    def names(self) -> list[str]:
        return [item["metadata"]["name"] for item in self.cluster.of(REVISIONS)]


@pytest.fixture
async def lab() -> AsyncIterator[Lab]:
    cluster = ApiServer()
    async with cluster.served() as config, ApiClient(config) as api:
        agents, executions, revisions = ObjectCache(), ObjectCache(keep=kept), Revisions(api)
        inline = InlineWorkflows(agents, revisions, worker_image="worker:1")
        collector = RevisionCollector(api, workflows=ObjectCache(), executions=executions, revisions=revisions)
        controller = ExecutionController(
            api,
            SETTINGS,
            cache=executions,
            workflows=ObjectCache(),
            revisions=revisions,
            inline=inline,
            namespaces=Namespaces(lambda _: None),
            gone=collector.execution_gone,
            artifacts=ArtifactClient(SETTINGS.artifacts_operator_url, SETTINGS.artifacts_token),
            epoch=1,
        )
        controller.pods.replaced([], 1)
        controller.approvals.replaced([], 1)
        yield Lab(cluster, api, agents, executions, revisions, inline, controller, collector)


async def test_it_waits_for_its_agent_and_then_runs_a_revision_of_its_own(lab: Lab) -> None:
    item = lab.create("one")
    status = await lab.turn(item)
    assert status["phase"] == "Pending"
    assert status["message"].startswith("spec.workflowSpec.tasks[0].agent: there is no Agent 'worker'")
    assert status["message"].endswith("apply it, and the Execution starts by itself")
    lab.agents.put(AGENT)
    uid = await lab.controller.loop.queue.take()
    lab.controller.loop.queue.done(uid)
    lab.controller.agent_changed(Key("lab", "another"))
    assert len(lab.controller.loop.queue) == 0
    lab.controller.agent_changed(Key("lab", "worker"))
    assert len(lab.controller.loop.queue) == 1
    status = await lab.turn(item)
    assert (status["phase"], lab.names()) == ("Running", [status["revision"]])
    (revision,) = lab.cluster.of(REVISIONS)
    assert revision["metadata"]["labels"][LABEL_WORKFLOW] == ""
    assert revision["data"]["agents"]["worker"]["image"] == "worker:1"
    assert revision["data"]["spec"]["published"] is True


async def test_what_came_past_the_webhook_fails_with_the_field(lab: Lab) -> None:
    item = lab.create("one", workflowSpec={"tasks": [{"name": "a", "agent": "worker", "dependsOn": ["b"]}]})
    status = await lab.turn(item)
    assert (status["phase"], status["error"]["reason"]) == ("Failed", "InvalidInput")
    assert status["error"]["message"].startswith("spec.workflowSpec.tasks[0].dependsOn[0]: there is no task 'b'")


async def test_the_same_workflow_is_one_revision(lab: Lab) -> None:
    lab.agents.put(AGENT)
    first, second = lab.create("one"), lab.create("two")
    assert (await lab.turn(first))["revision"] == (await lab.turn(second))["revision"]
    assert len(lab.names()) == 1


async def test_a_revision_stays_while_an_execution_is_about_to_run_it(lab: Lab) -> None:
    lab.agents.put(AGENT)
    item = lab.create("one")
    view = await lab.inline.view(Execution.model_validate(item))
    await lab.collector.collect("lab")
    assert lab.names() == [view.revision]
    # Gone before its status named it: nobody needs it any more.
    lab.cluster.remove(f"{EXECUTIONS}/one")
    lab.controller.seen("DELETED", item)
    assert len(lab.collector.loop.queue) == 0  # it waits for others that go
    await lab.collector.collect("lab")
    assert lab.names() == []


async def test_what_an_execution_has_run_stays_until_that_is_gone(lab: Lab) -> None:
    lab.agents.put(AGENT)
    item = lab.create("one")
    status = await lab.turn(item)
    lab.inline.forget(item["metadata"]["uid"])
    await lab.collector.collect("lab")
    assert lab.names() == [status["revision"]]
    lab.executions.drop(item)
    await lab.collector.collect("lab")
    assert lab.names() == []


async def test_a_revision_that_is_taken_away_is_made_anew_for_who_comes_meanwhile(lab: Lab) -> None:
    lab.agents.put(AGENT)
    gone = Execution.model_validate(lab.create("one"))
    await lab.inline.view(gone)
    lab.inline.forget(gone.metadata.uid)
    comes = Execution.model_validate(lab.create("two"))
    _, view = await asyncio.gather(lab.collector.collect("lab"), lab.inline.view(comes))
    assert lab.names() == [view.revision]
    assert await lab.revisions.load("lab", view.revision or "") is not None


async def test_the_cache_keeps_no_workflow_of_what_has_ended() -> None:
    ended = {"phase": "Failed", "conditions": [{"type": "Finished", "status": "True"}]}
    item = {"metadata": {"name": "one"}, "spec": {"workflowSpec": TASKS, "priority": 1}, "status": ended}
    assert kept(item)["spec"] == {"priority": 1}
