"""Which policies are about a question, by their match and exclude."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Self

from ossa.api.policy import AgentPolicySpec
from ossa.governance.policies import CompiledPolicy
from ossa.governance.question import Question, applies


@dataclass(frozen=True, slots=True)
class _Selection:
    """A way to select: a spec that has it, and the places of the policies that do."""

    spec: AgentPolicySpec
    places: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Policies that may be about a kind. Those that select alike, as those of a pack do, are looked at once.

    Those for other namespaces cost nothing: `_named` holds what names its namespaces whole, by namespace, and
    `_everywhere` all else.
    """

    policies: tuple[CompiledPolicy, ...]
    _everywhere: tuple[_Selection, ...]
    _named: Mapping[str, tuple[_Selection, ...]]

    @classmethod
    def of(cls, policies: Iterable[CompiledPolicy]) -> Self:
        """In the order in which they are given."""
        held = tuple(policies)
        places: dict[str, list[int]] = {}
        for place, policy in enumerate(held):
            places.setdefault(_key(policy.spec), []).append(place)
        everywhere: list[_Selection] = []
        named: dict[str, tuple[_Selection, ...]] = {}
        for alike in places.values():
            selection = _Selection(held[alike[0]].spec, tuple(alike))
            namespaces = selection.spec.match.namespaces
            if not namespaces or any("*" in name for name in namespaces):
                everywhere.append(selection)
                continue
            for name in set(namespaces):
                named[name] = (*named.get(name, ()), selection)
        return cls(held, tuple(everywhere), named)

    def about(self, question: Question) -> list[CompiledPolicy]:
        """Those that are about what is asked."""
        possible = (*self._everywhere, *self._named.get(question.namespace, ()))
        places = [place for held in possible if applies(held.spec, question) for place in held.places]
        return [self.policies[place] for place in sorted(places)]


def _key(spec: AgentPolicySpec) -> str:
    """The same text for specs of which `applies` says the same."""
    exclude = None if spec.exclude is None else spec.exclude.to_json()
    return json.dumps([spec.match.to_json(), exclude], sort_keys=True)
