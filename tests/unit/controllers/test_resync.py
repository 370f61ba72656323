"""What a list says of what was deleted unseen."""

from __future__ import annotations

from typing import Any

from controllers.resync import deleted_unseen


def item(uid: str, version: int) -> dict[str, Any]:
    return {"metadata": {"uid": uid, "resourceVersion": str(version)}}


def test_what_is_not_in_a_newer_list_is_gone() -> None:
    gone, there = item("gone", 3), item("there", 4)
    assert deleted_unseen([gone, there], [there], version=9) == [gone]


def test_what_is_newer_than_the_list_stays() -> None:
    assert deleted_unseen([item("made-since", 12)], [], version=9) == []


def test_a_namesake_does_not_hide_a_deletion() -> None:
    assert deleted_unseen([item("old", 3)], [item("new", 5)], version=9) == [item("old", 3)]
