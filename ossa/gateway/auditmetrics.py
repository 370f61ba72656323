"""What is counted of the audit trail."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# PostgreSQL; Redis' disk with PostgreSQL away; Redis for the archive's sake, where PostgreSQL has it already.
Place = Literal["records", "stream", "copy"]


class AuditMetrics:
    """Counters of one process' trail, in the registry of that process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.entries = Counter(
            "ossa_audit_entries", "Entries of the audit trail that are written, by place.", ["place"], registry=registry
        )
        self.failures = Counter(
            "ossa_audit_failures", "Writes that a place did not take.", ["place"], registry=registry
        )
        self.seconds = Histogram(
            "ossa_audit_write_seconds",
            "Time of a write of the audit trail, which holds what came together, by place.",
            ["place"],
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 2.5),
            registry=registry,
        )
        self.pending = Gauge(
            "ossa_audit_pending", "Entries of the audit trail that are not written yet.", registry=registry
        )
        self.refused = Counter(
            "ossa_audit_refused", "Requests answered 503 because their entry could be kept nowhere.", registry=registry
        )

    async def write(self, place: Place, entries: int, work: Awaitable[bool]) -> bool:
        """Awaits the write of so many entries: whether the place took them."""
        with self.seconds.labels(place).time():
            taken = await work
        if taken:
            self.entries.labels(place).inc(entries)
        else:
            self.failures.labels(place).inc()
        return taken
