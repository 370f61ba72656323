"""When the artifact service was down: tasks that wait for it must not run out of time."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from ossa.engine.snapshot import Outage

log = logging.getLogger(__name__)

# Longer than any timeout that an outage could still matter to would be unbounded; a day is long enough in practice.
REMEMBERED = timedelta(days=1)


class OutageLog:
    """A `Listener` of the EndpointSlices of the artifact service: it is up while one endpoint is ready.

    A change is told by the control plane within a second or two of the readiness probe's verdict. Outages that ended
    before this process started are not known to it; one that it finds is taken to have lasted since long before: a task
    that runs too long does less harm than one that is ended for nothing.
    """

    def __init__(self, changed: Callable[[], None]) -> None:
        self._changed = changed
        self._ready: dict[str, bool] = {}
        self._outages: list[Outage] = []
        self._listed = False

    @property
    def outages(self) -> tuple[Outage, ...]:
        """Oldest first; the last one may be open."""
        return tuple(self._outages)

    def replaced(self, items: list[dict[str, Any]], version: int) -> None:  # noqa: ARG002 - of the interface
        self._ready = {item["metadata"]["name"]: _any_ready(item) for item in items}
        now = datetime.now(UTC)
        self._note(now, since=now if self._listed else now - REMEMBERED)
        self._listed = True

    def changed(self, kind: str, item: dict[str, Any]) -> None:
        name = item["metadata"]["name"]
        if kind == "DELETED":
            self._ready.pop(name, None)
        else:
            self._ready[name] = _any_ready(item)
        now = datetime.now(UTC)
        self._note(now, since=now)

    def advanced(self, version: int) -> None:
        """Nothing to do."""

    def _note(self, now: datetime, *, since: datetime) -> None:
        up = any(self._ready.values())
        open_now = bool(self._outages) and self._outages[-1].end is None
        if up and open_now:
            self._outages[-1] = Outage(self._outages[-1].start, now)
            log.info("artifact service is back")
        elif not up and not open_now:
            self._outages = [o for o in self._outages if o.end is None or now - o.end < REMEMBERED]
            self._outages.append(Outage(since, None))
            log.warning("artifact service is down; tasks that need it wait, and their timeouts do not run")
        else:
            return
        self._changed()


def _any_ready(endpoint_slice: dict[str, Any]) -> bool:
    return any((e.get("conditions") or {}).get("ready") for e in endpoint_slice.get("endpoints") or [])
