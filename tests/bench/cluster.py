"""What the benchmark does to the cluster, and takes back.

A namespace a scenario, the fake node, and the scale of Deployments. All of it is found by name or
label, so that a run also takes back what a killed one left.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound
from ossa.kube.config import load_config
from tests.bench.errors import BenchError
from tests.bench.node import LEASES
from tests.bench.progress import say
from tests.bench.workloads import NODE

JSONObject = dict[str, Any]

SYSTEM, DEPLOYMENT = "ossa-system", "ossa-reconciler"
GATEWAY, MONITOR = "ossa-gateway", "ossa-monitor"
LABEL = "bench.ossa.example/run"
# On the Deployment while it is scaled down: how many replicas it had.
ANNOTATION_REPLICAS = "bench.ossa.example/replicas"
GONE_SECONDS = 300.0
# A gateway lets its clients go elsewhere before it ends.
END_SECONDS = 90.0
# The controller-manager may be busy with the pods of the scenario before.
NODE_SECONDS = 180.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """Two clients of one API server: the administrator's, and the reconciler's own account."""

    admin: ApiClient
    operator: ApiClient
    environment: dict[str, str]  # of the reconciler

    async def counters(self) -> str:
        """The API server's own metrics."""
        return await self.admin.text("/metrics")

    @asynccontextmanager
    async def namespace(self, scenario: str) -> AsyncIterator[str]:
        """A namespace of its own, removed at the end with all that is in it."""
        body = {"metadata": {"generateName": f"bench-{scenario}-", "labels": {LABEL: scenario}}}
        made = await self.admin.post(paths.core("namespaces"), {"apiVersion": "v1", "kind": "Namespace", **body})
        name = str(made["metadata"]["name"])
        try:
            await self._until_account(name)
            yield name
        finally:
            await remove_namespaces(self.admin, [name])

    async def _until_account(self, namespace: str) -> None:
        """Pods are refused before the namespace has its service account."""
        while True:
            try:
                await self.admin.get(paths.core("serviceaccounts", namespace, "default"))
            except NotFound:
                await asyncio.sleep(0.1)
            else:
                return


async def remove_namespaces(api: ApiClient, names: list[str]) -> None:
    """Deletes them and waits until they are gone, so that the next scenario does not pay for it."""
    for name in names:
        try:
            await api.delete(paths.core("namespaces", name=name))
        except NotFound:
            continue
    began = time.monotonic()
    left = list(names)
    while left and time.monotonic() - began < GONE_SECONDS:
        await asyncio.sleep(0.5)
        found = await api.get(paths.core("namespaces"), {"labelSelector": LABEL})
        left = sorted({item["metadata"]["name"] for item in found["items"]} & set(names))
    if left:
        say(f"namespaces {', '.join(left)} are still being removed after {GONE_SECONDS:.0f} s")


async def remove_leftovers(api: ApiClient) -> None:
    """What a run that was killed has left."""
    found = await api.get(paths.core("namespaces"), {"labelSelector": LABEL})
    names = [item["metadata"]["name"] for item in found["items"]]
    if names:
        say(f"removing what an earlier run left: {', '.join(names)}")
    await remove_namespaces(api, names)
    await remove_node(api)


async def remove_node(api: ApiClient, name: str = NODE) -> None:
    """The Node object and its Lease."""
    for path in (paths.core("nodes", name=name), f"{LEASES}/{name}"):
        try:
            await api.delete(path)
        except NotFound:
            continue


async def until_node_is_ready(api: ApiClient, name: str = NODE) -> None:
    """The fake node is born with the taint not-ready, which the node controller takes off."""
    began = time.monotonic()
    while time.monotonic() - began < NODE_SECONDS:
        try:
            node = await api.get(paths.core("nodes", name=name))
        except NotFound:
            node = {"spec": {"taints": [{"key": "node.kubernetes.io/absent"}]}}
        if not any(taint["key"].startswith("node.kubernetes.io/") for taint in node["spec"].get("taints") or []):
            return
        await asyncio.sleep(0.1)
    raise BenchError(f"the fake node {name} does not become ready: does the controller-manager run?")


@asynccontextmanager
async def scaled_down(api: ApiClient, name: str = DEPLOYMENT) -> AsyncIterator[None]:
    """Without the pods of a Deployment of the installation, which come back at the end."""
    path = paths.apps("deployments", SYSTEM, name)
    try:
        found = await api.get(path)
    except NotFound as error:
        raise BenchError(f"there is no Deployment {SYSTEM}/{name}: run `make up` first") from error
    held = (found["metadata"].get("annotations") or {}).get(ANNOTATION_REPLICAS)
    replicas = int(held) if held is not None else int(found["spec"]["replicas"])
    # Both in one write: a run that dies after it leaves the number behind.
    await api.patch(path, {"metadata": {"annotations": {ANNOTATION_REPLICAS: str(replicas)}}, "spec": {"replicas": 0}})
    say(f"{name} in the cluster is scaled down")
    try:
        await _until_gone(api, name, found["spec"]["selector"]["matchLabels"])
        yield
    finally:
        back = {"metadata": {"annotations": {ANNOTATION_REPLICAS: None}}, "spec": {"replicas": replicas}}
        await api.patch(path, back)
        say(f"{name} in the cluster is back")


async def _until_gone(api: ApiClient, name: str, labels: dict[str, str]) -> None:
    selector = {"labelSelector": ",".join(f"{key}={value}" for key, value in labels.items())}
    began = time.monotonic()
    while (await api.get(paths.core("pods", SYSTEM), selector))["items"]:
        if time.monotonic() - began > END_SECONDS:
            raise BenchError(f"{name} in the cluster does not end")
        await asyncio.sleep(0.3)


async def installed(api: ApiClient, names: Sequence[str]) -> list[str]:
    """Those of these Deployments that the installation has."""
    found = await api.get(paths.apps("deployments", SYSTEM))
    return [name for name in names if name in {item["metadata"]["name"] for item in found["items"]}]


@asynccontextmanager
async def cluster(environment: dict[str, str], token: str, *, without: Sequence[str] = ()) -> AsyncIterator[Cluster]:
    """Ready to be measured: no leftovers, and no reconciler but the one that is measured. `token` is its account's.

    without: Deployments that are scaled down too, where they are installed.
    """
    config = load_config()
    account = replace(config, token=lambda: token, cert_file=None, key_file=None)
    async with ApiClient(config) as admin, ApiClient(account) as operator, AsyncExitStack() as stack:
        for name in (DEPLOYMENT, *await installed(admin, without)):
            await stack.enter_async_context(scaled_down(admin, name))
        await remove_leftovers(admin)
        try:
            yield Cluster(admin, operator, environment)
        finally:
            await remove_node(admin)


async def until_published(api: ApiClient, namespace: str, workflow: str, seconds: float = 60.0) -> None:
    """Waits until executions of the workflow can start."""
    began = time.monotonic()
    status: JSONObject = {}
    while time.monotonic() - began < seconds:
        try:
            status = (await api.get(paths.ossa("workflows", namespace, workflow))).get("status") or {}
        except ApiError as error:
            if not error.transient:
                raise
        if status.get("phase") == "Published":
            return
        await asyncio.sleep(0.1)
    raise BenchError(f"workflow {workflow} is not published: {status.get('message') or 'nobody looked at it'}")
