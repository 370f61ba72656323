"""Who was refused what by a policy, and why: a line in the log and an Event of the policy for each."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import time
import uuid
from collections import deque
from datetime import UTC, datetime
from typing import Any

from controllers.admission.metrics import AdmissionMetrics
from controllers.admission.questions import Request
from ossa.api.contract import API_VERSION
from ossa.api.trace import log_fields
from ossa.engine.values import shorten
from ossa.governance.verdict import Judgement
from ossa.kube import paths
from ossa.kube.client import ApiClient, ApiError, Conflict

log = logging.getLogger("ossa.denials")

COMPONENT = "ossa-admission"
# Events of what has no namespace stand in this one.
EVENTS_NAMESPACE = "default"
MESSAGE_MOST = 1024  # the API server's bound
LOGGED_MOST = 4096
# Whoever is refused a thousand times fills the log, and not etcd: Events at once, and a second after that.
BURST, RATE = 50, 5.0
# Break-glass is never too much: each has its Event, and is asked for again while the API server is away. So many may
# wait, which is what memory is for.
BREAK_GLASS_MOST = 10_000
AGAIN = 1.0


def clean(text: str) -> str:
    """The text without characters that a terminal or a log would interpret: they become their escapes."""
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


class Denials:
    """Events are written beside the reviews, which do not wait for them; what cannot be written is in the log."""

    def __init__(self, api: ApiClient, metrics: AdmissionMetrics) -> None:
        self._api = api
        self._metrics = metrics
        self._denied: deque[dict[str, Any]] = deque()
        self._broken: deque[dict[str, Any]] = deque()
        self._waiting = asyncio.Event()
        self._allowance, self._counted_at = float(BURST), time.monotonic()

    def tell(self, request: Request, judgement: Judgement, *, broken_glass: bool) -> None:
        """A denial, or what would have been one but for break-glass. A dry run leaves no Event."""
        log.warning(
            "policy overridden by break-glass" if broken_glass else "refused by policy",
            extra={
                "policy": judgement.version,
                "operation": request.operation,
                "kind": request.kind,
                "namespace": request.namespace,
                "object": request.name,
                "user": request.user,
                "why": shorten(judgement.message, LOGGED_MOST),
                "dryRun": request.dry_run,
                **(log_fields(request.body["metadata"]) if request.kind == "Execution" else {}),
            },
        )
        if request.dry_run:
            return
        if not (len(self._broken) < BREAK_GLASS_MOST if broken_glass else self._allowed()):
            self._metrics.event_dropped(reason_of(broken_glass=broken_glass))
            return
        event = event_of(request, judgement, broken_glass=broken_glass)
        (self._broken if broken_glass else self._denied).append(event)
        self._waiting.set()

    async def run(self) -> None:
        """Writes Events until cancelled."""
        while True:
            await self._waiting.wait()
            broken_glass = bool(self._broken)
            waiting = self._broken if broken_glass else self._denied
            if await self._written(waiting[0], again=broken_glass):
                waiting.popleft()
            else:
                await asyncio.sleep(AGAIN)
            if not (self._broken or self._denied):
                self._waiting.clear()

    async def _written(self, event: dict[str, Any], *, again: bool) -> bool:
        """Whether there is no more to do about it. again: what could not be written now may be later."""
        try:
            await self._api.post(paths.core("events", EVENTS_NAMESPACE), event)
        except Conflict:
            return True  # it is there: the same words in the same second, or written when no answer came
        except ApiError as error:
            if again and error.transient:
                return False
            log.warning("event not written", extra={"reason": event["reason"], "error": str(error)})
            self._metrics.event_dropped(event["reason"])
        return True

    def _allowed(self) -> bool:
        now = time.monotonic()
        self._allowance = min(float(BURST), self._allowance + (now - self._counted_at) * RATE)
        self._counted_at = now
        if self._allowance < 1 or len(self._denied) >= BURST:
            return False
        self._allowance -= 1
        return True


def reason_of(*, broken_glass: bool) -> str:
    """The reason of an Event."""
    return "BreakGlass" if broken_glass else "PolicyViolation"


def event_of(request: Request, judgement: Judgement, *, broken_glass: bool) -> dict[str, Any]:
    """The Event of a denial, on the policy."""
    what = f"{request.operation} of {request.kind} {request.namespace}/{request.name or '(generated name)'}"
    done = "let pass by break-glass" if broken_glass else "refused"
    message = clean(shorten(f"{done}: {what} by {request.user!r}: {judgement.message}", MESSAGE_MOST))[:MESSAGE_MOST]
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    # The same words in the same second are one denial; each use of break-glass is told of.
    which = uuid.uuid4().hex if broken_glass else now
    digest = hashlib.sha256(f"{judgement.uid}\0{message}\0{which}".encode()).hexdigest()[:16]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{judgement.policy[:200]}.{digest}", "namespace": EVENTS_NAMESPACE},
        "involvedObject": {
            "apiVersion": API_VERSION,
            "kind": "AgentPolicy",
            "name": judgement.policy,
            "uid": judgement.uid,
        },
        "type": "Warning",
        "reason": reason_of(broken_glass=broken_glass),
        "message": message,
        "source": {"component": COMPONENT},
        "reportingComponent": COMPONENT,
        "firstTimestamp": now,
        "lastTimestamp": now,
        "count": 1,
    }
