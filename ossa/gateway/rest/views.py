"""Objects of the cluster, and rows of the records, as the API shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ValidationError

from ossa.api.approval import Approval
from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_REQUEST_ID, ANNOTATION_TRACEPARENT
from ossa.api.execution import AttemptStatus, ExecutionStatus, TaskStatus
from ossa.api.gateway import AgentView, ApprovalView, ExecutionSummary, ExecutionView, TaskView, WorkflowView
from ossa.engine.authors import author_of
from ossa.engine.states import is_finished
from ossa.store.records.queries import ExecutionDetail, ExecutionRow, TaskRow


def execution_summary(item: JSONObject) -> ExecutionSummary:
    """Of an Execution."""
    return ExecutionSummary.model_validate(_execution(item))


def execution_view(item: JSONObject) -> ExecutionView:
    """Of an Execution, whole."""
    spec, status = _part(item, "spec"), _part(item, "status")
    return ExecutionView.model_validate(
        {
            **_execution(item),
            "inputs": status.get("inputs") or spec.get("inputs") or {},
            "outputs": status.get("outputs"),
            "error": status.get("error"),
            "suspend": spec.get("suspend", False),
            "cancel": spec.get("cancel", False),
            "retryOf": spec.get("retryOf"),
            "resourceVersion": item["metadata"].get("resourceVersion", ""),
        }
    )


def recorded_summary(row: ExecutionRow) -> ExecutionSummary:
    """Of what was recorded."""
    return ExecutionSummary.model_validate(_recorded(row))


def recorded_view(row: ExecutionDetail) -> ExecutionView:
    """Of what was recorded, whole."""
    spec = row.context
    return ExecutionView.model_validate(
        {
            **_recorded(row),
            "inputs": spec.get("inputs") or {},
            "outputs": row.results,
            "error": row.error,
            "suspend": spec.get("suspend", False),
            "cancel": spec.get("cancel", False),
            "retryOf": spec.get("retryOf"),
            "resourceVersion": str(row.resource_version),
        }
    )


def tasks_of(item: JSONObject) -> list[TaskView]:
    """Each task of an Execution, and the items of a forEach that its status tells of one by one."""
    status = ExecutionStatus.model_validate(_part(item, "status"))
    found: list[TaskView] = []
    for name, task in status.tasks.items():
        found.append(_task(name, task, None, task.output, status.attempt))
        found += _items(name, task, status.attempt)
    return found


def recorded_task(row: TaskRow) -> TaskView:
    """Of an attempt that was recorded."""
    return TaskView.model_validate(
        {
            "name": row.name,
            "index": row.index if row.index >= 0 else None,
            "phase": row.status,
            "round": row.round,
            "attempt": row.attempt,
            "agent": row.agent,
            "pod": row.pod,
            "startedAt": row.started_at,
            "completedAt": row.completed_at,
            "reason": row.reason,
            "exitCode": row.exit_code,
            "message": row.message,
            "output": row.output,
        }
    )


def agent_view(item: JSONObject) -> AgentView:
    """Of an Agent."""
    metadata, spec, status = item["metadata"], _part(item, "spec"), _part(item, "status")
    bad: JSONObject = next((held for held in status.get("conditions") or () if held.get("status") == "False"), {})
    return AgentView.model_validate(
        {
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "type": spec.get("type", "worker"),
            "version": spec.get("version", ""),
            "description": spec.get("description", ""),
            "owner": spec.get("owner", ""),
            "risk": spec.get("risk"),
            "capabilities": spec.get("capabilities") or [],
            "ready": status.get("ready") or "Unknown",
            "message": bad.get("message"),
        }
    )


def workflow_view(item: JSONObject) -> WorkflowView:
    """Of a Workflow."""
    metadata, spec, status = item["metadata"], _part(item, "spec"), _part(item, "status")
    return WorkflowView.model_validate(
        {
            "namespace": metadata.get("namespace", ""),
            "name": metadata["name"],
            "uid": metadata.get("uid", ""),
            "version": spec.get("version", ""),
            "description": spec.get("description", ""),
            "phase": status.get("phase") or "Draft",
            "revision": status.get("revision"),
            "tasks": status.get("tasks") or len(spec.get("tasks") or ()),
            "inputs": spec.get("inputs"),
            "message": status.get("message"),
        }
    )


def approval_view(item: Approval) -> ApprovalView:
    """Of an Approval."""
    return ApprovalView(
        name=item.metadata.name,
        execution=item.spec.execution.name,
        task=item.spec.task,
        attempt=item.spec.attempt,
        message=item.spec.message,
        state=item.status.state,
        approved=item.status.approved,
        approver_groups=item.spec.approver_groups,
        approver_users=item.spec.approver_users,
        expires_at=item.spec.expires_at,
    )


def parsed_approval(item: JSONObject) -> Approval | None:
    """An Approval of a list, whose items do not say what they are; None of one that a newer version has made."""
    try:
        return Approval.model_validate({"apiVersion": "", "kind": "Approval", **item})
    except ValidationError:
        return None


def _execution(item: JSONObject) -> JSONObject:
    metadata, spec, status = item["metadata"], _part(item, "spec"), _part(item, "status")
    held = metadata.get("annotations") or {}
    return {
        "namespace": metadata.get("namespace", ""),
        "name": metadata["name"],
        "uid": metadata.get("uid", ""),
        "workflow": spec.get("workflow") or "",
        "phase": status.get("phase") or "Pending",
        "finished": is_finished(status),
        "progress": status.get("progress") or "",
        "message": status.get("message"),
        "author": author_of("Execution", held) or None,
        "attempt": status.get("attempt") or 1,
        "createdAt": metadata["creationTimestamp"],
        "startedAt": status.get("startedAt"),
        "completedAt": status.get("completedAt"),
        "requestId": held.get(ANNOTATION_REQUEST_ID),
        "traceId": _trace(held.get(ANNOTATION_TRACEPARENT, "")),
    }


def _recorded(row: ExecutionRow) -> JSONObject:
    return {
        "namespace": row.namespace,
        "name": row.name,
        "uid": str(row.id),
        "workflow": row.workflow,
        "phase": row.status,
        "finished": row.finished,
        "progress": row.progress,
        "message": row.message,
        "author": row.author,
        "attempt": row.attempt,
        "createdAt": row.created_at,
        "startedAt": row.started_at,
        "completedAt": row.completed_at,
        "requestId": row.request_id,
        "traceId": row.trace_id,
    }


def _items(name: str, task: TaskStatus, round_: int) -> Iterator[TaskView]:
    if task.items is None:
        return
    held = {**task.items.errors, **task.items.active}
    outputs = task.items.outputs
    for index in sorted({*map(int, held), *(n for n, output in enumerate(outputs) if output is not None)}):
        state = held.get(str(index)) or AttemptStatus(phase="Completed", attempt=1)
        yield _task(name, state, index, outputs[index] if index < len(outputs) else None, round_)


def _task(name: str, held: AttemptStatus, index: int | None, output: JSONObject | None, round_: int) -> TaskView:
    return TaskView.model_validate(
        {
            "name": name,
            "index": index,
            "phase": held.phase,
            "round": round_,
            "attempt": held.attempt,
            "pod": held.pod,
            "startedAt": held.started_at,
            "completedAt": held.completed_at,
            "reason": held.reason,
            "exitCode": held.exit_code,
            "message": held.message,
            "output": output,
        }
    )


def _trace(traceparent: str) -> str | None:
    parts = traceparent.split("-")
    return parts[1] if len(parts) >= 4 else None


def _part(item: Mapping[str, Any], name: str) -> JSONObject:
    return item.get(name) or {}
