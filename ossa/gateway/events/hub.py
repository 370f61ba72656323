"""The hub of one replica: reads the stream once, and offers each event to the sockets that asked for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing

from ossa.bus.connection import BLOCK_SECONDS, BusUnavailable, Pauses
from ossa.bus.frames import Close, Ping, Snapshot, Start
from ossa.bus.position import START, Position
from ossa.bus.reader import Entry, Extent, Reader, is_gone
from ossa.gateway.events.limits import Limits
from ossa.gateway.events.metrics import Metrics
from ossa.gateway.events.ring import Item, Ring, item_of
from ossa.gateway.events.subscriber import Missed, Page, Subscriber

# Events offered before the sockets have their turn to send: far fewer than may wait for one client.
_SLICE = 64
_TRIMMED = "events after the last one that you had are gone"
_log = logging.getLogger("ossa.gateway.events")


# Where the Executions that somebody asks for stand, from the resources themselves or from what is at least as new as
# the stream: frames, the last of which says so. Raises Problem.
Snapshots = Callable[[Start], AsyncGenerator[Snapshot, None]]


class Hub:
    """All sockets of one replica. `run` is its one task that reads; everything happens in one event loop."""

    def __init__(self, *, reader: Reader, snapshots: Snapshots, metrics: Metrics, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.metrics = metrics
        self.subscribers: set[Subscriber] = set()
        self.draining = False
        self._reader, self._make_snapshots = reader, snapshots
        self._ring = Ring(self.limits.ring)
        self._position: Position | None = None
        self.reading = False  # whether the stream is being read just now
        # By namespace and execution, either of which may be empty: those to whom an event is offered.
        self._live: dict[tuple[str, str], set[Subscriber]] = {}
        self._users: Counter[str] = Counter()
        self._count = 0
        self._snapshotting = asyncio.Semaphore(self.limits.snapshots)

    # What subscribers need of it.

    @property
    def position(self) -> Position:
        """Up to where the stream was read."""
        return START if self._position is None else self._position

    @property
    def ready(self) -> bool:
        """Whether the stream was reached once, so that there is a position to begin at."""
        return self._position is not None

    async def since(self, after: Position) -> Page:
        """The next events after a position: from memory, or where that is too long ago, from the stream.

        Raises Missed, BusUnavailable.
        """
        here = self.position
        items = self._ring.since(after, limit=self.limits.page)
        if items is not None and after <= here:
            return Page(items, items[-1].position if len(items) == self.limits.page else here)
        entries = await self._reader.read(str(after), count=self.limits.page)
        # Asked afterwards: had anything been trimmed before it was read, the first one would be later than `after`.
        if is_gone(after, await self._reader.extent()):
            raise Missed(_TRIMMED)
        found = [item for entry in entries if (item := item_of(entry)) and item.position <= here]
        full = len(entries) == self.limits.page
        return Page(found, min(here, Position.of(entries[-1].id)) if full else here)

    def join(self, subscriber: Subscriber) -> None:
        """From now on each new event is offered to it."""
        self._live.setdefault((subscriber.start.namespace, subscriber.start.execution), set()).add(subscriber)

    def leave(self, subscriber: Subscriber) -> None:
        """No event is offered to it any more."""
        key = subscriber.start.namespace, subscriber.start.execution
        if (group := self._live.get(key)) is not None:
            group.discard(subscriber)
            if not group:
                del self._live[key]

    async def snapshots(self, start: Start) -> AsyncGenerator[Snapshot, None]:
        """Where the Executions that were asked for stand; few at once, because many may have missed the same."""
        self.metrics.resets.inc()
        async with self._snapshotting, aclosing(self._make_snapshots(start)) as frames:
            async for frame in frames:
                yield frame

    # What sockets need of it.

    def admits(self, user: str) -> bool:
        """Whether a user may have one more socket."""
        return self._users[user] < self.limits.sockets_a_user

    def add(self, subscriber: Subscriber) -> None:
        """A socket that may follow events."""
        self._count += 1
        subscriber.number = self._count
        self.subscribers.add(subscriber)
        self._users[subscriber.identity.user] += 1
        self.metrics.sockets.set(len(self.subscribers))

    def remove(self, subscriber: Subscriber) -> None:
        """It is gone."""
        subscriber.stop()
        self.subscribers.discard(subscriber)
        user = subscriber.identity.user
        self._users[user] -= 1
        if not self._users[user]:
            del self._users[user]
        self.metrics.sockets.set(len(self.subscribers))

    def ping(self, subscriber: Subscriber) -> None:
        """Tell a client that all is well, and how far it is. One that catches up hears enough."""
        if subscriber.live:
            subscriber.offer(Ping(id=str(self.position)).model_dump_json())

    async def drain(self) -> None:
        """Take no more sockets, and close those that there are, spread over a few seconds: they resume elsewhere."""
        self.draining = True
        everybody = list(self.subscribers)
        for number, subscriber in enumerate(everybody, 1):
            subscriber.close(Close.RESTART, "this replica ends: connect again and resume")
            if number % 50 == 0:
                await asyncio.sleep(self.limits.drain * 50 / len(everybody))

    # Reading.

    async def run(self) -> None:
        """Read until cancelled. An outage of the stream closes nobody; what was lost in it is told by resets."""
        pauses = Pauses()
        while True:
            try:
                self._begin(await self._reader.extent())
                pauses.over()
                while True:
                    await self._read()
                    _obey()
            except BusUnavailable as error:
                self.reading = False
                _log.warning("events cannot be read", extra={"error": str(error)})
            await pauses.wait()

    def _begin(self, extent: Extent) -> None:
        if self._position is None:
            self._position = extent.last
            self._ring.clear(extent.last)
        elif is_gone(self._position, extent):
            self._reset(extent.last)
        _log.info("reading events", extra={"position": str(self._position)})
        self.reading = True

    async def _read(self) -> None:
        after = self.position
        entries = await self._reader.read(str(after), count=self.limits.read, wait=BLOCK_SECONDS)
        # With nothing new the server may have lost its data; with so much, some may have been trimmed unread.
        if len(entries) in (0, self.limits.read):
            extent = await self._reader.extent()
            if is_gone(after, extent):
                self._reset(extent.last)
                return
        for begin in range(0, len(entries), _SLICE):
            for entry in entries[begin : begin + _SLICE]:
                self._take(entry)
            await asyncio.sleep(0)

    def _take(self, entry: Entry) -> None:
        self._position = Position.of(entry.id)
        item = item_of(entry)
        if item is None:
            return
        self._ring.add(item)
        for key in ((item.namespace, item.execution), (item.namespace, ""), ("", "")):
            # A copy: whoever is too slow leaves meanwhile.
            for subscriber in tuple(self._live.get(key, ())):
                self._offer(subscriber, item)
        self.metrics.delay.observe(max(0.0, time.time() - item.position.milliseconds / 1000))

    def _offer(self, subscriber: Subscriber, item: Item) -> None:
        if item.position > subscriber.joined and subscriber.wants(item):
            self.metrics.frames.inc()
            subscriber.offer(item.frame)

    def _reset(self, position: Position) -> None:
        """Begin anew at a position: what lies between is gone, for all."""
        _log.warning("events were lost", extra={"after": str(self._position), "now": str(position)})
        self._position = position
        self._ring.clear(position)
        for subscriber in self.subscribers:
            subscriber.catch_up(position, missed=_TRIMMED)


def _obey() -> None:
    """Raises CancelledError where this task was cancelled and has not heard of it.

    Up to Python 3.11 `asyncio.wait_for`, by which redis-py sends, loses a cancellation that comes as it ends.
    """
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
