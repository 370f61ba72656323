"""What is measured: one entry a run of the engine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run. With `at_once` below `executions` the next one is created when one ends."""

    name: str
    about: str
    executions: int
    at_once: int
    workflow: str = "pipeline"  # of workloads.py
    finished: int = 0  # executions that have ended before, and are left in the cluster
    clean: bool = False  # measure the removal of the pods as well
    patience: float = 120.0  # seconds without any progress after which it is given up

    def __post_init__(self) -> None:
        if not 1 <= self.at_once <= self.executions:
            raise ValueError(f"{self.name}: at_once must be between 1 and {self.executions}")


SCENARIOS = (
    Scenario("2", "2 executions at once, 20 in all", executions=20, at_once=2),
    Scenario("50", "50 executions at once", executions=50, at_once=50, clean=True),
    Scenario("300", "300 executions at once", executions=300, at_once=300, clean=True),
    Scenario("1000", "1,000 executions at once", executions=1000, at_once=1000),
    Scenario("finished-1000", "50 at once beside 1,000 that have ended", executions=50, at_once=50, finished=1000),
    Scenario("finished-5000", "50 at once beside 5,000 that have ended", executions=50, at_once=50, finished=5000),
    Scenario("foreach-10000", "one execution of 10,000 tasks", executions=1, at_once=1, workflow="foreach-10000"),
)


class UnknownScenarioError(ValueError):
    """Names what there is."""


def chosen(only: Sequence[str]) -> tuple[Scenario, ...]:
    """Those that are named, in their fixed order; without names all.

    Raises:
        UnknownScenarioError: a name that is none.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    if unknown := [name for name in only if name not in known]:
        raise UnknownScenarioError(f"no scenario {', '.join(unknown)}; there are: {', '.join(known)}")
    return tuple(held for held in SCENARIOS if not only or held.name in only)
