"""Executions that are looked at because of another one: a child, and one that resumes another."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from controllers.executions import ExecutionController
from ossa.api.contract import API_VERSION, TaskIdentity
from ossa.api.execution import Execution
from ossa.engine.decision import ChildRequest
from ossa.kube import paths
from ossa.kube.client import ApiClient
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import controller_of

EXECUTIONS = paths.ossa("executions", "lab")
IDENTITY = TaskIdentity(namespace="lab", execution="run", uid="u1", workflow="flow", task="call")
PARENT = Execution.model_validate(
    {"apiVersion": API_VERSION, "kind": "Execution", "metadata": {"name": "run"}, "spec": {"workflow": "outer"}}
)
REQUEST = ChildRequest(
    name="run-call-1", task="call", attempt=1, workflow="other", inputs={}, identity=IDENTITY, priority=0
)


@pytest.fixture
def cluster() -> ApiServer:
    return ApiServer()


@pytest.fixture
async def controller(cluster: ApiServer) -> AsyncIterator[ExecutionController]:
    async with cluster.served() as config, ApiClient(config) as api:
        made = controller_of(api)
        made.pods.replaced([], 1)
        made.approvals.replaced([], 1)
        yield made


async def queued(controller: ExecutionController) -> list[str]:
    """The UIDs that are to be looked at; none afterwards."""
    found = []
    while len(controller.loop.queue):
        uid = await controller.loop.queue.take()
        controller.loop.queue.done(uid)
        found.append(uid)
    return found


async def test_a_child_is_looked_at_whose_creation_was_answered_before_the_watch_told_of_it(
    cluster: ApiServer, controller: ExecutionController
) -> None:
    children = controller._children
    children.want("u1", [REQUEST])
    await children.create("u1", depth=1, parent=PARENT)
    (made,) = cluster.of(EXECUTIONS)
    assert list(children.of("u1")) == ["run-call-1"]
    controller.seen("ADDED", made)
    assert await queued(controller) == [made["metadata"]["uid"]]
    controller.seen("MODIFIED", made)  # told again, it is no news
    assert await queued(controller) == []


async def test_who_resumes_an_execution_is_looked_at_again_when_that_changes(
    cluster: ApiServer, controller: ExecutionController
) -> None:
    def create(name: str, **spec: Any) -> dict[str, Any]:
        kind = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": {"name": name, "namespace": "lab"}}
        return cluster.create(EXECUTIONS, {**kind, "spec": {"workflow": "flow", **spec}})

    first, second = create("first"), create("second", retryOf="first")
    for item in (first, second):
        controller.seen("ADDED", item)
    assert len(await queued(controller)) == 2
    uid = second["metadata"]["uid"]
    await controller.reconcile(uid)
    said = cluster.objects[f"{EXECUTIONS}/second"]["status"]["message"]
    assert said.startswith("spec.retryOf: Execution 'first' is Pending")
    await queued(controller)
    ended = cluster.put(EXECUTIONS, {**first, "status": {"phase": "Failed", "revision": "flow-1"}})
    controller.seen("MODIFIED", ended)
    assert set(await queued(controller)) == {first["metadata"]["uid"], uid}
