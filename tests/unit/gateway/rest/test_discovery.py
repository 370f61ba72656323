"""What there is to run, and what a task writes."""

from __future__ import annotations

from typing import Any

from tests.unit.gateway.rest.resources import (
    NAMESPACE,
    execution,
    gateway,
    put,
)


async def test_discovery(records_url: str) -> None:
    async with gateway(records_url) as held:
        for name, kind, capability, ready in (
            ("rules", "worker", "apply-rules", "True"),
            ("judge", "judge", "judge", "True"),
            ("slow", "worker", "apply-rules", "False"),
        ):
            held.registry.agents.changed(
                "ADDED",
                {
                    "metadata": {"name": name, "namespace": "lab", "uid": name},
                    "spec": {"type": kind, "capabilities": [{"name": capability}], "runtime": {"handler": "a:b"}},
                    "status": {"ready": ready},
                },
            )
        held.registry.agents.changed("ADDED", {"metadata": {"name": "x", "namespace": "other"}, "spec": {}})

        async def names(**query: Any) -> list[str]:
            return [item["name"] for item in (await held.get(f"{NAMESPACE}/agents", **query)).json()["items"]]

        assert await names() == ["judge", "rules", "slow"]
        assert await names(type="worker", capability="apply-rules") == ["rules", "slow"]
        assert await names(capability="apply-rules", ready=True) == ["rules"]
        first = (await held.get(f"{NAMESPACE}/agents", limit=2)).json()
        assert await names(cursor=first["next"]) == ["slow"]
        assert (await held.get(f"{NAMESPACE}/agents/rules")).json()["capabilities"][0]["name"] == "apply-rules"
        assert (await held.get(f"{NAMESPACE}/agents/none")).status_code == 404
        assert (await held.get(f"{NAMESPACE}/agents", type="robot")).json()["field"] == "type"
        held.registry.workflows.changed(
            "ADDED",
            {
                "metadata": {"name": "pipeline", "namespace": "lab"},
                "spec": {"tasks": [{}]},
                "status": {"phase": "Published"},
            },
        )
        found = (await held.get(f"{NAMESPACE}/workflows", published=True)).json()["items"]
        assert [(item["name"], item["phase"], item["tasks"]) for item in found] == [("pipeline", "Published", 1)]


async def test_logs_come_from_the_pod_of_the_task(records_url: str) -> None:
    async with gateway(records_url) as held:
        tasks = {"ingest": {"phase": "Running", "pod": "p1"}, "score": {"phase": "Pending"}}
        put(held, execution("x1", tasks=tasks))
        answer = await held.get(f"{NAMESPACE}/executions/x1/logs")  # of the only task that has a pod
        assert answer.status_code == 404  # the pod is gone
        assert "p1" in answer.json()["detail"]
        assert (await held.get(f"{NAMESPACE}/executions/x1/logs", task="score")).status_code == 404
        assert (await held.get(f"{NAMESPACE}/executions/x1/logs", task="nothing")).status_code == 404
