"""The cluster that all tests share."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from controllers.leading import LEASE
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound

SYSTEM_NAMESPACE = "ossa-system"
RECONCILER = "ossa-reconciler"


@dataclass(frozen=True, slots=True)
class Cluster:
    """A connection to the API server, and what the installation there says of itself.

    worker_image: the image of agents with a handler.
    shell_image: an image with /bin/sh that is on the nodes already; $OSSA_E2E_SHELL_IMAGE, or the worker image.
    """

    api: ApiClient
    worker_image: str
    shell_image: str
    system_namespace: str = SYSTEM_NAMESPACE

    async def lease(self) -> dict[str, Any]:
        """What the Lease of the reconcilers says: holderIdentity, leaseTransitions, …"""
        spec: dict[str, Any] = (await self.api.get(paths.leases(self.system_namespace, LEASE)))["spec"]
        return spec

    async def leader(self) -> str:
        """The pod that the Lease names, which may be gone; empty while nobody leads."""
        return str((await self.lease()).get("holderIdentity", "")).rsplit("_", 1)[0]

    async def is_well(self) -> bool:
        """Whether every part of the installation is as it is wanted, no pod more, and one of the reconcilers leads."""
        kinds = ("deployments", "statefulsets")
        workloads = [
            item for kind in kinds for item in (await self.api.get(paths.apps(kind, self.system_namespace)))["items"]
        ]
        pods = (await self.api.get(paths.core("pods", self.system_namespace)))["items"]
        wanted = sum(item["spec"]["replicas"] for item in workloads)
        available = sum(item["status"].get("availableReplicas", 0) for item in workloads)
        led = await self.leader() in {pod["metadata"]["name"] for pod in pods}
        return led and len(pods) == wanted == available and all(map(is_ready, pods))


def is_ready(pod: dict[str, Any]) -> bool:
    """Whether a pod is Ready."""
    return any(c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or [])


async def connect(api: ApiClient) -> Cluster:
    """The installation that the API server holds. Raises AssertionError where there is none."""
    try:
        deployment = await api.get(paths.apps("deployments", SYSTEM_NAMESPACE, RECONCILER))
    except NotFound as error:
        raise AssertionError("OSSA is not installed on this cluster; run `make up` first") from error
    worker_image = _environment(deployment)["OSSA_WORKER_IMAGE"]
    return Cluster(api, worker_image, os.environ.get("OSSA_E2E_SHELL_IMAGE") or worker_image)


def _environment(deployment: dict[str, Any]) -> dict[str, str]:
    pod = deployment["spec"]["template"]["spec"]
    return {item["name"]: item.get("value", "") for container in pod["containers"] for item in container["env"]}
