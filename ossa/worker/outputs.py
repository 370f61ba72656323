"""Handing an output in: checked against the capability, large fields by reference, the rest in 4 KiB."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from ossa.api.artifact import REFERENCE_KEY, ArtifactRef
from ossa.api.base import JSONObject
from ossa.api.contract import INLINE_FIELD_LIMIT, OUTPUT_LIMIT
from ossa.api.paths import joined_path
from ossa.worker.checks import problems_of
from ossa.worker.errors import InvalidOutput
from ossa.worker.task import File

Upload = Callable[[File], ArtifactRef]
JSON_MEDIA_TYPE = "application/json"
# A field smaller than a reference gains nothing by being replaced with one.
_REFERENCE_SIZE = 256


def encode_output(result: object, *, schema: JSONObject | None, upload: Upload) -> str:
    """The text for $OSSA_OUTPUT. Nothing is uploaded before the whole output is known to be valid.

    Top-level fields of more than INLINE_FIELD_LIMIT bytes are uploaded, and Files wherever they stand. Raises
    InvalidOutput, naming the field.
    """
    fields = _checked(result, schema)
    texts = {name: _text(value, lambda file: _given(file, upload)) for name, value in fields.items()}
    by_value = {name for name, value in fields.items() if not _holds_file(value)}
    for name in by_value:
        if len(texts[name]) > INLINE_FIELD_LIMIT:
            texts[name] = _uploaded(texts[name], upload)
    return _fitted(texts, by_value, upload)


def _checked(result: object, schema: JSONObject | None) -> Mapping[str, Any]:
    if result is None:
        result = {}
    if not isinstance(result, Mapping):
        raise InvalidOutput(f"the handler returned {type(result).__name__}; return a dict, or None for an empty one")
    plain: JSONObject = {}
    for name, value in result.items():
        if not isinstance(name, str):
            raise InvalidOutput(f"the output's field {name!r} is {type(name).__name__}; name fields by strings")
        # As the next task will see it: tuples are arrays, keys are strings, a File is a reference.
        plain[name] = json.loads(_encoded(name, value))
    if problems := problems_of(plain, schema, "output"):
        raise InvalidOutput(problems)
    return result


def _encoded(name: str, value: object) -> bytes:
    try:
        return _text(value, _placeholder)
    except OSError as error:
        raise InvalidOutput(f"output.{name}: the file {error.filename} cannot be read: {error.strerror}") from error
    except RecursionError as error:
        raise InvalidOutput(f"output.{name} is nested too deeply, or holds itself") from error
    except (TypeError, ValueError) as error:
        raise InvalidOutput(_explained(value, ("output", name), error)) from error


def _text(value: object, of_file: Callable[[File], JSONObject]) -> bytes:
    def other(item: object) -> JSONObject:
        if isinstance(item, File):
            return of_file(item)
        raise TypeError(f"{type(item).__name__} is no JSON")

    text = json.dumps(value, default=other, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def _placeholder(file: File) -> JSONObject:
    return {REFERENCE_KEY: "to be uploaded", "size": file.size}


def _given(file: File, upload: Upload) -> JSONObject:
    if file.reference is None:
        file.reference = upload(file)
    return file.reference.to_json()


def _uploaded(text: bytes, upload: Upload) -> bytes:
    return _text(upload(File(text, media_type=JSON_MEDIA_TYPE)).to_json(), _placeholder)


def _fitted(texts: dict[str, bytes], by_value: set[str], upload: Upload) -> str:
    """Upload the largest fields that are left until the whole is short enough for a termination message."""
    small = {name for name in by_value if _REFERENCE_SIZE < len(texts[name]) <= INLINE_FIELD_LIMIT}
    while len(whole := _object(texts)) >= OUTPUT_LIMIT:
        if not small:
            raise InvalidOutput(
                f"the output needs {len(whole)} bytes, and may have {OUTPUT_LIMIT - 1}, even with its large "
                f"fields as references: give fewer top-level fields (it has {len(texts)}), or fewer files"
            )
        largest = max(small, key=lambda name: (len(texts[name]), name))
        small.remove(largest)
        texts[largest] = _uploaded(texts[largest], upload)
    return whole.decode()


def _object(texts: Mapping[str, bytes]) -> bytes:
    return b"{" + b",".join(_text(name, _placeholder) + b":" + text for name, text in texts.items()) + b"}"


def _holds_file(value: object) -> bool:
    if isinstance(value, File):
        return True
    if isinstance(value, Mapping):
        return any(_holds_file(item) for item in value.values())
    return isinstance(value, list | tuple) and any(_holds_file(item) for item in value)


def _explained(value: object, path: tuple[str | int, ...], error: Exception) -> str:
    try:
        where, why = _culprit(value, path) or (path, f"is no JSON: {error}")
    except RecursionError:
        where, why = path, "is nested too deeply, or holds itself"
    return f"{joined_path(where)} {why}"


def _culprit(value: object, path: tuple[str | int, ...]) -> tuple[tuple[str | int, ...], str] | None:
    """The first part that is no JSON, and why."""
    if isinstance(value, float) and not math.isfinite(value):
        return path, f"is {value}, which JSON does not have; use None"
    if isinstance(value, str):
        return None if _is_unicode(value) else (path, "has characters that are no Unicode")
    if value is None or isinstance(value, bool | int | float | File):
        return None
    if isinstance(value, dict):
        pairs = ((str(key), item) for key, item in value.items())
        odd = next((key for key in value if not isinstance(key, str | int | float | bool | None)), None)
        if odd is not None:
            return path, f"has the key {odd!r}, which is {type(odd).__name__}; keys are strings"
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)  # type: ignore[assignment]
    else:
        kind = type(value)
        return (
            path,
            f"is {kind.__module__}.{kind.__qualname__}, which is no JSON; convert it, or return a File",
        )
    return next((found for part, item in pairs if (found := _culprit(item, (*path, part)))), None)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
