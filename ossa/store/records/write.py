"""Writes what became of resources: any number of changes in one transaction, which may be written again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, fields

from ossa.api.base import JSONObject
from ossa.store.records import rows, statements, taskrows
from ossa.store.records.names import decision_id, principal_id, principal_kind
from ossa.store.records.pool import Connection


@dataclass(frozen=True, slots=True)
class TaskInfo:
    """What the revision says of a task."""

    agent: str | None = None
    priority: int = 0
    input: JSONObject | None = None


_NOTHING = TaskInfo()


@dataclass(frozen=True, slots=True)
class Write:
    """One change of one object.

    plural: of its kind. before: what was recorded, None where that is not known; it spares writing what has not
    changed. now: None where the object is gone. tasks: what the revision says, of an Execution.
    """

    plural: str
    uid: str
    version: int
    before: JSONObject | None
    now: JSONObject | None
    tasks: Mapping[str, TaskInfo] = field(default_factory=dict)


@dataclass(slots=True)
class _Batch:
    """The rows of many changes, by table."""

    objects: dict[str, dict[str, rows.Common]] = field(default_factory=dict)  # by plural and UID, the newest each
    tasks: dict[str, list[JSONObject]] = field(default_factory=dict)  # by UID of the Execution
    decisions: dict[str, JSONObject] = field(default_factory=dict)
    deleted: dict[str, dict[str, JSONObject]] = field(default_factory=dict)
    principals: set[str] = field(default_factory=set)

    def put(self, plural: str, record: rows.Common) -> bool:
        """Whether it is the newest of this batch."""
        held = self.objects.setdefault(plural, {})
        known = held.get(record.id)
        if known is not None and known.resource_version > record.resource_version:
            return False
        held[record.id] = record
        if record.author:
            self.principals.add(record.author)
        return True


_RECORDS: Mapping[str, Callable[[JSONObject], rows.Common]] = {
    "agents": rows.agent_record,
    "workflows": rows.workflow_record,
    "agentpolicies": rows.policy_record,
    "executions": rows.execution_record,
    "approvals": rows.approval_record,
}
# What others refer to comes first.
_UPSERTS = {
    "agents": statements.AGENTS,
    "workflows": statements.WORKFLOWS,
    "agentpolicies": statements.POLICIES,
    "executions": statements.EXECUTIONS,
    "approvals": statements.APPROVALS,
}


async def write(connection: Connection, changes: Iterable[Write]) -> None:
    """Writes changes in one transaction, whatever their order; older ones than what is recorded change nothing.

    Raises:
        asyncpg.DataError, asyncpg.IntegrityConstraintViolationError: one of them cannot be written as it is.
    """
    batch = _Batch()
    for change in changes:
        _add(batch, change)
    async with connection.transaction():
        await _run(connection, statements.PRINCIPALS, map(_principal, sorted(batch.principals)))
        for plural, statement in _UPSERTS.items():
            await _run(connection, statement, batch.objects.get(plural, {}).values())
        tasks = [row for held in batch.tasks.values() for row in held]
        await _run(connection, statements.TASKS, tasks)
        await _run(connection, statements.SUPERSEDED, (row for row in tasks if (row["attempt"] or 0) > 1))
        await _run(connection, statements.DECISIONS, batch.decisions.values())
        for plural, gone in batch.deleted.items():
            await _run(connection, statements.DELETED[plural], gone.values())


async def recorded(connection: Connection) -> dict[str, dict[str, int]]:
    """By plural, the resourceVersion by UID of what is recorded and not deleted."""
    return {
        plural: {row["id"]: row["resource_version"] for row in await connection.fetch(statement)}
        for plural, statement in statements.LIVE.items()
    }


async def _run(connection: Connection, statement: str, given: Iterable[object]) -> None:
    listed = list(given)  # dicts and dataclasses, which the codec of jsonb makes JSON of
    if listed:
        await connection.execute(statement, listed)


def _add(batch: _Batch, change: Write) -> None:
    if change.now is None:
        row = {"id": change.uid, "resource_version": change.version}
        batch.deleted.setdefault(change.plural, {})[change.uid] = row
        return
    record = _RECORDS[change.plural](change.now)
    if not batch.put(change.plural, record):
        return
    if change.plural == "executions":
        batch.tasks[change.uid] = _tasks(change)
    elif change.plural == "approvals":
        for decision in rows.decision_records(change.now):
            batch.principals.add(decision.author)
            key = str(decision_id(decision.approval_id, decision.author))
            batch.decisions[key] = {"id": key, **_values(decision)}


def _tasks(change: Write) -> list[JSONObject]:
    now: JSONObject = change.now or {}
    common = {"execution_id": change.uid, "resource_version": change.version, "round": rows.round_of(now)}
    return [
        {**common, **_task(record, change.tasks.get(record.name, _NOTHING))}
        for record in taskrows.changed_tasks(change.before, now)
    ]


def _task(record: taskrows.TaskRecord, info: TaskInfo) -> JSONObject:
    # The items of a forEach share the template of their input, which is as long as ten thousand of them want it.
    template = info.input if record.index == taskrows.NO_ITEM else None
    return {**_values(record), "agent": info.agent, "priority": info.priority, "input": template}


def _values(record: taskrows.TaskRecord | rows.DecisionRecord) -> JSONObject:
    return {held.name: getattr(record, held.name) for held in fields(record)}


def _principal(name: str) -> JSONObject:
    return {"id": str(principal_id(name)), "name": name, "kind": principal_kind(name)}
