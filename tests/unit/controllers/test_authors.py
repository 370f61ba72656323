"""Who made the last change of a spec: what admission writes."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controllers.admission.authors import recorded
from ossa.api.contract import ANNOTATION_AUTHOR as AUTHOR
from ossa.api.contract import ANNOTATION_CREATED_BY as CREATED
from ossa.api.contract import ANNOTATION_SPEC_CHANGED_BY as CHANGED

DELEGATES = frozenset({"robot"})
Item = dict[str, Any]


def item(spec: object = 1, **annotations: str) -> Item:
    """An object; annotations as created="x"."""
    keys = {"created": CREATED, "changed": CHANGED, "author": AUTHOR, "other": "team"}
    return {"metadata": {"annotations": {keys[key]: value for key, value in annotations.items()}}, "spec": spec}


@pytest.mark.parametrize(
    ("new", "old", "user", "expected"),
    [
        # Created.
        ({"metadata": {}, "spec": 1}, None, "alice", {CREATED: "alice", CHANGED: "alice"}),
        (item(), None, "robot", {}),
        (item(author="alice"), None, "robot", {CREATED: "alice", CHANGED: "alice"}),
        (item(author=""), None, "robot", {}),
        # A restored backup: what it brings is not believed.
        (item(created="bob", changed="bob"), None, "robot", {CREATED: None, CHANGED: None}),
        # Forged: left as it is, for the policy to refuse.
        (item(created="bob"), None, "alice", {CHANGED: "alice"}),
        (item(author="bob"), None, "alice", {CREATED: "alice", CHANGED: "alice"}),
        # Changed.
        (item(2, created="alice", changed="alice"), item(1, created="alice", changed="alice"), "bob", {CHANGED: "bob"}),
        (item(2, created="alice", changed="bob"), item(1, created="alice", changed="alice"), "bob", {}),
        (item(2, changed="carol"), item(1, changed="alice"), "bob", {}),
        (item(2), item(1), "bob", {CHANGED: "bob"}),
        (item(2, changed="alice"), item(1, changed="alice"), "robot", {CHANGED: None}),
        (item(2, changed="alice", author="bob"), item(1, changed="alice"), "robot", {CHANGED: "bob"}),
        # The spec stays: what was recorded stays, too, and comes back where a replace has left it out.
        (item(created="alice", changed="alice", other="x"), item(created="alice", changed="alice"), "bob", {}),
        (item(), item(created="alice", changed="carol"), "bob", {CREATED: "alice", CHANGED: "carol"}),
        (item(changed="bob"), item(created="alice", changed="carol"), "bob", {CREATED: "alice"}),
        (item(changed="bob"), item(), "bob", {}),
    ],
)
def test_what_is_recorded(new: Item, old: Item | None, user: str, expected: dict[str, str | None]) -> None:
    assert recorded(new, old, user, DELEGATES) == expected


NAMES = st.sampled_from(["alice", "bob", "robot"])
ITEMS = st.builds(
    lambda spec, held: item(spec, **held),
    st.integers(1, 2),
    st.dictionaries(st.sampled_from(["created", "changed", "author"]), NAMES),
)


def written(new: Item, old: Item | None, user: str) -> Item:
    """The object after admission has written into it."""
    held = dict(new["metadata"]["annotations"])
    for key, name in recorded(new, old, user, DELEGATES).items():
        if name is None:
            del held[key]
        else:
            held[key] = name
    return {"metadata": {"annotations": held}, "spec": new["spec"]}


@given(ITEMS, st.none() | ITEMS, NAMES)
def test_once_more_changes_nothing(new: Item, old: Item | None, user: str) -> None:
    once = written(new, old, user)
    assert recorded(once, old, user, DELEGATES) == {}


@given(ITEMS, st.none() | ITEMS, NAMES)
def test_the_policy_agrees_with_all_but_what_the_request_forges(new: Item, old: Item | None, user: str) -> None:
    """The rules of the policy ossa-authors, in Python: an honest request is never refused after the webhook."""
    before = old["metadata"]["annotations"] if old is not None else {}
    asked, held = new["metadata"]["annotations"], written(new, old, user)["metadata"]["annotations"]
    person = held.get(AUTHOR) if user in DELEGATES else user
    created = person if old is None else before.get(CREATED)
    changed = person if old is None or new["spec"] != old["spec"] else before.get(CHANGED)
    honest = user in DELEGATES or all(asked.get(key) in (None, before.get(key)) for key in (CREATED, CHANGED))
    if honest:
        assert (held.get(CREATED), held.get(CHANGED)) == (created, changed)
