"""The working copy of one decision: every change of a phase is checked against the table here."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from ossa.api.base import Condition, JSONObject, set_condition
from ossa.api.contract import TaskIdentity
from ossa.api.execution import ExecutionError, TaskStatus
from ossa.engine.clock import duration_text, from_text, to_text
from ossa.engine.decision import Announcement, Decision, PodRequest, ending
from ossa.engine.names import pod_name
from ossa.engine.outcome import Failure, earliest
from ossa.engine.snapshot import PodView, Snapshot
from ossa.engine.start import CannotStart
from ossa.engine.states import TASK_TERMINAL, check_execution_transition, check_task_transition
from ossa.engine.values import shorten

_LOG_TAIL_LINES = 20
_LOG_TAIL_CHARACTERS = 4096
_TASK_MESSAGE = 1024
_MESSAGE = 200  # of the column MESSAGE; the whole of it is in status.error
_EVENT_MESSAGE = 1024
_ERROR_MESSAGE = 2048


class Turn:
    """One pass over one Execution."""

    def __init__(self, snapshot: Snapshot, now: datetime) -> None:
        self.snapshot = snapshot
        self.now = now
        self.now_text = to_text(now)
        self._before = snapshot.execution.status
        self._changes: dict[str, Any] = {}
        self._tasks_changed = False
        self.tasks: dict[str, TaskStatus] = dict(self._before.tasks)
        self._create: list[PodRequest] = []
        self._events: list[Announcement] = []
        self._need_logs: list[str] = []
        self._wake_at: datetime | None = None
        self.set(observed_generation=snapshot.execution.metadata.generation)

    # --- the execution --------------------------------------------------------------------------------------

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
            conditions=conditions,
            **fields,
        )
        told = ending(self._before.model_copy(update=self._changes))
        self.announce(told.type, told.reason, told.message)

    def error(self, failure: Failure | CannotStart, *, task: str | None) -> ExecutionError:
        """What is recorded as the first thing that went wrong."""
        held = self.tasks[task] if task is not None else None
        tail = self.snapshot.log_tails.get(held.pod or "") if held is not None else None
        attempt = held.attempt or None if held is not None else None
        message = f"task {task!r} failed: {failure.message}" if task is not None else failure.message
        return ExecutionError(
            task=task,
            attempt=attempt,
            reason=failure.reason,
            exit_code=failure.exit_code if isinstance(failure, Failure) else None,
            message=shorten(message, _ERROR_MESSAGE),
            log_tail=_tail(tail) if tail else None,
        )

    # --- its tasks ------------------------------------------------------------------------------------------

    @property
    def failing(self) -> bool:
        """Whether a task has failed: then nothing new starts."""
        return any(task.phase == "Failed" for task in self.tasks.values())

    def set_task(self, name: str, **fields: Any) -> None:
        """Changes the status of a task; `phase` only along an edge of the table."""
        before = self.tasks[name]
        if "phase" in fields:
            check_task_transition(before.phase, fields["phase"])
        elif all(getattr(before, field) == value for field, value in fields.items()):
            return
        self.tasks[name] = before.model_copy(update=fields)
        self._tasks_changed = True

    def start_task(self, name: str, value: JSONObject, *, lost: int = 0) -> None:
        """Records the next attempt of a task, and asks for its pod."""
        identity = self._identity(name, self.tasks[name].attempt + 1)
        pod = pod_name(identity)
        self.set_task(
            name,
            phase="Running",
            attempt=identity.attempt,
            lost=lost,
            pod=pod,
            started_at=self.now_text,
            message=None,
        )
        request = PodRequest(name=pod, task=name, attempt=identity.attempt, input=value, identity=identity)
        self._create.append(request)

    def complete_task(self, name: str, output: JSONObject) -> None:
        """Records the output of a task."""
        self.set_task(name, phase="Completed", completed_at=self.now_text, output=output, message=None)

    def skip_task(self, name: str, message: str) -> None:
        """Records that a task will not run."""
        self.set_task(name, phase="Skipped", completed_at=self.now_text, message=shorten(message, _TASK_MESSAGE))

    def fail_task(self, name: str, failure: Failure | CannotStart) -> None:
        """Records a failure; the first one of all tasks is the Execution's error."""
        self.set_task(
            name,
            phase="Failed",
            completed_at=self.now_text,
            reason=failure.reason,
            message=shorten(failure.message, _TASK_MESSAGE),
        )
        if self.get("error") is None:
            self.set(error=self.error(failure, task=name))
        held = self.tasks[name]
        log = f"; its log: kubectl logs {held.pod}" if isinstance(failure, Failure) and failure.has_log else ""
        self.announce("Warning", "TaskFailed", f"Task {name!r} failed ({failure.reason}): {failure.message}{log}")

    def ended(self) -> bool:
        """Whether every task has ended."""
        return all(task.phase in TASK_TERMINAL for task in self.tasks.values())

    # --- what else comes of it ------------------------------------------------------------------------------

    def announce(self, kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
        """Adds a Kubernetes Event."""
        self._events.append(Announcement(kind, reason, shorten(message, _EVENT_MESSAGE)))

    def want_log(self, pod: str) -> None:
        """Asks for the log of a pod."""
        self._need_logs.append(pod)

    def wake(self, moment: datetime | None) -> None:
        """Asks to be looked at again at a moment, at the latest."""
        self._wake_at = earliest((self._wake_at, moment))

    def decision(self) -> Decision:
        """The decision that the turn has come to."""
        if self._tasks_changed:
            self._changes["tasks"] = self.tasks
            well = sum(task.phase in ("Completed", "Skipped") for task in self.tasks.values())
            self.set(progress=f"{well}/{len(self.tasks)}")
        status = self._before.model_copy(update=self._changes) if self._changes else self._before
        return Decision(
            status=status,
            create=tuple(self._create),
            delete=tuple(sorted(name for name, pod in self.snapshot.pods.items() if self._is_stray(pod))),
            need_logs=tuple(self._need_logs),
            events=tuple(self._events),
            wake_at=self._wake_at,
        )

    def _is_stray(self, pod: PodView) -> bool:
        """Whether a pod may still run, but not for its task: lost, timed out, or only its sidecars."""
        if pod.deleting or pod.phase in ("Succeeded", "Failed"):
            return False
        if pod.exit_code is not None and pod.containers == 1:
            return False  # the phase comes a moment after the exit code; the log of the pod is still wanted
        task = self.tasks.get(pod.task)
        return task is None or task.phase != "Running" or task.pod != pod.name

    def _identity(self, task: str, attempt: int) -> TaskIdentity:
        execution = self.snapshot.execution
        return TaskIdentity(
            namespace=execution.metadata.namespace,
            execution=execution.metadata.name,
            uid=execution.metadata.uid,
            workflow=execution.spec.workflow,
            task=task,
            round=self._before.attempt,
            attempt=attempt,
        )


def initial_tasks(names: tuple[str, ...]) -> dict[str, TaskStatus]:
    """The status of tasks that have not started."""
    return {name: TaskStatus() for name in names}


def _tail(log: str) -> str:
    lines = log.replace("\x00", "").rstrip().splitlines()[-_LOG_TAIL_LINES:]
    return "\n".join(lines)[-_LOG_TAIL_CHARACTERS:]
