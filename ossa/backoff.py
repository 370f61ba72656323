"""Pauses between tries."""

from __future__ import annotations

import random


def backoff(doublings: int, *, first: float, most: float) -> float:
    """Seconds to wait: `first`, doubled so many times, `most` at most, less up to half of it by chance.

    Of many who lost one server not all come back at one time.
    """
    longest = min(most, first * 2.0 ** min(doublings, 20))
    return longest * random.uniform(0.5, 1.0)  # noqa: S311 - spreads tries, guards nothing
