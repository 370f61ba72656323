"""JSON values: what may be kept in a status, and how it reads after a trip through the API server."""

from __future__ import annotations

import math

# The API server, the kubelet and Python's own parsers all recurse; nobody's data is this deep.
MAX_DEPTH = 64
_INT64_MIN, _INT64_MAX = -(2**63), 2**63 - 1
_EXACT = 2**53  # a double of this size or more no longer counts every integer


class NotJSONError(ValueError):
    """The value has no place in a status; the text says why."""


def plain(value: object, *, depth: int = MAX_DEPTH, sort_keys: bool = False) -> object:
    """The value as it would read after it was written to the API server and read back.

    A double without a fraction is an integer there, and an integer of more than 64 bits a double. Doing this at
    once keeps a decision the same before and after a restart. Raises NotJSONError.
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, int):
        return value if _INT64_MIN <= value <= _INT64_MAX else _double(value)
    if isinstance(value, float):
        return _number(value)
    if depth <= 0:
        raise NotJSONError(f"it is nested deeper than {MAX_DEPTH} levels")
    if isinstance(value, list):
        return [plain(item, depth=depth - 1, sort_keys=sort_keys) for item in value]
    if isinstance(value, dict):
        held = {_key(key): plain(item, depth=depth - 1, sort_keys=sort_keys) for key, item in value.items()}
        return dict(sorted(held.items())) if sort_keys else held
    raise NotJSONError(f"{_kind(value)} is not a JSON value")


def is_deep(value: object) -> bool:
    """Whether a value is nested deeper than MAX_DEPTH. Does not recurse, so any depth may be asked about."""
    level: list[object] = [value]
    for _ in range(MAX_DEPTH + 1):
        level = [item for held in level for item in _items(held)]
        if not level:
            return False
    return True


def shorten(text: str, limit: int) -> str:
    """The text, cut with an ellipsis where it is longer than `limit` characters."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _items(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(value.values())
    return value if isinstance(value, list) else []


def _text(value: str) -> str:
    if not value.isascii():
        try:
            value.encode()
        except UnicodeEncodeError as error:
            raise NotJSONError("a text holds half of a surrogate pair, which is no Unicode character") from error
    return value


def _number(value: float) -> int | float:
    if not math.isfinite(value):
        raise NotJSONError(f"{value} is not a JSON number")
    return int(value) if value.is_integer() and abs(value) < _EXACT else value


def _double(value: int) -> float:
    try:
        return float(value)
    except OverflowError as error:
        raise NotJSONError("a number is too large") from error


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise NotJSONError(f"the key {key!r} of a map is not a string; write string({key})")
    return _text(key)


def _kind(value: object) -> str:
    return {
        "datetime": "a timestamp (write string(…) around it)",
        "timedelta": "a duration (write string(…) around it)",
        "bytes": "a value of bytes",
        "bytearray": "a value of bytes",
        "Type": "a type",
    }.get(type(value).__name__, f"a {type(value).__name__}")
