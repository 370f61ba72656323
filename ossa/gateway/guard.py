"""The way in: who calls, how often, with what body; and the audit trail of what became of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute

from ossa.audit.entry import REFUSALS, Entry, entry_of
from ossa.gateway.answers import answer_of
from ossa.gateway.arrival import arrival_of, header
from ossa.gateway.context import Call, Collaborators
from ossa.gateway.inputs import Inputs, NotUnderstood
from ossa.gateway.problems import Problem, Unkept
from ossa.gateway.refusals import problem_of, records_away
from ossa.kube.errors import ApiError
from ossa.store.records.errors import RecordsUnavailable

SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


class SignedIn(APIRoute):
    """A route for those who are signed in. `signed_in` makes the class for a router."""

    collaborators: Collaborators

    def __init__(self, path: str, endpoint: Callable[..., Any], **more: Any) -> None:
        extra = {"security": [{"bearer": []}], **(more.pop("openapi_extra", None) or {})}
        super().__init__(path, endpoint, openapi_extra=extra, **more)

    def get_route_handler(self) -> Callable[[Request], Any]:
        """What FastAPI calls where it leads here itself."""
        self.inputs = Inputs(self.dependant, max_depth=self.collaborators.settings.max_depth)
        return self.attend

    async def attend(self, request: Request) -> Response:
        """The answer, also to what is refused, or what the audit trail cannot keep: before a change, or after it."""
        try:
            return await _attend(self.collaborators, self, request)
        except Unkept as unkept:
            return answer_of(unkept, arrival_of(request.scope).id)


def signed_in(c: Collaborators) -> type[SignedIn]:
    """The route class of a router whose routes are for those who are signed in.

    Who calls is found out before a byte of the body is read. The audit trail has what is about to be changed
    (`Call.announce`), and before the answer goes out how every request ended that may change something, and every
    refusal. The verb is the name of the route's function, the kind of thing its first tag.
    """

    return type("SignedInRoute", (SignedIn,), {"collaborators": c})


async def _attend(c: Collaborators, route: SignedIn, request: Request) -> Response:
    changes = request.method not in SAFE
    call: Call | None = None
    try:
        call = request.scope["ossa.call"] = await _admit(c, route, request)
        if route.inputs.takes_body:
            _check_type(request)
        response: Response = await route.endpoint(**await route.inputs.of(request))
    except NotUnderstood as error:
        return answer_of(error.problem, arrival_of(request.scope).id)  # and nothing done
    except Unkept:
        raise  # nothing was done
    except (Problem, ApiError, RecordsUnavailable) as error:
        problem = problem_from(error)
        if changes or problem.status in REFUSALS:
            await c.trail.record(_entry(c, route, request, call, int(problem.status), problem.detail))
        return answer_of(problem, arrival_of(request.scope).id)
    except Exception as error:
        if changes:
            await c.trail.record(_entry(c, route, request, call, 500, type(error).__name__))
        raise
    if changes:
        await c.trail.record(_entry(c, route, request, call, response.status_code, ""))
        call.settle()
    return response


def _check_type(request: Request) -> None:
    kind = header(request.scope, b"content-type") or b""
    if kind.partition(b";")[0].strip().lower() != b"application/json":
        raise Problem(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "the body must be JSON: send Content-Type: application/json")


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
    return entry_of(
        id=arrival.id,
        time=c.clock(),
        user=call.identity.user if call is not None else "",
        address=address_of(request),
        verb=(call and call.verb) or route.name,
        resource=str(route.tags[0] if route.tags else ""),
        namespace=access.namespace if access is not None else str(parameters.get("namespace", "")),
        name=access.name if access is not None else str(parameters.get("name", "")),
        status=status,
        reason=reason,
        trace_id=arrival.trace.trace_id,
    )
