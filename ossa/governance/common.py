"""What the operator's CEL and the API server's say the same of, read from the syntax tree.

An end-to-end test compares the two. Where they differ, and what is done about it:
has(a.b) of an `a` that is no map is an error here and false there, so that the schema has to say that it is one;
map and filter over a map are an error here and go over its keys there, so that the schema has to say that it is a list;
arithmetic is left out, since the API server takes 1.0 for a fraction and the operator for a whole number.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.crds import KINDS, crd
from ossa.engine.cel.ast import Build, Call, Comprehension, Const, Ident, Node, Select, read_tree
from ossa.engine.cel.programs import Program
from ossa.governance.language import POLICY

ROOTS = frozenset({"object", "variables"})
BOOL = frozenset(
    {
        *("_==_", "_!=_", "_<_", "_<=_", "_>_", "_>=_", "_&&_", "_||_", "!_", "@in"),
        *("contains", "startsWith", "endsWith", "matches"),
    }
)
_COMMON = BOOL | {"_?_:_", "_[_]", "@not_strictly_false", "size", "duration", "lowerAscii", "upperAscii", "split"}
# Of a value: an OpenAPI schema; None where nothing is known of it.
Shape = Mapping[str, Any] | None
Scope = Mapping[str, Shape]
_TEXT: JSONObject = {"type": "string"}
_TEXTS: JSONObject = {"type": "object", "additionalProperties": _TEXT}


def tree_of(program: Program) -> Node:
    """The syntax tree of an expression."""
    return read_tree(POLICY.compile(program.text).serialize()).root


@lru_cache(maxsize=8)
def object_shape(kind: str) -> JSONObject:
    """Of the objects of a kind, with what every object has."""
    held = next(one for one in KINDS if one.model.__name__ == kind)
    schema: JSONObject = crd(held)["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    texts = dict.fromkeys(("name", "generateName", "namespace", "uid", "creationTimestamp", "resourceVersion"), _TEXT)
    marks = {"labels": _TEXTS, "annotations": _TEXTS}
    metadata = {"type": "object", "properties": {**texts, **marks}}
    return {**schema, "properties": {**schema["properties"], "metadata": metadata}}


def with_variables(scope: Scope, variables: Mapping[str, Program]) -> Scope:
    """The scope in which `variables` is known too, each variable by those before it."""
    shapes: dict[str, Shape] = {}
    full: Scope = {**scope, "variables": {"type": "object", "properties": shapes}}
    for name, program in variables.items():
        shapes[name] = _shape(tree_of(program), full)
    return full


def differences(node: Node, scope: Scope) -> Iterator[str]:
    """What of an expression is not common to both dialects, in words."""
    match node:
        case Const():
            return
        case Ident():
            if node.name not in scope:
                yield f"`{node.name}`"
        case Select():
            yield from differences(node.operand, scope)
            if node.test and not _is(_shape(node.operand, scope), "object"):
                yield f"has() of a field `{node.field}` of what may be no map"
        case Build():
            if not node.is_list:
                yield "a map"
            yield from _all(node.parts, scope)
        case Call():
            yield from _call(node, scope)
        case Comprehension():
            yield from _loop(node, scope)


def is_bool(node: Node) -> bool:
    """Whether the API server sees that a value is true or false."""
    match node:
        case Call(function=function):
            return function in BOOL
        case Select(test=test):
            return test
        case Comprehension(init=init):
            return isinstance(init, Const)  # all, exists, exists_one
        case _:
            return False


def may_leave_out(node: Node) -> bool:
    """Whether a value may be found though a part of the expression has none."""
    match node:
        case Select(operand=operand):
            return may_leave_out(operand)
        case Build(parts=parts):
            return any(map(may_leave_out, parts))
        case Call(function=function, args=args):
            return function in ("_&&_", "_||_", "_?_:_") or any(map(may_leave_out, args))
        case Comprehension():
            return True
        case _:
            return False


def is_text(program: Program, scope: Scope) -> bool:
    """Whether the API server sees that a value is a text, made of what both dialects have."""
    if any(path[0] not in ROOTS for path in program.references.paths):
        return False
    parts = list(_joined(tree_of(program)))
    known = any(isinstance(part, Const) and isinstance(part.value, str) for part in parts)
    return known and not any(True for _ in _all(parts, scope))


def _joined(node: Node) -> Iterator[Node]:
    if isinstance(node, Call) and node.function == "_+_":
        for argument in node.args:
            yield from _joined(argument)
    else:
        yield node


def _all(nodes: Iterable[Node], scope: Scope) -> Iterator[str]:
    for node in nodes:
        yield from differences(node, scope)


def _call(node: Call, scope: Scope) -> Iterator[str]:
    # map, filter and exists_one are written with a sum.
    collects = node.function == "_+_" and isinstance(node.args[0], Ident) and node.args[0].name.startswith("@")
    if node.function not in _COMMON and not collects:
        yield f"`{node.function.strip('_').replace('_', ' ')}`"
    if node.function == "matches" and not isinstance(node.args[1], Const):
        yield "a pattern that is computed"
    yield from _all(node.args, scope)


def _loop(node: Comprehension, scope: Scope) -> Iterator[str]:
    over = _shape(node.range, scope)
    if isinstance(node.init, Build) and not _is(over, "array"):
        yield "map or filter over what may be no list"
    yield from differences(node.range, scope)
    inner = _inner(node, scope)
    yield from _all((node.init, node.condition, node.step, node.result), inner)


def _inner(node: Comprehension, scope: Scope) -> Scope:
    over = _shape(node.range, scope)
    item: Shape = None
    if over is not None:
        item = over.get("items") if over.get("type") == "array" else _TEXT
    return {**scope, **dict.fromkeys(node.variables, item), node.accumulator: None}


def _is(shape: Shape, kind: str) -> bool:
    """Whether a value, where there is one, is a map (object) or a list (array): the API server has seen to it."""
    return shape is not None and shape.get("type") == kind and not shape.get("nullable")


def _shape(node: Node, scope: Scope) -> Shape:
    match node:
        case Ident():
            return scope.get(node.name)
        case Select(test=False):
            return _field(_shape(node.operand, scope), node.field)
        case Call(function="_[_]", args=(held, key)):
            return _item(_shape(held, scope), key)
        case Call(function="split"):
            return {"type": "array", "items": _TEXT}
        case Call(function="_?_:_", args=(_, first, second)):
            return _either(_shape(first, scope), _shape(second, scope))
        case Build(is_list=True):
            return {"type": "array"}
        case Comprehension(init=Build()):
            return _collected(node, scope)
        case _:
            return None


def _field(shape: Shape, name: str) -> Shape:
    if shape is None:
        return None
    more = shape.get("additionalProperties")
    found: Shape = (shape.get("properties") or {}).get(name, more if isinstance(more, dict) else None)
    return found


def _item(shape: Shape, key: Node) -> Shape:
    if shape is not None and shape.get("type") == "array":
        found: Shape = shape.get("items")
        return found
    return _field(shape, key.value) if isinstance(key, Const) and isinstance(key.value, str) else None


def _either(first: Shape, second: Shape) -> Shape:
    """What is known of both; of an empty list no more than that it is one."""
    if first is None or second is None or first.get("type") != second.get("type"):
        return None
    bare = {"type": "array"}
    return first if second in (first, bare) else second if first == bare else None


def _collected(node: Comprehension, scope: Scope) -> Shape:
    """filter gives a list of what it goes over, map one of what its last argument is."""
    step = node.step.args[1] if isinstance(node.step, Call) and node.step.function == "_?_:_" else node.step
    match step:
        case Call(function="_+_", args=(_, Build(parts=(part,)))):
            return {"type": "array", "items": _shape(part, _inner(node, scope))}
        case _:
            return {"type": "array"}
