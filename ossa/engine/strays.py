"""What may still run, but not for its task: it was lost, timed out or stopped, or only its sidecars run."""

from __future__ import annotations

from collections.abc import Mapping

from ossa.api.execution import AttemptStatus, TaskStatus
from ossa.engine.snapshot import ChildView, PodView
from ossa.engine.states import TASK_TERMINAL


def stray_pods(tasks: Mapping[str, TaskStatus], pods: Mapping[str, PodView], *, round_: int) -> tuple[str, ...]:
    """Names of pods to be deleted, sorted. round_: the attempt of the Execution."""
    return tuple(sorted(name for name, pod in pods.items() if _is_stray(tasks.get(pod.task), pod, round_)))


def stray_children(tasks: Mapping[str, TaskStatus], children: Mapping[str, ChildView]) -> tuple[str, ...]:
    """Names of child Executions to be cancelled, sorted."""
    return tuple(sorted(name for name, child in children.items() if _is_stray_child(tasks.get(child.task), child)))


def _is_stray(task: TaskStatus | None, pod: PodView, round_: int) -> bool:
    if pod.deleting or pod.phase in ("Succeeded", "Failed"):
        return False
    if pod.exit_code is not None and pod.containers == 1:
        return False  # the phase comes a moment after the exit code; the log of the pod is still wanted
    if task is None:
        return True
    if task.phase == "Pending" and pod.round == round_ and pod.attempt > task.attempt:
        return False  # of a forEach whose items are not known yet: it is taken over when they are
    held = task.items.active.get(str(pod.index)) if task.items is not None else task
    return held is None or held.phase != "Running" or held.pod != pod.name


def _is_stray_child(task: TaskStatus | None, child: ChildView) -> bool:
    if child.finished or child.cancel or child.deleting:
        return False
    if task is None or task.phase in TASK_TERMINAL:
        return True
    held: AttemptStatus = task
    if task.items is not None:
        active = task.items.active.get(str(child.index))
        if active is None:
            return child.index < task.items.started
        held = active
    # One of a later attempt than is known is yet to be taken over.
    mine = held.phase == "Running" and held.pod == child.name
    return not mine and held.attempt >= child.attempt
