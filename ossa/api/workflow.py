"""Workflow: a graph of tasks."""

from __future__ import annotations

from pydantic import Field

from ossa.api.approval import UserName
from ossa.api.base import Condition, Duration, JSONObject, Model, ObjectName, Resource, StatusModel, TaskName

MAX_TASKS = 100
EXPRESSION_MAX_LENGTH = 4096


class ApprovalTask(Model):
    """A question to people; the task is Completed when enough of them approve, and fails otherwise."""

    message: str = Field(
        min_length=1, max_length=EXPRESSION_MAX_LENGTH, description="What is asked; may hold ${{ CEL }} as `input` may."
    )
    approver_groups: list[UserName] = Field(
        default_factory=list, max_length=32, description="Groups of the cluster whose members may decide."
    )
    approver_users: list[UserName] = Field(
        default_factory=list, max_length=64, description="Users of the cluster who may decide."
    )
    count: int = Field(default=1, ge=1, le=16, description="How many must approve; one rejection rejects.")
    timeout: Duration = Field(default="24h", description="How long is waited for them, e.g. 24h.")


class Task(Model):
    """One step: an agent and the input that it is given, or an approval."""

    name: TaskName = Field(description="Name of the task, unique within the workflow.")
    agent: ObjectName | None = Field(default=None, description="The Agent, in the same namespace, that does it.")
    approval: ApprovalTask | None = Field(default=None, description="In place of an agent: people who must approve.")
    capability: TaskName | None = Field(
        default=None, description="Which of the agent's capabilities; the first where it is unset."
    )
    input: JSONObject = Field(
        default_factory=dict,
        description=(
            "The input. Strings may hold ${{ CEL }} over `inputs`, `tasks.NAME.output`, `tasks.NAME.phase`, "
            "`execution` and `workflow`; a reference to a task makes it a dependency."
        ),
    )
    depends_on: list[TaskName] = Field(
        default_factory=list, max_length=MAX_TASKS, description="Tasks that must be Completed first."
    )
    when: str | None = Field(
        default=None,
        min_length=1,
        max_length=EXPRESSION_MAX_LENGTH,
        description="${{ CEL }} that must be true for the task to run; otherwise it is Skipped.",
    )
    timeout: Duration | None = Field(
        default=None, description="Limit of one attempt, from the creation of its pod, e.g. 5m."
    )


class WorkflowSpec(Model):
    """The wanted workflow."""

    version: str = Field(default="0.0.0", min_length=1, max_length=64, description="Version of the workflow.")
    description: str = Field(default="", max_length=1024, description="What it does, for a person.")
    published: bool = Field(default=True, description="false keeps it a Draft that no Execution can start.")
    inputs: JSONObject | None = Field(
        default=None,
        description=(
            "JSON Schema of an Execution's inputs, of type object; the defaults of its properties are filled in."
        ),
    )
    tasks: list[Task] = Field(min_length=1, max_length=MAX_TASKS, description="The tasks; their order means nothing.")
    outputs: JSONObject = Field(
        default_factory=dict, description="The Execution's outputs; strings may hold ${{ CEL }}."
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
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Valid: the spec makes sense. Resolved: its agents are there and ready. Published: both.",
    )


class Workflow(Resource):
    """A graph of tasks, with the schema of its inputs and its outputs."""

    spec: WorkflowSpec = Field(description="The wanted workflow.")
    status: WorkflowStatus = Field(default_factory=WorkflowStatus, description="What was found of the workflow.")
