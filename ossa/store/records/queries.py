"""What can be asked of the records. All of it goes by an index, however many rows there are.

Each function takes a connection of `Records.connection`, and raises BadCursor where a cursor is none.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID

import asyncpg

from ossa.api.base import JSONObject
from ossa.api.gateway import DEFAULT_LIMIT
from ossa.store.records.names import principal_id
from ossa.store.records.pages import NEWEST_FIRST, Page, bounded, decode, number, page, text
from ossa.store.records.pool import Connection

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExecutionRow:
    """An Execution as it was recorded last. `id` is its UID; `deleted_at` is set where it is gone from the cluster."""

    id: UUID
    namespace: str
    name: str
    workflow: str
    status: str
    finished: bool
    progress: str
    message: str | None
    attempt: int
    started_at: datetime | None
    completed_at: datetime | None
    created_at: datetime
    deleted_at: datetime | None
    author: str | None
    request_id: str | None
    trace_id: str | None
    resource_version: int


@dataclass(frozen=True, slots=True)
class ExecutionDetail(ExecutionRow):
    """With what may be large: spec and revision, outputs, and what went wrong first."""

    context: JSONObject
    results: JSONObject | None
    error: JSONObject | None


@dataclass(frozen=True, slots=True)
class TaskRow:
    """One attempt of a task, or of an item of a forEach (`index` from 0; -1: no item)."""

    id: UUID
    name: str
    index: int
    round: int
    attempt: int
    status: str
    priority: int
    agent: str | None
    pod: str | None
    reason: str | None
    exit_code: int | None
    message: str | None
    started_at: datetime | None
    completed_at: datetime | None
    input: JSONObject | None
    output: JSONObject | None


@dataclass(frozen=True, slots=True)
class ExecutionFilter:
    """Which Executions; None: all. `since` and `until` are about their creation, `until` itself not included."""

    namespace: str | None = None
    workflow: str | None = None
    phase: str | None = None
    author: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    deleted: bool = True  # those that are gone from the cluster, too


class _Where:
    """Conditions and their parameters; values never become part of the statement."""

    def __init__(self) -> None:
        self.parameters: list[Any] = []
        self._conditions: list[str] = []

    def add(self, condition: str, *values: Any) -> None:
        """`condition` has {} for each value."""
        numbers = [f"${len(self.parameters) + position}" for position in range(1, len(values) + 1)]
        # PostgreSQL has no text with the character 0: nothing that was recorded is named so.
        self.parameters += [value.replace("\0", "\ufffd") if isinstance(value, str) else value for value in values]
        self._conditions.append(condition.format(*numbers))

    def __str__(self) -> str:
        return " AND ".join(self._conditions) or "true"


_EXECUTION = """
    e.id, e.namespace, e.name, e.workflow, e.status, e.finished, e.progress, e.message, e.attempt, e.started_at,
    e.completed_at, e.created_at, e.deleted_at, p.name AS author, e.request_id, e.trace_id, e.resource_version
"""
_EXECUTIONS = "executions e LEFT JOIN principals p ON p.id = e.created_by"


def _made(kind: type[T], row: asyncpg.Record) -> T:
    return kind(**{held.name: row[held.name] for held in fields(kind)})  # type: ignore[arg-type]


async def list_executions(
    connection: Connection, which: ExecutionFilter, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[ExecutionRow]:
    """The newest first."""
    limit, where = bounded(limit), _Where()
    for column, value in (("namespace", which.namespace), ("workflow", which.workflow), ("status", which.phase)):
        if value is not None:
            where.add(f"e.{column} = {{}}", value)
    if which.author is not None:
        where.add("e.created_by = {}", principal_id(which.author))
    if which.since is not None:
        where.add("e.created_at >= {}", which.since)
    if which.until is not None:
        where.add("e.created_at < {}", which.until)
    if not which.deleted:
        where.add("e.deleted_at IS NULL")
    if cursor is not None:
        where.add("(e.created_at, e.id) < ({}, {})", *decode(cursor, NEWEST_FIRST))
    rows = await connection.fetch(
        f"SELECT {_EXECUTION} FROM {_EXECUTIONS} WHERE {where} "  # noqa: S608 - constants and numbers of parameters
        f"ORDER BY e.created_at DESC, e.id DESC LIMIT {limit + 1}",
        *where.parameters,
    )
    return page(rows, limit, lambda row: _made(ExecutionRow, row), lambda row: (row.created_at, row.id))


async def get_execution(
    connection: Connection, namespace: str, name: str, *, uid: UUID | None = None
) -> ExecutionDetail | None:
    """The newest of this name, or the one with this UID too; None where none was recorded."""
    where = _Where()
    where.add("e.namespace = {} AND e.name = {}", namespace, name)
    if uid is not None:
        where.add("e.id = {}", uid)
    row = await connection.fetchrow(
        f"SELECT {_EXECUTION}, e.context, e.results, e.error FROM {_EXECUTIONS} WHERE {where} "  # noqa: S608 - likewise
        "ORDER BY e.created_at DESC LIMIT 1",
        *where.parameters,
    )
    return _made(ExecutionDetail, row) if row is not None else None


async def list_tasks(
    connection: Connection, execution: ExecutionRow, *, limit: int = DEFAULT_LIMIT, cursor: str | None = None
) -> Page[TaskRow]:
    """By name, index and attempt."""
    limit, where = bounded(limit), _Where()
    # The time says which partition it is.
    where.add("execution_id = {} AND execution_created_at = {}", execution.id, execution.created_at)
    if cursor is not None:
        where.add("(name, index, attempt) > ({}, {}, {})", *decode(cursor, (text, number, number)))
    columns = ", ".join(held.name for held in fields(TaskRow))
    rows = await connection.fetch(
        f"SELECT {columns} FROM tasks WHERE {where} ORDER BY name, index, attempt LIMIT {limit + 1}",  # noqa: S608
        *where.parameters,
    )
    return page(rows, limit, lambda row: _made(TaskRow, row), lambda row: (row.name, row.index, row.attempt))
