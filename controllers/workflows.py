"""Workflow: Draft until it is valid and its agents are ready, then Published with a revision."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import kopf

from controllers.agents import image_of
from controllers.announce import announce
from controllers.cache import Key, ObjectCache, key_of
from controllers.collector import RevisionCollector
from controllers.governance.judges import Defaults
from controllers.loop import Loop
from controllers.revisions import Revisions
from controllers.settings import Settings
from controllers.triggers import Triggers
from ossa.api.agent import AgentSpec
from ossa.api.base import Condition, JSONObject, set_condition
from ossa.api.contract import GROUP, VERSION
from ossa.api.task import Task
from ossa.api.trigger import TriggerStatus
from ossa.api.validation import InvalidSpecError, parse_spec, workflow_size_problems
from ossa.api.workflow import InlineWorkflow, WorkflowSpec, WorkflowStatus
from ossa.engine.checks import workflow_problems
from ossa.engine.clock import to_text
from ossa.engine.revision import AgentSnapshot, Revision, find_capability
from ossa.engine.triggers import Standing
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound
from ossa.kube.status import write_status

log = logging.getLogger(__name__)

MESSAGE_MAX = 1000
SYNC_PAUSE = 0.1  # seconds
NOT_LOOKED_AT = "was not looked at yet"
INLINE = "spec.workflowSpec"  # where an Execution holds its workflow itself


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found of a workflow: its problems, what it waits for, the revision where there is neither."""

    invalid: tuple[str, ...] = ()
    unresolved: tuple[str, ...] = ()
    unseen: bool = False  # it waits but for this process to look at its agents: a matter of milliseconds
    withheld: bool = False  # spec.published is false
    revision: Revision | None = None
    tasks: int = 0

    @property
    def standing(self) -> Standing | None:
        """What triggers need to know of it; None of a spec that makes no sense."""
        if self.invalid:
            return None
        return "Withheld" if self.withheld else "Draft" if self.unresolved else "Published"


def examine(item: JSONObject, agent_of: Callable[[str], JSONObject | None], worker_image: str) -> Finding:
    """Pure: what to say of a Workflow, given the Agents of its namespace by name."""
    try:
        spec = parse_spec(WorkflowSpec, item["spec"])
    except InvalidSpecError as error:
        return Finding(invalid=tuple(error.problems))
    problems = [*workflow_size_problems(spec), *map(str, workflow_problems(spec))]
    if problems:
        return Finding(invalid=tuple(problems), tasks=len(spec.tasks) + len(spec.finally_))
    agents, unresolved = resolve_agents(spec, "spec", agent_of, worker_image)
    if unresolved or not spec.published:
        return Finding(
            unresolved=tuple(unresolved),
            unseen=bool(unresolved) and all(text.endswith(NOT_LOOKED_AT) for text in unresolved),
            withheld=not spec.published,
            tasks=len(spec.tasks) + len(spec.finally_),
        )
    # What starts a workflow is no part of what runs: an edit of a trigger makes no revision.
    runs = spec.model_copy(update={"triggers": None})
    revision = Revision(workflow=item["metadata"]["name"], version=spec.version, spec=runs, agents=agents)
    return Finding(revision=revision, tasks=len(spec.tasks) + len(spec.finally_))


def resolve_agents(
    spec: InlineWorkflow, where: str, agent_of: Callable[[str], JSONObject | None], worker_image: str
) -> tuple[dict[str, AgentSnapshot], list[str]]:
    """Pure: the agents of a workflow that stands at `where`, by name, and what is wrong with those that are not ready.

    worker_image: the image of agents with a handler and no image of their own.
    """
    agents: dict[str, AgentSnapshot] = {}
    unresolved: list[str] = []
    for path, task in _placed(spec, where):
        if task.agent is None:
            continue  # a workflow is looked for when the task starts, and people need not be there yet
        found = _resolve(task, task.agent, path, agent_of(task.agent), worker_image)
        if isinstance(found, str):
            unresolved.append(found)
        else:
            agents[found.name] = found
    return dict(sorted(agents.items())), unresolved


def _placed(spec: InlineWorkflow, where: str) -> Iterator[tuple[str, Task]]:
    """All tasks, each with the path of its field."""
    yield from ((f"{where}.tasks[{number}]", task) for number, task in enumerate(spec.tasks))
    yield from ((f"{where}.finally[{number}]", task) for number, task in enumerate(spec.finally_))


def _resolve(task: Task, name: str, path: str, agent: JSONObject | None, worker_image: str) -> AgentSnapshot | str:
    """The agent as it is now, or what is wrong with it."""
    field = f"{path}.agent"
    if agent is None:
        missing = f"there is no Agent {name!r} in this namespace"
        then = "the Execution starts" if path.startswith(INLINE) else "the workflow is published"
        return f"{field}: {missing}; apply it, and {then} by itself"
    metadata, status = agent["metadata"], agent.get("status") or {}
    if status.get("observedGeneration") != metadata["generation"]:
        return f"{field}: Agent {name!r} {NOT_LOOKED_AT}"
    if status.get("ready") != "True":
        ready: JSONObject = next((c for c in status.get("conditions") or [] if c["type"] == "Ready"), {})
        return f"{field}: Agent {name!r} is not ready: {ready.get('message', 'unknown')}"
    spec = parse_spec(AgentSpec, agent["spec"])
    if find_capability(spec, task.capability) is None:
        held = ", ".join(capability.name for capability in spec.capabilities)
        lacking = f"Agent {name!r} has no capability {task.capability!r}"
        return f"{path}.capability: {lacking}; it has {held}"
    return AgentSnapshot(
        name=name,
        uid=metadata["uid"],
        generation=metadata["generation"],
        image=image_of(spec, worker_image),
        spec=spec,
    )


def names_agent(spec: JSONObject, agent: str) -> bool:
    """Whether a task of a workflow is done by an agent."""
    tasks = [*(spec.get("tasks") or []), *(spec.get("finally") or [])]
    return any(task.get("agent") == agent for task in tasks)


def status_of(
    item: JSONObject,
    finding: Finding,
    *,
    revision: str | None,
    now: str,
    triggers: Mapping[str, TriggerStatus] | None = None,
) -> WorkflowStatus:
    """Pure: the status that tells of `finding`. `revision` is what Executions started now will run."""
    generation = item["metadata"]["generation"]
    message = _message(finding)
    published = message is None
    conditions = list(WorkflowStatus.model_validate(item.get("status") or {}).conditions)
    for kind, status, reason, text in _conditions(finding, message):
        condition = Condition(
            type=kind,
            status="True" if status else "False",
            reason=reason,
            message=text[:4096],
            observed_generation=generation,
        )
        conditions = set_condition(conditions, condition, now)
    return WorkflowStatus(
        observed_generation=generation,
        phase="Published" if published else "Draft",
        revision=revision,
        tasks=finding.tasks,
        message=message,
        triggers=dict(triggers) if triggers else None,
        conditions=conditions,
    )


def _message(finding: Finding) -> str | None:
    parts = finding.invalid or finding.unresolved
    if parts:
        return "; ".join(parts)[:MESSAGE_MAX]
    return "spec.published is false; set it to true to publish" if finding.withheld else None


def _conditions(finding: Finding, message: str | None) -> list[tuple[str, bool, str, str]]:
    invalid, unresolved = "; ".join(finding.invalid), "; ".join(finding.unresolved)
    return [
        ("Valid", not invalid, "InvalidSpec" if invalid else "Valid", invalid or "the spec makes sense"),
        (
            "Resolved",
            not (invalid or unresolved),
            "NotExamined" if invalid else "Unresolved" if unresolved else "Resolved",
            invalid or unresolved or "all agents are there and ready",
        ),
        ("Published", message is None, "Draft" if message else "Published", message or "Executions can start"),
    ]


class WorkflowController:
    """Keeps a workflow's status true to its spec and to the agents it names."""

    def __init__(  # noqa: PLR0913 - collaborators, all by name
        self,
        api: ApiClient,
        settings: Settings,
        *,
        cache: ObjectCache,
        agents: ObjectCache,
        revisions: Revisions,
        collector: RevisionCollector,
        triggers: Triggers,
        changed: Callable[[Key], None],
        defaults: Defaults | None = None,
    ) -> None:
        self._api = api
        self._settings = settings
        self._cache = cache
        self._agents = agents
        self._revisions = revisions
        self._collector = collector
        self._triggers = triggers
        self._changed = changed
        self._defaults = defaults
        self.loop: Loop[Key] = Loop("Workflow", self.reconcile)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The kopf handler: keep the object, queue its key."""

        @kopf.on.event(GROUP, VERSION, "workflows", registry=registry)
        async def workflow_seen(event: kopf.RawEvent, **_: Any) -> None:
            self.seen(event["type"], dict(event["object"]))

    def seen(self, kind: str | None, item: JSONObject) -> None:
        """An event of the watch; `kind` is None for what was there already."""
        if self._cache.take(kind, item):
            self.loop.queue.add(key_of(item))
            self._changed(key_of(item))
            if kind == "DELETED":
                self._collector.look_at(item["metadata"]["namespace"])

    def agent_changed(self, agent: Key) -> None:
        """Queues the workflows that name the agent."""
        for item in self._cache.in_namespace(agent.namespace):
            if names_agent(item.get("spec") or {}, agent.name):
                self.loop.queue.add(key_of(item))

    def policies_changed(self) -> None:
        """Queues all workflows where policies may fill in something else now."""
        if self._defaults is not None and self._defaults.changed():
            for item in self._cache.all():
                self.loop.queue.add(key_of(item))

    async def reconcile(self, key: Key) -> None:
        """Examines a workflow, publishes its revision and writes what was found."""
        item = self._cache.get(key)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return
        if self._defaults is not None and not self._defaults.know(key.namespace):
            self.loop.queue.add_after(key, SYNC_PAUSE)
            return
        finding = examine(item, lambda name: self._agents.get(Key(key.namespace, name)), self._settings.worker_image)
        old = (item.get("status") or {}).get("revision")
        # A workflow that is a Draft again goes on with its last revision, unless its author withheld it.
        revision = None if finding.withheld else old
        if finding.revision is not None:
            made = finding.revision if self._defaults is None else self._defaults.fill(item, finding.revision)
            revision = await self._revisions.publish(item, made)
        turn = await self._triggers.turn(item, finding.standing)
        if turn.look_again is not None:
            self.loop.queue.add_after(key, turn.look_again)
        now = to_text(datetime.now(UTC))
        await self._write(item, finding, status_of(item, finding, revision=revision, now=now, triggers=turn.status))
        if turn.unsure is not None:
            raise turn.unsure  # asked for again; what is known has been written all the same

    async def _write(self, item: JSONObject, finding: Finding, status: WorkflowStatus) -> None:
        """Writes what was found where it is news, and tells of it."""
        key, revision = key_of(item), status.revision
        path = paths.ossa("workflows", key.namespace, key.name)
        try:
            written = await write_status(self._api, path, item, status.to_json(), maps=("triggers",))
        except NotFound:
            return
        if written is None:
            return
        old = (item.get("status") or {}).get("revision")
        told = (item.get("status") or {}).get("message")
        if self._cache.put(written):
            self._changed(key)
        if revision is not None and revision != old:
            await announce(self._api, written, kind="Normal", reason="Published", message=f"published as {revision}")
            self._collector.look_at(key.namespace)
        elif status.phase == "Draft" and not finding.unseen and status.message != told:
            await announce(self._api, written, kind="Warning", reason="Draft", message=status.message or "")
