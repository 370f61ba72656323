"""What has happened between two states of an object: pure, and the same whoever looks.

Of states in between that nobody saw nothing is told; of the later one everything that is different. Where the earlier
one is not known, all of the later one is told. So whoever takes the last event of each unit by `sequence` knows its
phase in the newest state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

from ossa.api.base import JSONObject
from ossa.api.contract import (
    ANNOTATION_REQUEST_ID,
    ANNOTATION_SOURCE,
    LABEL_TRIGGER,
)
from ossa.api.execution import ExecutionStatus
from ossa.api.trace import trace_of
from ossa.bus.messages import DECISIONS, RESULTS, STATUS_UPDATES, TASK_ASSIGNMENT, Event, Source
from ossa.engine.authors import author_of
from ossa.engine.states import EXECUTION_TERMINAL, TASK_TERMINAL, is_finished
from ossa.engine.units import Unit
from ossa.monitor.steps import Step, moment, steps_of

MAX_MESSAGE = 2048
DELETED = "Deleted"
_Kind = Literal["execution", "task", "approval", "decision"]


@dataclass(frozen=True, slots=True)
class Cast:
    """Who runs the tasks of a workflow: names of Agents by task, and those of them that judge."""

    agents: Mapping[str, str] = field(default_factory=dict)
    judges: frozenset[str] = frozenset()


NOBODY = Cast()


def identifier(*parts: object) -> str:
    """The same for the same thing: what became of what, by UIDs and numbers."""
    return hashlib.blake2b("/".join(map(str, parts)).encode(), digest_size=16).hexdigest()


def channels_of(event: Event) -> tuple[str, ...]:
    """The channels that an event goes on."""
    if event.type == "decision":
        return (DECISIONS,)
    if event.type == "approval":
        return (STATUS_UPDATES, DECISIONS)
    if event.type == "task" and event.phase == "Running":
        return (STATUS_UPDATES, TASK_ASSIGNMENT)
    if event.phase == "Completed" or event.final:
        return (STATUS_UPDATES, RESULTS)
    return (STATUS_UPDATES,)


def execution_events(
    before: JSONObject | None, now: JSONObject | None, *, version: int, seen: datetime, cast: Cast = NOBODY
) -> list[Event]:
    """What became of an Execution.

    before: None where it is not known. now: None where it is gone.
    version: resourceVersion of `now`, or of the deletion.
    seen: the time of what says no time of its own.
    """
    if now is None:
        return _gone(before, version, seen)
    then = _Reading.of(before) if before is not None else None
    told = _Telling(_Reading.of(now), then, version, seen, cast)
    whole = list(told.whole())
    tasks = [event for unit in told.now.steps for event in told.unit(unit)]
    decisions = list(told.decisions())
    # What ends an Execution is told after what it ended with.
    return [*tasks, *decisions, *whole] if told.now.status.phase in EXECUTION_TERMINAL else [*whole, *tasks, *decisions]


@dataclass(frozen=True, slots=True)
class _Reading:
    """One state of an Execution, read."""

    item: JSONObject
    status: ExecutionStatus
    steps: dict[Unit, Step]
    final: bool

    @classmethod
    def of(cls, item: JSONObject) -> _Reading:
        raw = item.get("status") or {}
        status = ExecutionStatus.model_validate(raw)
        return cls(item, status, steps_of(status), is_finished(raw))

    @property
    def place(self) -> tuple[object, ...]:
        """What makes it another state of the Execution as a whole."""
        return self.status.phase, self.status.attempt, self.final


@dataclass(frozen=True, slots=True)
class _Telling:
    """Makes the events of a state. `before`: what was told before, where that is known."""

    now: _Reading
    before: _Reading | None
    version: int
    seen: datetime
    cast: Cast

    def whole(self) -> Iterator[Event]:
        """Of the Execution itself."""
        status, then = self.now.status, self.before
        if then is not None and then.place == self.now.place:
            return
        uid, phase = self.now.item["metadata"]["uid"], status.phase
        # Running and Paused come again in one attempt; each time the spec was changed in between.
        visit = status.observed_generation if phase in ("Running", "Paused") else 0
        yield self.event(
            identifier(uid, "execution", phase, status.attempt, visit, self.now.final),
            "execution",
            self._time(then),
            phase=phase,
            previous=then.status.phase if then is not None else None,
            reason=status.error.reason if status.error is not None else None,
            message=short(status.message or (status.error.message if status.error is not None else None)),
            user=_author(self.now.item),
            output=status.outputs if phase == "Completed" else None,
            final=self.now.final,
        )

    def unit(self, unit: Unit) -> Iterator[Event]:
        """Of a task or an item."""
        step = self.now.steps[unit]
        then = self.before.steps.get(unit) if self.before is not None else None
        if then is not None and then.place == step.place:
            return
        if step.phase == "Pending" and (then is None or then.phase == "Pending") and self.now.status.attempt == 1:
            return
        agent = self.cast.agents.get(unit.task)
        same = self._key(unit, step)
        fields = {
            "task": unit.task,
            "index": unit.index,
            "agent": agent,
            "attempt": step.attempt,
            "reason": step.reason,
            "message": short(step.message),
            "output": step.output if step.phase == "Completed" else None,
            "policy": step.policy,
        }
        time = (step.completed if step.phase in TASK_TERMINAL else step.started) or self.seen
        previous = then.phase if then is not None else None
        yield self.event(identifier(*same), "task", time, phase=step.phase, previous=previous, **fields)
        if step.phase == "Failed" and step.reason == "PolicyDenied":
            yield self.event(identifier(*same, "decision"), "decision", time, phase="Denied", **fields)
        elif step.phase == "Completed" and agent is not None and agent in self.cast.judges:
            yield self.event(identifier(*same, "decision"), "decision", time, phase="Judged", **fields)

    def decisions(self) -> Iterator[Event]:
        """Of policies about the Execution itself, and denials that did not bind."""
        status, uid = self.now.status, self.now.item["metadata"]["uid"]
        old = self.before.status if self.before is not None else None
        error = status.error
        if error is not None and error.task is None and error.reason == "PolicyDenied" and not (old and old.error):
            yield self.event(
                identifier(uid, "decision", "Denied", status.attempt, error.policy),
                "decision",
                moment(status.completed_at) or self.seen,
                phase="Denied",
                reason=error.reason,
                message=short(error.message),
                policy=error.policy and f"{error.policy}@{error.policy_version}",
            )
        for number, held in enumerate(status.overruled or ()):
            if old is not None and number < len(old.overruled or ()):
                continue
            yield self.event(
                identifier(uid, "decision", "Overruled", number),
                "decision",
                moment(held.time) or self.seen,
                phase="Overruled",
                task=held.task,
                message=short(held.message),
                policy=f"{held.policy}@{held.policy_version}",
                user=_author(self.now.item),
            )

    def event(self, name: str, kind: _Kind, time: datetime, **fields: Any) -> Event:
        """One event, with what all of this state have."""
        return Event(
            id=name, type=kind, time=time, sequence=self.version, round=self.now.status.attempt,
            progress=self.now.status.progress, **_common(self.now.item), **fields,
        )  # fmt: skip

    def _key(self, unit: Unit, step: Step) -> tuple[object, ...]:
        """What a step is known by. A unit completes once; all else it may do in each attempt of the Execution."""
        uid, round_ = self.now.item["metadata"]["uid"], self.now.status.attempt
        if step.phase == "Completed":
            return uid, "task", unit, "Completed"
        return uid, "task", unit, round_, *step.place

    def _time(self, then: _Reading | None) -> datetime:
        status = self.now.status
        if status.phase == "Pending":
            return moment(self.now.item["metadata"].get("creationTimestamp")) or self.seen
        if status.phase in EXECUTION_TERMINAL:
            return moment(status.completed_at) or self.seen
        begins = status.phase == "Running" and status.attempt == 1 and (then is None or then.status.phase == "Pending")
        return (moment(status.started_at) if begins else None) or self.seen


def _gone(before: JSONObject | None, version: int, seen: datetime) -> list[Event]:
    """Of an Execution that was deleted before it had ended; one that had says nothing new by it."""
    if before is None or is_finished(before.get("status") or {}):
        return []
    name = identifier(before["metadata"]["uid"], "execution", DELETED)
    common = _common(before)
    return [Event(id=name, type="execution", time=seen, phase=DELETED, sequence=version, final=True, **common)]


def _common(item: JSONObject) -> dict[str, Any]:
    metadata, spec, status = item["metadata"], item.get("spec") or {}, item.get("status") or {}
    return {
        "namespace": metadata["namespace"],
        "execution": metadata["name"],
        "uid": metadata["uid"],
        "workflow": spec.get("workflow") or "",
        "source": _source(metadata),
        "trace_id": trace_of(metadata.get("annotations") or {}, metadata["uid"], status.get("traceId")).trace_id,
    }


def _source(metadata: Mapping[str, Any]) -> Source:
    if LABEL_TRIGGER in (metadata.get("labels") or {}):
        return "scheduler"
    held = metadata.get("annotations") or {}
    if ANNOTATION_REQUEST_ID not in held:
        return "resource"
    return "websocket" if held.get(ANNOTATION_SOURCE) == "websocket" else "api"


def _author(item: JSONObject) -> str | None:
    return author_of("Execution", item["metadata"].get("annotations") or {}) or None


def short(text: str | None) -> str | None:
    """A message as an event carries it; None where it is empty."""
    if text is None or len(text) <= MAX_MESSAGE:
        return text or None
    return text[: MAX_MESSAGE - 1] + "…"
