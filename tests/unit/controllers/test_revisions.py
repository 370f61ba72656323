"""Which revisions of a Workflow nobody needs any more."""

from __future__ import annotations

from typing import Any

from controllers.revisions import KEPT, stale_revisions

WORKFLOW = "uid-flow"


def revision(number: int, *others: str, name: str | None = None, workflow: str | None = WORKFLOW) -> dict[str, Any]:
    owners = [{"uid": uid} for uid in ([workflow] if workflow is not None else []) + list(others)]
    return {
        "metadata": {
            "name": name or f"flow-{number}",
            "creationTimestamp": f"2026-01-01T12:00:{number % 60:02d}Z",
            "ownerReferences": owners,
        },
        "revision": number,
    }


def names(items: list[dict[str, Any]]) -> list[str]:
    return [item["metadata"]["name"] for item in items]


def test_the_last_ones_are_kept_and_the_oldest_go_first() -> None:
    held = [revision(number) for number in range(1, KEPT + 5)]
    assert names(stale_revisions(held[::-1], WORKFLOW, f"flow-{KEPT + 4}")) == ["flow-1", "flow-2", "flow-3"]


def test_few_are_all_kept() -> None:
    assert stale_revisions([revision(number) for number in range(KEPT)], WORKFLOW, "flow-0") == []


def test_what_an_execution_owns_stays() -> None:
    held = [revision(number, "uid-run") for number in range(1, 40)]
    assert stale_revisions(held, WORKFLOW, "flow-39") == []


def test_the_current_one_stays_however_old_it_is() -> None:
    held = [revision(number) for number in range(1, KEPT + 3)]
    assert names(stale_revisions(held, WORKFLOW, "flow-1")) == ["flow-2"]


def test_those_of_a_namesake_or_of_nobody_are_left_alone() -> None:
    strangers = [revision(number, workflow="uid-namesake") for number in range(1, 20)]
    orphans = [revision(number, workflow=None) for number in range(20, 40)]
    assert stale_revisions([*strangers, *orphans], WORKFLOW, "flow-99") == []


def test_the_same_generation_is_told_apart_by_age() -> None:
    """An edit of an Agent makes a new revision of the same generation of the Workflow."""
    held = [revision(number) for number in range(10, 10 + KEPT)]
    older = {**revision(3, name="older"), "revision": 5}
    newer = {**revision(4, name="newer"), "revision": 5}
    assert names(stale_revisions([newer, *held, older], WORKFLOW, "flow-0")) == ["older", "newer"]
