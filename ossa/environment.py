"""Settings of a process, read from variables of the environment. What makes no sense is refused by name."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


class BadSetting(ValueError):
    """A setting is missing or makes no sense; names the variable, and repeats no password."""


def required(environment: Mapping[str, str], name: str) -> str:
    """A variable that must not be empty. Raises BadSetting."""
    value = environment.get(name, "")
    if not value:
        raise BadSetting(f"{name} must be set")
    return value


def number(environment: Mapping[str, str], name: str, otherwise: float, *, least: float = 0.0) -> float:
    """A finite number from `least` on; `otherwise` where the variable is empty. Raises BadSetting."""
    text = environment.get(name, "")
    try:
        value = float(text) if text else otherwise
    except ValueError as error:
        raise BadSetting(f"{name}: {text!r} is not a number") from error
    if not least <= value < math.inf:
        raise BadSetting(f"{name}: {text} must be a number from {least:g} on")
    return value


def names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """A JSON list of strings; none where the variable is empty. Raises BadSetting."""
    text = environment.get(name) or "[]"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadSetting(f"{name}: {text!r} is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BadSetting(f"{name}: {text!r} is not a JSON list of strings")
    return tuple(found)


def checked(name: str, value: str, check: Callable[[str], T]) -> T:
    """What `check` makes of the value of a variable. Raises BadSetting where it raises ValueError."""
    try:
        return check(value)
    except ValueError as error:
        raise BadSetting(f"{name}: {error}") from error
