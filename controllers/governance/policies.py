"""AgentPolicy: Ready (it can be judged by), Native (the API server holds it too), Scanned (what is there was judged),
Governed (the Agent that is to answer for it is there).

What judges is the cache of policies; here its status is written, and its native form kept.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Literal

import kopf

from controllers.cache import Key, ObjectCache, key_of
from controllers.governance.natives import Held, Natives
from controllers.governance.scan import Scanner
from controllers.loop import Loop
from controllers.policycache import PolicyCache
from ossa.api.base import Condition, JSONObject, set_condition
from ossa.api.contract import GROUP, VERSION
from ossa.api.policy import AgentPolicyStatus, Governor
from ossa.engine.clock import to_text
from ossa.governance.policies import CompiledPolicy
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound
from ossa.kube.status import write_status

# How soon a policy is looked at again that the cache does not know yet, or of which a scan has told something.
CACHE_PAUSE, TOLD_PAUSE = 0.2, 1.0
# Seconds after which a generation that the cache still does not know is one that it does not understand.
CACHE_PATIENCE = 5.0
_MESSAGE_MOST = 4096


class PolicyController:
    """Writes the status of policies. Keys are names."""

    def __init__(  # noqa: PLR0913 - each by name
        self,
        api: ApiClient,
        cache: ObjectCache,
        *,
        policies: PolicyCache,
        scanner: Scanner,
        natives: Natives,
        agents: ObjectCache,
    ) -> None:
        self._api = api
        self._cache = cache
        self._agents = agents
        self._policies = policies
        self._scanner = scanner
        self._natives = natives
        self._unknown: dict[str, tuple[int, int]] = {}  # generation, and how often the cache did not know it
        self.loop: Loop[str] = Loop("AgentPolicy", self.reconcile)
        policies.on_change(self._policies_changed)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The kopf handler: keep the object, queue its name."""

        @kopf.on.event(GROUP, VERSION, "agentpolicies", registry=registry)
        async def policy_seen(event: kopf.RawEvent, **_: Any) -> None:
            self.seen(event["type"], dict(event["object"]))

    def seen(self, kind: str | None, item: JSONObject) -> None:
        """An event of the watch; `kind` is None for what was there already."""
        if self._cache.take(kind, item):
            self.loop.queue.add(key_of(item).name)

    def told(self, policy: str) -> None:
        """A scan, or a look at native policies, has found something."""
        self.loop.queue.add_after(policy, TOLD_PAUSE)

    def agent_changed(self, namespace: str, name: str) -> None:
        """An Agent is another, has come or is gone: policies may name it as their governor."""
        for item in self._cache.all():
            held = item["spec"].get("governor") or {}
            if (held.get("namespace"), held.get("name")) == (namespace, name):
                self.loop.queue.add_after(key_of(item).name, TOLD_PAUSE)

    def _policies_changed(self) -> None:
        """A policy was compiled, or its params have come or gone."""
        for item in self._cache.all():
            self.loop.queue.add_after(key_of(item).name, CACHE_PAUSE)

    async def reconcile(self, name: str) -> None:
        """Looks at a policy, brings its native form in order, and writes what was found."""
        item = self._cache.get(Key("", name))
        if item is None or item["metadata"].get("deletionTimestamp"):
            self._unknown.pop(name, None)
            await self._natives.remove(name)
            return
        policy = self._compiled(item)
        if policy is None and not self._given_up(item):
            self.loop.queue.add_after(name, CACHE_PAUSE)
            return
        ready = self._ready(policy)
        native = await self._native(name, policy, ready)
        found = {"Ready": ready, "Native": native}
        if policy is not None and (governor := policy.spec.governor) is not None:
            found["Governed"] = self._governed(governor)
        status = self._status(item, policy, found)
        try:
            written = await write_status(self._api, paths.ossa("agentpolicies", name=name), item, status.to_json())
        except NotFound:
            return
        if written is not None:
            self._cache.put(written)

    def _compiled(self, item: JSONObject) -> CompiledPolicy | None:
        metadata = item["metadata"]
        found = self._policies.current().named(metadata["name"])
        if found is None or (found.uid, found.generation) != (metadata["uid"], metadata["generation"]):
            return None
        return found

    def _given_up(self, item: JSONObject) -> bool:
        name, generation = item["metadata"]["name"], item["metadata"]["generation"]
        known, times = self._unknown.get(name, (generation, 0))
        times = times + 1 if known == generation else 1
        self._unknown[name] = generation, times
        return times * CACHE_PAUSE > CACHE_PATIENCE

    def _ready(self, policy: CompiledPolicy | None) -> Held:
        if policy is None:
            said = "the operator does not understand it; the CRD is of another version than the operator: upgrade both"
            return Held("False", "NotUnderstood", said)
        self._unknown.pop(policy.name, None)
        if policy.problems:
            return Held("False", "InvalidPolicy", "; ".join(policy.problems))
        wanted = policy.spec.params
        if wanted is not None and (wanted.namespace, wanted.name) not in self._policies.current().params:
            said = f"spec.params: there is no ConfigMap {wanted.name!r} in the namespace {wanted.namespace!r}"
            return Held("False", "NoParams", said)
        return Held("True", "Ready", "its expressions compile" + (", and its params are there" if wanted else ""))

    def _governed(self, governor: Governor) -> Held:
        agent = self._agents.get(Key(governor.namespace, governor.name))
        if agent is None:
            said = f"spec.governor: there is no Agent {governor.name!r} in the namespace {governor.namespace!r}"
            return Held("False", "NoAgent", said)
        found = agent["spec"].get("type") or "worker"
        if found != "governor":
            said = f"spec.governor: Agent {governor.namespace}/{governor.name} is of type {found}, and not governor"
            return Held("False", "NoGovernor", said)
        return Held("True", "Governed", f"Agent {governor.namespace}/{governor.name} answers for it")

    async def _native(self, name: str, policy: CompiledPolicy | None, ready: Held) -> Held:
        if policy is None or ready.status == "False":
            await self._natives.remove(name)
            return Held("False", "NotReady", ready.message)
        return await self._natives.ensure(policy)

    def _status(self, item: JSONObject, policy: CompiledPolicy | None, found: Mapping[str, Held]) -> AgentPolicyStatus:
        generation, now = item["metadata"]["generation"], to_text(datetime.now(UTC))
        violations = None if policy is None else self._scanner.violations(policy)
        scanned = Held("False", "NotScanned", "what is there was not looked at yet")
        if violations is not None:
            said = f"objects that are there and do not keep to it: {violations}; PolicyReports name them"
            scanned = Held("True", "Scanned", said)
        conditions = [
            condition
            for condition in AgentPolicyStatus.model_validate(item.get("status") or {}).conditions
            if condition.type != "Governed" or "Governed" in found
        ]
        for kind, held in {**found, "Scanned": scanned}.items():
            condition = Condition(
                type=kind,
                status=held.status,
                reason=held.reason,
                message=held.message[:_MESSAGE_MOST],
                observed_generation=generation,
            )
            conditions = set_condition(conditions, condition, now)
        ready: Literal["True", "False"] = found["Ready"].status
        return AgentPolicyStatus(
            observed_generation=generation,
            ready=ready,
            native=found["Native"].status,
            violations=violations,
            message=None if ready == "True" else found["Ready"].message[:_MESSAGE_MOST],
            conditions=conditions,
        )
