"""Rate limits: the generic cell rate algorithm, in Redis for all replicas together, here where Redis is away.

A key may be used `burst` times at once, and `rate` times a second in the long run. A request takes from all its keys
or from none: one that is refused costs nothing, so nobody is locked out for longer than the flood lasts.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from http import HTTPStatus
from ipaddress import IPv6Address, ip_address
from typing import Final

from prometheus_client import Counter
from redis.asyncio import Redis

from ossa.gateway.batching import Batcher
from ossa.gateway.breaker import Breaker, Down
from ossa.gateway.identity import Identity
from ossa.gateway.problems import Problem

# Per request its number of keys, then interval, tolerance (microseconds) and cost a key. Answers, per request, the
# microseconds to wait; 0 where it may pass. The server's clock counts: replicas' clocks differ.
SCRIPT: Final = """
local now = redis.call('TIME')
now = now[1] * 1000000 + now[2]
local answers, key, argument = {}, 0, 0
while argument < #ARGV do
  local count = tonumber(ARGV[argument + 1])
  argument = argument + 1
  local wait, times = 0, {}
  for i = 1, count do
    local interval = tonumber(ARGV[argument + i * 3 - 2])
    local tolerance = tonumber(ARGV[argument + i * 3 - 1])
    local cost = tonumber(ARGV[argument + i * 3])
    local due = math.max(tonumber(redis.call('GET', KEYS[key + i]) or '0'), now) + interval * cost
    times[i] = due
    wait = math.max(wait, due - tolerance - now)
  end
  if wait <= 0 then
    for i = 1, count do
      redis.call('SET', KEYS[key + i], string.format('%.0f', times[i]), 'PX',
        math.max(1, math.ceil((times[i] - now) / 1000)))
    end
  end
  answers[#answers + 1] = math.max(0, math.ceil(wait))
  argument, key = argument + count * 3, key + count
end
return answers
"""
AT_ONCE = 200  # requests that one call carries
_LOCAL_SIZE = 50_000  # keys


@dataclass(frozen=True, slots=True)
class Limit:
    """`rate` a second in the long run, `burst` at once."""

    rate: float
    burst: int

    @property
    def interval(self) -> float:
        """Microseconds that one use takes."""
        return 1e6 / self.rate


@dataclass(frozen=True, slots=True)
class Check:
    """One use of a key, or as many as it costs."""

    key: str
    limit: Limit
    cost: int = 1

    @property
    def counted(self) -> int:
        """What costs more than may be used at once passes where nothing was used before."""
        return min(self.cost, self.limit.burst)


class Limiter:
    """Takes from keys, atomically. One call to Redis a request at most."""

    def __init__(self, redis: Redis, *, prefix: str = "ossa:limit:") -> None:
        self._script = redis.register_script(SCRIPT)
        self._prefix = prefix
        self._breaker = Breaker("rate limits")
        self._local = LocalLimiter()
        # Those that come while one call is on its way share the next.
        self._batches = Batcher(self._waits, most=AT_ONCE)

    async def wait_of(self, checks: Sequence[Check]) -> float:
        """Take from all. 0 where that was done, else nothing was taken and these are the seconds to wait."""
        return await self._batches.put(checks)

    async def require(self, checks: Sequence[Check], what: str) -> None:
        """Raises Problem: 429 with Retry-After; `what` says of what there was too much."""
        wait = await self.wait_of(checks)
        if wait > 0:
            seconds = max(1, math.ceil(wait))
            raise Problem(
                HTTPStatus.TOO_MANY_REQUESTS,
                f"too many {what}; try again in {seconds} s",
                headers={"Retry-After": str(seconds)},
            )

    async def _waits(self, requests: Sequence[Sequence[Check]]) -> list[float]:
        keys = [self._prefix + check.key for checks in requests for check in checks]
        arguments: list[int | float] = []
        for checks in requests:
            arguments.append(len(checks))
            for check in checks:
                interval = check.limit.interval
                arguments += [interval, interval * check.limit.burst, check.counted]
        try:
            answers = await self._breaker.call(lambda: self._script(keys=keys, args=arguments))
        except Down:
            return [self._local.wait_of(checks) for checks in requests]
        return [int(answer) / 1e6 for answer in answers]


class LocalLimiter:
    """The same, for this replica alone: N replicas together let N times as much through while Redis is away."""

    def __init__(self, *, clock: Callable[[], float] = time.monotonic, size: int = _LOCAL_SIZE) -> None:
        self._clock, self._size = clock, size
        self._due: dict[str, float] = {}  # seconds, by the clock

    def wait_of(self, checks: Sequence[Check]) -> float:
        """As `Limiter.wait_of`."""
        now = self._clock()
        times = {
            check.key: max(self._due.get(check.key, now), now) + check.counted / check.limit.rate for check in checks
        }
        # A microsecond for what floating-point numbers lose.
        wait = max(times[check.key] - check.limit.burst / check.limit.rate - now for check in checks)
        if wait > 1e-6:
            return wait
        for key, due in times.items():
            self._due.pop(key, None)
            self._due[key] = due
        while len(self._due) > self._size:
            del self._due[next(iter(self._due))]
        return 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """What a user and an address may ask for. An address may be that of many users."""

    user: Limit
    address: Limit


class RequestLimits:
    """`ossa.gateway.identity.RateLimiter`; `refused` counts what was refused."""

    def __init__(self, limiter: Limiter, limits: Limits, refused: Counter) -> None:
        self._limiter, self._limits, self._refused = limiter, limits, refused

    async def take(self, identity: Identity | None, address: str, cost: int = 1) -> None:
        """Raises Problem: 429 with Retry-After in seconds."""
        checks = [Check(f"address:{network_of(address)}", self._limits.address, cost)]
        if identity is not None:
            checks.append(Check(f"user:{digest(identity.user)}", self._limits.user, cost))
        try:
            await self._limiter.require(checks, "requests")
        except Problem:
            self._refused.inc()
            raise


@lru_cache(4096)
def network_of(address: str) -> str:
    """What is limited as one: an IPv4 address, the /64 of an IPv6 one, as a whole network is given to one customer."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return digest(address)
    if isinstance(parsed, IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(IPv6Address(int(parsed) >> 64 << 64))
    return str(parsed)


def digest(text: str) -> str:
    """A name of bounded length for a key."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]
