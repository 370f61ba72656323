"""What goes over the bus: one model a message, each with its version.

Readers ignore fields that they do not know; a change that older readers would misread raises `version`. Delivery is at
least once and may be out of order: `id` is the same each time that the same thing is told, `sequence` orders what is
told of one object.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from ossa.api.base import JSONObject

# Streams: what must not be lost. Channels: the live stream, for whoever listens just then.
EVENTS, METRICS, ALERTS, AUDIT = "ossa:events", "ossa:metrics", "ossa:alerts", "ossa:audit"
TASK_ASSIGNMENT, STATUS_UPDATES, RESULTS, DECISIONS = "task-assignment", "status-updates", "results", "decisions"
CHANNELS = (TASK_ASSIGNMENT, STATUS_UPDATES, RESULTS, DECISIONS)

# The place before the first entry of a stream.
BEGINNING = "0-0"
# Entries that no consumer could handle, beside the stream that they came from.
PARKED_SUFFIX = ":parked"

EventType = Literal["execution", "task", "approval", "decision"]
Source = Literal["api", "websocket", "scheduler", "monitor", "resource"]


class Message(BaseModel):
    """What every message has."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = Field(default=1, description="Of this form of the message.")
    id: str = Field(max_length=128, description="The same each time that the same thing is told.")
    time: datetime = Field(description="When it happened, with its zone.")
    source: Source = Field(description="Who brought it about; resource: the object itself, as kubectl left it.")
    trace_id: str | None = Field(default=None, description="Of the trace that it belongs to: 32 hex digits.")

    @property
    def about(self) -> dict[str, str]:
        """What a line of the log about it has: which Execution it tells of, as far as it says so."""
        return _known(traceId=self.trace_id)


class Event(Message):
    """A change of an Execution, of one of its tasks, of an approval, or a decision about one."""

    type: EventType = Field(description="What it is about.")
    namespace: str = Field(description="Of the Execution.")
    execution: str = Field(description="Name of the Execution.")
    uid: str = Field(description="UID of the Execution.")
    workflow: str = Field(default="", description="Name of the Workflow; empty of one that is inline.")
    sequence: int = Field(default=0, description="resourceVersion of the object that tells it; grows.")
    phase: str = Field(default="", description="Where it stands now; of a decision, what was decided.")
    previous: str | None = Field(default=None, description="The phase before, where it is known.")
    progress: str = Field(default="", description="Of the execution, e.g. 3/7.")
    task: str | None = Field(default=None, description="Name of the task; unset of the execution as a whole.")
    agent: str | None = Field(default=None, description="Name of the Agent that runs the task.")
    index: int | None = Field(default=None, description="Of a forEach item.")
    round: int = Field(default=1, description="Attempt of the Execution.")
    attempt: int | None = Field(default=None, description="Of the task.")
    reason: str | None = Field(default=None, description="Why, in one word; of a person's decision, in words.")
    message: str | None = Field(default=None, max_length=2048, description="Why, or what is asked, in words.")
    policy: str | None = Field(default=None, description="The AgentPolicy that denied it, as name@generation.")
    user: str | None = Field(default=None, description="Of a decision: who; of an execution: its author.")
    output: JSONObject | None = Field(default=None, description="What it gave; artifacts by reference.")
    final: bool = Field(default=False, description="Of an execution: it has ended for good.")

    @property
    def about(self) -> dict[str, str]:
        """See Message."""
        return _known(
            namespace=self.namespace, execution=self.execution, uid=self.uid, traceId=self.trace_id, task=self.task
        )


class Metric(Message):
    """A measurement, for the table of metrics."""

    name: str = Field(max_length=128, description="What was measured, with its unit: task_duration_seconds.")
    value: float = Field(allow_inf_nan=False, description="The figure.")
    labels: dict[str, str] = Field(default_factory=dict, description="Of what: workflow, task, phase, reason.")
    namespace: str = Field(default="", description="Where that is; empty of the platform itself.")
    execution_uid: str | None = Field(default=None, description="UID of the Execution that it was measured of.")
    agent: str | None = Field(default=None, description="Name of the Agent, in `namespace`.")

    @property
    def about(self) -> dict[str, str]:
        """See Message."""
        return _known(namespace=self.namespace, uid=self.execution_uid, traceId=self.trace_id)


class Alert(Message):
    """Something that a person should look at; the same `key` is the same trouble."""

    key: str = Field(max_length=256, description="Names the trouble: RULE/SCOPE.")
    severity: Literal["info", "warning", "critical"] = Field(description="How bad it is.")
    state: Literal["firing", "resolved"] = Field(default="firing", description="Whether it begins or is over.")
    summary: str = Field(max_length=1024, description="What happened, in words.")
    namespace: str = Field(default="", description="Where; empty of the platform itself.")
    execution_uid: str | None = Field(default=None, description="UID of the Execution that it is about.")

    @property
    def about(self) -> dict[str, str]:
        """See Message."""
        return _known(namespace=self.namespace, uid=self.execution_uid, traceId=self.trace_id)


class Parked(BaseModel):
    """A message that no consumer could handle, with all that is needed to send it again. Its stream is NAME:parked."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = Field(default=1, description="Of this form of the message.")
    stream: str = Field(description="Where it came from.")
    group: str = Field(description="Whose consumer could not handle it.")
    entry: str = Field(description="Its id in that stream.")
    message: str = Field(description="As it was.")
    error: str = Field(description="Why it could not be handled.")
    deliveries: int = Field(description="How many times a consumer had it.")
    time: datetime = Field(description="When it was put aside.")


def parked_stream(stream: str) -> str:
    """The stream of the messages of `stream` that no consumer could handle."""
    return stream + PARKED_SUFFIX


def _known(**fields: str | None) -> dict[str, str]:
    return {name: value for name, value in fields.items() if value}
