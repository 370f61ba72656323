"""What becomes of tasks and items whose start policies deny."""

from __future__ import annotations

from ossa.engine.rulings import Ruling
from tests.unit.engine.judging.judge import DENIED, PASSED, RETRY, Rules, denies, finding, judged_run, reasons

# --- the start of a task ---


def test_a_denied_task_fails_and_has_no_pod() -> None:
    run = judged_run(Rules(tasks=denies("b")), {"name": "a"}, {"name": "b", "dependsOn": ["a"], **RETRY})
    run.step()
    decision = run.succeed("a")
    assert (decision.create, run.phases(), run.phase()) == ((), {"a": "Completed", "b": "Failed"}, "Failed")
    error, task = run.status.error, run.status.tasks["b"]
    assert error is not None
    assert (error.task, error.reason, error.policy, error.policy_version) == ("b", "PolicyDenied", "no-b", 3)
    assert error.message == "task 'b' failed: policy 'no-b': not this one"
    assert (task.attempt, task.reason, task.policy, task.policy_version) == (0, "PolicyDenied", "no-b", 3)
    assert task.judged_at_start is not None
    assert reasons(decision.events) == ["PolicyDenied", "TaskFailed", "Failed"]


def test_a_denial_is_no_reason_for_another_attempt_of_the_execution() -> None:
    run = judged_run(Rules(tasks=denies("a")), {"name": "a"}, retry={"maxAttempts": 5})
    run.step()
    assert (run.phase(), run.status.attempt) == ("Failed", 1)


def test_nothing_starts_beside_a_task_that_is_denied() -> None:
    run = judged_run(Rules(tasks=denies("b")), {"name": "a"}, {"name": "b"})
    run.change(slots=5)
    assert run.step().create == ()
    assert run.phases() == {"a": "Skipped", "b": "Failed"}


def test_without_fail_fast_the_others_start() -> None:
    run = judged_run(Rules(tasks=denies("b")), {"name": "a"}, {"name": "b"}, failFast=False)
    assert [request.task for request in run.step().create] == ["a"]
    run.succeed("a")
    assert (run.phase(), run.phases()) == ("Failed", {"a": "Completed", "b": "Failed"})


def test_an_execution_goes_on_where_a_denied_task_may_fail() -> None:
    run = judged_run(
        Rules(tasks=denies("a")),
        {"name": "a", "continueOnError": True, "defaultOutput": {"n": 1}},
        {"name": "b", "input": {"n": "${{ tasks.a.output.n }}"}},
    )
    assert [(request.task, request.input) for request in run.step().create] == [("b", {"n": 1})]
    run.succeed("b")
    assert run.phase() == "Completed"


def test_another_task_may_handle_a_denial_and_sees_which_policy_it_was() -> None:
    run = judged_run(
        Rules(tasks=denies("a")),
        {"name": "a"},
        {
            "name": "b",
            "when": "${{ tasks.a.error.reason == 'PolicyDenied' && tasks.a.error.policyVersion == 3 }}",
        },
    )
    assert [request.task for request in run.step().create] == ["b"]
    run.succeed("b")
    assert (run.phase(), run.phases()) == ("Completed", {"a": "Failed", "b": "Completed"})


def test_a_task_of_finally_is_judged_no_less() -> None:
    judge = Rules(tasks=denies("last"))
    run = judged_run(judge, {"name": "a"}, finally_=[{"name": "last"}])
    run.step()
    decision = run.succeed("a")
    assert (decision.create, run.phases()["last"], run.phase()) == ((), "Failed", "Failed")
    assert run.status.error is not None
    assert (run.status.error.task, run.status.error.reason) == ("last", "PolicyDenied")


def test_finally_sees_which_policy_denied() -> None:
    run = judged_run(
        Rules(tasks=denies("a")),
        {"name": "a"},
        finally_=[
            {"name": "last", "input": {"policy": "${{ error.policy }}", "version": "${{ error.policyVersion }}"}}
        ],
    )
    assert [request.input for request in run.step().create] == [{"policy": "no-b", "version": 3}]


def test_each_attempt_is_judged() -> None:
    judge = Rules(tasks=lambda case: DENIED if case.attempt == 2 else PASSED)
    run = judged_run(judge, {"name": "a", **RETRY})
    run.step()
    run.fail("a")
    run.later(seconds=2)
    assert run.step().create == ()
    assert (run.phases()["a"], run.status.tasks["a"].reason) == ("Failed", "PolicyDenied")
    assert [asked for asked in judge.asked if "gave" not in asked] == ["start of run", "a#1", "a#2"]
    assert list((run.status.tasks["a"].judged_at_start or {}).values()) == ["1-2"]


def test_what_waits_for_room_is_judged_when_there_is_some() -> None:
    judge = Rules()
    run = judged_run(judge, {"name": "a"}, {"name": "b"}, parallelism=1)
    run.step()
    run.step()
    assert judge.asked == ["start of run", "a#1"]
    run.succeed("a")
    assert judge.asked[-1] == "b#1"


def test_a_denied_task_takes_no_room() -> None:
    run = judged_run(Rules(tasks=denies("a")), {"name": "a", "continueOnError": True}, {"name": "b"})
    run.change(slots=1)
    assert [request.task for request in run.step().create] == ["b"]


def test_a_judge_sees_the_input_with_what_goes_by_reference() -> None:
    judge = Rules()
    text = "x" * 140_000
    run = judged_run(judge, {"name": "a", "input": {"large": text, "small": 1}})
    run.step()
    assert judge.inputs == [{"large": text, "small": 1}]


def test_people_are_asked_without_a_verdict() -> None:
    judge = Rules(tasks=denies("release"))
    run = judged_run(judge, {"name": "release", "agent": None, "approval": {"message": "?", "approverUsers": ["eve"]}})
    run.step()
    assert run.phases() == {"release": "Waiting"}


# --- items ---


def test_each_item_is_judged() -> None:
    judge = Rules(tasks=lambda case: DENIED if case.unit.index == 1 else PASSED)
    each = {"forEach": {"range": {"count": 4}, "parallelism": 2}, "continueOnError": True}
    run = judged_run(judge, {"name": "a", **each})
    assert [request.identity.index for request in run.step().create] == [0, 2]
    run.succeed("a[0]")
    run.succeed("a[2]")
    run.succeed("a[3]")
    task = run.status.tasks["a"]
    assert (run.phase(), task.phase) == ("Completed", "Failed")
    assert task.items is not None
    assert (task.items.failed, task.items.completed) == ("1", 3)
    assert task.items.errors["1"].policy == "no-b"
    assert (task.reason, task.policy, task.policy_version) == ("PolicyDenied", "no-b", 3)
    assert sorted((task.judged_at_start or {}).values()) == ["0-3"]


def test_items_that_are_all_denied_do_not_hang() -> None:
    each = {"forEach": {"range": {"count": 30}, "parallelism": 2}, "continueOnError": True}
    run = judged_run(Rules(tasks=denies("a")), {"name": "a", **each})
    run.step()
    assert (run.phase(), run.phases()) == ("Completed", {"a": "Failed"})


def test_warnings_about_many_items_are_one_event() -> None:
    warns = Ruling((finding(denies=False, action="Warn"),))
    run = judged_run(Rules(tasks=lambda _: warns), {"name": "a", "forEach": {"range": {"count": 9}, "parallelism": 3}})
    events = [*run.step().events]
    for index in range(9):
        events += run.succeed(f"a[{index}]").events
    assert reasons(events).count("PolicyViolation") == 1
    assert run.phase() == "Completed"
