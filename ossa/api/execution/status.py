"""Where a run stands."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ossa.api.agent import Classification
from ossa.api.approval import MAX_AUTHORS
from ossa.api.artifact import ArtifactRef
from ossa.api.base import Condition, JSONObject, StatusModel, Timestamp
from ossa.api.execution.tasks import MAX_APPROVERS, Reason, TaskStatus

# Other Executions whose artifacts one may have taken over.
MAX_LINEAGE = 200
# Artifacts that the outputs of one Execution's tasks may be spread over.
MAX_PARTS = 64
# Denials that a break-glass Execution passed over.
MAX_OVERRULED = 20
# Versions of policies in one set, and sets that judged starts of one Execution.
MAX_VERSIONS, MAX_STARTS = 1000, 32
ExecutionPhase = Literal["Pending", "Running", "Paused", "Retrying", "Completed", "Failed"]


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
    authors: list[str] | None = Field(
        default=None,
        max_length=MAX_AUTHORS,
        description=(
            "Whose it is, and who may not approve it, as known when it started: who created or had changed it, and the "
            "authors of what it retries or is a part of. An empty name: somebody whom nobody knows. Unset: its creator."
        ),
    )
    approved_by: list[str] | None = Field(
        default=None,
        max_length=MAX_APPROVERS,
        description=(
            "Who approved in it, and in the Executions of its tasks, in alphabetical order. An empty name: more than "
            "are told."
        ),
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
