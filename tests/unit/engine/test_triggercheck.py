"""What is wrong with triggers, as admission tells it."""

from __future__ import annotations

from typing import Any

import pytest

from controllers.admission.handlers import review
from ossa.engine.checks import workflow_problems
from tests.unit.controllers.reviews import body
from tests.unit.engine.world import spec

INPUTS = {
    "type": "object",
    "required": ["dataset"],
    "additionalProperties": False,
    "properties": {"dataset": {"type": "string"}, "n": {"type": "integer", "default": 1}},
}


def problems(*triggers: dict[str, Any], **fields: Any) -> list[str]:
    held = [{"name": f"t{number}", "cron": "@daily", **item} for number, item in enumerate(triggers)]
    return [str(problem) for problem in workflow_problems(spec({"name": "a"}, triggers=held, **fields))]


def test_sound_triggers_have_no_problems() -> None:
    assert problems({}, {"cron": "*/5 8-17 * * MON-FRI", "timeZone": "Europe/Berlin"}) == []
    assert problems({"inputs": {"dataset": "wine"}}, inputs=INPUTS) == []
    assert problems({"inputs": {"anything": 1}}) == []


@pytest.mark.parametrize(
    ("trigger", "problem"),
    [
        ({"cron": "61 * * * *"}, "spec.triggers[1].cron: '61' in '61 * * * *' is no minute; write * or 0-59"),
        ({"cron": "@often"}, "spec.triggers[1].cron: there is no '@often'; there are @hourly"),
        ({"timeZone": "Europe/Berln"}, "spec.triggers[1].timeZone: there is no time zone 'Europe/Berln'; did you mean"),
        (
            {"name": "t0"},
            "spec.triggers[1].name: the name 't0' is taken by spec.triggers[0]; give each trigger a name of its own",
        ),
        (
            {"inputs": {"dataset": "wine", "datset": 1}},
            "spec.triggers[1].inputs.datset: is not a known field; did you mean 'dataset'?; this breaks spec.inputs",
        ),
        ({"inputs": {}}, "spec.triggers[1].inputs.dataset: is required, and missing; this breaks spec.inputs"),
        (
            {"inputs": {"dataset": "wine", "n": "x"}},
            "spec.triggers[1].inputs.n: 'x' is not of type 'integer'; this breaks spec.inputs",
        ),
        (
            {"inputs": {"dataset": {"$artifact": "x"}}},
            "spec.triggers[1].inputs.dataset: an artifact may not come in from outside",
        ),
        ({"inputs": {"dataset": "x" * 30_000}}, "spec.triggers[1].inputs: is 300"),
    ],
)
def test_problems_name_the_field_and_what_to_do(trigger: dict[str, Any], problem: str) -> None:
    sound = {"inputs": {"dataset": "wine"}}
    found = problems(sound, {**sound, **trigger}, inputs=INPUTS)
    assert found
    assert found[0].startswith(problem)


def test_a_broken_schema_is_reported_where_it_stands() -> None:
    found = problems({"inputs": {"n": 1}}, inputs={"type": "object", "properties": {"n": {"type": "strng"}}})
    assert [text.split(": ")[0] for text in found] == ["spec.inputs.properties.n.type"]


def test_inputs_that_are_very_deep_are_told_and_not_followed() -> None:
    deep: dict[str, Any] = {}
    for _ in range(80):
        deep = {"a": deep}
    assert problems({"inputs": deep}) == ["spec.triggers[0].inputs: it is nested too deeply"]


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"concurrencyPolicy": "Forbd"}, "spec.triggers[0].concurrencyPolicy: must be one of Allow, Forbid, Replace"),
        ({"startingDeadlineSeconds": 0}, "spec.triggers[0].startingDeadlineSeconds: "),
        ({"timezone": "Etc/UTC"}, "spec.triggers[0].timezone: is not a field that is known here"),
    ],
)
def test_the_shape_is_checked_too(fields: dict[str, Any], said: str) -> None:
    item = {"tasks": [{"name": "a", "agent": "a"}], "triggers": [{"name": "t", "cron": "@daily", **fields}]}
    (problem,) = review("workflows", body(item), None)
    assert problem.startswith(said)
