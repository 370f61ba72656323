"""The Execution as a whole in the working copy of one decision: the fields of its status, its trace, its end."""

from __future__ import annotations

from datetime import datetime
from functools import cached_property
from typing import Any, Literal

from ossa.api.base import Condition, set_condition
from ossa.api.execution import ExecutionError
from ossa.api.trace import ExecutionTrace, parent_of_workers, trace_of
from ossa.engine.blame import error_of_execution, error_of_unit
from ossa.engine.clock import duration_text, from_text, to_text
from ossa.engine.decision import ending
from ossa.engine.ledger import Ledger
from ossa.engine.outcome import Failure
from ossa.engine.snapshot import Snapshot
from ossa.engine.start import CannotStart
from ossa.engine.states import check_execution_transition
from ossa.engine.units import Unit
from ossa.engine.values import shorten
from ossa.engine.wishes import Wishes

_MESSAGE = 200  # of the column MESSAGE; the whole of it is in status.error
STOPPED = frozenset({"Cancelled", "Timeout", "PolicyDenied"})


class Whole(Wishes):
    """What one pass makes of an Execution itself."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        super().__init__()
        self.snapshot = snapshot
        self.now = now
        self.now_text = to_text(now)
        self._before = snapshot.execution.status
        self._changes: dict[str, Any] = {}
        self.ledger = Ledger(self._before.tasks, self.now_text)

    @cached_property
    def trace(self) -> ExecutionTrace:
        """The trace of the Execution; from its first turn on it does not change."""
        held = self.snapshot.execution.metadata
        return trace_of(held.annotations, held.uid, self.get("trace_id"))

    @cached_property
    def traceparent(self) -> str:
        """What its workers, and the Executions that it makes, are given."""
        return parent_of_workers(self.trace, self.snapshot.execution.metadata.uid)

    def get(self, field: str) -> Any:
        """A field of the status as it is by now."""
        return self._changes[field] if field in self._changes else getattr(self._before, field)

    def set(self, **fields: Any) -> None:
        """Changes fields of the status; `phase` only along an edge of the table."""
        if "phase" in fields and fields["phase"] != self.get("phase"):
            check_execution_transition(self.get("phase"), fields["phase"])
        for name, value in fields.items():
            if value != self.get(name):
                self._changes[name] = value

    @property
    def stopped(self) -> bool:
        """Whether it was cancelled, is out of time or may not go on: then nothing but `finally` runs."""
        error: ExecutionError | None = self.get("error")
        return error is not None and error.task is None and error.reason in STOPPED

    def finish(self, phase: Literal["Completed", "Failed"], **fields: Any) -> None:
        """Ends the Execution."""
        started = self.get("started_at")
        duration = duration_text(self.now - from_text(started)) if started else None
        error: ExecutionError | None = fields.get("error", self.get("error"))
        message = shorten(error.message, _MESSAGE) if error is not None else None
        done = phase == "Completed"
        reason = phase if error is None else error.reason
        conditions = list(self.get("conditions"))
        for condition in (
            Condition(type="Finished", status="True", reason=phase, message=message or ""),
            Condition(type="Succeeded", status="True" if done else "False", reason=reason, message=message or ""),
        ):
            conditions = set_condition(conditions, condition, self.now_text)
        self.set(
            phase=phase,
            completed_at=self.now_text,
            duration=duration,
            message=message,
            retry_at=None,
            conditions=conditions,
            **fields,
        )
        told = ending(self._before.model_copy(update=self._changes))
        self.announce(told.type, told.reason, told.message)

    def error(self, failure: Failure | CannotStart, *, unit: Unit | None) -> ExecutionError:
        """What is recorded as the first thing that went wrong."""
        if unit is None:
            return error_of_execution(failure)
        held = self.ledger.unit(unit)
        return error_of_unit(failure, unit, held, self.snapshot.log_tails.get(held.pod or ""))
