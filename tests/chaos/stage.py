"""What a run leaves, taken away: at its end, and at the beginning of the next one where it was killed."""

from __future__ import annotations

import asyncio
from typing import NoReturn

from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound
from tests.bench.cluster import DEPLOYMENT, LABEL, SYSTEM, remove_node
from tests.bench.errors import BenchError
from tests.chaos.workloads import NODES


async def take_pods_away(api: ApiClient, namespace: str) -> None:
    """All pods of a namespace, at once: no kubelet is there to end them."""
    try:
        await api.delete(paths.core("pods", namespace), {"gracePeriodSeconds": "0"})
    except ApiError as error:
        if not isinstance(error, NotFound) and not error.transient:
            raise


async def remove_remains(api: ApiClient) -> None:
    """Pods and nodes of an earlier run; its namespace and the reconciler's scale are then taken back as a bench's."""
    found = await api.get(paths.core("namespaces"), {"labelSelector": LABEL})
    for item in found["items"]:
        await take_pods_away(api, item["metadata"]["name"])
    for name in NODES:
        await remove_node(api, name)


async def stay_alone(api: ApiClient, every: float = 5.0) -> NoReturn:
    """Runs until cancelled, or until the Deployment is scaled up by somebody else: its reconcilers then lead.

    Raises:
        BenchError: it was.
    """
    while True:
        await asyncio.sleep(every)
        try:
            found = await api.get(paths.apps("deployments", SYSTEM, DEPLOYMENT))
        except ApiError:
            continue
        if found["spec"]["replicas"]:
            raise BenchError(f"Deployment {SYSTEM}/{DEPLOYMENT} was scaled up meanwhile: what ran is no evidence")
