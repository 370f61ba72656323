"""ValidatingAdmissionPolicies of the AgentPolicies that the API server can hold itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from controllers.announce import COMPONENT
from controllers.settings import NativePolicies
from ossa.api.base import JSONObject
from ossa.api.contract import LABEL_MANAGED_BY, MANAGED_BY
from ossa.governance.native import LABEL_POLICY, Native, NotNative, native_name, native_of
from ossa.governance.policies import CompiledPolicy
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, NotFound, Refused

log = logging.getLogger(__name__)

POLICIES, BINDINGS = "validatingadmissionpolicies", "validatingadmissionpolicybindings"
OURS = {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY},{LABEL_POLICY}"}
LOOK_SECONDS = 300.0
# UID and generation: what somebody else has changed has another one.
_Version = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Held:
    """Whether the API server holds a policy: status, reason and message of a condition."""

    status: Literal["True", "False"]
    reason: str
    message: str


@dataclass(slots=True)
class _Applied:
    wanted: Native
    versions: dict[str, _Version]  # by plural


class Natives:
    """Makes and removes them. What it has applied it does not apply again, unless somebody changed it."""

    def __init__(
        self, api: ApiClient, *, which: NativePolicies, excluded_namespaces: Sequence[str], break_glass: Sequence[str]
    ) -> None:
        self._api = api
        self._which = which
        self._break_glass = tuple(break_glass)
        self._excluded = tuple(excluded_namespaces)
        self._applied: dict[str, _Applied] = {}
        self._refused: dict[str, tuple[Native, str]] = {}  # what it does not take, and why
        self._there: set[str] = set()  # policies of which there may be something

    async def ensure(self, policy: CompiledPolicy) -> Held:
        """Brings the API server to what the policy says. Raises ApiError, but for what it refuses."""
        if self._which == "Never":
            await self.remove(policy.name)
            return Held("False", "Disabled", "the chart's value reconciler.nativePolicies is Never")
        if self._which == "Ignore" and policy.spec.failure_policy == "Fail":
            await self.remove(policy.name)
            said = "the chart's value reconciler.nativePolicies asks for those of failurePolicy Ignore alone"
            return Held("False", "NotNeeded", said)
        found = native_of(policy, excluded_namespaces=self._excluded, break_glass=self._break_glass)
        if isinstance(found, NotNative):
            await self.remove(policy.name)
            return Held("False", "NotCommon", found.reason)
        applied = self._applied.get(policy.name)
        if (applied is None or applied.wanted != found) and self._refused.get(policy.name, (None, ""))[0] != found:
            self._refused.pop(policy.name, None)
            try:
                await self._apply(policy.name, found)
            except Refused as error:
                if error.status == 403:  # another policy of the cluster's, or a quota: it may be let in later
                    raise
                await self.remove(policy.name)
                self._refused[policy.name] = found, error.message
        if policy.name in self._refused:
            return Held("False", "Refused", f"the API server does not take it: {self._refused[policy.name][1]}")
        return Held("True", "Applied", f"the API server holds ValidatingAdmissionPolicy {native_name(policy.name)}")

    async def remove(self, policy: str) -> None:
        """Takes away what there is of a policy; the binding first, without which nothing is refused."""
        self._applied.pop(policy, None)
        if policy not in self._there:
            return
        for plural in (BINDINGS, POLICIES):
            try:
                await self._api.delete(paths.admission(plural, native_name(policy)))
            except NotFound:
                continue
        self._there.discard(policy)

    async def look(self) -> set[str]:
        """Names of the policies of which the API server holds something, or should hold something else."""
        stray: set[str] = set()
        found: dict[str, dict[str, _Version]] = {}
        for plural in (POLICIES, BINDINGS):
            for item in (await self._api.get(paths.admission(plural), OURS)).get("items") or []:
                owner = _owner(item)
                if owner is not None:
                    found.setdefault(owner, {})[plural] = _version(item)
        self._there |= found.keys()
        for name in self._applied.keys() | found.keys():
            applied = self._applied.get(name)
            if applied is None or applied.versions != found.get(name):
                self._applied.pop(name, None)
                stray.add(name)
        return stray

    async def _apply(self, name: str, wanted: Native) -> None:
        self._there.add(name)
        versions: dict[str, _Version] = {}
        for plural, item in ((POLICIES, wanted.policy), (BINDINGS, wanted.binding)):
            path = paths.admission(plural, native_name(name))
            versions[plural] = _version(await self._api.apply(path, item, manager=COMPONENT))
        self._applied[name] = _Applied(wanted, versions)


async def watch_natives(natives: Natives, wake: Callable[[str], None]) -> None:
    """Looks again and again; `wake` is told of each policy that is not as it should be. Runs until cancelled."""
    while True:
        try:
            for name in await natives.look():
                wake(name)
        except ApiError as error:
            log.warning("cannot read native policies", extra={"error": str(error)[:500]})
        await asyncio.sleep(LOOK_SECONDS)


def _owner(item: JSONObject) -> str | None:
    owners = item["metadata"].get("ownerReferences") or []
    return next((str(owner["name"]) for owner in owners if owner["kind"] == "AgentPolicy"), None)


def _version(item: JSONObject) -> _Version:
    return str(item["metadata"]["uid"]), int(item["metadata"].get("generation", 0))
