"""A reconciler that starts anew finds everything as it is."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import Cluster, Namespace, kubectl, task, workflow
from tests.e2e.harness.cluster import RECONCILER

JSONObject = dict[str, Any]


async def restart(cluster: Cluster) -> None:
    """Another reconciler in place of the one that runs, as an upgrade does it."""
    system = ("-n", cluster.system_namespace)
    (await kubectl(*system, "rollout", "restart", f"deployment/{RECONCILER}")).ok()
    (await kubectl(*system, "rollout", "status", f"deployment/{RECONCILER}", "--timeout=120s")).ok()


async def is_known(namespace: Namespace, name: str) -> None:
    """Waits until the reconciler has judged a Workflow that is new to it."""
    await namespace.apply(workflow(name, [task("work", "worker")]))
    await namespace.settles("workflows", name, lambda status: status["phase"] == "Published", "to be published")


async def versions(namespace: Namespace) -> dict[str, str]:
    """resourceVersions: they change with every write."""
    held = {
        plural: await namespace.get(plural, name)
        for plural, name in (("agents", "worker"), ("workflows", "before"), ("executions", "run"))
    }
    return {plural: item["metadata"]["resourceVersion"] for plural, item in held.items()}


@pytest.mark.usefixtures("alone")
async def test_a_restart_changes_nothing(namespace: Namespace) -> None:
    (await kubectl("annotate", "namespace", namespace.name, "ossa.dev/service-accounts=builder")).ok()
    agent = namespace.shell_agent("worker", "true")
    agent["spec"]["runtime"]["serviceAccountName"] = "builder"
    await namespace.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "builder"}}, agent)
    await is_known(namespace, "before")
    await namespace.start("before")
    await namespace.completes()
    before = await versions(namespace)

    await restart(namespace.cluster)
    await is_known(namespace, "after")
    assert await versions(namespace) == before
    said = {event["reason"] for event in await namespace.events_of("Workflow", "before")}
    assert "Draft" not in said
