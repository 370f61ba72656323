"""When to try again."""

from __future__ import annotations

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds. Pauses double from `first` to `longest`, less up to half of each by chance."""

    first: float = 0.25
    longest: float = 5.0
    total: float = 60.0  # no further try begins so long after the first one

    def delay(self, tries: int, *, least: float = 0.0) -> float:
        """How long to wait after so many failed tries (from 1); never less than what the gateway asks for."""
        full = min(self.longest, self.first * 2.0 ** min(tries - 1, 16))
        return max(least, full * random.uniform(0.5, 1.0))  # noqa: S311 - spreads load, hides nothing
