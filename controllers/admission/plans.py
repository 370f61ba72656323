"""Agents and Workflows as policies see them, for requests: their specs, from watches, and the plans made of them."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import lru_cache

import orjson
from pydantic import ValidationError

from controllers.mirror import Mirror, full_name
from ossa.api.agent import AgentSpec
from ossa.api.base import JSONObject
from ossa.api.workflow import InlineWorkflow, WorkflowSpec
from ossa.engine.cel.programs import CompileError
from ossa.governance.plan import plan_of
from ossa.governance.question import Subject, spec_hash
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.watch import list_and_watch

# Plans that are kept; the rest is made again when it is asked for.
KEPT = 1000


@dataclass(frozen=True, slots=True)
class Planned:
    """A Workflow that an Execution names, and its plan."""

    plan: JSONObject
    subject: Subject


class Plans:
    """One a process. `run` fills it; until `synced` it lacks something.

    worker_image: the image of agents with a handler and no image of their own.
    """

    def __init__(self, api: ApiClient, worker_image: str) -> None:
        self._api = api
        self._worker_image = worker_image
        self._agents = Mirror(_spec, self._changed, key=full_name)
        self._workflows = Mirror(_uid_and_spec, self._changed, key=full_name)
        self._made: dict[tuple[str, str], Planned] = {}

    def of(self, namespace: str, name: str, spec: InlineWorkflow) -> JSONObject:
        """The plan of a Workflow that is asked about. Raises CompileError where it does not make sense."""
        named = sorted({task.agent for task in (*spec.tasks, *spec.finally_) if task.agent is not None})
        found = {agent: held for agent in named if (held := self._agent(namespace, agent)) is not None}
        return plan_of(name, spec, {agent: (held, self._image(held)) for agent, held in found.items()})

    def of_named(self, namespace: str, name: str) -> Planned | None:
        """A Workflow that is there, with its plan; None where it is not, or does not make sense."""
        if (namespace, name) in self._made:
            return self._made[namespace, name]
        held = self._workflows.items.get(f"{namespace}/{name}")
        if held is None:
            return None
        uid, raw = held
        try:
            spec = WorkflowSpec.model_validate(orjson.loads(raw))
            planned = Planned(
                self.of(namespace, name, spec), Subject("Workflow", namespace, name, uid, spec_hash(spec))
            )
        except (ValidationError, CompileError):
            return None  # it came past the webhook; the reconciler says what is wrong with it
        if len(self._made) >= KEPT:
            self._made.clear()
        self._made[namespace, name] = planned
        return planned

    async def run(self) -> None:
        """Lists and watches until cancelled. The client is entered already."""
        async with asyncio.TaskGroup() as group:
            group.create_task(list_and_watch(self._api, paths.ossa("agents"), {}, self._agents))
            group.create_task(list_and_watch(self._api, paths.ossa("workflows"), {}, self._workflows))

    async def synced(self) -> None:
        """Returns once everything has been read for the first time."""
        await self._agents.synced.wait()
        await self._workflows.synced.wait()

    def _agent(self, namespace: str, name: str) -> AgentSpec | None:
        raw = self._agents.items.get(f"{namespace}/{name}")
        try:
            return None if raw is None else _agent_spec(raw)
        except ValidationError:
            return None

    def _image(self, spec: AgentSpec) -> str:
        container = spec.runtime.container
        return container.image if container is not None else spec.runtime.image or self._worker_image

    def _changed(self, key: str) -> None:
        namespace = key.partition("/")[0]
        self._made = {held: planned for held, planned in self._made.items() if held[0] != namespace}


@lru_cache(maxsize=512)
def _agent_spec(raw: bytes) -> AgentSpec:
    return AgentSpec.model_validate(orjson.loads(raw))


def _spec(item: JSONObject) -> bytes | None:
    """None where it is nested deeper than any that makes sense: it is as if it were not there."""
    try:
        return orjson.dumps(item.get("spec") or {})
    except orjson.JSONEncodeError:
        return None


def _uid_and_spec(item: JSONObject) -> tuple[str, bytes] | None:
    raw = _spec(item)
    return None if raw is None else (item["metadata"]["uid"], raw)
