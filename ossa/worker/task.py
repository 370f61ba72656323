"""What a handler is given, and the files that it takes and gives."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ossa.api.artifact import ArtifactRef
from ossa.api.contract import TaskIdentity

DEFAULT_MEDIA_TYPE = "application/octet-stream"


class File:
    """Bytes that are no JSON: a plot, a model, a table.

    In an output it is uploaded as it is and passed on by reference. An input that refers to such an artifact
    has it as a File, already downloaded to `path`; given on in an output, it is not uploaded again.
    """

    __slots__ = ("_content", "media_type", "reference")

    def __init__(
        self,
        content: bytes | str | Path,
        *,
        media_type: str = DEFAULT_MEDIA_TYPE,
        reference: ArtifactRef | None = None,
    ) -> None:
        """`content` is the bytes themselves, or the path of a file (a str is a path)."""
        if not isinstance(content, bytes | str | Path):
            raise TypeError(f"File takes bytes or a path, not {type(content).__name__}")
        self._content = Path(content) if isinstance(content, str) else content
        self.media_type = media_type
        self.reference = reference

    @property
    def path(self) -> Path | None:
        """Where it lies; None for bytes in memory."""
        return self._content if isinstance(self._content, Path) else None

    @property
    def size(self) -> int:
        """Bytes. Raises OSError where the file is not there."""
        return self._content.stat().st_size if isinstance(self._content, Path) else len(self._content)

    def read(self) -> bytes:
        """The whole content. Raises OSError where the file is not there."""
        return self._content.read_bytes() if isinstance(self._content, Path) else self._content

    def __repr__(self) -> str:
        where = str(self.path) if self.path else f"{self.size} bytes"
        return f"File({where}, media_type={self.media_type!r})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One attempt of a task.

    `input` is what the workflow gave, checked against the capability's schema. What it refers to is
    opened: JSON is in place of its reference, anything else is a `File`. `identity.key` is the same when
    the same attempt is delivered again: a handler that changes the world outside hands it on as an
    idempotency key. `traceparent` is the W3C Trace Context for what the handler calls; '' where there is none.
    """

    input: Mapping[str, Any]
    identity: TaskIdentity
    log: logging.Logger
    traceparent: str = ""
