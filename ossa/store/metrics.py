"""What the artifact service counts."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest


class Metrics:
    """Counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "ossa_artifacts_requests",
            "Requests by method and HTTP code (499: the caller hung up).",
            ["method", "code"],
            registry=self.registry,
        )
        self.seconds = Histogram(
            "ossa_artifacts_request_duration_seconds",
            "Duration of a request with its body, by method.",
            ["method"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0),
            registry=self.registry,
        )
        self.bytes = Counter(
            "ossa_artifacts_bytes",
            "Bytes of artifacts stored (in) and handed out (out).",
            ["direction"],
            registry=self.registry,
        )
        self.swept = Counter(
            "ossa_artifacts_swept_executions",
            "Executions that were gone and whose artifacts were deleted.",
            registry=self.registry,
        )
        self.in_flight = Gauge("ossa_artifacts_requests_in_flight", "Requests being answered.", registry=self.registry)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self.registry)
