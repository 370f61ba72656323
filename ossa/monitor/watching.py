"""The newest state of each object that is recorded, by list-and-watch, told to the outboxes."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ossa.api.base import JSONObject
from ossa.kube import paths
from ossa.kube.client import ApiClient
from ossa.kube.watch import list_and_watch
from ossa.monitor.outbox import Outbox
from ossa.monitor.states import State

# Plurals; what others refer to comes first.
KINDS = ("agents", "workflows", "agentpolicies", "executions", "approvals")


class Watching:
    """All kinds. `current` holds the newest state of each object, by UID; complete once `synced` is set."""

    def __init__(self, outboxes: Sequence[Outbox], kinds: Sequence[str] = KINDS) -> None:
        self.current: dict[str, State] = {}
        self.synced = asyncio.Event()
        self._outboxes = outboxes
        self._unlisted = set(kinds)
        self._kinds = kinds

    async def run(self, api: ApiClient) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            for plural in self._kinds:
                group.create_task(list_and_watch(api, paths.ossa(plural), {}, _Listener(self, plural)))

    def put(self, state: State) -> None:
        """An object as it is now, or gone. What is no news is not told."""
        held = self.current.get(state.uid)
        if state.deleted:
            if held is None:
                return
            del self.current[state.uid]
        elif held is not None and held.version >= state.version:
            return
        else:
            self.current[state.uid] = state
        for outbox in self._outboxes:
            outbox.put(state)

    def listed(self, plural: str) -> None:
        """All objects of a kind are known."""
        self._unlisted.discard(plural)
        if not self._unlisted:
            self.synced.set()


class _Listener:
    """Of one kind."""

    def __init__(self, watching: Watching, plural: str) -> None:
        self._watching = watching
        self._plural = plural

    def replaced(self, items: list[JSONObject], version: int) -> None:
        there = {item["metadata"]["uid"] for item in items}
        for held in [state for state in self._watching.current.values() if state.plural == self._plural]:
            if held.uid not in there:
                self._watching.put(State.gone(self._plural, held.uid, version, held))
        for item in items:
            self._watching.put(State.of(self._plural, item))
        self._watching.listed(self._plural)

    def changed(self, kind: str, item: JSONObject) -> None:
        self._watching.put(State.of(self._plural, item, deleted=kind == "DELETED"))

    def advanced(self, version: int) -> None:
        """Nothing to do."""
