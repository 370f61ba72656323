"""Where in a stream: an entry's id, as something that can be compared."""

from __future__ import annotations

from typing import NamedTuple, Self


class Position(NamedTuple):
    """Milliseconds and a sequence number; the ids of a stream grow."""

    milliseconds: int
    sequence: int

    @classmethod
    def of(cls, text: str) -> Self:
        """From MS-SEQ. Raises ValueError."""
        milliseconds, _, sequence = text.partition("-")
        return cls(int(milliseconds), int(sequence))

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


START = Position(0, 0)


def gap(after: Position, *, first: Position | None, last: Position) -> bool:
    """Whether entries after this one may be gone from a stream.

    `first` is the oldest entry that is there (None: there is none), `last` the newest id it ever gave out. What lies
    before the first one may have been followed by others that were trimmed; what lies after the last one is of
    another stream, that was lost.
    """
    if after > last:
        return True
    return after < (last if first is None else first)
