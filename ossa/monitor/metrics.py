"""What the monitor counts."""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from ossa.bus.group import Standing
from ossa.bus.messages import Alert
from ossa.monitor.outbox import Outbox
from ossa.monitor.rules import Severity

SEVERITIES: tuple[Severity, ...] = ("info", "warning", "critical")


class Metrics:
    """Of one process, in a registry of their own. Is the observer of its consumers."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._messages = Counter(
            "ossa_bus_messages",
            "Messages by what became of them: handled, claimed, parked or lost.",
            ["stream", "group", "outcome"],
            registry=self.registry,
        )
        self._failures = Counter(
            "ossa_bus_failures",
            "Batches that could not be committed and are tried again.",
            ["stream", "group"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ossa_bus_batch_seconds",
            "Time from a batch's delivery to its acknowledgement.",
            ["stream", "group"],
            buckets=(0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 60.0),
            registry=self.registry,
        )
        self._lag = self._gauge("ossa_bus_lag", "Messages that no consumer of a group has read.", "stream", "group")
        self._pending = self._gauge(
            "ossa_bus_pending", "Messages that were read and are not acknowledged.", "stream", "group"
        )
        self._parked = self._gauge("ossa_bus_parked", "Messages that were put aside with their error.", "stream")
        self._up = self._gauge("ossa_bus_up", "1 where Redis answered when it was looked at last, else 0.")
        self._alerts = self._gauge("ossa_alerts_firing", "Alerts that fire.", "severity")
        self._outbox = self._gauge("ossa_outbox_pending", "Objects that a sink has not been told of yet.", "sink")
        self._outbox_lag = self._gauge(
            "ossa_outbox_lag_seconds",
            "Seconds for which the oldest of these has waited; 0 where there is none.",
            "sink",
        )
        self._outbox_failures = self._gauge(
            "ossa_outbox_failures", "Failed attempts since a sink last took something.", "sink"
        )
        self._leader = self._gauge("ossa_leader", "1 in the process that leads, 0 in one that waits.")

    def handled(self, stream: str, group: str, *, messages: int, seconds: float) -> None:
        """See `Observer`, for this and the next four."""
        self._messages.labels(stream, group, "handled").inc(messages)
        self._seconds.labels(stream, group).observe(seconds)

    def failed(self, stream: str, group: str) -> None:
        self._failures.labels(stream, group).inc()

    def claimed(self, stream: str, group: str, messages: int) -> None:
        self._messages.labels(stream, group, "claimed").inc(messages)

    def parked(self, stream: str, group: str) -> None:
        self._messages.labels(stream, group, "parked").inc()

    def lost(self, stream: str, group: str, messages: int) -> None:
        self._messages.labels(stream, group, "lost").inc(messages)

    def looked(self, standings: Iterable[Standing], parked: Iterable[tuple[str, int]], alerts: Iterable[Alert]) -> None:
        """How the streams are, and what fires."""
        self._up.set(1)
        for one in standings:
            self._pending.labels(one.stream, one.group).set(one.pending)
            if one.lag is not None:
                self._lag.labels(one.stream, one.group).set(one.lag)
        for stream, count in parked:
            self._parked.labels(stream).set(count)
        firing = Tally(alert.severity for alert in alerts)
        for severity in SEVERITIES:
            self._alerts.labels(severity).set(firing[severity])

    def away(self) -> None:
        """Redis does not answer."""
        self._up.set(0)

    def outboxes(self, outboxes: Iterable[Outbox]) -> None:
        """From now on what these say is told whenever somebody asks."""
        for outbox in outboxes:
            self._outbox.labels(outbox.name).set_function(partial(_pending, outbox))
            self._outbox_lag.labels(outbox.name).set_function(partial(_lag, outbox))
            self._outbox_failures.labels(outbox.name).set_function(partial(_failures, outbox))

    def leads(self) -> None:
        """This process leads."""
        self._leader.set(1)

    def text(self) -> bytes:
        """In the text format of Prometheus."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, what: str, *labels: str) -> Gauge:
        return Gauge(name, what, list(labels), registry=self.registry)


def _pending(outbox: Outbox) -> float:
    return outbox.pending


def _lag(outbox: Outbox) -> float:
    return outbox.lag


def _failures(outbox: Outbox) -> float:
    return outbox.failures
