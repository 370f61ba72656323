"""Finds ${{ … }} in a text. Between is CEL, so that a `}}` in a string or at the end of a map does not end it."""

from __future__ import annotations

from dataclasses import dataclass

OPEN = "${{"


@dataclass(frozen=True, slots=True)
class Hole:
    """One ${{ … }}: the CEL between the braces, stripped."""

    expression: str


class UnclosedError(ValueError):
    """A ${{ has no }} of its own."""


def split(text: str) -> list[str | Hole]:
    """The text and the holes in it, in order; no empty texts. Raises UnclosedError."""
    parts: list[str | Hole] = []
    at = 0
    while (start := text.find(OPEN, at)) >= 0:
        if start > at:
            parts.append(text[at:start])
        end = _end(text, start + len(OPEN))
        parts.append(Hole(text[start + len(OPEN) : end].strip()))
        at = end + 2
    if at < len(text):
        parts.append(text[at:])
    return parts


def _end(text: str, at: int) -> int:
    """Where the }} stands that closes the hole whose CEL begins at `at`."""
    depth = 0
    begin = at
    while at < len(text):
        char = text[at]
        if char in "'\"":
            at = _after_string(text, at, raw=_is_raw(text, begin, at))
            continue
        if text.startswith("//", at):
            newline = text.find("\n", at)
            at = len(text) if newline < 0 else newline
            continue
        if char == "{":
            depth += 1
        elif char == "}":
            if depth == 0 and text.startswith("}}", at):
                return at
            depth = max(0, depth - 1)
        at += 1
    raise UnclosedError(f"`{OPEN}` is not closed: add `}}}}` at its end")


def _is_raw(text: str, begin: int, quote: int) -> bool:
    """Whether the string literal that opens at `quote` has the prefix r (then a backslash is a backslash)."""
    start = quote
    while start > begin and (text[start - 1].isalnum() or text[start - 1] == "_"):
        start -= 1
    prefix = text[start:quote].lower()
    return prefix in {"r", "rb", "br"}


def _after_string(text: str, quote: int, *, raw: bool) -> int:
    mark = text[quote] * 3 if text.startswith(text[quote] * 3, quote) else text[quote]
    at = quote + len(mark)
    while at < len(text):
        if text[at] == "\\" and not raw:
            at += 2
        elif text.startswith(mark, at):
            return at + len(mark)
        else:
            at += 1
    raise UnclosedError("a string within the expression is not closed: add its closing quote")
