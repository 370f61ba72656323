"""A queue that holds each key once, with a heap of wake-ups.

A key that is added while it is worked on is worked on again afterwards, never twice at once: the guarantees of
client-go's workqueue, which level-triggered controllers rely on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Hashable
from contextlib import suppress
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
# Compared as tuples are: lower goes first.
Priority = tuple[float, ...]
USUAL: Priority = (0.0,)


class KeyQueue(Generic[Key]):
    """For one event loop. Lower `priority` first, then first come first served."""

    def __init__(self) -> None:
        self._ready: list[tuple[Priority, int, Key]] = []
        self._queued: dict[Key, Priority] = {}  # key -> its best priority
        self._active: set[Key] = set()
        self._again: dict[Key, Priority] = {}  # added while active
        self._later: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}  # monotonic; the soonest wake-up of a key
        self._order = itertools.count()
        self._changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, key: Key, *, priority: Priority = USUAL) -> None:
        """Asks that `key` be worked on."""
        if key in self._active:
            self._again[key] = min(priority, self._again.get(key, priority))
            return
        known = self._queued.get(key)
        if known is not None and known <= priority:
            return
        self._queued[key] = priority
        heapq.heappush(self._ready, (priority, next(self._order), key))
        self._changed.set()

    def add_after(self, key: Key, seconds: float) -> None:
        """Asks that `key` be worked on in `seconds`. The soonest of several such wishes holds."""
        due = time.monotonic() + max(0.0, seconds)
        if self._due.get(key, due + 1) <= due:
            return
        self._due[key] = due
        heapq.heappush(self._later, (due, next(self._order), key))
        self._changed.set()

    def forget(self, key: Key) -> None:
        """Drops the wake-up of a key that is gone."""
        self._due.pop(key, None)

    async def take(self) -> Key:
        """The next key; the caller must call `done` when it has been worked on."""
        while True:
            self._wake_due()
            while self._ready:
                priority, _, key = heapq.heappop(self._ready)
                if self._queued.get(key) == priority:
                    del self._queued[key]
                    self._active.add(key)
                    return key
            self._changed.clear()
            pause = self._later[0][0] - time.monotonic() if self._later else None
            with suppress(TimeoutError):
                # Not wait_for: in Python 3.11 it swallows a cancellation that comes together with the event.
                async with asyncio.timeout(pause):
                    await self._changed.wait()

    def done(self, key: Key) -> None:
        """Ends the work on `key`."""
        self._active.discard(key)
        if key in self._again:
            self.add(key, priority=self._again.pop(key))

    def _wake_due(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self.add(key)
