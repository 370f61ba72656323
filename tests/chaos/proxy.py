"""A proxy between one reconciler and the API server, that answers some requests wrongly.

It listens on the loopback address without TLS: what it forwards carries the reconciler's own token, over TLS.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import aiohttp
import orjson
from aiohttp import web
from yarl import URL

from ossa.kube.config import KubeConfig
from tests.chaos.answers import QUIET, Answer, Rates, Request, drawn, message
from tests.chaos.records import FaultLog

HOP_BY_HOP = frozenset({"connection", "keep-alive", "transfer-encoding", "content-length", "host", "upgrade"})
BODY_MOST = 8 * 1024 * 1024
READ_BUFFER = 4 * 1024 * 1024


class Proxy:
    """One reconciler's way to the API server.

    writes: when each write came (monotonic), and what it was, but for those of the Lease.
    """

    def __init__(self, name: str, config: KubeConfig, log: FaultLog, seed: int) -> None:
        self.name = name
        self.url = ""
        self.rates: Rates = QUIET
        self.cut_off = False
        self.led_at = 0.0  # when it last wrote the Lease as its holder
        self.writes: deque[tuple[float, str]] = deque(maxlen=50_000)
        self._server = config.server
        self._ssl = replace(config, cert_file=None, key_file=None).ssl_context()
        self._log = log
        self._rng = random.Random(f"{seed}/proxy/{name}")  # noqa: S311 - a plan, no secret
        self._session: aiohttp.ClientSession | None = None
        self._watches: dict[asyncio.Task[None], bool] = {}  # what relays a watch -> whether it is to say 410

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        """Listens while the block runs."""
        app = web.Application(client_max_size=BODY_MOST)
        app.router.add_route("*", "/{path:.*}", self._handle)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        connector = aiohttp.TCPConnector(ssl=self._ssl, limit=0)
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=5)
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, auto_decompress=False, read_bufsize=READ_BUFFER
        ) as self._session:
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", 0).start()
                host, port = runner.addresses[0][:2]
                self.url = f"http://{host}:{port}"
                yield
            finally:
                await runner.cleanup()

    def end_watches(self, *, expired: bool) -> int:
        """All watches end now, with a 410 or without; how many there were."""
        found = list(self._watches)
        for task in found:
            self._watches[task] = expired
            task.cancel()
        return len(found)

    def writes_after(self, moment: float) -> list[str]:
        """What was written after a moment."""
        return [what for at, what in self.writes if at > moment]

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        asked = Request(request.method, request.path, request.query.get("watch") in ("true", "1"))
        if asked.writes and not asked.lease:
            self.writes.append((time.monotonic(), f"{asked.method} {asked.path}"))
        body = await request.read()
        if self.cut_off:
            return _hung_up(request)
        answer = drawn(self._rng, asked, self.rates)
        if answer is not None and answer.wrong != "watch-stalled" and not asked.watch:
            self._note(answer, asked, body)
        if asked.watch:
            return await self._watch(request, answer)
        if answer is not None:
            if answer.wrong in ("409", "429", "500"):
                return _said(answer)
            if answer.wrong == "dropped-before":
                return _hung_up(request)
            if answer.wrong == "delayed":
                await asyncio.sleep(answer.seconds)
        return await self._call(request, asked, body, answer)

    async def _call(self, request: web.Request, asked: Request, body: bytes, answer: Answer | None) -> web.Response:
        try:
            async with self._open(request, body) as upstream:
                data = await upstream.read()
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _hung_up(request)
        if asked.lease and asked.method in ("POST", "PUT") and upstream.status < 300:
            holder = orjson.loads(body).get("spec", {}).get("holderIdentity")
            self.led_at = time.monotonic() if holder else 0.0
            if holder:
                self._log.renewals.append(self.led_at)
        if answer is not None and answer.wrong == "500-after":
            return _said(answer)
        if self.cut_off or (answer is not None and answer.wrong == "dropped-after"):
            return _hung_up(request)
        return web.Response(status=upstream.status, body=data, headers=_end_to_end(upstream.headers))

    async def _watch(self, request: web.Request, answer: Answer | None) -> web.StreamResponse:
        wrong = answer.wrong if answer is not None else ""
        if answer is not None and wrong == "watch-410":
            self._log.note("watch refused with 410", f"{self.name} {request.path}")
            return _said(answer)
        try:
            async with self._open(request, b"") as upstream:
                if upstream.status >= 400:
                    body = await upstream.read()
                    return web.Response(status=upstream.status, body=body, headers=_end_to_end(upstream.headers))
                response = web.StreamResponse(status=upstream.status, headers=_end_to_end(upstream.headers))
                await response.prepare(request)
                await self._relay(upstream, response, answer, request.path)
                return response
        except (aiohttp.ClientError, TimeoutError, OSError):
            return _hung_up(request)

    async def _relay(
        self, upstream: aiohttp.ClientResponse, response: web.StreamResponse, answer: Answer | None, path: str
    ) -> None:
        wrong = answer.wrong if answer is not None else ""
        stall = answer.seconds if answer is not None and wrong == "watch-stalled" else 0.0
        relay = asyncio.create_task(self._lines(upstream, response, stall, path))
        self._watches[relay] = False
        limit = answer.seconds if answer is not None and wrong in ("watch-410-event", "watch-closed") else None
        try:
            await asyncio.wait({relay}, timeout=limit)
            if not relay.done():
                self._log.note("watch closed" if wrong == "watch-closed" else "watch expired (410)", self._at(path))
                self._watches[relay] = wrong == "watch-410-event"
                relay.cancel()
                await asyncio.wait({relay})
            if relay.cancelled() and self._watches[relay]:
                event = {"type": "ERROR", "object": message("watch-410-event")}
                await response.write(orjson.dumps(event) + b"\n")
            elif not relay.cancelled():
                relay.result()
        finally:
            relay.cancel()
            del self._watches[relay]

    async def _lines(
        self, upstream: aiohttp.ClientResponse, response: web.StreamResponse, stall: float, path: str
    ) -> None:
        count = 0
        async for line in upstream.content:
            count += 1
            if stall and count % 20 == 10:
                self._log.note("watch stalled", self._at(path))
                await asyncio.sleep(stall)
            if self.cut_off:
                return
            await response.write(line)

    def _open(self, request: web.Request, body: bytes) -> aiohttp.client._RequestContextManager:
        assert self._session is not None
        return self._session.request(
            request.method,
            URL(self._server + request.raw_path, encoded=True),
            headers=_end_to_end(request.headers),
            data=body or None,
            allow_redirects=False,
            skip_auto_headers=("Accept", "Accept-Encoding", "Content-Type", "User-Agent"),
        )

    def _note(self, answer: Answer, asked: Request, body: bytes) -> None:
        said = {"409": "answered 409", "429": "answered 429", "500": "answered 500"}
        words = {
            "dropped-before": "dropped before it took effect",
            "dropped-after": "dropped after it took effect",
            "500-after": "answered 500 after it took effect",
            "delayed": "delayed",
        }
        kind = said.get(answer.wrong) or words[answer.wrong]
        self._log.note(kind, f"{self.name} {asked.method} {asked.path}")
        if asked.method == "POST" and asked.path.endswith(("/pods", "/executions")) and answer.wrong != "delayed":
            self._log.posts[orjson.loads(body)["metadata"]["name"]] += 1

    def _at(self, path: str) -> str:
        return f"{self.name} {path}"


def _end_to_end(headers: object) -> dict[str, str]:
    return {key: value for key, value in dict(headers).items() if key.lower() not in HOP_BY_HOP}  # type: ignore[call-overload]


def _said(answer: Answer) -> web.Response:
    held = message(answer.wrong)
    headers = {"Retry-After": "1"} if answer.wrong == "429" else {}
    body = orjson.dumps(held)
    return web.Response(status=int(str(held["code"])), body=body, content_type="application/json", headers=headers)


def _hung_up(request: web.Request) -> web.Response:
    """The connection breaks without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)
