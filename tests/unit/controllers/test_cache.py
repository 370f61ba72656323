"""The cache of objects: an older state never replaces a newer one."""

from __future__ import annotations

from typing import Any

from controllers.cache import Key, ObjectCache, key_of


def thing(version: int, name: str = "x", *, uid: str = "u1", namespace: str = "lab") -> dict[str, Any]:
    return {"metadata": {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": str(version)}}


def test_news_are_kept_and_echoes_are_not_news() -> None:
    cache = ObjectCache()
    assert cache.put(thing(9))
    assert not cache.put(thing(9))
    assert cache.put(thing(10))  # as numbers: "10" < "9" as text
    assert not cache.put(thing(9))
    found = cache.get(Key("lab", "x"))
    assert found is not None
    assert found["metadata"]["resourceVersion"] == "10"


def test_a_late_deletion_leaves_the_namesake_made_since() -> None:
    cache = ObjectCache()
    cache.put(thing(1, uid="old"))
    cache.put(thing(5, uid="new"))
    cache.drop(thing(3, uid="old"))
    assert cache.get(Key("lab", "x")) == thing(5, uid="new")
    cache.drop(thing(7, uid="new"))
    assert cache.get(Key("lab", "x")) is None


def test_dropping_what_was_never_seen_does_nothing() -> None:
    cache = ObjectCache()
    cache.drop(thing(1))
    assert cache.all() == []


def test_namespaces_are_apart() -> None:
    cache = ObjectCache()
    cache.put(thing(1))
    cache.put(thing(2, namespace="other"))
    assert [key_of(item) for item in cache.in_namespace("lab")] == [Key("lab", "x")]
    assert len(cache.all()) == 2


def test_it_may_change_while_it_is_walked() -> None:
    cache = ObjectCache()
    for number in range(3):
        cache.put(thing(1, name=f"x{number}"))
    for item in cache.in_namespace("lab"):
        cache.drop(item)
    assert cache.all() == []
