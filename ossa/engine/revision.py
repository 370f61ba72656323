"""A revision: the workflow and the agents that an Execution runs, frozen when it starts."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from pydantic import Field

from ossa.api.agent import AgentSpec, Capability
from ossa.api.base import Model
from ossa.api.task import Task
from ossa.api.workflow import WorkflowSpec
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
    spec_hash: str | None = Field(
        default=None, description="Hash of the user's own spec; set where a policy's defaults are filled in here."
    )


class Revision(Model):
    """What a ControllerRevision holds: all that is needed to run the workflow."""

    workflow: str = Field(description="Name of the Workflow; '' where Executions hold it themselves.")
    version: str = Field(description="Version of the Workflow.")
    spec: WorkflowSpec = Field(description="The Workflow's spec.")
    agents: dict[str, AgentSnapshot] = Field(description="The agents of its tasks, by name.")
    spec_hash: str | None = Field(
        default=None, description="Hash of the user's own spec; set where a policy's defaults are filled in here."
    )


@dataclass(frozen=True, slots=True)
class CompiledTask:
    """One task with all that starting it needs. `agent` and `capability` are set where an agent does it."""

    spec: Task
    agent: AgentSnapshot | None
    capability: Capability | None
    templates: TaskTemplates
    timeout: timedelta | None
    pending_timeout: timedelta | None

    @property
    def worker(self) -> tuple[AgentSnapshot, Capability]:
        """The agent that does it and the capability that is used; of a task with an agent alone."""
        if self.agent is None or self.capability is None:
            raise TypeError(f"task {self.spec.name!r} has no agent")
        return self.agent, self.capability


@dataclass(frozen=True, slots=True)
class CompiledRevision:
    """A revision with its graphs and its expressions, made once and read by every decision.

    `graph` holds the tasks, `final` those that run when all of these have ended.
    """

    name: str
    revision: Revision
    graph: Graph
    final: Graph
    tasks: Mapping[str, CompiledTask]
    outputs: Template
    timeout: timedelta | None
    # What others have worked out of it once, by their own keys.
    memo: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def order(self) -> tuple[str, ...]:
        """All tasks, each after those that it waits for."""
        return self.graph.order + self.final.order


def revision_name(rev: Revision) -> str:
    """The name of the ControllerRevision: the same for the same content, whoever makes it."""
    canonical = json.dumps(rev.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    digest = hashlib.sha256(canonical.encode()).hexdigest()[:_HASH_LENGTH]
    prefix = rev.workflow[: _NAME_LIMIT - _HASH_LENGTH - 1].rstrip("-.")
    return f"{prefix or 'inline'}-{digest}"


def compile_revision(rev: Revision) -> CompiledRevision:
    """Compiles the graph and the expressions. Raises CompileError where the revision does not make sense.

    Costs some 0.2 ms an expression the first time: keep the result as long as something runs it.
    """
    spec = rev.spec
    templates: dict[str, TaskTemplates] = {}
    tasks: dict[str, CompiledTask] = {}
    for where, group in (("spec.tasks", spec.tasks), ("spec.finally", spec.finally_)):
        for number, task in enumerate(group):
            path = f"{where}[{number}]"
            if task.name in tasks:
                raise CompileError(f"{path}.name: the name {task.name!r} is taken")
            templates[task.name] = parse_task(task, path)
            tasks[task.name] = _compile_task(task, path, templates[task.name], rev.agents)
    graph = build_graph(spec.tasks, {task.name: templates[task.name] for task in spec.tasks}, ended=frozenset())
    final = build_graph(
        spec.finally_, {task.name: templates[task.name] for task in spec.finally_}, ended=frozenset(graph.order)
    )
    outputs = parse_template(spec.outputs, "spec.outputs")
    unknown = sorted(outputs.tasks - templates.keys())
    if unknown:
        raise CompileError(f"spec.outputs: there is no task {unknown[0]!r}")
    return CompiledRevision(
        name=revision_name(rev),
        revision=rev,
        graph=graph,
        final=final,
        tasks=tasks,
        outputs=outputs,
        timeout=_duration(spec.timeout),
    )


def find_capability(spec: AgentSpec, name: str | None) -> Capability | None:
    """The capability that a task names, or the agent's first where it names none."""
    if name is None:
        return spec.capabilities[0]
    return next((held for held in spec.capabilities if held.name == name), None)


def _compile_task(task: Task, path: str, templates: TaskTemplates, agents: Mapping[str, AgentSnapshot]) -> CompiledTask:
    limits = _duration(task.timeout), _duration(task.pending_timeout)
    if task.agent is None:
        return CompiledTask(task, None, None, templates, *limits)
    agent = agents.get(task.agent)
    if agent is None:
        raise CompileError(f"{path}.agent: the revision holds no agent {task.agent!r}")
    capability = find_capability(agent.spec, task.capability)
    if capability is None:
        held = ", ".join(known.name for known in agent.spec.capabilities)
        raise CompileError(
            f"{path}.capability: agent {task.agent!r} has no capability {task.capability!r}; it has {held}"
        )
    return CompiledTask(task, agent, capability, templates, *limits)


def _duration(text: str | None) -> timedelta | None:
    return parse_duration(text) if text is not None else None
