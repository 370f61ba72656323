"""Group commit: what comes while one batch is written goes with the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Batcher(Generic[T, R]):
    """Writes items in batches, one at a time; a result for each.

    pause: seconds to wait for more before a batch is written, while `busy`: what a batch costs is mostly the same
    whatever is in it, and a lone request need not wait for others.
    """

    def __init__(
        self,
        write: Callable[[Sequence[T]], Awaitable[Sequence[R]]],
        *,
        most: int = 256,
        pause: float = 0.0,
        busy: Callable[[], bool] = lambda: True,
    ) -> None:
        self._write, self._most, self._pause, self._busy = write, most, pause, busy
        self._waiting: list[tuple[T, asyncio.Future[R]]] = []
        self._task: asyncio.Task[None] | None = None

    def put(self, item: T) -> asyncio.Future[R]:
        """Its result, or what the writing of its batch raised. It is written whether anybody awaits that or not."""
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._task is None:
            self._task = asyncio.create_task(self._run())
        return future

    async def drained(self) -> None:
        """Returns once all that was put is written, or failed."""
        while self._task is not None:
            await asyncio.wait({self._task})

    async def _run(self) -> None:
        try:
            while self._waiting:
                if self._pause and len(self._waiting) < self._most and self._busy():
                    await asyncio.sleep(self._pause)
                batch, self._waiting = self._waiting[: self._most], self._waiting[self._most :]
                await self._one(batch)
        finally:
            self._task = None

    async def _one(self, batch: Sequence[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            results = await self._write([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - whoever awaits the result is told
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        finally:
            if (task := asyncio.current_task()) is not None and task.cancelling():
                for _, future in batch:
                    future.cancel()
        for (_, future), result in zip(batch, results, strict=True):
            if not future.done():
                future.set_result(result)
