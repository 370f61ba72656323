"""Child Executions in the controller: each is looked at, whoever tells of it first."""

from __future__ import annotations

from controllers.cache import ObjectCache
from controllers.executions import ExecutionController
from controllers.namespaces import Namespaces
from controllers.revisions import Revisions
from ossa.api.contract import TaskIdentity
from ossa.engine.decision import ChildRequest
from ossa.kube import paths
from ossa.kube.client import ApiClient
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.test_crashes import SETTINGS

IDENTITY = TaskIdentity(namespace="lab", execution="run", uid="u1", workflow="flow", task="call")
REQUEST = ChildRequest(
    name="run-call-1", task="call", attempt=1, workflow="other", inputs={}, identity=IDENTITY, priority=0
)


async def test_a_child_is_looked_at_whose_creation_was_answered_before_the_watch_told_of_it() -> None:
    cluster, cache = ApiServer(), ObjectCache()
    async with cluster.served() as config, ApiClient(config) as api:
        controller = ExecutionController(
            api,
            SETTINGS,
            cache=cache,
            workflows=ObjectCache(),
            revisions=Revisions(api),
            namespaces=Namespaces(lambda _: None),
            gone=lambda _: None,
            epoch=1,
        )
        children = controller._children
        children.want("u1", [REQUEST])
        await children.create("u1", depth=1, author="")
        (made,) = cluster.of(paths.ossa("executions", "lab"))
        assert list(children.of("u1")) == ["run-call-1"]
        controller.seen("ADDED", made)
        assert len(controller.loop.queue) == 1
        controller.seen("MODIFIED", made)  # told again, it is no news
        assert await controller.loop.queue.take() == made["metadata"]["uid"]
        assert len(controller.loop.queue) == 0
