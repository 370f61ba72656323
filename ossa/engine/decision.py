"""What a decision is made of."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from ossa.api.base import JSONObject
from ossa.api.contract import TaskIdentity
from ossa.api.execution import ExecutionStatus


@dataclass(frozen=True, slots=True)
class PodRequest:
    """A pod to create, after the status that records its attempt has been written."""

    name: str
    task: str
    attempt: int
    input: JSONObject
    identity: TaskIdentity


@dataclass(frozen=True, slots=True)
class Announcement:
    """A Kubernetes Event of the Execution."""

    type: Literal["Normal", "Warning"]
    reason: str
    message: str


def ending(status: ExecutionStatus) -> Announcement:
    """How an Execution that has ended did; made from its status alone, so that it can be told again after a crash."""
    if status.phase == "Completed":
        return Announcement("Normal", "Completed", f"Completed in {status.duration}")
    reason = status.error.reason if status.error is not None else status.phase
    return Announcement("Warning", "Failed", f"Failed ({reason}): {status.message or ''}")


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: write `status`, and only when that has succeeded create and delete pods and announce events.

    status: the very object of the snapshot where nothing changed.
    need_logs: pods whose log is wanted; decide again with it in `log_tails` ("" where there is none).
    wake_at: when to decide again even if nothing happens.
    """

    status: ExecutionStatus
    create: tuple[PodRequest, ...] = ()
    delete: tuple[str, ...] = ()
    need_logs: tuple[str, ...] = ()
    events: tuple[Announcement, ...] = ()
    wake_at: datetime | None = None
