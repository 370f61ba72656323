"""A whole gateway: a real PostgreSQL, an API server of tests, people with rights, and an HTTP client."""

from __future__ import annotations

import copy
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg
import httpx
from aiohttp import web

from ossa.gateway.authorization import ACCESS_REVIEWS
from ossa.gateway.context import Collaborators
from ossa.gateway.identity import Access, Authorizer
from ossa.gateway.metrics import Metrics
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.orchestrate.carrier import Carrier
from ossa.gateway.registry import Registry
from ossa.gateway.routers import rest
from ossa.gateway.settings import Settings
from ossa.httppool import LIMITS
from ossa.kube.client import ApiClient
from ossa.store.records.pool import Records
from tests.unit.controllers.apiserver import ApiServer, failure
from tests.unit.gateway.serving import PATIENT, Book, People, served

EXECUTIONS = "/apis/ossa.dev/v1alpha1/namespaces/{}/executions"
CREATE = ("create", "executions", "lab")
Answer = Callable[[dict[str, Any]], web.Response | None]


class Cluster(ApiServer):
    """As its base; `admit` answers instead of it, and `stopped` does so for everything, by breaking the connection.

    Whatever list is gone on with was begun too long ago. `allowed` answers whether a user may do something.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stopped = False
        self.asked = 0
        self.admit: Answer = lambda _: None
        self.allowed: Callable[[str, Access], bool] = lambda *_: False

    def executions(self, namespace: str = "lab") -> list[dict[str, Any]]:
        """All there are."""
        return self.of(EXECUTIONS.format(namespace))

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.asked += 1
        if self.stopped:
            if request.transport is not None:
                request.transport.abort()
            return failure(503, "Stopped")
        if request.query.get("continue"):
            return failure(410, "Expired", "the provided continue parameter is too old")
        return await super()._answer(request)

    def _post(self, path: str, item: dict[str, Any]) -> web.Response:
        if path == ACCESS_REVIEWS:
            asked = item["spec"]["resourceAttributes"]
            access = Access(asked["verb"], asked["resource"], asked["namespace"], asked["name"])
            allowed = self.allowed(item["spec"]["user"], access)
            return web.json_response({"status": {"allowed": allowed}}, status=201)
        return self.admit(item) or super()._post(path, item)

    def _patch(self, path: str, operations: Any) -> web.Response:
        if not isinstance(operations, dict):
            return super()._patch(path, operations)
        if path not in self.objects:
            return failure(404, "NotFound", path)
        return web.json_response(self.put(path.rsplit("/", 1)[0], _merged(self.objects[path], operations)))


def _merged(item: dict[str, Any], patch: dict[str, Any]) -> dict[str, Any]:
    """RFC 7396."""
    made = copy.deepcopy(item)
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = _merged(made.get(key) or {}, value) if isinstance(value, dict) else value
    return made


@dataclass
class Lab:
    """What a test has at hand."""

    cluster: Cluster
    people: People
    book: Book
    records: Records
    api: ApiClient
    url: str
    settings: Settings
    acceptor: Acceptor
    metrics: Metrics
    registry: Registry
    authorizer: Authorizer
    client: httpx.AsyncClient = field(init=False)

    @property
    def collaborators(self) -> Collaborators:
        """What routes work with."""
        return Collaborators(
            settings=self.settings,
            authenticator=self.people,
            authorizer=self.authorizer,
            limiter=self.people,
            api=self.api,
            records=self.records,
            trail=self.book,
            metrics=self.metrics,
        )

    async def post(self, path: str, body: Any = None, *, who: str = "alice", **headers: str) -> httpx.Response:
        """As somebody; a keyword with _ is a header with -."""
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.client.post(path, json=body, headers={"Authorization": f"Bearer {who}", **given})

    async def get(self, path: str, *, who: str = "alice", **params: Any) -> httpx.Response:
        """As somebody."""
        return await self.client.get(path, params=params, headers={"Authorization": f"Bearer {who}"})

    async def rows(self) -> list[asyncpg.Record]:
        """All requests, as PostgreSQL has them; not by the pool, which a test may have broken."""
        connection = await asyncpg.connect(self.url)
        try:
            return await connection.fetch("SELECT * FROM requests ORDER BY created_at")
        finally:
            await connection.close()

    async def carried_out(self) -> None:
        """A carrier has looked at everything that is open, as if its time had come."""
        connection = await asyncpg.connect(self.url)
        try:
            await connection.execute("UPDATE requests SET due_at = now() - interval '1s' WHERE state = 'open'")
        finally:
            await connection.close()
        carrier = Carrier(self.collaborators)
        while await carrier.turn():
            pass


@asynccontextmanager
async def lab(
    records_url: str, *, authorizer: Callable[[ApiClient], Authorizer] | None = None, **settings: Any
) -> AsyncIterator[Lab]:
    """Alice may create Executions in namespace lab. The registry is read, and empty.

    authorizer: what asks the cluster who may do what; None: `people` know.
    """
    cluster, people, metrics, registry = Cluster(), People(), Metrics(), Registry()
    people.add("alice", CREATE)
    for shelf in (registry.agents, registry.workflows):
        shelf.replaced([], 1)
    async with AsyncExitStack() as stack:
        config = await stack.enter_async_context(cluster.served())
        api = await stack.enter_async_context(ApiClient(config))
        records = await stack.enter_async_context(Records(records_url, application="test"))
        made = Lab(
            cluster=cluster,
            people=people,
            book=Book(),
            records=records,
            api=api,
            url=records_url,
            settings=replace(PATIENT, **settings),
            acceptor=None,  # type: ignore[arg-type] # it needs the rest
            metrics=metrics,
            registry=registry,
            authorizer=authorizer(api) if authorizer is not None else people,
        )
        made.acceptor = Acceptor(made.collaborators)
        routers = rest(made.collaborators, made.acceptor, registry)
        port = await stack.enter_async_context(served(routers, settings=made.settings, metrics=metrics))
        made.client = await stack.enter_async_context(
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=20, limits=LIMITS)
        )
        yield made
        await made.acceptor.drained()
