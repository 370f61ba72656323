"""The log of a task, as its pod writes it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from http import HTTPStatus
from typing import Annotated
from urllib.parse import urlencode

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from ossa.api.base import JSONObject
from ossa.api.contract import MAIN_CONTAINER
from ossa.api.gateway import LOGS
from ossa.gateway.context import Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import Access
from ossa.gateway.parameters import Name, Namespace, TaskQuery
from ossa.gateway.problems import Problem
from ossa.kube.errors import ApiError, NotFound, Refused
from ossa.kube.paths import core, ossa

# Logs that are read at once: each holds a connection to the API server, of which others need some.
STREAMS = 50
Index = Annotated[int | None, Query(ge=0, le=1_000_000, description="The item of a forEach.")]
Follow = Annotated[bool, Query(description="true: go on as the pod writes, until it ends.")]
Tail = Annotated[int | None, Query(ge=0, le=1_000_000, description="The last lines alone.")]


class Log(StreamingResponse):
    """Streams; `ended` is called once it is over, however it ends."""

    def __init__(self, content: AsyncIterator[bytes], ended: Callable[[], None]) -> None:
        super().__init__(content, media_type="text/plain; charset=utf-8")
        self._ended = ended

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ended()


def router(c: Collaborators) -> APIRouter:
    """The route."""
    routes = APIRouter(route_class=signed_in(c), tags=["executions"])
    streams = asyncio.Semaphore(STREAMS)

    @routes.get(
        LOGS,
        summary="The log of a task",
        response_class=StreamingResponse,
        responses={200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
        openapi_extra={"x-problems": [409]},
    )
    async def logs(  # noqa: PLR0913, PLR0917 - query parameters
        request: Request,
        namespace: Namespace,
        name: Name,
        task: TaskQuery = None,
        index: Index = None,
        follow: Follow = False,
        tail: Tail = None,
    ) -> Response:
        """Of the current or last attempt. Pods are kept for a while after their Execution has ended."""
        await call_of(request).require(c.authorizer, Access("get", "executions", namespace, name, "logs"))
        pod = pod_of(await c.api.get(ossa("executions", namespace, name)), task, index)
        params = {"container": MAIN_CONTAINER, "follow": str(follow).lower()}
        if tail is not None:
            params["tailLines"] = str(tail)
        path = core("pods", namespace, pod, "log") + "?" + urlencode(params)
        if streams.locked():
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{STREAMS} logs are being read by this replica, which is all that it may; try again later",
                headers={"Retry-After": "5"},
            )
        await streams.acquire()
        try:
            pieces = c.api.stream(path)
            first = await _first(pieces)
        except BaseException:
            streams.release()
            raise
        return Log(_all(first, pieces), streams.release)

    return routes


def pod_of(item: JSONObject, task: str | None, index: int | None) -> str:
    """The pod of a task's, or an item's, current or last attempt. Raises Problem 404 where its status tells of none."""
    name, tasks = item["metadata"]["name"], (item.get("status") or {}).get("tasks") or {}
    with_pods = sorted(key for key, held in tasks.items() if held.get("pod") or held.get("items"))
    if task is None:
        if len(with_pods) != 1:
            which = f"say of which task: {', '.join(with_pods)}" if with_pods else "no task of it has started yet"
            raise Problem(HTTPStatus.UNPROCESSABLE_ENTITY, which, more={"field": "task"})
        task = with_pods[0]
    if task not in tasks:
        raise Problem(
            HTTPStatus.NOT_FOUND, f"Execution {name!r} has no task {task!r}; it has: {', '.join(sorted(tasks))}"
        )
    held = tasks[task]
    if index is not None:
        items = held.get("items") or {}
        held = (items.get("active") or {}).get(str(index)) or (items.get("errors") or {}).get(str(index)) or {}
    pod = held.get("pod")
    if not pod:
        what = f"task {task!r}" if index is None else f"item {index} of task {task!r}"
        raise Problem(HTTPStatus.NOT_FOUND, f"the status of Execution {name!r} tells of no pod of {what}")
    return str(pod)


async def _first(pieces: AsyncIterator[bytes]) -> bytes:
    """The first piece, so that what keeps us from reading is an answer of its own."""
    try:
        return await anext(pieces, b"")
    except Refused as error:
        if error.status == HTTPStatus.BAD_REQUEST:
            raise Problem(HTTPStatus.CONFLICT, f"there is no log yet: {error.message}") from error
        raise
    except NotFound as error:
        raise Problem(HTTPStatus.NOT_FOUND, f"the pod was removed just now: {error.message}") from error


async def _all(first: bytes, pieces: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    try:
        yield first
        async for piece in pieces:
            yield piece
    except ApiError as error:
        yield f"\n[the log breaks off here: {error.reason}]\n".encode()
