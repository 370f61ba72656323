"""What is written down of a resource, as the API server has it: pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_AUTHOR,
    ANNOTATION_CREATED_BY,
    ANNOTATION_REQUEST_ID,
    ANNOTATION_SPEC_CHANGED_BY,
)
from ossa.api.trace import trace_of
from ossa.engine.states import is_finished


@dataclass(frozen=True, slots=True)
class Common:
    """Of every object."""

    id: str
    namespace: str
    name: str
    author: str | None
    created_at: str
    resource_version: int


@dataclass(frozen=True, slots=True)
class AgentRecord(Common):
    type: str
    version: str
    status: str
    capabilities: list[JSONObject]
    config: JSONObject


@dataclass(frozen=True, slots=True)
class WorkflowRecord(Common):
    version: str
    status: str
    definition: JSONObject


@dataclass(frozen=True, slots=True)
class PolicyRecord(Common):
    action: str
    severity: str
    status: str
    generation: int
    definition: JSONObject


@dataclass(frozen=True, slots=True)
class ExecutionRecord(Common):
    workflow: str
    status: str
    finished: bool
    started_at: str | None
    completed_at: str | None
    context: JSONObject
    results: JSONObject | None
    error: JSONObject | None
    progress: str
    message: str | None
    attempt: int
    request_id: str | None
    trace_id: str | None


@dataclass(frozen=True, slots=True)
class ApprovalRecord(Common):
    execution_id: str
    task: str
    round: int
    attempt: int
    status: str
    message: str
    definition: JSONObject
    expires_at: str | None
    decided_at: str | None


@dataclass(frozen=True, slots=True)
class DecisionRecord:
    """What one user decided about an Approval."""

    approval_id: str
    namespace: str
    execution_id: str
    task: str
    author: str
    verdict: str
    reason: str
    decided_at: str | None


def agent_record(item: JSONObject) -> AgentRecord:
    """Of an Agent."""
    spec, status = _part(item, "spec"), _part(item, "status")
    return AgentRecord(
        **_common(item),
        type=str(spec.get("type", "worker")),
        version=str(spec.get("version", "0.0.0")),
        status=_ready(status),
        capabilities=spec.get("capabilities") or [],
        config={key: value for key, value in spec.items() if key not in ("type", "version", "capabilities")},
    )


def workflow_record(item: JSONObject) -> WorkflowRecord:
    """Of a Workflow."""
    spec, status = _part(item, "spec"), _part(item, "status")
    return WorkflowRecord(
        **_common(item),
        version=str(spec.get("version", "0.0.0")),
        status=str(status.get("phase", "Draft")),
        definition=spec,
    )


def policy_record(item: JSONObject) -> PolicyRecord:
    """Of an AgentPolicy."""
    spec = _part(item, "spec")
    return PolicyRecord(
        **_common(item),
        action=str(spec.get("action", "Enforce")),
        severity=str(spec.get("severity", "medium")),
        status=_ready(_part(item, "status")),
        generation=int(item["metadata"].get("generation", 0)),
        definition=spec,
    )


def execution_record(item: JSONObject) -> ExecutionRecord:
    """Of an Execution, without its tasks."""
    spec, status, held = _part(item, "spec"), _part(item, "status"), _annotations(item)
    return ExecutionRecord(
        **_common(item),
        workflow=str(spec.get("workflow") or ""),
        status=str(status.get("phase") or "Pending"),
        finished=is_finished(status),
        started_at=status.get("startedAt"),
        completed_at=status.get("completedAt"),
        context={
            **spec,
            "inputs": status.get("inputs") or spec.get("inputs") or {},
            "revision": status.get("revision"),
        },
        results=status.get("outputs"),
        error=status.get("error"),
        progress=str(status.get("progress") or ""),
        message=status.get("message"),
        attempt=round_of(item),
        request_id=held.get(ANNOTATION_REQUEST_ID),
        trace_id=trace_of(held, item["metadata"]["uid"], status.get("traceId")).trace_id,
    )


def round_of(item: JSONObject) -> int:
    """Attempt of the Execution."""
    return int(_part(item, "status").get("attempt") or 1)


def approval_record(item: JSONObject) -> ApprovalRecord:
    """Of an Approval, without its decisions."""
    spec, status = _part(item, "spec"), _part(item, "status")
    return ApprovalRecord(
        **_common(item),
        execution_id=str(spec["execution"]["uid"]),
        task=str(spec["task"]),
        round=int(spec.get("round", 1)),
        attempt=int(spec.get("attempt", 1)),
        status=str(status.get("state") or "Pending"),
        message=str(spec.get("message", "")),
        definition=spec,
        expires_at=spec.get("expiresAt"),
        decided_at=status.get("decidedAt"),
    )


def decision_records(item: JSONObject) -> list[DecisionRecord]:
    """What was decided about an Approval."""
    spec, status = _part(item, "spec"), _part(item, "status")
    return [
        DecisionRecord(
            approval_id=item["metadata"]["uid"],
            namespace=item["metadata"].get("namespace", ""),
            execution_id=str(spec["execution"]["uid"]),
            task=str(spec["task"]),
            author=user,
            verdict=str(decision.get("verdict", "")),
            reason=str(decision.get("reason", "")),
            decided_at=status.get("decidedAt"),
        )
        for user, decision in (item.get("decisions") or {}).items()
    ]


def _common(item: JSONObject) -> dict[str, Any]:
    metadata, held = item["metadata"], _annotations(item)
    author = held.get(ANNOTATION_CREATED_BY) or held.get(ANNOTATION_SPEC_CHANGED_BY) or held.get(ANNOTATION_AUTHOR)
    return {
        "id": metadata["uid"],
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "author": author or None,
        "created_at": metadata["creationTimestamp"],
        "resource_version": int(metadata["resourceVersion"]),
    }


def _part(item: JSONObject, name: str) -> JSONObject:
    part: JSONObject = item.get(name) or {}
    return part


def _annotations(item: JSONObject) -> dict[str, str]:
    held: dict[str, str] = item["metadata"].get("annotations") or {}
    return held


def _ready(status: JSONObject) -> str:
    return {"True": "Ready", "False": "NotReady"}.get(status.get("ready", ""), "Unknown")
