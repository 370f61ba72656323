"""A queue that holds each key once, with a heap of wake-ups.

A key that is added while it is worked on is worked on again afterwards, never twice at once: the guarantees of
client-go's workqueue, which level-triggered controllers rely on.
"""

from __future__ import annotations

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable, Hashable
from contextlib import suppress
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
# Compared as tuples are: lower goes first.
Priority = tuple[float, ...]
USUAL: Priority = (0.0,)


def _unobserved(_seconds: float) -> None:
    """Nobody asks."""


class KeyQueue(Generic[Key]):
    """For one event loop. Lower `priority` first, then first come first served."""

    def __init__(self) -> None:
        self._ready: list[tuple[Priority, int, Key]] = []
        self._queued: dict[Key, tuple[Priority, float]] = {}  # its best priority, and since when (monotonic) it waits
        self._active: set[Key] = set()
        self._again: dict[Key, tuple[Priority, float]] = {}  # added while active
        self._later: list[tuple[float, int, Key]] = []
        self._due: dict[Key, float] = {}  # monotonic; the soonest wake-up of a key
        self._order = itertools.count()
        self._changed = asyncio.Event()
        # Is told how many seconds a key waited for its turn: from when it was first asked for, or a wake-up was due.
        self.waited: Callable[[float], None] = _unobserved

    def __len__(self) -> int:
        return len(self._queued)

    def add(self, key: Key, *, priority: Priority = USUAL) -> None:
        """Asks that `key` be worked on."""
        self._add(key, priority, time.monotonic())

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
                best, since = self._queued.get(key, (None, 0.0))
                if best == priority:
                    del self._queued[key]
                    self._active.add(key)
                    self.waited(time.monotonic() - since)
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
            self._add(key, *self._again.pop(key))

    def _add(self, key: Key, priority: Priority, since: float) -> None:
        waiting = self._again if key in self._active else self._queued
        known = waiting.get(key)
        if known is not None:
            since = min(since, known[1])
        if known is not None and known[0] <= priority:
            waiting[key] = (known[0], since)
            return
        waiting[key] = (priority, since)
        if waiting is self._queued:
            heapq.heappush(self._ready, (priority, next(self._order), key))
            self._changed.set()

    def _wake_due(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key, USUAL, due)
