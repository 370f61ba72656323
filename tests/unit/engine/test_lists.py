"""A forEach over a list that lies in the artifact service."""

from __future__ import annotations

import json
from typing import Any

import pytest

from ossa.engine.decision import Decision
from ossa.engine.snapshot import ListValue
from tests.unit.engine.world import Run, compiled, reference, spec

LIST = {"items": "${{ tasks.a.output.list }}", "parallelism": 2}
EACH = {"name": "each", "forEach": LIST, "input": {"x": "${{ item }}"}}


def made(given: Any = None, **each: Any) -> Run:
    """A task has given a reference to a list."""
    run = Run(compiled(spec({"name": "a"}, {**EACH, **each})))
    run.change(issued=lambda _ref, uid: uid == run.snapshot.pods[run.pod_of("a")].uid)
    run.step()
    run.succeed("a", {"list": reference() if given is None else given})
    return run


def read(run: Run, value: ListValue, number: int = 1) -> Decision:
    """The operator has read the list, or has tried to."""
    run.change(values={f"id-{number}": value})
    return run.step()


def said(run: Run) -> str | None:
    return run.status.tasks["each"].message


def test_it_is_asked_for_and_gone_over() -> None:
    run = made()
    assert [ref.to_json() for ref in run.last.need_values] == [reference()]
    assert (run.last.create, run.status.tasks["each"].phase) == ((), "Pending")
    decision = read(run, ListValue(["x", "y", "z"]))
    assert decision.need_values == ()
    assert [request.input for request in decision.create] == [{"x": "x"}, {"x": "y"}]
    assert [request.input for request in run.succeed("each[0]", {"n": 0}).create] == [{"x": "z"}]
    run.succeed("each[1]", {"n": 1})
    run.succeed("each[2]", {"n": 2})
    assert run.phase() == "Completed"


def test_over_an_empty_list_it_is_completed() -> None:
    run = made()
    read(run, ListValue([]))
    assert run.phase() == "Completed"


def test_while_it_cannot_be_read_the_task_waits_and_says_so() -> None:
    run = made()
    assert read(run, ListValue(waits="the service is away")).need_values == ()
    assert said(run) == "its items cannot be read yet: the service is away"
    assert (run.phases()["each"], run.phase(), run.status.message) == ("Pending", "Running", f"task each: {said(run)}")
    run.later(days=1)
    assert (run.step().create, run.phase()) == ((), "Running")
    run.change(values={})
    assert len(run.step().need_values) == 1
    read(run, ListValue(["x"]))
    assert (said(run), run.status.message) == (None, None)
    assert [request.input for request in run.last.create] == [{"x": "x"}]


def test_after_a_restart_it_is_asked_for_when_an_item_is_to_start() -> None:
    run = made()
    read(run, ListValue(["x", "y", "z"]))
    run.change(values={})
    assert run.step().need_values == ()
    decision = run.succeed("each[0]", {})
    assert len(decision.need_values) == 1
    assert read(run, ListValue(waits="away")).create == ()
    assert said(run) == "its items cannot be read yet: away"
    run.succeed("each[1]", {})
    assert [request.input for request in read(run, ListValue(["x", "y", "z"])).create] == [{"x": "z"}]
    assert said(run) is None
    run.succeed("each[2]", {})
    assert run.phase() == "Completed"


def test_what_is_no_list_fails_the_task() -> None:
    run = made()
    read(run, ListValue(problem="the artifact is JSON, and no list"))
    task = run.status.tasks["each"]
    assert (task.reason, task.message) == ("InvalidInput", "forEach.items: the artifact is JSON, and no list")


def test_a_reference_that_no_task_gave_is_not_read() -> None:
    forged = reference(2)
    run = made(forEach={"items": "${{ " + json.dumps(forged).replace('"', "'") + " }}"}, dependsOn=["a"])
    assert run.last.need_values == ()
    task = run.status.tasks["each"]
    assert task.reason == "InvalidInput"
    assert "no task of this Execution gave" in (task.message or "")


@pytest.mark.parametrize("stored_by_operator", [False, True])
def test_references_within_count_where_the_operator_has_stored_them(stored_by_operator: bool) -> None:
    run = made()
    read(run, ListValue([{"rows": reference(7)}], references=stored_by_operator))
    task = run.status.tasks["each"]
    if stored_by_operator:
        assert [request.input for request in run.requests[1:]] == [{"x": {"rows": reference(7)}}]
        run.succeed("each[0]", {"same": reference(7)})
        assert run.phase() == "Completed"
    else:
        assert task.reason == "InvalidInput"
        assert "no task of this Execution gave" in (task.message or "")


def test_a_failed_item_is_judged_when_its_value_is_there() -> None:
    """A condition of another attempt may ask about the item."""
    run = made(retry={"maxAttempts": 2, "when": "${{ item == 'x' }}", "reasons": ["Error"]})
    read(run, ListValue(["x", "y"]))
    run.change(values={})
    assert len(run.fail("each[0]").need_values) == 1
    read(run, ListValue(waits="away"))
    assert (run.phase(), phase_of_first(run)) == ("Running", "Running")
    read(run, ListValue(["x", "y"]))
    assert phase_of_first(run) == "Retrying"
    run.fail("each[1]")
    items = run.status.tasks["each"].items
    assert items is not None
    assert items.failed == "1"


def phase_of_first(run: Run) -> str:
    items = run.status.tasks["each"].items
    assert items is not None
    return items.active["0"].phase
