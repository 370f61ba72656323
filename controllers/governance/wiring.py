"""What the reconciler does about policies: their status, their native form, exceptions, the scan and its reports."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf

from controllers.cache import ObjectCache
from controllers.governance.exceptions import ExceptionController
from controllers.governance.natives import Natives, watch_natives
from controllers.governance.policies import PolicyController
from controllers.governance.reports import Reports
from controllers.governance.scan import Scanner
from controllers.loop import Loop
from controllers.policycache import PolicyCache
from controllers.resync import Followed
from controllers.settings import Settings
from ossa.governance.findings import ObjectKey
from ossa.kube.client import ApiClient


class Governance:
    """The controllers of policies. `objects`: the caches of what policies are about, by kind."""

    def __init__(
        self,
        api: ApiClient,
        settings: Settings,
        *,
        policies: PolicyCache,
        scanner: Scanner,
        objects: Mapping[str, ObjectCache],
    ) -> None:
        held, exceptions = ObjectCache(), ObjectCache()
        self._policies = policies
        self._scanner = scanner
        self._natives = Natives(
            api,
            which=settings.native_policies,
            excluded_namespaces=sorted(settings.excluded_namespaces),
            break_glass=sorted(settings.break_glass_groups),
        )
        self.policies = PolicyController(
            api, held, policies=policies, scanner=scanner, natives=self._natives, agents=objects["Agent"]
        )
        self.exceptions = ExceptionController(api, exceptions, policies=policies, objects=objects)
        self.reports = Reports(api, scanner)
        scanner.policies = self.policies.told
        scanner.objects = self._object_changed
        self.followed = (
            Followed("agentpolicies", held, self.policies.seen),
            Followed("agentpolicyexceptions", exceptions, self.exceptions.seen),
        )
        self.loops: tuple[Loop[Any], ...] = (self.policies.loop, self.exceptions.loop, self.reports.loop)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The kopf handlers."""
        self.policies.register(registry)
        self.exceptions.register(registry)

    def _object_changed(self, key: ObjectKey) -> None:
        self.exceptions.object_changed(key)
        kind, namespace, name = key
        if kind == "Agent":
            self.policies.agent_changed(namespace, name)

    async def run(self) -> None:
        """Runs until cancelled; nothing is said of any policy before all are known."""
        await self._policies.synced()
        async with asyncio.TaskGroup() as group:
            group.create_task(watch_natives(self._natives, self.policies.told))
            group.create_task(self._scanner.run())
            group.create_task(self.reports.watch())
            for loop in self.loops:
                group.create_task(loop.run(1))
