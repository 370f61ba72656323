"""The working copy of the tasks' statuses: every change of a phase is checked against the table here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ossa.api.agent import Classification
from ossa.api.base import JSONObject
from ossa.api.execution import AttemptStatus, ItemsStatus, Reason, TaskStatus
from ossa.engine.authors import approvers_of
from ossa.engine.classification import highest
from ossa.engine.judgedby import with_number
from ossa.engine.ranges import format_ranges, parse_ranges
from ossa.engine.rulings import Finding
from ossa.engine.states import check_task_transition
from ossa.engine.units import Unit
from ossa.engine.values import shorten

MESSAGE_MAX = 1024
# How many failed items of a forEach are kept with their reasons.
KEPT_ERRORS = 10


class Ledger:
    """Statuses by task; `changed` tells whether one differs from what it was made from."""

    def __init__(self, tasks: Mapping[str, TaskStatus], now_text: str) -> None:
        self.tasks: dict[str, TaskStatus] = dict(tasks)
        self.changed = False
        self._now_text = now_text

    def unit(self, unit: Unit) -> AttemptStatus:
        """The status of a unit; of an item that was not started a new one."""
        task = self.tasks[unit.task]
        if unit.index is None:
            return task
        return self._items(unit.task).active.get(str(unit.index)) or AttemptStatus()

    def set_unit(self, unit: Unit, **fields: Any) -> None:
        """Changes a unit; `phase` only along an edge of the table."""
        before = self.unit(unit)
        if fields.get("phase", before.phase) != before.phase:
            check_task_transition(before.phase, fields["phase"])
        if all(getattr(before, field) == value for field, value in fields.items()):
            return
        if unit.index is None:
            self._put(unit.task, self.tasks[unit.task].model_copy(update=fields))
            return
        items = self._items(unit.task)
        active = {**items.active, str(unit.index): before.model_copy(update=fields)}
        self._set_items(unit.task, active=active, started=max(items.started, unit.index + 1))

    def run(self, unit: Unit, *, attempt: int, pod: str, started_at: str, locks: tuple[str, ...]) -> None:
        """Records that an attempt of a unit runs; nothing of the one before it is left."""
        self.set_unit(
            unit,
            phase="Running",
            attempt=attempt,
            pod=pod,
            started_at=started_at,
            retry_at=None,
            reason=None,
            exit_code=None,
            message=None,
            locks=list(locks) or None,
            policy=None,
            policy_version=None,
        )

    def judged(self, unit: Unit, key: str, attempt: int, *, at_end: bool) -> None:
        """Records under which key of status.policies the start or the end of an attempt was judged."""
        held = self.tasks[unit.task]
        number = attempt if unit.index is None else unit.index
        field = "judged_at_end" if at_end else "judged_at_start"
        before = getattr(held, field)
        after = with_number(before, key, number)
        if after != before:
            self._put(unit.task, held.model_copy(update={field: after}))

    def put(self, name: str, status: TaskStatus) -> None:
        """Takes a whole status: of a task that begins anew, or is taken over."""
        self._put(name, status)

    def expand(self, name: str, total: int) -> None:
        """A forEach over so many items starts."""
        items = ItemsStatus(total=total)
        self.set_unit(Unit(name), phase="Running", started_at=self._now_text, items=items)

    def complete(self, unit: Unit, output: JSONObject) -> None:
        """Records the output of a unit."""
        done = {"phase": "Completed", "completed_at": self._now_text, "output": output}
        over: dict[str, Any] = {"message": None, "reason": None, "exit_code": None, "locks": None, "retry_at": None}
        if unit.index is None:
            self.set_unit(unit, **done, **over)
            return
        items = self._items(unit.task)
        check_task_transition(self.unit(unit).phase, "Completed")
        outputs = items.outputs + [None] * (unit.index + 1 - len(items.outputs))
        outputs[unit.index] = output
        self._set_items(
            unit.task,
            active={index: item for index, item in items.active.items() if index != str(unit.index)},
            started=max(items.started, unit.index + 1),
            completed=items.completed + 1,
            outputs=outputs,
        )

    def classify(self, name: str, given: Classification) -> None:
        """Records how confidential the data is that a task gives, besides what is known."""
        held = self.tasks[name]
        most = highest((held.classification, given))
        if most != held.classification:
            self._put(name, held.model_copy(update={"classification": most}))

    def approved(self, name: str, by: tuple[str, ...]) -> None:
        """Records who approved in an Execution that a task ran, besides those who are known."""
        held = self.tasks[name]
        names = approvers_of(held.approved_by or (), by)
        if names != held.approved_by:
            self._put(name, held.model_copy(update={"approved_by": names}))

    def fail(
        self, unit: Unit, reason: Reason, message: str, exit_code: int | None, *, denied_by: Finding | None = None
    ) -> None:
        """Records that a unit has failed for good."""
        failed: dict[str, Any] = {
            "phase": "Failed",
            "completed_at": self._now_text,
            "reason": reason,
            "message": shorten(message, MESSAGE_MAX),
            "exit_code": exit_code,
            "locks": None,
            "retry_at": None,
            "policy": denied_by.policy if denied_by is not None else None,
            "policy_version": denied_by.generation if denied_by is not None else None,
        }
        if unit.index is None:
            self.set_unit(unit, **failed)
            return
        items, before = self._items(unit.task), self.unit(unit)
        check_task_transition(before.phase, "Failed")
        errors = items.errors
        if len(errors) < KEPT_ERRORS:
            errors = {**errors, str(unit.index): before.model_copy(update=failed)}
        self._set_items(
            unit.task,
            active={index: item for index, item in items.active.items() if index != str(unit.index)},
            started=max(items.started, unit.index + 1),
            failed=format_ranges(parse_ranges(items.failed) | {unit.index}),
            errors=errors,
        )

    def end_group(self, name: str) -> None:
        """A forEach whose items have all ended has ended: well where all did."""
        items = self._items(name)
        if not items.failed:
            outputs = items.outputs + [None] * (items.total - len(items.outputs))
            self._set_items(name, outputs=outputs)
            self.set_unit(Unit(name), phase="Completed", completed_at=self._now_text, message=None)
            return
        index, first = next(iter(items.errors.items()))
        count = len(parse_ranges(items.failed))
        message = f"{count} of {items.total} items failed, first item {index}: {first.message or first.reason}"
        self.set_unit(
            Unit(name),
            phase="Failed",
            completed_at=self._now_text,
            reason=first.reason,
            exit_code=first.exit_code,
            message=shorten(message, MESSAGE_MAX),
            policy=first.policy,
            policy_version=first.policy_version,
        )

    def stop(self, name: str, reason: Reason, message: str) -> None:
        """Ends a task that runs or waits to be tried again, with all its items."""
        if self.tasks[name].items is not None:
            self._set_items(name, active={})
        self.fail(Unit(name), reason, message, None)

    def skip(self, name: str, message: str) -> None:
        """Records that a task will not run."""
        self.set_unit(Unit(name), phase="Skipped", completed_at=self._now_text, message=shorten(message, MESSAGE_MAX))

    def _items(self, name: str) -> ItemsStatus:
        items = self.tasks[name].items
        if items is None:
            raise TypeError(f"task {name!r} is no forEach that has started")
        return items

    def _set_items(self, name: str, **fields: Any) -> None:
        held = self.tasks[name]
        self._put(name, held.model_copy(update={"items": self._items(name).model_copy(update=fields)}))

    def _put(self, name: str, status: TaskStatus) -> None:
        self.tasks[name] = status
        self.changed = True
