"""What all requests to the artifact service share: errors become problem objects, and all is counted."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from http import HTTPStatus

from aiohttp import ClientError, web
from aiohttp.http_exceptions import HttpProcessingError
from aiohttp.typedefs import Middleware

from ossa.logs import log_about
from ossa.store.errors import Problem, Unavailable
from ossa.store.metrics import Metrics

HUNG_UP = 499
# Whoever makes methods up gets no time series of their own.
_METHODS = frozenset({"GET", "PUT", "POST", "PATCH", "DELETE", "HEAD"})
_log = logging.getLogger("ossa.store.http")
_Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class InFlight:
    """The requests that are being answered."""

    def __init__(self) -> None:
        self._count = 0
        self._none = asyncio.Event()
        self._none.set()

    def __enter__(self) -> None:
        self._count += 1
        self._none.clear()

    def __exit__(self, *_: object) -> None:
        self._count -= 1
        if not self._count:
            self._none.set()

    def __len__(self) -> int:
        return self._count

    async def none_left(self) -> None:
        """Until there is none."""
        await self._none.wait()


def middleware(metrics: Metrics, in_flight: InFlight) -> Middleware:
    """Answers with a problem object where a handler raises Problem, and counts what was answered."""

    @web.middleware
    async def answer(request: web.Request, handler: _Handler) -> web.StreamResponse:
        method = request.method if request.method in _METHODS else "other"
        began, code = time.monotonic(), int(HTTPStatus.INTERNAL_SERVER_ERROR)
        log_about(None)  # the last request of this connection may have been about something else
        try:
            with in_flight:
                response = await handler(request)
            code = response.status
            return response
        except Problem as problem:
            code = problem.status
            return problem_response(problem)
        except web.HTTPException as error:
            code = error.status
            raise
        except (ConnectionError, ClientError, HttpProcessingError) as error:
            # The caller went away in the middle: nobody hears the answer, and it is no error of ours.
            code = HUNG_UP
            _log.info("%s %s: the caller hung up: %r", request.method, request.path, error)
            return web.Response(status=HUNG_UP)
        finally:
            metrics.requests.labels(method, code).inc()
            metrics.seconds.labels(method).observe(time.monotonic() - began)
            if code != HTTPStatus.OK or request.method != "GET":
                _log.info("%s %s %d", request.method, request.path, code)

    return answer


def problem_response(problem: Problem) -> web.Response:
    """The problem as RFC 9457 has it."""
    body = {"type": "about:blank", "title": problem.status.phrase, "status": int(problem.status)}
    response = web.json_response(
        {**body, "detail": problem.detail}, status=problem.status, content_type="application/problem+json"
    )
    if isinstance(problem, Unavailable):
        response.headers["Retry-After"] = "1"
    if problem.status is HTTPStatus.METHOD_NOT_ALLOWED:
        response.headers["Allow"] = "GET"
    if problem.status is HTTPStatus.UNAUTHORIZED:
        response.headers["WWW-Authenticate"] = "Bearer"
    return response
