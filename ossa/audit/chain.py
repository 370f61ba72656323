"""Entries in a chain: each link holds the hash of the one before.

A link is a line of canonical JSON, and its hash is the SHA-256 of that very text. What is stored is the text, so that a
later version that knows more fields still proves what an older one wrote. A chain belongs to one writer (a process of
the gateway, by its pod's name) and one epoch (a life of that process); its first link has number 1.
"""

from __future__ import annotations

import hashlib
import json
import re
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ossa.audit.entry import Entry

VERSION = 1
# Both are part of an object's name in the archive.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?", re.IGNORECASE)
HASH = r"^[0-9a-f]{64}$"
MOST = (1 << 63) - 1  # the largest number of a link; databases know no larger one


class BadLink(ValueError):
    """A line that is no link; the message says why."""


class Witnessed(BaseModel):
    """What a writer saw of another chain: that it had come to `seq`, with `hash`."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    writer: str
    epoch: str
    seq: int = Field(ge=0, le=MOST)
    hash: str = Field(pattern=HASH)


class Body(BaseModel):
    """What a link says."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: int = VERSION
    writer: str
    epoch: str
    seq: int = Field(ge=1, le=MOST)
    previous: str = Field(pattern=HASH, description="Hash of the link before; of the first one: the chain's origin.")
    recorded: AwareDatetime = Field(description="When it was linked; never earlier than the link before.")
    entry: Entry
    witnessed: tuple[Witnessed, ...] = Field(default=(), description="How far other chains had come.")


@dataclass(frozen=True, slots=True)
class Link:
    """A link as it is stored: `text` without a line's end, `hash` in hex."""

    text: str
    hash: str
    body: Body


def origin(writer: str, epoch: str) -> str:
    """What the first link of a chain holds as `previous`, in hex: no link can move into another chain."""
    return hash_of(f"ossa audit {VERSION}\n{writer}\n{epoch}")


def hash_of(text: str) -> str:
    """SHA-256 of a text in UTF-8, in hex."""
    return hashlib.sha256(text.encode()).hexdigest()


def canonical(value: Any) -> str:
    """JSON with sorted keys and without blanks: one text for one value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def new_epoch(now: datetime) -> str:
    """A name that no other epoch has, and by which epochs sort in time."""
    return f"{now.astimezone(UTC):%Y%m%dt%H%M%Sz}-{secrets.token_hex(6)}"


def read_link(text: str) -> Link:
    """The link that a line is. It proves nothing yet. Raises BadLink."""
    try:
        body = Body.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise BadLink(f"{field}: {first['msg']}" if field else str(first["msg"])) from error
    return Link(text, hash_of(text), body)


class Chain:
    """One writer's chain in the making. It is not safe to share between threads."""

    def __init__(self, writer: str, epoch: str) -> None:
        """Raises ValueError where a name cannot be part of an object's name."""
        for name, value in (("writer", writer), ("epoch", epoch)):
            if _NAME.fullmatch(value) is None:
                raise ValueError(f"{name} {value!r} may hold letters, digits, - and . alone, up to 253 of them")
        self.writer, self.epoch = writer, epoch
        self.seq, self.hash = 0, origin(writer, epoch)
        self._recorded = datetime.min.replace(tzinfo=UTC)

    def append(self, entry: Entry, now: datetime, *, witnessed: Sequence[Witnessed] = ()) -> Link:
        """The next link. A clock that went back does not take the chain's time back."""
        self._recorded = max(self._recorded, now)
        body = Body(
            writer=self.writer,
            epoch=self.epoch,
            seq=self.seq + 1,
            previous=self.hash,
            recorded=self._recorded,
            entry=entry,
            witnessed=tuple(witnessed),
        )
        text = canonical(body.model_dump(mode="json", exclude_defaults=True) | {"version": VERSION})
        link = Link(text, hash_of(text), body)
        self.seq, self.hash = body.seq, link.hash
        return link
