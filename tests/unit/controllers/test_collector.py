"""Which revisions nobody needs any more."""

from __future__ import annotations

from typing import Any

from controllers.collector import KEPT, unneeded
from ossa.api.contract import LABEL_WORKFLOW


def revision(number: int, *, name: str | None = None, workflow: str = "flow") -> dict[str, Any]:
    return {
        "metadata": {
            "name": name or f"{workflow}-{number}",
            "labels": {LABEL_WORKFLOW: workflow},
            "creationTimestamp": f"2026-01-01T12:00:{number % 60:02d}Z",
        },
        "revision": number,
    }


def names(items: list[dict[str, Any]], *used: str, workflows: tuple[str, ...] = ("flow",)) -> list[str]:
    return [item["metadata"]["name"] for item in unneeded(items, used=used, workflows=workflows)]


def test_the_last_ones_are_kept_and_the_oldest_go_first() -> None:
    held = [revision(number) for number in range(1, KEPT + 5)]
    assert names(held[::-1], f"flow-{KEPT + 4}") == ["flow-1", "flow-2", "flow-3"]


def test_few_are_all_kept() -> None:
    assert names([revision(number) for number in range(KEPT)], "flow-0") == []


def test_what_an_execution_has_run_stays() -> None:
    held = [revision(number) for number in range(1, 40)]
    assert names(held, *(f"flow-{number}" for number in range(1, 40))) == []


def test_of_a_workflow_that_is_gone_only_what_was_run_stays() -> None:
    held = [*(revision(number) for number in range(1, 4)), revision(1, workflow="other")]
    assert names(held, "flow-2") == ["other-1"]
    assert names(held, "flow-2", workflows=("other",)) == ["flow-1", "flow-3"]


def test_the_same_generation_is_told_apart_by_age() -> None:
    """An edit of an Agent makes a new revision of the same generation of the Workflow."""
    held = [revision(number) for number in range(10, 10 + KEPT)]
    older = {**revision(3, name="older"), "revision": 5}
    newer = {**revision(4, name="newer"), "revision": 5}
    assert names([newer, *held, older]) == ["older", "newer"]
