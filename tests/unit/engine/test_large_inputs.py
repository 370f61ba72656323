"""Inputs that are too large for a pod: their largest fields go by reference."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from ossa.api.artifact import JSON_MEDIA_TYPE, VALUE_MEDIA_TYPE
from ossa.api.contract import INPUT_LIMIT, VALUE_LIMIT
from ossa.api.execution import TaskStatus
from ossa.engine.decision import PodRequest
from ossa.engine.start import Bindings, CannotStart, Start, build_input
from tests.unit.engine.world import Run, agent, compiled, execution, reference, spec

ITEMS = 2000


def built(given: object, value: object, **capability: Any) -> Start | CannotStart:
    """The input of a task that is made from the output `value` of another one."""
    revision = compiled(
        spec({"name": "first"}, {"name": "second", "input": given}), agent(outputSchema={}, **capability)
    )
    bindings = Bindings(execution(), revision, inputs={}, attempt=1)
    tasks = {"first": TaskStatus(phase="Completed", output={"x": value})}
    return build_input(revision.tasks["second"], bindings, tasks)


def started(given: object, value: object, **capability: Any) -> Start:
    found = built(given, value, **capability)
    assert isinstance(found, Start), found
    return found


def refused(given: object, value: object, **capability: Any) -> str:
    found = built(given, value, **capability)
    assert isinstance(found, CannotStart)
    assert found.reason == "InvalidInput"
    return found.message


def test_what_fits_stays() -> None:
    room = INPUT_LIMIT - len('{"x":""}')
    found = started({"x": "${{ tasks.first.output.x }}"}, "x" * room)
    assert (len(found.input["x"]), found.large) == (room, {})
    one_more = started({"x": "${{ tasks.first.output.x }}"}, "x" * (room + 1))
    assert (one_more.input, list(one_more.large)) == ({}, ["x"])


def test_the_largest_fields_go_and_no_more_than_needed() -> None:
    given = {name: "${{ tasks.first.output.x." + name + " }}" for name in ("a", "b", "c")} | {"n": 1}
    found = started(given, {"a": "a" * 70_000, "b": "b" * 60_000, "c": "c" * 50_000})
    assert found.input.keys() == {"b", "c", "n"}
    assert json.loads(found.large["a"].body) == "a" * 70_000
    more = started(given, {"a": "a" * 90_000, "b": "b" * 190_000, "c": "c" * 100_000})
    assert more.input.keys() == {"a", "n"}
    assert more.large.keys() == {"b", "c"}


def test_the_whole_input_is_checked_before() -> None:
    schema = {"type": "object", "properties": {"x": {"type": "array", "items": {"type": "integer"}}}}
    given = {"x": "${{ tasks.first.output.x }}"}
    assert list(started(given, list(range(100_000)), inputSchema=schema).large) == ["x"]
    assert "input.x[0]: 'a' is not of type 'integer'" in refused(given, ["a"] * 100_000, inputSchema=schema)


def test_references_within_are_told_by_the_media_type() -> None:
    given = {"x": "${{ tasks.first.output.x }}"}
    assert started(given, ["y" * 100] * ITEMS).large["x"].media_type == JSON_MEDIA_TYPE
    value = [{"rows": reference(number)} for number in range(ITEMS)]
    held = started(given, value).large["x"]
    assert held.media_type == VALUE_MEDIA_TYPE
    assert json.loads(held.body) == value


def test_what_cannot_go_says_what_to_do() -> None:
    many = {f"field{number}": "${{ tasks.first.output.x }}" for number in range(200)}
    assert "put them together into one object or list" in refused(many, "x" * 1000)
    large = refused({"x": "${{ tasks.first.output.x }}"}, "x" * VALUE_LIMIT)
    assert f"input.x: has {VALUE_LIMIT + 2} bytes of JSON" in large
    assert "return it, or a File" in large


def given_by_reference(request: PodRequest) -> str:
    """The input as it stands in the pod's annotation."""
    moved = {
        name: {**reference(1000 + number), "mediaType": held.media_type}
        for number, (name, held) in enumerate(request.large.items())
    }
    return json.dumps({**request.input, **moved})


def reduced(output_of_item: Callable[[int], object]) -> Run:
    """A forEach of 2,000 items, and a task that is given what they all gave, and runs."""
    run = Run(
        compiled(
            spec(
                {"name": "each", "forEach": {"range": {"count": ITEMS}, "parallelism": 1000}},
                {"name": "all", "input": {"outputs": "${{ tasks.each.output }}"}},
            )
        )
    )
    items = set[str]()  # the artifact service issues what items uploaded, and nothing to the other task
    run.change(issued=lambda _, uid: uid in items)
    run.step()
    while run.status.tasks["each"].phase == "Running":
        for name, pod in list(run.snapshot.pods.items()):
            if pod.task == "each" and not pod.ended:
                items.add(pod.uid)
                message = json.dumps(output_of_item(pod.index))
                ended = replace(pod, phase="Succeeded", exit_code=0, terminated_reason="Completed", message=message)
                run.change(pods={**run.snapshot.pods, name: ended})
        run.step()
    run.pod("all", input_json=given_by_reference(run.requests[-1]))
    return run


def test_a_task_is_given_what_thousands_of_items_gave() -> None:
    run = reduced(lambda index: {"index": index, "text": "x" * 480})
    request = run.requests[-1]
    assert (request.task, request.input, list(request.large)) == ("all", {}, ["outputs"])
    assert [item["index"] for item in json.loads(request.large["outputs"].body)] == list(range(ITEMS))
    run.succeed("all", {"passed_on": reference(1000)})
    assert (run.phase(), run.status.tasks["all"].output) == ("Completed", {"passed_on": reference(1000)})


@pytest.mark.parametrize(("number", "phase"), [(7, "Completed"), (ITEMS + 7, "Failed")])
def test_a_task_passes_on_what_a_value_by_reference_refers_to(number: int, phase: str) -> None:
    run = reduced(lambda index: {"rows": reference(index)})
    assert run.requests[-1].large["outputs"].media_type == VALUE_MEDIA_TYPE
    run.crash()
    run.step()  # the pod is taken over
    run.change(log_tails={run.pod_of("all"): ""})
    run.succeed("all", {"best": reference(number)})
    assert run.phase() == phase
    if phase == "Failed":
        assert "is forged" in (run.status.tasks["all"].message or "")
