"""Task: one step of a workflow, how often it is run, and what becomes of its failures."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ossa.api.approval import UserName
from ossa.api.base import Duration, JSONObject, Model, ObjectName, TaskName

MAX_TASKS = 100
MAX_FINALLY = 20
MAX_ITEMS = 10_000
EXPRESSION_MAX_LENGTH = 4096

# One ${{ CEL }} and nothing else.
Expression = Annotated[str, Field(min_length=1, max_length=EXPRESSION_MAX_LENGTH)]
# Why a pod that ran, or could not, may be tried again. What a repetition cannot change is not here.
RetryReason = Literal[
    "Error", "OOMKilled", "Timeout", "ImagePull", "Evicted", "NodeLost", "PodRefused", "InvalidOutput", "ChildFailed"
]
RETRIED_BY_DEFAULT: tuple[RetryReason, ...] = (
    "Error",
    "OOMKilled",
    "Timeout",
    "ImagePull",
    "Evicted",
    "NodeLost",
    "ChildFailed",
)


class Backoff(Model):
    """Pauses between attempts: initial, then `factor` times the one before, at most `max`."""

    initial: Duration = Field(default="1s", description="Before the second attempt.")
    factor: float = Field(default=2.0, ge=1, le=100, description="Each further pause is so many times the one before.")
    max: Duration = Field(default="5m", description="No pause is longer.")
    jitter: float = Field(
        default=0.1, ge=0, le=1, description="Each pause is longer or shorter by up to this part of itself."
    )


class Retry(Model):
    """When a failed attempt is followed by another one."""

    max_attempts: int = Field(
        default=3, ge=1, le=100, description="Attempts in all. Those whose pod was lost do not count."
    )
    backoff: Backoff = Field(default_factory=Backoff, description="Pauses between attempts.")
    reasons: list[RetryReason] = Field(
        default_factory=lambda: list(RETRIED_BY_DEFAULT),
        min_length=1,
        max_length=16,
        description="The reasons of failure after which it is tried again; unset: all that a repetition may mend.",
    )
    when: Expression | None = Field(
        default=None,
        description=(
            "${{ CEL }} that must be true for another attempt, over `error` (reason, message, exitCode, attempt) of "
            "the last one and all that the input may read."
        ),
    )


class ExecutionRetry(Model):
    """Another attempt of the whole Execution: what is Completed is kept, what failed is run again."""

    max_attempts: int = Field(default=2, ge=1, le=20, description="Attempts of the Execution in all.")
    backoff: Backoff = Field(default_factory=Backoff, description="Pauses between attempts.")


class Range(Model):
    """Numbers: start, start + step, and so on, `count` of them."""

    start: int = Field(default=0, description="The first number.")
    step: int = Field(default=1, description="From one number to the next.")
    count: int | str = Field(
        description="How many: a number, or ${{ CEL }}.",
        json_schema_extra={"x-ossa-pattern": r"^(\d+|\$\{\{.*\}\})$"},
    )


class ForEach(Model):
    """The task once for each item. Its output is the list of the items' outputs, in order."""

    items: Expression | None = Field(default=None, description="${{ CEL }} that gives a list.")
    range: Range | None = Field(default=None, description="Numbers instead of a list.")
    parallelism: int = Field(default=10, ge=1, le=1000, description="Items that may run at once.")


class TaskLock(Model):
    """A lock that is held while an attempt of the task runs: a mutex, or with a limit a semaphore."""

    name: Annotated[str, Field(min_length=1, max_length=EXPRESSION_MAX_LENGTH)] = Field(
        description="Name of the lock in the namespace; may hold ${{ CEL }}."
    )
    limit: int = Field(
        default=1,
        ge=1,
        le=10_000,
        description="How many may hold it at once; where tasks disagree, each goes by its own limit.",
    )


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
    """One step: an agent or another workflow and the input that it is given, or an approval."""

    name: TaskName = Field(description="Name of the task, unique within the workflow.")
    agent: ObjectName | None = Field(default=None, description="The Agent, in the same namespace, that does it.")
    workflow: ObjectName | None = Field(
        default=None,
        description=(
            "The Workflow, in the same namespace, that is run as an Execution of its own; the task's input is its "
            "inputs, and its outputs are the task's output."
        ),
    )
    approval: ApprovalTask | None = Field(default=None, description="In place of an agent: people who must approve.")
    capability: TaskName | None = Field(
        default=None, description="Which of the agent's capabilities; the first where it is unset."
    )
    input: JSONObject = Field(
        default_factory=dict,
        description=(
            "The input. Strings may hold ${{ CEL }} over `inputs`, `tasks.NAME.output`, `tasks.NAME.phase`, "
            "`tasks.NAME.error`, `execution` and `workflow`; in a forEach also `item` and `index`, in finally also "
            "`status` and `error`. A reference to a task makes it a dependency."
        ),
    )
    depends_on: list[TaskName] = Field(
        default_factory=list, max_length=MAX_TASKS, description="Tasks that must be Completed first."
    )
    when: Expression | None = Field(
        default=None,
        description=(
            "${{ CEL }} that must be true for the task to run; otherwise it is Skipped. A task whose `phase` or "
            "`error` alone it reads need not be Completed, only have ended: its failure is then this task's to handle."
        ),
    )
    for_each: ForEach | None = Field(default=None, description="Runs the task once for each of several items.")
    retry: Retry | None = Field(default=None, description="Tries failed attempts again; unset: one attempt.")
    timeout: Duration | None = Field(
        default=None, description="Limit of one attempt, from the creation of its pod or child Execution, e.g. 5m."
    )
    pending_timeout: Duration | None = Field(
        default=None,
        description="Limit of the time that a pod, or a child Execution, may take to start to run, e.g. 10m.",
    )
    continue_on_error: bool = Field(
        default=False,
        description="The Execution goes on where the task fails; what depends on it sees its defaultOutput, or {}.",
    )
    default_output: JSONObject | None = Field(
        default=None,
        description=(
            "The output that others read where the task was Skipped, or failed with continueOnError; with it, what "
            "depends on a skipped task runs."
        ),
    )
    priority: int = Field(
        default=0, ge=-1000, le=1000, description="Where not all tasks may start at once, higher ones go first."
    )
    locks: list[TaskLock] = Field(
        default_factory=list, max_length=8, description="Locks of the namespace that an attempt needs to run."
    )
