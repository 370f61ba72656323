"""What is left of an execution that has ended, where a reconciler died right after it wrote that."""

from __future__ import annotations

import asyncio
from typing import Any

from ossa.api.contract import ANNOTATION_IDENTITY, API_VERSION, TaskIdentity
from tests.unit.controllers.apiserver import ApiServer
from tests.unit.controllers.lives import EXECUTIONS, PODS, reconciler


async def test_pods_that_still_run_go_and_those_that_have_ended_stay() -> None:
    cluster = ApiServer()
    status = {
        "phase": "Failed",
        "completedAt": "2126-01-01T12:00:00Z",  # a moment ago, so that its pods are still kept
        "tasks": {name: {"phase": "Failed", "attempt": 1, "pod": name} for name in ("runs", "ended")},
    }
    meta = {"name": "run", "namespace": "lab"}
    execution = {"apiVersion": API_VERSION, "kind": "Execution", "metadata": meta, "spec": {"workflow": "flow"}}
    made = cluster.create(EXECUTIONS, {**execution, "status": status})

    def pod(name: str, phase: str) -> dict[str, Any]:
        uid = made["metadata"]["uid"]
        identity = TaskIdentity(namespace="lab", execution="run", uid=uid, workflow="flow", task=name)
        annotations = {ANNOTATION_IDENTITY: identity.model_dump_json()}
        metadata = {"name": name, "namespace": "lab", "annotations": annotations}
        containers = {"containers": [{"name": "main"}]}
        return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": containers, "status": {"phase": phase}}

    for name, phase in (("runs", "Running"), ("ended", "Failed")):
        cluster.create(PODS, pod(name, phase))
    async with cluster.served() as config, reconciler(config), asyncio.timeout(5):
        while f"{PODS}/runs" in cluster.objects:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert f"{PODS}/ended" in cluster.objects
