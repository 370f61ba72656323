"""The process ossa-admission: answers admission reviews, and watches the policies and what these read.

Paths: those of controllers/admission/handlers.py refuse what is wrong; /authors-agents and so on record who made a
change.

Settings, from the environment: OSSA_ADMISSION_PORT (9443), OSSA_ADMISSION_CERT_FILE, OSSA_ADMISSION_KEY_FILE (a
renewed pair is served within seconds), OSSA_HEALTH_PORT (8081), OSSA_METRICS_PORT (9090), OSSA_WORKER_IMAGE; and as
JSON lists OSSA_DELEGATES (users that act for others), OSSA_OPERATORS (those of them that the reconciler is),
OSSA_BREAK_GLASS_GROUPS (whose members policies do not refuse) and OSSA_PARAMS_NAMESPACES (where policies' params lie).
"""

from __future__ import annotations

import asyncio
import logging
import os
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import uvloop

from controllers.admission import authors, handlers
from controllers.admission.answers import answered
from controllers.admission.denials import Denials
from controllers.admission.heap import Heap
from controllers.admission.judging import Judge
from controllers.admission.metrics import AdmissionMetrics
from controllers.admission.plans import Plans
from controllers.admission.policyreviews import PolicyReviews
from controllers.admission.server import WebhookServer
from controllers.policycache import PolicyCache
from ossa.api import crds
from ossa.api.contract import GROUP, VERSION
from ossa.environment import names, number, required
from ossa.kube.client import ApiClient
from ossa.kube.config import KubeConfig, load_config
from ossa.kube.kinds import wait_for_kinds
from ossa.kube.probes import probes
from ossa.logs import log_to
from ossa.stopping import told_to_stop, unless

logger = logging.getLogger("ossa.admission")

OPERATIONS = ("CREATE", "UPDATE")
MISDIRECTED = 500
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
    """Why a review is not for whoever is at its path, or None where it is."""
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
    """Answers reviews, and refuses what comes to the wrong path instead of letting it pass."""

    def __init__(self, admission: handlers.Admission, metrics: AdmissionMetrics, recorder: authors.Recorder) -> None:
        self._admission = admission
        self._metrics = metrics
        self._recorder = recorder

    async def __call__(self, review: dict[str, Any], path: str) -> dict[str, Any]:
        reason = misdirected(review, path)
        if reason is not None:
            logger.error("refused: %s", reason)
            text = f"{reason}; correct the webhook configuration ossa-admission"
            return _answer(review, handlers.Refusal(text, code=MISDIRECTED))
        if path.startswith(authors.PREFIX):
            return self._recorder.answer(review["request"])
        began = time.perf_counter()
        asked, refusal = handlers.Asked.of(review["request"]), None
        try:
            await self._admission.look(path, asked)
        except handlers.Refusal as error:
            refusal = error
        except RecursionError:
            refusal = handlers.Refusal("the object is nested too deep; make it flatter", code=handlers.UNPROCESSABLE)
        self._metrics.reviewed(
            KIND_NAMES[PATHS[path]], asked.operation, allowed=refusal is None, seconds=time.perf_counter() - began
        )
        return _answer(review, refusal, asked.warnings)


def _answer(review: dict[str, Any], refusal: handlers.Refusal | None, warnings: Sequence[str] = ()) -> dict[str, Any]:
    more: dict[str, Any] = {"warnings": list(warnings)} if warnings else {}
    if refusal is not None:
        more["status"] = {"code": refusal.code, "message": str(refusal)}
    return answered(review.get("request") or {}, allowed=refusal is None, **more)


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
        held = self._settings
        server = WebhookServer(
            port=held.port,
            certificate=held.certificate,
            key=held.key,
            answering=Answers(self._admission, self._metrics, authors.Recorder(held.delegates, held.break_glass)),
            serves=self._metrics.certificate_served,
        )
        async with probes("0.0.0.0", held.health_port, ready=lambda: not stopped.is_set()):
            serving = asyncio.create_task(server.serve(stopped))
            await asyncio.wait([serving, *watching], return_when=asyncio.FIRST_COMPLETED)
            stopped.set()
            await serving

    async def _synced(self) -> None:
        await self._policies.synced()
        await self._plans.synced()


async def serve(config: KubeConfig, settings: Settings) -> None:
    """Waits for the kinds, then serves, until SIGTERM or SIGINT."""
    stopped = told_to_stop()

    async def known() -> bool:
        await wait_for_kinds(config, sorted({*handlers.PATHS.values()}))
        return True

    if await unless(stopped, known()):
        async with ApiClient(config) as api:
            await Process(api, settings).run(stopped)


def main() -> None:
    settings = Settings.from_environment()
    log_to(sys.stderr)
    # One line a probe is noise; what policies refuse has a line of ours.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # Its TLS and its streams take half of the time of the standard library's.
    uvloop.run(serve(load_config(), settings))


if __name__ == "__main__":
    main()
