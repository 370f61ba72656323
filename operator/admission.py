"""The process ossa-admission: kopf's admission handlers, and watches of the policies and of what these read.

Paths: those of controllers/admission/handlers.py refuse what is wrong; /authors-agents and so on record who made a
change.

Settings, from the environment: OSSA_ADMISSION_PORT (9443), OSSA_ADMISSION_CERT_FILE, OSSA_ADMISSION_KEY_FILE (a
renewed pair is served within seconds), OSSA_HEALTH_PORT (8081), OSSA_METRICS_PORT (9090), OSSA_WORKER_IMAGE; and as
JSON lists OSSA_DELEGATES (users that act for others), OSSA_OPERATORS (those of them that the reconciler is),
OSSA_BREAK_GLASS_GROUPS (whose members policies do not refuse) and OSSA_PARAMS_NAMESPACES (where policies' params lie).
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import kopf
import uvloop

from controllers.admission import authors, handlers
from controllers.admission.denials import Denials
from controllers.admission.heap import Heap
from controllers.admission.judging import Judge
from controllers.admission.metrics import AdmissionMetrics
from controllers.admission.plans import Plans
from controllers.admission.policyreviews import PolicyReviews
from controllers.admission.server import NoVerdict, WebhookServer
from controllers.policycache import PolicyCache
from ossa.api import crds
from ossa.api.contract import GROUP, VERSION
from ossa.environment import names, number, required
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig, load_config
from ossa.kube.kinds import wait_for_kinds
from ossa.logs import log_to
from ossa.stopping import told_to_stop, unless

logger = logging.getLogger("ossa.admission")

OPERATIONS = ("CREATE", "UPDATE")
# kopf's code for an exception of a handler that is no refusal.
UNFORESEEN = 500
# The kind of the reviews that come to a path.
PATHS = {**handlers.PATHS, **{authors.PREFIX + kind: kind for kind in authors.KINDS}}
KIND_NAMES = {kind.plural: kind.name for kind in crds.KINDS}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the chart says."""

    certificate: str
    key: str
    delegates: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    break_glass: frozenset[str] = frozenset()
    params_namespaces: frozenset[str] = frozenset()
    worker_image: str = ""
    port: int = 9443
    health_port: int = 8081
    metrics_port: int = 9090

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Raises BadSetting."""
        return cls(
            certificate=required(environment, "OSSA_ADMISSION_CERT_FILE"),
            key=required(environment, "OSSA_ADMISSION_KEY_FILE"),
            delegates=frozenset(names(environment, "OSSA_DELEGATES")),
            operators=frozenset(names(environment, "OSSA_OPERATORS")),
            break_glass=frozenset(names(environment, "OSSA_BREAK_GLASS_GROUPS")),
            params_namespaces=frozenset(names(environment, "OSSA_PARAMS_NAMESPACES")),
            worker_image=environment.get("OSSA_WORKER_IMAGE", ""),
            port=int(number(environment, "OSSA_ADMISSION_PORT", 9443)),
            health_port=int(number(environment, "OSSA_HEALTH_PORT", 8081)),
            metrics_port=int(number(environment, "OSSA_METRICS_PORT", 9090)),
        )


def misdirected(request: dict[str, Any], webhook: str | None) -> str | None:
    """Why a review is not for the handler at its path, or None where it is.

    kopf asks the handlers that match a path and a kind, and says "allowed" where none does.
    """
    review = request.get("request") or {}
    resource = review.get("resource") or {}
    asked = (resource.get("group"), resource.get("version"), resource.get("resource"))
    if webhook not in PATHS:
        return f"the webhook has no path /{webhook}; its paths are /{', /'.join(PATHS)}"
    if asked != (GROUP, VERSION, PATHS[webhook]):
        return f"the webhook's path /{webhook} is not for {asked[2]} of {asked[0]}/{asked[1]}"
    if review.get("operation") not in OPERATIONS or review.get("subResource"):
        return f"the webhook looks at {' and '.join(OPERATIONS)} of whole objects alone"
    return None


class Answers:
    """Answers reviews with the help of kopf, and refuses what comes to the wrong path instead of letting it pass."""

    def __init__(self, metrics: AdmissionMetrics, recorder: authors.Recorder) -> None:
        self._metrics = metrics
        self._recorder = recorder

    async def __call__(self, review: dict[str, Any], path: str, fn: kopf.WebhookFn) -> dict[str, Any]:
        reason = misdirected(review, path)
        if reason is not None:
            logger.error("refused: %s", reason)
            return _refusal(review, f"{reason}; correct the webhook configuration ossa-admission")
        if path.startswith(authors.PREFIX):
            return self._recorder.answer(review["request"])
        began = time.perf_counter()
        lighten(review["request"])
        try:
            answer = cast(dict[str, Any], await fn(cast(Any, review), webhook=cast(Any, path)))
        except RecursionError:
            return _refusal(review, "the object is nested too deep; make it flatter", code=handlers.UNPROCESSABLE)
        if (answer["response"].get("status") or {}).get("code") == UNFORESEEN:
            # Not our word about the object: the API server does what the entry's failurePolicy says.
            raise NoVerdict("the OSSA webhook failed; its log says why")
        self._metrics.reviewed(
            KIND_NAMES[PATHS[path]],
            review["request"]["operation"],
            allowed=answer["response"]["allowed"],
            seconds=time.perf_counter() - began,
        )
        return answer


def _refusal(review: dict[str, Any], message: str, *, code: int = UNFORESEEN) -> dict[str, Any]:
    return {
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "response": {
            "uid": (review.get("request") or {}).get("uid", ""),
            "allowed": False,
            "status": {"code": code, "message": message},
        },
    }


class Whole(dict[str, Any]):
    """What nobody changes, so that a copy of it is itself."""

    def __deepcopy__(self, memo: object) -> Whole:
        return self


def lighten(request: dict[str, Any]) -> None:
    """Makes objects such that kopf, which copies and compares them for a patch, takes a third of its time.

    managedFields say who wrote what, and nobody reads them.
    """
    for name in ("object", "oldObject"):
        item = request.get(name) or {}
        if isinstance(item.get("metadata"), dict):
            item["metadata"].pop("managedFields", None)
        if isinstance(item.get("spec"), dict):
            item["spec"] = Whole(item["spec"])


class NoMemories:
    """In place of kopf's memories, which keep a memo for every UID that was ever updated."""

    async def recall_memo(self, raw_body: Any, *, memobase: Any = None, ephemeral: bool = False) -> Any:
        del raw_body, ephemeral
        return copy.copy(memobase)

    def iter_all_daemon_memories(self) -> Iterator[Any]:
        return iter(())


class Process:
    """All parts of the process, put together."""

    def __init__(self, api: ApiClient, settings: Settings) -> None:
        self._settings = settings
        self._metrics = AdmissionMetrics()
        self._policies = PolicyCache(api, settings.params_namespaces)
        self._plans = Plans(api, settings.worker_image)
        self._denials = Denials(api, self._metrics)
        self._admission = handlers.Admission(
            judge=Judge(
                self._policies,
                self._plans,
                self._denials,
                self._metrics,
                break_glass=settings.break_glass,
                operators=settings.operators,
            ),
            policies=PolicyReviews(api, self._policies, settings.params_namespaces),
            operators=settings.operators,
        )

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until `stopped` is set, or until a watch fails in a way that is not foreseen."""
        self._metrics.serve(self._settings.metrics_port)
        self._metrics.follow(self._policies)
        parts = (self._policies.run(), self._plans.run(), self._denials.run())
        watching = [asyncio.create_task(part) for part in parts]
        known, told = asyncio.create_task(self._synced()), asyncio.create_task(stopped.wait())
        done, _ = await asyncio.wait([known, told, *watching], return_when=asyncio.FIRST_COMPLETED)
        if known in done and not stopped.is_set():
            await self._serve(stopped, watching)
        ended = [task for task in (known, *watching) if task.done()]
        for task in (known, told, *watching):
            task.cancel()
        await asyncio.gather(known, told, *watching, return_exceptions=True)
        for task in ended:
            task.result()

    async def _serve(self, stopped: asyncio.Event, watching: Sequence[asyncio.Task[None]]) -> None:
        """Answers reviews until `stopped` is set or one of `watching` ends."""
        heap = Heap()
        heap.settle()
        self._policies.on_change(heap.changed)
        # When kopf ends it takes each task of the loop for its own: it would wait for ours, and raise what they raise.
        before = asyncio.all_tasks()
        tasks = await self._spawned(stopped)
        told_to_stop(stopped)  # kopf has put handlers of its own in place, which leave a task that it then waits for
        operator = asyncio.create_task(kopf.run_tasks(tasks, ignored=before))
        await asyncio.wait([operator, *watching], return_when=asyncio.FIRST_COMPLETED)
        stopped.set()
        await operator

    async def _synced(self) -> None:
        await self._policies.synced()
        await self._plans.synced()

    async def _spawned(self, ended: asyncio.Event) -> Any:
        """kopf's tasks. No watch, no peering, no events posted, no configuration of its own."""
        held = self._settings
        registry = kopf.get_default_registry()
        handlers.register(registry, self._admission)
        answers = Answers(self._metrics, authors.Recorder(held.delegates, held.break_glass))
        settings = kopf.OperatorSettings()
        settings.scanning.disabled = True
        settings.posting.enabled = False
        settings.admission.managed = None
        settings.admission.server = cast(
            Any,
            WebhookServer(
                port=held.port,
                certificate=held.certificate,
                key=held.key,
                answering=answers,
                serves=self._metrics.certificate_served,
            ),
        )
        return await kopf.spawn_tasks(
            registry=registry,
            settings=settings,
            memories=cast(Any, NoMemories()),
            standalone=True,
            clusterwide=True,
            liveness_endpoint=f"http://0.0.0.0:{held.health_port}/healthz",
            stop_flag=ended,
        )


async def serve(config: KubeConfig, settings: Settings) -> None:
    """Waits for the kinds, then serves, until SIGTERM or SIGINT."""
    stopped = told_to_stop()

    async def known() -> bool:
        await wait_for_kinds(config, sorted({*handlers.PATHS.values()}))
        return True

    if await unless(stopped, known()):
        async with ApiClient(config) as api:
            await Process(api, settings).run(stopped)


def only_surprises(record: logging.LogRecord) -> bool:
    """kopf tells of each review, and of each refusal as of a failure: what was not foreseen has a traceback."""
    return record.exc_info is not None


def main() -> None:
    settings = Settings.from_environment()
    log_to(sys.stderr)
    # One line a probe and a review is noise; what policies refuse has a line of ours.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.getLogger("kopf").setLevel(logging.WARNING)
    logging.getLogger("kopf.objects").addFilter(only_surprises)
    # Its TLS and its streams take half of the time of the standard library's.
    uvloop.run(serve(load_config(), settings))


if __name__ == "__main__":
    main()
