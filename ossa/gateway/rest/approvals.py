"""Approvals: what an Execution waits for, and the decision of whoever asks.

The ValidatingAdmissionPolicy ossa-approvals lets the gateway add entries of users who signed in at it (ossa:…), of no
author, and none that changes another. In which groups such a user is the gateway alone knows, so it asks that here.
"""

from __future__ import annotations

from http import HTTPStatus

from fastapi import APIRouter, Request, Response

from ossa.api.approval import Approval, approvers, is_author
from ossa.api.base import JSONObject
from ossa.api.contract import LABEL_EXECUTION
from ossa.api.gateway import APPROVALS, APPROVE, ApprovalView, ApproveRequest, Page
from ossa.gateway.answers import JSON
from ossa.gateway.context import Call, Collaborators, call_of
from ossa.gateway.guard import signed_in
from ossa.gateway.identity import Access, Identity
from ossa.gateway.parameters import Name, Namespace
from ossa.gateway.problems import Problem
from ossa.gateway.rest.views import approval_view, parsed_approval
from ossa.kube.labels import label_value
from ossa.kube.paths import ossa


def router(c: Collaborators) -> APIRouter:
    """The routes."""
    routes = APIRouter(route_class=signed_in(c), tags=["approvals"])

    @routes.get(APPROVALS, response_model=Page[ApprovalView], summary="What an Execution waits for, or waited for")
    async def approvals(request: Request, namespace: Namespace, name: Name) -> Response:
        """The oldest first."""
        await call_of(request).require(c.authorizer, Access("list", "approvals", namespace))
        found = await _of(c, namespace, name)
        return JSON(Page[ApprovalView](items=[approval_view(item) for item in found]).to_json())

    @routes.post(
        APPROVE,
        response_model=ApprovalView,
        summary="Approve or reject",
        openapi_extra={"x-problems": [409]},
    )
    async def approve(request: Request, namespace: Namespace, name: Name, body: ApproveRequest) -> Response:
        """In one's own name. A decision is final; the same one may be sent again."""
        return JSON(approval_view(await decide(c, call_of(request), namespace, name, body)).to_json())

    return routes


async def decide(c: Collaborators, call: Call, namespace: str, name: str, body: ApproveRequest) -> Approval:
    """Add the caller's decision to the Approval that waits. Raises Problem where they may not, or nothing waits."""
    await call.require(c.authorizer, Access("patch", "approvals", namespace))
    found = chosen(await _of(c, namespace, name), name, body.task)
    call.access = Access("patch", "approvals", namespace, found.metadata.name)
    check_approver(call.identity, found)
    before = found.decisions.get(call.identity.user)
    if before is not None:
        if before.verdict != body.verdict:
            raise Problem(HTTPStatus.CONFLICT, f"you have said {before.verdict} already, and a decision is final")
        return found
    await call.announce()
    answer = await c.api.patch(ossa("approvals", namespace, found.metadata.name), decision(call.identity, body))
    return parsed_approval(answer) or found


def decision(identity: Identity, body: ApproveRequest) -> JSONObject:
    """The merge patch: the entry of whoever asks."""
    entry = {"verdict": body.verdict, **({"reason": body.reason} if body.reason else {})}
    return {"decisions": {identity.user: entry}}


def check_approver(identity: Identity, found: Approval) -> None:
    """Raises Problem 403 where they are no approver, the author, or no person that signed in here."""
    spec = found.spec
    if identity.kind != "person":
        raise Problem(HTTPStatus.FORBIDDEN, "a service account decides with its own token at the API server, not here")
    if is_author(spec, identity.user):
        what = "are the author of" if spec.author == identity.user else "had a hand in"
        raise Problem(
            HTTPStatus.FORBIDDEN, f"you {what} this Execution, and may not decide about it; ask another approver"
        )
    if identity.user not in spec.approver_users and not set(identity.groups) & set(spec.approver_groups):
        raise Problem(
            HTTPStatus.FORBIDDEN, f"this Approval is for {approvers(spec)}, and you are none of them; ask one who is"
        )


def chosen(found: list[Approval], execution: str, task: str | None) -> Approval:
    """The Approval that waits, of the newest attempt. Raises Problem with what there is instead."""
    waiting = [item for item in found if item.status.state == "Pending" and task in (None, item.spec.task)]
    tasks = sorted({item.spec.task for item in waiting})
    if len(tasks) > 1:
        raise Problem(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"Execution {execution!r} waits for several approvals; say of which task: {', '.join(tasks)}",
            more={"field": "task"},
        )
    if not waiting:
        what = f"task {task!r} of Execution {execution!r}" if task else f"Execution {execution!r}"
        ended = [item for item in found if task in (None, item.spec.task)]
        was = f"; the last one is {ended[-1].status.state}" if ended else ""
        status = HTTPStatus.CONFLICT if ended else HTTPStatus.NOT_FOUND
        raise Problem(status, f"{what} does not wait for an approval{was}")
    return max(waiting, key=lambda item: (item.metadata.creation_timestamp, item.spec.round, item.spec.attempt))


async def _of(c: Collaborators, namespace: str, execution: str) -> list[Approval]:
    selector = {"labelSelector": f"{LABEL_EXECUTION}={label_value(execution)}"}
    items = (await c.api.get(ossa("approvals", namespace), selector))["items"]
    found = [item for item in map(parsed_approval, items) if item is not None and item.spec.execution.name == execution]
    return sorted(found, key=lambda item: item.metadata.creation_timestamp)
