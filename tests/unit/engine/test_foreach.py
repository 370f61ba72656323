"""A task for each of several items."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.engine.packing import packed, spread
from ossa.engine.ranges import format_ranges, parse_ranges
from tests.unit.engine.world import Run, compiled, spec


def flow(each: dict[str, Any], *more: dict[str, Any], **fields: Any) -> Run:
    task = {"name": "each", "forEach": each, "input": {"x": "${{ item }}", "i": "${{ index }}"}, **fields}
    run = Run(compiled(spec(task, *more, outputs={"all": "${{ tasks.each.output }}"})))
    run.step()
    return run


def test_items_run_side_by_side_and_their_outputs_come_in_order() -> None:
    run = flow(
        {"items": "${{ ['a', 'b', 'c'] }}", "parallelism": 2},
        {"name": "sum", "input": {"all": "${{ tasks.each.output }}"}},
    )
    assert [request.input for request in run.requests] == [{"x": "a", "i": 0}, {"x": "b", "i": 1}]
    decision = run.succeed("each[1]", {"n": 2})
    assert [request.input for request in decision.create] == [{"x": "c", "i": 2}]
    run.succeed("each[2]", {"n": 3})
    decision = run.succeed("each[0]", {"n": 1})
    assert run.phases()["each"] == "Completed"
    assert [request.input for request in decision.create] == [{"all": [{"n": 1}, {"n": 2}, {"n": 3}]}]
    run.succeed("sum")
    assert run.status.outputs == {"all": [{"n": 1}, {"n": 2}, {"n": 3}]}
    assert len({request.name for request in run.requests}) == len(run.requests) == 4


def test_a_range_of_numbers() -> None:
    run = flow({"range": {"start": 10, "step": -5, "count": "${{ 1 + 2 }}"}})
    assert [request.input["x"] for request in run.requests] == [10, 5, 0]


def test_over_nothing_it_is_completed_at_once() -> None:
    run = flow({"items": "${{ [] }}"})
    assert run.phase() == "Completed"
    assert run.status.outputs == {"all": []}


@pytest.mark.parametrize(
    ("each", "message"),
    [
        ({"items": "${{ 3 }}"}, "forEach.items is 3; it must be a list"),
        ({"items": "${{ inputs.missing }}"}, "missing"),
        ({"range": {"count": "${{ -1 }}"}}, "forEach.range.count is -1; it must be 0 to 10000"),
        ({"range": {"count": "${{ 10001 }}"}}, "forEach.range.count is 10001"),
    ],
)
def test_what_cannot_be_gone_over_fails_the_task(each: dict[str, Any], message: str) -> None:
    run = flow(each)
    assert run.phase() == "Failed"
    assert message in (run.status.tasks["each"].message or "")


def test_after_a_failed_item_no_other_is_started() -> None:
    run = flow({"range": {"count": 5}, "parallelism": 2})
    assert run.fail("each[0]", exit_code=9).create == ()
    assert run.phase() == "Running"
    run.succeed("each[1]", {})
    task = run.status.tasks["each"]
    assert (task.phase, task.reason, task.exit_code) == ("Failed", "Error", 9)
    assert "1 of 5 items failed, first item 0" in (task.message or "")
    error = run.status.error
    assert error is not None
    assert (error.task, error.index, error.exit_code) == ("each", 0, 9)
    assert len(run.requests) == 2
    assert run.phase() == "Failed"


def test_with_continue_on_error_all_items_run() -> None:
    run = flow({"range": {"count": 3}, "parallelism": 1}, continueOnError=True, defaultOutput={"n": -1})
    run.succeed("each[0]", {"n": 0})
    run.fail("each[1]", log=None)
    run.succeed("each[2]", {"n": 2})
    assert run.phases() == {"each": "Failed"}
    assert run.phase() == "Completed"
    assert run.status.outputs == {"all": [{"n": 0}, {"n": -1}, {"n": 2}]}
    items = run.status.tasks["each"].items
    assert items is not None
    assert (items.failed, items.completed, list(items.errors)) == ("1", 2, ["1"])


def test_items_are_tried_again_on_their_own() -> None:
    run = flow({"range": {"count": 2}}, retry={"maxAttempts": 2, "backoff": {"initial": "1s", "jitter": 0}})
    run.fail("each[1]")
    assert run.succeed("each[0]", {}).create == ()
    run.later(seconds=1)
    assert [(r.identity.index, r.attempt) for r in run.step().create] == [(1, 2)]
    run.succeed("each[1]", {})
    assert run.phase() == "Completed"


def test_whether_an_item_is_tried_again_may_depend_on_it() -> None:
    when = "${{ item.again && index == 1 && error.exitCode == 1 }}"
    run = flow({"items": "${{ [{'again': false}, {'again': true}] }}"}, retry={"when": when}, continueOnError=True)
    run.fail("each[0]", exit_code=1)
    run.fail("each[1]", exit_code=1)
    items = run.status.tasks["each"].items
    assert items is not None
    assert (items.failed, {index: held.phase for index, held in items.active.items()}) == ("0", {"1": "Retrying"})


def test_a_lost_item_is_started_again() -> None:
    run = flow({"range": {"count": 2}})
    run.lose("each[1]")
    assert [(r.identity.index, r.attempt, r.identity.lost) for r in run.step().create] == [(1, 2, 1)]


def test_a_thousand_items_keep_the_status_small() -> None:
    run = flow({"range": {"count": 1000}, "parallelism": 100})
    while run.phase() == "Running":
        items = run.status.tasks["each"].items
        assert items is not None
        assert len(items.active) <= 100
        for index in list(items.active):
            run.pod(f"each[{index}]", phase="Succeeded", exit_code=0, message="{}")
        run.step()
    assert run.phase() == "Completed"
    assert len(run.requests) == 1000
    assert len(run.status.model_dump_json(exclude_none=True)) < 20_000


def test_ranges_as_text() -> None:
    assert format_ranges([3, 1, 2, 9, 7, 8, 20]) == "1-3,7-9,20"
    assert parse_ranges("1-3,7-9,20") == {1, 2, 3, 7, 8, 9, 20}
    assert parse_ranges("") == set()


def after_one(count: int) -> Run:
    """A forEach over some items, two at a time, has begun to start them."""
    each = {"name": "each", "forEach": {"range": {"count": count}, "parallelism": 2}, "dependsOn": ["one"]}
    run = Run(compiled(spec({"name": "one"}, each)))
    run.step()
    run.succeed("one")
    return run


def test_items_that_ran_before_a_crash_are_looked_at_at_once() -> None:
    run = after_one(2)
    for index in (0, 1):
        run.pod(f"each[{index}]", phase="Succeeded", exit_code=0, message="{}")
    run.crash()
    assert run.step().create == ()
    assert (run.phases(), run.phase()) == ({"one": "Completed", "each": "Completed"}, "Completed")


def test_of_a_crowd_that_ran_before_a_restart_the_pods_say_the_rest() -> None:
    run = flow({"range": {"count": 60}, "parallelism": 60})
    names = [run.pod_of(f"each[{index}]") for index in range(60)]
    run.write(packed(run.status, ()))
    items = run.status.tasks["each"].items
    assert items is not None
    assert (items.running, items.active) == ("0-59", {})
    run.write(spread(run.status))
    run.change(pods={name: pod for name, pod in run.snapshot.pods.items() if name != names[7]})
    decision = run.step()
    assert [(r.identity.index, r.attempt, r.identity.lost) for r in decision.create] == [(7, 2, 1)]
    assert decision.delete == ()
    assert [run.pod_of(f"each[{index}]") for index in range(60) if index != 7] == names[:7] + names[8:]


def test_an_item_that_starts_beside_one_that_ran_before_a_crash_is_started_once() -> None:
    run = after_one(2)
    run.lose("each[1]")
    run.crash()
    assert [(r.identity.index, r.attempt, r.identity.lost) for r in run.step().create] == [(1, 1, 0)]
    items = run.status.tasks["each"].items
    assert items is not None
    assert {index: item.phase for index, item in items.active.items()} == {"0": "Running", "1": "Running"}


def test_an_item_whose_pod_is_missing_after_a_crash_counts_as_lost() -> None:
    run = after_one(2)
    run.lose("each[0]")
    run.crash()
    # The attempt that nobody knows the end of has had its number.
    assert [(r.identity.index, r.attempt, r.identity.lost) for r in run.step().create] == [(0, 2, 1)]


def test_after_an_item_that_failed_before_a_crash_no_other_is_started() -> None:
    run = after_one(3)
    run.pod("each[0]", phase="Failed", exit_code=9, terminated_reason="Error")
    failed = run.pod_of("each[0]")
    run.lose("each[1]")
    run.crash()
    decision = run.step()
    assert (decision.create, decision.need_logs) == ((), (failed,))
    run.change(log_tails={failed: "why"})
    assert run.step().create == ()
    assert (run.phase(), run.status.tasks["each"].exit_code) == ("Failed", 9)
