"""What happens when a task fails, its pod is lost, or it takes too long."""

from __future__ import annotations

from datetime import timedelta

import pytest

from ossa.engine.decide import MAX_LOST, decide
from ossa.engine.decision import Retry
from ossa.engine.snapshot import Outage
from ossa.engine.states import IllegalTransition, check_execution_transition, check_task_transition
from tests.unit.engine.world import NOW, Run, agent, compiled, spec

TWO_BRANCHES = spec(
    {"name": "a"}, {"name": "b"}, {"name": "after-a", "dependsOn": ["a"]}, {"name": "after-b", "dependsOn": ["b"]}
)


def started(*tasks: dict[str, object], **fields: object) -> Run:
    run = Run(compiled(spec(*tasks, **fields)))
    run.step()
    return run


def test_after_a_failure_what_runs_may_end_and_nothing_starts() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    assert run.fail("a", log="line 1\nboom\n", message="ValueError: boom").create == ()
    assert run.phase() == "Running"
    last = run.succeed("b")
    assert last.create == ()
    assert run.phase() == "Failed"
    assert run.phases() == {"a": "Failed", "b": "Completed", "after-a": "Skipped", "after-b": "Skipped"}
    assert run.status.tasks["after-b"].message == "not started: task 'a' failed"
    error = run.status.error
    assert error is not None
    assert (error.task, error.attempt, error.reason, error.exit_code) == ("a", 1, "Error", 1)
    assert error.message == "task 'a' failed: exit code 1: ValueError: boom"
    assert error.log_tail == "line 1\nboom"
    assert [event.reason for event in last.events] == ["Failed"]


def test_a_failure_is_recorded_once_its_log_is_there() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    pod = run.status.tasks["a"].pod or ""
    decision = run.fail("a", log=None)
    assert decision.need_logs == (pod,)
    assert run.phases()["a"] == "Running"
    # What ends meanwhile is recorded, and starts nothing.
    assert run.succeed("b").create == ()
    assert run.phases()["b"] == "Completed"
    run.change(log_tails={pod: "\n".join(f"line {number}" for number in range(100))})
    run.step()
    error = run.status.error
    assert error is not None
    assert (error.log_tail or "").splitlines() == [f"line {number}" for number in range(80, 100)]


def test_a_lost_task_waits_while_a_failure_waits_for_its_log() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    run.lose("b")
    assert run.fail("a", log=None).create == ()
    assert run.phases() == {"a": "Running", "b": "Retrying", "after-a": "Pending", "after-b": "Pending"}
    run.change(log_tails={run.status.tasks["a"].pod or "": ""})
    assert run.step().create == ()
    assert run.status.tasks["b"].reason == "PodLost"
    assert run.phase() == "Failed"


def test_only_the_first_failure_waits_for_a_log() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    run.pod("a", phase="Failed", exit_code=1)
    decision = run.fail("b", log="the log of b")
    assert decision.need_logs == ()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.task == "b"
    assert run.phases()["a"] == "Failed"


def test_the_log_tail_is_bounded() -> None:
    run = started({"name": "a"})
    run.fail("a", log="x" * 10_000 + "\x00end")
    assert run.status.error is not None
    assert len(run.status.error.log_tail or "") == 4096
    assert (run.status.error.log_tail or "").endswith("xend")


def test_a_lost_pod_gives_another_attempt_under_a_new_name() -> None:
    run = started({"name": "a"})
    first = run.status.tasks["a"].pod
    run.lose("a")
    run.later(seconds=5)
    decision = run.step()
    task = run.status.tasks["a"]
    assert (task.phase, task.attempt, task.lost) == ("Running", 2, 1)
    assert task.started_at == "2026-01-01T12:00:05Z"
    assert [request.name for request in decision.create] == [task.pod]
    assert task.pod != first
    assert [event.reason for event in decision.events] == ["TaskRestarted"]
    assert decision.retries == (Retry("task", "PodLost"),)


def test_a_pod_that_was_asked_for_is_waited_for() -> None:
    run = started({"name": "a"})
    run.lose("a")
    run.change(in_flight=frozenset({run.status.tasks["a"].pod or ""}))
    assert run.step().create == ()
    assert run.status.tasks["a"].attempt == 1


def test_a_task_whose_pods_keep_vanishing_fails() -> None:
    run = started({"name": "a"})
    for _ in range(MAX_LOST):
        run.lose("a")
        run.step()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.reason == "PodLost"
    assert run.status.error.attempt == MAX_LOST
    assert len({request.name for request in run.requests}) == len(run.requests) == MAX_LOST


def test_a_lost_task_is_not_started_again_once_another_failed() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    run.fail("a")
    run.lose("b")
    assert run.step().create == ()
    assert run.phases()["b"] == "Failed"
    assert run.status.tasks["b"].reason == "PodLost"
    assert run.status.error is not None
    assert run.status.error.task == "a"


def test_a_pod_that_is_being_deleted() -> None:
    run = started({"name": "a"})
    run.pod("a", phase="Running", deleting=True)
    assert run.step().create == ()
    run.fail("a", exit_code=143, deleting=True)
    assert (run.status.tasks["a"].attempt, run.status.tasks["a"].lost) == (2, 1)
    run.pod("a", deleting=True)
    run.succeed("a", {"n": 1})
    assert run.status.tasks["a"].output == {"n": 1}


def test_a_pod_that_appears_after_it_was_given_up_is_deleted() -> None:
    run = started({"name": "a"})
    late = run.snapshot.pods
    run.lose("a")
    run.step()
    run.change(pods={**run.snapshot.pods, **late})
    assert decide(run.snapshot, run.now).delete == tuple(late)


def test_a_refused_pod_fails_its_task_with_the_words_of_the_api_server() -> None:
    run = started({"name": "a"})
    pod = run.status.tasks["a"].pod or ""
    run.change(pods={}, refused={pod: "exceeded quota: team"})
    run.step()
    assert run.status.tasks["a"].reason == "PodRefused"
    assert "exceeded quota: team" in (run.status.tasks["a"].message or "")
    assert run.phase() == "Failed"


def test_a_timeout_fails_the_task_and_deletes_its_pod() -> None:
    run = started({"name": "a", "timeout": "1m"})
    run.pod("a", phase="Running")
    pod = run.status.tasks["a"].pod or ""
    assert run.step().wake_at == NOW + timedelta(seconds=61)
    run.later(seconds=61)
    decision = run.step()
    assert decision.need_logs == (pod,)
    assert decision.delete == ()
    run.change(log_tails={pod: "still working"})
    decision = run.step()
    assert decision.delete == (pod,)
    assert run.status.error is not None
    assert (run.status.error.reason, run.status.error.log_tail) == ("Timeout", "still working")
    assert "1m" in run.status.error.message


def test_a_timeout_does_not_run_while_the_artifact_service_is_down() -> None:
    run = started({"name": "a", "timeout": "1m"})
    run.pod("a", phase="Running")
    run.change(outages=(Outage(NOW + timedelta(seconds=30), None),))
    run.later(hours=1)
    assert run.step().wake_at is None
    assert run.phases()["a"] == "Running"
    back = NOW + timedelta(seconds=100)
    overlapping = Outage(NOW + timedelta(seconds=20), NOW + timedelta(seconds=50))
    run.change(outages=(Outage(NOW + timedelta(seconds=30), back), overlapping))
    run.now = back
    assert run.step().wake_at == NOW + timedelta(seconds=60 + 80 + 1)


def test_an_expression_without_a_value_fails_the_task_and_starts_nothing_beside_it() -> None:
    run = started({"name": "a"}, {"name": "b", "input": {"x": "${{ inputs.none }}"}}, {"name": "c"})
    assert run.requests == []
    assert run.phases() == {"a": "Skipped", "b": "Failed", "c": "Skipped"}
    assert run.phase() == "Failed"
    error = run.status.error
    assert error is not None
    assert (error.task, error.attempt, error.reason) == ("b", None, "EvalError")
    assert "spec.tasks[1].input.x: `inputs.none`: inputs has no 'none'" in error.message


def test_a_condition_that_is_neither_true_nor_false_fails_the_task() -> None:
    run = started({"name": "a", "when": "${{ workflow.version }}"})
    assert run.status.tasks["a"].reason == "EvalError"


def test_an_input_that_breaks_the_schema_fails_the_task_without_a_pod() -> None:
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    run = Run(compiled(spec({"name": "a", "input": {"n": "x"}}), agent(inputSchema=schema)))
    assert run.step().create == ()
    assert (run.status.tasks["a"].reason, run.requests) == ("InvalidInput", [])
    assert "input.n: 'x' is not of type 'integer'" in (run.status.tasks["a"].message or "")


def test_a_forged_reference_does_not_get_into_an_input() -> None:
    run = started({"name": "a", "input": {"x": "${{ {'$artifact': 'stolen', 'size': 1, 'sha256': 'x'} }}"}})
    assert run.status.tasks["a"].reason == "InvalidInput"
    assert "no task of this Execution gave" in (run.status.tasks["a"].message or "")


def test_outputs_without_a_value_fail_the_execution() -> None:
    workflow = spec({"name": "a", "when": "${{ false }}"}, outputs={"n": "${{ tasks.a.output.n }}"})
    run = Run(compiled(workflow))
    run.step()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert (run.status.error.task, run.status.error.reason) == (None, "EvalError")
    assert "task 'a' was skipped" in run.status.error.message


def test_a_revision_that_is_gone_fails_the_execution() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    pods = set(run.snapshot.pods)
    run.change(revision=None)
    decision = run.step()
    assert run.phase() == "Failed"
    assert run.status.error is not None
    assert run.status.error.reason == "InvalidRevision"
    assert set(decision.delete) == pods


def test_a_status_a_part_of_which_is_gone_fails_the_execution() -> None:
    run = Run(compiled(TWO_BRANCHES))
    run.step()
    pods = set(run.snapshot.pods)
    run.change(unreadable="what status.archive refers to cannot be read: there is no artifact x")
    decision = run.step()
    assert (run.phase(), set(decision.delete)) == ("Failed", pods)
    assert run.status.error is not None
    assert (run.status.error.reason, run.status.error.task) == ("ArchiveLost", None)
    assert "status.archive" in run.status.error.message


def test_the_tables_know_no_other_way() -> None:
    check_execution_transition("Pending", "Running")
    check_task_transition("Running", "Retrying")
    for source, target in (("Completed", "Running"), ("Failed", "Running"), ("Running", "Retrying")):
        with pytest.raises(IllegalTransition, match=f"from {source} to {target}"):
            check_execution_transition(source, target)  # type: ignore[arg-type]
    with pytest.raises(IllegalTransition):
        check_task_transition("Skipped", "Running")
