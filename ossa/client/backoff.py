"""When to try again."""

from __future__ import annotations

from dataclasses import dataclass

from ossa.backoff import backoff


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds. Pauses double from `first` to `longest`, less up to half of each by chance."""

    first: float = 0.25
    longest: float = 5.0
    total: float = 60.0  # no further try begins so long after the first one

    def delay(self, tries: int, *, least: float = 0.0) -> float:
        """How long to wait after so many failed tries (from 1); never less than what the gateway asks for."""
        return max(least, backoff(tries - 1, first=self.first, most=self.longest))
