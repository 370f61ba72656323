"""What a list says of what was deleted unseen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from controllers.cache import ObjectCache
from controllers.resync import Followed, deleted_unseen, learn
from ossa.kube.client import ApiClient


def item(uid: str, version: int, name: str = "a") -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version), "name": name, "namespace": "lab"}}


def test_what_is_not_in_a_newer_list_is_gone() -> None:
    gone, there = item("gone", 3), item("there", 4)
    assert deleted_unseen([gone, there], {"there"}, version=9) == [gone]


def test_what_is_newer_than_the_list_stays() -> None:
    assert deleted_unseen([item("made-since", 12)], (), version=9) == []


class Pages:
    """An API server that gives one item a page."""

    def __init__(self, items: Sequence[dict[str, Any]]) -> None:
        self.items = items
        self.asked: list[dict[str, str]] = []

    async def get(self, _path: str, params: dict[str, str]) -> dict[str, Any]:
        self.asked.append(params)
        at = int(params.get("continue", 0))
        more = {"continue": str(at + 1)} if at + 1 < len(self.items) else {}
        metadata = {"resourceVersion": "9", **more}
        return {"apiVersion": "v1", "kind": "ThingList", "metadata": metadata, "items": [self.items[at]]}


async def test_all_pages_are_told_and_a_namesake_does_not_hide_a_deletion() -> None:
    cache = ObjectCache()
    told: list[tuple[str | None, str]] = []

    def seen(kind: str | None, held: dict[str, Any]) -> None:
        cache.take(kind, held)
        told.append((kind, held["metadata"]["uid"]))

    for known in (item("old", 3), item("gone", 4, "b")):
        cache.put(known)
    server = Pages([item("new", 5), item("other", 6, "c")])
    await learn(cast(ApiClient, server), [Followed("things", cache, seen)])
    assert told == [("DELETED", "old"), (None, "new"), (None, "other"), ("DELETED", "gone")]
    assert {held["metadata"]["uid"] for held in cache.all()} == {"new", "other"}
    assert [held["kind"] for held in cache.all()] == ["Thing", "Thing"]
    assert [params.get("continue") for params in server.asked] == [None, "1"]
