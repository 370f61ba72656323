"""Rate limits: exact in Redis however many ask, and held without it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.asyncio import Redis as Client

from ossa.gateway.identity import Identity
from ossa.gateway.metrics import Metrics
from ossa.gateway.problems import Problem
from ossa.gateway.ratelimit import Check, Limit, Limiter, Limits, LocalLimiter, RequestLimits, network_of
from tests.unit.servers import Redis

SLOW = Limit(rate=1 / 3600, burst=10)  # nothing comes back while a test runs
WIDE = Limit(rate=1e6, burst=1_000_000)
ALICE = Identity(user="ossa:alice")


@pytest.fixture
async def clients(redis_url: str) -> AsyncIterator[list[Client]]:
    made = [Client.from_url(redis_url) for _ in range(3)]
    yield made
    for client in made:
        await client.aclose()


async def test_of_many_at_once_in_several_replicas_exactly_the_burst_passes(clients: list[Client]) -> None:
    limiters = [Limiter(client) for client in clients]
    waits = await asyncio.gather(
        *(limiters[number % 3].wait_of([Check("one", SLOW), Check(f"own:{number}", WIDE)]) for number in range(300))
    )
    assert sum(wait == 0 for wait in waits) == SLOW.burst
    assert all(3500 < wait <= 3600 for wait in waits if wait)


async def test_what_is_refused_takes_from_no_key(clients: list[Client]) -> None:
    limiter = Limiter(clients[0])
    for _ in range(SLOW.burst):
        assert await limiter.wait_of([Check("full", SLOW)]) == 0
    for _ in range(50):
        assert await limiter.wait_of([Check("other", SLOW), Check("full", SLOW)]) > 0
    passed = [await limiter.wait_of([Check("other", SLOW)]) for _ in range(SLOW.burst)]
    assert passed == [0] * SLOW.burst


async def test_it_comes_back_at_the_rate(clients: list[Client]) -> None:
    limiter, limit = Limiter(clients[0]), Limit(rate=20, burst=5)
    began, passed = time.monotonic(), 0
    while time.monotonic() < began + 1.0:
        passed += await limiter.wait_of([Check("one", limit)]) == 0
    took = time.monotonic() - began
    assert limit.burst + 20 * 0.9 - 1 <= passed <= limit.burst + 20 * took + 1


async def test_after_the_time_that_it_says_it_passes(clients: list[Client]) -> None:
    limiter, limit = Limiter(clients[0]), Limit(rate=1, burst=1)
    assert await limiter.wait_of([Check("one", limit)]) == 0
    wait = await limiter.wait_of([Check("one", limit)])
    assert 0.4 < wait <= 1
    await asyncio.sleep(wait)
    assert await limiter.wait_of([Check("one", limit)]) == 0


async def test_keys_are_gone_once_they_say_nothing(clients: list[Client]) -> None:
    await Limiter(clients[0]).wait_of([Check("one", Limit(rate=1, burst=5))])
    assert 1 <= await clients[0].pttl("ossa:limit:one") <= 1001


async def test_what_costs_more_than_the_burst_passes_once(clients: list[Client]) -> None:
    limiter = Limiter(clients[0])
    assert await limiter.wait_of([Check("one", SLOW, cost=50)]) == 0
    assert await limiter.wait_of([Check("one", SLOW)]) > 0


async def test_with_redis_stopped_each_replica_counts_and_nobody_waits_for_it(
    clients: list[Client], redis: Redis
) -> None:
    limiter = Limiter(clients[0])
    await limiter.wait_of([Check("before", SLOW)])
    redis.stop()
    began = time.monotonic()
    waits = await asyncio.gather(*(limiter.wait_of([Check("one", SLOW)]) for _ in range(100)))
    assert sum(wait == 0 for wait in waits) == SLOW.burst
    assert time.monotonic() - began < 1.0
    redis.start()
    await asyncio.sleep(1.1)
    assert await limiter.wait_of([Check("one", SLOW)]) == 0  # Redis counts again, and has not heard of it
    assert await clients[1].exists("ossa:limit:one") == 1


async def test_who_gives_up_keeps_nobody_else_waiting(clients: list[Client]) -> None:
    limiter = Limiter(clients[0])
    several = [asyncio.create_task(limiter.wait_of([Check("one", WIDE)])) for _ in range(20)]
    await asyncio.sleep(0)
    for task in several[::2]:
        task.cancel()
    assert await asyncio.gather(*several[1::2]) == [0.0] * 10


async def test_a_request_takes_from_its_user_and_its_address(clients: list[Client]) -> None:
    bounds, metrics = Limits(user=Limit(1 / 60, 3), address=Limit(1 / 60, 5)), Metrics()
    limits = RequestLimits(Limiter(clients[0]), bounds, metrics.limited)
    for _ in range(3):
        await limits.take(ALICE, "192.0.2.1")
    with pytest.raises(Problem) as refusal:
        await limits.take(ALICE, "192.0.2.9")
    assert refusal.value.status == 429
    assert 1 <= int(refusal.value.headers["Retry-After"]) <= 60
    for _ in range(2):
        await limits.take(None, "192.0.2.1")
    with pytest.raises(Problem):
        await limits.take(None, "192.0.2.1")
    await limits.take(None, "192.0.2.9")
    assert metrics.registry.get_sample_value("ossa_gateway_limited_requests_total") == 2


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("192.0.2.1", "192.0.2.1"),
        ("::ffff:192.0.2.1", "192.0.2.1"),
        ("2001:db8:1:2:aaaa::1", "2001:db8:1:2::"),
        ("2001:db8:1:2:bbbb::1", "2001:db8:1:2::"),
        ("fe80::1%eth0", "fe80::"),
    ],
)
def test_an_ipv6_network_counts_as_one(address: str, network: str) -> None:
    assert network_of(address) == network


def test_what_is_no_address_is_a_key_of_bounded_length() -> None:
    assert len(network_of("x" * 10_000)) == 32


@given(
    st.lists(st.floats(min_value=0, max_value=2), max_size=100),
    st.floats(min_value=0.1, max_value=100),
    st.integers(min_value=1, max_value=50),
)
def test_never_more_than_burst_and_rate_allow(pauses: list[float], rate: float, burst: int) -> None:
    now, passed = 0.0, []
    limiter = LocalLimiter(clock=lambda: now)
    for pause in pauses:
        now += pause
        if limiter.wait_of([Check("one", Limit(rate, burst))]) == 0:
            passed.append(now)
    for first, began in enumerate(passed):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + rate * (passed[last] - began) + 1e-3


def test_the_local_limiter_keeps_a_bounded_number_of_keys() -> None:
    limiter = LocalLimiter(size=10)
    for number in range(100):
        limiter.wait_of([Check(str(number), SLOW)])
    assert len(limiter._due) == 10
