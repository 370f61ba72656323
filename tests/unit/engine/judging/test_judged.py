"""What else policies say: of what a task gave, in warnings, past a break-glass run; and what is kept of it."""

from __future__ import annotations

import json
from dataclasses import replace

from ossa.api.contract import ANNOTATION_BREAK_GLASS
from ossa.engine.rulings import Ruling
from tests.unit.engine.judging.judge import DENIED, PASSED, RETRY, Rules, denies, finding, judged_run, reasons

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
