"""Reads the checked syntax tree that the CEL compiler serializes (cel.expr.CheckedExpr, protobuf).

The tree is the one trustworthy source of what an expression refers to: text cannot tell a reference from a
string or a macro's own variable. The wire format is read here directly, because the message's Python class is in
no package that we depend on.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

# Field numbers of cel/expr/syntax.proto and checked.proto.
_ANY_VALUE = 2
_CHECKED_SOURCE, _CHECKED_EXPR = 5, 4
_SOURCE_POSITIONS = 4
_ID, _CONST, _IDENT, _SELECT, _CALL, _LIST, _STRUCT, _COMPREHENSION = range(2, 10)
_CONST_NULL, _CONST_INT, _CONST_STRING = 1, 3, 6


@dataclass(frozen=True, slots=True)
class Const:
    """A literal. `value` is set for strings and integers alone."""

    id: int
    value: str | int | None = None
    is_null: bool = False


@dataclass(frozen=True, slots=True)
class Ident:
    """A name: a variable, a type, or a macro's own variable."""

    id: int
    name: str


@dataclass(frozen=True, slots=True)
class Select:
    """operand.field; `test` is has(operand.field)."""

    id: int
    operand: Node
    field: str
    test: bool


@dataclass(frozen=True, slots=True)
class Call:
    """A function or an operator; the target of a member function is the first argument."""

    id: int
    function: str
    args: tuple[Node, ...]


@dataclass(frozen=True, slots=True)
class Build:
    """A list, a map or a message: `parts` are elements, or keys and values in turn."""

    id: int
    parts: tuple[Node, ...]
    is_list: bool


@dataclass(frozen=True, slots=True)
class Comprehension:
    """What the macros all, exists, exists_one, map and filter become."""

    id: int
    variables: frozenset[str]
    accumulator: str
    range: Node
    init: Node
    condition: Node
    step: Node
    result: Node


Node = Const | Ident | Select | Call | Build | Comprehension


@dataclass(frozen=True, slots=True)
class Tree:
    """A syntax tree, and where its nodes stand in the text (0-based, in characters)."""

    root: Node
    positions: dict[int, int]


def read_tree(serialized: bytes) -> Tree:
    """The tree of `Expression.serialize()`."""
    checked = _message(_first(_message(serialized), _ANY_VALUE))
    positions = {}
    for entry in _message(_first(checked, _CHECKED_SOURCE)).get(_SOURCE_POSITIONS, []):
        fields = _message(_as_bytes(entry))
        positions[_int(fields, 1)] = _int(fields, 2)
    return Tree(_node(_first(checked, _CHECKED_EXPR)), positions)


_Fields = dict[int, list[int | bytes]]


def _node(data: bytes) -> Node:
    fields = _message(data)
    node_id = _int(fields, _ID)
    for kind, build in _BUILDERS.items():
        if kind in fields:
            return build(node_id, _message(_first(fields, kind)))
    # An expression of no kind is the protobuf default of a literal.
    return Const(node_id)


def _const(node_id: int, fields: _Fields) -> Node:
    if _CONST_STRING in fields:
        return Const(node_id, _text(fields, _CONST_STRING))
    if _CONST_INT in fields:
        return Const(node_id, _signed(_int(fields, _CONST_INT)))
    return Const(node_id, is_null=_CONST_NULL in fields)


def _ident(node_id: int, fields: _Fields) -> Node:
    return Ident(node_id, _text(fields, 1))


def _select(node_id: int, fields: _Fields) -> Node:
    return Select(node_id, _node(_first(fields, 1)), _text(fields, 2), bool(_int(fields, 3)))


def _call(node_id: int, fields: _Fields) -> Node:
    parts = [*fields.get(1, []), *fields.get(3, [])]
    return Call(node_id, _text(fields, 2), tuple(_node(_as_bytes(part)) for part in parts))


def _list(node_id: int, fields: _Fields) -> Node:
    return Build(node_id, tuple(_node(_as_bytes(part)) for part in fields.get(1, [])), is_list=True)


def _struct(node_id: int, fields: _Fields) -> Node:
    parts = []
    for entry in fields.get(2, []):
        held = _message(_as_bytes(entry))
        parts += [_node(_first(held, number)) for number in (3, 4) if number in held]
    return Build(node_id, tuple(parts), is_list=False)


def _comprehension(node_id: int, fields: _Fields) -> Node:
    return Comprehension(
        id=node_id,
        variables=frozenset(name for name in (_text(fields, 1), _text(fields, 8)) if name),
        accumulator=_text(fields, 3),
        range=_node(_first(fields, 2)),
        init=_node(_first(fields, 4)),
        condition=_node(_first(fields, 5)),
        step=_node(_first(fields, 6)),
        result=_node(_first(fields, 7)),
    )


_BUILDERS = {
    _CONST: _const,
    _IDENT: _ident,
    _SELECT: _select,
    _CALL: _call,
    _LIST: _list,
    _STRUCT: _struct,
    _COMPREHENSION: _comprehension,
}


def _message(data: bytes) -> _Fields:
    fields: _Fields = {}
    for number, value in _wire(data):
        fields.setdefault(number, []).append(value)
    return fields


def _wire(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
        elif kind == 2:
            length, at = _varint(data, at)
            yield number, data[at : at + length]
            at += length
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
            yield number, struct.unpack_from("<Q" if size == 8 else "<I", data, at)[0]
            at += size
        else:
            raise ValueError(f"unknown wire type {kind} in a serialized CEL expression")


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
        shift += 7


def _first(fields: _Fields, number: int) -> bytes:
    return _as_bytes(fields[number][0]) if number in fields else b""


def _as_bytes(value: int | bytes) -> bytes:
    if isinstance(value, int):
        raise TypeError("a number where a serialized CEL expression holds a message")
    return value


def _int(fields: _Fields, number: int) -> int:
    value = fields[number][0] if number in fields else 0
    return value if isinstance(value, int) else 0


def _text(fields: _Fields, number: int) -> str:
    return _first(fields, number).decode()


def _signed(value: int) -> int:
    return value - 2**64 if value >= 2**63 else value
