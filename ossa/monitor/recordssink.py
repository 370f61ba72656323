"""The sink that writes the records."""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Mapping, Sequence

import asyncpg

from ossa.api.base import JSONObject
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound
from ossa.monitor.outbox import Change, SinkUnavailable
from ossa.monitor.states import about
from ossa.store.records import write as writing
from ossa.store.records.errors import RecordsUnavailable
from ossa.store.records.pool import Connection, Records
from ossa.store.records.write import TaskInfo, Write

log = logging.getLogger(__name__)

REVISIONS = 500  # of which the tasks are kept in memory
# PostgreSQL refuses a value or a row: a second try changes nothing.
_REFUSED = (asyncpg.DataError, asyncpg.IntegrityConstraintViolationError)


class RecordsSink:
    """Writes changes to PostgreSQL.

    Those that it does not take as they are get logged and left out: one of them must not hold up all that come after.

    revisions: what the revisions that Executions run say, for whoever asks the same.
    """

    def __init__(self, records: Records, api: ApiClient) -> None:
        self._records = records
        self.revisions = Revisions(api)

    async def write(self, changes: Sequence[Change]) -> None:
        """See `Sink`."""
        writes = [await self._write_of(change) for change in changes]
        try:
            async with self._records.connection() as connection:
                try:
                    await writing.write(connection, writes)
                except _REFUSED:
                    for held in writes:
                        await self._write_alone(connection, held)
        except RecordsUnavailable as error:
            raise SinkUnavailable(str(error)) from error

    async def recorded(self) -> Mapping[str, Mapping[str, int]]:
        """See `Sink`."""
        try:
            async with self._records.connection() as connection:
                return await writing.recorded(connection)
        except RecordsUnavailable as error:
            raise SinkUnavailable(str(error)) from error

    async def _write_of(self, change: Change) -> Write:
        tasks = await self.revisions.tasks(change.now) if change.kind == "executions" and change.now else {}
        return Write(change.kind, change.uid, change.version, change.before, change.now, tasks)

    async def _write_alone(self, connection: Connection, held: Write) -> None:
        try:
            await writing.write(connection, [held])
        except _REFUSED as error:
            told = about(held.plural, held.uid, held.now or held.before)
            log.error(
                "a state cannot be recorded: it is left out until the object changes",
                extra={**told, "version": held.version, "error": type(error).__name__},
            )


class Revisions:
    """What the revisions that Executions run say of their tasks."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._tasks: OrderedDict[tuple[str, str], Mapping[str, TaskInfo]] = OrderedDict()

    async def tasks(self, execution: JSONObject) -> Mapping[str, TaskInfo]:
        """By name; empty where it runs none yet, or its revision is gone.

        Raises:
            SinkUnavailable: the API server does not say now.
        """
        name = (execution.get("status") or {}).get("revision")
        if not name:
            return {}
        key = execution["metadata"]["namespace"], str(name)
        held = self._tasks.get(key)
        if held is None:
            held = self._tasks[key] = await self._load(*key)
            if len(self._tasks) > REVISIONS:
                self._tasks.popitem(last=False)
        self._tasks.move_to_end(key)
        return held

    async def _load(self, namespace: str, name: str) -> Mapping[str, TaskInfo]:
        try:
            item = await self._api.get(paths.apps("controllerrevisions", namespace, name))
        except NotFound:
            return {}
        except ApiError as error:
            raise SinkUnavailable(f"revision {namespace}/{name}: {error}") from error
        return task_infos(item)


def task_infos(revision: JSONObject) -> Mapping[str, TaskInfo]:
    """Of a ControllerRevision, by name of the task."""
    spec = (revision.get("data") or {}).get("spec") or {}
    return {
        str(task["name"]): TaskInfo(task.get("agent"), int(task.get("priority") or 0), task.get("input") or {})
        for task in [*(spec.get("tasks") or ()), *(spec.get("finally") or ())]
    }
