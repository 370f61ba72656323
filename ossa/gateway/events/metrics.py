"""What is counted of sockets."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


class Metrics:
    """Counters of one replica's sockets, in the registry of its process."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.sockets = Gauge("ossa_gateway_sockets", "WebSockets that follow events.", registry=registry)
        self.closed = Counter("ossa_gateway_sockets_closed", "WebSockets closed, by code.", ["code"], registry=registry)
        self.frames = Counter("ossa_gateway_event_frames", "Frames handed to WebSockets.", registry=registry)
        self.resets = Counter(
            "ossa_gateway_resets", "Resets sent: events that a client missed were gone.", registry=registry
        )
        self.delay = Histogram(
            "ossa_gateway_event_delay_seconds",
            "From an event's entry into the stream until it is handed to the sockets.",
            buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0),
            registry=registry,
        )
