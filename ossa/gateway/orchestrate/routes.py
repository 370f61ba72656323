"""POST /orchestrate, and what became of a request."""

from __future__ import annotations

from http import HTTPStatus
from uuid import UUID

import orjson
from fastapi import APIRouter, Request, Response

from ossa.api.base import JSONObject
from ossa.api.gateway import EXECUTION, ORCHESTRATE, PREFIX, REQUEST, Accepted, OrchestrateRequest, RequestState
from ossa.gateway.answers import JSON
from ossa.gateway.context import Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.orchestrate.accepting import Acceptor, accepted
from ossa.gateway.parameters import IdempotencyKey
from ossa.gateway.problems import Problem
from ossa.store.records import requests
from ossa.store.records.requests import State

_STATES: dict[State, RequestState] = {
    "open": "Accepted",
    "done": "Created",
    "refused": "Refused",
    "withdrawn": "Refused",
}


def router(c: Collaborators, acceptor: Acceptor) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=signed_in(c), tags=["executions"])

    async def orchestrate(
        request: Request, body: OrchestrateRequest, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """Run a workflow. 202: the request is written down, and leads to exactly one Execution."""
        call = call_of(request)
        return answer(await acceptor.accept(call, body.namespace, spec_of(body), key=idempotency_key))

    for path in (PREFIX + ORCHESTRATE, ORCHESTRATE):
        routes.add_api_route(
            path,
            orchestrate,
            methods=["POST"],
            status_code=HTTPStatus.ACCEPTED,
            response_model=Accepted,
            summary="Run a workflow",
            openapi_extra={"x-problems": [404, 409]},
        )

    @routes.get(REQUEST, response_model=Accepted, summary="What became of an accepted request")
    async def request_of(request: Request, id: UUID) -> Response:  # noqa: A002 - as in the path
        """For whoever sent it. `problem` says why it was refused after all."""
        async with c.records.connection() as connection:
            row = await requests.get(connection, id)
        if row is None or row.user != call_of(request).identity.user:
            raise Problem(HTTPStatus.NOT_FOUND, f"there is no request {id} of yours; it may have been too long ago")
        state = accepted(row, _STATES[row.state], row.execution_uid)
        problem = {"problem": orjson.loads(row.problem)} if row.problem else {}
        return JSON({**state.to_json(), **problem})

    return routes


def spec_of(body: OrchestrateRequest) -> JSONObject:
    """The Execution's spec: what was said, and no more."""
    spec = body.model_dump(by_alias=True, exclude_unset=True, mode="json")
    spec.pop("namespace", None)
    return spec


def answer(state: Accepted) -> Response:
    """202, with the Execution's place."""
    place = EXECUTION.format(namespace=state.namespace, name=state.execution)
    return JSON(state.to_json(), HTTPStatus.ACCEPTED, headers={"Location": place})
