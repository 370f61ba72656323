"""Numbers as ranges: those of a chain that is as it should be are one."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator


class Ranges:
    """Numbers that come from the highest one down; those that touch are one range."""

    def __init__(self) -> None:
        # Ends from the highest down, negated: they are found by bisection, and grow at their end.
        self._lasts: list[int] = []
        self._firsts: list[int] = []
        self._size = 0

    def add(self, first: int, last: int) -> None:
        """Below all that is there."""
        if self._firsts and last >= self._firsts[-1]:
            raise ValueError(f"{first}-{last} is not below {self._firsts[-1]}")
        self._size += last - first + 1
        if self._firsts and last + 1 == self._firsts[-1]:
            self._firsts[-1] = first
        else:
            self._firsts.append(first)
            self._lasts.append(-last)

    def __contains__(self, number: int) -> bool:
        at = bisect_right(self._lasts, -number) - 1  # the lowest range that does not end below it
        return at >= 0 and self._firsts[at] <= number

    def __len__(self) -> int:
        """How many numbers there are."""
        return self._size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """The ranges, lowest first."""
        for first, last in zip(reversed(self._firsts), reversed(self._lasts), strict=True):
            yield first, -last
