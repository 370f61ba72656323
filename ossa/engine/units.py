"""Units of work: a task, or one item of a forEach."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
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


def held_locks(tasks: Mapping[str, TaskStatus], holders: Iterable[tuple[str, Sequence[str]]] = ()) -> Counter[str]:
    """How many holders each lock has: units that run, and `holders`, the names and locks of what runs on by itself.

    A pod that its task has given up, because that was cancelled or took too long, runs on for as long as its grace.
    """
    running = ((unit, status) for unit, status in active_units(tasks) if status.phase == "Running")
    held = {status.pod or str(unit): status.locks or () for unit, status in running} | dict(holders)
    return Counter(name for names in held.values() for name in names)


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
    error: JSONObject = {
        "reason": status.reason,
        "message": status.message or "",
        "exitCode": status.exit_code,
        "attempt": status.attempt,
    }
    if status.policy is not None:
        error |= {"policy": status.policy, "policyVersion": status.policy_version}
    return error
