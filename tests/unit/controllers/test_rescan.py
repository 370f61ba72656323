"""All is judged again after a while, though nothing has changed; and the numbers that scans give."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from controllers.governance import scan
from controllers.metrics import Metrics
from ossa.engine.clock import to_exact_text
from tests.unit.controllers.governing import AGENTS, OWNED, POLICIES, Cluster, governed, server
from tests.unit.waiting import until

__all__ = ["server"]


def sample(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


async def test_a_rule_about_the_time_is_judged_again_though_nothing_changes(
    server: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scan, "EVERY", 0.3)
    ends = datetime.now(UTC) + timedelta(seconds=5)
    rule = {"expression": f"now < timestamp('{to_exact_text(ends)}')", "message": "its time is over"}
    server.agent("old")
    server.policy("timed", rule)
    metrics = Metrics()
    async with governed(server, metrics=metrics):
        await until(lambda: server.results("timed") == {"old": "pass"})
        versions = {path: server.objects[path]["metadata"]["generation"] for path in (f"{AGENTS}/old",)}
        await until(lambda: server.results("timed") == {"old": "fail"})
        assert datetime.now(UTC) >= ends
        assert {path: server.objects[path]["metadata"]["generation"] for path in versions} == versions
        await until(lambda: server.status(POLICIES, "timed").get("violations") == 1)
    again = sample(metrics, "ossa_policy_scan_duration_seconds_count", scope="all")
    assert again is not None
    assert again >= 2


async def test_the_numbers_of_scans(server: Cluster) -> None:
    metrics = Metrics()
    async with governed(server, metrics=metrics):
        for name in ("a", "b", "c"):
            server.agent(name)
        server.agent("good", owner="me")
        server.policy("owned", OWNED)
        server.policy("passing", {"expression": "true"})
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 3)
        assert sample(metrics, "ossa_policy_violations", policy="owned", kind="Agent") == 3
        assert sample(metrics, "ossa_policy_violations", policy="passing", kind="Agent") is None
        seen = sample(metrics, "ossa_policy_scanned_objects_total")
        assert seen is not None
        assert seen >= 4
        assert (sample(metrics, "ossa_policy_scan_duration_seconds_count", scope="changes") or 0) >= 1
        # One object that changes is one that is looked at.
        server.agent("a", owner="me")
        await until(lambda: server.status(POLICIES, "owned").get("violations") == 2)
        assert sample(metrics, "ossa_policy_violations", policy="owned", kind="Agent") == 2
        assert sample(metrics, "ossa_policy_scanned_objects_total") == seen + 1
        server.remove(f"{POLICIES}/owned")
        await until(lambda: sample(metrics, "ossa_policy_violations", policy="owned", kind="Agent") is None)
    assert sample(metrics, "ossa_policy_scan_duration_seconds_count", scope="all") in (None, 0)
