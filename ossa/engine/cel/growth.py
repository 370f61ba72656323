"""Bounds how large the values of an expression can become, before it is ever run.

The runtime limits iterations but not sizes: `[s].map(x, x + x).map(x, x + x)…` doubles a text each time, and would
fill the operator's memory. The bound is rough and generous; it stops what grows by powers.
"""

from __future__ import annotations

from collections.abc import Mapping

from ossa.engine.cel.ast import Build, Call, Comprehension, Const, Ident, Node, Select

# Nominal bytes: of what one reference reads, of one literal, and of the largest value that is let through.
_BOUND_VALUE = 64 * 1024
_LITERAL = 32
_SMALL_ROOTS = {"execution": 512, "workflow": 512}
_MAX_VALUE = 256 * 1024**2
# What one list may hold, and how often all loops of an expression may run.
_LIST = 1000
_ITERATIONS = 10_000
# Calls whose value is small whatever they are given.
_SMALL = frozenset(
    {
        *("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_", "!_", "@in", "@not_strictly_false"),
        *("size", "contains", "startsWith", "endsWith", "matches", "indexOf", "lastIndexOf"),
        *("int", "uint", "double", "bool"),
    }
)
_FORMAT_PRECISION = 1000
# Items that `map` and `filter` may go over: they are quadratic, and the interpreter waits.
_MAX_LOOP = 4 * _LIST


class TooMuchWork(ValueError):
    """The expression could build a value that does not fit in memory."""


def check_growth(root: Node) -> None:
    """Raises TooMuchWork for an expression whose values could grow without reason."""
    _size(root, {}, _ITERATIONS)


def _size(node: Node, variables: Mapping[str, int], iterations: int) -> int:
    """A bound in nominal bytes of the value of `node`, which the loops around it run `iterations` times."""
    match node:
        case Const():
            size = _LITERAL + (len(node.value) if isinstance(node.value, str) else 0)
        case Ident():
            size = variables.get(node.name, _SMALL_ROOTS.get(node.name, _BOUND_VALUE))
        case Select():
            size = _size(node.operand, variables, iterations)
        case Call():
            size = _call(node, variables, iterations)
        case Build():
            size = _LITERAL + sum(_size(part, variables, iterations) for part in node.parts)
        case Comprehension():
            size = _loop(node, variables, iterations)
    if size > _MAX_VALUE:
        raise TooMuchWork("its value could grow beyond what fits in memory; build it in a task")
    return size


def _call(node: Call, variables: Mapping[str, int], iterations: int) -> int:
    sizes = [_size(argument, variables, iterations) for argument in node.args]
    match node.function:
        case name if name in _SMALL:
            return _LITERAL
        case "_?_:_":
            return max(sizes[1:])
        case "replace":
            new = node.args[2] if len(node.args) > 2 else None
            # A character of the old text may become the whole new one.
            times = len(new.value) if isinstance(new, Const) and isinstance(new.value, str) else sizes[2]
            return sizes[0] * max(1, times + 1)
        case "join":
            return sizes[0] + (sizes[1] * _LIST if len(sizes) > 1 else 0)
        case "format":
            return sum(sizes) * 2 + sizes[0] * _FORMAT_PRECISION
        case _:
            return _LITERAL + sum(sizes)


def _loop(node: Comprehension, variables: Mapping[str, int], iterations: int) -> int:
    held = _size(node.range, variables, iterations)
    if _length(node.range) > _MAX_LOOP:
        raise TooMuchWork("it loops over too many lists put together; loop over them in a task")
    times = len(node.range.parts) if isinstance(node.range, Build) else min(_LIST, iterations)
    times = max(1, min(times, iterations))
    inner = max(1, iterations // times)
    start = _size(node.init, variables, iterations)
    # The items together are the range: their share counts once, everything else once an iteration.
    with_items = {**variables, node.accumulator: 0, **dict.fromkeys(node.variables, held)}
    without = {**variables, node.accumulator: 0, **dict.fromkeys(node.variables, 0)}
    _size(node.condition, with_items, inner)
    items = _size(node.step, with_items, inner)
    rest = _size(node.step, without, inner)
    return start + (items - rest) + rest * times


def _length(node: Node) -> int:
    """A bound of the items of a list, where every list that is read has at most _LIST."""
    match node:
        case Build():
            return len(node.parts)
        case Call(function="_+_"):
            return sum(_length(argument) for argument in node.args)
        case Call(function="_?_:_"):
            return max(_length(argument) for argument in node.args[1:])
        case Comprehension():
            return _length(node.range)
        case _:
            return _LIST
