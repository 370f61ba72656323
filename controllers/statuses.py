"""Writes what has been decided of an execution into its status, and reads it again after a restart."""

from __future__ import annotations

import time
from collections.abc import Callable

from controllers.archive import Archive, ArchiveLost
from controllers.cache import Key, ObjectCache
from controllers.working import Working
from ossa.api.base import JSONObject
from ossa.api.execution import ExecutionStatus
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound
from ossa.kube.status import write_status


class Statuses:
    """`wrote` is told of an object as it is after a write, `gone` of the UID of one that is not there any more."""

    def __init__(
        self,
        api: ApiClient,
        cache: ObjectCache,
        archive: Archive,
        *,
        wrote: Callable[[JSONObject], None],
        gone: Callable[[str], None],
    ) -> None:
        self._api = api
        self._cache = cache
        self._archive = archive
        self._wrote = wrote
        self._gone = gone
        self._postponed: set[str] = set()  # UIDs

    def postpone(self, held: Working, status: ExecutionStatus) -> None:
        """Keeps a status that is to be written at `held.due`, with what else is decided until then."""
        self._postponed.add(held.uid)
        held.decided(status, held.due or time.monotonic() + held.write_delay(len(self._postponed)))

    def forget(self, uid: str) -> None:
        """The Execution is gone."""
        self._postponed.discard(uid)

    def current(self, held: Working) -> JSONObject | None:
        """The newest object that is known; None where it is gone."""
        item = self._cache.get(Key(held.namespace, held.execution.metadata.name))
        return item if item is not None and item["metadata"]["uid"] == held.uid else None

    async def read(self, held: Working) -> None:
        """Has the whole status, also what of it lies in the artifact service.

        Raises ApiError where it cannot be read now; `held.unreadable` says that it cannot be read at all.
        """
        if held.status.archive is None or held.unreadable is not None:
            return
        try:
            status, held.parts = await self._archive.unpack(held.namespace, held.uid, held.status)
        except ArchiveLost as error:
            held.unreadable = str(error)
            return
        held.decided(status, None)

    async def write(self, held: Working, status: ExecutionStatus) -> None:
        """Writes a status; from then on it is what has been decided.

        Raises:
            Conflict: the spec has changed meanwhile; its event is on the way.
            ApiError: it could not be written, or what it is too large for could not be stored.
        """
        made = await self._archive.pack(held, status)
        item = self.current(held)
        if item is None:
            return
        path = paths.ossa("executions", held.namespace, held.execution.metadata.name)
        try:
            written = await write_status(self._api, path, item, made.to_json(), maps=("tasks",))
        except NotFound:
            self._gone(held.uid)
            return
        if written is not None:
            self._cache.put(written)
            held.refresh(written)
            self._wrote(written)
        self._postponed.discard(held.uid)
        # Of one that has ended nothing more is decided: what lies in the artifact service is not kept here.
        held.decided(made if status.phase in EXECUTION_TERMINAL else status, None)
