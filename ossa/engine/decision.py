"""What a decision is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from ossa.api.approval import ApprovalSpec
from ossa.api.artifact import ArtifactRef
from ossa.api.base import JSONObject
from ossa.api.contract import TaskIdentity
from ossa.api.execution import ExecutionStatus, Reason
from ossa.engine.approvals import ApprovalOutcome
from ossa.engine.rulings import Ruled


@dataclass(frozen=True, slots=True)
class LargeField:
    """A field of an input that goes by reference: its JSON, and what it is stored as."""

    body: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod to create. Its input is `input`, and references to what is in `large`, which is to be stored before."""

    name: str
    task: str
    attempt: int
    input: JSONObject
    identity: TaskIdentity
    large: Mapping[str, LargeField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ChildRequest:
    """A child Execution to create, for a task that runs a workflow. What is in `large` goes as in a PodRequest."""

    name: str
    task: str
    attempt: int
    workflow: str
    inputs: JSONObject
    identity: TaskIdentity
    priority: int
    pending_timeout: str | None = None
    large: Mapping[str, LargeField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ApprovalRequest:
    """An Approval to create: people are asked."""

    name: str
    identity: TaskIdentity
    spec: ApprovalSpec


@dataclass(frozen=True, slots=True)
class Verdict:
    """What has been decided by people, or by time, to be written into an Approval before its task goes on."""

    name: str
    spec: ApprovalSpec
    outcome: ApprovalOutcome


@dataclass(frozen=True, slots=True)
class ChildChange:
    """What is to be set in the spec of a child Execution."""

    name: str
    suspend: bool | None = None
    cancel: bool | None = None


@dataclass(frozen=True, slots=True)
class Announcement:
    """A Kubernetes Event of the Execution."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed or lost attempt that another one follows: of a task or an item of one, or of the Execution."""

    scope: Literal["task", "execution"]
    reason: Reason


def ending(status: ExecutionStatus) -> Announcement:
    """How an Execution that has ended did; made from its status alone, so that it can be told again after a crash."""
    if status.phase == "Completed":
        return Announcement("Normal", "Completed", f"Completed in {status.duration}")
    reason = status.error.reason if status.error is not None else status.phase
    return Announcement("Warning", "Failed", f"Failed ({reason}): {status.message or ''}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: keep `status`, create and delete pods and children, announce events.

    status: the very object of the snapshot where nothing changed.
    create, children, approvals: to be created. They carry which attempt they are, so that a status that was written
        before they were created and one that was not lead to the same: who finds them takes them over.
    delete: pods to delete, once `status` is written: it says why they are gone.
    change: what children are to be told.
    verdicts: to be written into Approvals, with the version that was read; decide again when they are.
    need_logs: pods whose log is wanted; decide again with it in `log_tails` ("" where there is none).
    need_values: lists in the artifact service that are to be gone over; decide again with them in `values`.
    wake_at: when to decide again even if nothing happens.
    first: whether `status` must be written before anything is created: it says what is run.
    starved: whether something could start but for the limit of pods.
    wants: locks that something waits for.
    retries: what failed or was lost in this decision and is tried again.
    rulings: what policies said in this decision.
    """

    status: ExecutionStatus
    create: tuple[PodRequest, ...] = ()
    children: tuple[ChildRequest, ...] = ()
    approvals: tuple[ApprovalRequest, ...] = ()
    delete: tuple[str, ...] = ()
    change: tuple[ChildChange, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    need_logs: tuple[str, ...] = ()
    need_values: tuple[ArtifactRef, ...] = ()
    events: tuple[Announcement, ...] = ()
    wake_at: datetime | None = None
    first: bool = False
    starved: bool = False
    wants: frozenset[str] = frozenset()
    retries: tuple[Retry, ...] = ()
    rulings: tuple[Ruled, ...] = ()
