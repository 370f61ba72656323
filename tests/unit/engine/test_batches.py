"""Which finished pods of a large forEach go while it runs."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ossa.api.execution import AttemptStatus, ItemsStatus, TaskStatus
from ossa.engine.batches import BATCH, KEPT_PODS, spare_batches
from ossa.engine.snapshot import PodView
from tests.unit.engine.world import NOW

TOTAL = 1050


def pods(count: int, **fields: Any) -> dict[str, PodView]:
    held = PodView(name="", uid="", task="each", attempt=1, phase="Succeeded", created_at=NOW)
    return {f"p{n}": replace(held, name=f"p{n}", index=n, **fields) for n in range(count)}


def tasks(started: int, *active: int) -> dict[str, TaskStatus]:
    running = {str(index): AttemptStatus(phase="Running", attempt=1) for index in active}
    items = ItemsStatus(total=TOTAL, started=started, active=running)
    return {"each": TaskStatus(phase="Running", items=items), "other": TaskStatus(phase="Running")}


def test_the_oldest_batches_go_until_few_enough_are_left() -> None:
    assert spare_batches(tasks(800), pods(800)) == [("each", 0), ("each", 1), ("each", 2)]
    assert spare_batches(tasks(801), pods(801)) == [("each", 0), ("each", 1), ("each", 2), ("each", 3)]


def test_what_few_have_is_kept() -> None:
    assert spare_batches(tasks(KEPT_PODS), pods(KEPT_PODS)) == []


def test_a_batch_waits_for_the_last_of_its_items() -> None:
    assert spare_batches(tasks(700, 5, 150), pods(700)) == [("each", 2), ("each", 3)]


def test_what_has_not_been_started_has_not_ended() -> None:
    spare = spare_batches(tasks(BATCH - 1), pods(KEPT_PODS + 1))
    assert spare == []  # as far as is written


def test_the_last_batch_may_be_smaller() -> None:
    held = {name: pod for name, pod in pods(TOTAL).items() if pod.index >= 1000}
    many = {**held, **{f"again-{name}": pod for name, pod in pods(KEPT_PODS).items()}}
    assert ("each", 10) not in spare_batches(tasks(TOTAL - 1), many)
    assert spare_batches(
        tasks(TOTAL), held | {f"{n}-{name}": pod for n in range(10) for name, pod in held.items()}
    ) == [("each", 10)]


def test_failed_pods_and_those_of_other_tasks_do_not_count() -> None:
    assert spare_batches(tasks(900), pods(900, phase="Failed")) == []
    assert spare_batches(tasks(900), pods(900, deleting=True)) == []
    assert spare_batches(tasks(900), pods(900, task="other")) == []
