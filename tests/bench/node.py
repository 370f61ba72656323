"""The fake node: a process that ends the pods of one namespace that are bound to it, as soon as it sees them.

    .venv/bin/python -m tests.bench.node NAMESPACE

A pod that is bound becomes Succeeded, with the output that its annotation gives; one that is being deleted goes. A Node
object and a Lease make the control plane believe in it. It runs until it is ended, and its parent takes both away.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound
from ossa.kube.config import load_config
from ossa.kube.watch import list_and_watch
from tests.bench.workloads import ANNOTATION_OUTPUT, IMAGE, NODE, TAINT

JSONObject = dict[str, Any]

LEASE_SECONDS, RENEW_SECONDS = 40, 10.0
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
TRIES = 5


def node_object(name: str = NODE, labels: Mapping[str, str] = MappingProxyType({})) -> JSONObject:
    """Ready from its birth, and tainted, so that nothing else lands on it."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    room = {"cpu": "1000", "memory": "1Ti", "pods": "100000", "ephemeral-storage": "1Ti"}
    ready = {
        "type": "Ready",
        "status": "True",
        "reason": "Fake",
        "message": "a test's",
        "lastHeartbeatTime": now,
        "lastTransitionTime": now,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name, "kubernetes.io/os": "linux", **labels}},
        "spec": {"taints": [{"key": TAINT, "value": "true", "effect": "NoSchedule"}]},
        "status": {"capacity": room, "allocatable": room, "conditions": [ready], "nodeInfo": _node_info()},
    }


def _node_info() -> JSONObject:
    names = ("machineID", "systemUUID", "bootID", "kernelVersion", "osImage", "containerRuntimeVersion")
    return {
        **dict.fromkeys((*names, "kubeletVersion", "kubeProxyVersion"), "fake"),
        "operatingSystem": "linux",
        "architecture": "amd64",
    }


def succeeded(output: str, now: str) -> JSONObject:
    """The patch of a pod's status by which a kubelet says that `main` wrote `output` and exited with 0."""
    terminated = {
        "exitCode": 0,
        "reason": "Completed",
        "message": output,
        "startedAt": now,
        "finishedAt": now,
    }
    main = {
        "name": "main",
        "image": IMAGE,
        "imageID": "",
        "ready": False,
        "restartCount": 0,
        "state": {"terminated": terminated},
    }
    return {"status": {"phase": "Succeeded", "startTime": now, "containerStatuses": [main]}}


class FakeNode:
    """A `Listener` of the pods that are bound to it."""

    def __init__(self, api: ApiClient, namespace: str) -> None:
        self._api = api
        self._namespace = namespace
        self._handled: set[tuple[str, bool]] = set()  # UID, whether for its deletion
        self._tasks: set[asyncio.Task[None]] = set()

    def replaced(self, items: list[JSONObject], version: int) -> None:  # noqa: ARG002 - of the interface
        for item in items:
            self.changed("ADDED", item)

    def changed(self, kind: str, item: JSONObject) -> None:
        metadata = item["metadata"]
        if kind == "DELETED":
            self._handled -= {(metadata["uid"], True), (metadata["uid"], False)}
            return
        deleting = "deletionTimestamp" in metadata
        ended = (item.get("status") or {}).get("phase") in ("Succeeded", "Failed")
        key = (metadata["uid"], deleting)
        if key in self._handled or (ended and not deleting):
            return
        self._handled.add(key)
        output = (metadata.get("annotations") or {}).get(ANNOTATION_OUTPUT, "")
        task = asyncio.create_task(self._remove(metadata["name"]) if deleting else self._end(metadata["name"], output))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    async def _end(self, name: str, output: str) -> None:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        for number in range(TRIES):
            try:
                await self._api.patch(paths.core("pods", self._namespace, name, "status"), succeeded(output, now))
            except NotFound:
                return
            except ApiError as error:
                print(f"fake node: pod {name}: {error}", file=sys.stderr)
                await asyncio.sleep(0.1 * 2**number)
            else:
                return

    async def _remove(self, name: str) -> None:
        try:
            await self._api.delete(paths.core("pods", self._namespace, name), {"gracePeriodSeconds": "0"})
        except NotFound:
            return


async def beat(api: ApiClient) -> None:
    """Keeps the Lease fresh, by which the node controller judges the node."""
    while True:
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")
        spec = {"holderIdentity": NODE, "leaseDurationSeconds": LEASE_SECONDS, "renewTime": now}
        try:
            await api.patch(f"{LEASES}/{NODE}", {"spec": spec})
        except NotFound:
            lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": NODE}, "spec": spec}
            await api.post(LEASES, lease)
        await asyncio.sleep(RENEW_SECONDS)


async def appear(api: ApiClient) -> None:
    """The Node is there and ready, also the one of the scenario before, which nobody has kept alive meanwhile."""
    node = node_object()
    try:
        await api.post(paths.core("nodes"), node)
    except Conflict:
        ready = {"status": {"conditions": node["status"]["conditions"]}}
        await api.patch(paths.core("nodes", name=NODE) + "/status", ready)


async def serve(namespace: str) -> None:
    """Runs until it is ended."""
    async with ApiClient(load_config()) as api, asyncio.TaskGroup() as group:
        await appear(api)
        node = FakeNode(api, namespace)
        group.create_task(beat(api))
        group.create_task(
            list_and_watch(api, paths.core("pods", namespace), {"fieldSelector": f"spec.nodeName={NODE}"}, node)
        )


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
