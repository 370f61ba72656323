"""A judge that says what a test wants."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from ossa.api.base import JSONObject
from ossa.engine.decision import Announcement
from ossa.engine.rulings import NOTHING_SAID, Finding, Ruling, RunCase, TaskCase
from tests.unit.engine.world import Run, compiled, spec

RETRY = {"retry": {"maxAttempts": 3, "backoff": {"initial": "1s", "jitter": 0}}}


def finding(*, policy: str = "no-b", generation: int = 3, denies: bool = True, action: Any = "Enforce") -> Finding:
    return Finding(policy, generation, action, "fail", denies, f"policy {policy!r}: not this one")


DENIED = Ruling((finding(),))
PASSED = Ruling((replace(finding(denies=False), outcome="pass", message=""),))


@dataclass
class Rules:
    """A judge that says what a test wants, and keeps what it was asked."""

    starts: Ruling = NOTHING_SAID
    tasks: Callable[[TaskCase], Ruling] = lambda _: NOTHING_SAID
    outputs: Callable[[TaskCase], Ruling] = lambda _: NOTHING_SAID
    asked: list[str] = field(default_factory=list)
    inputs: list[JSONObject] = field(default_factory=list)

    def execution(self, case: RunCase) -> Ruling:
        self.asked.append(f"start of {case.execution.metadata.name}")
        return self.starts

    def task(self, case: TaskCase) -> Ruling:
        self.asked.append(f"{case.unit}#{case.attempt}")
        self.inputs.append(case.input())
        return self.tasks(case)

    def output(self, case: TaskCase) -> Ruling:
        self.asked.append(f"{case.unit}#{case.attempt} gave {case.output}")
        return self.outputs(case)


def denies(*names: str) -> Callable[[TaskCase], Ruling]:
    """A judge's answer that denies these tasks, and lets the others pass."""
    return lambda case: DENIED if case.unit.task in names else PASSED


def judged_run(judge: Rules, *tasks: JSONObject, **more: Any) -> Run:
    run = Run(compiled(spec(*tasks, **more)))
    run.change(judge=judge)
    return run


def reasons(events: Iterable[Announcement]) -> list[str]:
    return [event.reason for event in events]
