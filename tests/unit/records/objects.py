"""Resources as the API server has them."""

from __future__ import annotations

import uuid
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION

CREATED = "2026-11-20T10:00:00Z"


def uid(name: str) -> str:
    """The same for the same name."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, name))


def resource(kind: str, name: str, *, version: int = 1, **more: Any) -> JSONObject:
    """An object of a kind in the namespace `lab`; `more` are its parts, `metadata` is merged."""
    metadata = {
        "name": name,
        "namespace": "lab",
        "uid": uid(f"{kind}/{name}"),
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": CREATED,
        "annotations": {"ossa.dev/created-by": "ossa:alice"},
        **more.pop("metadata", {}),
    }
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": metadata, **more}


def agent(name: str, *, version: int = 1, ready: str = "True") -> JSONObject:
    """An Agent with one capability."""
    spec = {"type": "worker", "version": "1.2.0", "capabilities": [{"name": "run"}], "runtime": {"handler": "a:b"}}
    return resource("Agent", name, version=version, spec=spec, status={"ready": ready})


def workflow(name: str, *, version: int = 1, phase: str = "Published") -> JSONObject:
    """A Workflow of one task."""
    spec = {"version": "1.0.0", "tasks": [{"name": "one", "agent": "worker"}]}
    return resource("Workflow", name, version=version, spec=spec, status={"phase": phase})


def execution(
    name: str,
    *,
    version: int = 1,
    phase: str = "Running",
    tasks: JSONObject | None = None,
    status: JSONObject | None = None,
    metadata: JSONObject | None = None,
) -> JSONObject:
    """An Execution of the Workflow `pipeline`."""
    finished = {"type": "Finished", "status": "True", "reason": phase, "lastTransitionTime": CREATED}
    conditions = [finished] if phase == "Completed" else []
    return resource(
        "Execution",
        name,
        version=version,
        metadata=metadata or {},
        spec={"workflow": "pipeline", "inputs": {"dataset": "wine"}},
        status={
            "phase": phase,
            "startedAt": CREATED,
            "progress": "0/1",
            "tasks": tasks if tasks is not None else {"one": task()},
            "conditions": conditions,
            **(status or {}),
        },
    )


def task(phase: str = "Running", attempt: int = 1, **more: Any) -> JSONObject:
    """Where a task stands."""
    return {"phase": phase, "attempt": attempt, "pod": f"pod-{attempt}", "startedAt": CREATED, **more}


def approval(name: str, of: JSONObject, *, version: int = 1, decisions: JSONObject | None = None) -> JSONObject:
    """An Approval that an Execution waits for."""
    spec = {
        "execution": {"name": of["metadata"]["name"], "uid": of["metadata"]["uid"]},
        "task": "release",
        "message": "Release?",
        "approverGroups": ["risk-board"],
        "count": 1,
        "expiresAt": "2026-11-21T10:00:00Z",
    }
    state = "Approved" if decisions else "Pending"
    return resource("Approval", name, version=version, spec=spec, decisions=decisions or {}, status={"state": state})
