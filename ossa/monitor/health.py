"""What the monitor says of itself over HTTP: /healthz and /readyz on one port, /metrics on another."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from aiohttp import web

from ossa.monitor.metrics import Metrics

HOST = "0.0.0.0"
TEXT = "text/plain; version=0.0.4; charset=utf-8"


@asynccontextmanager
async def health(*, port: int, metrics_port: int, metrics: Metrics, ready: Callable[[], bool]) -> AsyncIterator[None]:
    """Serves while the event loop runs.

    ready: whether the API server answers. One that waits for its turn is as ready as the one that leads, and with
    PostgreSQL or Redis away it is ready too: it takes up where it was when they are back.
    """

    async def alive(_: web.Request) -> web.Response:
        return web.Response(text="ok\n")

    async def is_ready(_: web.Request) -> web.Response:
        return web.Response(text="ok\n") if ready() else web.Response(status=503, text="the API server is away\n")

    async def told(_: web.Request) -> web.Response:
        return web.Response(body=metrics.text(), headers={"Content-Type": TEXT})

    probes, figures = web.Application(), web.Application()
    probes.router.add_get("/healthz", alive)
    probes.router.add_get("/readyz", is_ready)
    figures.router.add_get("/metrics", told)
    runners = [web.AppRunner(app, access_log=None, shutdown_timeout=1.0) for app in (probes, figures)]
    try:
        for runner, number in zip(runners, (port, metrics_port), strict=True):
            await runner.setup()
            await web.TCPSite(runner, HOST, number).start()
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
