"""Where each unit of an Execution stands, read from a status as it is written: readable, packed, or phases alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from ossa.api.base import JSONObject
from ossa.api.execution import AttemptStatus, ExecutionStatus, ItemsStatus, TaskPhase
from ossa.engine.clock import from_text
from ossa.engine.packing import spread
from ossa.engine.ranges import parse_ranges
from ossa.engine.units import Unit


@dataclass(frozen=True, slots=True)
class Step:
    """Where a task, or an item of a forEach, stands. attempt: None of an item that has ended: few statuses say it."""

    phase: TaskPhase
    attempt: int | None = None
    started: datetime | None = None
    completed: datetime | None = None
    reason: str | None = None
    message: str | None = None
    policy: str | None = None
    output: JSONObject | None = None

    @property
    def place(self) -> tuple[TaskPhase, int | None]:
        """What makes it another step."""
        return self.phase, self.attempt


def steps_of(status: ExecutionStatus) -> dict[Unit, Step]:
    """Every task, and every item that was started. Of a status with phases alone there are no items."""
    found: dict[Unit, Step] = {}
    for name, task in spread(status).tasks.items():
        found[Unit(name)] = _step(task, task.output)
        if task.items is not None:
            found |= {Unit(name, index): step for index, step in _item_steps(task.items).items()}
    return found


def moment(text: str | None) -> datetime | None:
    """The moment of a timestamp; None where there is none."""
    return from_text(text) if text else None


def _step(held: AttemptStatus, output: JSONObject | None = None) -> Step:
    return Step(
        held.phase,
        held.attempt,
        moment(held.started_at),
        moment(held.completed_at),
        held.reason,
        held.message,
        held.policy and f"{held.policy}@{held.policy_version}",
        output,
    )


def _item_steps(items: ItemsStatus) -> dict[int, Step]:
    failed = parse_ranges(items.failed)
    steps: dict[int, Step] = {}
    for index in range(items.started):
        if (active := items.active.get(str(index))) is not None:
            steps[index] = _step(active)
        elif index in failed:
            error = items.errors.get(str(index))
            steps[index] = replace(_step(error), phase="Failed", attempt=None) if error else Step("Failed")
        else:
            output = items.outputs[index] if index < len(items.outputs) else None
            steps[index] = Step("Completed", output=output)
    return steps
