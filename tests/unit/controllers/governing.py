"""The part of the reconciler that looks after policies, as a process of its own, and an API server for it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from controllers.cache import ObjectCache
from controllers.governance.scan import Scanner
from controllers.governance.wiring import Governance
from controllers.metrics import Metrics
from controllers.policycache import PolicyCache
from controllers.resync import Followed, learn
from ossa.api.agent import AgentSpec
from ossa.engine.clock import to_exact_text
from ossa.governance.question import spec_hash
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.watch import list_and_watch
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import SETTINGS

JSONObject = dict[str, Any]
POLICIES, AGENTS = paths.ossa("agentpolicies"), paths.ossa("agents", "team")
WORKFLOWS, EXECUTIONS = paths.ossa("workflows", "team"), paths.ossa("executions", "team")
EXCEPTIONS = paths.ossa("agentpolicyexceptions", "team")
REPORTS = paths.reports("team")
NATIVES, BINDINGS = paths.admission("validatingadmissionpolicies"), paths.admission("validatingadmissionpolicybindings")
EVENTS = (paths.core("events", "team"), paths.core("events", "default"))
OWNED = {"expression": "object.spec.owner != ''", "message": "name an owner"}


class Events:
    """A `Listener` that hands objects to their controller, as kopf does in the process."""

    def __init__(self, seen: Callable[[str | None, JSONObject], None]) -> None:
        self._seen = seen

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        for item in items:
            self._seen(None, item)

    def changed(self, kind: str, item: JSONObject) -> None:
        self._seen(kind, item)

    def advanced(self, version: int) -> None:
        """Nothing to do."""


class Cluster(ApiServer):
    """With a namespace, and what a test says of it in few words."""

    def __init__(self) -> None:
        super().__init__()
        self.create(paths.core("namespaces"), {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})

    def ours(self, collection: str, kind: str, name: str, spec: JSONObject, **metadata: Any) -> JSONObject:
        """Creates an object, or changes its spec."""
        path = f"{collection}/{name}"
        namespace = {} if kind == "AgentPolicy" else {"namespace": "team"}
        item = {"apiVersion": "ossa.dev/v1alpha1", "kind": kind, "metadata": {"name": name, **namespace, **metadata}}
        if path not in self.objects:
            return self.create(collection, {**item, "spec": spec})
        held = self.objects[path]
        changed = {**held["metadata"], **metadata, "generation": held["metadata"]["generation"] + 1}
        return self.put(collection, {**held, "metadata": changed, "spec": spec})

    def agent(self, name: str, **spec: Any) -> JSONObject:
        return self.ours(AGENTS, "Agent", name, agent_spec(**spec))

    def policy(self, name: str, *rules: JSONObject, **spec: Any) -> JSONObject:
        return self.ours(POLICIES, "AgentPolicy", name, {"match": {"kinds": ["Agent"]}, "rules": list(rules), **spec})

    def exception(self, name: str, policy: str, agent: JSONObject, *, ends_in: float = 600.0) -> JSONObject:
        spec = {
            "policy": policy,
            "target": {"kind": "Agent", "name": "bad", "specHash": spec_hash(AgentSpec.model_validate(agent["spec"]))},
            "owner": "o",
            "reason": "r",
            "expiresAt": to_exact_text(datetime.now(UTC) + timedelta(seconds=ends_in)),
        }
        made = to_exact_text(datetime.now(UTC))
        return self.ours(EXCEPTIONS, "AgentPolicyException", name, spec, creationTimestamp=made)

    def status(self, collection: str, name: str) -> JSONObject:
        found: JSONObject = self.objects[f"{collection}/{name}"].get("status") or {}
        return found

    def report(self, policy: str) -> JSONObject | None:
        return self.objects.get(f"{REPORTS}/ossa-{policy}")

    def results(self, policy: str) -> dict[str, str]:
        """The result of each object."""
        listed = (self.report(policy) or {}).get("results") or []
        return {held["resources"][0]["name"]: held["result"] for held in listed}


def agent_spec(**spec: Any) -> JSONObject:
    return {"capabilities": [{"name": "do"}], "runtime": {"handler": "do:run"}, "owner": "", **spec}


def _kept(cache: ObjectCache, kind: str | None, item: JSONObject) -> None:
    cache.take(kind, item)


@asynccontextmanager
async def governed(server: Cluster, *, metrics: Metrics | None = None, **settings: Any) -> AsyncIterator[Governance]:
    """The process, without kopf. metrics: those that follow its scan."""
    held = replace(SETTINGS, **{"native_policies": "Always", **settings})
    async with server.served() as config, ApiClient(config) as api:
        policies = PolicyCache(api, ["ossa-system"])
        scanner = Scanner(api, policies)
        if metrics is not None:
            metrics.follow_scan(scanner)
        objects = {kind: ObjectCache(partial(scanner.changed, kind)) for kind in ("Agent", "Workflow", "Execution")}
        made = Governance(api, held, policies=policies, scanner=scanner, objects=objects)
        kinds = [
            *made.followed,
            *(Followed(f"{kind.lower()}s", cache, partial(_kept, cache)) for kind, cache in objects.items()),
        ]
        await learn(api, [kind for kind in kinds if server.of(paths.ossa(kind.plural))])
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(policies.run()), group.create_task(made.run())]
            for kind in kinds:
                watch = list_and_watch(api, paths.ossa(kind.plural), {}, Events(kind.seen))
                tasks.append(group.create_task(watch))
            yield made
            for task in tasks:
                task.cancel()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    monkeypatch.setattr("controllers.governance.reports.INTERVAL", 0.2)
    return Cluster()
