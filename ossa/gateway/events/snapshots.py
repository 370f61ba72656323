"""Where Executions stand, for who missed events: read from the resources, which are at least as new as any event."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from http import HTTPStatus

from ossa.api.base import JSONObject
from ossa.bus.frames import Snapshot, Standing, Start
from ossa.gateway.problems import Problem
from ossa.gateway.refusals import problem_of
from ossa.gateway.rest.views import execution_view, tasks_of
from ossa.kube.client import ApiClient
from ossa.kube.errors import ApiError, NotFound
from ossa.kube.paths import ossa

# Executions of one frame, and of all: who follows more lists the rest.
PAGE, MOST = 100, 1000


class Standings:
    """Snapshots of the cluster. Whoever asks may watch executions there, which `Checker` has found out."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api

    async def __call__(self, start: Start) -> AsyncGenerator[Snapshot, None]:
        """Frames. Raises Problem where the API server cannot be asked."""
        try:
            if start.execution:
                yield Snapshot(executions=await self._one(start.namespace, start.execution), last=True)
                return
            more, told = "", 0
            while True:
                items, more = await self._page(start.namespace, more)
                told += len(items)
                last = not more or told >= MOST
                standings = [Standing(execution=execution_view(item)) for item in items]
                yield Snapshot(executions=standings, last=last, complete=not more)
                if last:
                    return
        except ApiError as error:
            raise (
                problem_of(error)
                if not error.transient
                else Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"the API server cannot be asked: {error}")
            ) from error

    async def _one(self, namespace: str, name: str) -> list[Standing]:
        try:
            item = await self._api.get(ossa("executions", namespace, name))
        except NotFound:
            return []
        return [Standing(execution=execution_view(item), tasks=tasks_of(item))]

    async def _page(self, namespace: str, after: str) -> tuple[list[JSONObject], str]:
        params = {"limit": str(PAGE), **({"continue": after} if after else {})}
        found = await self._api.get(ossa("executions", namespace or None), params)
        return found.get("items") or [], found["metadata"].get("continue") or ""
