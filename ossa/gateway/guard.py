"""The way in: who calls, how often, with what body; and the audit trail of what became of it."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from ossa.audit.entry import Entry, Outcome
from ossa.gateway.answers import answer_of
from ossa.gateway.arrival import arrival_of
from ossa.gateway.context import Call, Collaborators
from ossa.gateway.problems import Problem, Unkept
from ossa.gateway.refusals import problem_of, records_away
from ossa.kube.errors import ApiError
from ossa.store.records.errors import RecordsUnavailable

Handle = Callable[[Request], Awaitable[Response]]

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})
REFUSALS = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
_ESCAPE, _STRING = re.compile(rb"\\.", re.DOTALL), re.compile(rb'"[^"]*"')
_NO_BRACKETS, _ONE_KIND = bytes(set(range(256)) - set(b"[]{}")), bytes.maketrans(b"{}", b"[]")


class BodyRequest(Request):
    """A request whose JSON is read by orjson, and not deeper than `max_depth`."""

    max_depth: int

    async def json(self) -> Any:
        """The body. Raises Problem 400 where it is too deep; JSONDecodeError where it is no JSON."""
        body = await self.body()
        check_depth(body, self.max_depth)
        return orjson.loads(body)


def check_depth(body: bytes, most: int) -> None:
    """Raises Problem 400 where JSON is nested deeper than `most`. Most bodies have too few brackets to need a look."""
    if body.count(b"[") + body.count(b"{") > most and is_deeper(body, most):
        raise Problem(HTTPStatus.BAD_REQUEST, f"the JSON is nested deeper than {most} levels; make it flatter")


def is_deeper(body: bytes, most: int) -> bool:
    """Whether JSON is nested deeper than `most`; brackets in strings do not count."""
    brackets = _STRING.sub(b"", _ESCAPE.sub(b"", body)).translate(_ONE_KIND, _NO_BRACKETS)
    # Each round takes away the innermost level, at the speed of C.
    for _ in range(most):
        brackets = brackets.replace(b"[]", b"")
    return bool(brackets)


def signed_in(c: Collaborators) -> type[APIRoute]:
    """The route class of a router whose routes are for those who are signed in.

    Who calls is found out before a byte of the body is read. The audit trail has what is about to be changed
    (`Call.announce`), and before the answer goes out how every request ended that may change something, and every
    refusal. The verb is the name of the route's function, the kind of thing its first tag.
    """

    class SignedInRoute(APIRoute):
        def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
            extra = {"security": [{"bearer": []}], **(more.pop("openapi_extra", None) or {})}
            super().__init__(path, endpoint, openapi_extra=extra, **more)

        def get_route_handler(self) -> Callable[[Request], Any]:
            handle = super().get_route_handler()
            takes_body = self.body_field is not None

            async def guarded(request: Request) -> Response:
                return await _attend(c, self, request, _checked(handle) if takes_body else handle)

            return guarded

    def _checked(handle: Handle) -> Handle:
        async def checked(request: Request) -> Response:
            kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
            if kind != "application/json":
                raise Problem(
                    HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON: send Content-Type: application/json"
                )
            body = BodyRequest(request.scope, request.receive)
            body.max_depth = c.settings.max_depth
            return await handle(body)

        return checked

    return SignedInRoute


async def _attend(c: Collaborators, route: APIRoute, request: Request, handle: Handle) -> Response:
    changes = request.method not in SAFE
    call: Call | None = None
    try:
        call = await _admit(c, route, request)
        request.scope["ossa.call"] = call
        response = await handle(request)
    except Unkept as unkept:
        return answer_of(unkept, arrival_of(request.scope).id)  # nothing was done
    except (Problem, ApiError, RecordsUnavailable) as error:
        problem = problem_from(error)
        if problem.status is HTTPStatus.TOO_MANY_REQUESTS:
            c.metrics.limited.inc()
        if changes or problem.status in REFUSALS:
            await c.trail.record(_entry(c, route, request, call, int(problem.status), problem.detail))
        return answer_of(problem, arrival_of(request.scope).id)
    except (HTTPException, RequestValidationError):
        raise  # not understood, and nothing done
    except Exception as error:
        if changes:
            await c.trail.record(_entry(c, route, request, call, 500, type(error).__name__))
        raise
    if changes:
        await c.trail.record(_entry(c, route, request, call, response.status_code, ""))
        call.settle()
    return response


def problem_from(error: Problem | ApiError | RecordsUnavailable) -> Problem:
    """What a client is told of it."""
    match error:
        case Problem():
            return error
        case RecordsUnavailable():
            return records_away(error)
        case ApiError():
            return problem_of(error)


async def _admit(c: Collaborators, route: APIRoute, request: Request) -> Call:
    arrival, address = arrival_of(request.scope), address_of(request)
    try:
        identity = await c.authenticator.identify(bearer(request.headers))
    except Problem as problem:
        if problem.status is HTTPStatus.UNAUTHORIZED:
            await c.limiter.take(None, address)
        raise
    await c.limiter.take(identity, address)
    return Call(
        id=arrival.id,
        identity=identity,
        address=address,
        traceparent=arrival.trace.traceparent,
        ask=lambda call: c.trail.record(_entry(c, route, request, call, 0, "")),
    )


def bearer(headers: Mapping[str, str]) -> str:
    """The token in the header Authorization. Raises Problem 401 where there is none."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Problem(
            HTTPStatus.UNAUTHORIZED,
            "sign in, and send Authorization: Bearer TOKEN",
            headers={"WWW-Authenticate": "Bearer"},
        )
    return token.strip()


def address_of(request: Request) -> str:
    """Where the request came from, as the server says, which believes the proxies of the settings."""
    return request.client.host if request.client is not None else ""


def _entry(  # noqa: PLR0913, PLR0917 - what an entry has
    c: Collaborators, route: APIRoute, request: Request, call: Call | None, status: int, reason: str
) -> Entry:
    arrival, access = arrival_of(request.scope), call.access if call is not None else None
    parameters = request.path_params
    return Entry(
        id=arrival.id,
        time=c.clock(),
        user=call.identity.user if call is not None else "",
        address=address_of(request)[:64],
        verb=((call and call.verb) or route.name)[:32],
        resource=str(route.tags[0] if route.tags else "")[:64],
        namespace=access.namespace if access is not None else str(parameters.get("namespace", ""))[:63],
        name=(access.name if access is not None else str(parameters.get("name", "")))[:512],
        outcome=outcome_of(status),
        status=status,
        reason=reason[:1024],
        trace_id=arrival.trace.trace_id,
    )


def outcome_of(status: int) -> Outcome:
    """How it ended, of an HTTP status; 0 where there is none yet."""
    if status == 0:
        return "asked"
    if status < 400:
        return "allowed"
    return "denied" if status in REFUSALS else "failed"
