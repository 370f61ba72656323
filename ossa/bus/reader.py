"""Reads a stream from a place on: each reader sees everything, and can tell where something is missing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ossa.bus.connection import BLOCK_SECONDS, reaching
from ossa.bus.position import START, Position
from ossa.bus.publisher import FIELD

COUNT = 500


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a stream. `message` is JSON, empty where a foreign entry has none."""

    id: str
    message: bytes


@dataclass(frozen=True, slots=True)
class Extent:
    """What a stream holds.

    first: the oldest entry that is there; None: there is none.
    last: the newest that there ever was.
    added: how many there ever were. length: how many are there.
    """

    first: Position | None
    last: Position
    added: int
    length: int


def is_gone(after: Position, extent: Extent) -> bool:
    """Whether entries that came after this one may be gone from the stream.

    What lies before the first one may have been followed by others that were trimmed, unless it is the start of a
    stream of which nothing was ever removed. What lies after the last one is of another stream, that was lost.
    """
    if after == START and extent.added == extent.length:
        return False
    if after > extent.last:
        return True
    return after < (extent.last if extent.first is None else extent.first)


def entry_of(number: bytes, fields: dict[bytes, bytes]) -> Entry:
    """Of what Redis answers; without fields where the entry was removed meanwhile."""
    return Entry(number.decode(), (fields or {}).get(FIELD.encode(), b""))


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
            return Extent(None, START, 0, 0)
        first, length = found["first-entry"], int(found["length"])
        return Extent(
            first=Position.of(first[0].decode()) if first else None,
            last=Position.of(found["last-generated-id"].decode()),
            added=int(found.get("entries-added", length)),
            length=length,
        )

    async def read(self, after: str, *, count: int = COUNT, wait: float = 0.0) -> tuple[Entry, ...]:
        """Entries after an id, at most `count`; waits up to `wait` seconds (at most BLOCK_SECONDS) for the first one.

        Raises:
            BusUnavailable
        """
        block = max(1, int(min(wait, BLOCK_SECONDS) * 1000)) if wait else None
        with reaching(f"{self.stream} cannot be read"):
            answer: Any = await self._client.xread({self.stream: after}, count=count, block=block)
        return tuple(entry_of(number, fields) for _, held in answer for number, fields in held)
