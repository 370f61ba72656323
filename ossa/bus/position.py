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
