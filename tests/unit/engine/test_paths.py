"""Every way through a graph: how a dependency ended, failures that somebody handles, limits, locks, other workflows."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from ossa.engine.checks import workflow_problems
from ossa.engine.decision import ChildChange
from tests.unit.engine.world import NOW, Run, child_view, compiled, spec


def started(*tasks: dict[str, Any], **fields: Any) -> Run:
    run = Run(compiled(spec(*tasks, **fields)))
    run.step()
    return run


# --- how a dependency ended ---------------------------------------------------------------------------------------

REPAIR = {"name": "repair", "when": "${{ tasks.a.phase == 'Failed' }}", "input": {"why": "${{ tasks.a.error.reason }}"}}


def test_a_failure_that_another_task_asks_about_is_handled() -> None:
    run = started({"name": "a"}, {"name": "b", "dependsOn": ["a"]}, REPAIR | {"input": {}})
    decision = run.fail("a", log=None)
    assert decision.need_logs == ()
    assert [request.task for request in decision.create] == ["repair"]
    assert run.phases() == {"a": "Failed", "b": "Skipped", "repair": "Running"}
    run.succeed("repair")
    assert (run.phase(), run.status.error) == ("Completed", None)


def test_where_it_did_not_fail_the_repair_is_skipped() -> None:
    run = started({"name": "a"}, REPAIR | {"input": {}})
    run.succeed("a")
    assert (run.phase(), run.phases()["repair"]) == ("Completed", "Skipped")


def test_any_of_several_is_enough() -> None:
    either = "${{ tasks.a.phase == 'Completed' || tasks.b.phase == 'Completed' }}"
    run = started({"name": "a"}, {"name": "b"}, {"name": "c", "when": either})
    run.fail("a", log=None)
    assert run.phases()["c"] == "Pending"
    run.succeed("b")
    assert run.phases()["c"] == "Running"


def test_the_error_can_be_looked_at() -> None:
    hard = "${{ tasks.a.phase == 'Failed' && tasks.a.error.exitCode == 7 }}"
    run = started({"name": "a"}, {"name": "c", "when": hard})
    run.fail("a", log=None, exit_code=7)
    assert run.phases()["c"] == "Running"


def test_continue_on_error_goes_on_with_the_default() -> None:
    read = {"name": "b", "input": {"n": "${{ tasks.a.output.n }}"}}
    run = started({"name": "a", "continueOnError": True, "defaultOutput": {"n": 0}}, read)
    assert [request.input for request in run.fail("a", log=None).create] == [{"n": 0}]
    run.succeed("b")
    assert (run.phase(), run.status.progress) == ("Completed", "1/2")


def test_a_skipped_producer_with_a_default_skips_nobody() -> None:
    read = {"name": "b", "input": {"n": "${{ tasks.a.output.n }}"}}
    run = started({"name": "a", "when": "${{ false }}", "defaultOutput": {"n": 5}}, read)
    assert [request.input for request in run.requests] == [{"n": 5}]


def test_without_fail_fast_what_still_can_is_run() -> None:
    run = started(
        {"name": "a"},
        {"name": "b"},
        {"name": "c", "dependsOn": ["b"]},
        {"name": "d", "dependsOn": ["a"]},
        failFast=False,
    )
    run.fail("a")
    assert [request.task for request in run.succeed("b").create] == ["c"]
    run.succeed("c")
    assert run.phase() == "Failed"
    assert run.phases() == {"a": "Failed", "b": "Completed", "c": "Completed", "d": "Skipped"}


# --- limits and locks ---------------------------------------------------------------------------------------------


def test_of_many_the_workflow_runs_few_at_once_those_of_higher_priority_first() -> None:
    tasks = [{"name": f"t{n}", "priority": n} for n in range(4)]
    run = started(*tasks, parallelism=2)
    assert [request.task for request in run.requests] == ["t3", "t2"]
    assert [request.task for request in run.succeed("t3").create] == ["t1"]


def test_only_as_many_start_as_there_is_room_for() -> None:
    run = Run(compiled(spec({"name": "a"}, {"name": "b"}, {"name": "c"})))
    run.change(slots=2)
    decision = run.step()
    assert [request.task for request in decision.create] == ["a", "b"]
    assert decision.starved
    run.change(slots=0)
    assert run.step().starved
    run.change(slots=None)
    assert [request.task for request in run.step().create] == ["c"]


def test_a_mutex_is_held_by_one_at_a_time() -> None:
    run = started(
        {"name": "a", "locks": [{"name": "db-${{ inputs.env }}"}]},
        {"name": "b", "locks": [{"name": "db-x"}]},
        inputs={"type": "object", "properties": {"env": {"default": "x"}}},
    )
    assert [request.task for request in run.requests] == ["a"]
    assert run.requests[0].identity.locks == ("db-x",)
    assert set(run.last.wants) == {"db-x"}
    assert run.status.tasks["b"].message == "waiting for the lock 'db-x'"
    assert run.status.tasks["a"].locks == ["db-x"]
    assert [request.task for request in run.succeed("a").create] == ["b"]
    assert run.status.tasks["a"].locks is None


def test_a_pod_that_was_given_up_keeps_its_lock_until_it_has_ended() -> None:
    lock, retry = [{"name": "db"}], {"backoff": {"initial": "1s", "jitter": 0}}
    run = Run(compiled(spec({"name": "a", "locks": lock, "timeout": "5s", "retry": retry})))
    run.step()
    run.pod("a", phase="Running")
    name, running = next(iter(run.snapshot.pods.items()))
    run.later(seconds=7)
    assert run.step().delete == (name,)
    run.later(seconds=2)
    run.change(pods={name: replace(running, deleting=True)})
    assert run.step().create == ()
    assert run.status.tasks["a"].message == "waiting for the lock 'db'"
    run.change(pods={})
    assert [request.attempt for request in run.step().create] == [2]


def test_a_semaphore_counts_other_executions_too() -> None:
    lock = [{"name": "gpu", "limit": 2}]
    run = Run(compiled(spec({"name": "a", "locks": lock}, {"name": "b", "locks": lock})))
    run.change(held_locks={"gpu": 1})
    assert [request.task for request in run.step().create] == ["a"]
    run.change(held_locks={})
    assert [request.task for request in run.step().create] == ["b"]


# --- other workflows ----------------------------------------------------------------------------------------------

CALL = {"name": "call", "agent": None, "workflow": "other", "input": {"n": 1}}


def child(run: Run, **fields: Any) -> None:
    held = run.status.tasks["call"]
    running: dict[str, Any] = {"attempt": held.attempt, "finished": False, "succeeded": False}
    view = child_view(held.pod or "", "call", **(running | fields))
    run.change(children={view.name: view})
    run.step()


def test_a_workflow_is_run_as_a_child_whose_outputs_are_the_task_s() -> None:
    run = started(CALL, {"name": "b", "input": {"x": "${{ tasks.call.output.x }}"}})
    request = run.last.children[0]
    assert (request.workflow, request.inputs, request.name) == ("other", {"n": 1}, run.status.tasks["call"].pod)
    child(run, message="task slow: waiting for a node")
    assert run.status.message == "task call: task slow: waiting for a node"
    child(run, finished=True, succeeded=True, outputs={"x": 3})
    assert [request.input for request in run.requests] == [{"x": 3}]


def test_a_child_that_fails_fails_the_task() -> None:
    run = started(CALL)
    child(run, finished=True, message="task 'x' failed: exit code 1")
    assert run.phase() == "Failed"
    assert run.status.tasks["call"].reason == "ChildFailed"


def test_a_child_is_suspended_and_cancelled_with_its_parent() -> None:
    run = started(CALL)
    child(run)
    run.steer(suspend=True)
    assert [(change.suspend, change.cancel) for change in run.last.change] == [(True, None)]
    child(run, suspend=True)
    assert not run.last.change
    changes = run.steer(cancel=True).change
    assert True in {change.cancel for change in changes}
    assert run.phase() == "Failed"


def test_a_child_that_runs_too_long_is_cancelled_and_may_be_tried_again() -> None:
    run = started(
        CALL | {"timeout": "1m", "pendingTimeout": "5m", "retry": {"backoff": {"initial": "1s", "jitter": 0}}}
    )
    assert run.last.children[0].pending_timeout == "5m"
    child(run, message="task slow: waiting for a node")
    first = run.status.tasks["call"].pod or ""
    assert run.last.wake_at == NOW + timedelta(seconds=61)
    run.later(seconds=61)
    run.step()
    assert (run.phases()["call"], run.status.tasks["call"].reason) == ("Retrying", "Timeout")
    assert run.last.change == (ChildChange(first, cancel=True),)
    assert run.step().change == (ChildChange(first, cancel=True),)  # until it is seen to be so
    run.later(seconds=1)
    assert [request.attempt for request in run.step().children] == [2]
    child_of_attempt_1 = replace(run.snapshot.children[first], cancel=True)
    run.change(children={first: child_of_attempt_1})
    assert run.step().change == ()


def test_a_child_that_runs_on_after_the_end_is_cancelled() -> None:
    run = started(CALL)
    child(run)
    run.change(children={})
    run.steer(cancel=True)
    assert (run.phase(), run.last.change) == ("Failed", ())
    child(run)
    assert [(change.name, change.cancel) for change in run.last.change] == [(run.status.tasks["call"].pod, True)]


def test_a_child_that_is_yet_to_be_taken_over_is_left_alone() -> None:
    each = CALL | {"forEach": {"items": "${{ tasks.a.output.list }}"}}
    before = started({"name": "a"}, each)
    before.succeed("a", {"list": [1, 2]})
    (first, second) = before.last.children
    run = started({"name": "a"}, each)
    views = {
        request.name: child_view(request.name, "call", index=request.identity.index, finished=False, succeeded=False)
        for request in (first, second)
    }
    run.change(children=views)
    assert run.step().change == ()
    run.succeed("a", {"list": [1, 2]})
    assert (run.last.change, run.last.children) == ((), ())


def test_workflows_do_not_run_themselves_for_ever() -> None:
    run = Run(compiled(spec(CALL)))
    run.change(depth=8)
    run.step()
    assert run.phase() == "Failed"
    assert "does the workflow run itself?" in (run.status.tasks["call"].message or "")


# --- what admission says ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "problem"),
    [
        ({"input": {"x": "${{ item }}"}}, "spec.tasks[0].input.x: `item` is the item of a forEach"),
        ({"input": {"x": "${{ status }}"}}, "spec.tasks[0].input.x: `status` is how the Execution ended"),
        ({"when": "${{ error.reason == 'x' }}"}, "spec.tasks[0].when: `error` is what went wrong"),
        ({"forEach": {}}, "spec.tasks[0].forEach: set exactly one of items (a list) and range"),
        (
            {"forEach": {"range": {"count": 99999}}},
            "spec.tasks[0].forEach.range.count: is 99999; it must be from 0 to 10000",
        ),
        ({"retry": {"when": "${{ error.colour == 1 }}"}}, "spec.tasks[0].retry.when: `error` has no 'colour'"),
        ({"retry": {"when": "true"}}, "spec.tasks[0].retry.when: 'true' must be one expression"),
        ({"workflow": "x"}, "spec.tasks[0]: set exactly one of agent (who does it), workflow and"),
        ({"agent": None, "workflow": "x", "capability": "c"}, "spec.tasks[0].capability: it is one of an agent"),
        ({"locks": [{"name": "${{ tasks.zz.output.x }}"}]}, "spec.tasks[0].locks[0].name: there is no task 'zz'"),
        ({"dependsOn": ["tidy"]}, "spec.tasks[0].dependsOn[0]: the task 'tidy' is one of spec.finally"),
    ],
)
def test_problems_name_the_field_and_what_to_do(task: dict[str, Any], problem: str) -> None:
    found = [
        str(held)
        for held in workflow_problems(spec({"name": "a", **task}, finally_=[{"name": "tidy", "agent": "worker"}]))
    ]
    assert len(found) == 1
    assert found[0].startswith(problem)


def test_in_finally_status_and_error_are_known() -> None:
    last = {"name": "z", "agent": "worker", "when": "${{ status == 'Failed' && error.reason != 'Cancelled' }}"}
    assert workflow_problems(spec({"name": "a"}, finally_=[last])) == []
