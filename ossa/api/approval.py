"""Approval: a task that waits for people, and what they decided.

The operator writes spec and status; people append to `decisions`, each under their own name. A
ValidatingAdmissionPolicy of the chart holds these rules.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ossa.api.base import Condition, Model, ObjectName, Resource, StatusModel, TaskName, Timestamp

Verdict = Literal["Approved", "Rejected"]
ApprovalState = Literal["Pending", "Approved", "Rejected", "Expired"]

# A service account is 'system:serviceaccount:' and two names; other authenticators give e-mail addresses and the like.
USER_MAX_LENGTH = 512
MAX_DECISIONS = 64
MAX_AUTHORS = 64  # of an Execution
MAX_MESSAGE = 2048
MAX_SHOWN = 400  # characters
# Where nobody knows the author, they may be one of those who approve.
LEAST_WITHOUT_AUTHOR = 2

# As an authenticator gives it: alice, bob@example.com, system:serviceaccount:team:robot.
UserName = Annotated[str, Field(min_length=1, max_length=USER_MAX_LENGTH)]


class ExecutionReference(Model):
    """The Execution that waits."""

    name: ObjectName = Field(description="Name of the Execution, in the same namespace.")
    uid: str = Field(min_length=1, max_length=64, description="UID of the Execution: names come again, UIDs do not.")


class ApprovalSpec(Model):
    """What is asked, and of whom."""

    execution: ExecutionReference = Field(description="The Execution that waits.")
    task: TaskName = Field(description="The task that waits.")
    round: int = Field(default=1, ge=1, description="Attempt of the Execution, counted from 1.")
    attempt: int = Field(default=1, ge=1, description="Attempt of the task, counted from 1.")
    message: str = Field(max_length=MAX_MESSAGE, description="What is asked, with its expressions evaluated.")
    approver_groups: list[UserName] = Field(
        default_factory=list, max_length=32, description="Groups of the cluster whose members may decide."
    )
    approver_users: list[UserName] = Field(
        default_factory=list, max_length=64, description="Users of the cluster who may decide."
    )
    count: int = Field(default=1, ge=1, le=16, description="How many must approve.")
    author: str = Field(
        default="",
        max_length=USER_MAX_LENGTH,
        description=(
            "The recorded author of the Execution, who may not decide. Empty where unknown: then two must approve."
        ),
    )
    authors: list[UserName] = Field(
        default_factory=list,
        max_length=MAX_AUTHORS + 2,  # and who created and changed it
        description=(
            "All who had a hand in the Execution until this was asked, and may not decide: who created it, who changed "
            "its spec, and the authors of what it retries or is a part of."
        ),
    )
    expires_at: Timestamp = Field(description="When it is given up.")


class ApprovalDecision(StatusModel):
    """What one person decided. It is final."""

    verdict: Verdict = Field(description="Approved or Rejected; one rejection rejects.")
    reason: str = Field(default="", max_length=1024, description="Why, in words.")


class ApprovalStatus(StatusModel):
    """Where it stands."""

    observed_generation: int = Field(default=0, description="The metadata.generation that was looked at.")
    state: ApprovalState = Field(
        default="Pending",
        description="Pending, Approved, Rejected or Expired; nothing is decided after the last three.",
    )
    approved: str = Field(default="", description="Approvals given of those needed, e.g. 1/2.")
    approved_by: list[str] = Field(default_factory=list, max_length=MAX_DECISIONS, description="Who approved.")
    decided_at: Timestamp | None = Field(default=None, description="When the operator saw that it was decided.")
    message: str | None = Field(default=None, max_length=4096, description="What it waits for, or how it ended.")
    conditions: list[Condition] = Field(
        default_factory=list, max_length=16, description="Decided: it ended, one way or another."
    )


class Approval(Resource):
    """A task that waits for people. Decide with `ossa approve` or `ossa reject`, or patch `decisions`."""

    spec: ApprovalSpec = Field(description="What is asked, and of whom; written by the operator, and never changed.")
    decisions: dict[str, ApprovalDecision] = Field(
        default_factory=dict,
        max_length=MAX_DECISIONS,
        description="What was decided, by user name. Approvers add an entry of their own; none is changed or removed.",
    )
    status: ApprovalStatus = Field(default_factory=ApprovalStatus, description="Where it stands.")


def is_author(spec: ApprovalSpec, user: str) -> bool:
    """Whether somebody may not decide, because they had a hand in the Execution."""
    return user == spec.author or user in spec.authors


def needed_approvals(spec: ApprovalSpec) -> int:
    """How many must approve: one more pair of eyes than asked for where the author is unknown."""
    return needed_of(spec.count, known=bool(spec.author))


def needed_of(count: int, *, known: bool) -> int:
    """How many must approve of those that were asked for; known: whether all authors are."""
    return count if known else max(count, LEAST_WITHOUT_AUTHOR)


def approvers(spec: ApprovalSpec) -> str:
    """Who may decide, for a person: risk-board, alice or bob."""
    names = [*spec.approver_groups, *spec.approver_users]
    text = " or ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)
    return text if len(text) <= MAX_SHOWN else f"{text[: MAX_SHOWN - 1]}…"
