"""The two questions that sign-in asks an API server, answered on a local port."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig


@dataclass
class Kubernetes:
    """Knows `tokens` (token to the status of a TokenReview) and `allowed` (user, verb, resource, namespace).

    `named` are rights to one object: they have its name, too.
    """

    tokens: dict[str, dict[str, Any]] = field(default_factory=dict)
    allowed: set[tuple[str, str, str, str]] = field(default_factory=set)
    named: set[tuple[str, str, str, str, str]] = field(default_factory=set)
    asked: list[dict[str, Any]] = field(default_factory=list)
    failing: bool = False
    ready: bool | None = None  # what /readyz says; None: there is no such path
    delay: float = 0.0
    url: str = ""

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self._token)
        app.router.add_post("/apis/authorization.k8s.io/v1/subjectaccessreviews", self._access)
        app.router.add_get("/readyz", self._readiness)
        return app

    async def _readiness(self, _: web.Request) -> web.Response:
        if self.ready is None:
            raise web.HTTPNotFound
        return web.Response(text="ok", status=200 if self.ready else 500)

    async def _spec(self, request: web.Request) -> dict[str, Any]:
        spec: dict[str, Any] = (await request.json())["spec"]
        self.asked.append(spec)
        await asyncio.sleep(self.delay)
        if self.failing:
            raise web.HTTPServiceUnavailable(text="etcd is away")
        return spec

    async def _token(self, request: web.Request) -> web.Response:
        spec = await self._spec(request)
        return web.json_response({"status": self.tokens.get(spec["token"], {"error": "unknown"})}, status=201)

    async def _access(self, request: web.Request) -> web.Response:
        spec = await self._spec(request)
        asked = spec["resourceAttributes"]
        who: Iterator[str] = iter((spec["user"], *spec["groups"]))
        rights = [(name, asked["verb"], asked["resource"], asked["namespace"]) for name in who]
        may = any(right in self.allowed or (*right, asked["name"]) in self.named for right in rights)
        return web.json_response({"status": {"allowed": may}}, status=201)


@asynccontextmanager
async def kubernetes() -> AsyncIterator[tuple[Kubernetes, ApiClient]]:
    """With a client, until the block ends."""
    server = Kubernetes()
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        async with ApiClient(KubeConfig(server=server.url, token=lambda: None, namespace="default")) as api:
            yield server, api
    finally:
        await runner.cleanup()
