"""Wires the controllers to one API client, one set of caches, and kopf."""

from __future__ import annotations

import asyncio
from contextlib import closing
from functools import partial
from typing import Any

import kopf

from controllers.agents import AgentController
from controllers.cache import Key, ObjectCache, both
from controllers.collector import RevisionCollector
from controllers.executions import ExecutionController
from controllers.governance.judges import Defaults, Judges
from controllers.governance.scan import Scanner
from controllers.governance.wiring import Governance
from controllers.inline import InlineWorkflows
from controllers.metrics import Metrics
from controllers.policycache import PolicyCache
from controllers.resync import Followed, learn, resync
from controllers.revisions import Revisions
from controllers.settings import Settings
from controllers.triggers import Triggers
from controllers.workflows import WorkflowController
from controllers.working import kept
from ossa.api.contract import LABEL_MANAGED_BY, MANAGED_BY
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig
from ossa.kube.watch import list_and_watch
from ossa.store.client import ArtifactClient
from ossa.store.records.pool import Records

# As PostgreSQL shows it.
APPLICATION = "ossa-reconciler"


class Platform:
    """The reconciler: three controllers, the watch of pods, the watch of the artifact service."""

    def __init__(self, config: KubeConfig, settings: Settings, *, epoch: int, metrics: Metrics) -> None:
        self._settings = settings
        self._api = ApiClient(config, observe=metrics.request)
        self._artifacts = ArtifactClient(settings.artifacts_operator_url, settings.artifacts_token)
        triggers = Triggers(self._api, made=self._execution_made, changed=self._triggers_changed)
        self.policies = PolicyCache(self._api, settings.params_namespaces)
        self.scanner = Scanner(self._api, self.policies)
        agents = ObjectCache(partial(self.scanner.changed, "Agent"))
        workflows = ObjectCache(partial(self.scanner.changed, "Workflow"))
        told = both(triggers.execution_changed, partial(self.scanner.changed, "Execution"))
        executions = ObjectCache(told, keep=kept)
        revisions = Revisions(self._api)
        self.collector = RevisionCollector(self._api, workflows=workflows, executions=executions, revisions=revisions)
        defaults = Defaults(self.policies)
        inline = InlineWorkflows(agents, revisions, worker_image=settings.worker_image, defaults=defaults)
        self.agents = AgentController(self._api, settings, agents, changed=self._agent_changed)
        self.executions = ExecutionController(
            self._api,
            settings,
            artifacts=self._artifacts,
            epoch=epoch,
            cache=executions,
            workflows=workflows,
            revisions=revisions,
            inline=inline,
            namespaces=self.agents.namespaces,
            gone=self.collector.execution_gone,
            judges=Judges(self.policies, workflows, agents),
            records=Records(settings.records_url, application=APPLICATION, size=1) if settings.records_url else None,
        )
        self.workflows = WorkflowController(
            self._api,
            settings,
            cache=workflows,
            agents=agents,
            revisions=revisions,
            collector=self.collector,
            triggers=triggers,
            changed=self.executions.workflow_changed,
            defaults=defaults,
        )
        self.governance = Governance(
            self._api,
            settings,
            policies=self.policies,
            scanner=self.scanner,
            objects={"Agent": agents, "Workflow": workflows, "Execution": executions},
        )
        self.policies.on_change(self.workflows.policies_changed)
        self.policies.on_change(lambda: metrics.policies_are(held.name for held in self.policies.current().policies))
        self._followed = (
            Followed("agents", agents, self.agents.seen),
            Followed("workflows", workflows, self.workflows.seen),
            Followed("executions", executions, self.executions.seen),
            *self.governance.followed,
        )
        executions_loops = (self.executions.loop, self.executions.thinning)
        metrics.follow(self.agents.loop, self.workflows.loop, *executions_loops, self.collector.loop)
        metrics.follow(*self.governance.loops)
        metrics.follow_scan(self.scanner)
        metrics.follow_decisions(self.executions.decider)
        metrics.look_at(self.executions.statuses, self.executions.pending, self.executions.limits)

    def _agent_changed(self, agent: Key) -> None:
        self.workflows.agent_changed(agent)
        self.executions.agent_changed(agent)

    def _execution_made(self, item: dict[str, Any]) -> None:
        self.executions.seen(None, item)

    def _triggers_changed(self, workflow: Key) -> None:
        self.workflows.loop.queue.add(workflow)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The handlers of all kinds."""
        for controller in (self.agents, self.workflows, self.executions, self.governance):
            controller.register(registry)

    async def run(self) -> None:
        """Everything but kopf; runs until cancelled. What fails here ends the process."""
        with closing(self.executions):
            await self._run()

    async def _run(self) -> None:
        async with self._api, self._artifacts, asyncio.TaskGroup() as group:
            await learn(self._api, self._followed)
            group.create_task(self.policies.run())
            group.create_task(self.governance.run())
            group.create_task(self._watch_pods())
            group.create_task(list_and_watch(self._api, paths.ossa("approvals"), {}, self.executions.approvals))
            group.create_task(self._watch_artifact_service())
            group.create_task(list_and_watch(self._api, paths.core("namespaces"), {}, self.agents.namespaces))
            group.create_task(resync(self._api, self._followed))
            group.create_task(self.agents.loop.run(2))
            # Nothing is decided before all policies are known: an empty set would let everything pass.
            await self.policies.synced()
            group.create_task(self.workflows.loop.run(2))
            group.create_task(self.collector.loop.run(1))
            group.create_task(self.executions.loop.run(self._settings.workers))
            group.create_task(self.executions.thinning.run(1))
            group.create_task(self.executions.closing.run())

    async def _watch_pods(self) -> None:
        selector = {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"}
        await list_and_watch(self._api, paths.core("pods"), selector, self.executions.pods)

    async def _watch_artifact_service(self) -> None:
        path = f"/apis/discovery.k8s.io/v1/namespaces/{self._settings.namespace}/endpointslices"
        selector = {"labelSelector": f"kubernetes.io/service-name={self._settings.artifacts_service}"}
        await list_and_watch(self._api, path, selector, self.executions.outages)


def connection(config: KubeConfig) -> kopf.ConnectionInfo:
    """The same identity for kopf's own watches."""
    return kopf.ConnectionInfo(
        server=config.server,
        ca_path=config.ca_file,
        certificate_path=config.cert_file,
        private_key_path=config.key_file,
        insecure=not config.verify,
        token=config.token(),
        default_namespace=config.namespace,
    )


class NoMemory(kopf.DiffBaseStorage):
    """kopf's handlers of changes want to know what an object was like. We have none: no event need be copied."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> kopf.BodyEssence:  # noqa: ARG002 - of the interface
        return {}

    def fetch(self, *, body: kopf.Body) -> kopf.BodyEssence | None:  # noqa: ARG002 - of the interface
        return None

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: kopf.BodyEssence) -> None:
        """Nothing to do."""


def registry_of(platform: Platform, config: KubeConfig) -> kopf.OperatorRegistry:
    """kopf's side: who we are, how it behaves, and the handlers."""
    registry = kopf.OperatorRegistry()

    @kopf.on.login(registry=registry)
    def login(**_: Any) -> kopf.ConnectionInfo:
        return connection(config)

    @kopf.on.startup(registry=registry)
    def configure(settings: kopf.OperatorSettings, **_: Any) -> None:
        settings.scanning.disabled = True  # our kinds are installed before us; no watch of all CRDs
        settings.posting.enabled = False
        settings.persistence.diffbase_storage = NoMemory()
        settings.peering.standalone = True
        settings.watching.server_timeout = 300
        # kopf has a task and a queue an object, for as long as events of it may come one upon the other.
        settings.queueing.idle_timeout = 1.0

    platform.register(registry)
    return registry
