"""A revision: the workflow and the agents that an Execution runs, frozen when it starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from pydantic import Field

from ossa.api.agent import AgentSpec, Capability
from ossa.api.base import Model
from ossa.api.workflow import ApprovalTask, Task, WorkflowSpec
from ossa.engine.clock import parse_duration
from ossa.engine.expressions import CompileError, Template, parse_template
from ossa.engine.graph import Graph, TaskTemplates, build_graph, parse_task

_NAME_LIMIT = 63
_HASH_LENGTH = 10


class AgentSnapshot(Model):
    """An Agent as it was when the revision was made, with the image that its pods run."""

    name: str = Field(description="Name of the Agent.")
    uid: str = Field(description="UID of the Agent.")
    generation: int = Field(description="metadata.generation of the Agent.")
    image: str = Field(description="The image that its pods run.")
    spec: AgentSpec = Field(description="The Agent's spec.")


class Revision(Model):
    """What a ControllerRevision holds: all that is needed to run the workflow."""

    workflow: str = Field(description="Name of the Workflow.")
    version: str = Field(description="Version of the Workflow.")
    spec: WorkflowSpec = Field(description="The Workflow's spec.")
    agents: dict[str, AgentSnapshot] = Field(description="The agents of its tasks, by name.")


@dataclass(frozen=True, slots=True)
class CompiledTask:
    """One task of an agent with all that starting it needs."""

    spec: Task
    agent: AgentSnapshot
    capability: Capability
    templates: TaskTemplates
    timeout: timedelta | None


@dataclass(frozen=True, slots=True)
class CompiledApproval:
    """One task that waits for people; `message` may refer to other tasks."""

    spec: Task
    approval: ApprovalTask
    templates: TaskTemplates
    message: Template
    timeout: timedelta


@dataclass(frozen=True, slots=True)
class CompiledRevision:
    """A revision with its graph and its expressions, made once and read by every decision.

    Each task of the graph is either in `tasks` or in `approvals`.
    """

    name: str
    revision: Revision
    graph: Graph
    tasks: Mapping[str, CompiledTask]
    outputs: Template
    approvals: Mapping[str, CompiledApproval] = field(default_factory=dict)


def revision_name(rev: Revision) -> str:
    """The name of the ControllerRevision: the same for the same content, whoever makes it."""
    canonical = json.dumps(rev.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_LENGTH]
    prefix = rev.workflow[: _NAME_LIMIT - _HASH_LENGTH - 1].rstrip("-.")
    return f"{prefix}-{digest}"


def compile_revision(rev: Revision) -> CompiledRevision:
    """Compiles the graph and the expressions. Raises CompileError where the revision does not make sense.

    Costs some 0.2 ms an expression the first time: keep the result as long as something runs it.
    """
    templates: dict[str, TaskTemplates] = {}
    for number, task in enumerate(rev.spec.tasks):
        if task.name in templates:
            raise CompileError(f"spec.tasks[{number}].name: the name {task.name!r} is taken")
        templates[task.name] = parse_task(task, number)
    graph = build_graph(rev.spec, templates)
    outputs = parse_template(rev.spec.outputs, "spec.outputs")
    unknown = sorted(outputs.tasks - templates.keys())
    if unknown:
        raise CompileError(f"spec.outputs: there is no task {unknown[0]!r}")
    tasks: dict[str, CompiledTask] = {}
    approvals: dict[str, CompiledApproval] = {}
    for number, task in enumerate(rev.spec.tasks):
        if task.approval is not None:
            approvals[task.name] = _compile_approval(task, task.approval, templates[task.name])
        else:
            tasks[task.name] = _compile_task(task, number, templates[task.name], rev.agents)
    return CompiledRevision(revision_name(rev), rev, graph, tasks, outputs, approvals)


def find_capability(spec: AgentSpec, name: str | None) -> Capability | None:
    """The capability that a task names, or the agent's first where it names none."""
    if name is None:
        return spec.capabilities[0]
    return next((held for held in spec.capabilities if held.name == name), None)


def _compile_approval(task: Task, approval: ApprovalTask, templates: TaskTemplates) -> CompiledApproval:
    if templates.message is None:
        raise AssertionError("the templates of an approval have a message")
    return CompiledApproval(task, approval, templates, templates.message, parse_duration(approval.timeout))


def _compile_task(
    task: Task, number: int, templates: TaskTemplates, agents: Mapping[str, AgentSnapshot]
) -> CompiledTask:
    agent = agents.get(task.agent or "")
    if agent is None:
        raise CompileError(f"spec.tasks[{number}].agent: the revision holds no agent {task.agent!r}")
    capability = find_capability(agent.spec, task.capability)
    if capability is None:
        held = ", ".join(known.name for known in agent.spec.capabilities)
        raise CompileError(
            f"spec.tasks[{number}].capability: agent {task.agent!r} has no capability {task.capability!r}; "
            f"it has {held}"
        )
    timeout = parse_duration(task.timeout) if task.timeout is not None else None
    return CompiledTask(task, agent, capability, templates, timeout)
