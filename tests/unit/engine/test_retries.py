"""Failed attempts that are tried again: of a task, and of the Execution."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from ossa.api.task import Backoff
from ossa.engine.decision import Retry
from ossa.engine.retrying import pause
from tests.unit.engine.world import NOW, Run, compiled, spec

NO_JITTER = {"initial": "2s", "factor": 3, "max": "10s", "jitter": 0}


def flow(retry: dict[str, Any], **fields: Any) -> Run:
    run = Run(
        compiled(
            spec({"name": "a", "retry": {"backoff": NO_JITTER, **retry}}, {"name": "b", "dependsOn": ["a"]}, **fields)
        )
    )
    run.step()
    return run


def test_a_failed_attempt_is_tried_again_after_a_pause() -> None:
    run = flow({"maxAttempts": 3})
    decision = run.fail("a", exit_code=3)
    task = run.status.tasks["a"]
    assert (task.phase, task.attempt, task.reason, task.exit_code) == ("Retrying", 1, "Error", 3)
    assert task.retry_at == "2026-01-01T12:00:02.000Z"
    assert decision.create == ()
    assert decision.wake_at == NOW + timedelta(seconds=2)
    assert [event.reason for event in decision.events] == ["TaskRetrying"]
    assert decision.retries == (Retry("task", "Error"),)
    assert run.status.message == "task a: attempt 1 failed: exit code 3"
    run.later(seconds=1)
    assert run.step().create == ()
    run.later(seconds=1)
    assert [request.attempt for request in run.step().create] == [2]
    run.fail("a")
    assert run.status.tasks["a"].retry_at == "2026-01-01T12:00:08.000Z"
    run.later(seconds=6)
    run.step()
    run.succeed("a", {"n": 1})
    task = run.status.tasks["a"]
    assert (task.phase, task.attempt, task.reason, task.message) == ("Completed", 3, None, None)
    assert run.status.error is None
    run.succeed("b")
    assert run.phase() == "Completed"


def test_after_the_last_attempt_the_task_fails_with_its_log() -> None:
    run = flow({"maxAttempts": 2})
    run.fail("a")
    run.later(seconds=2)
    run.step()
    run.fail("a", log="boom", exit_code=4)
    error = run.status.error
    assert error is not None
    assert (error.task, error.attempt, error.exit_code, error.log_tail) == ("a", 2, 4, "boom")
    assert run.phase() == "Failed"
    assert run.phases()["b"] == "Skipped"


def test_lost_pods_do_not_count() -> None:
    run = flow({"maxAttempts": 2})
    run.lose("a")
    run.step()
    run.fail("a")
    assert run.phases()["a"] == "Retrying"
    run.later(seconds=2)
    run.step()
    task = run.status.tasks["a"]
    assert (task.attempt, task.lost) == (3, 1)
    run.fail("a")
    assert run.phase() == "Failed"


@pytest.mark.parametrize(
    ("retry", "failure", "again"),
    [
        ({"reasons": ["OOMKilled"]}, {"terminated_reason": "OOMKilled", "exit_code": 137}, True),
        ({"reasons": ["OOMKilled"]}, {"exit_code": 1}, False),
        ({}, {"pod_reason": "Evicted", "exit_code": None}, True),
        ({"when": "${{ error.exitCode == 75 }}"}, {"exit_code": 75}, True),
        ({"when": "${{ error.exitCode == 75 }}"}, {"exit_code": 1}, False),
        ({"when": "${{ error.reason == 'Error' && error.attempt < 2 }}"}, {"exit_code": 1}, True),
    ],
)
def test_what_is_tried_again(retry: dict[str, Any], failure: dict[str, Any], again: bool) -> None:
    run = flow(retry)
    run.fail("a", **failure)
    assert (run.phases()["a"] == "Retrying") == again


def test_a_condition_that_errs_is_never_taken_for_true() -> None:
    run = flow({"when": "${{ error.exitCode > inputs.missing }}"})
    decision = run.fail("a")
    assert run.phase() == "Failed"
    assert "RetryConditionFailed" in [event.reason for event in decision.events]


def test_pauses_grow_to_the_longest_and_differ_a_little() -> None:
    backoff = Backoff.model_validate(NO_JITTER)
    assert [pause(backoff, n, "x").total_seconds() for n in (1, 2, 3, 99)] == [2, 6, 10, 10]
    spread = Backoff(initial="10s", jitter=0.5)
    drawn = {pause(spread, 1, f"pod-{n}").total_seconds() for n in range(50)}
    assert len(drawn) > 40
    assert 5 <= min(drawn) < max(drawn) <= 15
    assert pause(spread, 1, "pod-1") == pause(spread, 1, "pod-1")


def test_nobody_waits_for_a_clock_that_was_put_back() -> None:
    run = flow({"maxAttempts": 3})
    run.fail("a")
    run.later(seconds=-4)
    assert run.step().create == (), "the clocks of two reconcilers may differ by so much"
    run.later(seconds=-2)
    assert [request.attempt for request in run.step().create] == [2]


# --- the Execution ------------------------------------------------------------------------------------------------


def test_another_attempt_of_the_execution_keeps_what_is_completed() -> None:
    run = Run(
        compiled(
            spec(
                {"name": "a"},
                {"name": "b", "dependsOn": ["a"]},
                {"name": "c", "dependsOn": ["b"]},
                {"name": "odd", "when": "${{ false }}"},
                retry={"maxAttempts": 2, "backoff": NO_JITTER},
                outputs={"n": "${{ tasks.a.output.n }}"},
            )
        )
    )
    run.step()
    run.succeed("a", {"n": 1})
    decision = run.fail("b")
    assert run.phase() == "Retrying"
    assert decision.retries == (Retry("execution", "Error"),)
    assert run.status.retry_at == "2026-01-01T12:00:02.000Z"
    assert "attempt 1 of 2 failed: task 'b' failed" in (run.status.message or "")
    assert decision.wake_at == NOW + timedelta(seconds=2)
    assert run.step().create == ()
    run.later(seconds=2)
    decision = run.step()
    assert decision.first
    assert run.phase() == "Running"
    assert (run.status.attempt, run.status.error) == (2, None)
    assert [(request.task, request.attempt, request.identity.round) for request in decision.create] == [("b", 2, 2)]
    run.succeed("b")
    run.succeed("c")
    assert run.phase() == "Completed"
    assert len({request.identity.key for request in run.requests}) == len(run.requests)


def test_the_last_attempt_of_the_execution_ends_it() -> None:
    run = Run(compiled(spec({"name": "a"}, retry={"maxAttempts": 2, "backoff": NO_JITTER})))
    run.step()
    run.fail("a")
    run.later(seconds=2)
    run.step()
    run.fail("a")
    assert run.phase() == "Failed"
    assert {held.type: held.status for held in run.status.conditions} == {"Finished": "True", "Succeeded": "False"}
    assert run.step().create == ()


def second_round(items: str = "${{ [0, 1, 2] }}") -> Run:
    """`first` was skipped in the first attempt of the Execution, and runs in the second; an item of `each` failed."""
    first = {"name": "first", "when": "${{ execution.attempt > 1 }}", "defaultOutput": {"list": [0, 1, 2]}}
    each = {"name": "each", "forEach": {"items": items, "parallelism": 1}, "dependsOn": ["first"]}
    run = Run(compiled(spec(first, each, retry={"maxAttempts": 2, "backoff": NO_JITTER}, failFast=False)))
    run.step()
    run.succeed("each[0]")
    run.fail("each[1]")
    assert (run.phase(), run.phases()) == ("Retrying", {"first": "Skipped", "each": "Failed"})
    run.later(seconds=2)
    assert [request.task for request in run.step().create] == ["first"]
    assert run.phases() == {"first": "Running", "each": "Running"}
    return run


def test_items_are_not_tried_again_before_a_dependency_that_runs_this_time_has_ended() -> None:
    run = second_round()
    assert [request.identity.index for request in run.succeed("first").create] == [1]
    run.succeed("each[1]")
    run.succeed("each[2]")
    assert run.phase() == "Completed"


def test_items_are_not_tried_again_where_a_dependency_fails_this_time() -> None:
    run = second_round()
    assert run.fail("first").create == ()
    assert (run.phase(), run.phases()) == ("Failed", {"first": "Failed", "each": "Failed"})
    items = run.status.tasks["each"].items
    assert items is not None
    assert (items.failed, items.active) == ("1", {})
    assert run.status.tasks["each"].message == "it is not tried again: task 'first', on which it depends, failed"


def test_nor_does_the_execution_wait_for_one() -> None:
    run = Run(compiled(spec({"name": "a"}, retry={"maxAttempts": 2, "backoff": NO_JITTER})))
    run.step()
    run.fail("a")
    run.later(seconds=-4)
    assert run.step().create == ()
    run.later(seconds=-2)
    assert [(request.attempt, request.identity.round) for request in run.step().create] == [(2, 2)]


@pytest.mark.parametrize(
    ("output", "reason", "message"),
    [
        ({"list": [7]}, "InvalidInput", "forEach has 1 items in this attempt of the Execution, and had 3 in the one"),
        ({"list": 7}, "InvalidInput", "forEach.items is 7; it must be a list"),
        ({}, "EvalError", "list"),
    ],
)
def test_items_that_are_not_there_this_time_fail(output: dict[str, Any], reason: str, message: str) -> None:
    run = second_round("${{ tasks.first.output.list }}")
    assert run.succeed("first", output).create == ()
    task = run.status.tasks["each"]
    assert (run.phase(), task.phase, task.reason) == ("Failed", "Failed", reason)
    assert message in (task.message or "")
