"""A segment: consecutive links of one chain with a head that covers them; one message on the bus."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ossa.audit.chain import BadLink, Link, read_link
from ossa.audit.heads import Head, Keys


class Segment(BaseModel):
    """Links of one chain, in their order; the head is that of the last one, or a later one of the same chain."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    version: Literal[1] = 1
    links: tuple[str, ...] = Field(min_length=1, description="Their texts.")
    head: Head

    @model_validator(mode="after")
    def _fits(self) -> Segment:
        read = self.read()
        if any(link.body.writer != self.head.writer or link.body.epoch != self.head.epoch for link in read):
            raise ValueError("the links are of another chain than the head")
        if any(two.body.seq != one.body.seq + 1 for one, two in pairwise(read)) or read[-1].body.seq > self.head.seq:
            raise ValueError("the links do not follow each other up to the head")
        return self

    @classmethod
    def of(cls, links: Sequence[Link], head: Head) -> Segment:
        """Of links that were just made, which are not read again."""
        return cls.model_construct(links=tuple(link.text for link in links), head=head)

    @property
    def id(self) -> str:
        """The same for the same links of the same chain."""
        first, last = read_link(self.links[0]).body.seq, read_link(self.links[-1]).body.seq
        return f"{self.head.epoch}/{first}-{last}"

    def read(self) -> list[Link]:
        """The links. Raises ValueError where one is none."""
        try:
            return [read_link(text) for text in self.links]
        except BadLink as error:
            raise ValueError(f"a line is no link: {error}") from error


def runs(links: Iterable[Link]) -> list[list[Link]]:
    """Links of one chain in any order and several times, as runs in which each follows the one before."""
    found: list[list[Link]] = []
    for _, link in sorted({link.body.seq: link for link in links}.items()):
        if found and found[-1][-1].body.seq + 1 == link.body.seq:
            found[-1].append(link)
        else:
            found.append([link])
    return found


def is_proven(segment: Segment, keys: Keys) -> bool:
    """Whether a known key signed the head, and the links are those that it proves, the last of them being its own."""
    links = segment.read()
    if not keys.proves(segment.head) or (links[-1].body.seq, links[-1].hash) != (segment.head.seq, segment.head.hash):
        return False
    return all(two.body.previous == one.hash for one, two in pairwise(links))
