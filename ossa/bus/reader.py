"""Reads a stream from a place on: each reader sees everything, and is told where something is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ossa.bus.connection import BLOCK_SECONDS, BusUnavailable, Pauses, reaching
from ossa.bus.messages import BEGINNING
from ossa.bus.publisher import FIELD

COUNT = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream. `message` is JSON, empty where a foreign entry has none."""

    id: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Batch:
    """What was read, in the stream's order. gap: entries that came before are lost to this reader."""

    entries: tuple[Entry, ...]
    gap: bool = False


@dataclass(frozen=True, slots=True)
class Extent:
    """What a stream holds: ids of the first and last entry that are there, and of the last that ever was."""

    first: str | None
    last: str
    added: int
    length: int


def place(entry: str) -> tuple[int, int]:
    """An id as it is compared. Raises ValueError where it is none."""
    milliseconds, _, number = entry.partition("-")
    return int(milliseconds), int(number or 0)


def is_gone(after: str, extent: Extent) -> bool:
    """Whether entries that came after `after` may be missing from the stream.

    Where `after` itself is no longer there nobody can tell: it counts as a gap, unless nothing was ever removed. One
    that is beyond the last is of a stream that was there before the server lost its data.
    """
    if place(after) > place(extent.last):
        return True
    if extent.added == extent.length:
        return False
    if extent.first is None:
        return place(after) < place(extent.last)
    return place(after) < place(extent.first)


class Reader:
    """Reads one stream. Any number of loops may share one."""

    def __init__(self, client: Redis, stream: str) -> None:
        self._client = client
        self.stream = stream

    async def extent(self) -> Extent:
        """What the stream holds now.

        Raises:
            BusUnavailable
        """
        try:
            with reaching(f"{self.stream} cannot be read"):
                found: dict[str, Any] = await self._client.xinfo_stream(self.stream)
        except ResponseError as error:
            if "no such key" not in str(error):
                raise
            return Extent(None, BEGINNING, 0, 0)
        first = found["first-entry"]
        length, last = int(found["length"]), found["last-generated-id"].decode()
        return Extent(first[0].decode() if first else None, last, int(found.get("entries-added", length)), length)

    async def last(self) -> str:
        """The id to read on from, for who wants to see only what is new. Raises BusUnavailable."""
        return (await self.extent()).last

    async def read(self, after: str, *, count: int = COUNT, wait: float = 0.0) -> tuple[Entry, ...]:
        """Entries after an id, at most `count`; waits up to `wait` seconds (at most BLOCK_SECONDS) for the first one.

        Raises:
            BusUnavailable
        """
        block = max(1, int(min(wait, BLOCK_SECONDS) * 1000)) if wait else None
        with reaching(f"{self.stream} cannot be read"):
            answer: Any = await self._client.xread({self.stream: after}, count=count, block=block)
        return tuple(
            Entry(number.decode(), fields.get(FIELD.encode(), b"")) for _, held in answer for number, fields in held
        )

    async def follow(self, after: str, *, count: int = COUNT) -> AsyncIterator[Batch]:
        """Everything after an id, for ever, through every outage.

        A batch with `gap` has no entries: some are lost, and reading goes on behind the newest. The caller then gets
        the whole state from elsewhere. Empty batches come otherwise too, about every BLOCK_SECONDS.
        """
        pauses = Pauses()
        while True:
            try:
                entries = await self.read(after, count=count, wait=BLOCK_SECONDS)
                # Each time: who is far behind is overtaken by the trimming, and a server that has lost its data may be
                # back before anybody notices. After the reading: what is not trimmed by now was not before.
                extent = await self.extent()
            except BusUnavailable:
                await pauses.wait()
                continue
            pauses.over()
            gap = is_gone(after, extent)
            if gap:
                entries, after = (), extent.last
            elif entries:
                after = entries[-1].id
            yield Batch(entries, gap)
