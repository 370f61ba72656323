"""What /metrics tells of the reconciler."""

from __future__ import annotations

from functools import partial
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server

from controllers.loop import Loop


def _depth(loop: Loop[Any]) -> float:
    return float(len(loop.queue))


class Metrics:
    """One registry a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ossa_api_requests", "Requests to the API server.", ["verb", "code"], registry=self.registry
        )
        self._seconds = Histogram(
            "ossa_api_request_seconds",
            "Time of a request to the API server.",
            ["verb"],
            buckets=(0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5, 30),
            registry=self.registry,
        )
        self._leader = Gauge("ossa_leader", "1 in the process that leads, 0 in one that waits.", registry=self.registry)
        self._epoch = Gauge(
            "ossa_leader_epoch", "The epoch that this process leads under; 0 while it waits.", registry=self.registry
        )
        self._depth = Gauge("ossa_queue_depth", "Keys that wait to be reconciled.", ["kind"], registry=self.registry)

    def request(self, verb: str, code: int, seconds: float) -> None:
        """An `Observer` of the API client."""
        self._requests.labels(verb, str(code)).inc()
        self._seconds.labels(verb).observe(seconds)

    def follow(self, *loops: Loop[Any]) -> None:
        """Shows the queues of these loops."""
        for loop in loops:
            self._depth.labels(loop.kind).set_function(partial(_depth, loop))

    def leads(self, epoch: int) -> None:
        """This process leads from now on until it ends."""
        self._leader.set(1)
        self._epoch.set(epoch)

    def serve(self, port: int) -> None:
        """Starts the server of /metrics in a thread of its own."""
        start_http_server(port, registry=self.registry)
