"""Execution: one run of a workflow."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ossa.api.base import Condition, JSONObject, Model, ObjectName, Resource, StatusModel, Timestamp

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
]


class ExecutionSpec(Model):
    """The wanted run."""

    workflow: ObjectName = Field(description="The Workflow, in the same namespace, that is run.")
    inputs: JSONObject = Field(
        default_factory=dict, description="Inputs; checked against the workflow's schema when the run starts."
    )


class TaskStatus(StatusModel):
    """Where one task stands."""

    phase: TaskPhase = Field(
        default="Pending",
        description="Pending, Waiting, Running, Retrying, Completed, Failed or Skipped.",
    )
    attempt: int = Field(default=0, description="The current or last attempt, counted from 1.")
    lost: int = Field(default=0, description="Attempts whose pod vanished; they do not count against the task.")
    pod: str | None = Field(default=None, description="Name of the pod of the current or last attempt.")
    started_at: Timestamp | None = Field(default=None, description="When the current or last attempt was started.")
    completed_at: Timestamp | None = Field(default=None, description="When the task ended.")
    reason: Reason | None = Field(default=None, description="Why the task failed or waits, in one word.")
    message: str | None = Field(
        default=None, max_length=1024, description="Why the task failed, waits or was skipped, in words."
    )
    output: JSONObject | None = Field(
        default=None, description="What the task gave; large fields are references to artifacts."
    )


class ExecutionError(StatusModel):
    """What went wrong first, with what is needed to find out why."""

    task: str | None = Field(default=None, description="The task that failed; unset where the execution itself did.")
    attempt: int | None = Field(default=None, description="The attempt that failed.")
    reason: Reason = Field(description="Why, in one word.")
    exit_code: int | None = Field(default=None, description="Exit code of the container `main`.")
    message: str = Field(default="", max_length=2048, description="Why, in words, and what to do next.")
    log_tail: str | None = Field(default=None, max_length=4096, description="The last lines of the pod's log.")


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
    attempt: int = Field(default=1, description="Attempt of the execution, counted from 1.")
    started_at: Timestamp | None = Field(default=None, description="When it started to run.")
    completed_at: Timestamp | None = Field(default=None, description="When it ended.")
    duration: str | None = Field(default=None, description="From start to end, written when it ends.")
    inputs: JSONObject | None = Field(
        default=None, description="The inputs it runs with: the spec's, and the workflow's defaults."
    )
    tasks: dict[str, TaskStatus] = Field(default_factory=dict, description="Where each task stands, by name.")
    error: ExecutionError | None = Field(default=None, description="What went wrong first.")
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
