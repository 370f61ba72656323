"""Where the tasks of a run stand."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ossa.api.agent import Classification
from ossa.api.base import JSONObject, StatusModel, Timestamp
from ossa.api.task import MAX_ITEMS

# Names of those who approved in one Execution.
MAX_APPROVERS = 256
TaskPhase = Literal["Pending", "Waiting", "Running", "Retrying", "Completed", "Failed", "Skipped"]
Reason = Literal[
    "Error",
    "OOMKilled",
    "Timeout",
    "ImagePull",
    "Evicted",
    "NodeLost",
    "PodLost",
    "PodRefused",
    "InvalidOutput",
    "InvalidInput",
    "EvalError",
    "InvalidRevision",
    "ArchiveLost",
    "ChildFailed",
    "Cancelled",
    "Rejected",
    "Expired",
    "PolicyDenied",
]


def _is_zero(value: int) -> bool:
    return value == 0


class AttemptStatus(StatusModel):
    """Where one task, or one item of a forEach, stands."""

    phase: TaskPhase = Field(
        default="Pending",
        description="Pending, Waiting, Running, Retrying, Completed, Failed or Skipped.",
    )
    # Zeros are left out: the API server checks each field of each task anew at every write.
    attempt: int = Field(default=0, exclude_if=_is_zero, description="The current or last attempt, counted from 1.")
    lost: int = Field(
        default=0,
        exclude_if=_is_zero,
        description="Attempts whose pod vanished; they do not count against the task. Unset: none.",
    )
    earlier: int = Field(
        default=0, exclude_if=_is_zero, description="Attempts made in earlier attempts of the Execution. Unset: none."
    )
    pod: str | None = Field(
        default=None, description="Name of the pod, or child Execution, of the current or last attempt."
    )
    started_at: Timestamp | None = Field(default=None, description="When the current or last attempt was started.")
    retry_at: Timestamp | None = Field(default=None, description="When the next attempt starts.")
    completed_at: Timestamp | None = Field(default=None, description="When the task ended.")
    reason: Reason | None = Field(default=None, description="Why the task failed or waits, in one word.")
    exit_code: int | None = Field(default=None, description="Exit code of the last attempt that failed.")
    message: str | None = Field(
        default=None, max_length=1024, description="Why the task failed, waits or was skipped, in words."
    )
    locks: list[str] | None = Field(
        default=None, max_length=8, description="Names of the locks that the running attempt holds."
    )
    policy: str | None = Field(default=None, description="With reason PolicyDenied: the AgentPolicy that denied it.")
    policy_version: int | None = Field(default=None, description="The metadata.generation of that policy.")


class ItemsStatus(StatusModel):
    """Where the items of a forEach stand. Items are started in order."""

    total: int = Field(description="How many items there are.")
    started: int = Field(default=0, description="How many of them were started, from the first on.")
    completed: int = Field(default=0, description="How many ended well.")
    failed: str = Field(default="", description="Those that failed, as ranges of indexes: 3,7-9.")
    active: dict[str, AttemptStatus] = Field(
        default_factory=dict, description="Those that run or are to be tried again, by index."
    )
    running: str = Field(
        default="",
        description="Where many run: those in their first attempt, as ranges of indexes. `active` has the others.",
    )
    errors: dict[str, AttemptStatus] = Field(
        default_factory=dict, description="What went wrong with the first that failed, by index."
    )
    outputs: list[JSONObject | None] = Field(
        default_factory=list,
        max_length=MAX_ITEMS,
        description="What they gave, in order; null where there is nothing yet. Empty where it is in the archive.",
    )


class TaskStatus(AttemptStatus):
    """Where one task stands."""

    items: ItemsStatus | None = Field(default=None, description="Where the items of a forEach stand.")
    output: JSONObject | None = Field(
        default=None,
        description="What the task gave; large fields are references to artifacts. Unset where it is in the archive.",
    )
    classification: Classification | None = Field(
        default=None, description="Of a task that runs a workflow: the most confidential data that it gives."
    )
    approved_by: list[str] | None = Field(
        default=None,
        max_length=MAX_APPROVERS,
        description="Of a task that runs a workflow: who approved in the Executions that did it, as of the Execution.",
    )
    judged_at_start: dict[str, str] | None = Field(
        default=None,
        description="Which policies judged starts: by key of status.policies the attempts, or items, as ranges: 1-3.",
    )
    judged_at_end: dict[str, str] | None = Field(
        default=None, description="Which policies judged what was given, likewise."
    )
