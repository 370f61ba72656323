"""AgentPolicyException: where it stands, and the object that it is bound to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import kopf
from pydantic import ValidationError

from controllers.cache import Key, ObjectCache, key_of
from controllers.governance.present import is_present
from controllers.loop import Loop
from controllers.policycache import PolicyCache
from ossa.api.base import Condition, JSONObject, set_condition
from ossa.api.contract import GROUP, VERSION
from ossa.api.policyexception import AgentPolicyException, AgentPolicyExceptionStatus
from ossa.engine.clock import to_text
from ossa.governance.findings import ObjectKey
from ossa.governance.standing import Standing, standing
from ossa.governance.world import subject_of
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound
from ossa.kube.status import write_status

# Wake-ups further off are taken in stages: clocks are set, and timers drift.
MOST_WAIT = 3600.0
PAUSE = 0.2
_MESSAGE_MOST = 4096


class ExceptionController:
    """Writes the status of exceptions. `objects`: the caches of what they may be about, by kind."""

    def __init__(
        self, api: ApiClient, cache: ObjectCache, *, policies: PolicyCache, objects: Mapping[str, ObjectCache]
    ) -> None:
        self._api = api
        self._cache = cache
        self._policies = policies
        self._objects = objects
        self._about: dict[ObjectKey, set[Key]] = defaultdict(set)
        self.loop: Loop[Key] = Loop("AgentPolicyException", self.reconcile)
        policies.on_change(self._policies_changed)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The kopf handler: keep the object, queue its key."""

        @kopf.on.event(GROUP, VERSION, "agentpolicyexceptions", registry=registry)
        async def exception_seen(event: kopf.RawEvent, **_: Any) -> None:
            self.seen(event["type"], dict(event["object"]))

    def seen(self, kind: str | None, item: JSONObject) -> None:
        """An event of the watch; `kind` is None for what was there already."""
        if not self._cache.take(kind, item):
            return
        key, target = key_of(item), item["spec"]["target"]
        about: ObjectKey = (target["kind"], key.namespace, target["name"])
        if kind == "DELETED":
            self._about[about].discard(key)
        else:
            self._about[about].add(key)
        self.loop.queue.add(key)

    def object_changed(self, changed: ObjectKey) -> None:
        """An object has come or gone, or its spec has changed."""
        for key in self._about.get(changed, ()):
            self.loop.queue.add(key)

    def _policies_changed(self) -> None:
        for item in self._cache.all():
            self.loop.queue.add_after(key_of(item), PAUSE)

    async def reconcile(self, key: Key) -> None:
        """Looks at an exception and writes where it stands."""
        item = self._cache.get(key)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return
        try:
            exception = AgentPolicyException.model_validate(item)
        except ValidationError:
            return  # the cache of policies says so in the log, and nothing is excepted by it
        now = datetime.now(UTC)
        found = self._standing(exception, now)
        if found.until is not None:
            self.loop.queue.add_after(key, min(MOST_WAIT, (found.until - now).total_seconds() + 0.1))
        path = paths.ossa("agentpolicyexceptions", key.namespace, key.name)
        try:
            written = await write_status(self._api, path, item, _status(exception, found, to_text(now)).to_json())
        except NotFound:
            return
        if written is not None:
            self._cache.put(written)

    def _standing(self, exception: AgentPolicyException, now: datetime) -> Standing:
        held = exception.spec.target
        item = self._objects[held.kind].get(Key(exception.metadata.namespace, held.name))
        policy = self._policies.current().named(exception.spec.policy)
        target = None if item is None else subject_of(item)
        if item is not None and target is not None and not is_present(held.kind, item):
            target = replace(target, spec_hash=held.spec_hash)  # of what has ended only a part is kept
        return standing(exception, policy, target, now)


def _status(exception: AgentPolicyException, found: Standing, now: str) -> AgentPolicyExceptionStatus:
    generation = exception.metadata.generation
    condition = Condition(
        type="Active",
        status="True" if found.state == "Active" else "False",
        reason=found.reason,
        message=found.message[:_MESSAGE_MOST],
        observed_generation=generation,
    )
    return AgentPolicyExceptionStatus(
        observed_generation=generation,
        state=found.state,
        uid=exception.status.uid if exception.spec.target.uid is None and found.uid is None else found.uid,
        message=found.message[:_MESSAGE_MOST],
        conditions=set_condition(list(exception.status.conditions), condition, now),
    )
