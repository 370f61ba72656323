"""Trigger: what starts a Workflow by itself, at the times of a cron schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ossa.api.base import JSONObject, Model, StatusModel, TaskName, Timestamp

MAX_TRIGGERS = 20
# Runs that catchUp: All makes up for; the oldest beyond that are given up.
MAX_CATCH_UP = 10
# A cron is five fields or one of these words.
CRON_WORDS = ("@hourly", "@daily", "@midnight", "@weekly", "@monthly", "@yearly", "@annually")

ConcurrencyPolicy = Literal["Allow", "Forbid", "Replace"]
CatchUp = Literal["Latest", "All"]


class Trigger(Model):
    """Starts the workflow at the times of a schedule. One workflow may have several."""

    name: TaskName = Field(
        description=(
            "Name of the trigger, unique within the workflow. Its Executions are called "
            "WORKFLOW.TRIGGER-MINUTES, with the scheduled time in minutes since 1970, and labelled ossa.dev/trigger."
        )
    )
    cron: str = Field(
        min_length=1,
        max_length=128,
        description=(
            "Minute, hour, day of the month, month and day of the week, such as `0 2 * * *` or "
            f"`*/15 8-17 * * MON-FRI`; or one of {', '.join(CRON_WORDS)}."
        ),
    )
    time_zone: str = Field(
        default="Etc/UTC",
        min_length=1,
        max_length=64,
        description=(
            "IANA name of the time zone in which the schedule is read, such as Europe/Berlin. Where the clock is put "
            "forward, a time that does not exist runs right after the gap; where it is put back, a time that comes "
            "twice runs at its first coming. A schedule of every hour follows elapsed time instead."
        ),
    )
    concurrency_policy: ConcurrencyPolicy = Field(
        default="Allow",
        description=(
            "When a time comes while an Execution of this trigger still runs. Allow: both run. Forbid: the new one "
            "waits for the end of the old one, within startingDeadlineSeconds. Replace: the new one starts and the old "
            "one is cancelled."
        ),
    )
    starting_deadline_seconds: int | None = Field(
        default=None,
        ge=1,
        le=31_536_000,
        description=(
            "How late a run may start, because the operator was down, the workflow a Draft or Forbid held it up. "
            "What is later is missed and never started. Unset: no limit."
        ),
    )
    catch_up: CatchUp = Field(
        default="Latest",
        description=(
            "Which of several missed runs are started afterwards, within startingDeadlineSeconds. Latest: the newest "
            f"alone. All: each, oldest first, but no more than the newest {MAX_CATCH_UP}; Replace starts the newest "
            "alone all the same."
        ),
    )
    suspend: bool = Field(
        default=False,
        description="true starts nothing. Times that pass meanwhile are not made up for. What runs is left alone.",
    )
    inputs: JSONObject = Field(
        default_factory=dict,
        description="The inputs of its Executions; they must fit spec.inputs, whose defaults are filled in.",
    )
    successful_history_limit: int = Field(
        default=3,
        ge=0,
        le=100,
        description="How many Executions of this trigger that were Completed are kept; older ones are deleted.",
    )
    failed_history_limit: int = Field(
        default=1,
        ge=0,
        le=100,
        description="How many Executions of this trigger that have Failed are kept; older ones are deleted.",
    )


class TriggerStatus(StatusModel):
    """Where one trigger stands."""

    schedule: str | None = Field(default=None, description="The cron and the time zone that are followed.")
    since: Timestamp | None = Field(
        default=None,
        description=(
            "Times up to this one do not count: the trigger was then first seen on a published workflow, got this "
            "schedule or was resumed. Unset while it is suspended."
        ),
    )
    last_schedule_time: Timestamp | None = Field(
        default=None, description="The newest scheduled time for which an Execution was made."
    )
    next_schedule_time: Timestamp | None = Field(
        default=None, description="When it fires next; unset while nothing is started."
    )
    active: int = Field(default=0, description="How many of its Executions have not ended.")
    message: str | None = Field(default=None, max_length=1024, description="Why nothing is started, and what to do.")
