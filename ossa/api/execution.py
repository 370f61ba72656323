"""Execution: one run of a workflow."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ossa.api.agent import Classification
from ossa.api.artifact import ArtifactRef
from ossa.api.base import Condition, Duration, JSONObject, Model, ObjectName, Resource, StatusModel, Timestamp
from ossa.api.task import MAX_ITEMS
from ossa.api.workflow import InlineWorkflow

# Other Executions whose artifacts one may have taken over.
MAX_LINEAGE = 200
# Artifacts that the outputs of one Execution's tasks may be spread over.
MAX_PARTS = 64
# Denials that a break-glass Execution passed over.
MAX_OVERRULED = 20
# Versions of policies in one set, and sets that judged starts of one Execution.
MAX_VERSIONS, MAX_STARTS = 1000, 32
ExecutionPhase = Literal["Pending", "Running", "Paused", "Retrying", "Completed", "Failed"]
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


class ExecutionSpec(Model):
    """The wanted run. Only `suspend`, `cancel`, `priority` and `ttlSecondsAfterFinished` may change."""

    workflow: ObjectName | None = Field(
        default=None, description="The Workflow, in the same namespace, that is run; or workflowSpec."
    )
    workflow_spec: InlineWorkflow | None = Field(
        default=None,
        description=(
            "A workflow that this Execution alone runs, written here instead of the name of a Workflow. It has neither "
            "triggers nor published."
        ),
    )
    inputs: JSONObject = Field(
        default_factory=dict, description="Inputs; checked against the workflow's schema when the run starts."
    )
    suspend: bool = Field(
        default=False, description="true pauses: what runs may end, nothing new starts. false goes on."
    )
    cancel: bool = Field(
        default=False,
        description="true ends it: running pods are stopped, `finally` is run, the phase is Failed. Cannot be undone.",
    )
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Where not all tasks may start at once, those of higher Executions go first.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=315_360_000, description="Deleted so many seconds after it ended; unset: kept."
    )
    pending_timeout: Duration | None = Field(
        default=None, description="Fails where it could not start for so long, e.g. 1h; unset: it waits."
    )
    retry_of: ObjectName | None = Field(
        default=None,
        description=(
            "A failed Execution of the same workflow: its revision, inputs and the outputs of its Completed tasks are "
            "taken over, and the rest is run."
        ),
    )

    @property
    def workflow_name(self) -> str:
        """Name of the Workflow; '' where the workflow is written in the Execution itself."""
        return self.workflow or ""


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
    judged_at_start: dict[str, str] | None = Field(
        default=None,
        description="Which policies judged starts: by key of status.policies the attempts, or items, as ranges: 1-3.",
    )
    judged_at_end: dict[str, str] | None = Field(
        default=None, description="Which policies judged what was given, likewise."
    )


class ExecutionError(StatusModel):
    """What went wrong first, with what is needed to find out why."""

    task: str | None = Field(default=None, description="The task that failed; unset where the execution itself did.")
    index: int | None = Field(default=None, description="The item of a forEach that failed.")
    attempt: int | None = Field(default=None, description="The attempt that failed.")
    reason: Reason = Field(description="Why, in one word.")
    exit_code: int | None = Field(default=None, description="Exit code of the container `main`.")
    message: str = Field(default="", max_length=2048, description="Why, in words, and what to do next.")
    policy: str | None = Field(default=None, description="With reason PolicyDenied: the AgentPolicy that denied it.")
    policy_version: int | None = Field(default=None, description="The metadata.generation of that policy.")
    log_tail: str | None = Field(default=None, max_length=4096, description="The last lines of the pod's log.")


class OverruledDenial(StatusModel):
    """A denial that did not bind, because the Execution has the break-glass annotation."""

    policy: str = Field(description="The AgentPolicy that denied it.")
    policy_version: int = Field(description="The metadata.generation of that policy.")
    at: Literal["start", "task", "output"] = Field(
        description="What was denied: the start of the Execution, of a task, or what a task gave."
    )
    task: str | None = Field(default=None, description="The task; unset at the start of the Execution.")
    message: str = Field(default="", max_length=256, description="Why, in words.")
    time: Timestamp = Field(description="When.")


class ArchivedPart(StatusModel):
    """JSON that lies in the artifact service."""

    id: str = Field(max_length=128, description="ID of the artifact.")
    size: int = Field(description="Bytes.")
    sha256: str = Field(max_length=64, description="Digest of its bytes, in hex.")

    @classmethod
    def of(cls, ref: ArtifactRef) -> ArchivedPart:
        """What a reference refers to."""
        return cls(id=ref.id, size=ref.size, sha256=ref.sha256)

    @property
    def reference(self) -> ArtifactRef:
        """The reference to it."""
        return ArtifactRef(id=self.id, size=self.size, sha256=self.sha256)


class ArchiveStatus(StatusModel):
    """What is too large for this object, and lies in the artifact service."""

    outputs: list[ArchivedPart] = Field(
        default_factory=list,
        max_length=MAX_PARTS,
        description="Outputs of tasks and items: by task, and by index of the item or '' for the task itself.",
    )
    tasks: ArchivedPart | None = Field(
        default=None, description="The whole of `tasks`, of which only the phases are shown here then."
    )


class ExecutionStatus(StatusModel):
    """Where the run stands."""

    observed_generation: int = Field(default=0, description="The metadata.generation that was looked at.")
    phase: ExecutionPhase = Field(
        default="Pending", description="Pending, Running, Paused, Retrying, Completed or Failed."
    )
    progress: str = Field(default="", description="Tasks that ended well (Completed or Skipped) of all tasks.")
    message: str | None = Field(default=None, max_length=1024, description="What it waits for, or why it failed.")
    revision: str | None = Field(
        default=None, description="The ControllerRevision that it runs, frozen when it started."
    )
    trace_id: str | None = Field(
        default=None,
        max_length=32,
        description="The trace that its spans belong to, and its lines in logs: 32 hex digits.",
    )
    attempt: int = Field(default=1, description="Attempt of the execution, counted from 1.")
    retry_at: Timestamp | None = Field(default=None, description="When the next attempt of the execution starts.")
    started_at: Timestamp | None = Field(default=None, description="When it started to run.")
    completed_at: Timestamp | None = Field(default=None, description="When it ended.")
    duration: str | None = Field(default=None, description="From start to end, written when it ends.")
    inputs: JSONObject | None = Field(
        default=None, description="The inputs it runs with: the spec's, and the workflow's defaults."
    )
    tasks: dict[str, TaskStatus] = Field(default_factory=dict, description="Where each task stands, by name.")
    archive: ArchiveStatus | None = Field(
        default=None,
        description="Where outputs lie, or all of the tasks, that are too large for this object.",
    )
    lineage: list[str] | None = Field(
        default=None,
        max_length=MAX_LINEAGE,
        description="UIDs of other Executions whose artifacts it has: the one that it resumes, and children.",
    )
    error: ExecutionError | None = Field(default=None, description="What went wrong first.")
    classification: Classification | None = Field(
        default=None, description="The most confidential data that its agents give, where one says so."
    )
    policies: dict[str, Annotated[list[str], Field(max_length=MAX_VERSIONS)]] | None = Field(
        default=None,
        description="The policies that judged it and its tasks, as name@generation: sets of them, by a short key.",
    )
    judged_at_start: list[str] | None = Field(
        default=None,
        max_length=MAX_STARTS,
        description="Keys of the sets that judged its start, and each time that it went on after a pause or a retry.",
    )
    overruled: list[OverruledDenial] | None = Field(
        default=None,
        max_length=MAX_OVERRULED,
        description="Denials that did not bind, because it has the annotation ossa.dev/break-glass; the first ones.",
    )
    outputs: JSONObject | None = Field(default=None, description="What the run gave.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Finished: it ended, well or not. Succeeded: how.",
    )


class Execution(Resource):
    """One run of a workflow: worker pods along its graph, and where it stands."""

    spec: ExecutionSpec = Field(description="The wanted run.")
    status: ExecutionStatus = Field(default_factory=ExecutionStatus, description="Where the run stands.")
