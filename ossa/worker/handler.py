"""Finding the handler that $OSSA_HANDLER names, and calling it."""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from ossa.api.contract import ENV_AGENTS_PATH, ENV_HANDLER
from ossa.worker.errors import HandlerNotFound
from ossa.worker.task import Task

HANDLER_FILE = "handler.py"
Handler = Callable[[Task], object]


def load_handler(name: str, agents_path: Path | None) -> Handler:
    """The function of ``module:function``.

    ``<agents_path>/<module>/handler.py`` comes first: agents are folders, which need no free package
    name. Else `module` is imported. Raises HandlerNotFound; what the module itself raises goes through.
    """
    module_name, _, function_name = name.partition(":")
    if not module_name or not function_name:
        raise HandlerNotFound(f"{ENV_HANDLER} is {name!r}; write it as module:function")
    path = None if agents_path is None else agents_path / module_name / HANDLER_FILE
    module = _load_file(path, module_name) if path and path.is_file() else _import(module_name, path)
    function = getattr(module, function_name, None)
    if not callable(function):
        raise HandlerNotFound(f"{ENV_HANDLER} is {name!r}, but {module.__file__} has no function {function_name!r}")
    handler: Handler = function
    return handler


def call_handler(handler: Handler, task: Task) -> object:
    """What the handler gives. It may be a coroutine function."""
    result = handler(task)
    if inspect.iscoroutine(result):
        import asyncio  # noqa: PLC0415 - most handlers need none

        return asyncio.run(result)
    return result


def _load_file(path: Path, name: str) -> ModuleType:
    # The folder stays on the path: a handler may import its siblings as late as it likes.
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(f"ossa_agent_{name}", path)
    if spec is None or spec.loader is None:
        raise HandlerNotFound(f"{path} cannot be loaded as a Python module")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _import(name: str, looked_at: Path | None) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Only the module itself, or a package above it: what it imports in turn is the handler's own problem.
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise
        tried = f"{looked_at} (${ENV_AGENTS_PATH})" if looked_at else f"${ENV_AGENTS_PATH}, which is not set"
        raise HandlerNotFound(
            f"{ENV_HANDLER} names the module {name!r}: it is neither at {tried} nor installed in the image"
        ) from error
