"""The root `history`: what of an Execution has run before an attempt of a task, and whose data may have come to it."""

from __future__ import annotations

from collections.abc import Mapping

from ossa.api.agent import AgentSpec
from ossa.api.base import JSONObject
from ossa.api.execution import TaskStatus
from ossa.engine.revision import CompiledRevision, CompiledTask

# Task -> all tasks whose output may be a part of what it is given.
Flows = Mapping[str, frozenset[str]]


def reads_of(revision: CompiledRevision, name: str) -> frozenset[str]:
    """Tasks whose output its expressions read; of one in `finally` also those of `tasks`."""
    return revision.tasks[name].templates.needs


def data_flows(revision: CompiledRevision) -> Flows:
    """From which tasks data may have come, directly or through others; made once a revision."""
    held: Flows | None = revision.memo.get("flows")
    if held is None:
        flows: dict[str, frozenset[str]] = {}
        for name in revision.order:
            direct = reads_of(revision, name)
            flows[name] = direct.union(*(flows.get(parent, frozenset()) for parent in direct))
        held = revision.memo["flows"] = flows
    return held


def history_of(
    tasks: Mapping[str, TaskStatus], revision: CompiledRevision, name: str, agents: Mapping[str, AgentSpec]
) -> list[JSONObject]:
    """One entry for each other task that runs, waits to be tried again, or has ended with an attempt.

    agents: the specs by which they are told of.
    """
    flows = data_flows(revision)[name]
    return [
        _entry(revision, revision.tasks[other], status, agents, flows_here=other in flows)
        for other, status in tasks.items()
        if other != name and other in revision.tasks and status.phase not in ("Pending", "Skipped")
    ]


def _entry(
    revision: CompiledRevision,
    task: CompiledTask,
    status: TaskStatus,
    agents: Mapping[str, AgentSpec],
    *,
    flows_here: bool,
) -> JSONObject:
    spec, agent = task.spec, task.agent
    held = agents[agent.name] if agent is not None else None
    data = held.data if held is not None else None
    return {
        "task": spec.name,
        "group": "finally" if spec.name in revision.final.order else "tasks",
        "type": "agent" if agent is not None else "workflow" if spec.workflow is not None else "approval",
        "agent": agent.name if agent is not None else "",
        "agentType": held.type if held is not None else "",
        "risk": (held.risk or "") if held is not None else "",
        "owner": held.owner if held is not None else "",
        "image": agent.image if agent is not None else "",
        "classification": ((data.classification if data is not None else status.classification) or ""),
        "workflow": spec.workflow or "",
        "phase": status.phase,
        "reason": status.reason or "",
        "attempts": attempts_of(status),
        "approvedBy": _approved_by(task, status),
        "flowsHere": flows_here,
    }


def _approved_by(task: CompiledTask, status: TaskStatus) -> list[str]:
    if task.spec.approval is None or status.phase != "Completed" or status.output is None:
        return []
    return [str(user) for user in status.output.get("approvedBy") or []]


def attempts_of(status: TaskStatus) -> int:
    """How many attempts were started; of the items of a forEach that have ended well one each is counted."""
    items = status.items
    if items is None:
        return status.attempt
    known = (*items.active.values(), *items.errors.values())
    return items.started + sum(max(0, held.attempt - 1) for held in known)


def pods_so_far(tasks: Mapping[str, TaskStatus], revision: CompiledRevision) -> int:
    """How many pods the Execution has started, as `attempts_of` counts."""
    return sum(
        attempts_of(status)
        for name, status in tasks.items()
        if name in revision.tasks and revision.tasks[name].agent is not None
    )
