"""The thresholds that a run must keep: thresholds.toml, a table a scenario, `figure = {min = …, max = …}`."""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

FILE = Path(__file__).with_name("thresholds.toml")


class BadThresholdsError(ValueError):
    """The file does not say what it should; names the place."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The bounds of one figure of one scenario; both belong to what is allowed."""

    scenario: str
    figure: str
    least: float = -math.inf
    most: float = math.inf

    def keeps(self, value: float | None) -> bool:
        """Whether a value is within the bounds. A figure that is not there, or is no number, is not."""
        return value is not None and self.least <= value <= self.most

    def verdict(self, value: float | None) -> str:
        """For a person: what was measured, and what is asked for."""
        bounds = [f"at least {self.least:g}"] * (self.least > -math.inf) + [f"at most {self.most:g}"] * (
            self.most < math.inf
        )
        measured = "not measured" if value is None else f"{value:g}"
        return f"{self.scenario}: {self.figure} is {measured}, asked for is {' and '.join(bounds)}"


def load(text: str) -> list[Threshold]:
    """The thresholds of a file.

    Raises:
        BadThresholdsError: it is no TOML, or an entry has other keys than min and max.
    """
    try:
        tables = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise BadThresholdsError(f"the thresholds are not TOML: {error}") from error
    found = []
    for scenario, figures in tables.items():
        for figure, bounds in figures.items():
            if not isinstance(bounds, dict) or not bounds or bounds.keys() - {"min", "max"}:
                raise BadThresholdsError(f"{scenario}.{figure}: write {{min = …}}, {{max = …}} or both")
            found.append(
                Threshold(scenario, figure, float(bounds.get("min", -math.inf)), float(bounds.get("max", math.inf)))
            )
    return found


def check(
    thresholds: list[Threshold], figures: Mapping[str, Mapping[str, float]]
) -> tuple[list[Threshold], list[Threshold]]:
    """Those that are kept and those that are missed, of the scenarios that were run."""
    asked = [held for held in thresholds if held.scenario in figures]
    kept = [held for held in asked if held.keeps(figures[held.scenario].get(held.figure))]
    return kept, [held for held in asked if held not in kept]
