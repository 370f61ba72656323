"""What goes over the bus: one model a message, each with its version.

Readers ignore fields that they do not know; a change that older readers would misread raises `version`. Delivery is at
least once and may be out of order: `id` is the same each time that the same thing is told, `sequence` orders what is
told of one object.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ossa.api.execution import ExecutionPhase, TaskPhase

JSONObject = dict[str, Any]
# Streams: what must not be lost. Channels: the live stream, for whoever listens just then.
EVENTS, METRICS, ALERTS, AUDIT = "ossa:events", "ossa:metrics", "ossa:alerts", "ossa:audit"
TASK_ASSIGNMENT, STATUS_UPDATES, RESULTS, DECISIONS = "task-assignment", "status-updates", "results", "decisions"
CHANNELS = (TASK_ASSIGNMENT, STATUS_UPDATES, RESULTS, DECISIONS)

# Entries that no consumer could handle, beside the stream that they came from.
PARKED_SUFFIX = ":parked"

EventType = Literal["execution", "task", "approval", "decision"]
Source = Literal["api", "websocket", "scheduler", "monitor", "resource"]


class Message(BaseModel):
    """What every message has."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    id: str = Field(max_length=128, description="The same each time that the same thing is told.")
    time: datetime = Field(description="When it happened, with its zone.")
    source: Source = Field(description="Who brought it about; resource: the object itself, as kubectl left it.")
    trace_id: str | None = Field(default=None, description="Of the trace that it belongs to: 32 hex digits.")


class Event(Message):
    """A change of an Execution, of one of its tasks, of an approval, or a decision about one."""

    type: EventType
    namespace: str
    execution: str = Field(description="Name of the Execution.")
    uid: str = Field(description="UID of the Execution.")
    workflow: str = ""
    sequence: int = Field(default=0, description="resourceVersion of the object that tells it; grows.")
    phase: ExecutionPhase | TaskPhase | str = ""
    previous: str | None = Field(default=None, description="The phase before, where it is known.")
    progress: str = Field(default="", description="Of the execution, e.g. 3/7.")
    task: str | None = None
    agent: str | None = Field(default=None, description="Name of the Agent that runs the task.")
    index: int | None = Field(default=None, description="Of a forEach item.")
    round: int = Field(default=1, description="Attempt of the Execution.")
    attempt: int | None = Field(default=None, description="Of the task.")
    reason: str | None = None
    message: str | None = Field(default=None, max_length=2048)
    policy: str | None = Field(default=None, description="The AgentPolicy that denied it, as name@generation.")
    user: str | None = Field(default=None, description="Of a decision: who; of an execution: its author.")
    output: JSONObject | None = Field(default=None, description="What it gave; artifacts by reference.")
    final: bool = Field(default=False, description="Of an execution: it has ended for good.")


class Metric(Message):
    """A measurement, for the table of metrics."""

    name: str = Field(max_length=128)
    value: float
    labels: dict[str, str] = Field(default_factory=dict)
    namespace: str = ""
    execution_uid: str | None = None
    agent: str | None = Field(default=None, description="Name of the Agent, in `namespace`.")


class Alert(Message):
    """Something that a person should look at; the same `key` is the same trouble."""

    key: str = Field(max_length=256)
    severity: Literal["info", "warning", "critical"]
    state: Literal["firing", "resolved"] = "firing"
    summary: str = Field(max_length=1024)
    namespace: str = ""
    execution_uid: str | None = None


class Parked(BaseModel):
    """A message that no consumer could handle, with all that is needed to send it again. Its stream is NAME:parked."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
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
