"""What the kubelet asks a process that watches the API server: /healthz and /readyz."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web


@asynccontextmanager
async def served(app: web.Application, host: str, port: int) -> AsyncIterator[None]:
    """An application on a port, until the block ends."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        yield
    finally:
        await runner.cleanup()


@asynccontextmanager
async def probes(host: str, port: int, *, ready: Callable[[], bool], path: str = "/healthz") -> AsyncIterator[None]:
    """Serves `path` while the event loop runs, and beside it /readyz.

    ready: whether the API server answers. One that waits for its turn is as ready as the one that leads: a rollout goes
    on, and a drain may take the leader's node.
    """

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        if ready():
            return web.Response(text="ok\n")
        return web.Response(status=503, text="the API server does not answer\n")

    app = web.Application()
    app.router.add_get(path, alive)
    app.router.add_get("/readyz", is_ready)
    async with served(app, host, port):
        yield
