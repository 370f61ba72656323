"""What the API server and the scheduler say to the pods of a task is told to the user."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.kube import paths
from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.objects import says


@pytest.mark.parametrize(
    ("pod", "expected"),
    [
        ({"hostname": "Not_A_Name"}, "spec.hostname"),
        ({"nodeSelector": "nowhere"}, "nodeSelector"),
        ({"serviceAccount": None, "priorityClassName": "absent"}, "absent"),
    ],
    ids=["invalid", "unreadable", "forbidden"],
)
async def test_a_pod_that_the_api_server_refuses(namespace: Namespace, pod: dict[str, Any], expected: str) -> None:
    pod = {key: value for key, value in pod.items() if value is not None}
    await namespace.run(
        namespace.shell_agent("worker", "true", pod=pod),
        workflow("flow", [task("work", "worker")]),
    )
    ended = await namespace.fails(reason="PodRefused", patience=60)
    error = ended.status.error
    assert error is not None
    assert error.message.startswith("task 'work' failed: the API server refused its pod: ")
    assert expected in error.message
    assert "'work' failed (PodRefused)" in await namespace.event("Execution", "run", "TaskFailed")


async def test_a_pod_that_no_node_takes_waits_and_says_so(namespace: Namespace) -> None:
    await namespace.run(
        namespace.shell_agent("worker", "true", pod={"nodeSelector": {"example.com/no-such": "node"}}),
        workflow("flow", [task("work", "worker")]),
    )
    waiting = await namespace.reaches(
        "run", lambda found: "waiting for a node" in (found.status.message or ""), "to say what it waits for"
    )
    assert waiting.status.phase == "Running"
    assert (waiting.status.message or "").startswith("task work: waiting for a node: 0/1 nodes are available")
    assert (waiting.status.tasks["work"].message or "").startswith("waiting for a node: ")


async def test_a_full_quota_makes_tasks_wait_and_says_so(namespace: Namespace) -> None:
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "few"}, "spec": {"hard": {"pods": "0"}}}
    await namespace.apply(quota)

    async def counted() -> bool:
        found = await namespace.cluster.api.get(paths.core("resourcequotas", namespace.name, "few"))
        return "pods" in (found.get("status") or {}).get("used", {})

    await namespace.wait(counted, "the quota to be in force")
    await namespace.run(
        namespace.shell_agent("worker", says({"n": 1})),
        workflow("flow", [task("a", "worker"), task("b", "worker")]),
    )
    waiting = await namespace.reaches(
        "run",
        lambda found: "exceeded quota: few" in (found.status.message or ""),
        "to say what it waits for",
        patience=60,
    )
    assert waiting.status.phase == "Running"
    assert await namespace.pods() == []
    await namespace.apply({**quota, "spec": {"hard": {"pods": "1"}}})
    ended = await namespace.completes()
    assert all(held.attempt == held.lost + 1 for held in ended.status.tasks.values())


async def test_a_namespace_that_is_made_with_all_that_is_in_it(namespace: Namespace) -> None:
    name = f"{namespace.name}-new"
    items = [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}},
        execution("run", "flow"),
        workflow("flow", [task("work", "worker")]),
        namespace.shell_agent("worker", "true"),
    ]
    for item in items[1:]:
        item["metadata"]["namespace"] = name
    inner = Namespace(name, namespace.cluster)
    try:
        (await inner.kubectl_apply(*items)).ok()
        await inner.completes()
    finally:
        await namespace.cluster.api.delete(paths.core("namespaces", name=name))
