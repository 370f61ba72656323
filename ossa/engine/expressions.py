"""Values and conditions that hold ${{ CEL }}: parsed once, evaluated with what is known by then."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ossa.api.artifact import is_reference
from ossa.engine.cel.programs import CompileError, EvalError, Program, compile_program
from ossa.engine.cel.references import ROOTS, Path
from ossa.engine.scan import OPEN, Hole, UnclosedError, split
from ossa.engine.values import MAX_DEPTH, NotJSONError, is_deep, plain, shorten

__all__ = ["ROOTS", "CompileError", "Condition", "EvalError", "Template", "parse_condition", "parse_template"]


@dataclass(frozen=True, slots=True)
class _Expression:
    """A string that is one ${{ }}: the value keeps its type."""

    program: Program
    path: str

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        return _evaluate(self.program, bindings, self.path)


@dataclass(frozen=True, slots=True)
class _Text:
    """A string with values put in."""

    parts: tuple[str | Program, ...]
    path: str

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        return "".join(part if isinstance(part, str) else self._shown(part, bindings) for part in self.parts)

    def _shown(self, program: Program, bindings: Mapping[str, object]) -> str:
        value = _evaluate(program, bindings, self.path)
        if is_reference(value):
            why = "it lies in the artifact service and cannot be put in a text; give it a field of its own"
            raise _eval_error(program, self.path, why)
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True)
class _Map:
    items: tuple[tuple[str, _Part], ...]

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        return {key: part.evaluate(bindings) for key, part in self.items}


@dataclass(frozen=True, slots=True)
class _List:
    items: tuple[_Part, ...]

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        return [part.evaluate(bindings) for part in self.items]


@dataclass(frozen=True, slots=True)
class _Constant:
    """A part without expressions; it is shared, never copied, and nobody changes it."""

    value: object

    def evaluate(self, _bindings: Mapping[str, object]) -> object:
        return self.value


_Part = _Expression | _Text | _Map | _List | _Constant


@dataclass(frozen=True, slots=True)
class Template:
    """A JSON value whose strings may hold ${{ }}.

    `tasks` are the tasks that it refers to. `reads` are the paths from the roots that it reads, each with the
    field of the resource in which it stands.
    """

    tasks: frozenset[str]
    reads: tuple[tuple[str, Path], ...]
    _part: _Part = field(repr=False)

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        """The value with its expressions replaced; only what it reads need be bound. Raises EvalError."""
        return self._part.evaluate(bindings)


@dataclass(frozen=True, slots=True)
class Condition:
    """One ${{ }} that is true or false."""

    text: str
    tasks: frozenset[str]
    reads: tuple[tuple[str, Path], ...]
    _program: Program = field(repr=False)
    _path: str = field(repr=False)

    def test(self, bindings: Mapping[str, object]) -> bool:
        """Whether it is true. Raises EvalError for any value but true and false."""
        value = _evaluate(self._program, bindings, self._path)
        if not isinstance(value, bool):
            shown = shorten(json.dumps(value, ensure_ascii=False), 100)
            raise _eval_error(self._program, self._path, f"its value is {shown}, and must be true or false")
        return value


def parse_template(value: object, path: str) -> Template:
    """The template of a JSON value in the field `path`. Raises CompileError, which names the field."""
    if is_deep(value):
        raise CompileError(f"{path}: it is nested deeper than {MAX_DEPTH} levels")
    part = _parse(value, path)
    reads = tuple(_reads(part))
    return Template(_tasks(reads), reads, part)


def parse_condition(text: str, path: str) -> Condition:
    """The condition in the field `path`. Raises CompileError, which names the field."""
    parts = _split(text, path)
    if len(parts) != 1 or not isinstance(parts[0], Hole):
        raise CompileError(f"{path}: {text!r} must be one expression and nothing else: write ${{{{ … }}}} around it")
    program = _compile(parts[0], path)
    if not program.may_be_bool:
        raise CompileError(f"{path}: `{parts[0].expression}` is never true or false; compare it, as in … > 0")
    reads = tuple((path, read) for read in sorted(program.references.paths, key=str))
    return Condition(text, _tasks(reads), reads, program, path)


def child_path(path: str, key: str | int) -> str:
    """The path of a field within another: spec.input.records, spec.tasks[2], spec.input['a-name']."""
    if isinstance(key, int):
        return f"{path}[{key}]"
    return f"{path}.{key}" if key.isidentifier() else f"{path}[{key!r}]"


def _parse(value: object, path: str) -> _Part:
    match value:
        case str():
            return _parse_text(value, path)
        case dict():
            for key in value:
                if OPEN in key:
                    raise CompileError(f"{path}: the key {key!r} holds an expression; they may stand in values alone")
            held = tuple((key, _parse(item, child_path(path, key))) for key, item in value.items())
            fixed = all(isinstance(part, _Constant) for _, part in held)
            return _Constant(_plain(value, path)) if fixed else _Map(held)
        case list():
            parts = tuple(_parse(item, child_path(path, number)) for number, item in enumerate(value))
            fixed = all(isinstance(part, _Constant) for part in parts)
            return _Constant(_plain(value, path)) if fixed else _List(parts)
        case _:
            return _Constant(_plain(value, path))


def _parse_text(text: str, path: str) -> _Part:
    if OPEN not in text:
        return _Constant(_plain(text, path))
    parts = _split(text, path)
    if len(parts) == 1 and isinstance(parts[0], Hole):
        return _Expression(_compile(parts[0], path), path)
    return _Text(tuple(part if isinstance(part, str) else _compile(part, path) for part in parts), path)


def _plain(value: object, path: str) -> object:
    try:
        return plain(value)
    except NotJSONError as error:
        raise CompileError(f"{path}: {error}") from error


def _split(text: str, path: str) -> list[str | Hole]:
    try:
        return split(text)
    except UnclosedError as error:
        raise CompileError(f"{path}: {error}, in {shorten(text, 200)!r}") from error


def _compile(hole: Hole, path: str) -> Program:
    try:
        return compile_program(hole.expression)
    except CompileError as error:
        raise CompileError(f"{path}: `{shorten(hole.expression, 200)}`: {error}") from error


def _evaluate(program: Program, bindings: Mapping[str, object], path: str) -> object:
    try:
        return program.evaluate(bindings)
    except EvalError as error:
        raise _eval_error(program, path, str(error)) from error


def _eval_error(program: Program, path: str, why: str) -> EvalError:
    return EvalError(f"{path}: `{shorten(program.text, 200)}`: {why}")


def _reads(part: _Part) -> Iterator[tuple[str, Path]]:
    match part:
        case _Expression():
            yield from ((part.path, read) for read in sorted(part.program.references.paths, key=str))
        case _Text():
            for held in part.parts:
                if isinstance(held, Program):
                    yield from ((part.path, read) for read in sorted(held.references.paths, key=str))
        case _Map():
            for _, item in part.items:
                yield from _reads(item)
        case _List():
            for item in part.items:
                yield from _reads(item)
        case _Constant():
            pass


def _tasks(reads: tuple[tuple[str, Path], ...]) -> frozenset[str]:
    return frozenset(str(read[1]) for _, read in reads if read[0] == "tasks")
