"""Executions: lists, one, its tasks. What is recorded answers lists; the cluster answers what is now."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, Field

from ossa.api.base import DNS_SUBDOMAIN, JSONObject
from ossa.api.execution import ExecutionPhase
from ossa.api.gateway import (
    EXECUTION,
    EXECUTIONS,
    NAMESPACE_EXECUTIONS,
    TASKS,
    ExecutionSummary,
    ExecutionView,
    Page,
    TaskView,
)
from ossa.gateway.answers import JSON
from ossa.gateway.context import Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import Access
from ossa.gateway.parameters import Name, Namespace, PageQuery, Paging
from ossa.gateway.problems import Problem
from ossa.gateway.refusals import RETRY_AFTER
from ossa.gateway.rest.views import (
    execution_summary,
    execution_view,
    recorded_summary,
    recorded_task,
    recorded_view,
    tasks_of,
)
from ossa.kube.errors import ApiError, Gone, NotFound
from ossa.kube.paths import ossa
from ossa.store.records import queries
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pages import BadCursor
from ossa.store.records.queries import ExecutionFilter

# How cursors begin that go on with a list of the cluster.
_OF_CLUSTER = "cluster."


class Which(Paging):
    """What a list is asked for."""

    phase: ExecutionPhase | None = Field(default=None, description="Those in this phase.")
    workflow: str | None = Field(
        default=None, pattern=DNS_SUBDOMAIN, max_length=253, description="Those of this Workflow."
    )
    author: str | None = Field(default=None, max_length=512, description="Those that this user asked for.")
    since: AwareDatetime | None = Field(default=None, description="Those created then or later.")
    until: AwareDatetime | None = Field(default=None, description="Those created before.")

    def matches(self, item: ExecutionSummary) -> bool:
        """As the records' own query would have it."""
        return (
            self.phase in (None, item.phase)
            and self.workflow in (None, item.workflow)
            and self.author in (None, item.author)
            and (self.since is None or item.created_at >= self.since)
            and (self.until is None or item.created_at < self.until)
        )


WhichQuery = Annotated[Which, Query()]


def router(c: Collaborators) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=signed_in(c), tags=["executions"])

    async def listed(request: Request, namespace: str | None, which: Which) -> Response:
        await call_of(request).require_to_read(c.authorizer, Access("list", "executions", namespace or ""))
        page = await list_executions(c, namespace, which)
        return JSON(page.to_json())

    @routes.get(EXECUTIONS, response_model=Page[ExecutionSummary], summary="Executions of all namespaces")
    async def list_all(request: Request, which: WhichQuery) -> Response:
        """For who may list executions in the whole cluster."""
        return await listed(request, None, which)

    @routes.get(NAMESPACE_EXECUTIONS, response_model=Page[ExecutionSummary], summary="Executions of a namespace")
    async def list_some(request: Request, namespace: Namespace, which: WhichQuery) -> Response:
        """The newest first, those too that are gone from the cluster."""
        return await listed(request, namespace, which)

    @routes.get(EXECUTION, response_model=ExecutionView, summary="One Execution")
    async def get(request: Request, namespace: Namespace, name: Name) -> Response:
        """As it is now; where it is gone from the cluster, as it was recorded last."""
        await call_of(request).require_to_read(c.authorizer, Access("get", "executions", namespace, name))
        item = await live(c, namespace, name)
        if item is not None:
            return JSON(execution_view(item).to_json())
        return JSON(recorded_view(await recorded(c, namespace, name)).to_json())

    @routes.get(TASKS, response_model=Page[TaskView], summary="Tasks of an Execution")
    async def tasks(request: Request, namespace: Namespace, name: Name, paging: PageQuery) -> Response:
        """Where each stands; with a cursor, or where it is gone from the cluster, each attempt that was recorded."""
        await call_of(request).require_to_read(c.authorizer, Access("get", "executions", namespace, name))
        item = await live(c, namespace, name) if paging.cursor is None else None
        if item is not None:
            return JSON(Page[TaskView](items=tasks_of(item)).to_json())
        row = await recorded(c, namespace, name)
        try:
            async with c.records.connection() as connection:
                page = await queries.list_tasks(connection, row, limit=paging.limit, cursor=paging.cursor)
        except BadCursor as error:
            raise _bad_cursor(str(error)) from error
        return JSON(Page[TaskView](items=[recorded_task(held) for held in page.items], next=page.cursor).to_json())

    return routes


async def live(c: Collaborators, namespace: str, name: str) -> JSONObject | None:
    """The Execution; None where it is not there, or the API server is away."""
    try:
        return await c.api.get(ossa("executions", namespace, name))
    except NotFound:
        return None
    except ApiError as error:
        if not error.transient:
            raise
        return None


async def recorded(c: Collaborators, namespace: str, name: str) -> queries.ExecutionDetail:
    """What was recorded last under this name. Raises Problem 404."""
    try:
        async with c.records.connection() as connection:
            row = await queries.get_execution(connection, namespace, name)
    except RecordsUnavailable as error:
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the cluster has no Execution {name!r} in namespace {namespace!r} just now, and the records (PostgreSQL) "
            "cannot be asked; try again in a few seconds",
            headers=RETRY_AFTER,
        ) from error
    if row is None:
        raise missing(namespace, name)
    return row


def missing(namespace: str, name: str) -> Problem:
    """404."""
    return Problem(
        HTTPStatus.NOT_FOUND,
        f"there is no Execution {name!r} in namespace {namespace!r}; list them with "
        f"GET {NAMESPACE_EXECUTIONS.format(namespace=namespace)}",
    )


async def list_executions(c: Collaborators, namespace: str | None, which: Which) -> Page[ExecutionSummary]:
    """From the records; from the cluster where those are away, or the list was begun there."""
    cursor = which.cursor
    if cursor is not None and cursor.startswith(_OF_CLUSTER):
        return await _from_cluster(c, namespace, which, cursor.removeprefix(_OF_CLUSTER))
    try:
        async with c.records.connection() as connection:
            page = await queries.list_executions(
                connection,
                ExecutionFilter(
                    namespace=namespace,
                    phase=which.phase,
                    workflow=which.workflow,
                    author=which.author,
                    since=which.since,
                    until=which.until,
                ),
                limit=which.limit,
                cursor=cursor,
            )
    except BadCursor as error:
        raise _bad_cursor(str(error)) from error
    except RecordsUnavailable:
        if cursor is not None:
            raise
        return await _from_cluster(c, namespace, which, "")
    return Page[ExecutionSummary](items=[recorded_summary(row) for row in page.items], next=page.cursor)


def _bad_cursor(detail: str) -> Problem:
    return Problem(HTTPStatus.UNPROCESSABLE_ENTITY, detail, more={"field": "cursor"})


async def _from_cluster(c: Collaborators, namespace: str | None, which: Which, token: str) -> Page[ExecutionSummary]:
    """What is there now, by name; a page may have fewer than asked for, and go on."""
    params = {"limit": str(which.limit), **({"continue": token} if token else {})}
    try:
        found = await c.api.get(ossa("executions", namespace), params)
    except Gone as error:  # the API server keeps a list for some minutes
        raise _bad_cursor("cursor: this list was begun too long ago; leave it out to begin anew") from error
    items = [execution_summary(item) for item in found.get("items") or ()]
    more = found["metadata"].get("continue")
    return Page[ExecutionSummary](
        items=[item for item in items if which.matches(item)], next=_OF_CLUSTER + more if more else None
    )
