"""Workflow: a graph of tasks."""

from __future__ import annotations

from pydantic import Field

from ossa.api.base import Condition, Duration, JSONObject, Model, Resource, StatusModel
from ossa.api.task import MAX_FINALLY, MAX_TASKS, ExecutionRetry, Task
from ossa.api.trigger import MAX_TRIGGERS, Trigger, TriggerStatus


class InlineWorkflow(Model):
    """What runs: the part of a Workflow that an Execution may hold itself."""

    version: str = Field(default="0.0.0", min_length=1, max_length=64, description="Version of the workflow.")
    description: str = Field(default="", max_length=1024, description="What it does, for a person.")
    inputs: JSONObject | None = Field(
        default=None,
        description=(
            "JSON Schema of an Execution's inputs, of type object; the defaults of its properties are filled in."
        ),
    )
    tasks: list[Task] = Field(min_length=1, max_length=MAX_TASKS, description="The tasks; their order means nothing.")
    finally_: list[Task] = Field(
        default_factory=list,
        alias="finally",
        max_length=MAX_FINALLY,
        description=(
            "Tasks that run when all others have ended, however they did, with `status` (Completed or Failed) and "
            "`error` in scope."
        ),
    )
    outputs: JSONObject = Field(
        default_factory=dict, description="The Execution's outputs; strings may hold ${{ CEL }}."
    )
    parallelism: int | None = Field(
        default=None, ge=1, le=1000, description="Pods of one Execution that may run at once; unset: no limit."
    )
    fail_fast: bool = Field(
        default=True,
        description=(
            "true: after a failure nothing new starts, and what runs may end. false: what does not depend on the "
            "failed task still runs. The Execution is Failed either way."
        ),
    )
    timeout: Duration | None = Field(
        default=None, description="Limit of one Execution, from its start, pauses included, e.g. 1h."
    )
    retry: ExecutionRetry | None = Field(
        default=None, description="Further attempts of a failed Execution; finished tasks are kept."
    )


class WorkflowSpec(InlineWorkflow):
    """The wanted workflow."""

    published: bool = Field(default=True, description="false keeps it a Draft that no Execution can start.")
    # Unset rather than empty: a revision made before there were triggers keeps its hash.
    triggers: list[Trigger] | None = Field(
        default=None, max_length=MAX_TRIGGERS, description="What starts it by itself: schedules."
    )


class WorkflowStatus(StatusModel):
    """What was found of the workflow."""

    observed_generation: int = Field(default=0, description="The metadata.generation that was looked at.")
    phase: str = Field(default="Draft", description="Draft, or Published: Executions can start.")
    revision: str | None = Field(
        default=None, description="The ControllerRevision that Executions started now will run."
    )
    tasks: int = Field(default=0, description="How many tasks it has.")
    message: str | None = Field(default=None, description="Why it is a Draft, and what to do.")
    triggers: dict[str, TriggerStatus] | None = Field(default=None, description="Where each trigger stands, by name.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Valid: the spec makes sense. Resolved: its agents are there and ready. Published: both.",
    )


class Workflow(Resource):
    """A graph of tasks, with the schema of its inputs and its outputs."""

    spec: WorkflowSpec = Field(description="The wanted workflow.")
    status: WorkflowStatus = Field(default_factory=WorkflowStatus, description="What was found of the workflow.")
