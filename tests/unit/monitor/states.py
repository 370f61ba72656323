"""Executions as tests of the monitor have them: JSON as the API server gives it."""

from __future__ import annotations

from typing import Any

from ossa.api.base import JSONObject

UID = "0b5f3c5e-7d0e-4c5a-9b0c-0f6c1f0a55a1"
FINISHED = [{"type": "Finished", "status": "True", "reason": "Completed"}]


def execution(
    phase: str = "Running", version: int = 1, *, uid: str = UID, tasks: JSONObject | None = None, **status: Any
) -> JSONObject:
    """One state of an Execution of the workflow `flow`; `tasks` by name."""
    metadata = {
        "name": "run",
        "namespace": "team",
        "uid": uid,
        "resourceVersion": str(version),
        "creationTimestamp": "2026-01-01T12:00:00Z",
    }
    return {
        "apiVersion": "ossa.dev/v1alpha1",
        "kind": "Execution",
        "metadata": metadata,
        "spec": {"workflow": "flow"},
        "status": {"phase": phase, "tasks": tasks or {}, **status},
    }


def approval(state: str = "Pending", version: int = 1, *, decisions: JSONObject | None = None) -> JSONObject:
    """One state of an Approval of that Execution."""
    return {
        "metadata": {
            "name": "run-release",
            "namespace": "team",
            "uid": "approval-uid",
            "resourceVersion": str(version),
            "creationTimestamp": "2026-01-01T12:00:00Z",
        },
        "spec": {"execution": {"name": "run", "uid": UID}, "task": "release", "message": "Release?"},
        "decisions": decisions or {},
        "status": {"state": state},
    }
