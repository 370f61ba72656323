"""`ossa approvals`, `ossa approve` and `ossa reject`: what waits for people, and what they say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from ossa.api.approval import Approval, Verdict, approvers, needed_approvals
from ossa.api.base import first_problem
from ossa.api.contract import GROUP, LABEL_EXECUTION
from ossa.cli.outcome import Stop
from ossa.cli.session import Session
from ossa.cli.view import columns, one_line
from ossa.engine.clock import duration_text
from ossa.kube.labels import label_value

COLUMNS = ("EXECUTION", "TASK", "APPROVED", "WHO MAY DECIDE", "AGE", "EXPIRES IN", "MESSAGE")
REVIEW = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
DONE: dict[Verdict, str] = {"Approved": "approved", "Rejected": "rejected"}


async def approvals(session: Session, *, as_json: bool) -> None:
    """Print what waits for a decision, the oldest first."""
    waiting = [item for item in await _list(session) if item.status.state == "Pending"]
    now = datetime.now(UTC)
    if as_json:
        print(json.dumps([approval_json(item) for item in waiting], indent=2))
    elif waiting:
        print(columns(COLUMNS, [approval_row(item, now) for item in waiting]))
    else:
        print(f"Nothing waits for an approval in namespace '{session.namespace}'.")


async def decide(  # noqa: PLR0913 - each by name
    session: Session, execution: str, task: str, *, verdict: Verdict, reason: str, as_json: bool
) -> None:
    """Add the user's own entry to the Approval that `task` waits for.

    Raises Stop where nothing waits there, or the user has decided otherwise already; ApiError where they may not.
    """
    found = chosen(await _list(session, execution), execution, task)
    user = await own_name(session)
    before = found.decisions.get(user)
    if before is not None and before.verdict != verdict:
        raise Stop(f"You ({user}) have {DONE[before.verdict]} this already, and a decision is final.")
    if before is None:
        entry = {"verdict": verdict, **({"reason": reason} if reason else {})}
        path = session.path("Approval", found.metadata.name)
        # A merge patch needs no escaping of names such as system:serviceaccount:team:robot or a/b.
        found = _parsed(await session.api.patch(path, {"decisions": {user: entry}}))
    if as_json:
        print(json.dumps(approval_json(found), indent=2))
    else:
        again = " already" if before is not None else ""
        print(f"approval.{GROUP}/{found.metadata.name}{again} {DONE[verdict]} by {one_line(user)}{_progress(found)}")


async def own_name(session: Session) -> str:
    """The user that the API server takes us for."""
    body = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
    answer = await session.api.post(REVIEW, body)
    return str(answer["status"]["userInfo"]["username"])


def chosen(found: Sequence[Approval], execution: str, task: str) -> Approval:
    """The Approval that waits for the task, of the newest attempt. Raises Stop with what there is instead."""
    of_task = [item for item in found if item.spec.task == task]
    waiting = [item for item in of_task if item.status.state == "Pending"]
    if waiting:
        return max(waiting, key=lambda item: (item.metadata.creation_timestamp, item.spec.round, item.spec.attempt))
    if of_task:
        last = max(of_task, key=lambda item: item.metadata.creation_timestamp)
        said = f": {one_line(last.status.message)}" if last.status.message else ""
        raise Stop(f"Task '{task}' of execution '{execution}' waits no more, it is {last.status.state}{said}")
    others = sorted({item.spec.task for item in found if item.status.state == "Pending"})
    hint = f"It waits for an approval of: {', '.join(others)}" if others else "See what does: ossa approvals"
    raise Stop(f"Task '{task}' of execution '{execution}' does not wait for an approval. {hint}")


def approval_row(item: Approval, now: datetime) -> list[str]:
    """One line of the table."""
    spec = item.spec
    created = datetime.fromisoformat(item.metadata.creation_timestamp)
    return [
        spec.execution.name,
        spec.task,
        f"{_given(item)}/{needed_approvals(spec)}",
        one_line(approvers(spec)),
        duration_text(now - created),
        duration_text(datetime.fromisoformat(spec.expires_at) - now),
        one_line(spec.message),
    ]


def approval_json(item: Approval) -> dict[str, Any]:
    """An Approval for programs."""
    return {
        "namespace": item.metadata.namespace,
        "name": item.metadata.name,
        "execution": item.spec.execution.name,
        "task": item.spec.task,
        "state": item.status.state,
        "message": item.spec.message,
        "approverGroups": item.spec.approver_groups,
        "approverUsers": item.spec.approver_users,
        "author": item.spec.author,
        "needed": needed_approvals(item.spec),
        "decisions": {user: held.to_json() for user, held in item.decisions.items()},
        "createdAt": item.metadata.creation_timestamp,
        "expiresAt": item.spec.expires_at,
    }


def _given(item: Approval) -> int:
    return sum(held.verdict == "Approved" for held in item.decisions.values())


def _progress(item: Approval) -> str:
    if any(held.verdict == "Rejected" for held in item.decisions.values()):
        return ""
    return f" ({_given(item)} of {needed_approvals(item.spec)})"


async def _list(session: Session, execution: str | None = None) -> list[Approval]:
    selector = {"labelSelector": f"{LABEL_EXECUTION}={label_value(execution)}"} if execution is not None else {}
    items = (await session.api.get(session.path("Approval"), selector))["items"]
    found = [_parsed(item) for item in items]
    found.sort(key=lambda item: item.metadata.creation_timestamp)
    return [item for item in found if execution is None or item.spec.execution.name == execution]


def _parsed(item: dict[str, Any]) -> Approval:
    try:
        # The items of a list do not say what they are.
        return Approval.model_validate({"apiVersion": "", "kind": "Approval", **item})
    except ValidationError as error:
        raise Stop(f"This version of ossa does not understand the Approval: {first_problem(error)}") from error
