"""Agents and Workflows as they are now, kept by a watch: discovery goes on with the API server away."""

from __future__ import annotations

import asyncio
from bisect import bisect_right
from collections.abc import Callable
from typing import Generic, TypeVar

import orjson

from ossa.api.base import JSONObject, StatusModel
from ossa.gateway.rest.views import agent_view, workflow_view
from ossa.kube.client import ApiClient
from ossa.kube.paths import ossa
from ossa.kube.watch import list_and_watch

V = TypeVar("V", bound=StatusModel)
Key = tuple[str, str]  # namespace, name


class Shelf(Generic[V]):
    """All objects of one kind, as the API shows them. `ready` is set once all are known."""

    def __init__(self, view: Callable[[JSONObject], V]) -> None:
        self.ready = asyncio.Event()
        self._view = view
        # JSON is written once, when an object changes: of a page of a hundred nothing costs a read as much.
        self._items: dict[Key, tuple[V, orjson.Fragment]] = {}
        self._order: list[Key] | None = None

    def get(self, namespace: str, name: str) -> orjson.Fragment | None:
        """One, as JSON."""
        held = self._items.get((namespace, name))
        return held[1] if held is not None else None

    def page(
        self, namespace: str | None, matches: Callable[[V], bool], *, limit: int, after: Key | None
    ) -> tuple[list[orjson.Fragment], Key | None]:
        """Those that match, by namespace and name, as JSON; and after which key it goes on."""
        if self._order is None:
            self._order = sorted(self._items)
        start = bisect_right(self._order, after) if after is not None else 0
        if namespace is not None:
            start = max(start, bisect_right(self._order, (namespace, "")))
        found: list[orjson.Fragment] = []
        last: Key | None = None
        for place in range(start, len(self._order)):
            key = self._order[place]
            if namespace is not None and key[0] != namespace:
                break
            if not matches(self._items[key][0]):
                continue
            if len(found) == limit:
                return found, last
            found.append(self._items[key][1])
            last = key
        return found, None

    def replaced(self, items: list[JSONObject], version: int) -> None:
        """As Listener of `list_and_watch`."""
        del version
        self._items = {_key(item): self._made(item) for item in items}
        self._order = None
        self.ready.set()

    def changed(self, kind: str, item: JSONObject) -> None:
        """Likewise."""
        key = _key(item)
        if kind == "DELETED":
            self._items.pop(key, None)
            self._order = None
            return
        if key not in self._items:
            self._order = None
        self._items[key] = self._made(item)

    def advanced(self, version: int) -> None:
        """Likewise; nothing to do."""

    def _made(self, item: JSONObject) -> tuple[V, orjson.Fragment]:
        view = self._view(item)
        return view, orjson.Fragment(orjson.dumps(view.to_json()))


class Registry:
    """Both kinds."""

    def __init__(self) -> None:
        self.agents = Shelf(agent_view)
        self.workflows = Shelf(workflow_view)

    async def run(self, api: ApiClient) -> None:
        """Watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(list_and_watch(api, ossa("agents"), {}, self.agents))
            group.create_task(list_and_watch(api, ossa("workflows"), {}, self.workflows))


def _key(item: JSONObject) -> Key:
    return item["metadata"].get("namespace", ""), item["metadata"]["name"]
