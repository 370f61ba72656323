"""An Execution from start to end, without anything going wrong."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from ossa.engine.decide import decide
from tests.unit.engine.world import Run, compiled, reference, spec

PIPELINE = spec(
    {"name": "ingest", "input": {"dataset": "${{ inputs.dataset }}"}},
    {"name": "validate", "input": {"records": "${{ tasks.ingest.output.records }}"}},
    {"name": "score", "dependsOn": ["validate"]},
    inputs={"type": "object", "properties": {"dataset": {"type": "string", "default": "wine"}}},
    outputs={"count": "${{ tasks.validate.output.count }}", "by": "${{ workflow.name }} ${{ workflow.version }}"},
)


def test_it_runs_along_the_graph_to_the_end() -> None:
    run = Run(compiled(PIPELINE))
    first = run.step()
    assert [request.task for request in first.create] == ["ingest"]
    assert first.create[0].input == {"dataset": "wine"}
    assert first.create[0].identity.key == "uid-run/ingest/0/1"
    assert run.phase() == "Running"
    assert run.status.progress == "0/3"
    assert run.status.revision == run.revision.name
    assert run.status.inputs == {"dataset": "wine"}
    assert [event.reason for event in first.events] == ["Started"]

    second = run.succeed("ingest", {"records": [1, 2]})
    assert [request.input for request in second.create] == [{"records": [1, 2]}]
    assert run.status.progress == "1/3"
    run.later(seconds=72)
    run.succeed("validate", {"count": 2})
    last = run.succeed("score")

    assert run.phase() == "Completed"
    assert run.status.outputs == {"count": 2, "by": "flow 1.0.0"}
    assert run.status.progress == "3/3"
    assert run.status.duration == "1m12s"
    assert {held.type: held.status for held in run.status.conditions} == {"Finished": "True", "Succeeded": "True"}
    assert [event.reason for event in last.events] == ["Completed"]


def test_what_has_nothing_to_wait_for_starts_at_once() -> None:
    run = Run(compiled(spec({"name": "a"}, {"name": "b"}, {"name": "c", "dependsOn": ["a", "b"]})))
    assert [request.task for request in run.step().create] == ["a", "b"]
    assert run.succeed("b").create == ()
    assert [request.task for request in run.succeed("a").create] == ["c"]


def test_nothing_changes_while_pods_run() -> None:
    run = Run(compiled(PIPELINE))
    run.step()
    run.pod("ingest", phase="Running")
    before = run.status
    decision = decide(run.snapshot, run.now)
    assert decision.status is before
    assert not [*decision.create, *decision.delete, *decision.events]


def test_a_false_condition_skips_the_task_and_what_depends_on_it() -> None:
    run = Run(
        compiled(
            spec(
                {"name": "count"},
                {"name": "maybe", "when": "${{ tasks.count.output.n > 0 }}"},
                {"name": "then", "dependsOn": ["maybe"]},
            )
        )
    )
    run.step()
    run.succeed("count", {"n": 0})
    assert run.phases() == {"count": "Completed", "maybe": "Skipped", "then": "Skipped"}
    assert "tasks.count.output.n > 0" in (run.status.tasks["maybe"].message or "")
    assert "'maybe'" in (run.status.tasks["then"].message or "")
    assert run.phase() == "Completed"
    assert run.status.progress == "3/3"


def test_artifacts_are_passed_on_and_out() -> None:
    workflow = spec(
        {"name": "a"},
        {"name": "b", "input": {"records": "${{ tasks.a.output.records }}"}},
        outputs={"records": "${{ tasks.b.output.records }}"},
    )
    run = Run(compiled(workflow))
    run.change(issued=lambda ref, pod_uid: pod_uid.startswith("uid-run-a-") and ref.id == "id-1")
    run.step()
    assert run.succeed("a", {"records": reference()}).create[0].input == {"records": reference()}
    run.succeed("b", {"records": reference()})
    assert run.status.outputs == {"records": reference()}


def test_a_task_whose_main_ended_is_done_though_sidecars_run() -> None:
    run = Run(compiled(spec({"name": "a"})))
    run.step()
    name = run.status.tasks["a"].pod
    run.pod("a", phase="Running", exit_code=0, message='{"n": 3.0}', containers=2)
    decision = run.step()
    assert run.status.tasks["a"].output == {"n": 3}
    assert decision.delete == (name,)


def test_a_pod_that_cannot_be_created_yet_says_why_and_its_timeout_does_not_run() -> None:
    run = Run(compiled(spec({"name": "a", "timeout": "1m"})))
    run.step()
    created = dict(run.snapshot.pods)
    pod = run.status.tasks["a"].pod or ""
    run.change(pods={}, in_flight=frozenset({pod}), held={pod: "exceeded quota: few"})
    run.now += timedelta(minutes=5)
    assert run.step().create == ()
    assert run.status.message == "task a: its pod cannot be created yet: exceeded quota: few"
    run.change(pods={pod: replace(created[pod], created_at=run.now)}, in_flight=frozenset(), held={})
    run.step()
    assert run.phase() == "Running"
    run.now += timedelta(minutes=2)
    run.change(log_tails={pod: ""})
    run.step()
    assert run.status.tasks["a"].reason == "Timeout"


def test_a_pod_whose_only_container_ended_is_kept_for_its_log() -> None:
    run = Run(compiled(spec({"name": "a"})))
    run.step()
    run.pod("a", phase="Running", exit_code=3)
    assert run.step().need_logs
    run.change(log_tails={run.status.tasks["a"].pod or "": "why"})
    assert run.step().delete == ()
    assert run.phase() == "Failed"
    assert run.step().delete == ()


def test_a_finished_execution_stays_as_it_is() -> None:
    run = Run(compiled(spec({"name": "a"})))
    run.step()
    run.succeed("a")
    for pods in (run.snapshot.pods, {}):
        run.change(pods=pods, revision=None, workflow=None)
        decision = decide(run.snapshot, run.now)
        assert decision.status is run.status
        assert not [*decision.create, *decision.events]


def test_an_execution_that_is_being_deleted_starts_nothing() -> None:
    run = Run(compiled(spec({"name": "a"})))
    metadata = run.snapshot.execution.metadata.model_copy(update={"deletion_timestamp": "2026-01-01T00:00:00Z"})
    run.change(execution=run.snapshot.execution.model_copy(update={"metadata": metadata}))
    assert run.step().create == ()
    assert run.phase() == "Pending"
