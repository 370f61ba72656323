"""One attempt at carrying a request out."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from http import HTTPStatus

from ossa.gateway.orchestrate.wanted import execution_of, is_of
from ossa.gateway.problems import Problem
from ossa.gateway.refusals import refusal
from ossa.kube.client import ApiClient
from ossa.kube.errors import ApiError, Conflict
from ossa.kube.paths import ossa
from ossa.store.records.requests import Request

_log = logging.getLogger("ossa.gateway")
# Seconds between attempts where the API server answers with an error of its own, such as a webhook that is restarted.
PAUSES = (0.05, 0.2)
# Seconds for all of it: whoever calls waits, and what is not done then a carrier does.
MOST = 5.0


@dataclass(frozen=True, slots=True)
class Created:
    """The Execution is there."""

    uid: str


@dataclass(frozen=True, slots=True)
class Refused:
    """It is not, and will not be."""

    problem: Problem


@dataclass(frozen=True, slots=True)
class Postponed:
    """It may be there or not; to be tried again."""

    error: ApiError


Outcome = Created | Refused | Postponed


async def carry_out(api: ApiClient, request: Request) -> Outcome:
    """Create the Execution, or find that it was created. Any number of these, also at once, create one.

    Errors of the API server's own are tried again at once, for a moment.
    """
    outcome: Outcome = Postponed(ApiError(0, "Timeout", f"no answer within {MOST:g} s"))
    try:
        async with asyncio.timeout(MOST):
            for pause in (*PAUSES, None):
                outcome = await _create(api, request)
                if pause is None or not isinstance(outcome, Postponed) or outcome.error.status < 500:
                    break
                await asyncio.sleep(pause)
    except TimeoutError:
        pass
    if isinstance(outcome, Postponed):
        told = {"request": str(request.id), "namespace": request.namespace, "execution": request.name}
        _log.warning("a request is carried out later", extra={**told, "error": str(outcome.error)})
    return outcome


async def _create(api: ApiClient, request: Request) -> Outcome:
    try:
        made = await api.post(ossa("executions", request.namespace), execution_of(request))
    except Conflict as error:
        # The other kind is a quota that somebody else used meanwhile.
        return await _held(api, request) if error.reason == "AlreadyExists" else Postponed(error)
    except ApiError as error:
        problem = refusal(error)
        return Postponed(error) if problem is None else Refused(problem)
    return Created(str(made["metadata"]["uid"]))


async def _held(api: ApiClient, request: Request) -> Outcome:
    try:
        item = await api.get(ossa("executions", request.namespace, request.name))
    except ApiError as error:
        return Postponed(error)
    if is_of(item, request):
        return Created(str(item["metadata"]["uid"]))
    return Refused(taken(request))


def taken(request: Request) -> Problem:
    """There is an Execution of this name that another request made, or nobody's."""
    if request.key is None:
        return Problem(
            HTTPStatus.CONFLICT,
            f"an Execution {request.name!r} that this request did not make is there already; send the request again",
        )
    return other_body(request.key)


def other_body(key: str) -> Problem:
    """The key was used for something else."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        f"the Idempotency-Key {key!r} was used for another request; use a new key for each request, and the same key "
        "only to send the same request again",
        more={"field": "Idempotency-Key"},
    )
