"""What is recorded of the first thing that went wrong in an Execution."""

from __future__ import annotations

from typing import Any

from ossa.api.execution import AttemptStatus, ExecutionError
from ossa.engine.outcome import Failure
from ossa.engine.rulings import Finding
from ossa.engine.start import CannotStart
from ossa.engine.units import Unit
from ossa.engine.values import shorten

_LOG_TAIL_LINES = 20
_LOG_TAIL_CHARACTERS = 4096
_MESSAGE = 2048


def error_of_execution(failure: Failure | CannotStart) -> ExecutionError:
    """Of the Execution itself: cancelled, out of time, or its outputs have no values."""
    return ExecutionError(
        reason=failure.reason, message=shorten(failure.message, _MESSAGE), **denied_fields(failure.denied_by)
    )


def error_of_unit(failure: Failure | CannotStart, unit: Unit, held: AttemptStatus, log: str | None) -> ExecutionError:
    """Of a unit whose last attempt stands in `held`; `log` is the end of its pod's log, where there is one."""
    return ExecutionError(
        task=unit.task,
        index=unit.index,
        attempt=held.attempt or None,
        reason=failure.reason,
        exit_code=failure.exit_code if isinstance(failure, Failure) else None,
        message=shorten(f"task {str(unit)!r} failed: {failure.message}", _MESSAGE),
        log_tail=_tail(log) if log else None,
        **denied_fields(failure.denied_by),
    )


def denied_fields(by: Finding | None) -> dict[str, Any]:
    """The fields of a status that name the policy; none where no policy denied it."""
    return {} if by is None else {"policy": by.policy, "policy_version": by.generation}


def _tail(log: str) -> str:
    lines = log.replace("\x00", "").rstrip().splitlines()[-_LOG_TAIL_LINES:]
    return "\n".join(lines)[-_LOG_TAIL_CHARACTERS:]
