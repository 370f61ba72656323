"""One CEL expression: compiled, its references known, evaluated without the runtime's traps.

This module is the only caller of cel_expr_python. What it guards against, each kept by a test:
`eval` returns a value of type ERROR, whose text is truthy, where one expects an exception; `value()` holds nested
Values; an integer of more than 64 bits anywhere in a binding fails every expression that has the binding; a
binding is converted whole, however little of it is read; the order of a map's keys changes from one evaluation to
the next; `map` and `filter` are quadratic and hold the interpreter, and so does what goes over long texts; each null
of a value takes a reference of None away, and the process aborts once there are none.
"""

from __future__ import annotations

import ctypes
import re
import sys
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from cel_expr_python import cel
from cel_expr_python.ext import ext_math, ext_strings

from ossa.api.artifact import is_reference
from ossa.api.task import EXPRESSION_MAX_LENGTH
from ossa.engine.cel.ast import read_tree
from ossa.engine.cel.growth import TooMuchWork, check_growth
from ossa.engine.cel.lengths import MAX_LIST, MAX_SPLIT, measure
from ossa.engine.cel.references import MAP_ROOTS, ROOTS, BadReference, Path, References, find_references
from ossa.engine.cel.work import Work, work_of
from ossa.engine.values import NotJSONError, plain, shorten

_COMPILE_ERROR = re.compile(r"<input>:(-?\d+):(-?\d+): (.*)")
_STATUS_CODE = re.compile(r"^[A-Z_]+: | \[[A-Z_]+\]$")
_take_reference = ctypes.pythonapi.Py_IncRef
_take_reference.argtypes = [ctypes.py_object]
_take_reference.restype = None
_HYPHENATED = re.compile(r"\.([A-Za-z0-9_]+(?:-[A-Za-z0-9_]+)+)")


class CompileError(ValueError):
    """An expression that can never be evaluated; the text says where and why."""


class EvalError(ValueError):
    """An expression that has no value here and now; the text names it and says why."""


class Language:
    """What may stand in an expression: its roots, of which `maps` are maps with any keys and `times` points in time.

    Each is made once, as a module's constant: programs are kept by it.
    """

    def __init__(
        self,
        roots: Collection[str],
        *,
        maps: Collection[str],
        times: Collection[str] = (),
        most: int = EXPRESSION_MAX_LENGTH,
    ) -> None:
        types = dict.fromkeys(roots, cel.Type.DYN)
        types |= {root: cel.Type.Map(cel.Type.STRING, cel.Type.DYN) for root in maps}
        types |= dict.fromkeys(times, cel.Type.TIMESTAMP)
        self.roots = frozenset(roots)
        self.most = most
        self._env = cel.NewEnv(variables=types, extensions=[ext_strings.ExtStrings(), ext_math.ExtMath()])

    def compile(self, text: str) -> cel.Expression:
        """Raises RuntimeError with the runtime's own text."""
        return self._env.compile(text)


# The language of workflows.
WORKFLOW = Language(ROOTS, maps=MAP_ROOTS)


@dataclass(frozen=True, slots=True)
class Program:
    """A compiled expression."""

    text: str
    references: References
    may_be_bool: bool
    _expression: cel.Expression = field(repr=False, compare=False)
    _paths: tuple[Path, ...] = field(repr=False, compare=False)
    _work: Work | None = field(repr=False, compare=False)

    def evaluate(self, bindings: Mapping[str, object]) -> object:
        """The value, as JSON. Raises EvalError.

        An expression that is nothing but a path is looked up as it is: exact, whatever its size and numbers.
        """
        whole = self.references.whole
        if whole is not None:
            return _look_up(bindings, whole)
        return self._run(self._bind(bindings))

    def _run(self, data: dict[str, object]) -> object:
        try:
            value = self._expression.eval(data=data)
        except RuntimeError as error:
            raise EvalError(_eval_message(str(error))) from error
        if value.type() == cel.Type.ERROR:
            raise EvalError(_eval_message(str(value.plain_value())))
        held = value.plain_value()
        _own_nulls(held)
        try:
            return plain(held, sort_keys=True)
        except NotJSONError as error:
            raise EvalError(f"its value cannot be kept: {error}") from error

    def _bind(self, bindings: Mapping[str, object]) -> dict[str, object]:
        """The part of the bindings that the expression reads: everything bound is converted, at a cost."""
        data: dict[str, object] = {}
        for path in self._paths:
            self._bind_path(bindings, path, data)
        if self._work is not None:
            self._check_work(self._work, data)
        return data

    def _check_work(self, work: Work, data: dict[str, object]) -> None:
        """Raises EvalError for what would keep the interpreter busy for longer than a turn may take."""
        loops = self.references.loops
        longest_list = MAX_LIST if loops else sys.maxsize
        longest_text = MAX_SPLIT if loops and "split(" in self.text else sys.maxsize
        try:
            work.check(data, measure(data, longest_list, longest_text))
        except TooMuchWork as error:
            raise EvalError(str(error)) from error

    def _bind_path(self, bindings: Mapping[str, object], path: Path, data: dict[str, object]) -> None:
        source: object = bindings.get(str(path[0]), {})
        target = data
        key = path[0]
        keys: tuple[str | int | None, ...] = (*path[1:], None)
        for number, following in enumerate(keys):
            if is_reference(source) and (following is not None or path in self.references.inspected):
                raise EvalError(_inside_reference(path[: number + 1]))
            if following is None and isinstance(source, dict) and path in self.references.listed:
                raise EvalError(f"{path_text(path)} is a map, whose keys have no order; map and filter take lists")
            if following is None or not isinstance(source, dict):
                target[str(key)] = source
                return
            target = _child(target, str(key))
            if following not in source:
                return  # has() and the error for a missing key are CEL's own
            source, key = source[following], following


@lru_cache(maxsize=8192)
def compile_program(text: str, language: Language = WORKFLOW) -> Program:
    """Compiles an expression, without its ${{ }}. Raises CompileError."""
    if not text:
        raise CompileError("the expression is empty")
    if len(text) > language.most:
        raise CompileError(f"it has {len(text)} characters; at most {language.most} are taken")
    try:
        expression = language.compile(text)
    except RuntimeError as error:
        raise CompileError(_compile_message(str(error), text)) from error
    tree = read_tree(expression.serialize())
    try:
        references = find_references(tree, language.roots)
        check_growth(tree.root)
    except BadReference as error:
        where = "" if error.position is None else f"at character {error.position + 1}: "
        raise CompileError(f"{where}{error}") from error
    except TooMuchWork as error:
        raise CompileError(str(error)) from error
    may_be_bool = expression.return_type() in (cel.Type.BOOL, cel.Type.DYN)
    return Program(
        text,
        references,
        may_be_bool,
        expression,
        _shortest(references.paths),
        work_of(tree.root, loops=references.loops),
    )


def _shortest(paths: frozenset[Path]) -> tuple[Path, ...]:
    """The paths without those that lie inside another."""
    kept: list[Path] = []
    for path in sorted(paths, key=lambda p: (len(p), [str(key) for key in p])):
        if not any(path[: len(other)] == other for other in kept):
            kept.append(path)
    return tuple(kept)


def _own_nulls(value: object) -> None:
    """Gives each null in a value of the runtime the reference that it was handed out without.

    Where None is immortal (Python 3.12), or the runtime takes the reference itself, this does no harm.
    """
    if value is None:
        _take_reference(None)
    elif isinstance(value, list):
        for item in value:
            _own_nulls(item)
    elif isinstance(value, dict):
        for item in value.values():
            _own_nulls(item)


def _look_up(bindings: Mapping[str, object], path: Path) -> object:
    value: object = bindings.get(str(path[0]), {})
    for number, key in enumerate(path[1:], start=1):
        if is_reference(value):
            raise EvalError(_inside_reference(path[:number]))
        if isinstance(value, dict):
            if key not in value:
                raise EvalError(_missing(path[:number], key, value))
            value = value[key]
        elif isinstance(value, list) and isinstance(key, int):
            if not 0 <= key < len(value):
                raise EvalError(f"{path_text(path[:number])} has {len(value)} items, none at [{key}]")
            value = value[key]
        else:
            raise EvalError(f"{path_text(path[:number])} is {_type_name(value)}, it has no {key!r}")
    return value


def path_text(path: Path) -> str:
    """tasks['a-name'].output.records[3]"""
    text = ""
    for key in path:
        if isinstance(key, int):
            text += f"[{key}]"
        elif key.isidentifier():
            text += f".{key}" if text else key
        else:
            text += f"['{key}']"
    return text


def _child(target: dict[str, object], key: str) -> dict[str, object]:
    held = target.setdefault(key, {})
    # The paths are prefix-free, so what an earlier path put here is a map of its own.
    if not isinstance(held, dict):
        raise TypeError(f"two paths disagree on {key}")
    return held


def _inside_reference(path: Path) -> str:
    return (
        f"{path_text(path)} lies in the artifact service; an expression can pass it on whole, but not look "
        "inside: let the task that writes it give what is asked for as a small field of its own"
    )


def _missing(path: Path, key: str | int, value: dict[str, object]) -> str:
    names = ", ".join(sorted(value)[:20])
    return f"{path_text(path)} has no {str(key)!r}" + (f"; it has {shorten(names, 300)}" if names else "; it is empty")


def _type_name(value: object) -> str:
    names = {"NoneType": "null", "bool": "a bool", "int": "a number", "float": "a number", "str": "a string"}
    return names.get(type(value).__name__, "a list")


def _compile_message(text: str, source: str) -> str:
    if "recursion" in text:
        return "it is nested too deeply, or joins too many terms: at most 32 levels are taken"
    found = _COMPILE_ERROR.search(text)
    if found is None:
        return _clean(text)
    line, column, what = int(found[1]), int(found[2]), found[3].replace(" (in container '')", "")
    where = f"at line {line}, character {column}: " if line > 1 else f"at character {column}: "
    return where + _clean(what) + _hyphen_hint(source)


def _hyphen_hint(source: str) -> str:
    names = set(_HYPHENATED.findall(source))
    if not names:
        return ""
    shown = ", ".join(f"['{name}'] instead of .{name}" for name in sorted(names))
    return f"; a name with a hyphen is written in brackets: {shown}"


def _eval_message(text: str) -> str:
    text = _clean(text)
    if "int64" in text and "double" in text:
        return f"{text}; whole numbers and fractions do not mix: write double(…) around the whole one"
    if "Iteration budget" in text:
        return "it loops more than 10,000 times: do this in a task"
    if "<jump_condition>" in text:
        return "what stands before `?` is neither true nor false"
    return text.replace("No matching overloads found :", "no such operation:")


def _clean(text: str) -> str:
    return shorten(_STATUS_CODE.sub("", text.strip()).strip(), 400)
