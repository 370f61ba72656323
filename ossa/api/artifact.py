"""A reference to a large value that lies in the artifact service."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

REFERENCE_KEY = "$artifact"
JSON_MEDIA_TYPE = "application/json"
# JSON that the operator has put by reference. References within it are part of the value: who may read it may read what
# they refer to, and who opens it opens them too. In any other artifact they mean nothing.
VALUE_MEDIA_TYPE = "application/vnd.ossa.value+json"


class ArtifactRef(BaseModel):
    """What stands in an output in place of a large value. Expressions pass it on whole.

    The ID is issued and signed by the artifact service for a namespace and an execution: it can be neither guessed
    nor made up, and the signature covers the size and the digest.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)

    id: str = Field(alias=REFERENCE_KEY, min_length=1, max_length=128)
    size: int = Field(ge=0, description="Bytes.")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    media_type: str = Field(alias="mediaType", default=JSON_MEDIA_TYPE, max_length=128)

    def to_json(self) -> dict[str, Any]:
        """The reference as it stands in an output."""
        return self.model_dump(by_alias=True)

    def describes(self, content: bytes | bytearray) -> bool:
        """Whether these are the bytes that it refers to, by size and digest."""
        return len(content) == self.size and hashlib.sha256(content).hexdigest() == self.sha256


def value_media_type(value: object) -> str:
    """The media type under which the operator stores a value."""
    return JSON_MEDIA_TYPE if next(find_references(value), None) is None else VALUE_MEDIA_TYPE


def is_reference(value: object) -> bool:
    """Whether a JSON value claims to be a reference (it may still be malformed or forged)."""
    return isinstance(value, dict) and REFERENCE_KEY in value


def find_references(value: object) -> Iterator[dict[str, Any]]:
    """Every object within a JSON value that claims to be a reference, at any depth."""
    if isinstance(value, dict):
        if REFERENCE_KEY in value:
            yield value
            return
        for item in value.values():
            yield from find_references(item)
    elif isinstance(value, list):
        for item in value:
            yield from find_references(item)
