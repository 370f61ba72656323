"""uvicorn in our process: its event loop, parser and deadlines as settings say, and a drain that loses no request."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from ossa.gateway.events.protocol import Sockets
from ossa.gateway.health import Health
from ossa.gateway.metrics import Metrics
from ossa.gateway.protocol import Limits, guarded
from ossa.gateway.settings import Settings

_log = logging.getLogger("ossa.gateway")
# Bytes of one message of a WebSocket client: it sends commands, no data.
WS_MESSAGE = 64 << 10
_BACKLOG = 2048


class Server(uvicorn.Server):
    """Leaves signals to the process that it is a part of. `up` is set once it listens."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listens."""
        await super().startup(sockets)
        self.up.set()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """None are taken."""
        yield


def server(app: ASGIApp, settings: Settings, metrics: Metrics) -> Server:
    """Ready to serve `app`."""
    limits = Limits(
        max_headers=settings.max_headers,
        header_timeout=settings.header_timeout,
        write_timeout=settings.write_timeout,
        linger=settings.linger,
    )
    config = uvicorn.Config(
        app,
        http=guarded(limits, metrics),
        ws=Sockets,
        ws_max_size=WS_MESSAGE,
        # 10,000 idle clients would hold 10,000 compressors.
        ws_per_message_deflate=False,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.trusted_proxies),
        forwarded_allow_ips=list(settings.trusted_proxies),
        timeout_keep_alive=int(settings.keep_alive),
        timeout_graceful_shutdown=int(settings.drain_timeout),
    )
    return Server(config)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket; port 0 takes a free one."""
    sock = socket.create_server((host, port), backlog=_BACKLOG, reuse_port=False)
    sock.setblocking(False)
    return sock


@contextlib.asynccontextmanager
async def serving(
    server: Server,
    sock: socket.socket,
    *,
    health: Health,
    drain_delay: float,
    drain: Callable[[], Awaitable[None]] | None = None,
) -> AsyncIterator[None]:
    """Serves inside of the context. On the way out it drains: not ready, then deaf, then what runs may end.

    drain: ends what would not end by itself, such as WebSockets.
    """
    task = asyncio.create_task(server.serve(sockets=[sock]))
    try:
        up = asyncio.create_task(server.up.wait())
        done, _ = await asyncio.wait({task, up}, return_when=asyncio.FIRST_COMPLETED)
        if task in done:
            up.cancel()
            task.result()
            raise RuntimeError("the server ended as it began")
        _log.info("listening on port %d", sock.getsockname()[1])
        yield
        _log.info("stops listening: requests may take %d s to end", server.config.timeout_graceful_shutdown or 0)
        health.draining = True
        await asyncio.sleep(drain_delay)
        if drain is not None:
            await drain()
    finally:
        server.should_exit = True
        await task
