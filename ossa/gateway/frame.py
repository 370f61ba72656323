"""What every request passes: its id, security headers, limits of the body, and an answer whatever happens.

Plain ASGI: Starlette's BaseHTTPMiddleware costs a task and a queue a request.
"""

from __future__ import annotations

import asyncio
import logging
import time
from http import HTTPStatus

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ossa.gateway.answers import answer_of
from ossa.gateway.arrival import Arrival, arrival_of, header, request_id
from ossa.gateway.health import Health
from ossa.gateway.metrics import UNMATCHED, Metrics
from ossa.gateway.problems import Problem
from ossa.gateway.tracing import trace_of

_log = logging.getLogger("ossa.gateway")

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
SECURITY_HEADERS: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"strict-transport-security", b"max-age=31536000"),
)
NO_STORE = (b"cache-control", b"no-store")
# So that no request meets a connection that closes just then.
CLOSE = (b"connection", b"close")


# What a client is told of an error of ours.
DEFECT = Problem(
    HTTPStatus.INTERNAL_SERVER_ERROR,
    "an error of the gateway's own; its log tells of it under the request in `instance`",
)


class Frame:
    """Names the request, measures it, adds headers, and turns what nobody caught into a 500."""

    def __init__(self, app: ASGIApp, *, metrics: Metrics, health: Health) -> None:
        self._app, self._metrics, self._health = app, metrics, health

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await self._app(scope, receive, send)
        arrival = scope["ossa.arrival"] = Arrival(request_id(), trace_of(scope))
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        return await self._answer(scope, receive, send, arrival)

    async def _answer(self, scope: Scope, receive: Receive, send: Send, arrival: Arrival) -> None:
        code = 0

        async def framed(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
                headers = [*message.get("headers", ()), (b"x-request-id", arrival.id.encode()), *SECURITY_HEADERS]
                if not any(name == b"cache-control" for name, _ in headers):
                    headers.append(NO_STORE)
                if self._health.draining:
                    headers.append(CLOSE)
                message = {**message, "headers": headers}
            await send(message)

        began = time.perf_counter()
        self._metrics.in_flight.inc()
        try:
            await self._app(scope, receive, framed)
        except Exception:
            _log.exception(
                "a defect: the request could not be answered",
                extra={"request": arrival.id, "method": scope["method"]},
            )
            if code:
                raise  # the server breaks off what has begun
            await answer_of(DEFECT, arrival.id)(scope, receive, framed)
        finally:
            self._metrics.in_flight.dec()
            route = getattr(scope.get("route"), "path", UNMATCHED)
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._metrics.observe(route, method, code, time.perf_counter() - began)


class BodyGuard:
    """Bounds a body in bytes and in time, also one that does not say its length. Bytes, seconds."""

    def __init__(self, app: ASGIApp, *, most: int, seconds: float) -> None:
        self._app, self._most, self._seconds = app, most, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        length = header(scope, b"content-length")
        if length is None and header(scope, b"transfer-encoding") is None:
            return await self._app(scope, receive, send)
        if length is not None and (not length.isdigit() or int(length) > self._most):
            return await answer_of(self._too_large(), arrival_of(scope).id)(scope, receive, send)
        return await self._app(scope, self._bounded(receive), send)

    def _bounded(self, receive: Receive) -> Receive:
        deadline = asyncio.get_running_loop().time() + self._seconds
        taken, complete = 0, False

        async def bounded() -> Message:
            nonlocal taken, complete
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(deadline):
                    message = await receive()
            except TimeoutError:
                raise self._too_slow() from None
            taken += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if taken > self._most:
                raise self._too_large()
            return message

        return bounded

    def _too_large(self) -> Problem:
        return Problem(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a body may have {self._most} bytes; pass large values as artifacts, or have a task read them",
        )

    def _too_slow(self) -> Problem:
        # What is left of the body must not be taken for the next request.
        return Problem(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not come within {self._seconds:g} s; send it at once",
            headers={"Connection": "close"},
        )
