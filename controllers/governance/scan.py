"""The scan: policies judge what is there already, when one of them or an object changes, and everything now and then.

A change costs the pairs of objects and policies that it concerns. The event loop is never held for long.
"""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any

from controllers.announce import announce
from controllers.governance.present import Present
from controllers.policycache import PolicyCache
from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION
from ossa.governance.agenda import Agenda, difference
from ossa.governance.exceptions import end_of
from ossa.governance.findings import Finding, Findings, News, ObjectKey
from ossa.governance.objects import judge, kinds_of
from ossa.governance.policies import CompiledPolicy
from ossa.governance.policyset import PolicySet
from ossa.governance.question import SubjectKind
from ossa.kube.client import ApiClient

# Seconds that changes wait for others, and for which the loop is held at most.
COALESCE, SLICE = 0.3, 0.004
EVERY = 3600.0
# Objects that are looked at again at once, before it is asked whether anything has changed.
AGAIN_AT_ONCE = 200
# Events about objects for each policy and scan; the policy's own event counts them all.
MOST_EVENTS = 10


def _unheard(*_: Any) -> None:
    """Nobody listens."""


class Scanner:
    """Judges what is there. `reports`, `policies` and `took` are told of what has changed, and of the time it took."""

    def __init__(self, api: ApiClient, policies: PolicyCache) -> None:
        self._api = api
        self._policies = policies
        self._present = Present(policies)
        self._agenda = Agenda()
        self._set = PolicySet()
        self._labels: dict[str, object] = {}  # namespaces as they were
        self._scanned: dict[str, tuple[str, int]] = {}  # UID and generation that all was judged by
        self._wake = asyncio.Event()
        self._again_since: float | None = None
        self.findings = Findings()
        self.begun = False  # whether everything was judged once
        self.reports: Callable[[News], None] = _unheard
        self.policies: Callable[[str], None] = _unheard
        self.objects: Callable[[ObjectKey], None] = _unheard
        self.took: Callable[[str, float], None] = _unheard
        self.looked_at: Callable[[int], None] = _unheard
        policies.on_change(self._wake.set)

    def changed(self, kind: SubjectKind, old: JSONObject | None, new: JSONObject | None) -> None:
        """What an object was and what it is now; None where it was not, or is no more."""
        for key in self._present.put(kind, old, new):
            self._agenda.add(key)
            self.objects(key)
            self._wake.set()

    def violations(self, policy: CompiledPolicy) -> int | None:
        """Objects that do not keep to a policy; None while not everything has been judged by this generation."""
        if self._scanned.get(policy.name) != (policy.uid, policy.generation):
            return None
        return self.findings.violations(policy.name)

    def policy(self, name: str) -> CompiledPolicy | None:
        """A policy as it judged last."""
        return self._set.named(name)

    async def run(self) -> None:
        """Runs until cancelled; begins once the policies are known."""
        await self._policies.synced()
        again = time.monotonic() + EVERY
        while True:
            await self._wait(again)
            if time.monotonic() >= again:
                again = time.monotonic() + EVERY
                self._again_since = time.monotonic()
                self._agenda.again(self._present.all())
            await self.turn()

    async def turn(self) -> None:
        """Judges what is due, and tells of what was found."""
        began = time.monotonic()
        self._wake.clear()
        self._take_policies()
        todo = self._agenda.take(AGAIN_AT_ONCE)
        held, now = self._set, datetime.now(UTC)
        await self._judge(held, todo, now)
        news = self._tell(held)
        if todo and self._again_since is None:
            self.took("changes", time.monotonic() - began)
        if self._again_since is not None and self._agenda.again_ended:
            self.took("all", time.monotonic() - self._again_since)
            self._again_since = None
        self.begun = True
        await self._announce(held, news)

    async def _wait(self, again: float) -> None:
        """Until something has changed, an exception ends, or all is to be looked at again."""
        if len(self._agenda) and not self._wake.is_set():
            return  # what is looked at again waits for nothing
        now = datetime.now(UTC)
        ends = [(end - now).total_seconds() for one in self._set.exceptions if (end := end_of(one)) is not None]
        pause = min((end + 0.05 for end in ends if end > 0), default=EVERY)
        try:
            async with asyncio.timeout(max(0.0, min(pause, again - time.monotonic()))):
                await self._wake.wait()
        except TimeoutError:
            self._expire(now)
            return
        await asyncio.sleep(COALESCE)

    def _expire(self, before: datetime) -> None:
        """What exceptions were about that have ended since."""
        now = datetime.now(UTC)
        for one in self._set.exceptions:
            end = end_of(one)
            if end is not None and before < end <= now:
                self._add(self._present.in_namespace(one.metadata.namespace), frozenset({one.spec.policy}))

    def _take_policies(self) -> None:
        """Puts on the agenda what the policies of now may see in another way than those of the last turn."""
        held = self._policies.current()
        if held is not self._set:
            changes = difference(self._set, held)
            for name in changes.gone:
                self.findings.drop_policy(name)
                self._scanned.pop(name, None)
            if changes.policies:
                self._add(self._present.all(), changes.policies)
            for name, namespace in changes.exceptions:
                self._add(self._present.in_namespace(namespace), frozenset({name}))
            self._set = held
        for namespace in self._present.namespaces():
            found = self._policies.namespace(namespace)
            if self._labels.get(namespace) != found:
                self._labels[namespace] = found
                self._add(self._present.in_namespace(namespace), None)

    def _add(self, keys: Iterable[ObjectKey], policies: frozenset[str] | None) -> None:
        for key in keys:
            self._agenda.add(key, policies)

    async def _judge(self, held: PolicySet, todo: dict[ObjectKey, frozenset[str] | None], now: datetime) -> None:
        until = time.monotonic() + SLICE
        for key, only in todo.items():
            item = self._present.get(key)
            if item is None:
                self.findings.drop(key)
            elif not any(map(held.of, kinds_of(item))):
                self.findings.put(key, str(item["metadata"]["uid"]), (), only)
            else:
                verdict = judge(self._present.world(), item, now, policies=held, only=only)
                self.findings.put(key, str(item["metadata"]["uid"]), verdict.judged, only)
            if time.monotonic() >= until:
                await asyncio.sleep(0)
                until = time.monotonic() + SLICE
        self.looked_at(len(todo))

    def _tell(self, held: PolicySet) -> News:
        for policy in held.policies:
            version = (policy.uid, policy.generation)
            if self._scanned.get(policy.name) != version:
                self._scanned[policy.name] = version
                self.policies(policy.name)
        news = self.findings.take_news()
        self.reports(news)
        for name in news.policies:
            self.policies(name)
        return news

    async def _announce(self, held: PolicySet, news: News) -> None:
        """Says of each new violation who and why, of the first ones at the objects, of all at the policy."""
        new: dict[str, list[Finding]] = defaultdict(list)
        for finding in news.violations:
            new[finding.judgement.policy].append(finding)
        for name, findings in new.items():
            policy = held.named(name)
            if policy is None:
                continue
            findings.sort(key=lambda found: found.object)
            for found in findings[:MOST_EVENTS]:
                item = self._present.get(found.object)
                if item is not None:
                    said = found.judgement.message
                    await announce(self._api, dict(item), kind="Warning", reason="PolicyViolation", message=said)
            names = ", ".join("/".join(found.object) for found in findings[:MOST_EVENTS])
            more = f" and {len(findings) - MOST_EVENTS} more" if len(findings) > MOST_EVENTS else ""
            said = f"{policy.version}: there does not keep to it: {names}{more}"
            await announce(self._api, _event_item(policy), kind="Warning", reason="PolicyViolation", message=said)


def _event_item(policy: CompiledPolicy) -> JSONObject:
    metadata = {"name": policy.name, "uid": policy.uid, "resourceVersion": ""}
    return {"apiVersion": API_VERSION, "kind": "AgentPolicy", "metadata": metadata}
