"""Redis away must cost nobody time: after a call that failed, the next ones fail at once for a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

_Result = TypeVar("_Result")
_log = logging.getLogger("ossa.gateway")


class Down(Exception):
    """Redis did not answer, now or a moment ago."""


class Breaker:
    """Runs calls with a `timeout`; after one that failed none is tried for `pause`. Both in seconds."""

    def __init__(
        self, name: str, *, timeout: float = 0.5, pause: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._name = name
        self._timeout, self._pause, self._clock = timeout, pause, clock
        self._closed_until = 0.0
        self._down = False

    @property
    def down(self) -> bool:
        """Whether the last call failed."""
        return self._down

    async def call(self, work: Callable[[], Awaitable[_Result]]) -> _Result:
        """What `work` gives. Raises Down."""
        if self._clock() < self._closed_until:
            raise Down(self._name)
        if self._down:
            # One tries; the others need not wait for it.
            self._closed_until = self._clock() + self._pause
        try:
            async with asyncio.timeout(self._timeout):
                result = await work()
        except (RedisError, OSError) as error:
            if not self._down:
                _log.warning("Redis does not answer", extra={"used_for": self._name, "error": repr(error)})
            self._down, self._closed_until = True, self._clock() + self._pause
            raise Down(self._name) from error
        if self._down:
            _log.info("Redis answers again", extra={"used_for": self._name})
        self._down, self._closed_until = False, 0.0
        return result
