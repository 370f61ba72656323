"""Executions as this process knows them: what the API server holds, and the status that has been decided since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from controllers.cache import bare
from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_DEPTH, ANNOTATION_IDENTITY
from ossa.api.execution import Execution, ExecutionStatus
from ossa.api.trace import log_fields
from ossa.engine.decision import Announcement
from ossa.engine.packing import Part, spread
from ossa.engine.states import EXECUTION_TERMINAL, is_finished

# Seconds that a change of the status may wait for others to be written with it; of a large one.
WRITE_DELAY, LARGE_WRITE_DELAY = 0.5, 1.0
# Where many executions wait, so many a second are written in all, but none waits longer than this: each write costs the
# API server a third of what a pod does from its POST to its end.
WRITES_PER_SECOND, MOST_WRITE_DELAY = 10.0, 2.0
# Tasks and active items from which on a status is large.
LARGE = 50


def kept(item: JSONObject) -> JSONObject:
    """What a cache keeps of an Execution: of one that has ended no inputs, workflow and tasks, which take most room.

    Its outputs stay where it is a child, for its parent. Whoever wants the rest (to resume it) asks the API server.
    """
    item, status = bare(item), item.get("status") or {}
    if not is_finished(status):
        return item
    is_child = ANNOTATION_IDENTITY in (item["metadata"].get("annotations") or {})
    dropped = {"inputs", "tasks", "archive"} | (set() if is_child else {"outputs"})
    return {
        **item,
        "spec": {key: value for key, value in item["spec"].items() if key not in ("inputs", "workflowSpec")},
        "status": {key: value for key, value in status.items() if key not in dropped},
    }


@dataclass(slots=True)
class Working:
    """One execution. `execution.status` is what has been decided; `due` is set where it is not written yet."""

    execution: Execution
    version: str
    due: float | None = None  # monotonic
    told: bool = False  # its end was announced
    events: list[Announcement] = field(default_factory=list)  # decided, and not said yet
    written: ExecutionStatus | None = None  # the whole of what this process wrote last
    parts: tuple[Part, ...] = ()  # of its outputs, that lie in the artifact service
    _about: Mapping[str, str] | None = None
    unreadable: str | None = None  # why what lies there cannot be read, for good

    @classmethod
    def of(cls, item: JSONObject) -> Working:
        """As the API server has it."""
        read = Execution.model_validate(item)
        held = read.model_copy(update={"status": spread(read.status)})
        return cls(held, str(item["metadata"]["resourceVersion"]))

    def at_rest(self, item: JSONObject) -> Working:
        """The same, ended, with what the cache keeps of it and no more."""
        held = Working.of(item)
        held.told = self.told
        return held if held.ended else self

    @property
    def uid(self) -> str:
        """The key of the queue: names come again, UIDs do not."""
        return self.execution.metadata.uid

    @property
    def namespace(self) -> str:
        """Where it lives."""
        return self.execution.metadata.namespace

    @property
    def status(self) -> ExecutionStatus:
        """What has been decided."""
        return self.execution.status

    @property
    def ended(self) -> bool:
        """Whether it has ended, and that is written."""
        return self.status.phase in EXECUTION_TERMINAL and self.due is None

    @property
    def depth(self) -> int:
        """How many Executions it is a child of, one of the other."""
        text = self.execution.metadata.annotations.get(ANNOTATION_DEPTH, "0")
        return int(text) if text.isdecimal() else 0

    @property
    def about(self) -> Mapping[str, str]:
        """What each line of the log about it has."""
        if self._about is None:
            self._about = log_fields(self.execution.metadata.model_dump(), self.status.trace_id)
        return self._about

    @property
    def rank(self) -> tuple[float, ...]:
        """Where not all can go on: those of higher priority first, then the older ones."""
        return (-float(self.execution.spec.priority), *_digits(self.execution.metadata.creation_timestamp))

    def refresh(self, item: JSONObject) -> None:
        """Takes metadata and spec of a newer object; the status is ours alone."""
        version = str(item["metadata"]["resourceVersion"])
        if version == self.version:
            return
        fresh = Execution.model_validate({**item, "status": {}})
        self.execution = fresh.model_copy(update={"status": self.status})
        self.version = version

    def decided(self, status: ExecutionStatus, due: float | None) -> None:
        """Keeps a decision that is to be written at `due`, or was."""
        if status is not self.status:
            self.execution = self.execution.model_copy(update={"status": status})
        self.due = due
        if due is None:
            self.written = self.status

    def write_delay(self, waiting: int) -> float:
        """How long a change may wait where so many executions have one, this one included."""
        tasks = self.status.tasks
        size = len(tasks) + sum(len(task.items.active) + task.items.total for task in tasks.values() if task.items)
        least = LARGE_WRITE_DELAY if size > LARGE else WRITE_DELAY
        return max(least, min(MOST_WRITE_DELAY, waiting / WRITES_PER_SECOND))


def _digits(timestamp: str) -> tuple[float, ...]:
    digits = "".join(char for char in timestamp if char.isdecimal())
    return (float(digits or 0),)
