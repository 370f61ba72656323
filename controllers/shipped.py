"""Whether the worker image holds a handler, found from its source without running it."""

from __future__ import annotations

import ast
from pathlib import Path


def handler_problem(agents_path: Path, handler: str) -> str | None:
    """What is wrong with `module:function` for the shipped worker image; None where it is there.

    The SDK looks for the folder `module` among the shipped agents; this looks at the same files.
    """
    module, function = handler.split(":", 1)
    source = agents_path / module / "handler.py"
    if not source.is_file():
        known = sorted(path.parent.name for path in agents_path.glob("*/handler.py"))
        return (
            f"the worker image has no handler module {module!r}; it has {', '.join(known) or 'none'}. "
            "Correct the name, or set spec.runtime.image to an image that holds it"
        )
    functions = [
        node.name
        for node in ast.parse(source.read_text()).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
    ]
    if function not in functions:
        return f"the handler module {module!r} has no function {function!r}; it has {', '.join(functions) or 'none'}"
    return None
