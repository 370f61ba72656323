"""Creates the pods that a decision asked for, once each, whatever the API server answers."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from controllers.settings import Settings
from controllers.transfers import Transfers
from ossa.api.base import JSONObject
from ossa.engine.batches import BATCH
from ossa.engine.decide import PodRequest
from ossa.engine.revision import CompiledRevision
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict, NotFound, NotPermitted, Refused
from ossa.kube.pods import PodSettings, build_pod, identity_of
from ossa.kube.podstore import PodStore
from ossa.store.errors import Problem

log = logging.getLogger(__name__)

# In the API server's words when the policy of that name refuses.
EPOCH_POLICY = "ValidatingAdmissionPolicy 'ossa-epoch'"
# Refusals that pass, by the API server's words: why the pod is held up.
_PASSING = {
    "exceeded quota": "Quota",
    EPOCH_POLICY: "Epoch",
    "error looking up service account": "ServiceAccount",
}
# Seconds that a missing service account is waited for.
ACCOUNT_GRACE = 20.0
# Seconds between two attempts to create a pod that is held up: half of the time that it has been, within these.
HELD_PAUSE_LEAST, HELD_PAUSE_MOST = 1.0, 30.0


@dataclass(frozen=True, slots=True)
class _Held:
    """A pod cannot be created yet: why, in words and in one."""

    message: str
    reason: str
    since: float  # monotonic


class PodCreator:
    """Remembers what is still to be created until the API server has said yes or no."""

    def __init__(self, api: ApiClient, settings: Settings, pods: PodStore, transfers: Transfers, *, epoch: int) -> None:
        self._api = api
        self._pods = pods
        self._transfers = transfers
        self._settings = PodSettings(settings.artifacts_url, epoch, settings.otlp_endpoint)
        self._wanted: dict[str, dict[str, PodRequest]] = defaultdict(dict)
        self._refused: dict[str, dict[str, str]] = defaultdict(dict)
        self._held: dict[str, dict[str, _Held]] = defaultdict(dict)

    def refused(self, execution: str) -> Mapping[str, str]:
        """Pod names that the API server refused, with its words."""
        return dict(self._refused.get(execution, {}))

    def held(self, execution: str) -> Mapping[str, str]:
        """Pod names that the API server does not take yet, with its words; they stay wanted."""
        return {name: held.message for name, held in self._held.get(execution, {}).items()}

    def pending(self) -> list[str]:
        """Why pods are held up, one word for each of them. /metrics asks from a thread of its own."""
        return [held.reason for names in list(self._held.values()) for held in list(names.values())]

    def pause(self, execution: str) -> float:
        """Seconds until `create` should be called again for the pods that are held up."""
        longest = max((time.monotonic() - held.since for held in self._held.get(execution, {}).values()), default=0.0)
        return min(HELD_PAUSE_MOST, max(HELD_PAUSE_LEAST, longest / 2))

    def want(self, execution: str, requests: Sequence[PodRequest]) -> None:
        """The status that records these attempts is written: from here on they are in flight."""
        for request in requests:
            self._wanted[execution][request.name] = request
            self._pods.expect(execution, request.name)

    def forget(self, execution: str) -> None:
        """The Execution is gone or has ended."""
        self._wanted.pop(execution, None)
        self._refused.pop(execution, None)
        self._held.pop(execution, None)
        self._transfers.forget(execution)

    async def create(self, execution: str, revision: CompiledRevision) -> None:
        """Asks for all pods that are wanted.

        Raises:
            ApiError: one may or may not exist now; it stays wanted, and the same name is asked for again.
        """
        self._drop_what_was_seen(execution)
        wanted = list(self._wanted.get(execution, {}).values())
        results = await asyncio.gather(*(self._create(request, revision) for request in wanted), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def _drop_what_was_seen(self, execution: str) -> None:
        """The answer was lost, but the watch has told of the pod: it exists, or did and its name is used up."""
        in_flight = self._pods.in_flight(execution)
        for name in [name for name in self._wanted.get(execution, ()) if name not in in_flight]:
            self._held[execution].pop(name, None)
            del self._wanted[execution][name]

    async def _create(self, request: PodRequest, revision: CompiledRevision) -> None:
        execution, name, namespace = request.identity.uid, request.name, request.identity.namespace
        try:
            request = await self._by_reference(request)
        except Problem as error:
            text = f"its input is too large for a pod, and has to be stored first: {error}"
            self._hold(execution, name, "ArtifactService", text)
            return
        task = revision.tasks[request.task]
        agent, capability = task.worker
        pod = build_pod(
            name,
            request.identity,
            agent_name=agent.name,
            agent=agent.spec,
            image=agent.image,
            capability=capability,
            input_value=request.input,
            settings=self._settings,
            batch=request.identity.index // BATCH if task.spec.for_each is not None else None,
        )
        try:
            made = await self._api.post(paths.core("pods", namespace), pod)
        except Conflict as error:
            if error.reason != "AlreadyExists":
                raise  # two creations wrote a quota at once: nothing was made, and it stays wanted
            adopted = await self._adopt(request)
            if adopted is None:
                return
            made = adopted
        except NotPermitted as error:
            self._hold(execution, name, "Permission", error.message)
            return
        except (Refused, NotFound) as error:
            if not self._holds(execution, name, error):
                self._refuse(execution, name, error.message)
            return
        self._held[execution].pop(name, None)
        self._pods.created(execution, name, int(made["metadata"]["resourceVersion"]))
        self._wanted[execution].pop(name, None)

    async def _by_reference(self, request: PodRequest) -> PodRequest:
        """The same with references to what is too large for a pod, once it is stored. Raises Problem."""
        if not request.large:
            return request
        namespace, execution = request.identity.namespace, request.identity.uid
        moved = await self._transfers.references(namespace, execution, request.large)
        made = replace(request, input={**request.input, **moved}, large={})
        # Asked for again, the pod is the same.
        self._wanted[execution][request.name] = made
        return made

    def _holds(self, execution: str, name: str, error: ApiError) -> bool:
        """Room in a quota may come; the service account of a new namespace comes within a second or two.

        Where the epoch is refused, either the API server does not know the newest one yet, or this process is about to
        end: neither is the task's fault.
        """
        before = self._held[execution].get(name)
        waited = time.monotonic() - before.since if before is not None else 0.0
        reason = next((reason for words, reason in _PASSING.items() if words in error.message), None)
        if reason is None or (reason == "ServiceAccount" and waited >= ACCOUNT_GRACE):
            return False
        self._hold(execution, name, reason, error.message)
        return True

    def _hold(self, execution: str, name: str, reason: str, message: str) -> None:
        before = self._held[execution].get(name)
        self._held[execution][name] = _Held(message, reason, before.since if before is not None else time.monotonic())

    async def _adopt(self, request: PodRequest) -> JSONObject | None:
        """The name is taken: by this very attempt, where an answer was lost, or by something else."""
        try:
            found = await self._api.get(paths.core("pods", request.identity.namespace, request.name))
        except NotFound as error:
            # It was there a moment ago, and its name is used up: the next look finds the attempt lost.
            self._wanted[request.identity.uid].pop(request.name, None)
            self._pods.unexpect(request.identity.uid, request.name)
            raise ApiError(0, "Vanished", f"pod {request.name} was there and is gone") from error
        if identity_of(found) == request.identity:
            return found
        self._refuse(request.identity.uid, request.name, f"the pod name {request.name} is taken by another pod")
        return None

    def _refuse(self, execution: str, name: str, message: str) -> None:
        log.warning("pod refused", extra={"pod": name, "error": message})
        self._held[execution].pop(name, None)
        self._refused[execution][name] = message
        self._wanted[execution].pop(name, None)
        self._pods.unexpect(execution, name)
