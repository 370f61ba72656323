"""What a reconciler had started and not written when it died, where what it was started for is to be done again."""

from __future__ import annotations

import pytest

from tests.unit.engine.world import Run, compiled, spec


def started_too_soon() -> Run:
    """`b` runs, and nobody knows any more that `a`, on which it depends, was Completed."""
    run = Run(compiled(spec({"name": "a"}, {"name": "b", "dependsOn": ["a"]}, failFast=False)))
    run.step()
    run.succeed("a")
    run.lose("a")
    run.crash()
    assert [(request.task, request.attempt) for request in run.step().create] == [("a", 2)]
    assert run.phases() == {"a": "Running", "b": "Running"}
    return run


def test_a_lost_task_is_not_started_again_before_its_dependency_has_ended() -> None:
    run = started_too_soon()
    run.lose("b")
    assert run.step().create == ()
    assert run.phases() == {"a": "Running", "b": "Retrying"}
    assert [(request.task, request.attempt) for request in run.succeed("a").create] == [("b", 2)]
    run.succeed("b")
    assert run.phase() == "Completed"


def test_a_lost_task_fails_where_its_dependency_fails_now() -> None:
    run = started_too_soon()
    run.lose("b")
    assert run.fail("a").create == ()
    assert run.phases() == {"a": "Failed", "b": "Failed"}
    task = run.status.tasks["b"]
    assert (task.reason, task.message) == (
        "PodLost",
        "it is not tried again: task 'a', on which it depends, failed",
    )
    assert run.phase() == "Failed"


def test_a_task_that_runs_may_end_where_its_dependency_fails_now() -> None:
    run = started_too_soon()
    assert run.fail("a").delete == ()
    assert run.phases() == {"a": "Failed", "b": "Running"}
    run.succeed("b")
    assert (run.phases()["b"], run.phase()) == ("Completed", "Failed")


def test_items_that_run_are_left_alone_while_nobody_knows_the_items_and_are_taken_over_then() -> None:
    """A forEach is expanded when the Execution goes on: until then its pods are nobody's, but no strays."""
    run = Run(compiled(spec({"name": "each", "forEach": {"range": {"count": 2}}})))
    run.step()
    assert len(run.requests) == 2
    run.crash()
    decision = run.steer(suspend=True)
    assert (run.phase(), run.status.tasks["each"].items, decision.delete) == ("Paused", None, ())
    assert run.steer(suspend=False).create == ()
    run.succeed("each[0]")
    run.succeed("each[1]")
    assert (run.phase(), len(run.requests)) == ("Completed", 2)


@pytest.mark.parametrize("backwards", [False, True])
def test_items_are_taken_over_in_whatever_order_their_pods_are_listed(*, backwards: bool) -> None:
    """The status that told of the items was written, and none of what ran since."""
    each = {"forEach": {"range": {"count": 4}, "parallelism": 4}, "locks": [{"name": "few", "limit": 4}]}
    run = Run(compiled(spec({"name": "each", **each})))
    run.change(held_locks={"few": 4})
    run.step()
    told = run.snapshot.execution
    assert told.status.tasks["each"].items is not None
    run.change(held_locks={})
    assert len(run.step().create) == 4
    pods = sorted(run.snapshot.pods.items(), key=lambda item: item[1].index, reverse=backwards)
    run.change(execution=told, pods=dict(pods))
    assert run.step().create == ()
    for number in range(4):
        run.succeed(f"each[{number}]")
    assert (run.phase(), len(run.requests)) == ("Completed", 4)
