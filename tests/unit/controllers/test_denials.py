"""Events of denials: few of what is refused, all of what break-glass lets pass."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from controllers.admission import denials
from controllers.admission.denials import BURST, Denials
from controllers.admission.metrics import AdmissionMetrics
from controllers.admission.questions import Request
from ossa.governance.verdict import Judgement, Violation
from ossa.kube import paths
from ossa.kube.client import ApiClient
from tests.unit.controllers.apiserver import ApiServer, failure
from tests.unit.controllers.reviews import GOOD, body
from tests.unit.waiting import until

EVENTS = paths.core("events", "default")
DENIAL = Judgement("p", "uid-p", 1, "Enforce", "high", (Violation("r", "fail", "it is bad"),), refuses=True)
REASONS = ("PolicyViolation", "BreakGlass")


class Failing(ApiServer):
    """Takes no Event for so many requests."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.failures = failures

    def _post(self, path: str, item: dict[str, Any]) -> web.Response:
        if self.failures:
            self.failures -= 1
            return failure(503, "ServiceUnavailable")
        return super()._post(path, item)


@asynccontextmanager
async def told(server: ApiServer, metrics: AdmissionMetrics) -> AsyncIterator[Denials]:
    async with server.served() as config, ApiClient(config) as api:
        made = Denials(api, metrics)
        running = asyncio.create_task(made.run())
        try:
            yield made
        finally:
            running.cancel()
            await asyncio.wait([running])


def tell(made: Denials, count: int, *, broken_glass: bool, dry_run: bool = False) -> None:
    for number in range(count):
        request = Request("agents", "CREATE", body(GOOD["agents"]), None, user=f"u{number}", dry_run=dry_run)
        made.tell(request, DENIAL, broken_glass=broken_glass)


def dropped(metrics: AdmissionMetrics) -> list[float | None]:
    name = "ossa_admission_events_dropped_total"
    return [metrics.registry.get_sample_value(name, {"reason": reason}) for reason in REASONS]


def written(server: ApiServer) -> Counter[str]:
    return Counter(str(item["reason"]) for item in server.of(EVENTS))


async def test_many_denials_are_few_events_and_break_glass_is_each_one() -> None:
    server, metrics = ApiServer(), AdmissionMetrics()
    async with told(server, metrics) as made:
        tell(made, 300, broken_glass=False)
        tell(made, 300, broken_glass=True)
        tell(made, 9, broken_glass=True, dry_run=True)
        await until(lambda: written(server).total() >= BURST + 300)
    assert written(server) == {"PolicyViolation": BURST, "BreakGlass": 300}
    assert dropped(metrics) == [250, 0]


async def test_the_same_break_glass_twice_is_two_events() -> None:
    server, metrics = ApiServer(), AdmissionMetrics()
    async with told(server, metrics) as made:
        for _ in range(3):
            tell(made, 1, broken_glass=True)
            tell(made, 1, broken_glass=False)
        await until(lambda: written(server)["PolicyViolation"] > 0)
    assert written(server)["BreakGlass"] == 3


async def test_with_the_api_server_away_break_glass_is_written_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "AGAIN", 0.02)
    server, metrics = Failing(5), AdmissionMetrics()
    async with told(server, metrics) as made:
        tell(made, 2, broken_glass=True)
        await until(lambda: written(server)["BreakGlass"] == 2)
        server.failures = 1
        tell(made, 1, broken_glass=False)
        await until(lambda: dropped(metrics) == [1, 0])
        tell(made, 1, broken_glass=False)
        await until(lambda: written(server)["PolicyViolation"] == 1)


async def test_what_waits_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(denials, "BREAK_GLASS_MOST", 10)
    metrics = AdmissionMetrics()
    async with told(Failing(10**9), metrics) as made:
        tell(made, 15, broken_glass=True)
    assert dropped(metrics) == [0, 5]
