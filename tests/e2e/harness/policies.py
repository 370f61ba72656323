"""AgentPolicies of a test: they are cluster-wide, so each is about the test's own namespace alone, and ends with it."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness.command import Output
from tests.e2e.harness.namespace import APPLY_PATCH, Namespace
from tests.e2e.harness.objects import JSONObject, agent, resource

# Every replica of the webhook has heard of a change: so many requests in a row meet it.
IN_A_ROW = 12
KINDS = ["Agent", "Workflow", "Execution"]
OWNED = {"expression": "has(object.spec.owner) && object.spec.owner != ''", "message": "name an owner in spec.owner"}
NOT_BAD = {"expression": "!has(object.metadata.labels) || !('bad' in object.metadata.labels)", "message": "it is bad"}


class Policies:
    """Those of one namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._made: list[str] = []

    def name(self, short: str) -> str:
        """The policy's name in the cluster."""
        return f"{self._namespace.name}-{short}"

    def resource(self, short: str, *rules: JSONObject, **spec: Any) -> JSONObject:
        """A policy about what is in the namespace: of all kinds, unless `kinds` says which."""
        match = {"kinds": spec.pop("kinds", KINDS), "namespaces": [self._namespace.name], **spec.pop("match", {})}
        return resource("AgentPolicy", self.name(short), {"match": match, "rules": list(rules), **spec})

    async def apply(self, short: str, *rules: JSONObject, **spec: Any) -> str:
        """Makes or changes a policy; its name in the cluster."""
        item = self.resource(short, *rules, **spec)
        name = self.name(short)
        self._made.append(name)
        await self._namespace.cluster.api.patch(
            paths.ossa("agentpolicies", name=name),
            item,
            content_type=APPLY_PATCH,
            params={"fieldManager": "e2e", "force": "true"},
        )
        return name

    async def get(self, short: str) -> JSONObject:
        """A policy as it is now."""
        return await self._namespace.cluster.api.get(paths.ossa("agentpolicies", name=self.name(short)))

    async def remove(self, name: str) -> None:
        """Deletes a policy that may be gone already."""
        with contextlib.suppress(NotFound):
            await self._namespace.cluster.api.delete(paths.ossa("agentpolicies", name=name))

    async def remove_all(self) -> None:
        """Those that were made."""
        for name in self._made:
            await self.remove(name)

    async def settle(self, ask: Callable[[], Awaitable[Output]], met: Callable[[Output], bool], what: str) -> Output:
        """The answer to a request once every replica gives one that is `met`."""

        async def look() -> Output | None:
            answer = await ask()
            for _ in range(IN_A_ROW - 1):
                if not met(answer):
                    return None
                answer = await ask()
            return answer if met(answer) else None

        return await self._namespace.wait(look, what, patience=60)


@asynccontextmanager
async def policies_of(namespace: Namespace) -> AsyncIterator[Policies]:
    """Deletes them at the end: a policy outlives its namespace."""
    made = Policies(namespace)
    try:
        yield made
    finally:
        await made.remove_all()


def an_agent(name: str = "worker", **spec: Any) -> JSONObject:
    """One without an owner, unless it is given."""
    item = agent(name, {"container": {"image": "busybox"}})
    item["spec"].update(spec)
    return item


def bad(item: JSONObject) -> JSONObject:
    """With the label that NOT_BAD refuses."""
    return {**item, "metadata": {**item["metadata"], "labels": {"bad": "yes"}}}


def failed(answer: Output) -> bool:
    return answer.code != 0


def passed(answer: Output) -> bool:
    return answer.code == 0


async def dry(namespace: Namespace, *items: JSONObject) -> Output:
    return await namespace.kubectl("create", "--dry-run=server", "-f", "-", objects=list(items))


async def is_refused(namespace: Namespace, policies: Policies, item: JSONObject) -> str:
    """What is said once every replica refuses it; no object of the name is there."""
    answer = await policies.settle(lambda: dry(namespace, item), failed, "a policy to refuse")
    return answer.refused()


async def is_taken(namespace: Namespace, policies: Policies, item: JSONObject) -> Output:
    """The answer once every replica lets it pass; no object of the name is there."""
    return await policies.settle(lambda: dry(namespace, item), passed, "an object to pass")
