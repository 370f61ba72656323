"""The server of the admission webhooks.

A renewed certificate is served without closing the port, since the API server would refuse requests meanwhile, or let
them pass unjudged. A review of an update holds two objects of up to 1.5 MiB.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Iterator
from http import HTTPStatus
from pathlib import Path
from typing import Any

import orjson
import uvicorn

logger = logging.getLogger("ossa.admission")

CERTIFICATE_SECONDS = 5.0
# Bytes of a review: two objects of the size that etcd takes, as JSON with all that may be escaped.
REVIEW_LIMIT = 16 * 1024 * 1024
# Seconds at the end in which each answer closes its connection, so that the API server, which keeps connections, sends
# no review into one that is being closed: it would refuse the request.
DRAIN_SECONDS = 3.0
# Seconds that reviews have to be answered in after that.
LAST_SECONDS = 10
# Seconds that a connection without reviews stays: the API server is to be the one who closes it.
IDLE_SECONDS = 3600
NO_VERDICT = b"the OSSA webhook failed; its log says why"
Review = dict[str, Any]
Answering = Callable[[Review, str], Awaitable[Review]]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]


class _Refused(Exception):
    """A request that is no review: the status and why."""

    def __init__(self, status: HTTPStatus, why: str) -> None:
        super().__init__(why)
        self.status = status


class _Server(uvicorn.Server):
    """Leaves signals to the process that it is a part of."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


class WebhookServer:
    """Serves until it is told to stop.

    answering: gives the answer to a review that came to a path. What it raises is logged, and answered with 500: the
        API server does what the entry's failurePolicy says.
    serves: is told of each certificate that new connections are served with, in PEM.
    """

    def __init__(
        self, *, port: int, certificate: str, key: str, answering: Answering, serves: Callable[[bytes], None]
    ) -> None:
        self._port = port
        self._files = (certificate, key)
        self._answering = answering
        self._serves = serves
        self._ends = False

    async def serve(self, stopped: asyncio.Event) -> None:
        """Returns once `stopped` is set, and what came before is answered."""
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        # The API server resumes no session: tickets, a tenth of a handshake, would be made for nothing.
        context.num_tickets = 0
        seen = self._load(context)
        server = self._server(context)
        listening = socket.create_server(("0.0.0.0", self._port), backlog=1024, reuse_port=True)
        serving = asyncio.create_task(server.serve(sockets=[listening]))
        try:
            while not (stopped.is_set() or serving.done()):
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(stopped.wait(), CERTIFICATE_SECONDS)
                seen = self._renewed(context, seen)
        finally:
            self._ends = True
            await asyncio.sleep(DRAIN_SECONDS)
            server.should_exit = True
            await serving

    def _server(self, context: ssl.SSLContext) -> _Server:
        async def app(scope: Any, receive: Receive, send: Send) -> None:
            try:
                review = await _review(scope, receive)
                answer = await self._answering(review, scope["path"].removeprefix("/"))
            except _Refused as refused:
                await self._send(send, refused.status, str(refused).encode())
            except Exception:  # whatever it is: the log has it, and the API server is told that there is no verdict
                logger.exception("a review was not answered", extra={"path": scope["path"]})
                await self._send(send, HTTPStatus.INTERNAL_SERVER_ERROR, NO_VERDICT)
            else:
                await self._send(send, HTTPStatus.OK, orjson.dumps(answer), kind=b"application/json")

        config = uvicorn.Config(
            app,
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=IDLE_SECONDS,
            timeout_graceful_shutdown=LAST_SECONDS,
        )
        config.load()
        config.ssl = context
        return _Server(config)

    async def _send(self, send: Send, status: HTTPStatus, body: bytes, *, kind: bytes = b"text/plain") -> None:
        headers = [(b"content-type", kind), (b"content-length", str(len(body)).encode())]
        if self._ends:
            headers.append((b"connection", b"close"))
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _load(self, context: ssl.SSLContext) -> tuple[bytes, ...]:
        """New connections are served with what the files hold now, which is returned."""
        held = tuple(Path(file).read_bytes() for file in self._files)
        context.load_cert_chain(*self._files)
        self._serves(held[0])
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


async def _review(scope: Any, receive: Receive) -> Review:
    """Raises _Refused where the request holds none."""
    if scope["method"] != "POST":
        raise _Refused(HTTPStatus.METHOD_NOT_ALLOWED, "reviews come by POST")
    pieces, size, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise _Refused(HTTPStatus.BAD_REQUEST, "the review is not whole")
        pieces.append(message.get("body", b""))
        size, more = size + len(pieces[-1]), message.get("more_body", False)
        if size > REVIEW_LIMIT:
            raise _Refused(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"a review has {REVIEW_LIMIT} bytes at most")
    try:
        review = orjson.loads(b"".join(pieces))
    except orjson.JSONDecodeError as error:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"the review is no JSON: {error}") from error
    if not isinstance(review, dict):
        raise _Refused(HTTPStatus.BAD_REQUEST, "the review is no object")
    return review
