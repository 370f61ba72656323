"""What becomes of an Execution that there is: pause, resume, cancel; retry and rerun, which make another."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Path, Request, Response

from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_AUTHOR
from ossa.api.gateway import STEER, Accepted, Action, ExecutionView
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.gateway.answers import JSON
from ossa.gateway.context import Call, Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import Access
from ossa.gateway.orchestrate.accepting import Acceptor
from ossa.gateway.orchestrate.routes import answer
from ossa.gateway.parameters import IdempotencyKey, Name, Namespace
from ossa.gateway.problems import Problem
from ossa.gateway.rest.executions import missing
from ossa.gateway.rest.views import execution_view
from ossa.kube.errors import NotFound
from ossa.kube.paths import ossa

# The field of the spec, and its value.
CHANGES: dict[str, tuple[str, bool]] = {
    "pause": ("suspend", True),
    "resume": ("suspend", False),
    "cancel": ("cancel", True),
}
# What a new Execution has of the one before it, besides its inputs.
KEPT = ("workflow", "workflowSpec", "priority", "ttlSecondsAfterFinished", "pendingTimeout")
Steering = Annotated[Action, Path(description="What is to become of it.")]


def router(c: Collaborators, acceptor: Acceptor) -> APIRouter:
    """The route."""
    routes = APIRouter(route_class=signed_in(c), tags=["executions"])

    @routes.post(
        STEER,
        response_model=ExecutionView | Accepted,
        responses={HTTPStatus.ACCEPTED: {"model": Accepted, "description": "retry, rerun: as of POST /orchestrate"}},
        summary="Pause, resume, cancel, retry or rerun an Execution",
        openapi_extra={"x-problems": [409]},
    )
    async def steer(
        request: Request, namespace: Namespace, name: Name, action: Steering, idempotency_key: IdempotencyKey = None
    ) -> Response:
        """retry resumes a failed one in a new Execution, rerun starts anew; the others change this one."""
        call = call_of(request)
        call.verb = action
        if action in ("retry", "rerun"):
            return answer(await repeat(c, acceptor, call, namespace, name, action, idempotency_key))
        return JSON(execution_view(await change(c, call, namespace, name, action)).to_json())

    return routes


async def repeat(  # noqa: PLR0913, PLR0917 - what names a request
    c: Collaborators, acceptor: Acceptor, call: Call, namespace: str, name: str, action: str, key: str | None
) -> Accepted:
    """Retry or rerun: another Execution. Raises Problem 409 where there is nothing to resume."""
    await call.require(c.authorizer, Access("get", "executions", namespace, name))
    return await acceptor.accept(call, namespace, again(await _get(c, namespace, name), action), key=key)


async def change(c: Collaborators, call: Call, namespace: str, name: str, action: str) -> JSONObject:
    """Pause, resume or cancel; the Execution as it is then. Raises Problem 409 where that is not possible any more."""
    await call.require(c.authorizer, Access("update", "executions", namespace, name))
    item = await _get(c, namespace, name)
    why = obstacle(item, action)
    if why is not None:
        raise Problem(HTTPStatus.CONFLICT, f"Execution {name!r} cannot be changed so ({action}): {why}")
    field, value = CHANGES[action]
    if bool(item["spec"].get(field, False)) == value:
        return item
    patch = {
        # The UID: names come again.
        "metadata": {"uid": item["metadata"]["uid"], "annotations": {ANNOTATION_AUTHOR: call.identity.user}},
        "spec": {field: value},
    }
    await call.announce()
    return await c.api.patch(ossa("executions", namespace, name), patch)


def obstacle(item: JSONObject, action: str) -> str | None:
    """Why an Execution cannot be paused, resumed or cancelled, and what to do; None where it can."""
    phase = (item.get("status") or {}).get("phase") or "Pending"
    if phase in EXECUTION_TERMINAL:
        return f"it has ended, and is {phase}; {'retry' if phase == 'Failed' else 'rerun'} makes another"
    if action == "cancel":
        return None
    if item["spec"].get("cancel"):
        return "it is being cancelled"
    owners = item["metadata"].get("ownerReferences") or []
    above = next((o["name"] for o in owners if o.get("kind") == "Execution" and o.get("controller")), None)
    return f"it is a part of Execution {above!r}, and follows that one" if above is not None else None


def again(item: JSONObject, action: str) -> JSONObject:
    """The spec of the Execution that resumes a failed one (retry), or runs the same once more (rerun).

    Raises Problem 409 where there is nothing to resume.
    """
    name, status = item["metadata"]["name"], item.get("status") or {}
    spec = {field: item["spec"][field] for field in KEPT if item["spec"].get(field)}
    if action == "retry":
        phase = status.get("phase") or "Pending"
        if phase != "Failed":
            then = "rerun runs it once more" if phase == "Completed" else "wait until it has ended"
            raise Problem(
                HTTPStatus.CONFLICT, f"Execution {name!r} is {phase}, and only what has Failed is retried; {then}"
            )
        if not status.get("revision"):
            raise Problem(
                HTTPStatus.CONFLICT, f"Execution {name!r} never started: nothing can be taken over; use rerun"
            )
        return {**spec, "retryOf": name}
    # One that resumed another has the inputs that it took over.
    inputs = status.get("inputs") if item["spec"].get("retryOf") else item["spec"].get("inputs")
    return {**spec, **({"inputs": inputs} if inputs else {})}


async def _get(c: Collaborators, namespace: str, name: str) -> JSONObject:
    try:
        return await c.api.get(ossa("executions", namespace, name))
    except NotFound as error:
        raise missing(namespace, name) from error
