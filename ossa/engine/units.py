"""Units of work: a task, or one item of a forEach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from ossa.api.base import JSONObject
from ossa.api.execution import AttemptStatus, ItemsStatus, TaskStatus
from ossa.engine.revision import CompiledTask


@dataclass(frozen=True, slots=True)
class Unit:
    """Names a unit. `index` is None but for an item of a forEach."""

    task: str
    index: int | None = None

    def __str__(self) -> str:
        return self.task if self.index is None else f"{self.task}[{self.index}]"


def active_units(tasks: Mapping[str, TaskStatus]) -> Iterator[tuple[Unit, AttemptStatus]]:
    """The units that run, or wait to be tried again, each with its status."""
    for name, task in tasks.items():
        if task.items is not None:
            if task.phase == "Running":
                yield from ((Unit(name, int(index)), item) for index, item in task.items.active.items())
        elif task.phase in ("Running", "Retrying"):
            yield Unit(name), task


def has_ended(items: ItemsStatus, index: int) -> bool:
    """Whether an item of a forEach was started and does not run any more."""
    return index < items.started and str(index) not in items.active


def made_attempts(status: AttemptStatus) -> int:
    """How many attempts count against the task, in this attempt of the Execution."""
    return status.attempt - status.lost - status.earlier


def held_locks(tasks: Mapping[str, TaskStatus]) -> dict[str, int]:
    """How many holders each lock has among the units that run."""
    held: dict[str, int] = {}
    for _, status in active_units(tasks):
        if status.phase == "Running":
            for name in status.locks or ():
                held[name] = held.get(name, 0) + 1
    return held


def output_of(task: TaskStatus, compiled: CompiledTask | None) -> object:
    """What an expression sees as the output of a task: of a forEach the list of its items' outputs."""
    default: JSONObject | None = compiled.spec.default_output if compiled is not None else None
    if task.items is not None:
        return [default if output is None else output for output in task.items.outputs]
    if task.output is None:
        return default if default is not None else {}
    return task.output


def error_of(status: AttemptStatus) -> JSONObject | None:
    """What an expression sees as the error of a task: of the last attempt that failed."""
    if status.reason is None:
        return None
    return {
        "reason": status.reason,
        "message": status.message or "",
        "exitCode": status.exit_code,
        "attempt": status.attempt,
    }
