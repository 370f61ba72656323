"""Keeps the garbage collector's long pauses out of the answers to reviews."""

from __future__ import annotations

import asyncio

from ossa import heap

# Seconds without a change after which what was made is taken for long-lived: policies come and go together.
QUIET_SECONDS = 1.0


class Heap:
    """What lives long is frozen: the collector walks over the rest alone, which reviews leave behind.

    With 50 policies not frozen, one review in a hundred waited for a walk over all of them.
    """

    def __init__(self) -> None:
        self._due: asyncio.TimerHandle | None = None

    def changed(self) -> None:
        """Much was made anew that stays. May be called often."""
        if self._due is not None:
            self._due.cancel()
        self._due = asyncio.get_running_loop().call_later(QUIET_SECONDS, self.settle)

    def settle(self) -> None:
        """Freezes all that is there, once what nobody holds any more has been collected."""
        self._due = None
        heap.settle()
