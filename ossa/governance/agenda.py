"""What a scan has yet to look at: pairs of objects and policies, so that a change costs what it concerns, no more."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ossa.api.policyexception import AgentPolicyException
from ossa.governance.findings import ObjectKey
from ossa.governance.policies import CompiledPolicy
from ossa.governance.policyset import PolicySet


class Agenda:
    """Objects with the names of the policies that are to look at them; None: all policies.

    What has changed goes before what is looked at again for good measure.
    """

    def __init__(self) -> None:
        self._changed: dict[ObjectKey, frozenset[str] | None] = {}
        self._again: deque[ObjectKey] = deque()

    def __len__(self) -> int:
        return len(self._changed) + len(self._again)

    def add(self, key: ObjectKey, policies: frozenset[str] | None = None) -> None:
        """An object, or what is said of it, has changed."""
        if policies is None:
            self._changed[key] = None
            return
        known = self._changed.get(key, frozenset())
        if known is not None:
            self._changed[key] = known | policies

    def again(self, keys: Iterable[ObjectKey]) -> None:
        """All of them once more, by all policies, when there is nothing else to do."""
        waiting = set(self._again)
        self._again.extend(key for key in keys if key not in waiting)

    def take(self, most_again: int) -> dict[ObjectKey, frozenset[str] | None]:
        """All that has changed; where nothing has, the next ones of the others."""
        taken, self._changed = self._changed, {}
        if not taken:
            taken = {self._again.popleft(): None for _ in range(min(most_again, len(self._again)))}
        return taken

    @property
    def again_ended(self) -> bool:
        """Whether all has been looked at once more."""
        return not self._again


@dataclass(frozen=True, slots=True)
class Difference:
    """policies: names of those that say something else. gone: names. exceptions: (policy, namespace) of such."""

    policies: frozenset[str]
    gone: frozenset[str]
    exceptions: frozenset[tuple[str, str]]


def difference(old: PolicySet, new: PolicySet) -> Difference:
    """Which verdicts a change of policies, of their params or of exceptions may have changed."""
    before = {policy.name: (policy.uid, policy.generation, _params(old, policy)) for policy in old.policies}
    after = {policy.name: (policy.uid, policy.generation, _params(new, policy)) for policy in new.policies}
    was, now = ({_id(one): one for one in held.exceptions} for held in (old, new))
    changed = [key for key in was.keys() | now.keys() if was.get(key) != now.get(key)]
    touched = [held[key] for key in changed for held in (was, now) if key in held]
    return Difference(
        policies=frozenset(name for name, version in after.items() if before.get(name) != version),
        gone=frozenset(before.keys() - after.keys()),
        exceptions=frozenset((one.spec.policy, one.metadata.namespace) for one in touched),
    )


def _params(held: PolicySet, policy: CompiledPolicy) -> Mapping[str, str] | None:
    wanted = policy.spec.params
    return None if wanted is None else held.params.get((wanted.namespace, wanted.name))


def _id(exception: AgentPolicyException) -> str:
    return f"{exception.metadata.namespace}/{exception.metadata.name}"
