"""Bounds what an expression may come to with what it reads here and now, before it is run.

The runtime limits iterations and not what one of them goes over: `l.all(x, text.contains(x))` reads the text 10,000
times, and a text searched for a long one, or by a large regular expression, takes seconds once. Nothing else runs
meanwhile. The unit is a character gone over, about 5 ns of the runtime; an item counts as some of them.
"""

from __future__ import annotations

from collections.abc import Mapping

from ossa.engine.cel.ast import Build, Call, Comprehension, Const, Ident, Node, Select
from ossa.engine.cel.bounds import Place, Sizes, Value, again, built, child_of, item_of, known, listed, sized
from ossa.engine.cel.calls import FREE, gone_over, made
from ossa.engine.cel.growth import TooMuchWork
from ossa.engine.cel.lengths import ITEM
from ossa.engine.cel.patterns import heaviest

# Half a second.
MAX_WORK = 100_000_000
_ITERATIONS = 10_000
# More than one evaluation is ever given: what 10,000 tasks of a forEach put out.
_LARGEST = 2**26
_GATHER = 4  # for each item that `map` and `filter` have already, with each further one: they copy
_MATCH, _COMPILE = 4, 700  # a regular expression on a character, and made: it is made anew each time


class Work:
    """What an expression does, for bounds of what it comes to."""

    def __init__(self, root: Node) -> None:
        self._root = root
        self._fits: dict[int, bool] = {}

    def fits(self, size: int) -> bool:
        """Whether so much is little, however it is spread over what the expression reads."""
        magnitude = size.bit_length()
        found = self._fits.get(magnitude)
        if found is None:
            found = self._fits[magnitude] = self.reckon(None, 1 << magnitude) <= MAX_WORK
        return found

    def reckon(self, data: Mapping[str, object] | None, size: int) -> int:
        """The bound for `data`, which measures `size`; for None whatever is of that size."""
        return _Sum(data, size).of(self._root)

    def check(self, data: Mapping[str, object], size: int) -> None:
        """Raises TooMuchWork where the expression may take too long with `data`, which measures `size`."""
        if self.fits(size):
            return
        total = self.reckon(data, size)
        if total > MAX_WORK:
            raise TooMuchWork(
                f"it could go over {total // 1_000_000:,} million characters, counted each time that it loops or "
                f"searches; at most {MAX_WORK // 1_000_000} million are taken: read less, or do this in a task"
            )


def work_of(root: Node, *, loops: bool) -> Work | None:
    """None for an expression that is nothing to check: it does not loop, and is quick with whatever it reads."""
    work = Work(root)
    return work if loops or not work.fits(_LARGEST) else None


class _Sum:
    """Adds up the work of a tree over `data` of this size; where it is None, over any of that size."""

    def __init__(self, data: Mapping[str, object] | None, size: int) -> None:
        self._data = data
        self._size = size
        self._total = 0

    def of(self, root: Node) -> int:
        """The bound, with what it takes to hand the value back."""
        value = self._visit(root, Place(1, 1, Sizes()))
        return self._total + value.total

    def _visit(self, node: Node, place: Place) -> Value:
        self._total += place.runs * ITEM
        match node:
            case Const():
                return known(place, (node.value,), place.runs)
            case Ident():
                return self._ident(node, place)
            case Select():
                value = child_of(self._visit(node.operand, place), node.field, place)
                return sized(place, ITEM) if node.test else value
            case Call():
                return self._call(node, place)
            case Build():
                return built(place, [self._visit(part, place) for part in node.parts], is_list=node.is_list)
            case Comprehension():
                return self._loop(node, place)

    def _ident(self, node: Ident, place: Place) -> Value:
        bound = place.variables.get(node.name)
        if bound is not None:
            value, turns = bound
            # It is read again as often as the loops within go round.
            return again(value, -(-place.turns // turns), place)
        if self._data is None:
            return sized(place, self._size)
        return known(place, (self._data.get(node.name.removeprefix(".")),), place.runs)

    def _call(self, node: Call, place: Place) -> Value:
        values = [self._visit(argument, place) for argument in node.args]
        name = node.function
        if name == "_[_]":
            key = values[1].among or ()
            return child_of(values[0], key[0] if len(key) == 1 else None, place)
        value = made(name, values, place)
        if name == "matches" and len(values) == 2:
            self._total += heaviest(values[1].texts) * (_MATCH * values[0].total + _COMPILE * place.runs)
        elif name not in FREE:
            self._total += gone_over(name, values, place) + (0 if value.is_list else value.total)
        return value

    def _loop(self, node: Comprehension, place: Place) -> Value:
        over = self._visit(node.range, place)
        start = self._visit(node.init, place)
        count = max(1, over.items)
        inner = Place(min(_ITERATIONS, place.runs * count), place.turns * count, place.sizes)
        # What is gathered is reckoned as what the steps add to it.
        bound = {name: (item_of(over, inner), inner.turns) for name in node.variables}
        bound[node.accumulator] = listed(inner, (0, 0), 0, 0, ()), inner.turns
        inner = Place(inner.runs, inner.turns, place.sizes, {**place.variables, **bound})
        if isinstance(node.init, Build):
            self._total += _GATHER * inner.runs * min(_ITERATIONS, over.items)
        self._visit(node.condition, inner)
        step = self._visit(node.step, inner)
        size = start.most + min(inner.runs, over.items) * step.most, start.total + step.total
        largest = max(start.largest, step.largest)
        value = listed(place, size, start.items + over.items * step.items, largest, (start, step))
        after = {**place.variables, node.accumulator: (value, place.turns)}
        return self._visit(node.result, Place(place.runs, place.turns, place.sizes, after))
