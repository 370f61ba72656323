"""Expressions of CEL as the API server is given them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ossa.engine.cel.programs import Program
from ossa.governance.common import is_bool, may_leave_out, tree_of


def text_of(value: str | Sequence[str]) -> str:
    """A literal of CEL: texts are escaped as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def all_of(parts: Iterable[str]) -> str:
    """All of them; `true` where there are none."""
    return " && ".join(parts) or "true"


def in_order(programs: Sequence[Program]) -> str:
    """A condition after one that is false is not asked: the API server would take one without a value for an error."""
    text = f"({closed(programs[-1])}) ? true : false" if len(programs) > 1 else as_bool(programs[-1])
    for program in reversed(programs[:-1]):
        text = f"({closed(program)}) ? ({text}) : false"
    return text


def as_bool(program: Program) -> str:
    """The expression, so that the API server sees that it is true or false; another value stays an error."""
    return program.text if is_bool(tree_of(program)) else f"({closed(program)}) ? true : false"


def guarded(program: Program, text: str, *, otherwise: str) -> str:
    """An expression whose variables must all have a value, as for the operator; else `false && variables.a` has one."""
    names = sorted({str(path[1]) for path in program.references.paths if path[0] == "variables" and len(path) > 1})
    if not names or not may_leave_out(tree_of(program)):
        return text
    values = " && ".join(f"variables.{name} == variables.{name}" for name in names)
    end = "\n" if "//" in text else ""
    return f"({values}) ? ({text}{end}) : {otherwise}"


def closed(program: Program) -> str:
    """Ends a comment, which would go on over what follows. Not without need: warnings hold no line breaks."""
    return f"{program.text}\n" if "//" in program.text else program.text
