"""The server of the admission webhooks, in place of kopf's.

kopf's closes its port for a moment when the certificate is renewed, in which the API server refuses requests or lets
them pass unjudged, and it takes reviews up to 1 MiB, where a review of an update holds two objects of up to 1.5 MiB.
"""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import kopf
import orjson
from aiohttp import web

logger = logging.getLogger("ossa.admission")

CERTIFICATE_SECONDS = 5.0
# Bytes of a review: two objects of the size that etcd takes, as JSON with all that may be escaped.
REVIEW_LIMIT = 16 * 1024 * 1024
# Seconds at the end in which each answer closes its connection, so that the API server, which keeps connections, sends
# no review into one that is being closed: it would refuse the request.
DRAIN_SECONDS = 3.0
# Seconds that reviews have to be answered in after that.
LAST_SECONDS = 10.0
Review = dict[str, Any]
Answering = Callable[[Review, str, kopf.WebhookFn], Awaitable[Review]]


class WebhookServer:
    """Of kopf's protocol: called with its function, it serves and yields once.

    answering: gives the answer to a review that came to a path, with the help of kopf's function.
    """

    def __init__(self, *, port: int, certificate: str, key: str, answering: Answering) -> None:
        self._port = port
        self._files = (certificate, key)
        self._answering = answering
        self._ends = False

    async def __call__(self, fn: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
        async def serve(request: web.Request) -> web.Response:
            try:
                review = orjson.loads(await request.read())
            except orjson.JSONDecodeError as error:
                raise web.HTTPBadRequest(text=f"the review is no JSON: {error}") from error
            if not isinstance(review, dict):
                raise web.HTTPBadRequest(text="the review is no object")
            answer = await self._answering(review, request.match_info["path"], fn)
            response = web.Response(body=json.dumps(answer), content_type="application/json")
            if self._ends:
                response.force_close()
            return response

        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        seen = self._load(context)
        app = web.Application(client_max_size=REVIEW_LIMIT)
        app.router.add_post("/{path:.*}", serve)
        runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=LAST_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, "0.0.0.0", self._port, ssl_context=context, reuse_port=True).start()
            yield kopf.WebhookClientConfig(url=f"https://localhost:{self._port}")
            while True:
                await asyncio.sleep(CERTIFICATE_SECONDS)
                seen = self._renewed(context, seen)
        finally:
            self._ends = True
            await asyncio.sleep(DRAIN_SECONDS)
            await runner.cleanup()

    def _load(self, context: ssl.SSLContext) -> tuple[bytes, ...]:
        """New connections are served with what the files hold now, which is returned."""
        held = tuple(Path(file).read_bytes() for file in self._files)
        context.load_cert_chain(*self._files)
        return held

    def _renewed(self, context: ssl.SSLContext, seen: tuple[bytes, ...]) -> tuple[bytes, ...]:
        try:
            if tuple(Path(file).read_bytes() for file in self._files) == seen:
                return seen
            return self._load(context)
        except (OSError, ssl.SSLError) as error:
            # Half of a pair, while the other half is being written: the old one serves on.
            logger.warning("certificate not read", extra={"error": str(error)})
            return seen
