"""What tests of triggers share: a cluster with a clock, and a reconciler in it."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from controllers.cache import Key, ObjectCache
from controllers.collector import RevisionCollector
from controllers.resync import Followed, learn
from controllers.revisions import Revisions
from controllers.triggers import Triggers
from controllers.workflows import WorkflowController
from ossa.api.contract import API_VERSION
from ossa.api.workflow import WorkflowStatus
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import SETTINGS

AGENTS, WORKFLOWS = paths.ossa("agents", "lab"), paths.ossa("workflows", "lab")
EXECUTIONS = paths.ossa("executions", "lab")
KEY = Key("lab", "flow")
BEGIN = datetime(2026, 1, 1, 12, 0, 30, tzinfo=UTC)
MINUTE = timedelta(minutes=1)


def name_at(moment: datetime) -> str:
    return f"flow.tick-{int(moment.timestamp()) // 60}"


class Cluster(ApiServer):
    """With a clock, and a memory of every Execution that was ever made."""

    def __init__(self, **trigger: Any) -> None:
        super().__init__()
        self.now = BEGIN
        self.made: Counter[str] = Counter()
        self.created = self._count
        spec = {"capabilities": [{"name": "do"}], "runtime": {"handler": "do:run"}}
        status = {"observedGeneration": 1, "ready": "True"}
        kind = {"apiVersion": API_VERSION, "metadata": {"namespace": "lab", "name": "worker"}}
        self.create(AGENTS, {**kind, "kind": "Agent", "spec": spec, "status": status})
        tick = {"name": "tick", "cron": "* * * * *", **trigger}
        spec = {"tasks": [{"name": "a", "agent": "worker"}], "triggers": [tick]}
        meta = {"namespace": "lab", "name": "flow", "annotations": {"ossa.dev/spec-changed-by": "ada"}}
        self.create(WORKFLOWS, {"apiVersion": API_VERSION, "kind": "Workflow", "metadata": meta, "spec": spec})

    def _count(self, collection: str, item: dict[str, Any]) -> None:
        if collection == EXECUTIONS:
            self.made[item["metadata"]["name"]] += 1

    def end(self, *names: str) -> None:
        """Executions end well; all where none is named."""
        for item in self.of(EXECUTIONS):
            if not names or item["metadata"]["name"] in names:
                done = {"phase": "Completed", "conditions": [{"type": "Finished", "status": "True"}]}
                self.put(EXECUTIONS, {**item, "status": done})

    def there(self) -> set[str]:
        return {item["metadata"]["name"] for item in self.of(EXECUTIONS)}

    def tick(self) -> dict[str, Any]:
        """What the status says of the trigger."""
        status = WorkflowStatus.model_validate(self.objects[f"{WORKFLOWS}/flow"]["status"])
        return (status.triggers or {})["tick"].to_json()

    def edit(self, **fields: Any) -> None:
        """Changes the trigger."""
        item = self.objects[f"{WORKFLOWS}/flow"]
        (tick,) = item["spec"]["triggers"]
        self.put(WORKFLOWS, {**item, "spec": {**item["spec"], "triggers": [{**tick, **fields}]}})


def into(cache: ObjectCache) -> Callable[[str | None, dict[str, Any]], None]:
    """For a kind that nobody reconciles here."""

    def seen(kind: str | None, item: dict[str, Any]) -> None:
        cache.take(kind, item)

    return seen


class Reconciler:
    """One life: what it knows is what it listed and wrote."""

    def __init__(self, cluster: Cluster, api: ApiClient) -> None:
        self.api = api
        self.queued: list[Key] = []
        self.triggers = Triggers(api, made=self.made, changed=self.queued.append, now=lambda: cluster.now)
        self.executions = ObjectCache(self.triggers.execution_changed)
        agents, workflows, revisions = ObjectCache(), ObjectCache(), Revisions(api)
        self.workflows = WorkflowController(
            api,
            SETTINGS,
            cache=workflows,
            agents=agents,
            revisions=revisions,
            collector=RevisionCollector(api, workflows=workflows, executions=self.executions, revisions=revisions),
            triggers=self.triggers,
            changed=lambda _: None,
        )
        self.followed = (
            Followed("agents", agents, into(agents)),
            Followed("workflows", workflows, self.workflows.seen),
            Followed("executions", self.executions, into(self.executions)),
        )

    def made(self, item: dict[str, Any]) -> None:
        self.executions.put(item)

    async def look(self) -> None:
        """Sees what is there, and takes a turn of the workflow."""
        await learn(self.api, self.followed)
        await self.workflows.reconcile(KEY)


@asynccontextmanager
async def reconciler(cluster: Cluster, config: KubeConfig) -> AsyncIterator[Reconciler]:
    async with ApiClient(config) as api:
        yield Reconciler(cluster, api)


@asynccontextmanager
async def running(**trigger: Any) -> AsyncIterator[tuple[Cluster, Reconciler]]:
    """A cluster and a reconciler that has seen the workflow half a minute after 12:00."""
    cluster = Cluster(**trigger)
    async with cluster.served() as config, reconciler(cluster, config) as one:
        await one.look()
        yield cluster, one
