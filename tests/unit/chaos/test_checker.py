"""The checker finds what is planted, and nothing where all is well."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from ossa.api.contract import ANNOTATION_IDENTITY, ANNOTATION_SCHEDULED_AT, LABEL_TRIGGER, TaskIdentity
from tests.chaos.checker import check
from tests.chaos.model import expected
from tests.chaos.records import Evidence, ExecutionSeen, FaultLog, PodSeen, Run

JSONObject = dict[str, Any]

STEP = {"add": 1, "ms": 100, "fail": 0, "rounds": 0}
CHAIN = {"steps": {"a": STEP, "b": {**STEP, "fail": 1}, "c": STEP, "d": STEP}}


def run(task: str, started: float, ended: float | None, *, pod: str = "", **more: Any) -> Run:
    held: JSONObject = {"index": 0, "round": 1, "attempt": 1, "lost": 0, "epoch": 1, "locks": (), **more}
    name = pod or f"{task}-{held['attempt']}"
    outcome = held.pop("outcome", "succeeded")
    fields = {"execution": "e", "execution_uid": "eu", "node": "n", **held}
    return Run(pod=name, uid=f"u-{name}", task=task, started=started, ended=ended, outcome=outcome, **fields)


def finished(workflow: str = "chain", inputs: JSONObject = CHAIN, *, name: str = "e") -> ExecutionSeen:
    want = expected(workflow, inputs)
    status: JSONObject = {
        "phase": want.phase,
        "outputs": want.outputs,
        "attempt": want.round,
        "tasks": {task: {"phase": phase, "attempt": 1} for task, phase in want.tasks.items()},
        "conditions": [{"type": "Finished", "status": "True"}],
    }
    metadata = {"name": name, "uid": f"{name}u", "resourceVersion": "9"}
    held = ExecutionSeen(
        {"metadata": metadata, "spec": {"workflow": workflow, "inputs": inputs}, "status": status}, 0, 1
    )
    held.phases = [("Pending", 0.0, 1), ("Running", 1.0, 2), (want.phase, 9.0, 9)]
    return held


def well() -> Evidence:
    """A chain whose second task failed once, as planned."""
    runs = [
        run("a", 1, 2),
        run("b", 3, 4, outcome="failed"),
        run("b", 5, 6, attempt=2),
        run("c", 6.5, 7),
        run("d", 7.5, 8),
    ]
    pods = {r.uid: PodSeen(r.pod, r.uid, "eu", r.epoch, n) for n, r in enumerate(runs)}
    return Evidence(runs, pods, {"eu": finished()}, FaultLog(), {"e": {}})


def test_all_is_well() -> None:
    assert check(well()) == []


def taken(evidence: Evidence, *pods: str) -> None:
    for pod in pods:
        evidence.faults.took(f"u-{pod}", at_once=False)


def status(evidence: Evidence) -> JSONObject:
    held: JSONObject = evidence.executions["eu"].item["status"]
    return held


def _runs_twice(evidence: Evidence) -> None:
    evidence.runs.append(run("d", 8.1, 8.5, pod="d-again", epoch=2))


def _runs_on_after_it_was_deleted(evidence: Evidence) -> None:
    """The first of the two was left alone: that the second was deleted is no reason for it."""
    _runs_twice(evidence)
    taken(evidence, "d-again")


def _too_many_attempts(evidence: Evidence) -> None:
    evidence.runs.append(run("b", 6.1, 6.4, attempt=3))


def _too_early(evidence: Evidence) -> None:
    evidence.runs[3].started = 5.5


def _skipped_runs(evidence: Evidence) -> None:
    evidence.runs.append(run("z", 8, 9))


def _old_leader(evidence: Evidence) -> None:
    pods = list(evidence.pods.values())
    pods[1].epoch = 2


def _left(evidence: Evidence) -> None:
    identity = TaskIdentity(namespace="n", execution="e", uid="eu", workflow="chain", task="d")
    metadata = {"name": "d-1", "annotations": {ANNOTATION_IDENTITY: identity.model_dump_json()}}
    evidence.left.append({"metadata": metadata, "status": {"phase": "Running"}})


def _locks(evidence: Evidence) -> None:
    evidence.runs[0].locks = ("mutex-x",)
    evidence.runs.append(run("a", 1.5, 1.8, execution="f", execution_uid="fu", locks=("mutex-x",)))


def _wrong_output(evidence: Evidence) -> None:
    status(evidence)["outputs"] = {"value": 0}


def _wrong_phase(evidence: Evidence) -> None:
    status(evidence)["phase"] = "Failed"


def _wrong_task(evidence: Evidence) -> None:
    status(evidence)["tasks"]["c"]["phase"] = "Skipped"


def _not_finished(evidence: Evidence) -> None:
    status(evidence)["conditions"] = []


def _goes_on(evidence: Evidence) -> None:
    evidence.executions["eu"].phases.append(("Running", 9.5, 10))


def _gone(evidence: Evidence) -> None:
    evidence.executions["eu"].gone = True


def _never_seen(evidence: Evidence) -> None:
    assert isinstance(evidence.launched, dict)
    evidence.launched["other"] = {}


def _lost(evidence: Evidence) -> None:
    status(evidence)["tasks"]["c"]["lost"] = 1


def _cancelled_by_nobody(evidence: Evidence) -> None:
    status(evidence).update(phase="Failed", error={"reason": "Cancelled", "message": "…"}, outputs=None)


PLANTED: dict[str, Callable[[Evidence], None]] = {
    "a task ran twice": _runs_twice,
    "a task ran twice ": _runs_on_after_it_was_deleted,
    "number of attempts": _too_many_attempts,
    "order of tasks": _too_early,
    "a task that must not run": _skipped_runs,
    "a pod of an old leader": _old_leader,
    "a pod is left": _left,
    "a lock is held twice": _locks,
    "result: outputs": _wrong_output,
    "result: phase": _wrong_phase,
    "result: phase ": _cancelled_by_nobody,
    "result: tasks": _wrong_task,
    "an Execution does not end": _not_finished,
    "an Execution goes on after its end": _goes_on,
    "an Execution vanished": _gone,
    "an Execution vanished ": _never_seen,
    "attempts lost without a reason": _lost,
}


@pytest.mark.parametrize("rule", PLANTED)
def test_what_is_planted_is_found(rule: str) -> None:
    evidence = well()
    PLANTED[rule](evidence)
    assert rule.strip() in {finding.rule for finding in check(evidence)}


def test_a_pod_that_was_taken_away_runs_again() -> None:
    evidence = well()
    evidence.runs.insert(4, run("d", 7.2, 7.4, pod="d-0", outcome="killed"))
    evidence.runs[5].attempt, evidence.runs[5].lost = 2, 1
    status(evidence)["tasks"]["d"].update(attempt=2, lost=1)
    taken(evidence, "d-0")
    assert check(evidence) == []


def test_a_task_runs_again_beside_its_successor_where_its_end_was_taken_before_anybody_knew() -> None:
    evidence = well()
    first, after = evidence.runs[0], evidence.runs[1]
    again = run(first.task, after.started - 0.1, after.started + 0.5, pod="a-again", attempt=first.attempt + 1)
    again.lost = 1
    evidence.runs.append(again)
    status(evidence)["tasks"][first.task].update(attempt=2, lost=1)
    evidence.faults.leaders.append(first.started)
    assert "order of tasks" in {finding.rule for finding in check(evidence)}
    taken(evidence, first.pod)
    assert check(evidence) == []


def test_an_attempt_may_be_lost_where_its_creation_was_not_answered_or_a_reconciler_died() -> None:
    for explained in (True, False):
        evidence = well()
        _lost(evidence)
        if explained:
            evidence.faults.posts["e-c-0123456789"] += 1
        else:
            evidence.faults.leaders.append(5.0)
        assert check(evidence) == []


def test_a_pod_deleted_by_force_holds_no_lock() -> None:
    evidence = well()
    _locks(evidence)
    evidence.faults.pods["u-a-1"], evidence.faults.forced = 1.4, {"u-a-1"}
    assert "a lock is held twice" not in {finding.rule for finding in check(evidence)}
    evidence.faults.pods["u-a-1"] = 1.6
    assert "a lock is held twice" in {finding.rule for finding in check(evidence)}


def test_what_was_cancelled_may_end_either_way() -> None:
    evidence = well()
    evidence.faults.cancelled.add("e")
    assert check(evidence) == []
    _cancelled_by_nobody(evidence)
    del evidence.runs[2:]
    assert check(evidence) == []


def test_finally_runs_after_a_cancellation() -> None:
    inputs = {"steps": dict.fromkeys(("a", "b", "c", "tell"), STEP)}
    held = finished("doomed", inputs)
    evidence = Evidence([], {}, {"eu": held}, FaultLog(cancelled={"e"}), {"e": {}})
    _cancelled_by_nobody(evidence)
    held.item["status"]["tasks"]["tell"]["output"] = {"note": "Failed:"}
    assert check(evidence) == []
    held.item["status"]["tasks"]["tell"]["phase"] = "Skipped"
    assert {finding.rule for finding in check(evidence)} == {"`finally` after a cancellation"}


def triggered(trigger: str, minute: int, created: int, ended: int) -> ExecutionSeen:
    name = f"{trigger}-{minute}"
    held = finished("scheduled", {"steps": {"only": STEP}}, name=name)
    held.item["metadata"]["labels"] = {LABEL_TRIGGER: trigger}
    held.item["metadata"]["annotations"] = {ANNOTATION_SCHEDULED_AT: f"2026-01-01T00:{minute:02}:00Z"}
    held.created, held.phases = created, [("Pending", 0.0, created), ("Completed", 1.0, ended)]
    return held


def schedules(*held: ExecutionSeen) -> set[str]:
    evidence = Evidence([], {}, {str(n): one for n, one in enumerate(held)}, FaultLog(), {})
    return {f.rule for f in check(evidence) if "schedule" in f.rule}


def test_schedules() -> None:
    first, second = triggered("one-at-a-time", 1, 1, 5), triggered("one-at-a-time", 2, 6, 9)
    assert schedules(first, second) == set()
    assert schedules(first, deepcopy(first)) == {"a schedule fired twice"}
    assert schedules(first, triggered("one-at-a-time", 3, 6, 9)) == {"a schedule left something out"}
    assert schedules(first, triggered("one-at-a-time", 2, 4, 9)) == {"a schedule overlaps"}
    assert schedules(triggered("every-minute", 1, 1, 5), triggered("every-minute", 2, 2, 9)) == set()
