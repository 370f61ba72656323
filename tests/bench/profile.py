"""Where a process spent its time, from folded stacks (a line a stack: frames from the outermost, then a count)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

# Frames look like `function (path/of/file.py:12)`; one function counts as one, whatever its line.
# Threads that wait are told apart from those that work only where the kernel lets a profiler see it.
_WAITING = ("EpollSelector.select", "_PollLikeSelector.select", "_worker (concurrent/futures/thread.py")


def shares(lines: Iterable[str]) -> tuple[Counter[str], Counter[str]]:
    """Samples by function: those in which it was the innermost frame, and those in which it was any frame.

    Samples in which the event loop or a thread waited are left out.
    """
    own: Counter[str] = Counter()
    whole: Counter[str] = Counter()
    for line in lines:
        stack, _, count = line.strip().rpartition(" ")
        frames = [_function(frame) for frame in stack.split(";")]
        if not stack or frames[-1].startswith(_WAITING):
            continue
        own[frames[-1]] += int(count)
        for frame in set(frames):
            whole[frame] += int(count)
    return own, whole


def _function(frame: str) -> str:
    name, _, place = frame.rpartition(":")
    return f"{name})" if name and place.rstrip(")").isdigit() else frame


def text_of(file: Path) -> str:
    """The same of a file, empty where the profiler has written none."""
    return as_text(file.read_text().splitlines()) if file.exists() else "no samples"


def as_text(lines: Iterable[str], most: int = 30) -> str:
    """The functions with the largest shares, in two columns: with what they call, and alone."""
    own, whole = shares(lines)
    total = sum(own.values())
    if not total:
        return "no samples"
    rows = [f"{'with callees':>13} {'alone':>7}  of {total} samples"]
    for function, count in whole.most_common():
        if count < total * 0.98 and len(rows) <= most:  # what is in all samples says nothing
            rows.append(f"{count / total:13.1%} {own[function] / total:7.1%}  {function}")
    return "\n".join(rows)
