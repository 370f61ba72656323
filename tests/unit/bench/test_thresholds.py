"""Thresholds: what a run is held to, and what it is told."""

from __future__ import annotations

import math

import pytest

from tests.bench import thresholds
from tests.bench.scenarios import SCENARIOS, Scenario, UnknownScenarioError, chosen

TEXT = """
["2"]
successor_p50_ms = {max = 40}
["300"]
ceiling_ratio = {min = 0.55}
memory_peak_mb = {min = 10, max = 200}
"""


def verdicts(**figures: float) -> list[str]:
    bounds = thresholds.load(TEXT)
    _, missed = thresholds.check(bounds, {"300": figures})
    return [held.verdict(figures.get(held.figure)) for held in missed]


def test_bounds_belong_to_what_is_allowed() -> None:
    assert verdicts(ceiling_ratio=0.55, memory_peak_mb=200) == []


def test_what_is_missed_is_told_with_both_numbers() -> None:
    assert verdicts(ceiling_ratio=0.27, memory_peak_mb=211) == [
        "300: ceiling_ratio is 0.27, asked for is at least 0.55",
        "300: memory_peak_mb is 211, asked for is at least 10 and at most 200",
    ]


@pytest.mark.parametrize("figures", [{}, {"ceiling_ratio": math.nan}])
def test_a_figure_that_is_not_there_is_missed(figures: dict[str, float]) -> None:
    assert len(verdicts(**figures)) == 2


def test_scenarios_that_were_not_run_are_not_asked_for() -> None:
    kept, missed = thresholds.check(thresholds.load(TEXT), {"2": {"successor_p50_ms": 30.0}})
    assert [held.figure for held in kept] == ["successor_p50_ms"]
    assert missed == []


@pytest.mark.parametrize("text", ["x", '["2"]\nx = 3', '["2"]\nx = {}', '["2"]\nx = {least = 3}'])
def test_a_file_that_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(thresholds.BadThresholdsError):
        thresholds.load(text)


def test_the_file_beside_it_names_scenarios_that_exist() -> None:
    asked = thresholds.load(thresholds.FILE.read_text())
    assert {held.scenario for held in asked} <= {scenario.name for scenario in SCENARIOS}
    assert all(held.least > -math.inf or held.most < math.inf for held in asked)


def test_scenarios_run_in_their_order_and_without_names_all_do() -> None:
    assert [held.name for held in chosen(["300", "2"])] == ["2", "300"]
    assert chosen([]) == SCENARIOS
    with pytest.raises(UnknownScenarioError, match="no scenario 299; there are: 2, 50"):
        chosen(["299"])


def test_a_scenario_runs_no_more_at_once_than_in_all() -> None:
    with pytest.raises(ValueError, match="at_once"):
        Scenario("x", "", executions=2, at_once=3)
