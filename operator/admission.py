"""The process ossa-admission: kopf's webhook server with the admission handlers, and nothing that watches.

Paths: /agents, /workflows and /executions refuse what is wrong; /authors-agents and so on record who made a change.

Settings, from the environment: OSSA_ADMISSION_PORT (9443), OSSA_ADMISSION_CERT_FILE, OSSA_ADMISSION_KEY_FILE (a
renewed pair is served within seconds), OSSA_HEALTH_PORT (8081), OSSA_DELEGATES (a JSON list of users that act for
others), OSSA_OPERATORS (one of those that the reconciler is).
"""

from __future__ import annotations

import asyncio
import copy
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any, cast

import kopf

from controllers import admission, authors
from ossa.api.contract import GROUP, VERSION
from ossa.kube.config import load_config
from ossa.kube.kinds import wait_for_kinds
from ossa.logs import log_to

logger = logging.getLogger("ossa.admission")

CERTIFICATE_SECONDS = 5.0
OPERATIONS = ("CREATE", "UPDATE")
# The kind of the reviews that come to a path.
PATHS = {kind: kind for kind in admission.REVIEWS} | {authors.PREFIX + kind: kind for kind in authors.KINDS}


@dataclass(frozen=True, slots=True)
class Settings:
    """What the chart says."""

    certificate: str
    key: str
    delegates: frozenset[str] = frozenset()
    operators: frozenset[str] = frozenset()
    port: int = 9443
    health_port: int = 8081

    @classmethod
    def from_environment(cls) -> Settings:
        """Raises KeyError that names the variable that is missing, or BadUsers."""
        return cls(
            certificate=os.environ["OSSA_ADMISSION_CERT_FILE"],
            key=os.environ["OSSA_ADMISSION_KEY_FILE"],
            delegates=authors.users_from("OSSA_DELEGATES"),
            operators=authors.users_from("OSSA_OPERATORS"),
            port=int(os.environ.get("OSSA_ADMISSION_PORT", "9443")),
            health_port=int(os.environ.get("OSSA_HEALTH_PORT", "8081")),
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


class Server(kopf.WebhookServer):
    """kopf's server, which refuses what comes to the wrong path instead of letting it pass."""

    async def __call__(self, fn: kopf.WebhookFn) -> AsyncIterator[kopf.WebhookClientConfig]:
        async def guarded(request: Any, *, webhook: str | None = None, **context: Any) -> Any:
            reason = misdirected(request, webhook)
            if reason is None:
                return await fn(request, webhook=webhook, **context)
            logger.error("refused: %s", reason)
            return {
                "apiVersion": "admission.k8s.io/v1",
                "kind": "AdmissionReview",
                "response": {
                    "uid": (request.get("request") or {}).get("uid", ""),
                    "allowed": False,
                    "status": {
                        "code": 500,
                        "message": f"{reason}; correct the webhook configuration ossa-admission",
                    },
                },
            }

        async for configuration in super().__call__(guarded):
            yield configuration


class NoMemories:
    """In place of kopf's memories, which keep a memo for every UID that was ever updated."""

    async def recall_memo(self, raw_body: Any, *, memobase: Any = None, ephemeral: bool = False) -> Any:
        del raw_body, ephemeral
        return copy.copy(memobase)

    def iter_all_daemon_memories(self) -> Iterator[Any]:
        return iter(())


def run(settings: Settings) -> None:
    """Serve until SIGTERM. No watch, no peering, no events posted, no configuration of kopf's own."""
    registry = kopf.get_default_registry()
    admission.register(registry, settings.operators)
    authors.register(registry, settings.delegates)
    kopf_settings = kopf.OperatorSettings()
    kopf_settings.scanning.disabled = True
    kopf_settings.posting.enabled = False
    kopf_settings.admission.managed = None
    kopf_settings.admission.server = Server(
        addr="0.0.0.0",
        port=settings.port,
        certfile=settings.certificate,
        pkeyfile=settings.key,
        file_check_interval=CERTIFICATE_SECONDS,
    )
    kopf.run(
        registry=registry,
        settings=kopf_settings,
        memories=cast(Any, NoMemories()),
        standalone=True,
        clusterwide=True,
        liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
    )


def main() -> None:
    settings = Settings.from_environment()
    log_to(sys.stderr)
    # One line a probe and a review is noise; what was refused is told to the person who asked.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    # Until kopf puts its own in place: the first process of a container has no default that would end it.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    asyncio.run(wait_for_kinds(load_config(), admission.REVIEWS))
    run(settings)


if __name__ == "__main__":
    main()
