"""Refusals, bounded: a flood of them becomes a few entries that say how many there were."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from types import MappingProxyType
from typing import Final

from ossa.audit.entry import Entry

WINDOW: Final = timedelta(seconds=60)
# In each window: so many refusals one by one, then so many kinds of them by their count, then all others as one.
SINGLE: Final = 60
KINDS: Final = 20
_Kind = tuple[str, str, str, str, int]
_REST: Final[_Kind] = ("", "", "", "", 0)


class Thinning:
    """Which refusals are written one by one, and what stands for the rest: none is dropped, the counts are entries."""

    def __init__(self, *, window: timedelta = WINDOW, single: int = SINGLE, kinds: int = KINDS) -> None:
        self._window, self._single, self._kinds = window, single, kinds
        self._since: datetime | None = None
        self._alone = 0
        self._counted: dict[_Kind, tuple[Entry, int]] = {}

    @property
    def counted(self) -> Mapping[str, int]:
        """How many are counted and not yet told, by what was asked for."""
        totals: dict[str, int] = {}
        for first, count in self._counted.values():
            totals[first.verb] = totals.get(first.verb, 0) + count
        return MappingProxyType(totals)

    def take(self, entry: Entry, now: datetime) -> list[Entry]:
        """A refusal: the entries to be written now. `now` never goes back."""
        told = self.tell(now)
        if self._since is None:
            self._since = now
        if self._alone < self._single:
            self._alone += 1
            return [*told, entry]
        self._count(entry)
        return told

    def put_off(self, entry: Entry) -> None:
        """A refusal that cannot be written now is counted."""
        self._since = self._since or entry.time
        self._count(entry)

    def tell(self, now: datetime, *, all_of_it: bool = False) -> list[Entry]:
        """What stands for those that were counted, once the window is over; at a process' end `all_of_it`."""
        if self._since is None or (now - self._since < self._window and not all_of_it):
            return []
        told = [_summed(kind, *held) for kind, held in self._counted.items()]
        self._since, self._alone, self._counted = None, 0, {}
        return told

    def _count(self, entry: Entry) -> None:
        kind: _Kind = (entry.address, entry.verb, entry.resource, entry.outcome, entry.status)
        if kind not in self._counted and len(self._counted) >= self._kinds:
            kind = _REST
        first, count = self._counted.get(kind, (entry, 0))
        self._counted[kind] = (first, count + entry.count)


def _summed(kind: _Kind, first: Entry, count: int) -> Entry:
    """The first one of them, with the count; what they do not share is left out.

    Its id is another: an entry that was refused may come again and then be kept under its own.
    """
    shared = {"id": f"counted/{first.id}"[:64], "count": count, "user": "", "namespace": "", "name": ""}
    if kind == _REST:
        reason = "so many more, of all sorts and from many addresses"
        return first.model_copy(update={**shared, "address": "", "reason": reason})
    return first.model_copy(update={**shared, "reason": f"so many alike; {first.reason}"[:1024]})
