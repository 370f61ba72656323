"""What people decided, and what it means for the task that waits for them.

Pure, as all of the engine: the operator gathers the Approval, and writes what comes out of this.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from ossa.api.approval import (
    MAX_MESSAGE,
    Approval,
    ApprovalDecision,
    ApprovalSpec,
    ApprovalState,
    ApprovalStatus,
    ExecutionReference,
    approvers,
    is_author,
    needed_approvals,
)
from ossa.api.artifact import find_references
from ossa.api.base import Condition, JSONObject, set_condition
from ossa.api.contract import TaskIdentity
from ossa.api.task import ApprovalTask
from ossa.engine.authors import UNKNOWN
from ossa.engine.clock import from_text, parse_duration, to_text
from ossa.engine.expressions import EvalError, Template
from ossa.engine.outcome import Waiting
from ossa.engine.snapshot import ApprovalView
from ossa.engine.values import shorten


@dataclass(frozen=True, slots=True)
class Approved:
    """Enough people approved. `by` in alphabetical order; `reasons` of those who gave one."""

    by: tuple[str, ...]
    reasons: Mapping[str, str] = field(default_factory=dict)

    @property
    def output(self) -> JSONObject:
        """What the task gives."""
        return {"approvedBy": list(self.by), "reasons": dict(self.reasons)}


@dataclass(frozen=True, slots=True)
class Rejected:
    """Somebody said no."""

    by: str
    reason: str

    @property
    def message(self) -> str:
        """For the task's status."""
        return f"rejected by {self.by}: {self.reason}" if self.reason else f"rejected by {self.by}"


@dataclass(frozen=True, slots=True)
class Expired:
    """Too few decided in time."""

    message: str


ApprovalOutcome = Waiting | Approved | Rejected | Expired


def judge_approval(view: ApprovalView | None, spec: ApprovalSpec, now: datetime) -> ApprovalOutcome:
    """Where an approval stands.

    `view` is None where there is no such Approval, or no more: that is never a yes, it has to be made (again). What was
    decided counts before the time does, since decisions may have come while the operator was down; but what was once
    found to be expired stays so. `spec` should be the one that the operator would write, rather than the one it reads.
    """
    decisions = _counted(view, spec) if view is not None else {}
    by = _approving(decisions)
    rejected = next((user for user, held in decisions.items() if held.verdict == "Rejected"), None)
    needed, state = needed_approvals(spec), view.state if view is not None else "Pending"
    if state == "Expired":
        return Expired(_expired(by, needed, spec))
    if rejected is not None and state != "Approved":
        return Rejected(rejected, decisions[rejected].reason)
    if len(by) >= needed:
        return Approved(by, {user: decisions[user].reason for user in by if decisions[user].reason})
    expires_at = from_text(spec.expires_at)
    if now >= expires_at:
        return Expired(_expired(by, needed, spec))
    return Waiting(_waiting(needed - len(by), needed, spec), expires_at)


def _approving(decisions: Mapping[str, ApprovalDecision]) -> tuple[str, ...]:
    return tuple(user for user, held in decisions.items() if held.verdict == "Approved")


def _counted(view: ApprovalView, spec: ApprovalSpec) -> Mapping[str, ApprovalDecision]:
    """The decisions of those who may decide, by name in alphabetical order.

    The API server has refused all others already, and it alone knows who is in a group; what can be told without it
    is looked at again.
    """
    return {
        user: held
        for user, held in sorted(view.decisions.items())
        if not is_author(spec, user) and (spec.approver_groups or user in spec.approver_users)
    }


def _waiting(missing: int, needed: int, spec: ApprovalSpec) -> str:
    what = f"{missing} of {needed} approvals" if needed > 1 else "an approval"
    return f"waiting for {what} from {approvers(spec)}{_why_more(spec)}"


def _expired(by: tuple[str, ...], needed: int, spec: ApprovalSpec) -> str:
    what = f"{len(by)} of {needed} approvals were" if needed > 1 else "no approval was"
    return f"{what} given until {spec.expires_at} by {approvers(spec)}{_why_more(spec)}"


def _why_more(spec: ApprovalSpec) -> str:
    if needed_approvals(spec) == spec.count:
        return ""
    return "; two are needed, because the author of the Execution is not known"


def approval_view(item: Mapping[str, Any]) -> ApprovalView:
    """The part of an Approval that decisions need. Raises ValueError where it is not of its kind."""
    held = Approval.model_validate(item)
    authors = (held.spec.author, *held.spec.authors)
    return ApprovalView(held.metadata.name, held.metadata.uid, held.status.state, held.decisions, authors)


def question(message: Template, bindings: Mapping[str, object]) -> str:
    """The message with its expressions evaluated, as text. Raises EvalError."""
    value = message.evaluate(bindings)
    if next(find_references(value), None) is not None:
        raise EvalError("approval.message: it holds an artifact, which nobody could read there; take a smaller part")
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return shorten(text, MAX_MESSAGE)


def approval_spec(
    identity: TaskIdentity, approval: ApprovalTask, *, message: str, authors: Sequence[str], started_at: datetime
) -> ApprovalSpec:
    """The spec of the Approval of an attempt: the same whenever it is made, given the attempt's recorded start.

    authors: who may not decide, the Execution's author first; '' for somebody whom nobody knows.
    """
    return ApprovalSpec(
        execution=ExecutionReference(name=identity.execution, uid=identity.uid),
        task=identity.task,
        round=identity.round,
        attempt=identity.attempt,
        message=message,
        approver_groups=approval.approver_groups,
        approver_users=approval.approver_users,
        count=approval.count,
        author=UNKNOWN if UNKNOWN in authors else authors[0],
        authors=[name for name in authors if name != UNKNOWN],
        expires_at=to_text(started_at + parse_duration(approval.timeout)),
    )


def approval_status(item: Mapping[str, Any], spec: ApprovalSpec, outcome: ApprovalOutcome, now: str) -> ApprovalStatus:
    """The status that tells of an outcome; `item` is the Approval as it was read, `now` an RFC 3339 text."""
    held = Approval.model_validate(item)
    state, reason, message = _told(outcome)
    by = _approving(_counted(approval_view(item), spec))
    decided = state != "Pending"
    condition = Condition(
        type="Decided",
        status="True" if decided else "False",
        reason=reason,
        message=message,
        observed_generation=held.metadata.generation,
    )
    return ApprovalStatus(
        observed_generation=held.metadata.generation,
        state=state,
        approved=f"{len(by)}/{needed_approvals(spec)}",
        approved_by=list(by),
        decided_at=(held.status.decided_at or now) if decided else None,
        message=message,
        conditions=set_condition(held.status.conditions, condition, now),
    )


def _told(outcome: ApprovalOutcome) -> tuple[ApprovalState, str, str]:
    match outcome:
        case Approved(by):
            return "Approved", "Approved", shorten(f"approved by {', '.join(by)}", 4096)
        case Rejected():
            return "Rejected", "Rejected", shorten(outcome.message, 4096)
        case Expired(message):
            return "Expired", "Expired", message
        case Waiting(message):
            return "Pending", "Waiting", message or ""
