"""Which policies are about a question, by their match and exclude."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from ossa.api.policy import AgentPolicySpec
from ossa.governance.policies import CompiledPolicy
from ossa.governance.question import Question, applies


@dataclass(frozen=True, slots=True)
class Candidates:
    """Policies that may be about a kind. Those that select alike, as those of a pack do, are looked at once.

    selections: a spec of each way to select; which: a policy's place among them.
    """

    policies: tuple[CompiledPolicy, ...]
    selections: tuple[AgentPolicySpec, ...]
    which: tuple[int, ...]

    @classmethod
    def of(cls, policies: Iterable[CompiledPolicy]) -> Self:
        """In the order in which they are given."""
        held = tuple(policies)
        places: dict[str, int] = {}
        which = tuple(places.setdefault(_selection(policy.spec), len(places)) for policy in held)
        selections = {place: policy.spec for policy, place in zip(held, which, strict=True)}
        return cls(held, tuple(selections[place] for place in range(len(places))), which)

    def about(self, question: Question) -> list[CompiledPolicy]:
        """Those that are about what is asked."""
        selected = [applies(spec, question) for spec in self.selections]
        return [policy for policy, place in zip(self.policies, self.which, strict=True) if selected[place]]


def _selection(spec: AgentPolicySpec) -> str:
    """The same text for specs of which `applies` says the same."""
    exclude = None if spec.exclude is None else spec.exclude.to_json()
    return json.dumps([spec.match.to_json(), exclude], sort_keys=True)
