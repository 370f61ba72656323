"""What policies say of one question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from ossa.api.policy import Action, Severity

# deferred: the rule has no value yet, because what the plan refers to is not there; the binding verdict falls later.
Outcome = Literal["pass", "fail", "error", "excepted", "deferred"]
# From the best to the worst.
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
        if not self.violations:
            return "pass"
        if self.exception is not None:
            return "excepted"
        return max((held.outcome for held in self.violations), key=_ORDER.index)

    @property
    def message(self) -> str:
        """For a person: the policy's name, and what is wrong."""
        return f"policy {self.policy!r}: " + "; ".join(held.message for held in self.violations)

    @property
    def badness(self) -> tuple[bool, int]:
        """Orders judgements from the best to the worst."""
        return self.refuses, _ORDER.index(self.outcome)


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
            if held.violations
            and not held.refuses
            and held.outcome in ("fail", "error", "deferred")
            and (held.action == "Warn" or (held.action == "Enforce" and held.outcome != "fail"))
        )

    @property
    def versions(self) -> tuple[str, ...]:
        """name@generation of all that judged."""
        return tuple(held.version for held in self.judged)


def worst_of(verdicts: Sequence[Verdict]) -> Verdict:
    """What is said of one object that several questions are asked about: of each policy the worst that it says."""
    if len(verdicts) == 1:
        return verdicts[0]
    held: dict[str, Judgement] = {}
    for judgement in (one for verdict in verdicts for one in verdict.judged):
        known = held.get(judgement.policy)
        if known is None or known.badness < judgement.badness:
            held[judgement.policy] = judgement
    return Verdict(tuple(held[name] for name in sorted(held)))
