"""Work for executions that may take long: their turns wait for it a moment, and it goes on without them."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

T = TypeVar("T")
# Seconds after its start that anybody waits for a piece of work.
PATIENCE = 1.0


class Late(Exception):
    """It has not ended yet: ask again."""


class Background(Generic[T]):
    """`wake` is told of an execution whose work has ended after somebody stopped waiting for it."""

    def __init__(self, wake: Callable[[str], None]) -> None:
        self._wake = wake
        self._running: dict[str, dict[str, tuple[asyncio.Task[T], float]]] = defaultdict(dict)

    async def result(self, uid: str, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the work gives, which is started where none with this key runs for the execution.

        Raises Late where it takes longer than a moment, and what the work raises.
        """
        running = self._running[uid]
        if key not in running:
            running[key] = asyncio.create_task(work()), time.monotonic()
        task, began = running[key]
        done, _ = await asyncio.wait({task}, timeout=max(0.0, began + PATIENCE - time.monotonic()))
        if not done:
            task.add_done_callback(lambda _: self._wake(uid))
            raise Late
        if running.get(key, (None,))[0] is task:
            del running[key]
        if task.cancelled():
            raise Late  # the execution is gone, and so is this turn
        return task.result()

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        for task, _ in self._running.pop(uid, {}).values():
            task.add_done_callback(_heard)
            task.cancel()

    def close(self) -> None:
        """Nobody will ask any more."""
        for uid in list(self._running):
            self.forget(uid)


def _heard(task: asyncio.Task[Any]) -> None:
    """Nobody asks for its outcome any more; asyncio would complain."""
    if not task.cancelled():
        task.exception()
