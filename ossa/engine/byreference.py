"""Which fields of a JSON object go by reference for the rest to fit where there is little room."""

from __future__ import annotations

import json

from ossa.api.base import JSONObject
from ossa.api.contract import INLINE_FIELD_LIMIT

# Bytes of a reference as it stands in place of a value: ID, digest, size and media type.
REFERENCE_SIZE = 200


def json_size(value: object) -> int:
    """Bytes of JSON."""
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def fields_to_move(value: JSONObject, limit: int) -> tuple[str, ...] | None:
    """The largest top-level fields, no more than needed, without which the object has at most `limit` bytes.

    Fields that the SDK would not upload stay. None where it is too large however many go.
    """
    size, moved = json_size(value), list[str]()
    fields = sorted(((json_size(field), name) for name, field in value.items()), reverse=True)
    for field, name in fields:
        if size <= limit or field <= INLINE_FIELD_LIMIT:
            break
        size -= field - REFERENCE_SIZE
        moved.append(name)
    return tuple(sorted(moved)) if size <= limit else None
