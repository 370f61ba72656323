"""What a scan has found: what each policy says of each object that is there."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from ossa.governance.question import SubjectKind
from ossa.governance.verdict import Judgement

# Kind, namespace and name.
ObjectKey = tuple[SubjectKind, str, str]
# Policy and namespace: a report each.
ReportKey = tuple[str, str]
VIOLATING = frozenset({"fail", "error"})


@dataclass(frozen=True, slots=True)
class Finding:
    """What one policy says of one object."""

    object: ObjectKey
    uid: str
    judgement: Judgement


@dataclass(slots=True)
class News:
    """What has changed: reports, policies with another number of violations, and violations that were none before.

    passes: reports of which only what keeps to the policy has changed.
    """

    reports: set[ReportKey] = field(default_factory=set)
    passes: set[ReportKey] = field(default_factory=set)
    policies: set[str] = field(default_factory=set)
    violations: list[Finding] = field(default_factory=list)


class Findings:
    """The newest judgement of each pair of a policy and an object that it is about."""

    def __init__(self) -> None:
        self._held: dict[ReportKey, dict[ObjectKey, Judgement]] = defaultdict(dict)
        self._namespaces: dict[str, set[str]] = defaultdict(set)  # of a policy
        self._uids: dict[ObjectKey, str] = {}
        self._violations: Counter[tuple[str, str]] = Counter()  # policy, kind
        self._passes: dict[str, Judgement] = {}  # of a policy; nearly all are alike, and kept once
        self._news = News()

    def put(self, key: ObjectKey, uid: str, judged: Iterable[Judgement], only: frozenset[str] | None) -> None:
        """What policies say of an object. only: the names of those that were asked; None: all."""
        found = {judgement.policy: judgement for judgement in judged}
        fresh = self._uids.get(key) != uid
        self._uids[key] = uid
        for policy in found.keys() | (self._namespaces.keys() if only is None else only):
            self._set(policy, key, found.get(policy), fresh=fresh)

    def drop(self, key: ObjectKey) -> None:
        """The object is gone, or has ended."""
        for policy in list(self._namespaces):
            self._set(policy, key, None, fresh=False)
        self._uids.pop(key, None)

    def drop_policy(self, policy: str) -> None:
        """The policy is gone."""
        for namespace in self._namespaces.pop(policy, set()):
            del self._held[policy, namespace]
            self._news.reports.add((policy, namespace))
        for counted in [pair for pair in self._violations if pair[0] == policy]:
            del self._violations[counted]
        self._passes.pop(policy, None)

    def of(self, report: ReportKey) -> Iterator[Finding]:
        """All of one policy in one namespace."""
        held = self._held.get(report, {})
        return (Finding(key, self._uids[key], judgement) for key, judgement in held.items())

    def violations(self, policy: str) -> int:
        """How many objects do not keep to a policy; what is excepted is not counted."""
        return sum(count for (name, _), count in self._violations.items() if name == policy)

    def counts(self) -> Mapping[tuple[str, str], int]:
        """Violations by policy and kind."""
        return self._violations

    def take_news(self) -> News:
        """What has changed since this was last asked."""
        news, self._news = self._news, News()
        return news

    def _set(self, policy: str, key: ObjectKey, judgement: Judgement | None, *, fresh: bool) -> None:
        report = (policy, key[1])
        before = self._held[report].get(key) if key[1] in self._namespaces.get(policy, ()) else None
        if judgement == before and not fresh:
            return
        if judgement is None:
            if before is None:
                return
            self._remove(report, key)
        else:
            self._held[report][key] = self._shared(judgement)
            self._namespaces[policy].add(key[1])
        passes = all(held is None or not held.violations for held in (before, judgement))
        (self._news.passes if passes else self._news.reports).add(report)
        was, now = _violates(before), _violates(judgement)
        if was != now:
            self._violations[policy, key[0]] += now - was
            self._news.policies.add(policy)
        if judgement is not None and now and (not was or fresh):
            self._news.violations.append(Finding(key, self._uids[key], judgement))

    def _shared(self, judgement: Judgement) -> Judgement:
        if judgement.violations:
            return judgement
        if self._passes.get(judgement.policy) != judgement:
            self._passes[judgement.policy] = judgement
        return self._passes[judgement.policy]

    def _remove(self, report: ReportKey, key: ObjectKey) -> None:
        del self._held[report][key]
        if not self._held[report]:
            del self._held[report]
            self._namespaces[report[0]].discard(report[1])


def _violates(judgement: Judgement | None) -> bool:
    return judgement is not None and judgement.outcome in VIOLATING
