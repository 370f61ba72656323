"""What /metrics tells of the admission process."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from wsgiref.simple_server import WSGIServer

from cryptography import x509
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.core import CounterMetricFamily, Metric
from prometheus_client.registry import Collector

from controllers.policycache import PolicyCache
from ossa.governance.verdict import Verdict

log = logging.getLogger("ossa.admission")

_REVIEW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class Verdicts(Collector):
    """How often each policy said what, in a dict: counters with locks take as long as judging by as many policies."""

    def __init__(self) -> None:
        self._counts: dict[tuple[str, str, str], int] = {}

    def count(self, verdict: Verdict) -> None:
        """Policies were asked."""
        counts = self._counts
        for held in verdict.judged:
            key = (held.policy, held.action, held.outcome)
            counts[key] = counts.get(key, 0) + 1

    def forget(self, policies: set[str]) -> None:
        """The series of policies end."""
        self._counts = {key: count for key, count in self._counts.items() if key[0] not in policies}

    def collect(self) -> Iterator[Metric]:
        """Called by the server of /metrics, in a thread of its own."""
        family = CounterMetricFamily(
            "ossa_policy_verdicts",
            "What policies said of what they were about.",
            labels=("policy", "action", "outcome", "at"),
        )
        for key, count in self._counts.copy().items():
            family.add_metric((*key, "admission"), count)
        yield family


class AdmissionMetrics:
    """One registry a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ossa_admission_requests",
            "Reviews that were answered.",
            ("kind", "operation", "allowed"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ossa_admission_duration_seconds",
            "Time of a review.",
            ("kind",),
            buckets=_REVIEW,
            registry=self.registry,
        )
        self.verdicts = Verdicts()
        self.registry.register(self.verdicts)

        self._dropped = Counter(
            "ossa_admission_events_dropped",
            "Events of denials that were not written: too many at once, or the API server did not take them.",
            ("reason",),
            registry=self.registry,
        )
        for reason in ("PolicyViolation", "BreakGlass"):
            self._dropped.labels(reason)

        self._certificate_end = Gauge(
            "ossa_admission_certificate_expiration_timestamp_seconds",
            "When the certificate that is served ends, in seconds since 1970.",
            registry=self.registry,
        )

    def certificate_served(self, pem: bytes) -> None:
        """The chain that new connections are served with from now on; the server's own certificate comes first."""
        try:
            end = x509.load_pem_x509_certificate(pem).not_valid_after_utc.timestamp()
        except ValueError as error:  # OpenSSL takes what this parser does not
            log.warning("the end of the certificate is not known", extra={"error": str(error)})
            end = math.nan
        self._certificate_end.set(end)

    def event_dropped(self, reason: str) -> None:
        """An Event of a denial was not written."""
        self._dropped.labels(reason).inc()

    def reviewed(self, kind: str, operation: str, *, allowed: bool, seconds: float) -> None:
        """A review was answered; `kind` is one of ours."""
        self._requests.labels(kind, operation, str(allowed).lower()).inc()
        self._seconds.labels(kind).observe(seconds)

    def follow(self, policies: PolicyCache) -> None:
        """The series of a policy that is gone end: they would stay for ever."""
        held: set[str] = set()

        def changed() -> None:
            now = policies.names()
            if gone := held - now:
                self.verdicts.forget(gone)
            held.clear()
            held.update(now)

        policies.on_change(changed)

    def serve(self, port: int) -> WSGIServer:
        """Starts the server of /metrics in a thread of its own; 0 is any port that is free."""
        return start_http_server(port, registry=self.registry)[0]
