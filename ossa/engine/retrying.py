"""Whether a failed attempt is followed by another one, and when."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from ossa.api.task import Backoff
from ossa.engine.clock import parse_duration

# How far the clocks of two reconcilers may differ.
_CLOCK_SLACK = timedelta(seconds=5)


def pause(backoff: Backoff, failures: int, key: str) -> timedelta:
    """How long to wait after so many failures (from 1 on).

    initial * factor^(failures - 1), at most max, then up to `jitter` of it more or less. The jitter is made from `key`,
    so that the same decision made again says the same.
    """
    initial, longest = (parse_duration(text).total_seconds() for text in (backoff.initial, backoff.max))
    # Beyond some power the longest is reached anyway, and a float overflows.
    seconds = min(longest, initial * backoff.factor ** min(failures - 1, 64))
    spread = int.from_bytes(hashlib.sha256(key.encode()).digest()[:4]) / 2**31 - 1
    return timedelta(seconds=max(0.0, seconds * (1 + backoff.jitter * spread)))


def is_over(at: datetime, length: timedelta, now: datetime) -> bool:
    """Whether a pause of `length` that lasts until `at` is over.

    One that would last longer than it is long is over too: the clock was put back meanwhile, and nobody waits for it to
    come by again.
    """
    return now >= at or at - now > length + _CLOCK_SLACK
