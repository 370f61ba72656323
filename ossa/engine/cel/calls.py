"""What the calls of an expression give and go over: bounds, in characters, by what they are given."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod

from ossa.engine.cel.bounds import Place, Value, either, known, listed, sized
from ossa.engine.cel.lengths import ITEM
from ossa.engine.cel.patterns import LONG

_REPLACE = 10  # to replace every character
_NEEDLE = 200  # characters of what is searched for that are compared in the time of one
_PRECISION = 1000  # digits that `format` may be asked for by a few characters
_ALTERNATIVES = 100  # texts that one put together of others may be

_LOGIC = frozenset({"_&&_", "_||_", "!_", "@not_strictly_false"})
FREE = _LOGIC | {"_?_:_", "_[_]"}
_BOTH = frozenset({"_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "startsWith", "endsWith"})
_SEARCH = frozenset({"contains", "indexOf", "lastIndexOf", "replace", "split"})
_SMALL = frozenset({*_LOGIC, *_BOTH, "@in", "contains", "matches", "indexOf", "lastIndexOf", "size", "int", "double"})


def gone_over(name: str, values: Sequence[Value], place: Place) -> int:
    """What all the calls of a function at a node go over, beside what they make."""
    if name == "_+_" and all(value.is_list for value in values):
        return place.runs * ITEM * sum(value.items for value in values)  # their items are passed on as they are
    totals = [value.total for value in values]
    if name in _BOTH:
        return min(totals, default=0)
    if name == "size" and values[0].is_list:
        return 0  # of a text the characters are counted
    if name == "@in":
        return min(totals[1], place.runs * _looked_at(values[0], values[1]))
    work = sum(totals)
    if name in _SEARCH and len(values) > 1:
        text, sought = values[0], values[1]
        work += min(text.total * sought.most, text.most * sought.total) // _NEEDLE
        work += _REPLACE * text.total if name == "replace" else 0
    return work


def _looked_at(sought: Value, over: Value) -> int:
    """What `sought in over` goes over."""
    among = over.among or ()
    if len(among) == 1 and isinstance(among[0], dict):
        return ITEM + sought.most
    if len(among) == 1 and isinstance(among[0], list) and all(isinstance(item, str) for item in among[0]):
        return over.items * (ITEM // 4 + sought.most // _NEEDLE)
    return over.items * (ITEM + sought.most)


def made(name: str, values: Sequence[Value], place: Place) -> Value:
    """What a call gives."""
    if name in _SMALL or not values:
        return sized(place, ITEM)
    first = values[0]
    match name:
        case "_?_:_":
            return either(place, values[1:])
        case "_+_":
            return _joined(place, values)
        case "split":
            return _split(place, first, values[1:])
        case "trim" if first.texts:
            return known(place, tuple(text.strip() for text in first.texts), first.times)
        case "replace" if len(values) > 2:
            times = _copies(values[1], values[2])
            return sized(place, first.most * times, first.total * times)
        case "join" if len(values) > 1:
            between = first.items * values[1].most
            return sized(place, first.most + between, first.total + place.runs * between)
        case "format":
            digits = _PRECISION * (max(text.count("%.") for text in first.texts) if first.texts else first.most)
            most, total = sum(v.most for v in values), sum(v.total for v in values)
            return sized(place, digits + 4 * most, digits * place.runs + 4 * total)
        case "strings.quote":
            return sized(place, 2 * first.most, 2 * first.total)
    return _together(place, values)


def _together(place: Place, values: Sequence[Value]) -> Value:
    size = ITEM + sum(v.most for v in values), ITEM * place.runs + sum(v.total for v in values)
    return listed(place, size, sum(v.items for v in values), max(v.largest for v in values), values)


def _joined(place: Place, values: Sequence[Value]) -> Value:
    """Two texts or lists. Of texts that are known, few and short it is known too, as of a pattern put together."""
    texts = [value.texts for value in values]
    count = prod(map(len, texts))
    if not 0 < count <= _ALTERNATIVES or sum(value.most for value in values) > LONG:
        return _together(place, values)
    return known(place, tuple("".join(parts) for parts in product(*texts)), place.runs)


def _split(place: Place, text: Value, by: Sequence[Value]) -> Value:
    if sum(map(len, text.texts)) in range(1, LONG) and len(by) == 1 and len(by[0].texts) == 1 and by[0].texts[0]:
        among = tuple(one.split(by[0].texts[0]) for one in text.texts)
        if place.sizes.few(piece for one in among for piece in one) is not None:
            return known(place, among, text.times)
    value = sized(place, (ITEM + 1) * text.most, (ITEM + 1) * text.total)
    return Value(value.most, value.total, text.most, text.most)


def _copies(old: Value, new: Value) -> int:
    """How many times larger a text may become when all that is `old` in it is replaced."""
    if new.texts and old.texts and all(old.texts):
        return max(1, -(-max(map(len, new.texts)) // min(map(len, old.texts))))
    return 1 + new.most
