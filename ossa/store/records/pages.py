"""Pages of a list by keyset: the cursor says after which row to go on, so that no row is missed or comes twice where
others are added meanwhile."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar
from uuid import UUID

import asyncpg
import orjson

from ossa.api.gateway import MAX_LIMIT

T = TypeVar("T")
Key = tuple[Any, ...]


class BadCursor(ValueError):
    """A cursor that no page gave."""

    def __init__(self) -> None:
        super().__init__("cursor: it is none that a page gave; leave it out to begin anew")


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """`cursor` gives the next page; None where this is the last one."""

    items: list[T]
    cursor: str | None


def encode(key: Key) -> str:
    """The cursor of a row, by the columns that order it: times, UUIDs, text, numbers."""
    # asyncpg's UUID is one that orjson does not know.
    return base64.urlsafe_b64encode(orjson.dumps(key, default=str)).decode().rstrip("=")


def decode(cursor: str, types: Sequence[Callable[[Any], Any]]) -> Key:
    """The key within a cursor. `types` make its columns of JSON.

    Raises:
        BadCursor: it is none of these.
    """
    try:
        values = orjson.loads(base64.urlsafe_b64decode(cursor.encode() + b"=" * (-len(cursor) % 4)))
        if not isinstance(values, list):
            raise BadCursor
        return tuple(make(value) for make, value in zip(types, values, strict=True))
    except (ValueError, TypeError, AttributeError, binascii.Error) as error:
        raise BadCursor from error


def time(value: Any) -> datetime:
    """Of a cursor."""
    made = datetime.fromisoformat(value)
    if made.tzinfo is None:
        raise ValueError("no zone")
    return made


def text(value: Any) -> str:
    """Of a cursor."""
    if not isinstance(value, str) or "\0" in value:
        raise ValueError("no text")
    return value


def number(value: Any) -> int:
    """Of a cursor; as PostgreSQL's integer."""
    if not isinstance(value, int) or not -(2**31) <= value < 2**31:
        raise ValueError("no number")
    return value


NEWEST_FIRST: tuple[Callable[[Any], Any], ...] = (time, UUID)


def page(
    rows: Sequence[asyncpg.Record], limit: int, make: Callable[[asyncpg.Record], T], key: Callable[[T], Key]
) -> Page[T]:
    """Of rows that were asked for with one more than `limit`."""
    items = [make(row) for row in rows[:limit]]
    return Page(items, encode(key(items[-1])) if len(rows) > limit else None)


def bounded(limit: int) -> int:
    """How many rows a page has."""
    return max(1, min(limit, MAX_LIMIT))
