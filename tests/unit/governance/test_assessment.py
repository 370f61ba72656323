"""Of what is frozen and what is said of an agent now the stricter holds."""

from __future__ import annotations

from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.governance.assessment import Assessment, assessment_of, in_force


def spec(**fields: Any) -> AgentSpec:
    return AgentSpec.model_validate({"capabilities": [{"name": "work"}], "runtime": {"handler": "w:run"}, **fields})


@pytest.mark.parametrize(
    ("frozen", "live", "holds"),
    [
        ({}, {"risk": "high"}, ("high", None, None)),
        ({"risk": "high"}, {"risk": "minimal"}, ("high", None, None)),
        ({"risk": "limited"}, {}, ("limited", None, None)),
        ({"data": {"clearance": "restricted"}}, {"data": {"clearance": "internal"}}, (None, None, "internal")),
        ({"data": {"clearance": "internal"}}, {"data": {"clearance": "restricted"}}, (None, None, "internal")),
        ({"data": {"clearance": "internal"}}, {}, (None, None, None)),
        ({}, {"data": {"classification": "restricted"}}, (None, "restricted", None)),
        (
            {"data": {"classification": "confidential"}},
            {"data": {"classification": "public"}},
            (None, "confidential", None),
        ),
    ],
)
def test_the_stricter_holds(frozen: Any, live: Any, holds: tuple[str | None, ...]) -> None:
    made = in_force(spec(**frozen), assessment_of(live))
    data = made.data
    assert (made.risk, data and data.classification, data and data.clearance) == holds


def test_what_does_not_change_is_the_same() -> None:
    held = spec(risk="high", data={"clearance": "internal"})
    assert in_force(held, None) is held
    assert in_force(held, Assessment("high", None, "restricted")) is held


@pytest.mark.parametrize(
    "live",
    [{"risk": "extreme"}, {"risk": ["high"]}, {"data": "secret"}, {"data": {"clearance": {"a": 1}}}, {"data": None}],
)
def test_what_is_not_understood_is_not_said(live: dict[str, Any]) -> None:
    assert assessment_of(live) == Assessment()
