"""What is written down of the tasks of an Execution, as the API server has it: pure.

A status that is too large for an object is packed (ossa/engine/packing.py). What it leaves out is not fetched: a field
that is None here stays as it was recorded before.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ossa.api.base import JSONObject
from ossa.engine.ranges import parse_ranges

# The index of a task that is no item of a forEach.
NO_ITEM = -1


@dataclass(frozen=True, slots=True)
class TaskRecord:
    """`attempt` None: the one that was recorded last, or the first; the object does not say which it was."""

    name: str
    index: int
    attempt: int | None
    status: str
    output: JSONObject | None = None
    pod: str | None = None
    reason: str | None = None
    exit_code: int | None = None
    message: str | None = None
    started_at: str | None = None
    completed_at: str | None = None


def task_records(item: JSONObject | None) -> list[TaskRecord]:
    """Where the tasks of an Execution stand, and the items of each forEach."""
    found: list[TaskRecord] = []
    tasks = ((item or {}).get("status") or {}).get("tasks") or {}
    for name, task in tasks.items():
        found.append(_attempt(name, NO_ITEM, task))
        items = task.get("items")
        if items:
            found += _items(name, items)
    return found


def changed_tasks(before: JSONObject | None, now: JSONObject) -> list[TaskRecord]:
    """Those that are not as they were; `before`: what was recorded, None where that is not known."""
    known = set(map(_identity, task_records(before)))
    return [task for task in task_records(now) if _identity(task) not in known]


def _items(name: str, items: Mapping[str, Any]) -> Iterator[TaskRecord]:
    """Started items. Of those that ended the object tells the phase and, where it was not moved out, the output."""
    active, errors = items.get("active") or {}, items.get("errors") or {}
    running, failed = parse_ranges(items.get("running") or ""), parse_ranges(items.get("failed") or "")
    outputs: Sequence[JSONObject | None] = items.get("outputs") or ()
    for index in range(int(items.get("started") or 0)):
        held = active.get(str(index))
        if held is not None:
            yield _attempt(name, index, held)
        elif index in running:
            yield TaskRecord(name, index, 1, "Running")
        elif index in failed:
            error = errors.get(str(index))
            yield _attempt(name, index, error) if error is not None else TaskRecord(name, index, None, "Failed")
        else:
            yield TaskRecord(name, index, None, "Completed", outputs[index] if index < len(outputs) else None)


def _attempt(name: str, index: int, held: Mapping[str, Any]) -> TaskRecord:
    phase, attempt = str(held.get("phase") or "Pending"), int(held.get("attempt") or 0)
    # One that has not begun is the next one: those before it were made, in earlier attempts of the Execution.
    to_come = phase == "Pending" or attempt <= int(held.get("earlier") or 0)
    return TaskRecord(
        name=name,
        index=index,
        attempt=attempt + 1 if to_come else attempt,
        status=phase,
        output=held.get("output"),
        pod=held.get("pod"),
        reason=held.get("reason"),
        exit_code=held.get("exitCode"),
        message=held.get("message"),
        started_at=held.get("startedAt"),
        completed_at=held.get("completedAt"),
    )


def _identity(task: TaskRecord) -> tuple[Any, ...]:
    """All of it, so that it can be looked up; an output belongs to one attempt and does not change within it."""
    return (
        task.name,
        task.index,
        task.attempt,
        task.status,
        task.output is None,
        task.pod,
        task.reason,
        task.exit_code,
        task.message,
        task.started_at,
        task.completed_at,
    )
