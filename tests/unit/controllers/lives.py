"""A cluster whose pods run at once, and reconcilers that may die at any of their writes."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from controllers.cache import ObjectCache
from controllers.executions import ExecutionController
from controllers.governance.judges import NoJudges
from controllers.inline import InlineWorkflows
from controllers.metrics import Metrics
from controllers.namespaces import Namespaces
from controllers.revisions import Revisions
from controllers.settings import Settings
from controllers.working import kept
from ossa.api.agent import AgentSpec
from ossa.api.contract import API_VERSION
from ossa.api.execution import ExecutionStatus
from ossa.api.workflow import WorkflowSpec
from ossa.engine.revision import AgentSnapshot, Revision
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.kube.pods import identity_of
from ossa.kube.watch import list_and_watch
from ossa.store.client import ArtifactClient
from ossa.store.records.pool import Records
from tests.unit.controllers.apiserver import ApiServer, succeeded

EXECUTIONS, WORKFLOWS = paths.ossa("executions", "lab"), paths.ossa("workflows", "lab")
PODS = paths.core("pods", "lab")
RUN = "${{ tasks.%s.output.run }}"
TASKS: list[dict[str, Any]] = [
    {"name": "first", "agent": "worker"},
    {"name": "left", "agent": "worker", "input": {"of": RUN % "first"}},
    {"name": "right", "agent": "worker", "input": {"of": RUN % "first"}},
    {"name": "last", "agent": "worker", "input": {"left": RUN % "left", "right": RUN % "right"}},
]
NAMES = [task["name"] for task in TASKS]
SETTINGS = Settings(
    worker_image="worker:1",
    artifacts_url="http://artifacts",
    artifacts_key=b"k" * 32,
    agents_path=Path("agents"),
    namespace="ossa-system",
    artifacts_token=Path("token"),
    artifacts_operator_url="http://artifacts",
)


# Each life has its own, as the Lease gives it.
EPOCHS = itertools.count(1)


class Died(BaseException):
    """The process is no more."""


class MortalClient(ApiClient):
    """Dies at a write (counted from 1): `after` it took effect and before the answer came, or before it was sent."""

    def __init__(self, config: KubeConfig, *, at: int | None, after: bool) -> None:
        super().__init__(config)
        self._at = at
        self._after = after
        self.writes = 0
        self.dead = asyncio.Event()

    async def _call(self, method: str, path: str, **more: Any) -> bytes:
        if self.dead.is_set():
            raise Died
        if method == "GET":
            return await super()._call(method, path, **more)
        self.writes += 1
        if self.writes != self._at:
            return await super()._call(method, path, **more)
        if self._after:
            await super()._call(method, path, **more)
        self.dead.set()
        raise Died


class Cluster(ApiServer):
    """With a kubelet that runs every pod at once, and gives what only that run gives."""

    def __init__(self, tasks: Sequence[Mapping[str, Any]] = TASKS) -> None:
        super().__init__()
        self.tasks = tasks
        self.runs: Counter[str] = Counter()
        self.created = self._run

    def _run(self, collection: str, item: dict[str, Any]) -> None:
        if collection != PODS:
            return
        identity = identity_of(item)
        assert identity is not None
        self.runs[identity.task] += 1
        self.put(collection, succeeded(item, {"run": f"{identity.task}#{self.runs[identity.task]}"}))

    async def prepare(self, api: ApiClient) -> None:
        """The published Workflow, its revision, and an Execution that nobody has looked at."""
        agent = AgentSpec.model_validate({"capabilities": [{"name": "do"}], "runtime": {"handler": "do:run"}})
        held = AgentSnapshot(name="worker", uid="u", generation=1, image="worker:1", spec=agent)
        outputs = {task["name"]: RUN % task["name"] for task in self.tasks if "forEach" not in task}
        spec = WorkflowSpec.model_validate({"tasks": self.tasks, "outputs": outputs})
        meta = {"namespace": "lab"}
        kind = {"apiVersion": API_VERSION, "kind": "Workflow"}
        workflow = self.create(WORKFLOWS, {**kind, "metadata": {**meta, "name": "flow"}, "spec": spec.to_json()})
        revision = Revision(workflow="flow", version="1", spec=spec, agents={"worker": held})
        name = await Revisions(api).publish(workflow, revision)
        status = {"phase": "Published", "revision": name, "observedGeneration": 1}
        self.put(WORKFLOWS, {**workflow, "status": status})
        kind = {"apiVersion": API_VERSION, "kind": "Execution"}
        self.create(EXECUTIONS, {**kind, "metadata": {**meta, "name": "run"}, "spec": {"workflow": "flow"}})

    def status(self) -> ExecutionStatus:
        return ExecutionStatus.model_validate(self.objects[f"{EXECUTIONS}/run"].get("status") or {})


class Events:
    """A `Listener` that hands executions to their controller, as kopf does in the process."""

    def __init__(self, controller: ExecutionController) -> None:
        self._controller = controller

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - of the interface
        for item in items:
            self._controller.seen(None, item)

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        self._controller.seen(kind, item)

    def advanced(self, version: int) -> None:
        """Nothing to do."""


def controller_of(
    api: ApiClient,
    *,
    epoch: int = 1,
    artifacts: ArtifactClient | None = None,
    judges: NoJudges | None = None,
    records: Records | None = None,
) -> ExecutionController:
    """A controller with caches of its own, which nothing has been told of yet."""
    revisions = Revisions(api)
    return ExecutionController(
        api,
        SETTINGS,
        cache=ObjectCache(keep=kept),
        workflows=ObjectCache(),
        revisions=revisions,
        inline=InlineWorkflows(ObjectCache(), revisions, worker_image=SETTINGS.worker_image),
        namespaces=Namespaces(lambda _: None),
        gone=lambda _: None,
        artifacts=artifacts or ArtifactClient(SETTINGS.artifacts_operator_url, SETTINGS.artifacts_token),
        epoch=epoch,
        judges=judges,
        records=records,
    )


@asynccontextmanager
async def reconciler(
    config: KubeConfig,
    *,
    at: int | None = None,
    after: bool = False,
    artifacts: ArtifactClient | None = None,
    metrics: Metrics | None = None,
    judges: NoJudges | None = None,
    records: Records | None = None,
) -> AsyncIterator[MortalClient]:
    """One life of the reconciler, with caches of its own."""
    async with MortalClient(config, at=at, after=after) as api:
        controller = controller_of(api, artifacts=artifacts, epoch=next(EPOCHS), judges=judges, records=records)
        if metrics is not None:
            metrics.follow(controller.loop)
            metrics.follow_decisions(controller.decider)
            metrics.look_at(controller.statuses, controller.pending, controller.limits)
        tasks = [
            asyncio.create_task(list_and_watch(api, paths.ossa("executions"), {}, Events(controller))),
            asyncio.create_task(list_and_watch(api, paths.core("pods"), {}, controller.pods)),
            asyncio.create_task(list_and_watch(api, paths.ossa("approvals"), {}, controller.approvals)),
            *(asyncio.create_task(controller.loop.work()) for _ in range(4)),
            asyncio.create_task(controller.thinning.work()),
            asyncio.create_task(controller.closing.run()),
        ]
        try:
            yield api
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(Died, asyncio.CancelledError):
                    await task


async def until_ended(cluster: Cluster, *, dead: asyncio.Event | None = None) -> None:
    async with asyncio.timeout(10):
        while cluster.status().phase != "Completed" and not (dead is not None and dead.is_set()):  # noqa: ASYNC110
            await asyncio.sleep(0.005)


@asynccontextmanager
async def life(
    config: KubeConfig, url: str, token: Path, *, at: int | None = None, after: bool = False
) -> AsyncIterator[MortalClient]:
    """A reconciler, and its client of the artifact service."""
    async with (
        ArtifactClient(url, token) as artifacts,
        reconciler(config, at=at, after=after, artifacts=artifacts) as mortal,
    ):
        yield mortal
