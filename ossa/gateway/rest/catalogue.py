"""Agents and workflows: lists, discovery by type and capability, one."""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, TypeVar

from fastapi import APIRouter, Query, Request, Response
from pydantic import Field

from ossa.api.agent import AgentType
from ossa.api.base import DNS_LABEL, StatusModel
from ossa.api.gateway import (
    AGENT,
    AGENTS,
    NAMESPACE_AGENTS,
    NAMESPACE_WORKFLOWS,
    WORKFLOW,
    WORKFLOWS,
    AgentView,
    Page,
    WorkflowView,
)
from ossa.gateway.answers import JSON
from ossa.gateway.context import Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import Access
from ossa.gateway.parameters import Name, Namespace, Paging
from ossa.gateway.problems import Problem
from ossa.gateway.refusals import RETRY_AFTER
from ossa.gateway.registry import Key, Registry, Shelf
from ossa.store.records import pages
from ossa.store.records.pages import BadCursor

V = TypeVar("V", bound=StatusModel)


class WhichAgents(Paging):
    """What a list of agents is asked for."""

    type: AgentType | None = Field(default=None, description="Those of this type.")
    capability: str | None = Field(
        default=None, pattern=DNS_LABEL, max_length=63, description="Those that have this capability."
    )
    ready: bool | None = Field(default=None, description="true: those that a task can run on now.")

    def matches(self, agent: AgentView) -> bool:
        """Whether the list has it."""
        return (
            self.type in (None, agent.type)
            and (self.capability is None or any(held.name == self.capability for held in agent.capabilities))
            and self.ready in (None, agent.ready == "True")
        )


class WhichWorkflows(Paging):
    """What a list of workflows is asked for."""

    published: bool | None = Field(default=None, description="true: those that Executions can start.")

    def matches(self, workflow: WorkflowView) -> bool:
        """Whether the list has it."""
        return self.published in (None, workflow.phase == "Published")


AgentsQuery = Annotated[WhichAgents, Query()]
WorkflowsQuery = Annotated[WhichWorkflows, Query()]


def router(c: Collaborators, registry: Registry) -> APIRouter:
    """The routes."""
    routes = APIRouter()
    routes.include_router(_agents(c, registry))
    routes.include_router(_workflows(c, registry))
    return routes


def _agents(c: Collaborators, registry: Registry) -> APIRouter:
    routes = APIRouter(route_class=signed_in(c), tags=["agents"])

    async def listed(request: Request, namespace: str | None, which: WhichAgents) -> Response:
        await call_of(request).require_to_read(c.authorizer, Access("list", "agents", namespace or ""))
        return _page(registry.agents, namespace, which.matches, which)

    @routes.get(AGENTS, response_model=Page[AgentView], summary="Agents of all namespaces")
    async def list_all(request: Request, which: AgentsQuery) -> Response:
        """For who may list agents in the whole cluster."""
        return await listed(request, None, which)

    @routes.get(NAMESPACE_AGENTS, response_model=Page[AgentView], summary="Agents of a namespace")
    async def list_some(request: Request, namespace: Namespace, which: AgentsQuery) -> Response:
        """Discovery: what can do this?"""
        return await listed(request, namespace, which)

    @routes.get(AGENT, response_model=AgentView, summary="One agent")
    async def get(request: Request, namespace: Namespace, name: Name) -> Response:
        """With the schemas of its capabilities."""
        await call_of(request).require_to_read(c.authorizer, Access("get", "agents", namespace, name))
        return _one(registry.agents, "Agent", namespace, name)

    return routes


def _workflows(c: Collaborators, registry: Registry) -> APIRouter:
    routes = APIRouter(route_class=signed_in(c), tags=["workflows"])

    async def listed(request: Request, namespace: str | None, which: WhichWorkflows) -> Response:
        await call_of(request).require_to_read(c.authorizer, Access("list", "workflows", namespace or ""))
        return _page(registry.workflows, namespace, which.matches, which)

    @routes.get(WORKFLOWS, response_model=Page[WorkflowView], summary="Workflows of all namespaces")
    async def list_all(request: Request, which: WorkflowsQuery) -> Response:
        """For who may list workflows in the whole cluster."""
        return await listed(request, None, which)

    @routes.get(NAMESPACE_WORKFLOWS, response_model=Page[WorkflowView], summary="Workflows of a namespace")
    async def list_some(request: Request, namespace: Namespace, which: WorkflowsQuery) -> Response:
        """By name."""
        return await listed(request, namespace, which)

    @routes.get(WORKFLOW, response_model=WorkflowView, summary="One workflow")
    async def get(request: Request, namespace: Namespace, name: Name) -> Response:
        """With the schema of its inputs."""
        await call_of(request).require_to_read(c.authorizer, Access("get", "workflows", namespace, name))
        return _one(registry.workflows, "Workflow", namespace, name)

    return routes


def _page(shelf: Shelf[V], namespace: str | None, matches: Callable[[V], bool], paging: Paging) -> Response:
    _check(shelf)
    after = _after(paging.cursor) if paging.cursor is not None else None
    items, last = shelf.page(namespace, matches, limit=paging.limit, after=after)
    return JSON({"items": items, **({"next": pages.encode(last)} if last is not None else {})})


def _one(shelf: Shelf[V], kind: str, namespace: str, name: str) -> Response:
    _check(shelf)
    found = shelf.get(namespace, name)
    if found is None:
        raise Problem(HTTPStatus.NOT_FOUND, f"there is no {kind} {name!r} in namespace {namespace!r}")
    return JSON(found)


def _check(shelf: Shelf[V]) -> None:
    if not shelf.ready.is_set():
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "this replica has not read the registry from the API server yet; try again in a few seconds",
            headers=RETRY_AFTER,
        )


def _after(cursor: str) -> Key:
    try:
        namespace, name = pages.decode(cursor, (pages.text, pages.text))
    except BadCursor as error:
        raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, str(error), more={"field": "cursor"}) from error
    return namespace, name
