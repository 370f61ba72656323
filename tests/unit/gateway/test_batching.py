"""Group commit."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from ossa.gateway.batching import Batcher


class Writer:
    """Remembers batches, and takes as long as it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.free = asyncio.Event()
        self.free.set()

    async def write(self, items: Sequence[int]) -> Sequence[int]:
        """Twice each."""
        await self.free.wait()
        self.batches.append(list(items))
        if 13 in items:
            raise ValueError("13")
        return [2 * item for item in items]


async def test_what_comes_meanwhile_goes_together() -> None:
    writer = Writer()
    batcher = Batcher(writer.write, most=4)
    writer.free.clear()
    first = batcher.put(0)
    await asyncio.sleep(0)
    rest = [batcher.put(number) for number in range(1, 8)]
    writer.free.set()
    assert await asyncio.gather(first, *rest) == [2 * number for number in range(8)]
    assert writer.batches == [[0], [1, 2, 3, 4], [5, 6, 7]]


async def test_who_is_in_a_batch_that_failed_is_told_and_nobody_else() -> None:
    writer = Writer()
    batcher = Batcher(writer.write)
    bad = [batcher.put(1), batcher.put(13)]
    assert [type(result) for result in await asyncio.gather(*bad, return_exceptions=True)] == [ValueError] * 2
    assert await batcher.put(2) == 4


async def test_it_is_written_also_where_nobody_waits() -> None:
    writer = Writer()
    batcher = Batcher(writer.write, pause=0.01)
    waiting = asyncio.ensure_future(batcher.put(1))
    waiting.cancel()
    batcher.put(2)
    await batcher.drained()
    assert writer.batches == [[1, 2]]
    with pytest.raises(asyncio.CancelledError):
        await waiting
