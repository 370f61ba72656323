"""How much an expression reads, and whether any of it is too long to be looped over."""

from __future__ import annotations

import sys

from ossa.engine.cel.growth import TooMuchWork

# An expression that loops (all, exists, map, filter) may be given lists of this length: 1,000 items through `map`
# take 20 ms, 8,000 take a second, in which nothing else runs.
MAX_LIST = 1000
# Likewise for a text that an expression may split and loop over.
MAX_SPLIT = 4096
# What a list, a map, a text, a number or a key counts for beside its characters, and a node whenever it is evaluated.
ITEM = 16


def text_size(text: str) -> int:
    """ITEM and its characters, twice where it is not ASCII: in the runtime they have up to four bytes each."""
    return ITEM + (len(text) if text.isascii() else 2 * len(text))


def measure(value: object, longest_list: int = sys.maxsize, longest_text: int = sys.maxsize) -> int:
    """The size of a JSON value: its characters, and ITEM for each thing in it; of a text beyond ASCII twice as many.

    Raises TooMuchWork where one of its lists or texts is longer than that. It runs before each evaluation.
    """
    if isinstance(value, str):
        if len(value) > longest_text:
            raise TooMuchWork(
                f"it loops, splits, and reads a text of {len(value)} characters; "
                f"at most {longest_text} are taken: split the text in a task"
            )
        return text_size(value)
    if isinstance(value, dict):
        size = ITEM
        for key, item in value.items():
            size += ITEM + len(key) + measure(item, longest_list, longest_text)
        return size
    if isinstance(value, list):
        if len(value) > longest_list:
            raise TooMuchWork(
                f"it loops and reads a list of {len(value)} items; at most {longest_list} are taken: "
                "pass the list on whole and loop over it in a task"
            )
        size = ITEM
        for item in value:
            size += measure(item, longest_list, longest_text)
        return size
    return ITEM
