"""How much a regular expression (RE2) may come to: its counted repetitions are copies of what they repeat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache

# What the runtime makes of `\p{…}`, in copies of one character.
_PROPERTY = 400
# No expression comes to more: RE2 refuses those that would not fit in 8 MiB.
MOST_WEIGHT = 100_000
LONG = 10_000  # characters; above, patterns are not looked at

_TOKEN = re.compile(
    r"(?P<property>\\[pP](?:\{[^}]*\}|.))"
    r"|(?P<escape>\\.)"
    r"|(?P<group>\[\^?\]?(?:\[:\^?\w+:\]|\\.|[^\]\\])*\]?)"
    r"|(?P<times>\{(?P<least>\d{1,4})(?:,(?P<most>\d{0,4}))?\})"
    r"|(?P<other>.)",
    re.DOTALL,
)


def heaviest(patterns: Sequence[str]) -> int:
    """The weight of the heaviest; MOST_WEIGHT where none is known, or they are too long to look at."""
    if sum(map(len, patterns)) > LONG:
        return MOST_WEIGHT
    return max(map(weight, patterns), default=MOST_WEIGHT)


@lru_cache(maxsize=1024)
def weight(pattern: str) -> int:
    """A bound of the characters that a pattern has once its repetitions are written out; at least 1.

    A pattern that RE2 refuses has any weight.
    """
    if len(pattern) > LONG or "\\Q" in pattern:  # what follows \Q is literal, so that brackets do not pair
        return MOST_WEIGHT
    return min(MOST_WEIGHT, max(1, _weigh(_TOKEN.finditer(pattern))))


def _weigh(tokens: Iterator[re.Match[str]]) -> int:
    outer: list[int] = []
    total = last = 0
    for token in tokens:
        text = token[0]
        if token["times"]:
            copies = max(int(token["least"]), int(token["most"] or 0), 1)
            total, last = total + last * (copies - 1) + 1, last * copies + 1
        elif text == "(":
            outer.append(total)
            total = last = 0
        elif text == ")" and outer:
            total, last = outer.pop() + total + 1, total + 1
        elif text in ("*", "+", "?"):
            total, last = total + 1, last + 1
        else:
            last = _atom(token)
            total += last
    return total + sum(outer)


def _atom(token: re.Match[str]) -> int:
    if token["property"]:
        return _PROPERTY
    group = token["group"]
    if not group:
        return 1
    # Ranges beyond ASCII become several ranges of bytes; within, most are one.
    ranges = 1 + len(group) // 8 if group.isascii() else len(group)
    return ranges + _PROPERTY * (group.count("\\p") + group.count("\\P"))
