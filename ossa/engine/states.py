"""The state machines as data: nothing changes a phase but along one of these edges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ossa.api.execution import ExecutionPhase, TaskPhase


class IllegalTransition(ValueError):
    """A change of phase that the table does not have."""


@dataclass(frozen=True, slots=True)
class Edge:
    """One change of phase that may happen, and why it does."""

    source: str
    target: str
    cause: str


EXECUTION_EDGES = (
    Edge("Pending", "Running", "its workflow is published and its inputs are valid"),
    Edge("Pending", "Paused", "it could run, but spec.suspend is true"),
    Edge(
        "Pending", "Failed", "its inputs are not valid, a policy denies it, it was cancelled, or pending for too long"
    ),
    Edge("Running", "Paused", "spec.suspend is true"),
    Edge(
        "Paused", "Running", "spec.suspend is false again, or it is cancelled, denied or late and `finally` is to run"
    ),
    Edge("Paused", "Failed", "cancelled, out of time, or a policy denies that it goes on"),
    Edge("Running", "Completed", "every task has ended, none badly, and the outputs have values"),
    Edge("Running", "Failed", "a task failed and nothing runs any more, or the outputs have no values"),
    Edge("Failed", "Retrying", "spec.retry of its workflow allows another attempt"),
    Edge("Retrying", "Running", "the pause before the attempt is over"),
    Edge("Retrying", "Paused", "spec.suspend is true"),
    Edge("Retrying", "Failed", "cancelled, out of time, or a policy denies that it goes on"),
)
TASK_EDGES = (
    Edge("Pending", "Running", "what it depends on has ended as it must"),
    Edge("Pending", "Completed", "a forEach over nothing, or its output was taken over from the Execution it resumes"),
    Edge("Pending", "Skipped", "its condition is not true, a dependency was skipped or failed, or the Execution ends"),
    Edge("Pending", "Failed", "its condition or its input has no value, its input is not valid, or a policy denies it"),
    Edge("Pending", "Waiting", "people are asked to approve"),
    Edge("Waiting", "Completed", "enough of them approved"),
    Edge("Waiting", "Failed", "one rejected, too few approved in time, or the Execution ends"),
    Edge("Running", "Retrying", "its pod was lost, or it failed and may be tried again"),
    Edge("Running", "Completed", "its pod gave a valid output"),
    Edge("Running", "Failed", "its pod failed or ran too long, a policy denies its output, or the Execution ends"),
    Edge("Retrying", "Running", "the pause before the next attempt is over"),
    Edge("Retrying", "Failed", "the Execution ends, the input has no value any more, or a policy denies it"),
    Edge("Failed", "Pending", "another attempt of the Execution"),
    Edge("Skipped", "Pending", "another attempt of the Execution"),
)
EXECUTION_TERMINAL = frozenset({"Completed", "Failed"})
TASK_TERMINAL = frozenset({"Completed", "Failed", "Skipped"})

_EXECUTION = {(edge.source, edge.target) for edge in EXECUTION_EDGES}
_TASK = {(edge.source, edge.target) for edge in TASK_EDGES}


def check_execution_transition(source: ExecutionPhase, target: ExecutionPhase) -> None:
    """Raises IllegalTransition for a change that the table of executions does not have."""
    if (source, target) not in _EXECUTION:
        raise IllegalTransition(f"an Execution cannot go from {source} to {target}")


def check_task_transition(source: TaskPhase, target: TaskPhase) -> None:
    """Raises IllegalTransition for a change that the table of tasks does not have."""
    if (source, target) not in _TASK:
        raise IllegalTransition(f"a task cannot go from {source} to {target}")


def is_finished(status: Mapping[str, Any]) -> bool:
    """Whether an Execution has ended for good, by the raw status of one: a Failed one may be tried again."""
    conditions = status.get("conditions") or []
    return any(held.get("type") == "Finished" and held.get("status") == "True" for held in conditions)
