"""Suspended, cancelled, out of time; and what runs in the end all the same."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from ossa.engine.decide import decide
from ossa.engine.snapshot import Source
from tests.unit.engine.world import NOW, Run, compiled, spec

CHAIN: list[dict[str, Any]] = [{"name": "a"}, {"name": "b", "dependsOn": ["a"]}]
TIDY = [{"name": "tidy", "input": {"status": "${{ status }}", "why": "${{ error }}"}}]


def started(*tasks: dict[str, Any], **fields: Any) -> Run:
    run = Run(compiled(spec(*tasks, **fields)))
    run.step()
    return run


# --- suspend ------------------------------------------------------------------------------------------------------


def test_what_runs_may_end_and_nothing_starts_until_it_is_resumed() -> None:
    run = started(*CHAIN)
    decision = run.steer(suspend=True)
    assert run.phase() == "Paused"
    assert [event.reason for event in decision.events] == ["Paused"]
    assert run.status.message == "suspended: set spec.suspend to false to go on; 1 still running"
    assert run.succeed("a", {"n": 1}).create == ()
    assert run.phases() == {"a": "Completed", "b": "Pending"}
    decision = run.steer(suspend=False)
    assert run.phase() == "Running"
    assert [request.task for request in decision.create] == ["b"]
    assert [event.reason for event in decision.events] == ["Resumed"]


def test_it_may_be_suspended_from_the_start() -> None:
    run = Run(compiled(spec(*CHAIN)))
    run.steer(suspend=True)
    assert (run.phase(), run.requests) == ("Paused", [])
    assert run.status.revision == run.revision.name
    assert [request.task for request in run.steer(suspend=False).create] == ["a"]


def test_a_lost_pod_waits_while_it_is_suspended() -> None:
    run = started(*CHAIN)
    run.lose("a")
    run.steer(suspend=True)
    assert run.phases()["a"] == "Retrying"
    assert [request.attempt for request in run.steer(suspend=False).create] == [2]


# --- cancel -------------------------------------------------------------------------------------------------------


def test_a_cancelled_execution_stops_its_pods_and_fails() -> None:
    run = started(*CHAIN)
    pod = run.pod_of("a")
    run.pod("a", phase="Running")
    decision = run.steer(cancel=True)
    assert decision.delete == (pod,)
    assert run.phase() == "Failed"
    assert run.phases() == {"a": "Failed", "b": "Skipped"}
    assert run.status.error is not None
    assert run.status.error.reason == "Cancelled"
    assert {held.type: held.reason for held in run.status.conditions}["Succeeded"] == "Cancelled"


def test_a_suspended_execution_can_be_cancelled() -> None:
    run = started(*CHAIN)
    run.steer(suspend=True)
    run.steer(cancel=True)
    assert run.phase() == "Failed"


def test_what_has_not_started_is_cancelled_at_once() -> None:
    run = Run(compiled(spec(*CHAIN)))
    run.change(workflow=None)
    run.steer(cancel=True)
    assert run.phase() == "Failed"
    assert run.status.message == "cancelled before it started: spec.cancel is true"


def test_finally_runs_when_it_is_cancelled_also_while_suspended() -> None:
    for suspended in (False, True):
        run = started(*CHAIN, finally_=TIDY)
        if suspended:
            run.steer(suspend=True)
        decision = run.steer(cancel=True)
        assert run.phase() == "Running"
        request = decision.create[0]
        assert (request.task, request.input["status"], request.input["why"]["reason"]) == (
            "tidy",
            "Failed",
            "Cancelled",
        )
        run.succeed("tidy")
        assert run.phase() == "Failed"
        assert run.status.error is not None
        assert run.status.error.reason == "Cancelled"


def test_one_that_is_cancelled_when_nothing_is_left_to_stop_does_not_stay_suspended() -> None:
    run = started({"name": "a"}, finally_=TIDY)
    run.steer(suspend=True)
    run.succeed("a")
    assert run.phase() == "Paused"
    decision = run.steer(cancel=True)
    assert (run.phase(), [request.task for request in decision.create]) == ("Running", ["tidy"])
    assert [event.reason for event in decision.events] == []
    run.succeed("tidy")
    assert run.phase() == "Completed", "all of it had ended well before"


def test_nor_does_one_that_is_out_of_time() -> None:
    run = started({"name": "a"}, timeout="1m")
    run.steer(suspend=True)
    decision = run.succeed("a")
    assert run.phase() == "Paused"
    assert decision.wake_at == NOW + timedelta(seconds=61)
    run.later(seconds=62)
    run.step()
    assert run.phase() == "Completed"


def test_when_it_is_cancelled_no_failure_of_finally_waits_for_its_log() -> None:
    run = started({"name": "a"}, finally_=[{"name": "last"}])
    run.succeed("a")
    run.pod("last", phase="Failed", exit_code=1, terminated_reason="Error")
    run.lose("a")
    run.crash()  # `a` is no more known to have ended, but `last` was started
    run.steer(cancel=True)
    assert (run.phases(), run.phase()) == ({"a": "Failed", "last": "Failed"}, "Failed")


def test_between_two_attempts() -> None:
    run = started({"name": "a"}, retry={"maxAttempts": 3})
    run.fail("a")
    assert run.phase() == "Retrying"
    run.steer(cancel=True)
    assert run.phase() == "Failed"


def test_one_that_is_cancelled_when_all_has_failed_is_not_tried_again() -> None:
    run = started({"name": "a"}, retry={"maxAttempts": 3})
    run.pod("a", phase="Failed", exit_code=9, terminated_reason="Error")
    run.change(log_tails={run.pod_of("a"): ""})
    run.steer(cancel=True)
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert (run.status.error.task, run.status.error.exit_code) == ("a", 9)


# --- time ---------------------------------------------------------------------------------------------------------


def test_an_execution_over_its_time_is_stopped_pauses_included() -> None:
    run = started(*CHAIN, timeout="1m")
    assert run.last.wake_at is not None
    run.steer(suspend=True)
    run.later(seconds=62)
    decision = run.step()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert (run.status.error.task, run.status.error.reason) == (None, "Timeout")
    assert decision.delete


def test_one_that_cannot_start_in_time_fails_and_says_why() -> None:
    run = Run(compiled(spec({"name": "a"})))
    metadata = run.snapshot.execution.metadata.model_copy(update={"creation_timestamp": "2026-01-01T12:00:00Z"})
    wanted = run.snapshot.execution.spec.model_copy(update={"pending_timeout": "30s"})
    run.change(
        workflow=None, execution=run.snapshot.execution.model_copy(update={"metadata": metadata, "spec": wanted})
    )
    assert run.step().wake_at is not None
    assert run.phase() == "Pending"
    run.later(seconds=31)
    run.step()
    assert run.phase() == "Failed"
    assert "Workflow 'flow' was not found" in (run.status.error.message if run.status.error else "")


def test_a_pod_that_does_not_start_in_time() -> None:
    run = started({"name": "a", "pendingTimeout": "1m"})
    run.pod("a", unschedulable="0/1 nodes are available")
    assert run.step().wake_at is not None
    run.later(seconds=62)
    run.step()
    assert run.status.tasks["a"].reason == "Timeout"
    assert "pendingTimeout of 1m: 0/1 nodes" in (run.status.tasks["a"].message or "")


# --- finally ------------------------------------------------------------------------------------------------------


def test_finally_runs_after_success_and_sees_the_outputs() -> None:
    last = {"name": "tell", "input": {"n": "${{ tasks.a.output.n }}", "status": "${{ status }}"}}
    run = started(
        {"name": "a"},
        finally_=[last, {"name": "after", "dependsOn": ["tell"]}],
        outputs={"n": "${{ tasks.a.output.n }}"},
    )
    decision = run.succeed("a", {"n": 1})
    assert [(r.task, r.input) for r in decision.create] == [("tell", {"n": 1, "status": "Completed"})]
    run.succeed("tell")
    run.succeed("after")
    assert (run.phase(), run.status.outputs, run.status.progress) == ("Completed", {"n": 1}, "3/3")


def test_finally_that_fails_fails_the_execution() -> None:
    run = started({"name": "a"}, finally_=TIDY)
    run.succeed("a")
    run.fail("tidy")
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.task == "tidy"


def test_finally_runs_once_after_the_last_attempt() -> None:
    run = started({"name": "a"}, finally_=TIDY, retry={"maxAttempts": 2, "backoff": {"initial": "1s", "jitter": 0}})
    assert run.fail("a").create == ()
    run.later(seconds=1)
    run.step()
    assert [request.task for request in run.fail("a").create] == ["tidy"]
    run.succeed("tidy")
    assert (run.phase(), run.status.attempt) == ("Failed", 2)
    assert run.status.error is not None
    assert run.status.error.task == "a"


# --- an Execution that resumes another ----------------------------------------------------------------------------


def resumed(source: Source) -> Run:
    before = started(*CHAIN, inputs={"type": "object"}, outputs={"n": "${{ tasks.a.output.n }}"})
    before.succeed("a", {"n": 7})
    before.fail("b")
    run = Run(before.revision)
    wanted = run.snapshot.execution.spec.model_copy(update={"retry_of": "before"})
    run.change(
        execution=run.snapshot.execution.model_copy(update={"spec": wanted}),
        source=replace(source, revision=run.revision.name, inputs={"x": 1}, tasks=before.status.tasks),
    )
    run.step()
    return run


def test_what_was_completed_is_taken_over() -> None:
    run = resumed(Source(workflow="flow"))
    assert run.status.inputs == {"x": 1}
    assert [request.task for request in run.requests] == ["b"]
    assert run.status.tasks["a"].message == "taken over from Execution before"
    run.succeed("b")
    assert (run.phase(), run.status.outputs) == ("Completed", {"n": 7})


def test_one_of_another_workflow_is_refused_and_one_that_runs_is_waited_for() -> None:
    run = resumed(Source(workflow="other"))
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.reason == "InvalidInput"
    run = resumed(Source("Execution 'before' is Running"))
    assert (run.phase(), run.status.message) == ("Pending", "spec.retryOf: Execution 'before' is Running")


def test_the_same_snapshot_gives_the_same_decision() -> None:
    run = started(*CHAIN, finally_=TIDY, timeout="1h")
    changes: list[dict[str, Any]] = [{}, {"suspend": True}, {"cancel": True}]
    for fields in changes:
        run.steer(**fields)
        assert decide(run.snapshot, NOW) == decide(run.snapshot, NOW)
