"""What becomes of an Execution and its tasks where policies deny, warn, or let a break-glass run pass."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.contract import ANNOTATION_BREAK_GLASS
from ossa.engine.decision import Announcement
from ossa.engine.rulings import NOTHING_SAID, Finding, Ruling, RunCase, TaskCase
from tests.unit.engine.world import Run, compiled, spec

RETRY = {"retry": {"maxAttempts": 3, "backoff": {"initial": "1s", "jitter": 0}}}


def finding(*, policy: str = "no-b", generation: int = 3, denies: bool = True, action: Any = "Enforce") -> Finding:
    return Finding(policy, generation, action, "fail", denies, f"policy {policy!r}: not this one")


DENIED = Ruling((finding(),))
PASSED = Ruling((replace(finding(denies=False), outcome="pass", message=""),))


@dataclass
class Rules:
    """A judge that says what a test wants, and keeps what it was asked."""

    starts: Ruling = NOTHING_SAID
    tasks: Callable[[TaskCase], Ruling] = lambda _: NOTHING_SAID
    outputs: Callable[[TaskCase], Ruling] = lambda _: NOTHING_SAID
    asked: list[str] = field(default_factory=list)
    inputs: list[JSONObject] = field(default_factory=list)

    def execution(self, case: RunCase) -> Ruling:
        self.asked.append(f"start of {case.execution.metadata.name}")
        return self.starts

    def task(self, case: TaskCase) -> Ruling:
        self.asked.append(f"{case.unit}#{case.attempt}")
        self.inputs.append(case.input())
        return self.tasks(case)

    def output(self, case: TaskCase) -> Ruling:
        self.asked.append(f"{case.unit}#{case.attempt} gave {case.output}")
        return self.outputs(case)


def denies(*names: str) -> Callable[[TaskCase], Ruling]:
    """A judge's answer that denies these tasks, and lets the others pass."""
    return lambda case: DENIED if case.unit.task in names else PASSED


def judged_run(judge: Rules, *tasks: JSONObject, **more: Any) -> Run:
    run = Run(compiled(spec(*tasks, **more)))
    run.change(judge=judge)
    return run


def reasons(events: Iterable[Announcement]) -> list[str]:
    return [event.reason for event in events]


# --- the start of an Execution ---


def test_an_execution_that_is_denied_never_starts() -> None:
    run = judged_run(Rules(starts=DENIED), {"name": "a"}, retry={"maxAttempts": 3})
    decision = run.step()
    assert (run.phase(), decision.create, run.status.tasks) == ("Failed", (), {})
    error = run.status.error
    assert error is not None
    assert (error.reason, error.policy, error.policy_version) == ("PolicyDenied", "no-b", 3)
    assert error.message == "policy 'no-b': not this one"
    assert reasons(decision.events) == ["PolicyDenied", "Failed"]
    before = run.status
    assert run.step().status == before


def test_what_judged_the_start_is_kept() -> None:
    run = judged_run(Rules(starts=PASSED), {"name": "a"})
    run.step()
    assert run.status.judged_at_start is not None
    (key,) = run.status.judged_at_start
    assert run.status.policies == {key: ["no-b@3"]}


def test_nothing_is_kept_where_no_policy_judges() -> None:
    run = judged_run(Rules(), {"name": "a"})
    run.step()
    run.succeed("a")
    assert not {"policies", "judgedAtStart", "overruled"} & run.status.to_json().keys()
    assert not {"judgedAtStart", "judgedAtEnd", "policy"} & run.status.tasks["a"].to_json().keys()


def test_one_that_waited_is_judged_when_it_goes_on() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"}, {"name": "b", "dependsOn": ["a"]}, finally_=[{"name": "last"}])
    run.step()
    run.steer(suspend=True)
    run.succeed("a")
    judge.starts = DENIED
    run.steer(suspend=False)
    assert run.phases() == {"a": "Completed", "b": "Skipped", "last": "Running"}
    run.succeed("last")
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert (run.status.error.reason, run.status.error.policy) == ("PolicyDenied", "no-b")
    assert judge.asked.count("start of run") == 2


def test_one_that_may_not_go_on_ends_at_once_though_a_log_is_awaited() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"})
    run.step()
    run.steer(suspend=True)
    run.fail("a", log=None)
    judge.starts = DENIED
    run.steer(suspend=False)
    assert (run.phase(), run.phases()) == ("Failed", {"a": "Failed"})
    assert run.status.error is not None
    assert run.status.error.reason == "PolicyDenied"


def test_one_that_is_allowed_to_go_on_does() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"})
    run.step()
    run.steer(suspend=True)
    judge.starts = Ruling((replace(PASSED.findings[0], generation=4),))
    run.steer(suspend=False)
    assert (run.phase(), len(run.status.judged_at_start or [])) == ("Running", 2)
    assert sorted(name for names in (run.status.policies or {}).values() for name in names) == ["no-b@3", "no-b@4"]


def test_another_attempt_of_an_execution_is_judged() -> None:
    judge = Rules(starts=PASSED)
    run = judged_run(judge, {"name": "a"}, retry={"maxAttempts": 3, "backoff": {"initial": "1s", "jitter": 0}})
    run.step()
    run.fail("a")
    assert run.phase() == "Retrying"
    judge.starts = DENIED
    run.later(seconds=2)
    assert run.step().create == ()
    assert (run.phase(), run.status.error and run.status.error.reason) == ("Failed", "PolicyDenied")


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


# --- what a task gave ---


def test_an_output_that_is_denied_is_not_passed_on() -> None:
    judge = Rules(outputs=denies("a"))
    run = judged_run(
        judge, {"name": "a", **RETRY}, {"name": "b", "dependsOn": ["a"]}, outputs={"n": "${{ tasks.a.output.n }}"}
    )
    run.step()
    decision = run.succeed("a", {"n": 1})
    task, error = run.status.tasks["a"], run.status.error
    assert (decision.create, task.phase, task.output, run.phase()) == ((), "Failed", None, "Failed")
    assert error is not None
    assert (error.reason, error.policy, error.policy_version, error.attempt) == ("PolicyDenied", "no-b", 3, 1)
    assert error.message == "task 'a' failed: its output: policy 'no-b': not this one"
    assert task.judged_at_end is not None
    assert list(task.judged_at_end.values()) == ["1"]


def test_start_and_end_are_judged_by_the_versions_of_their_moments() -> None:
    judge = Rules(tasks=lambda _: PASSED)
    run = judged_run(judge, {"name": "a"})
    run.step()
    later = Ruling((replace(PASSED.findings[0], generation=4),))
    judge.outputs = lambda _: later
    run.succeed("a")
    task, known = run.status.tasks["a"], run.status.policies or {}
    assert [known[key] for key in task.judged_at_start or {}] == [["no-b@3"]]
    assert [known[key] for key in task.judged_at_end or {}] == [["no-b@4"]]


# --- warnings and break-glass ---


def test_a_warning_is_told_and_nothing_more() -> None:
    warns = Ruling((finding(denies=False, action="Warn"), finding(policy="audit", denies=False, action="Audit")))
    run = judged_run(Rules(tasks=lambda _: warns), {"name": "a"})
    decision = run.step()
    told = [event.message for event in decision.events if event.reason == "PolicyViolation"]
    assert told == ["Task 'a': policy 'no-b': not this one", "Task 'a': policy 'audit': not this one"]
    assert [request.task for request in decision.create] == ["a"]
    assert [(ruled.at, str(ruled.unit)) for ruled in decision.rulings] == [("task", "a")]


def test_a_break_glass_run_is_judged_and_not_refused() -> None:
    run = judged_run(Rules(starts=DENIED, tasks=denies("a"), outputs=denies("a")), {"name": "a"})
    held = run.snapshot.execution
    marked = held.metadata.model_copy(update={"annotations": {ANNOTATION_BREAK_GLASS: "eve"}})
    run.change(execution=held.model_copy(update={"metadata": marked}))
    decision = run.step()
    assert [request.task for request in decision.create] == ["a"]
    assert reasons(decision.events).count("PolicyOverruled") == 2
    assert {ruled.overruled for ruled in decision.rulings} == {True}
    run.succeed("a")
    assert run.phase() == "Completed"
    assert [(held.at, held.task, held.policy) for held in run.status.overruled or []] == [
        ("start", None, "no-b"),
        ("task", "a", "no-b"),
        ("output", "a", "no-b"),
    ]


# --- crashes ---


def test_a_denial_that_was_not_written_is_decided_again() -> None:
    run = judged_run(Rules(tasks=denies("b")), {"name": "a"}, {"name": "b", "dependsOn": ["a"]})
    run.step()
    first = run.succeed("a")
    run.crash()
    assert run.step() == first


def test_what_judged_a_start_is_known_after_a_crash_though_policies_have_changed() -> None:
    judge = Rules(tasks=lambda _: PASSED)
    run = judged_run(judge, {"name": "a"}, {"name": "b", "dependsOn": ["a"]})
    run.step()
    run.succeed("a")
    run.crash()
    judge.tasks = denies("a", "b")
    run.step()
    task, known = run.status.tasks["b"], run.status.policies or {}
    assert (task.phase, run.status.tasks["a"].phase) == ("Running", "Completed")
    assert [known[key] for key in task.judged_at_start or {}] == [["no-b@3"]]


# --- size and cost ---


def test_ten_thousand_items_are_recorded_in_little_room() -> None:
    """Also where each is judged, warned about, and retried once in a while."""
    warns = Ruling((finding(denies=False, action="Warn"), replace(finding(policy="b", denies=False), outcome="pass")))
    each = {"forEach": {"range": {"count": 10_000}, "parallelism": 1000}}
    run = judged_run(Rules(tasks=lambda _: warns, outputs=lambda _: PASSED), {"name": "a", **each})
    for _ in range(11):
        run.step()
        pods = {name: pod for name, pod in run.snapshot.pods.items() if not pod.ended}
        run.change(pods={n: replace(pod, phase="Succeeded", exit_code=0, message="{}") for n, pod in pods.items()})
    task = run.status.tasks["a"]
    assert (run.phase(), task.phase) == ("Completed", "Completed")
    assert list((task.judged_at_start or {}).values()) == ["0-9999"]
    assert list((task.judged_at_end or {}).values()) == ["0-9999"]
    assert len(json.dumps(run.status.policies)) < 200
