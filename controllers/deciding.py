"""Asks the engine for decisions, and tells what there is to count about them."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime

from ossa.engine.decide import Decision, decide
from ossa.engine.decision import Retry
from ossa.engine.rulings import Finding, Ruled
from ossa.engine.snapshot import Snapshot


def _unobserved(_what: object) -> None:
    """Nobody asks."""


def _unobserved_ruling(_ruled: Ruled, _finding: Finding) -> None:
    """Nobody asks."""


class Decider:
    """Tells of what is decided.

    took: how many seconds a decision took. retried: each attempt that another one follows. ruled: what each policy
    said.
    """

    def __init__(self) -> None:
        self.took: Callable[[float], None] = _unobserved
        self.retried: Callable[[Retry], None] = _unobserved
        self.ruled: Callable[[Ruled, Finding], None] = _unobserved_ruling

    def decide(self, snapshot: Snapshot, now: datetime) -> Decision:
        """What to do about an Execution now. The same may be decided again where it cannot be carried out."""
        began = time.perf_counter()
        decision = decide(snapshot, now)
        self.took(time.perf_counter() - began)
        return decision

    def keeps(self, decision: Decision) -> None:
        """A decision is written, or kept to be written: it is not made again."""
        for retry in decision.retries:
            self.retried(retry)
