"""A server that answers as a test wants it to: what a gateway does in bad moments, at the wished moment."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
from collections import defaultdict, deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from ossa.client import AsyncGateway, Backoff, Credentials, Gateway
from tests.ports import free_port

QUICK = Backoff(first=0.01, longest=0.05, total=5.0)
Answer = Response | Callable[[Request], Awaitable[Response]]


def answer(body: Any = None, status: int = 200, **headers: str) -> Response:
    """JSON."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Response(json.dumps(body), status, headers=named, media_type="application/json")


def problem(status: int, detail: str = "no", **more: str) -> Response:
    """An error."""
    document = {"type": "about:blank", "title": "T", "status": status, "detail": detail, **more}
    return Response(json.dumps(document), status, media_type="application/problem+json")


def lines(*texts: str) -> Response:
    """A stream."""

    async def stream() -> AsyncIterator[str]:
        for text in texts:
            yield text
            await asyncio.sleep(0.01)

    return StreamingResponse(stream(), media_type="text/plain")


@dataclass
class Seen:
    """A request that came."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Script:
    """Answers by path, one after the other; the last one stays."""

    url: str = ""
    answers: dict[str, deque[Answer]] = field(default_factory=lambda: defaultdict(deque))
    seen: list[Seen] = field(default_factory=list)

    def on(self, path: str, *answers: Answer) -> None:
        """What a path answers from now on."""
        self.answers[path] = deque(answers)

    async def reply(self, request: Request) -> Response:
        """The next answer."""
        body = await request.body()
        path = request.scope["raw_path"].decode().partition("?")[0]
        self.seen.append(
            Seen(request.method, path, dict(request.query_params), dict(request.headers), json.loads(body or b"null"))
        )
        waiting = self.answers.get(path)
        if not waiting:
            return problem(404, f"no {path}")
        given = waiting.popleft() if len(waiting) > 1 else waiting[0]
        return given if isinstance(given, Response) else await given(request)


@contextlib.asynccontextmanager
async def scripted() -> AsyncIterator[Script]:
    """The server, on a port of its own."""
    script = Script()
    app = Starlette(routes=[Route("/{path:path}", script.reply, methods=["GET", "POST"])])
    port = free_port()
    server = uvicorn.Server(
        uvicorn.Config(
            app, host="127.0.0.1", port=port, lifespan="off", log_level="warning", timeout_graceful_shutdown=1
        )
    )
    task = asyncio.create_task(server._serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn tells nobody
        await asyncio.sleep(0.01)
    script.url = f"http://127.0.0.1:{port}"
    try:
        yield script
    finally:
        server.should_exit = True
        await task


class Either:
    """One of the two clients, called alike: results are awaited, and iterators read to their end."""

    def __init__(self, kind: str, url: str, credentials: Credentials, *, backoff: Backoff = QUICK) -> None:
        self.client: Any = (Gateway if kind == "sync" else AsyncGateway)(url, credentials, backoff=backoff)

    async def __aenter__(self) -> Either:
        return self

    async def __aexit__(self, *_: object) -> None:
        if isinstance(self.client, Gateway):
            self.client.close()
        else:
            await self.client.close()

    def __getattr__(self, name: str) -> Callable[..., Awaitable[Any]]:
        method = getattr(self.client, name)

        def read(*args: Any, **named: Any) -> Any:
            result = method(*args, **named)
            return list(result) if inspect.isgenerator(result) else result

        async def call(*args: Any, **named: Any) -> Any:
            if isinstance(self.client, Gateway):
                return await asyncio.to_thread(read, *args, **named)
            result = method(*args, **named)
            return [item async for item in result] if inspect.isasyncgen(result) else await result

        return call
