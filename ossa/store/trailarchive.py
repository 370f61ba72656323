"""The archive of the audit trail: compressed JSON lines in object storage.

An object WRITER/EPOCH/FIRST-LAST.jsonl.gz holds the links FIRST to LAST of a chain, a line each, and after them heads
that cover them as {"head": …}: one object is written at once or not at all. The same links come to the same name, and
may lie in more than one object where their ranges overlap.
"""

from __future__ import annotations

import asyncio
import gzip
import re
import zlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import obstore
import orjson
from obstore.store import ObjectStore

from ossa.audit.chain import Link, canonical
from ossa.audit.heads import Head
from ossa.store.errors import Damaged
from ossa.store.objects import open_store, translated

_KEPT: Final = "the audit archive"
_DIGITS: Final = 12
_HEAD: Final = '{"head":'
_NAME: Final = re.compile(r"(?:.*/)?(?P<writer>[^/]+)/(?P<epoch>[^/]+)/(?P<first>\d+)-(?P<last>\d+)\.jsonl\.gz")
# Of an object unpacked: no honest one comes near, and a bomb must not fill the memory of who verifies.
MOST: Final = 1 << 28


@dataclass(frozen=True, slots=True, order=True)
class Name:
    """What an object's name says that it holds."""

    writer: str
    epoch: str
    first: int
    last: int

    @property
    def path(self) -> str:
        """Under the store's root; names sort by it as the chain goes."""
        return f"{self.writer}/{self.epoch}/{self.first:0{_DIGITS}}-{self.last:0{_DIGITS}}.jsonl.gz"

    @classmethod
    def of(cls, path: str) -> Name | None:
        """None where the path is not that of an object of the trail."""
        found = _NAME.fullmatch(path)
        if found is None:
            return None
        return cls(found["writer"], found["epoch"], int(found["first"]), int(found["last"]))


@dataclass(frozen=True, slots=True)
class Lines:
    """What lies in an object, unread."""

    links: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)


class TrailArchive:
    """The archive in a store. Every method raises Unavailable where the storage does not answer."""

    def __init__(self, store: ObjectStore) -> None:
        self._store = store

    @classmethod
    def open(cls, url: str) -> TrailArchive:
        """The archive at a URL: ``file:///audit``, ``s3://bucket/prefix``. Raises StoreUnusable."""
        store, _ = open_store(url, what="the audit archive")
        return cls(store)

    async def put(self, links: Sequence[Link], heads: Sequence[Head]) -> Name:
        """Stores links that follow each other, with heads of their chain. Raises StorageFull, too."""
        first, last = links[0].body, links[-1].body
        name = Name(first.writer, first.epoch, first.seq, last.seq)
        lines = [link.text for link in links]
        lines += [canonical({"head": head.model_dump(mode="json")}) for head in heads]
        text = "\n".join(lines).encode() + b"\n"
        # Without a time in it: the same lines give the same bytes.
        packed = await asyncio.to_thread(gzip.compress, text, 6, mtime=0)
        with translated(_KEPT):
            await obstore.put_async(self._store, name.path, packed)
        return name

    async def names(self, *, writer: str = "", epoch: str = "", after: int = 0) -> AsyncIterator[Name]:
        """The objects of the archive, or of one chain; of that one those whose first link comes after `after`."""
        prefix = f"{writer}/{epoch}/" if writer else None
        offset = f"{prefix}{after + 1:0{_DIGITS}}" if prefix and after else None
        with translated(_KEPT):
            async for batch in obstore.list(self._store, prefix, offset=offset):
                for item in batch:
                    name = Name.of(item["path"])
                    if name is not None:
                        yield name

    async def read(self, name: Name) -> Lines:
        """What an object holds. Raises Damaged where it cannot be unpacked, or is not there."""
        try:
            with translated(_KEPT):
                found = await obstore.get_async(self._store, name.path)
                packed = bytes(await found.bytes_async())
        except FileNotFoundError as error:
            raise Damaged(f"{name.path} was listed and is not there") from error
        return await asyncio.to_thread(_unpacked, packed, name)


def _unpacked(packed: bytes, name: Name) -> Lines:
    try:
        unpacker = zlib.decompressobj(wbits=31)
        text = unpacker.decompress(packed, MOST).decode()
    except (zlib.error, UnicodeDecodeError) as error:
        raise Damaged(f"{name.path} cannot be unpacked: {error}") from error
    if not unpacker.eof or unpacker.unused_data:
        raise Damaged(f"{name.path} does not end where it should, or holds more than {MOST} bytes")
    lines = Lines()
    for line in text.splitlines():
        if line.startswith(_HEAD):
            lines.heads.append(_head_text(line))
        elif line:
            lines.links.append(line)
    return lines


def _head_text(line: str) -> str:
    """The head of a line; what is no JSON is handed on as it is, for whoever verifies to say so."""
    try:
        return canonical(orjson.loads(line)["head"])
    except (orjson.JSONDecodeError, KeyError, TypeError):
        return line
