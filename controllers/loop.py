"""Workers that take keys from a queue and reconcile them, with retries."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from ossa.backoff import backoff
from ossa.kube.client import ApiError, Conflict
from ossa.kube.queue import KeyQueue

log = logging.getLogger(__name__)

K = TypeVar("K", bound=Hashable)
BACKOFF_FIRST, BACKOFF_MOST = 0.1, 30.0


def _unobserved(_seconds: float) -> None:
    """Nobody asks."""


class Loop(Generic[K]):
    """One kind's queue and its workers."""

    def __init__(self, kind: str, reconcile: Callable[[K], Awaitable[None]]) -> None:
        self.kind = kind
        self.queue: KeyQueue[K] = KeyQueue()
        self._reconcile = reconcile
        self._failures: dict[K, int] = {}
        self.took: Callable[[float], None] = _unobserved  # is told how many seconds a turn took

    async def work(self) -> None:
        """One worker; runs until cancelled."""
        while True:
            key = await self.queue.take()
            began = time.monotonic()
            try:
                await self._reconcile(key)
            except Conflict:
                # The cache was behind: the newer state is on its way, and looking again shortly is cheap.
                self.queue.add_after(key, 0.05)
            except ApiError as error:
                self._again(key, str(error))
            except Exception as error:
                log.exception("reconciling failed", extra={"kind": self.kind, "key": str(key)})
                self._again(key, repr(error))
            else:
                self._failures.pop(key, None)
            finally:
                self.queue.done(key)
                self.took(time.monotonic() - began)

    async def run(self, workers: int) -> None:
        """`workers` of them; runs until cancelled."""
        async with asyncio.TaskGroup() as group:
            for _ in range(workers):
                group.create_task(self.work())

    def _again(self, key: K, error: str) -> None:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        pause = backoff(failures, first=BACKOFF_FIRST, most=BACKOFF_MOST)
        log.warning(
            "will be reconciled again",
            extra={"kind": self.kind, "key": str(key), "error": error[:500], "pause": round(pause, 2)},
        )
        self.queue.add_after(key, pause)
