"""AgentPolicies for one namespace: they are cluster-wide, and no other test may feel them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Any

from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness.namespace import APPLY_PATCH, Namespace
from tests.e2e.harness.objects import JSONObject, resource


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy that is there."""

    name: str
    namespace: Namespace

    async def apply(self, *rules: str | JSONObject, kinds: list[str], **spec: Any) -> int:
        """Makes or changes it, and waits until the operator has looked at it; its generation.

        spec: further fields. `operations` is one of `match`; without it rules about an Execution are for its start, so
        that the start decides and not admission.
        """
        match: JSONObject = {"kinds": kinds, "namespaces": [self.namespace.name]}
        match["operations"] = spec.pop("operations", ["START"])
        made = [{"expression": rule} if isinstance(rule, str) else rule for rule in rules]
        item = resource("AgentPolicy", self.name, {"match": match, "rules": made, **spec})
        api, path = self.namespace.cluster.api, paths.ossa("agentpolicies", name=self.name)
        query = {"fieldManager": "e2e", "force": "true"}
        await api.patch(path, item, content_type=APPLY_PATCH, params=query)

        async def look() -> int | None:
            held = await api.get(path)
            seen = (held.get("status") or {}).get("observedGeneration")
            generation: int = held["metadata"]["generation"]
            return generation if seen == generation else None

        return await self.namespace.wait(look, f"policy {self.name} to be looked at", patience=60)

    async def delete(self) -> None:
        """Takes it away."""
        with suppress(NotFound):
            await self.namespace.cluster.api.delete(paths.ossa("agentpolicies", name=self.name))


@asynccontextmanager
async def policy(namespace: Namespace, name: str = "rule") -> AsyncIterator[Policy]:
    """A policy with a name of its own, which is gone afterwards."""
    held = Policy(f"{name}-{namespace.name}", namespace)
    try:
        yield held
    finally:
        await held.delete()
