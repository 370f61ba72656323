"""Who reads and changes what, and what there is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from ossa.store.records.write import Write, write
from tests.unit.gateway.lab import CREATE, EXECUTIONS, Lab, lab

NAMESPACE = "/api/v1/namespaces/lab"
READER = [
    (verb, kind, "lab")
    for verb in ("get", "list")
    for kind in ("executions", "executions/logs", "approvals", "agents", "workflows")
]
EDITOR = [*READER, CREATE, ("update", "executions", "lab"), ("patch", "approvals", "lab")]
APPROVALS = "/apis/ossa.dev/v1alpha1/namespaces/{}/approvals"


@asynccontextmanager
async def gateway(records_url: str, **settings: Any) -> AsyncIterator[Lab]:
    """Alice may do everything in namespace lab, bob in namespace other."""
    async with lab(records_url, **settings) as made:
        made.people.add("alice", *EDITOR)
        made.people.add("bob", *((verb, kind, "other") for verb, kind, _ in EDITOR))
        yield made


def execution(name: str, namespace: str = "lab", **status: Any) -> dict[str, Any]:
    annotations = {"ossa.dev/created-by": "ossa:alice", "ossa.dev/request-id": f"request-{name}"}
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": {"name": name, "namespace": namespace, "annotations": annotations},
        "spec": {"workflow": "pipeline", "inputs": {"dataset": "wine"}},
        "status": {"phase": "Running", "progress": "1/2", **status},
    }


def put(held: Lab, *items: dict[str, Any]) -> None:
    for item in items:
        held.cluster.create(EXECUTIONS.format(item["metadata"]["namespace"]), item)


async def record(held: Lab, *items: dict[str, Any]) -> None:
    """As the recorder does."""
    async with held.records.connection() as connection:
        for number, item in enumerate(items, start=1):
            metadata = {
                "uid": f"00000000-0000-0000-0000-{number:012d}",
                "resourceVersion": str(number),
                "creationTimestamp": f"2026-01-01T00:00:{number:02d}Z",
                **item["metadata"],
            }
            await write(
                connection, [Write("executions", metadata["uid"], number, None, {**item, "metadata": metadata})]
            )


def approval(name: str, task: str = "release", **more: Any) -> dict[str, Any]:
    spec = {
        "execution": {"name": "x1", "uid": "u"}, "task": task, "message": "Release?",
        "approverGroups": ["ossa:board"], "author": "ossa:alice", "expiresAt": "2030-01-01T00:00:00Z",
    }  # fmt: skip
    labels = {"ossa.dev/execution": "x1"}
    metadata = {"name": name, "namespace": "lab", "labels": labels}
    return {"apiVersion": "ossa.dev/v1alpha1", "kind": "Approval", "metadata": metadata, "spec": spec, **more}
