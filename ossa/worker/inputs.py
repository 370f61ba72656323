"""Opening what an input refers to, so that a handler sees values alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

from pydantic import ValidationError

from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef, is_reference
from ossa.api.base import JSONObject
from ossa.api.paths import joined_path
from ossa.worker.checks import problems_of
from ossa.worker.errors import InvalidInput
from ossa.worker.task import File


class Downloads(Protocol):
    """Where artifacts come from."""

    def download(self, ref: ArtifactRef) -> bytes:
        """The whole artifact."""

    def download_to(self, path: Path, ref: ArtifactRef) -> None:
        """The artifact as a file."""


def open_input(
    value: JSONObject, *, schema: JSONObject | None, source: Callable[[], Downloads], folder: Callable[[], Path]
) -> JSONObject:
    """The input with every reference opened: JSON in its place, anything else as a File in `folder()`.

    Raises InvalidInput where a reference is malformed, or where the opened input breaks `schema`. `source` and
    `folder` are called only where there is something to open.
    """
    opener = _Opener(source, folder)
    opened, checked = opener.open(value, ())
    if problems := problems_of(checked, schema, "input"):
        raise InvalidInput(problems)
    if not isinstance(opened, dict):
        raise InvalidInput("the input as a whole is a reference; a task takes a JSON object")
    return opened


class _Opener:
    def __init__(self, source: Callable[[], Downloads], folder: Callable[[], Path]) -> None:
        self._source = source
        self._folder = folder
        self._opened: dict[str, tuple[Any, Any]] = {}

    def open(self, value: Any, path: tuple[str | int, ...]) -> tuple[Any, Any]:
        """The opened value, and the same for the schema, where a File is a reference, which fits anywhere."""
        if is_reference(value):
            ref = _parsed(value, path)
            if ref.id not in self._opened:
                self._opened[ref.id] = self._fetched(ref, path)
            return self._opened[ref.id]
        if isinstance(value, dict):
            pairs = {key: self.open(item, (*path, key)) for key, item in value.items()}
            return {key: pair[0] for key, pair in pairs.items()}, {key: pair[1] for key, pair in pairs.items()}
        if isinstance(value, list):
            items = [self.open(item, (*path, index)) for index, item in enumerate(value)]
            return [item[0] for item in items], [item[1] for item in items]
        return value, value

    def _fetched(self, ref: ArtifactRef, path: tuple[str | int, ...]) -> tuple[Any, Any]:
        if not _is_json(ref.media_type):
            target = self._folder() / f"artifact-{len(self._opened)}"
            self._source().download_to(target, ref)
            return File(target, media_type=ref.media_type, reference=ref), ref.to_json()
        try:
            value = json.loads(self._source().download(ref))
        except ValueError as error:
            raise InvalidInput(
                f"{joined_path(('input', *path))}: its artifact is said to be JSON, and is not: {error}"
            ) from error
        # A value that the operator put by reference is the same as if it were here.
        return self.open(value, path) if ref.media_type == VALUE_MEDIA_TYPE else (value, value)


def _parsed(value: JSONObject, path: tuple[str | int, ...]) -> ArtifactRef:
    try:
        return ArtifactRef.model_validate(value)
    except ValidationError as error:
        first = error.errors()[0]
        what = joined_path([str(part) for part in first["loc"]])
        raise InvalidInput(f"{joined_path(('input', *path))} is no reference: {what}: {first['msg']}") from error


def _is_json(media_type: str) -> bool:
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")
