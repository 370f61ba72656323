"""What a process keeps of a collection that it watches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ossa.api.base import JSONObject

T = TypeVar("T")


class Mirror(Generic[T]):
    """A `Listener` that keeps one thing of each object of a collection, by key, and tells of each that changes.

    keep: what is kept of an object; None where it is of no use.
    """

    def __init__(
        self,
        keep: Callable[[JSONObject], T | None],
        told: Callable[[str], None],
        *,
        key: Callable[[JSONObject], str] = lambda item: str(item["metadata"]["name"]),
    ) -> None:
        self.items: dict[str, T] = {}
        self.synced = asyncio.Event()
        self._keep, self._told, self._key = keep, told, key

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - of the interface
        held = {self._key(item): item for item in items}
        for gone in self.items.keys() - held.keys():
            self._put(gone, None)
        for key, item in held.items():
            self._put(key, self._keep(item))
        self.synced.set()

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        self._put(self._key(item), None if kind == "DELETED" else self._keep(item))

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    def _put(self, key: str, value: T | None) -> None:
        before = self.items.get(key)
        if value is None:
            self.items.pop(key, None)
        else:
            self.items[key] = value
        if before != value:
            self._told(key)


def full_name(item: JSONObject) -> str:
    """namespace/name, a key for a Mirror."""
    return f"{item['metadata']['namespace']}/{item['metadata']['name']}"
