"""One socket's side: what waits to be sent to it, and where in the stream it is."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass
from typing import Protocol

from ossa.bus.connection import BusUnavailable
from ossa.bus.frames import Close, Hello, Reset, Snapshot, Start
from ossa.bus.position import START, Position
from ossa.gateway.events.limits import Limits
from ossa.gateway.events.ring import Item
from ossa.gateway.identity import Identity
from ossa.gateway.problems import Problem

Send = Callable[[str], Awaitable[None]]
# Seconds until what could not be had is asked for again.
AGAIN = 1.0
_log = logging.getLogger("ossa.gateway.events")


class Missed(Exception):
    """Events after the position asked for are gone."""


@dataclass(frozen=True, slots=True)
class Page:
    """Events after a position, and the position up to which there are no others."""

    items: list[Item]
    upto: Position


class Feed(Protocol):
    """What a subscriber needs of the hub."""

    @property
    def position(self) -> Position:
        """Up to where the stream was read."""

    async def since(self, after: Position) -> Page:
        """The next events after a position. Raises Missed; BusUnavailable where the stream cannot be read."""

    def join(self, subscriber: Subscriber) -> None:
        """From now on each new event is offered to it."""

    def leave(self, subscriber: Subscriber) -> None:
        """No event is offered to it any more."""

    def snapshots(self, start: Start) -> AsyncGenerator[Snapshot, None]:
        """Where the Executions that were asked for stand. Raises Problem."""


class Subscriber:
    """Frames on their way to one client. Whoever offers never waits; a client that does not read is closed.

    One task a socket sends, and there is one only while something is to be sent: idle sockets cost no task here.
    """

    __slots__ = (
        "_behind",
        "_bytes",
        "_closing",
        "_feed",
        "_limits",
        "_missed",
        "_queue",
        "_send",
        "_task",
        "checked",
        "closed",
        "identity",
        "joined",
        "number",
        "start",
        "token",
    )

    def __init__(  # noqa: PLR0913 - what a socket has
        self, *, feed: Feed, send: Send, limits: Limits, start: Start, token: str, identity: Identity, checked: float
    ) -> None:
        self._feed, self._send, self._limits = feed, send, limits
        self.start, self.token, self.identity = start, token, identity
        self.checked = checked  # when token and permission were last found good: the loop's time
        self.joined = START  # events up to here were sent already
        self.number = 0  # the hub's count of sockets
        self.closed: tuple[Close, str] | None = None
        self._closing: asyncio.Task[object] | None = None
        self._queue: deque[str] | None = None  # made when needed: an empty one takes as much as all the rest
        self._bytes = 0
        self._behind: Position | None = None  # where to catch up from; None: it is offered what is new
        self._missed = ""  # why a reset is due
        self._task: asyncio.Task[None] | None = None

    def begin(self, owner: asyncio.Task[object]) -> None:
        """Greet, then send what is asked for. `owner` is the task that `close` interrupts."""
        self._closing = owner
        here = self._feed.position
        self.offer(Hello(id=str(here), heartbeat=self._limits.heartbeat).model_dump_json())
        if self.start.after is None:
            self.catch_up(here)
        else:
            after = Position.of(self.start.after)
            self.catch_up(after, missed="" if after > START else "no position was given")

    def catch_up(self, after: Position, *, missed: str = "") -> None:
        """Send what came after a position, or where that is gone (`missed` says why) a reset and a snapshot."""
        self._feed.leave(self)
        self._behind, self._missed = after, missed or self._missed
        self._wake()

    def offer(self, frame: str) -> None:
        """Send a frame after those that wait, or give the client up as too slow."""
        if self.closed is not None:
            return
        if self._queue is None:
            self._queue = deque()
        if len(self._queue) >= self._limits.queue or self._bytes >= self._limits.queue_bytes:
            self.close(Close.TOO_SLOW, "too slow: connect again and resume after the last event")
            return
        self._queue.append(frame)
        self._bytes += len(frame)
        self._wake()

    def close(self, code: Close, reason: str) -> None:
        """End it: the owner is interrupted, and sends the close frame. The first reason counts."""
        if self.closed is not None:
            return
        self.closed = code, reason
        self.stop()
        if self._closing is not None:
            self._closing.cancel()

    def stop(self) -> None:
        """Send nothing more."""
        self._feed.leave(self)
        self._queue, self._bytes = None, 0
        if self._task is not None:
            self._task.cancel()

    @property
    def live(self) -> bool:
        """Whether it is offered what is new, and need not catch up."""
        return self._behind is None and self.closed is None

    def wants(self, item: Item) -> bool:
        """Whether its filters let an event through."""
        start = self.start
        return (
            (not start.namespace or item.namespace == start.namespace)
            and (not start.execution or item.execution == start.execution)
            and (not start.types or item.type in start.types)
        )

    def _wake(self) -> None:
        if self._task is None and self.closed is None:
            self._task = asyncio.create_task(self._pump())

    async def _pump(self) -> None:
        """Send what waits, then catch up; ends when there is neither."""
        try:
            while True:
                if self._queue:
                    frame = self._queue.popleft()
                    self._bytes -= len(frame)
                    await self._send(frame)
                elif self._behind is not None:
                    await self._step(self._behind)
                else:
                    self._queue = None
                    return
        except OSError:
            # The client hung up; whoever receives from it hears of that too, and ends the socket.
            self._feed.leave(self)
        except Exception:  # noqa: BLE001 - logged, and told: a socket that stays and is silent would be worse
            _log.exception("a defect: a socket cannot be served", extra={"user": self.identity.user})
            self._task = None  # not to be cancelled: it ends here
            self.close(Close.INTERNAL, "an error of the gateway's own: connect again")
        finally:
            self._task = None

    async def _step(self, behind: Position) -> None:
        """One page, or a reset with its snapshot; joins where there is no more."""
        try:
            if self._missed:
                await self._reset()
                return
            page = await self._feed.since(behind)
        except Missed as missed:
            self._missed = str(missed)
            return
        except (Problem, BusUnavailable) as error:
            _log.warning("a socket cannot catch up yet", extra={"user": self.identity.user, "error": str(error)})
            await asyncio.sleep(AGAIN)
            return
        for item in page.items:
            if self.wants(item):
                await self._send(item.frame)
        await asyncio.sleep(0)  # sending to a client that reads never waits: others have their turn
        if self._behind != behind:  # the hub had to begin anew meanwhile
            return
        self._behind = max(page.upto, behind)
        if self._behind >= self._feed.position:
            self.joined, self._behind = self._behind, None
            self._feed.join(self)

    async def _reset(self) -> None:
        # First the position, then the snapshot: what happens in between is told twice rather than never.
        here, why = self._feed.position, self._missed
        await self._send(Reset(id=str(here), reason=why).model_dump_json())
        async with contextlib.aclosing(self._feed.snapshots(self.start)) as frames:
            async for frame in frames:
                await self._send(frame.model_dump_json(by_alias=True, exclude_none=True))
        self._behind, self._missed = here, ""
