"""What policies say of one question."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ossa.api.policy import Action, Severity

# deferred: the rule has no value yet, because what the plan refers to is not there; the binding verdict falls later.
Outcome = Literal["pass", "fail", "error", "excepted", "deferred"]
_ORDER: tuple[Outcome, ...] = ("pass", "excepted", "deferred", "error", "fail")
MESSAGE_MOST = 1024


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is not met (fail), or has no value (error, deferred). rule: its label; '' for the policy itself."""

    rule: str
    outcome: Outcome
    message: str


@dataclass(frozen=True, slots=True)
class Judgement:
    """What one policy says. refuses: it is Enforce, and failed, or has no value under failurePolicy Fail."""

    policy: str
    uid: str
    generation: int
    action: Action
    severity: Severity
    violations: tuple[Violation, ...] = ()
    refuses: bool = False
    exception: str | None = None  # namespace/name of the AgentPolicyException that holds

    @property
    def version(self) -> str:
        """name@generation"""
        return f"{self.policy}@{self.generation}"

    @property
    def outcome(self) -> Outcome:
        """The worst of its rules."""
        if self.exception is not None:
            return "excepted"
        return max((held.outcome for held in self.violations), key=_ORDER.index, default="pass")

    @property
    def message(self) -> str:
        """For a person: the policy's name, and what is wrong."""
        return f"policy {self.policy!r}: " + "; ".join(held.message for held in self.violations)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What all policies say that apply. `judged` are those and no others, in the order of their names."""

    judged: tuple[Judgement, ...] = ()

    @property
    def denials(self) -> tuple[Judgement, ...]:
        """Those that refuse; empty where it is allowed."""
        return tuple(held for held in self.judged if held.refuses)

    @property
    def warnings(self) -> tuple[Judgement, ...]:
        """Those that a user is told of though it is allowed: Warn that failed, and what has no value (yet)."""
        return tuple(
            held
            for held in self.judged
            if not held.refuses
            and held.outcome in ("fail", "error", "deferred")
            and (held.action == "Warn" or (held.action == "Enforce" and held.outcome != "fail"))
        )

    @property
    def versions(self) -> tuple[str, ...]:
        """name@generation of all that judged."""
        return tuple(held.version for held in self.judged)
