"""The connection to the cluster, and questions to it that end in answers a person can act on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from ossa.api.base import first_problem
from ossa.api.contract import GROUP
from ossa.api.execution import Execution, ExecutionSpec
from ossa.cli.outcome import Stop
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.errors import ApiError

PLURALS = {"Execution": "executions", "Workflow": "workflows", "Approval": "approvals"}
MOST_NAMES = 10


@dataclass(frozen=True, slots=True)
class Session:
    """The API server, and the namespace that the command is about."""

    api: ApiClient
    namespace: str

    def path(self, kind: str, name: str | None = None) -> str:
        """Where an object, or all objects, of a kind are in this namespace."""
        return paths.ossa(PLURALS[kind], self.namespace, name)


async def get_object(session: Session, kind: str, name: str) -> dict[str, Any]:
    """One object. Raises Stop with what there is instead where it was not found."""
    try:
        found: dict[str, Any] = await session.api.get(session.path(kind, name))
    except ApiError as error:
        if error.status != 404:
            raise
        raise Stop(await _not_found(session, kind, name)) from error
    return found


async def get_execution(session: Session, name: str) -> Execution:
    """One Execution. Raises Stop where it was not found."""
    return parse_execution(await get_object(session, "Execution", name))


def parse_execution(found: dict[str, Any]) -> Execution:
    """An Execution as the API server gave it. Raises Stop where this command is too old or too new for it."""
    try:
        return Execution.model_validate(found)
    except ValidationError as error:
        raise Stop(f"This version of ossa does not understand the Execution: {first_problem(error)}") from error


async def task_order(session: Session, spec: ExecutionSpec) -> list[str]:
    """The workflow's tasks in the order they are written in; empty where it cannot be read (any more)."""
    if spec.workflow_spec is not None:
        return [task.name for task in spec.workflow_spec.tasks]
    try:
        found = await session.api.get(session.path("Workflow", spec.workflow_name))
    except ApiError:
        return []
    return [task["name"] for task in found.get("spec", {}).get("tasks", [])]


async def _not_found(session: Session, kind: str, name: str) -> str:
    plural = PLURALS[kind]
    try:
        listed = await session.api.get(paths.ossa(plural), {"limit": "500"})
        items = listed["items"]
    except ApiError as error:
        if error.status == 404:
            return f"This cluster has no {plural}.{GROUP}: install OSSA in it, or choose another --context"
        try:
            items = (await session.api.get(session.path(kind), {"limit": "500"}))["items"]
        except ApiError as refusal:
            return f"{kind} '{name}' was not found in namespace '{session.namespace}' ({refusal.message})"
    places = [(item["metadata"]["namespace"], item["metadata"]["name"]) for item in reversed(items)]
    return not_found_message(kind, name, namespace=session.namespace, places=places)


def not_found_message(kind: str, name: str, *, namespace: str, places: list[tuple[str, str]]) -> str:
    """Says where it is instead, or what there is. `places` are (namespace, name) of all that can be seen."""
    start = f"{kind} '{name}' was not found in namespace '{namespace}'."
    elsewhere = sorted({place for place, other in places if other == name})
    if elsewhere:
        return f"{start} There is one in namespace '{elsewhere[0]}': add -n {elsewhere[0]}"
    here = [other for place, other in places if place == namespace]
    if here:
        more = f" and {len(here) - MOST_NAMES} more" if len(here) > MOST_NAMES else ""
        return f"{start} It has: {', '.join(here[:MOST_NAMES])}{more}"
    others = sorted({place for place, _ in places})
    if others:
        return f"{start} That namespace has none; there are some in: {', '.join(others[:MOST_NAMES])}"
    return f"{start} There are none in the cluster yet: kubectl apply -f manifests/samples/"
