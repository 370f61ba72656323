"""The plan: a workflow as policies see it, so that no spelling of it slips past a rule.

Every task of `tasks` and `finally` is there in one form, with the agent that it resolves to, what it waits for directly
and indirectly, and whether people must approve before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ossa.api.agent import AgentSpec
from ossa.api.base import JSONObject
from ossa.api.task import Task
from ossa.api.workflow import InlineWorkflow, WorkflowSpec
from ossa.engine.graph import build_graph, parse_task

# name -> (spec, image that its pods run: None where the operator's own is not known)
Agents = Mapping[str, tuple[AgentSpec, str | None]]


def agent_view(name: str, spec: AgentSpec, image: str | None) -> JSONObject:
    """An agent as policies see it: its spec with the defaults that `has()` would have to ask for, its name and image.

    risk, owner, purpose and the like are always there, as '' where they are not set, so that a comparison has a value.
    """
    runtime = spec.runtime
    return {
        **spec.to_json(),
        "name": name,
        "risk": spec.risk or "",
        "purpose": spec.purpose or "",
        "owner": spec.owner,
        "userFacing": bool(spec.user_facing),
        "disclosure": spec.disclosure or "",
        "image": image or runtime.image or (runtime.container.image if runtime.container is not None else ""),
        "serviceAccountName": runtime.service_account_name or "default",
        "data": _data(spec),
    }


def _data(spec: AgentSpec) -> JSONObject:
    data = spec.data
    return {
        "sources": list(data.sources) if data is not None else [],
        "classification": (data.classification or "") if data is not None else "",
        "clearance": (data.clearance or "") if data is not None else "",
    }


def plan_of(name: str, spec: InlineWorkflow, agents: Agents) -> JSONObject:
    """The root `plan`. An agent that is not in `agents` is null, and `complete` then false.

    Raises CompileError where the workflow does not make sense; admission says what is wrong with it before.
    """
    view = _View(spec, agents)
    tasks = [
        *(view.task(task, "tasks") for task in spec.tasks),
        *(view.task(task, "finally") for task in spec.finally_),
    ]
    return {
        "workflow": name,
        "version": spec.version,
        "complete": all(task["agent"] is not None for task in tasks if task["type"] == "agent"),
        "timeout": spec.timeout or "",
        "parallelism": spec.parallelism or 0,
        "failFast": spec.fail_fast,
        "maxAttempts": spec.retry.max_attempts if spec.retry is not None else 1,
        "triggers": [trigger.name for trigger in spec.triggers or []] if isinstance(spec, WorkflowSpec) else [],
        "tasks": tasks,
    }


def is_complete(plan: Mapping[str, Any] | None) -> bool:
    """Whether all that a plan refers to is there; a plan that is not known is not."""
    return plan is not None and bool(plan["complete"])


class _View:
    """The tasks of one workflow as policies see them."""

    def __init__(self, spec: InlineWorkflow, agents: Agents) -> None:
        everything = {task.name: task for task in (*spec.tasks, *spec.finally_)}
        templates = {name: parse_task(task, name) for name, task in everything.items()}
        graph = build_graph(spec.tasks, {t.name: templates[t.name] for t in spec.tasks}, ended=frozenset())
        # They run whatever became of the others: an approval among `tasks` may have been refused by then.
        final = build_graph(
            spec.finally_, {t.name: templates[t.name] for t in spec.finally_}, ended=frozenset(graph.order)
        )
        self._agents = agents
        self._tasks = everything
        self._parents = {**graph.parents, **final.parents}
        self._needs = {**graph.needs, **final.needs}
        self._ancestors: dict[str, frozenset[str]] = {}
        for name in (*graph.order, *final.order):
            parents = self._parents[name]
            self._ancestors[name] = parents.union(*(self._ancestors[parent] for parent in parents))

    def task(self, task: Task, group: str) -> JSONObject:
        """An entry of plan.tasks."""
        found = self._agents.get(task.agent) if task.agent is not None else None
        return {
            "name": task.name,
            "group": group,
            "type": "agent" if task.agent is not None else "workflow" if task.workflow is not None else "approval",
            "agentName": task.agent or "",
            "agent": None if task.agent is None or found is None else agent_view(task.agent, *found),
            "capability": task.capability or "",
            "workflow": task.workflow or "",
            "approval": None if task.approval is None else task.approval.to_json(),
            "dependsOn": sorted(self._parents[task.name]),
            "ancestors": sorted(self._ancestors[task.name]),
            "approvedBefore": self._approved_before(task.name),
            "conditional": task.when is not None,
            "forEach": task.for_each is not None,
            "parallelism": task.for_each.parallelism if task.for_each is not None else 1,
            "timeout": task.timeout or "",
            "pendingTimeout": task.pending_timeout or "",
            "maxAttempts": task.retry.max_attempts if task.retry is not None else 1,
            "continueOnError": task.continue_on_error,
            "locks": [lock.name for lock in task.locks],
            "input": task.input,
        }

    def _approved_before(self, name: str) -> bool:
        """Whether people must have approved before a task can start, whatever happens.

        Along what must have ended well. A task with continueOnError or a defaultOutput lets others go on though it
        failed or was skipped, an approval no less.
        """
        seen: set[str] = set()
        waiting = [name]
        while waiting:
            for parent in self._needs[waiting.pop()] - seen:
                seen.add(parent)
                held = self._tasks[parent]
                if held.continue_on_error or held.default_output is not None:
                    continue
                if held.approval is not None:
                    return True
                waiting.append(parent)
        return False
