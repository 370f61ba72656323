"""A consumer group's commands, as one consumer of it gives them. Every one raises BusUnavailable."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from redis.asyncio import Redis
from redis.exceptions import ResponseError

from ossa.bus.connection import BLOCK_SECONDS, reaching
from ossa.bus.messages import BEGINNING, Parked, parked_stream
from ossa.bus.position import Position
from ossa.bus.publisher import FIELD, LENGTH
from ossa.bus.reader import Entry, entry_of

T = TypeVar("T")
MAX_ERROR = 4096


@dataclass(frozen=True, slots=True)
class Delivery:
    """An entry, and how many times it was given to a consumer; 1 the first time."""

    entry: Entry
    count: int = 1


@dataclass(frozen=True, slots=True)
class Found:
    """What was pending. lost: how many of these the stream does not hold any more."""

    deliveries: tuple[Delivery, ...]
    lost: int


class Group:
    """A group as one of its consumers sees it. It is made where it is not there, from the stream's beginning on."""

    def __init__(self, client: Redis, stream: str, name: str, consumer: str) -> None:
        self._client = client
        self.stream, self.name, self.consumer = stream, name, consumer
        self._cursor: bytes | str = BEGINNING  # where the search for dead consumers' entries goes on

    async def read(self, count: int) -> tuple[Entry, ...]:
        """Entries that no consumer has had yet; waits up to BLOCK_SECONDS for the first."""

        async def ask() -> tuple[Entry, ...]:
            answer: Any = await self._client.xreadgroup(
                self.name, self.consumer, {self.stream: ">"}, count=count, block=int(BLOCK_SECONDS * 1000)
            )
            return tuple(entry_of(number, fields) for _, held in answer for number, fields in held)

        return await self._made(ask)

    async def pending(self, *, count: int, idle: float) -> Found:
        """Takes over what is pending with others for `idle` seconds, and gives it with what is pending here."""

        async def ask() -> Found:
            own: Any = await self._client.xreadgroup(self.name, self.consumer, {self.stream: BEGINNING}, count=count)
            entries = [(number, fields) for _, held in own for number, fields in held]
            # What was read just now is not idle: none comes twice, and none has its deliveries counted twice.
            cursor, claimed, *gone = await self._client.xautoclaim(
                self.stream, self.name, self.consumer, int(idle * 1000), start_id=self._cursor, count=count
            )
            self._cursor = cursor
            mine = await self._client.xpending_range(
                self.stream, self.name, min="-", max="+", count=2 * count, consumername=self.consumer
            )
            counts = {one["message_id"]: int(one["times_delivered"]) for one in mine}
            trimmed = [number for number, fields in entries if not fields]
            if trimmed:
                await self._client.xack(self.stream, self.name, *trimmed)
            there = sorted([(number, fields) for number, fields in entries if fields] + claimed, key=_order)
            found = tuple(Delivery(entry_of(number, fields), counts.get(number, 1)) for number, fields in there)
            return Found(found, len(trimmed) + (len(gone[0]) if gone else 0))

        return await self._made(ask)

    async def hold(self, entries: Sequence[str], *, count: int | None = None) -> None:
        """Says that this consumer still has them; and, where `count` is given, that so many deliveries count."""

        async def ask() -> None:
            await self._client.xclaim(
                self.stream, self.name, self.consumer, 0, list(entries), retrycount=count, justid=True
            )

        await self._made(ask)

    async def acknowledge(self, entries: Sequence[str]) -> None:
        """They are done with."""

        async def ask() -> None:
            await self._client.xack(self.stream, self.name, *entries)

        await self._made(ask)

    async def park(self, delivery: Delivery, error: str) -> None:
        """Puts an entry aside with its error and acknowledges it, both or none."""
        parked = Parked(
            stream=self.stream,
            group=self.name,
            entry=delivery.entry.id,
            message=delivery.entry.message.decode(errors="replace"),
            error=error[:MAX_ERROR],
            deliveries=delivery.count,
            time=datetime.now(UTC),
        )

        async def ask() -> None:
            pipeline = self._client.pipeline(transaction=True)
            pipeline.xadd(parked_stream(self.stream), {FIELD: parked.model_dump_json()}, maxlen=LENGTH)
            pipeline.xack(self.stream, self.name, delivery.entry.id)
            await pipeline.execute()

        await self._made(ask)

    async def leave(self) -> None:
        """Takes this consumer off the group, unless something is pending with it."""

        async def ask() -> None:
            left = await self._client.xpending_range(
                self.stream, self.name, min="-", max="+", count=1, consumername=self.consumer
            )
            if not left:
                await self._client.xgroup_delconsumer(self.stream, self.name, self.consumer)

        await self._made(ask)

    async def _made(self, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` gives. A server that has lost its data knows no group: it is made, and asked again."""
        with reaching(f"group {self.name} of {self.stream}"):
            try:
                return await ask()
            except ResponseError as error:
                if not str(error).startswith("NOGROUP"):
                    raise
            await self._make()
            return await ask()

    async def _make(self) -> None:
        try:
            await self._client.xgroup_create(self.stream, self.name, id=BEGINNING, mkstream=True)
        except ResponseError as error:
            if not str(error).startswith("BUSYGROUP"):  # another consumer was faster
                raise


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a group stands. lag: entries that no consumer has had yet; None where Redis cannot tell."""

    stream: str
    group: str
    lag: int | None
    pending: int
    consumers: int


async def standings(client: Redis, stream: str) -> list[Standing]:
    """Of all groups of a stream. Raises BusUnavailable."""
    return [
        Standing(stream, one["name"].decode(), one.get("lag"), int(one["pending"]), int(one["consumers"]))
        for one in await groups_of(client, stream)
    ]


async def groups_of(client: Redis, stream: str) -> list[dict[str, Any]]:
    """As Redis tells of them; none of a stream that is not there. Raises BusUnavailable."""
    try:
        with reaching(f"groups of {stream}"):
            found: list[dict[str, Any]] = await client.xinfo_groups(stream)
    except ResponseError as error:
        if "no such key" not in str(error):
            raise
        return []
    return found


async def parked_count(client: Redis, stream: str) -> int:
    """Messages of a stream that were put aside and nobody has taken away. Raises BusUnavailable."""
    with reaching(f"parked messages of {stream}"):
        return int(await client.xlen(parked_stream(stream)))


def _order(entry: tuple[bytes, dict[bytes, bytes]]) -> Position:
    return Position.of(entry[0].decode())
