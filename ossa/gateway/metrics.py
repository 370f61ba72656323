"""What the gateway counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from ossa.gateway.auditmetrics import AuditMetrics

BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)
# What no route matched: one series for all that a scanner may think of.
UNMATCHED = "unmatched"


class Metrics:
    """Counters of one gateway, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # To look a series up by its labels costs as much as to count.
        self._held: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self.requests = Counter(
            "ossa_gateway_requests",
            "Requests by route template, method and HTTP code.",
            ["route", "method", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ossa_gateway_request_duration_seconds",
            "From the end of a request's headers to the end of its answer, by route template.",
            ["route"],
            buckets=BUCKETS,
            registry=self.registry,
        )
        self.in_flight = Gauge("ossa_gateway_requests_in_flight", "Requests being answered.", registry=self.registry)
        self.limited = Counter(
            "ossa_gateway_limited_requests",
            "Requests, sockets and their commands refused because a rate limit was used up.",
            registry=self.registry,
        )
        self.dropped = Counter(
            "ossa_gateway_dropped_connections",
            "Connections closed because of what the client did: headers, body, write (too slow), size.",
            ["cause"],
            registry=self.registry,
        )
        self.open = Gauge(
            "ossa_gateway_open_requests",
            "Accepted requests that are not carried out yet, of all replicas, as this one saw last.",
            registry=self.registry,
        )
        self.carried = Counter(
            "ossa_gateway_carried_requests",
            "Requests carried out after they were answered: created, refused, postponed.",
            ["outcome"],
            registry=self.registry,
        )

        self.sign_ins = Counter(
            "ossa_gateway_sign_ins",
            "Sign-ins and refreshes, by how and outcome.",
            ["how", "outcome"],
            registry=self.registry,
        )
        self.audit = AuditMetrics(self.registry)

    def observe(self, route: str, method: str, code: int, seconds: float) -> None:
        """One request; `method` is bounded by the caller."""
        held = self._held.get((route, method, code))
        if held is None:
            held = self._held[route, method, code] = (
                self.requests.labels(route, method, code),
                self.seconds.labels(route),
            )
        count, duration = held
        count.inc()
        duration.observe(seconds)
