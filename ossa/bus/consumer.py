"""One of a group that shares a stream: every entry is handled at least once, by one of them.

An entry stays pending until it is acknowledged, which is after the handler has committed what it did with the batch.
What was pending with a consumer that died is claimed by another one. An entry that cannot be read, fails by itself, or
was with several consumers that died of it, is parked on the stream NAME:parked with its error, and acknowledged.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

from pydantic import ValidationError

from ossa.bus.connection import BusUnavailable, Pauses
from ossa.bus.group import Delivery, Group
from ossa.bus.messages import Message
from ossa.bus.reader import Entry

log = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
# Commits what a batch says, all or nothing, and so that doing it again changes nothing. Raises TryAgain.
Handler = Callable[[Sequence[M]], Awaitable[None]]


class TryAgain(Exception):
    """What a handler writes to is away. The batch is tried again, and nobody is to blame."""


class Observer(Protocol):
    """Is told what a consumer does."""

    def handled(self, stream: str, group: str, *, messages: int, seconds: float) -> None:
        """A batch was committed and acknowledged."""

    def failed(self, stream: str, group: str) -> None:
        """A handler raised, or what it writes to was away."""

    def claimed(self, stream: str, group: str, messages: int) -> None:
        """Entries of a consumer that died, or of an earlier life of this one, were taken over."""

    def parked(self, stream: str, group: str) -> None:
        """An entry was put aside."""

    def lost(self, stream: str, group: str, messages: int) -> None:
        """Entries were trimmed from the stream before anybody had handled them."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How a consumer goes about it. Seconds."""

    batch: int = 500
    idle: float = 30.0  # after which what is pending with another is claimed; who works on it says so three times in it
    look: float = 10.0  # between two looks for such
    tries: int = 3  # of one entry that fails by itself
    deaths: int = 5  # deliveries of an entry that was never acknowledged, after which it is parked
    alone: int = 3  # deliveries from which on an entry is handled by itself, so that it takes no other with it


PACE = Pace()


class Consumer(Generic[M]):
    """One consumer of a group. `name` is this process' own, and better the same after a restart."""

    def __init__(
        self, group: Group, model: type[M], handler: Handler[M], *, observer: Observer, pace: Pace = PACE
    ) -> None:
        self._group = group
        self._model, self._handler = model, handler
        self._observer, self._pace = observer, pace
        self._stopping = asyncio.Event()
        self._next_look = 0.0

    def stop(self) -> None:
        """Ends `run` after the batch that is being handled."""
        self._stopping.set()

    async def run(self) -> None:
        """Handles entries until stopped, through every outage of Redis and of what the handler writes to."""
        pauses = Pauses()
        while not self._stopping.is_set():
            try:
                await self._turn()
                pauses.over()
            except BusUnavailable as error:
                self._next_look = 0.0  # what was delivered and not seen here is pending with ourselves
                if pauses.failures == 0:
                    log.warning("the bus is away", extra={"stream": self._group.stream, "error": str(error)})
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._stopping.wait(), pauses.next())
        with contextlib.suppress(BusUnavailable):
            await self._group.leave()

    async def _turn(self) -> None:
        if time.monotonic() >= self._next_look:
            if not await self._recover():
                self._next_look = time.monotonic() + self._pace.look
            return
        fresh = await self._group.read(self._pace.batch)
        if fresh:
            await self._handle([Delivery(entry) for entry in fresh])

    async def _recover(self) -> bool:
        """Handles what is pending with this consumer from before, and with dead ones; whether there may be more."""
        found = await self._group.pending(count=self._pace.batch, idle=self._pace.idle)
        if found.lost:
            self._observer.lost(self._group.stream, self._group.name, found.lost)
            log.error("entries were trimmed unhandled", extra={"stream": self._group.stream, "entries": found.lost})
        if found.deliveries:
            self._observer.claimed(self._group.stream, self._group.name, len(found.deliveries))
        suspects = [delivery for delivery in found.deliveries if delivery.count >= self._pace.alone]
        for delivery in suspects:
            # Given out with the others, and not looked at yet: should one before it end this process, it has no part.
            await self._group.hold([delivery.entry.id], count=delivery.count - 1)
        for delivery in suspects:
            await self._handle_suspect(delivery)
        rest = [delivery for delivery in found.deliveries if delivery.count < self._pace.alone]
        if rest:
            await self._handle(rest)
        return bool(found.deliveries)

    async def _handle_suspect(self, delivery: Delivery) -> None:
        """One that was delivered again and again, by itself."""
        if delivery.count > self._pace.deaths:
            times = delivery.count - 1
            await self._park(delivery, f"delivered {times} times and never acknowledged: it ends whoever handles it")
            return
        await self._group.hold([delivery.entry.id], count=delivery.count)
        await self._handle([delivery])

    async def _handle(self, deliveries: Sequence[Delivery]) -> None:
        """Handles and acknowledges; returns once each of them is either handled or parked."""
        readable: list[tuple[Delivery, M]] = []
        for delivery in deliveries:
            try:
                readable.append((delivery, self._model.model_validate_json(delivery.entry.message)))
            except ValidationError as error:
                await self._park(delivery, f"not a {self._model.__name__}: {error}")
        if not readable:
            return
        async with self._held([delivery.entry for delivery, _ in readable]):
            await self._commit(readable)

    async def _commit(self, batch: Sequence[tuple[Delivery, M]]) -> None:
        started = time.monotonic()
        try:
            await self._patiently(batch)
        except BusUnavailable:
            raise
        except Exception as error:
            self._observer.failed(self._group.stream, self._group.name)
            told = {"stream": self._group.stream, "messages": len(batch), **_about_one(batch)}
            log.exception("a batch failed", extra=told)
            # Halves of it, and halves of these: what is at fault ends up alone, the rest goes through in few commits.
            if len(batch) > 1:
                middle = len(batch) // 2
                await self._commit(batch[:middle])
                await self._commit(batch[middle:])
            else:
                await self._alone(batch[0], error)
            return
        await self._group.acknowledge([delivery.entry.id for delivery, _ in batch])
        seconds = time.monotonic() - started
        self._observer.handled(self._group.stream, self._group.name, messages=len(batch), seconds=seconds)

    async def _alone(self, one: tuple[Delivery, M], error: Exception) -> None:
        """Tries an entry that has failed by itself, and parks it in the end."""
        pauses = Pauses(0.1, 1.0)
        for _ in range(self._pace.tries - 1):
            await pauses.wait()
            try:
                await self._patiently([one])
            except BusUnavailable:
                raise
            except Exception as again:  # noqa: BLE001 - whatever it is, it is written down with the entry
                error = again
            else:
                await self._group.acknowledge([one[0].entry.id])
                return
        await self._park(one[0], f"{type(error).__name__}: {error}")

    async def _patiently(self, batch: Sequence[tuple[Delivery, M]]) -> None:
        """Calls the handler until what it writes to is there.

        Raises:
            BusUnavailable: the bus is away, or this consumer is told to stop: the entries stay pending.
        """
        pauses = Pauses()
        while True:
            try:
                await self._handler([message for _, message in batch])
                return
            except TryAgain as error:
                self._observer.failed(self._group.stream, self._group.name)
                if pauses.failures == 0:
                    # Whoever takes them over, should this process end meanwhile, is to know that they end nobody.
                    await self._group.hold([delivery.entry.id for delivery, _ in batch], count=1)
                    told = {"stream": self._group.stream, "error": str(error), **_about_one(batch)}
                    log.warning("it is tried again", extra=told)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pauses.next())
            if self._stopping.is_set():
                raise BusUnavailable("stopped before the batch could be committed")

    async def _park(self, delivery: Delivery, error: str) -> None:
        await self._group.park(delivery, error)
        self._observer.parked(self._group.stream, self._group.name)
        log.error(
            "a message is parked",
            extra={"stream": self._group.stream, "entry": delivery.entry.id, "error": error, **self._about(delivery)},
        )

    def _about(self, delivery: Delivery) -> dict[str, str]:
        try:
            return self._model.model_validate_json(delivery.entry.message).about
        except ValidationError:
            return {}

    @contextlib.asynccontextmanager
    async def _held(self, entries: Sequence[Entry]) -> AsyncIterator[None]:
        """Says while they are worked on, however long that takes, that this consumer is alive."""

        async def keep() -> None:
            while True:
                await asyncio.sleep(self._pace.idle / 3)
                # Where the bus is away nobody can claim them either.
                with contextlib.suppress(BusUnavailable):
                    await self._group.hold([entry.id for entry in entries])

        keeping = asyncio.create_task(keep())
        try:
            yield
        finally:
            keeping.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await keeping


def _about_one(batch: Sequence[tuple[Delivery, Message]]) -> dict[str, str]:
    """What a lone message is about; a batch is about many things."""
    return batch[0][1].about if len(batch) == 1 else {}
