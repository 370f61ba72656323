"""What an expression refers to, and how: read from its syntax tree."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ossa.engine.cel.ast import Build, Call, Comprehension, Const, Ident, Node, Select, Tree

ROOTS = ("inputs", "tasks", "execution", "workflow", "item", "index", "status", "error")
# Those that are maps; the others are values of any type.
MAP_ROOTS = frozenset({"inputs", "tasks", "execution", "workflow"})
_ARITHMETIC = frozenset({"_-_", "_+_", "_*_", "_/_", "_%_", "-_"})
_EQUALITY = frozenset({"_==_", "_!=_"})

Path = tuple[str | int, ...]


class BadReference(ValueError):
    """A reference that cannot be an edge of the graph. `position` is 0-based, or None."""

    def __init__(self, message: str, position: int | None) -> None:
        super().__init__(message)
        self.position = position


@dataclass(frozen=True, slots=True)
class References:
    """What an expression reads.

    `paths` holds every chain of constant keys from a root, such as ("tasks", "ingest", "output", "records").
    `inspected` holds those of them whose value the expression looks into instead of passing it on whole.
    `listed` holds those that `map` or `filter` goes over.
    `whole` is the path where the expression is nothing else than one.
    """

    paths: frozenset[Path]
    inspected: frozenset[Path]
    listed: frozenset[Path]
    whole: Path | None
    loops: bool

    @property
    def tasks(self) -> frozenset[str]:
        """Names of the tasks that it refers to."""
        return frozenset(str(path[1]) for path in self.paths if path[0] == "tasks")


def find_references(tree: Tree, roots: Collection[str] = ROOTS) -> References:
    """The references of a tree to these roots.

    Raises BadReference on a task whose name is computed, where `tasks` is one of the roots.
    """
    walk = _Walk(tree, roots)
    walk.visit(tree.root, frozenset(), inspects=False)
    paths = frozenset(walk.passed | walk.inspected)
    return References(
        paths=paths,
        inspected=frozenset(walk.inspected),
        listed=frozenset(walk.listed),
        whole=walk.path(tree.root, frozenset()),
        loops=walk.loops,
    )


class _Walk:
    """One pass over a tree; `scope` holds the names that a macro's own variables hide."""

    def __init__(self, tree: Tree, roots: Collection[str]) -> None:
        self._positions = tree.positions
        self._roots = roots
        self.passed: set[Path] = set()
        self.inspected: set[Path] = set()
        self.listed: set[Path] = set()
        self.loops = False

    def visit(self, node: Node, scope: frozenset[str], *, inspects: bool) -> None:
        path = self.path(node, scope)
        if path is not None:
            self._check_task(path, node)
            (self.inspected if inspects else self.passed).add(path)
            return
        match node:
            case Select():
                self._select(node, scope)
            case Call():
                self._call(node, scope, inspects=inspects)
            case Build():
                # Inside a list or a map a value is passed on, whatever is done with the list.
                for part in node.parts:
                    self.visit(part, scope, inspects=False)
            case Comprehension():
                self._comprehension(node, scope)
            case Const() | Ident():
                pass

    def path(self, node: Node, scope: frozenset[str]) -> Path | None:
        """The chain of constant keys from a root that a node is, if it is one."""
        keys: list[str | int] = []
        while True:
            match node:
                case Select(test=False):
                    keys.append(node.field)
                    node = node.operand
                case Call(function="_[_]", args=(operand, Const(value=str() | int() as key))):
                    keys.append(key)
                    node = operand
                case Ident():
                    name = node.name.removeprefix(".")
                    if name not in self._roots or node.name in scope:
                        return None
                    return (name, *reversed(keys))
                case _:
                    return None

    def _select(self, node: Select, scope: frozenset[str]) -> None:
        operand = self.path(node.operand, scope)
        if node.test and operand is not None:
            # has(a.b): b is only asked for, so that it may be a reference to an artifact.
            self._check_task((*operand, node.field), node)
            self.passed.add((*operand, node.field))
            return
        self.visit(node.operand, scope, inspects=True)

    def _call(self, node: Call, scope: frozenset[str], *, inspects: bool) -> None:
        if node.function in _ARITHMETIC:
            self._check_arithmetic(node, scope)
        if node.function == "_[_]" and self.path(node.args[0], scope) == ("tasks",):
            raise self._error("the name of a task must be written out, it cannot be computed", node)
        if node.function == "_?_:_":
            condition, *branches = node.args
            self.visit(condition, scope, inspects=True)
            for branch in branches:
                self.visit(branch, scope, inspects=inspects)
            return
        with_null = node.function in _EQUALITY and any(isinstance(a, Const) and a.is_null for a in node.args)
        for argument in node.args:
            self.visit(argument, scope, inspects=not with_null)

    def _comprehension(self, node: Comprehension, scope: frozenset[str]) -> None:
        self.loops = True
        over = self.path(node.range, scope)
        if over is not None and isinstance(node.init, Build):
            self.listed.add(over)
        self.visit(node.range, scope, inspects=True)
        self.visit(node.init, scope, inspects=True)
        inner = scope | node.variables | {node.accumulator}
        self.visit(node.condition, inner, inspects=True)
        self.visit(node.step, inner, inspects=True)
        self.visit(node.result, scope | {node.accumulator}, inspects=True)

    def _check_task(self, path: Path, node: Node) -> None:
        if path[0] != "tasks":
            return
        if len(path) == 1:
            raise self._error("`tasks` cannot be used as a whole: name the task, as in tasks.NAME.output", node)
        if not isinstance(path[1], str):
            raise self._error(f"tasks[{path[1]}]: tasks have names, not numbers: tasks['NAME']", node)

    def _check_arithmetic(self, node: Call, scope: frozenset[str]) -> None:
        for argument in node.args:
            path = self.path(argument, scope)
            if path is not None and path[0] == "tasks" and len(path) == 2:
                raise self._error(
                    f"tasks.{path[1]} is a task, not a value; a name with a hyphen is written tasks['{path[1]}-…']",
                    argument,
                )

    def _error(self, message: str, node: Node) -> BadReference:
        return BadReference(message, self._positions.get(node.id))
