"""The last events, in memory: whoever comes back soon is served without asking Redis."""

from __future__ import annotations

import logging
from bisect import bisect_right
from operator import attrgetter
from typing import NamedTuple

import orjson

from ossa.bus.frames import event_frame
from ossa.bus.position import START, Position
from ossa.bus.reader import Entry

_position = attrgetter("position")
_log = logging.getLogger("ossa.gateway.events")


class Item(NamedTuple):
    """An event: where it stands, what filters look at, and the frame that is sent."""

    position: Position
    namespace: str
    execution: str
    type: str
    frame: str


def item_of(entry: Entry) -> Item | None:
    """The event of an entry; None, and a line in the log, where it is none."""
    try:
        event = orjson.loads(entry.message)
        namespace, execution, kind = event["namespace"], event["execution"], event["type"]
    except (orjson.JSONDecodeError, TypeError, KeyError) as error:
        _log.error("an entry of the stream is no event", extra={"entry": entry.id, "error": repr(error)})
        return None
    return Item(Position.of(entry.id), namespace, execution, kind, event_frame(entry.id, entry.message.decode()))


class Ring:
    """Up to `size` events, in order, without a gap after `floor`."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: list[Item] = []
        self.floor = START

    def clear(self, floor: Position) -> None:
        """Forget all; what is added next comes after `floor`."""
        self._items = []
        self.floor = floor

    def add(self, item: Item) -> None:
        """The newest event."""
        self._items.append(item)
        if len(self._items) >= 2 * self._size:  # seldom, so that it costs next to nothing an event
            self.floor = self._items[self._size - 1].position
            del self._items[: self._size]

    @property
    def _oldest(self) -> Position:
        return self._items[0].position if self._items else START

    def since(self, after: Position, *, limit: int) -> list[Item] | None:
        """Events after a position, the first ones; None where some of them are no longer here.

        Where nothing came before (`floor` is the start), whoever was further than that was so in a stream that is lost.
        """
        if after < self.floor or (self.floor < after < self._oldest and self.floor == START):
            return None
        begin = bisect_right(self._items, after, key=_position)
        return self._items[begin : begin + limit]
