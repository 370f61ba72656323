"""Whose an object is, and who may not approve an Execution."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.engine.authors import approvers_of, author_of, authors_of, given_authors, lasting_authors, workflow_authors


def marks(**annotations: str) -> dict[str, str]:
    """Annotations as created_by="x"."""
    return {f"ossa.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}


def test_an_execution_stays_its_creator_s_and_another_object_is_whose_spec_it_has() -> None:
    names = {"ossa.dev/created-by": "alice", "ossa.dev/spec-changed-by": "bob", "ossa.dev/author": "carl"}
    assert author_of("Execution", names) == "alice"
    for kind in ("Agent", "Workflow", "AgentPolicy", "AgentPolicyException"):
        assert author_of(kind, names) == "bob"
    assert author_of("Execution", {"ossa.dev/spec-changed-by": "bob"}) == ""
    assert author_of("Workflow", {"ossa.dev/created-by": "alice"}) == ""


@pytest.mark.parametrize(
    ("held", "now", "lasting"),
    [
        ({"created_by": "alice", "spec_changed_by": "alice"}, ("alice",), ("alice",)),
        # Paused by another.
        ({"created_by": "alice", "spec_changed_by": "bob"}, ("alice", "bob"), ("alice",)),
        # Paused by a delegate that names nobody; made by one.
        ({"created_by": "alice"}, ("alice", ""), ("alice",)),
        ({"spec_changed_by": "bob"}, ("", "bob"), ("",)),
        ({}, ("",), ("",)),
        # Of a child, and of a retry once it has started.
        (
            {"created_by": "alice", "spec_changed_by": "alice", "authors": '["alice", "", "bob"]'},
            ("alice", "", "bob"),
            ("alice", "", "bob"),
        ),
        ({"created_by": "alice", "spec_changed_by": "alice", "authors": "[1]"}, ("alice", ""), ("alice", "")),
        ({"created_by": "alice", "spec_changed_by": "alice", "authors": "x"}, ("alice", ""), ("alice", "")),
    ],
)
def test_all_who_had_a_hand_in_it(held: dict[str, Any], now: tuple[str, ...], lasting: tuple[str, ...]) -> None:
    assert authors_of(marks(**held), None) == now
    assert lasting_authors(marks(**held), None) == lasting


def test_what_was_known_at_its_start_stays() -> None:
    held = marks(created_by="alice", spec_changed_by="bob", authors="[]")
    assert authors_of(held, ["alice", "carl"]) == ("alice", "carl", "bob")
    assert lasting_authors(held, ["alice", "carl"]) == ("alice", "carl")


def test_what_is_handed_on_is_read_again() -> None:
    assert given_authors(("alice",)) == {}
    assert given_authors(("", "")) == {}
    held = marks(created_by="ålice") | given_authors(("ålice", "", 'b"ob', "ålice"))
    assert lasting_authors(held, None) == ("ålice", "", 'b"ob')


def test_of_more_approvers_than_are_told_that_is_known() -> None:
    assert approvers_of(["bob"], ("alice", "bob")) == ["alice", "bob"]
    names = [f"user-{number:03}" for number in range(256)]
    assert approvers_of(names) == names
    held = approvers_of(names, ["user-999"])
    assert (len(held), held[:2]) == (256, ["", "user-000"])
    assert approvers_of(held, ["user-999"]) == held


def test_a_trigger_s_execution_is_theirs_who_wrote_the_workflow() -> None:
    created, changed = "ossa.dev/created-by", "ossa.dev/spec-changed-by"
    assert workflow_authors({created: "alice", changed: "bob"}) == ("bob", "alice")
    assert workflow_authors({changed: "bob"}) == ("bob",)
    assert workflow_authors({created: "alice"}) == ("", "alice")
    assert workflow_authors({}) == ("",)
