"""Bounds of the values that the nodes of an expression have, before it is run: how large, how often, and which."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice

from ossa.engine.cel.lengths import ITEM, text_size

# Values that are looked at one by one in all, 30 ms; after that the largest stands for all of them.
_LOOKS = 100_000
# Of more texts than these it is not asked which they are.
_FEW = 1000

Held = tuple[object, ...]


class Sizes:
    """Measures the values that an evaluation reads, each once."""

    def __init__(self) -> None:
        self._found: dict[int, tuple[object, int]] = {}  # with the value, whose id is nobody else's while it lives
        self._left = _LOOKS

    def of(self, value: object) -> int:
        """What `measure` gives."""
        if isinstance(value, str):
            return text_size(value)
        if not isinstance(value, dict | list):
            return ITEM
        found = self._found.get(id(value))
        if found is not None:
            return found[1]
        if isinstance(value, dict):
            size = ITEM + sum(ITEM + len(key) + self.of(item) for key, item in value.items())
        else:
            size = ITEM + sum(map(self.of, value))
        self._found[id(value)] = value, size
        return size

    def few(self, values: Iterable[object]) -> Held | None:
        """The values, or None where they are too many to look at."""
        held = tuple(islice(values, self._left))
        self._left -= len(held)
        return held if self._left else None


@dataclass(frozen=True, slots=True)
class Place:
    """Where a node stands: how often it is evaluated, how often its loops would go round, and their variables.

    A variable is a value and the turns of the loop that it is bound by.
    """

    runs: int
    turns: int
    sizes: Sizes
    variables: Mapping[str, tuple[Value, int]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Value:
    """Bounds of what a node gives: of its size at most at once, and in all the times that it is evaluated.

    `items` bounds how many it has, and `largest` the size of one. Where they are known, `among` are the values that it
    may be, or `members` the items that it may have, and each comes at most `times` in all.
    """

    most: int
    total: int
    items: int
    largest: int
    among: Held | None = None
    members: Held | None = None
    times: int = 1

    @property
    def texts(self) -> tuple[str, ...]:
        """The texts that it may be, where they are known."""
        if self.among is None or len(self.among) > _FEW:
            return ()
        texts = tuple(one for one in self.among if isinstance(one, str))
        return texts if len(texts) == len(self.among) else ()

    @property
    def is_list(self) -> bool:
        """Whether it is known to be a list."""
        if self.among is None:
            return self.members is not None
        return len(self.among) <= _FEW and all(isinstance(one, list) for one in self.among)


def sized(place: Place, most: int, total: int | None = None) -> Value:
    """A value of which only the size is known; a total of None is `most` each time."""
    every_time = place.runs * most
    total = every_time if total is None else min(total, every_time)
    most = min(most, total)
    return Value(most, total, most // ITEM, most)


def known(place: Place, among: Held, times: int) -> Value:
    """A value that is one of these."""
    sizes = [place.sizes.of(one) for one in among]
    value = sized(place, max(sizes, default=0), times * sum(sizes))
    items = max((len(one) for one in among if isinstance(one, list | dict)), default=0)
    return Value(value.most, value.total, items, value.most, among, times=times)


def listed(place: Place, size: tuple[int, int | None], items: int, largest: int, parts: Sequence[Value]) -> Value:
    """A list of so many items, which are all that the lists `parts` have. `size`: at most, and in all."""
    value = sized(place, *size)
    held = [members_of(part, place) for part in parts if part.is_list]
    members = None
    if len(held) == len(parts) and None not in held:
        members = place.sizes.few(one for some in held for one in some or ())
    times = max((part.times for part in parts), default=1)
    return Value(value.most, value.total, items, largest, None, members, times)


def built(place: Place, parts: Sequence[Value], *, is_list: bool) -> Value:
    """A list, or a map of keys and values in turn."""
    own = ITEM * (1 + len(parts))
    value = sized(place, own + sum(p.most for p in parts), own * place.runs + sum(p.total for p in parts))
    largest = max((p.most for p in parts), default=0)
    members = None
    if is_list and all(part.among is not None for part in parts):
        members = place.sizes.few(one for part in parts for one in part.among or ())
    times = max((part.times for part in parts), default=1)
    return Value(value.most, value.total, len(parts), largest, None, members, times)


def either(place: Place, branches: Sequence[Value]) -> Value:
    """One of these values."""
    most, total = max(b.most for b in branches), sum(b.total for b in branches)
    items, largest = max(b.items for b in branches), max(b.largest for b in branches)
    among = None
    if all(branch.among is not None for branch in branches):
        among = place.sizes.few(one for branch in branches for one in branch.among or ())
    if among is None:
        return listed(place, (most, total), items, largest, branches)
    return known(place, among, max(branch.times for branch in branches))


def members_of(value: Value, place: Place) -> Held | None:
    """The items that a list may have, or the keys of a map, where they are known."""
    if value.among is None:
        return value.members
    return place.sizes.few(item for one in value.among if isinstance(one, list | dict) for item in one)


def item_of(value: Value, inner: Place) -> Value:
    """What the variable of a loop over `value` holds. `inner` is the place in the loop."""
    members = members_of(value, inner)
    if members is None:
        return sized(inner, value.largest, value.total)
    return known(inner, members, value.times)


def child_of(value: Value, key: object, place: Place) -> Value:
    """What stands at a key, or an index; None for one that is computed."""
    among = None
    if value.among is not None and key is not None:
        among = place.sizes.few(_at(one, key) for one in value.among if _has(one, key))
    elif value.among is not None:
        among = place.sizes.few(item for one in value.among for item in _children(one))
    elif value.members is not None:
        among = place.sizes.few(value.members)
    if among is None:
        return sized(place, value.largest, value.total)
    return known(place, among, value.times)


def again(value: Value, times: int, place: Place) -> Value:
    """The value of a variable, which is read `times` as often as it is bound."""
    now = sized(place, value.most, value.total * times)
    return Value(now.most, now.total, value.items, value.largest, value.among, value.members, value.times * times)


def _has(value: object, key: object) -> bool:
    if isinstance(value, dict):
        return key in value
    return isinstance(value, list) and isinstance(key, int) and 0 <= key < len(value)


def _at(value: object, key: object) -> object:
    if isinstance(value, dict):
        return value[key]
    return value[key] if isinstance(value, list) and isinstance(key, int) else None


def _children(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()
