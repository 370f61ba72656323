"""What two states of an object tell."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ossa.api.base import JSONObject
from ossa.api.execution import ArchivedPart, ExecutionStatus, ItemsStatus, TaskStatus
from ossa.bus.messages import DECISIONS, RESULTS, STATUS_UPDATES, TASK_ASSIGNMENT, Event
from ossa.engine.packing import packed, phases_alone
from ossa.engine.ranges import format_ranges, parse_ranges
from ossa.engine.states import EXECUTION_EDGES, TASK_EDGES
from ossa.engine.units import Unit
from ossa.monitor.approvalchanges import approval_events
from ossa.monitor.changes import Cast, channels_of, execution_events
from ossa.monitor.measures import metrics_of
from ossa.monitor.steps import steps_of
from tests.unit.monitor.states import FINISHED, UID, approval, execution

SEEN = datetime(2026, 1, 1, 13, 0, tzinfo=UTC)
CAST = Cast({"load": "loader", "verdict": "judge"}, frozenset({"judge"}))


def told(before: JSONObject | None, now: JSONObject | None, version: int = 2) -> list[Event]:
    return execution_events(before, now, version=version, seen=SEEN, cast=CAST)


def brief(events: Sequence[Event]) -> list[tuple[str, Any, Any, str]]:
    return [(event.type, event.task, event.index, event.phase) for event in events]


RUNNING = {"load": {"phase": "Running", "attempt": 1, "startedAt": "2026-01-01T12:00:05Z"}}
DONE = {
    "load": {
        "phase": "Completed",
        "attempt": 1,
        "startedAt": "2026-01-01T12:00:05Z",
        "completedAt": "2026-01-01T12:00:09Z",
        "output": {"rows": 3},
    }
}


def test_a_task_that_starts_is_an_assignment() -> None:
    before = execution("Pending", 1)
    (whole, task) = told(
        before, execution("Running", 2, tasks=RUNNING, progress="0/1", startedAt="2026-01-01T12:00:04Z")
    )
    assert (whole.type, whole.phase, whole.previous) == ("execution", "Running", "Pending")
    assert whole.time == datetime(2026, 1, 1, 12, 0, 4, tzinfo=UTC)
    assert (task.task, task.agent, task.attempt, task.progress) == ("load", "loader", 1, "0/1")
    assert task.time == datetime(2026, 1, 1, 12, 0, 5, tzinfo=UTC)
    assert channels_of(task) == (STATUS_UPDATES, TASK_ASSIGNMENT)
    assert channels_of(whole) == (STATUS_UPDATES,)


def test_the_end_is_told_after_what_it_ended_with_and_carries_the_results() -> None:
    ended = execution(
        "Completed", 3, tasks=DONE, conditions=FINISHED, outputs={"n": 1}, completedAt="2026-01-01T12:00:10Z"
    )
    (task, whole) = told(execution("Running", 2, tasks=RUNNING), ended, 3)
    assert task.output == {"rows": 3}
    assert whole.output == {"n": 1}
    assert whole.final
    assert {channels_of(task), channels_of(whole)} == {(STATUS_UPDATES, RESULTS)}


def test_nothing_new_says_nothing_and_the_same_has_the_same_id() -> None:
    state = execution("Running", 2, tasks=RUNNING)
    assert told(state, state) == []
    first, again = told(None, state), told(execution("Pending", 1), execution("Running", 5, tasks=RUNNING), 5)
    assert [event.id for event in first] == [event.id for event in again]


def test_each_attempt_and_each_round_is_another_event() -> None:
    phases = [
        ("Running", 1),
        ("Retrying", 1),
        ("Running", 2),
        ("Failed", 2),
        ("Pending", 2),
        ("Running", 3),
        ("Failed", 3),
    ]
    states = [
        execution("Running", number, tasks={"load": {"phase": phase, "attempt": attempt}}, attempt=1 + (number > 3))
        for number, (phase, attempt) in enumerate(phases)
    ]
    events = [told(before, now) for before, now in zip([None, *states], states, strict=False)]
    ids = [event.id for held in events for event in held if event.type == "task"]
    assert len(set(ids)) == len(phases)


def test_an_execution_that_pauses_twice_says_so_twice() -> None:
    states = [execution(phase, n, observedGeneration=n) for n, phase in enumerate(["Running", "Paused"] * 2, 1)]
    events = [told(before, now) for before, now in zip([None, *states], states, strict=False)]
    assert len({event.id for held in events for event in held}) == 4


def test_items_are_told_of_readable_and_of_ranges() -> None:
    items = {"total": 40, "started": 31, "completed": 3, "failed": "3-4", "running": "5-30"}
    items["active"] = {"4": {"phase": "Running", "attempt": 2}}
    items["failed"] = "3"
    tasks: JSONObject = {"map": {"phase": "Running", "items": items}}
    events = told(execution("Pending", 1), execution("Running", 2, tasks=tasks))
    by_item = {event.index: event.phase for event in events if event.index is not None}
    assert by_item == {0: "Completed", 1: "Completed", 2: "Completed", 3: "Failed", 4: "Running"} | dict.fromkeys(
        range(5, 31), "Running"
    )


def test_a_denial_is_a_decision_with_its_policy() -> None:
    denied = {"phase": "Failed", "reason": "PolicyDenied", "policy": "no-risk", "policyVersion": 4, "message": "no"}
    events = told(None, execution("Running", 2, tasks={"load": denied}))
    (decision,) = [event for event in events if event.type == "decision"]
    assert (decision.phase, decision.policy, decision.message) == ("Denied", "no-risk@4", "no")
    assert channels_of(decision) == (DECISIONS,)
    whole = execution("Failed", 2, error={"reason": "PolicyDenied", "policy": "no-risk", "policyVersion": 4})
    assert ("decision", None, None, "Denied") in brief(told(execution("Pending", 1), whole))


def test_what_a_judge_gives_is_a_decision_too() -> None:
    events = told(None, execution("Running", 2, tasks={"verdict": {"phase": "Completed", "output": {"accept": True}}}))
    (decision,) = [event for event in events if event.type == "decision"]
    assert (decision.phase, decision.agent, decision.output) == ("Judged", "judge", {"accept": True})


def test_denials_that_did_not_bind_are_each_told_once() -> None:
    one = {"policy": "a", "policyVersion": 1, "at": "start", "time": "2026-01-01T12:00:00Z"}
    two = {"policy": "b", "policyVersion": 2, "at": "task", "task": "load", "time": "2026-01-01T12:00:01Z"}
    before, now = execution("Running", 1, overruled=[one]), execution("Running", 2, overruled=[one, two])
    (event,) = told(before, now)
    assert (event.phase, event.policy, event.task) == ("Overruled", "b@2", "load")


def test_one_that_is_deleted_before_its_end_says_so() -> None:
    (event,) = told(execution("Running", 1), None)
    assert (event.phase, event.final) == ("Deleted", True)
    assert told(execution("Completed", 1, conditions=FINISHED), None) == []
    assert told(None, None) == []


def test_an_approval_tells_its_state_and_each_decision_once() -> None:
    yes = {"alice": {"verdict": "Approved", "reason": "fine"}}

    def tell(before: JSONObject | None, now: JSONObject | None) -> list[Event]:
        return approval_events(before, now, version=7, seen=SEEN)

    (asked,) = tell(None, approval())
    assert (asked.phase, asked.execution, asked.uid, asked.task) == ("Pending", "run", UID, "release")
    (decision,) = tell(approval(), approval(decisions=yes))
    assert (decision.type, decision.phase, decision.user, decision.reason) == ("decision", "Approved", "alice", "fine")
    (state,) = tell(approval(decisions=yes), approval("Approved", decisions=yes))
    assert (state.type, state.phase, state.previous) == ("approval", "Approved", "Pending")
    assert channels_of(state) == (STATUS_UPDATES, DECISIONS)
    assert tell(approval("Approved"), None) == []
    (gone,) = tell(approval(), None)
    assert (gone.type, gone.phase, gone.task) == ("approval", "Deleted", "release")


def test_what_has_ended_is_measured_once() -> None:
    ended = execution("Completed", 3, tasks=DONE, conditions=FINISHED)
    ended["status"] |= {"startedAt": "2026-01-01T12:00:04Z", "completedAt": "2026-01-01T12:00:10Z"}
    metrics = metrics_of(told(execution("Running", 2, tasks=RUNNING), ended, 3), ended)
    assert {(metric.name, metric.value) for metric in metrics} == {
        ("task_duration_seconds", 4.0),
        ("task_attempts", 1.0),
        ("execution_duration_seconds", 6.0),
        ("execution_attempts", 1.0),
    }
    assert {metric.agent for metric in metrics if metric.name.startswith("task")} == {"loader"}
    again = metrics_of(told(None, ended, 9), ended)
    assert {metric.id for metric in metrics} == {metric.id for metric in again}


def test_what_comes_by_the_gateway_or_a_trigger_says_so_and_keeps_its_trace() -> None:
    state = execution("Pending")
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    state["metadata"]["annotations"] = {
        "ossa.dev/request-id": "r",
        "ossa.dev/traceparent": f"00-{trace}-00f067aa0ba902b7-01",
        "ossa.dev/created-by": "ossa:alice",
        "ossa.dev/author": "ossa:bob",  # who paused it, say
    }
    (event,) = told(None, state)
    assert (event.source, event.trace_id, event.user) == ("api", trace, "ossa:alice")
    state["metadata"]["annotations"]["ossa.dev/source"] = "websocket"
    assert told(None, state)[0].source == "websocket"
    state["metadata"]["annotations"]["ossa.dev/source"] = "nowhere"  # anybody may write it
    assert told(None, state)[0].source == "api"
    state["metadata"]["labels"] = {"ossa.dev/trigger": "nightly"}
    assert told(None, state)[0].source == "scheduler"


# Walks along the edges of the state machines, as the reconciler may make them between any two writes.
NEXT = {source: sorted({edge.target for edge in TASK_EDGES if edge.source == source}) for source in
        {edge.source for edge in TASK_EDGES}}  # fmt: skip
WHOLE = {source: sorted({edge.target for edge in EXECUTION_EDGES if edge.source == source}) for source in
         {edge.source for edge in EXECUTION_EDGES}}  # fmt: skip
NAMES = ("a", "b", "c")


@st.composite
def histories(draw: st.DrawFn) -> list[ExecutionStatus]:
    status = ExecutionStatus(tasks={name: TaskStatus() for name in NAMES} | {"map": TaskStatus(items=_items())})
    states = [status]
    for _ in range(draw(st.integers(1, 12))):
        status = draw(st.sampled_from([_task_moves, _item_moves, _execution_moves]))(draw, status)
        states.append(status)
    return states


def _items() -> ItemsStatus:
    return ItemsStatus(total=30)


def _task_moves(draw: st.DrawFn, status: ExecutionStatus) -> ExecutionStatus:
    name = draw(st.sampled_from(NAMES))
    task = status.tasks[name]
    targets = [phase for phase in NEXT.get(task.phase, []) if phase != "Pending"]
    if not targets:
        return status
    phase = draw(st.sampled_from(targets))
    attempt = task.attempt + (phase in ("Running", "Waiting"))
    moved = task.model_copy(update={"phase": phase, "attempt": attempt})
    return status.model_copy(update={"tasks": {**status.tasks, name: moved}})


def _item_moves(draw: st.DrawFn, status: ExecutionStatus) -> ExecutionStatus:
    task = status.tasks["map"]
    items = task.items
    assert items is not None
    active, failed, started = dict(items.active), parse_ranges(items.failed), items.started
    for _ in range(draw(st.integers(0, 25))):
        if started < items.total:
            active[str(started)] = TaskStatus(phase="Running", attempt=1)
            started += 1
    for index in draw(st.lists(st.sampled_from(sorted(active)), unique=True)) if active else []:
        end = draw(st.sampled_from(["Completed", "Failed", "Retrying"]))
        item = active.pop(index)
        if end == "Failed":
            failed.add(int(index))
        elif end == "Retrying":
            active[index] = item.model_copy(update={"phase": "Retrying"})
    moved = items.model_copy(update={"active": active, "failed": format_ranges(failed), "started": started})
    task = task.model_copy(update={"phase": "Running", "items": moved})
    return status.model_copy(update={"tasks": {**status.tasks, "map": task}})


def _execution_moves(draw: st.DrawFn, status: ExecutionStatus) -> ExecutionStatus:
    targets = WHOLE.get(status.phase, [])
    if not targets:
        return status
    phase = draw(st.sampled_from(targets))
    changes: dict[str, Any] = {"phase": phase}
    if "Paused" in (phase, status.phase):
        changes["observed_generation"] = status.observed_generation + 1
    if status.phase == "Retrying" and phase != "Failed":
        changes["attempt"] = status.attempt + 1
        changes["tasks"] = {
            name: TaskStatus(attempt=task.attempt) if task.phase in ("Failed", "Skipped") else task
            for name, task in status.tasks.items()
        }
    return status.model_copy(update=changes)


@given(histories(), st.data())
def test_folding_by_sequence_gives_the_final_phases_whatever_was_skipped_doubled_or_reordered(
    states: list[ExecutionStatus], data: st.DataObject
) -> None:
    hidden = data.draw(st.booleans(), label="tasks lie in an artifact")
    part = ArchivedPart(id="id", size=1, sha256="0" * 64)
    written = [phases_alone(packed(one, []), part) if hidden else packed(one, []) for one in states]
    objects = []
    for number, status in enumerate(written, 1):
        objects.append(execution("", number) | {"status": status.to_json()})
    chosen = sorted(data.draw(st.sets(st.sampled_from(range(len(objects)))), label="seen") | {len(objects) - 1})
    events: list[Event] = []
    before: JSONObject | None = None
    for place in chosen:
        known = before if data.draw(st.booleans(), label="the state before is known") else None
        events += told(known, objects[place], version=place + 1)
        before = objects[place]
    doubled = data.draw(
        st.permutations(events + data.draw(st.lists(st.sampled_from(events)) if events else st.just([])))
    )
    last: dict[object, Event] = {}
    for event in doubled:
        key = event.type if event.type != "task" else Unit(event.task or "", event.index)
        if key not in last or event.sequence >= last[key].sequence:
            last[key] = event
    assert last["execution"].phase == states[-1].phase
    for unit, step in steps_of(ExecutionStatus.model_validate(objects[-1]["status"])).items():
        assert (last[unit].phase if unit in last else "Pending") == step.phase, unit
    # Whoever drops what they know by its id misses nothing either: no id means two things.
    meanings = {(event.id, event.type, event.task, event.index, event.phase) for event in events}
    assert len(meanings) == len({event.id for event in events})
