"""The newest state of each object of a kind that this process has seen, from watches and from its own writes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ossa.api.base import JSONObject


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Names an object of a kind."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def key_of(item: JSONObject) -> Key:
    """The key of an object; the namespace is '' where its kind has none."""
    return Key(item["metadata"].get("namespace", ""), item["metadata"]["name"])


# What an object was and what it is now; None where it was not, or is no more.
Listener = Callable[[JSONObject | None, JSONObject | None], None]


def _whole(item: JSONObject) -> JSONObject:
    """All of it is kept."""
    return item


def _unheard(old: JSONObject | None, new: JSONObject | None) -> None:
    """Nobody listens."""


def both(first: Listener, second: Listener) -> Listener:
    """Tells two."""

    def told(old: JSONObject | None, new: JSONObject | None) -> None:
        first(old, new)
        second(old, new)

    return told


class ObjectCache:
    """Raw objects by key. An older state never replaces a newer one.

    `told` hears of each change; `keep` gives the part of an object that is kept.
    """

    def __init__(self, told: Listener = _unheard, *, keep: Callable[[JSONObject], JSONObject] = _whole) -> None:
        self._items: dict[Key, JSONObject] = {}
        self._told = told
        self._keep = keep

    def get(self, key: Key) -> JSONObject | None:
        """The object, None where it is not known."""
        return self._items.get(key)

    def in_namespace(self, namespace: str) -> Iterator[JSONObject]:
        """The objects of a namespace."""
        return (item for key, item in list(self._items.items()) if key.namespace == namespace)

    def all(self) -> list[JSONObject]:
        """All objects."""
        return list(self._items.values())

    def put(self, item: JSONObject) -> bool:
        """Keeps `item` where it is news; whether it is (the echo of a write that was kept already is not)."""
        key = key_of(item)
        old = self._items.get(key)
        if old is not None and version_of(old) >= version_of(item):
            return False
        self._items[key] = kept = self._keep(item)
        self._told(old, kept)
        return True

    def take(self, kind: str | None, item: JSONObject) -> bool:
        """An event of a watch, `kind` None for what was there already; whether it is news."""
        if kind == "DELETED":
            self.drop(item)
            return True
        return self.put(item)

    def drop(self, item: JSONObject) -> None:
        """The object was deleted; a namesake made since then stays."""
        key = key_of(item)
        old = self._items.get(key)
        if old is not None and old["metadata"]["uid"] == item["metadata"]["uid"]:
            del self._items[key]
            self._told(old, None)


def bare(item: Mapping[str, Any]) -> JSONObject:
    """Without managedFields, which say who wrote what and may be as large as all the rest."""
    if "managedFields" not in item["metadata"]:
        return dict(item)
    return {**item, "metadata": {key: value for key, value in item["metadata"].items() if key != "managedFields"}}


def version_of(item: JSONObject) -> int:
    # Comparable: documented for all resources served from etcd.
    return int(item["metadata"]["resourceVersion"])
