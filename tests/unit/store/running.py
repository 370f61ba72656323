"""The real artifact service on a local port, with an answer to what it would ask a cluster."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_IDENTITY,
    ANNOTATION_INPUT,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    TaskIdentity,
)
from ossa.store.access import Caller, Verb
from ossa.store.blobs import Blobs
from ossa.store.errors import Unavailable
from ossa.store.service import Service
from ossa.store.signing import Signer

KEY = b"k" * 32
NAMESPACE = "lab"
RECONCILER = "system:serviceaccount:ossa-system:ossa-reconciler"
EXECUTION_UID = "0e7c2f9e-1111-4a4a-9e9e-000000000001"


@dataclass
class Cluster:
    """Tokens, pods and rights as a cluster would know them. `token` of a pod is its name."""

    pods: dict[tuple[str, str], JSONObject] = field(default_factory=dict)
    persons: dict[str, frozenset[str]] = field(default_factory=dict)
    executions: dict[str, frozenset[str]] = field(default_factory=dict)
    taken_over: dict[str, tuple[str, ...]] = field(default_factory=dict)
    down: bool = False
    reviews: int = 0
    access_reviews: int = 0
    lists: int = 0

    def add_pod(
        self,
        name: str,
        *,
        task_input: JSONObject | None = None,
        namespace: str = NAMESPACE,
        execution_uid: str = EXECUTION_UID,
        lineage: tuple[str, ...] = (),
    ) -> str:
        """A running pod of a task; its token."""
        identity = TaskIdentity(
            namespace=namespace, execution="run", uid=execution_uid, workflow="w", task=f"task-{name}", lineage=lineage
        )
        self.pods[namespace, name] = {
            "metadata": {
                "name": name,
                "namespace": namespace,
                "uid": f"uid-{name}",
                "labels": {LABEL_MANAGED_BY: MANAGED_BY},
                "annotations": {
                    ANNOTATION_IDENTITY: identity.model_dump_json(),
                    ANNOTATION_INPUT: json.dumps(task_input or {}),
                },
            },
            "status": {"phase": "Running"},
        }
        return f"{namespace}/{name}"

    async def review(self, token: str) -> Caller | None:
        self._require_up()
        self.reviews += 1
        namespace, _, name = token.partition("/")
        if token in (*self.persons, RECONCILER):
            return Caller(username=token)
        if (namespace, name) not in self.pods:
            return None
        return Caller(
            username=f"system:serviceaccount:{namespace}:default",
            namespace=namespace,
            pod_name=name,
            pod_uid=f"uid-{name}",
        )

    async def pod(self, namespace: str, name: str) -> JSONObject | None:
        self._require_up()
        return self.pods.get((namespace, name))

    async def may(self, caller: Caller, verb: Verb, namespace: str) -> bool:
        self._require_up()
        self.access_reviews += 1
        return self.allows(caller.username, verb, namespace)

    def allows(self, username: str, verb: str, namespace: str) -> bool:
        """`persons` may read in these namespaces; the reconciler writes too, in all."""
        return username == RECONCILER or (verb == "get" and namespace in self.persons.get(username, frozenset()))

    async def lineages(self, namespace: str) -> Mapping[str, tuple[str, ...]]:
        self._require_up()
        self.lists += 1
        return {uid: self.taken_over.get(uid, ()) for uid in self.executions.get(namespace, frozenset())}

    def _require_up(self) -> None:
        if self.down:
            raise Unavailable("the API server does not answer")


@dataclass
class Running:
    """A service that answers at `url`, and what is behind it."""

    url: str
    port: int
    cluster: Cluster
    service: Service
    data: Path

    def objects(self) -> list[str]:
        """What lies in the storage, uploads that are under way included."""
        return sorted(str(path.relative_to(self.data)) for path in self.data.rglob("*") if path.is_file())


@asynccontextmanager
async def running(
    data: Path,
    *,
    cluster: Cluster | None = None,
    max_size: int = 64 << 20,
    body_timeout: float = 5.0,
    port: int = 0,
) -> AsyncIterator[Running]:
    """The service over the folder `data`, until the block ends."""
    cluster = cluster or Cluster()
    data.mkdir(exist_ok=True)  # noqa: ASYNC240 - a test's own folder
    service = Service(
        blobs=Blobs.open(data.as_uri()),
        access=cluster,
        signer=Signer(KEY),
        max_size=max_size,
        body_timeout=body_timeout,
    )
    runner = web.AppRunner(service.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        bound = runner.addresses[0][1]
        yield Running(f"http://127.0.0.1:{bound}", bound, cluster, service, data)
    finally:
        await runner.cleanup()
