"""Agent: Accepted (the spec makes sense) and Ready (a task can run on it now)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Literal

import kopf

from controllers.cache import Key, ObjectCache, key_of
from controllers.loop import Loop
from controllers.namespaces import Namespaces
from controllers.settings import Settings
from controllers.shipped import handler_problem
from ossa.api.agent import AgentSpec, AgentStatus
from ossa.api.base import Condition, JSONObject, set_condition
from ossa.api.contract import ANNOTATION_SERVICE_ACCOUNTS, GROUP, VERSION
from ossa.api.validation import InvalidSpecError, agent_problems, parse_spec
from ossa.engine.clock import to_text
from ossa.kube import paths
from ossa.kube.client import ApiClient, NotFound
from ossa.kube.status import write_status

log = logging.getLogger(__name__)

# Status, reason, message of a condition.
_Verdict = tuple[Literal["True", "False"], str, str]
# How soon an agent is looked at again while the namespaces are not known yet.
SYNC_PAUSE = 0.1


class AgentController:
    """Judges agents, and tells whoever depends on one when it changes."""

    def __init__(
        self, api: ApiClient, settings: Settings, cache: ObjectCache, *, changed: Callable[[Key], None]
    ) -> None:
        self._api = api
        self._settings = settings
        self._cache = cache
        self._changed = changed
        self.namespaces = Namespaces(self._namespace_changed)
        self.loop: Loop[Key] = Loop("Agent", self.reconcile)

    def register(self, registry: kopf.OperatorRegistry) -> None:
        """The kopf handler: keep the object, queue its key."""

        @kopf.on.event(GROUP, VERSION, "agents", registry=registry)
        async def agent_seen(event: kopf.RawEvent, **_: Any) -> None:
            self.seen(event["type"], dict(event["object"]))

    def seen(self, kind: str | None, item: JSONObject) -> None:
        """An event of the watch; `kind` is None for what was there already."""
        if self._cache.take(kind, item):
            self.loop.queue.add(key_of(item))
            self._changed(key_of(item))

    def _namespace_changed(self, namespace: str) -> None:
        for item in self._cache.in_namespace(namespace):
            self.loop.queue.add(key_of(item))

    async def reconcile(self, key: Key) -> None:
        """Looks at an agent and writes what was found."""
        item = self._cache.get(key)
        if item is None or item["metadata"].get("deletionTimestamp"):
            return
        if not self.namespaces.synced:
            self.loop.queue.add_after(key, SYNC_PAUSE)
            return
        found = self._judge(item, to_text(datetime.now(UTC)))
        try:
            written = await write_status(
                self._api, paths.ossa("agents", key.namespace, key.name), item, found.to_json()
            )
        except NotFound:
            return
        if written is not None and self._cache.put(written):
            self._changed(key)

    def _judge(self, item: JSONObject, now: str) -> AgentStatus:
        image, ready = None, None
        try:
            spec = parse_spec(AgentSpec, item["spec"])
        except InvalidSpecError as error:
            accepted: _Verdict = ("False", "InvalidSpec", "; ".join(error.problems))
        else:
            image = image_of(spec, self._settings.worker_image)
            accepted = self._accepted(spec, item["metadata"]["namespace"])
            ready = self._ready(spec) if accepted[0] == "True" else None
        ready = ready or ("False", "NotAccepted", accepted[2])
        return _status(item, image=image, verdicts={"Accepted": accepted, "Ready": ready}, now=now)

    def _accepted(self, spec: AgentSpec, namespace: str) -> _Verdict:
        problems = agent_problems(spec)
        if problems:
            return "False", "InvalidSpec", "; ".join(problems)
        account = spec.runtime.service_account_name
        if account is None or self.namespaces.allows(namespace, account):
            return "True", "Accepted", "the spec makes sense"
        return (
            "False",
            "ServiceAccountNotAllowed",
            f"spec.runtime.serviceAccountName: {account!r} is not allowed in namespace {namespace!r}; whoever governs "
            f"the namespace lists it in its annotation {ANNOTATION_SERVICE_ACCOUNTS}",
        )

    def _ready(self, spec: AgentSpec) -> _Verdict:
        handler = spec.runtime.handler
        if handler is None:
            return "True", "Ready", "its container is run as it is"
        if spec.runtime.image is not None and spec.runtime.image != self._settings.worker_image:
            return "True", "Ready", f"the handler {handler} is looked for in {spec.runtime.image} when a task runs"
        problem = handler_problem(self._settings.agents_path, handler)
        if problem is not None:
            return "False", "HandlerNotFound", f"spec.runtime.handler: {problem}"
        return "True", "Ready", f"the handler {handler} is in the worker image"


def image_of(spec: AgentSpec, worker_image: str) -> str:
    """The image that the agent's pods run."""
    if spec.runtime.container is not None:
        return spec.runtime.container.image
    return spec.runtime.image or worker_image


def _status(item: JSONObject, *, image: str | None, verdicts: dict[str, _Verdict], now: str) -> AgentStatus:
    generation = item["metadata"]["generation"]
    conditions = list(AgentStatus.model_validate(item.get("status") or {}).conditions)
    for kind, (status, reason, message) in verdicts.items():
        condition = Condition(
            type=kind, status=status, reason=reason, message=message[:4096], observed_generation=generation
        )
        conditions = set_condition(conditions, condition, now)
    return AgentStatus(observed_generation=generation, image=image, ready=verdicts["Ready"][0], conditions=conditions)
