"""What is shown of an Execution: pure functions from resources to rows, lines and JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any

from ossa.api.execution import Execution, ExecutionStatus, TaskStatus
from ossa.engine.clock import duration_text

ENDED = frozenset({"Completed", "Failed", "Skipped"})


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One line of the task table."""

    task: str
    phase: str
    attempt: int
    duration: str
    pod: str
    message: str


TASK_COLUMNS = ("TASK", "PHASE", "ATTEMPT", "DURATION", "POD", "MESSAGE")


def is_finished(execution: Execution) -> bool:
    """Whether nothing will change any more: Completed, or Failed and not to be tried again."""
    marks = execution.status.conditions
    return execution.status.phase == "Completed" or any(m.type == "Finished" and m.status == "True" for m in marks)


def task_rows(execution: Execution, order: Sequence[str], now: datetime) -> list[TaskRow]:
    """The tasks in the workflow's order (`order`); those that it does not name come last, by their start."""
    tasks = execution.status.tasks
    known = [name for name in order if name in tasks]
    rest = sorted(tasks.keys() - set(known), key=lambda name: (tasks[name].started_at or "~", name))
    return [_task_row(name, tasks[name], now) for name in (*known, *rest)]


def _task_row(name: str, task: TaskStatus, now: datetime) -> TaskRow:
    return TaskRow(
        task=name,
        phase=task.phase,
        attempt=task.attempt,
        duration=duration(task.started_at, task.completed_at, now),
        pod=task.pod or "",
        message=task_message(task),
    )


def task_message(task: TaskStatus) -> str:
    """Why the task is where it is: the reason in one word and the message, as far as there are any."""
    message = one_line(task.message or "").strip()
    if task.reason is None or message.startswith(task.reason):
        return message
    return f"{task.reason}: {message}" if message else task.reason


def duration(start: str | None, end: str | None, now: datetime) -> str:
    """From start to end, or until now: 42s, 3m12s, 1h2m; empty where it has not started."""
    if start is None:
        return ""
    until = datetime.fromisoformat(end) if end is not None else now
    return duration_text(until - datetime.fromisoformat(start))


def headline(execution: Execution, now: datetime) -> str:
    """One line on the whole run."""
    status = execution.status
    name = f"{execution.metadata.namespace}/{execution.metadata.name}"
    parts = [name, *([execution.spec.workflow] if execution.spec.workflow else []), status.phase]
    if status.progress:
        parts.append(status.progress)
    took = status.duration or duration(status.started_at, status.completed_at, now)
    if took:
        parts.append(took)
    if status.message and status.phase != "Failed":
        parts.append(status.message)
    return "  ".join(parts)


def changes(old: ExecutionStatus | None, new: ExecutionStatus) -> list[dict[str, Any]]:
    """What happened between two statuses: what ended first, then what started, then the run itself."""
    before = old.tasks if old is not None else {}
    told = [
        _task_change(name, task)
        for name, task in new.tasks.items()
        if _said(before.get(name, TaskStatus())) != _said(task)
    ]
    told.sort(key=lambda change: change["phase"] not in ENDED)
    if old is None or (old.phase, old.message) != (new.phase, new.message):
        told.append(_drop_empty({"phase": new.phase, "progress": new.progress, "message": new.message}))
    return told


def _said(task: TaskStatus) -> tuple[str, int, str]:
    return task.phase, task.attempt, task_message(task)


def _task_change(name: str, task: TaskStatus) -> dict[str, Any]:
    change: dict[str, Any] = {"task": name, "phase": task.phase, "attempt": task.attempt, "pod": task.pod}
    change["message"] = task_message(task)
    if task.completed_at is not None and task.started_at is not None:
        change["duration"] = duration(task.started_at, task.completed_at, datetime.now(UTC))
    return _drop_empty(change)


def _drop_empty(change: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in change.items() if value not in (None, "", 0)}


def change_line(change: dict[str, Any], at: datetime) -> str:
    """A change as one line of a log."""
    who = change.get("task", "execution")
    details = [f"attempt {change['attempt']}"] if change.get("attempt", 1) > 1 else []
    details += [str(change[key]) for key in ("progress", "duration", "pod") if key in change]
    told = f"{at:%H:%M:%S}  {who:<20} {change['phase']:<10} {', '.join(details)}".rstrip()
    return f"{told}  {change['message']}" if "message" in change else told


def closing(execution: Execution) -> list[str]:
    """What a person wants to read at the end: why it failed and where to look, or what came out."""
    status = execution.status
    if status.phase == "Completed":
        lines = [f"Completed in {status.duration}" if status.duration else "Completed"]
        if status.outputs:
            shown = json.dumps(_shorten(status.outputs), indent=2, ensure_ascii=False)
            lines += ["outputs:", *_indent(shown)]
        return lines
    error = status.error
    if error is None:
        return [f"{status.phase}: {status.message or 'no reason was recorded'}"]
    facts = [f"task {error.task}, attempt {error.attempt}"] if error.task else []
    facts.append(error.reason)
    if error.exit_code is not None:
        facts.append(f"exit code {error.exit_code}")
    # The message may begin with the task, which stands before it already.
    message = error.message.removeprefix(f"task '{error.task}' failed: ")
    lines = [f"Failed ({', '.join(facts)}): {one_line(message)}".rstrip(": ")]
    if error.log_tail:
        lines += ["last lines of its log:", *_indent(error.log_tail)]
    return lines


def _shorten(value: Any) -> Any:
    """Outputs with each artifact reference in one word; `ossa download` gets the content."""
    if isinstance(value, dict):
        if "$artifact" in value:
            return f"<{value.get('mediaType', 'artifact')}, {value.get('size', 0):,} bytes>"
        return {key: _shorten(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_shorten(inner) for inner in value]
    return value


def _indent(text: str) -> list[str]:
    return [f"  {one_line(line)}" for line in text.rstrip().expandtabs().splitlines()]


def one_line(text: str) -> str:
    """What a task says is anybody's text: control characters in it must not reach the terminal."""
    return "".join(char if char.isprintable() else "?" for char in " ".join(text.splitlines()))


def columns(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table as kubectl prints it: left-aligned, three spaces between columns."""
    table = [list(head), *([*row] for row in rows)]
    widths = [max(len(row[i]) for row in table) for i in range(len(head))]
    padded = ([cell.ljust(width) for cell, width in zip(row, widths, strict=True)] for row in table)
    return "\n".join("   ".join(cells).rstrip() for cells in padded)


def task_table(rows: Sequence[TaskRow]) -> str:
    """The task table as text."""
    return columns(TASK_COLUMNS, ([str(cell) or "-" for cell in asdict(row).values()] for row in rows))


def tasks_json(execution: Execution, rows: Sequence[TaskRow]) -> dict[str, Any]:
    """The task table for programs."""
    return {
        "namespace": execution.metadata.namespace,
        "execution": execution.metadata.name,
        "workflow": execution.spec.workflow,
        "phase": execution.status.phase,
        "progress": execution.status.progress,
        "tasks": [
            {
                **asdict(row),
                "startedAt": task.started_at,
                "completedAt": task.completed_at,
                "reason": task.reason,
            }
            for row, task in ((row, execution.status.tasks[row.task]) for row in rows)
        ],
    }
