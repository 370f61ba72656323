"""What /metrics tells of the admission process."""

from __future__ import annotations

from wsgiref.simple_server import WSGIServer

from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server

from controllers.policycache import PolicyCache
from ossa.governance.verdict import Verdict

_REVIEW = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)


class AdmissionMetrics:
    """One registry a process."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        # Of each policy, action and outcome: to look one up by its labels takes as long as to judge by it.
        self._series: dict[tuple[str, str, str], Counter] = {}
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
        self._verdicts = Counter(
            "ossa_policy_verdicts",
            "What policies said of what they were about.",
            ("policy", "action", "outcome", "at"),
            registry=self.registry,
        )

    def reviewed(self, kind: str, operation: str, *, allowed: bool, seconds: float) -> None:
        """A review was answered; `kind` is one of ours."""
        self._requests.labels(kind, operation, str(allowed).lower()).inc()
        self._seconds.labels(kind).observe(seconds)

    def judged(self, verdict: Verdict) -> None:
        """Policies were asked at admission."""
        for held in verdict.judged:
            key = (held.policy, held.action, held.outcome)
            series = self._series.get(key)
            if series is None:
                series = self._series[key] = self._verdicts.labels(*key, "admission")
            series.inc()

    def follow(self, policies: PolicyCache) -> None:
        """The series of a policy that is gone end: they would stay for ever."""
        held: set[str] = set()

        def changed() -> None:
            now = policies.names()
            for gone in held - now:
                self._verdicts.remove_by_labels({"policy": gone})
                self._series = {key: series for key, series in self._series.items() if key[0] != gone}
            held.clear()
            held.update(now)

        policies.on_change(changed)

    def serve(self, port: int) -> WSGIServer:
        """Starts the server of /metrics in a thread of its own; 0 is any port that is free."""
        return start_http_server(port, registry=self.registry)[0]
