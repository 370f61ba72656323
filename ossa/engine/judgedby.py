"""Which versions of policies judged what, as the status keeps it.

Sets of versions have short keys: what was judged by the same set shares one. A task has by key the attempts, or in a
forEach the items, as ranges: {"5f1c09aa": "1-3"}.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

# Bytes of all sets in one status, and of one of them; what is more is counted, not named.
ALL_MOST, ONE_MOST = 8 * 1024, 4 * 1024
_KEY_LENGTH = 8
OVERFLOW = "overflow"
_OVERFLOW_TEXT = "more sets of policies judged than are kept here: the log and the metrics have them"


def with_versions(held: Mapping[str, list[str]], versions: Sequence[str]) -> tuple[dict[str, list[str]], str]:
    """The sets with one more where it is not there yet, and its key."""
    key = hashlib.sha256("\n".join(versions).encode()).hexdigest()[:_KEY_LENGTH]
    if key in held:
        return dict(held), key
    named = _named(versions)
    if sum(len(name) + 3 for names in held.values() for name in names) + sum(len(n) + 3 for n in named) > ALL_MOST:
        return {**held, OVERFLOW: [_OVERFLOW_TEXT]}, OVERFLOW
    return {**held, key: named}, key


def _named(versions: Sequence[str]) -> list[str]:
    kept: list[str] = []
    size = 0
    for version in versions:
        size += len(version) + 3
        if size > ONE_MOST:
            return [*kept, f"and {len(versions) - len(kept)} more"]
        kept.append(version)
    return kept


def with_number(held: Mapping[str, str] | None, key: str, number: int) -> dict[str, str]:
    """The ranges by key with one more number of a key."""
    ranges = dict(held or {})
    ranges[key] = _extended(ranges.get(key, ""), number)
    return ranges


def _extended(text: str, number: int) -> str:
    """A set as ranges with one more number; quick where it is the next one, as it mostly is."""
    pairs = [_pair(part) for part in text.split(",")] if text else []
    if any(first <= number <= last for first, last in pairs):
        return text
    merged: list[tuple[int, int]] = []
    for first, last in sorted([*pairs, (number, number)]):
        if merged and merged[-1][1] == first - 1:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in merged)


def _pair(part: str) -> tuple[int, int]:
    first, _, last = part.partition("-")
    return int(first), int(last or first)
