"""What policies say of what is about to happen: the engine asks a `Judge`, and `ossa.governance` answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Protocol

from ossa.api.base import JSONObject, Timestamp
from ossa.api.execution import Execution, TaskStatus
from ossa.api.policy import Action
from ossa.engine.revision import CompiledRevision, CompiledTask
from ossa.engine.units import Unit

# What was judged: the start of an Execution, the start of an attempt of a task, or what the attempt gave.
Point = Literal["start", "task", "output"]


@dataclass(frozen=True, slots=True)
class Finding:
    """What one policy says.

    outcome: pass, fail, error (a rule has no value) or excepted. denies: it refuses what was asked about.
    message: with the policy's name, and what is wrong; '' where nothing is.
    """

    policy: str
    generation: int
    action: Action
    outcome: str
    denies: bool = False
    message: str = ""
    exception: str | None = None  # namespace/name of the AgentPolicyException that holds

    @property
    def version(self) -> str:
        """name@generation"""
        return f"{self.policy}@{self.generation}"


@dataclass(frozen=True, slots=True)
class Ruling:
    """What all policies say that judged, in the order of their names."""

    findings: tuple[Finding, ...] = ()

    @property
    def denials(self) -> tuple[Finding, ...]:
        """Those that refuse."""
        return tuple(held for held in self.findings if held.denies)

    @property
    def warnings(self) -> tuple[Finding, ...]:
        """Those that tell of something without refusing it: Warn, Audit, and failurePolicy Ignore."""
        return tuple(held for held in self.findings if not held.denies and held.outcome in ("fail", "error"))

    @property
    def versions(self) -> tuple[str, ...]:
        """name@generation of all that judged."""
        return tuple(held.version for held in self.findings)


@dataclass(frozen=True, slots=True)
class Ruled:
    """A ruling of a decision: what is to be counted and logged. unit: None at the start of the Execution."""

    at: Point
    unit: Unit | None
    ruling: Ruling
    overruled: bool = False  # it denies, and the break-glass annotation lets it pass


@dataclass(frozen=True, slots=True)
class RunCase:
    """An Execution at the moment when it is judged. `tasks` as they are by now; the status of `execution` is older."""

    execution: Execution
    revision: CompiledRevision
    now: datetime
    attempt: int
    inputs: JSONObject
    started_at: Timestamp | None
    tasks: Mapping[str, TaskStatus]


@dataclass(frozen=True, slots=True)
class TaskCase:
    """One attempt of a task, at its start, or at its end with `output`.

    input: gives the evaluated input; it may raise `Unread`, which the judge lets pass.
    """

    run: RunCase
    unit: Unit
    task: CompiledTask
    attempt: int
    input: Callable[[], JSONObject]
    output: JSONObject | None = None


class Judge(Protocol):
    """Says whether something may be. Pure: the same case gives the same ruling."""

    def execution(self, case: RunCase) -> Ruling:
        """An Execution that is about to start, to go on after a pause, or to be tried again."""

    def task(self, case: TaskCase) -> Ruling:
        """An attempt that is about to start."""

    def output(self, case: TaskCase) -> Ruling:
        """What an attempt gave, before anybody else sees it."""


NOTHING_SAID = Ruling()


class Nobody:
    """The judge where there are no policies."""

    def execution(self, case: RunCase) -> Ruling:  # noqa: ARG002 - of the interface
        return NOTHING_SAID

    def task(self, case: TaskCase) -> Ruling:  # noqa: ARG002 - of the interface
        return NOTHING_SAID

    def output(self, case: TaskCase) -> Ruling:  # noqa: ARG002 - of the interface
        return NOTHING_SAID


NOBODY: Judge = Nobody()
