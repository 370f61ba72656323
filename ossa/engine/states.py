"""The state machines as data: nothing changes a phase but along one of these edges."""

from __future__ import annotations

from dataclasses import dataclass

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
    Edge("Pending", "Failed", "its inputs are not valid"),
    Edge("Running", "Completed", "every task is Completed or Skipped, and the outputs have values"),
    Edge("Running", "Failed", "a task failed and nothing runs any more, or the outputs have no values"),
)
TASK_EDGES = (
    Edge("Pending", "Running", "everything that it depends on is Completed"),
    Edge("Pending", "Skipped", "its condition is not true, a dependency was skipped, or another task failed"),
    Edge("Pending", "Failed", "its condition or its input has no value, or its input is not valid"),
    Edge("Running", "Running", "its pod was lost: a new attempt"),
    Edge("Running", "Completed", "its pod gave a valid output"),
    Edge("Running", "Failed", "its pod failed, or ran too long"),
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
