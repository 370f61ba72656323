"""Pure: figures from what the observer saw and from counters."""

from __future__ import annotations

import asyncio
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

# One line of Prometheus' text format: name{labels} value.
_SAMPLE = re.compile(r"^(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>.*)\})? (?P<value>\S+)$")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest of the values that at least this share of them does not exceed (nearest rank); NaN for none."""
    if not values:
        return math.nan
    return sorted(values)[max(1, math.ceil(share * len(values))) - 1]


@dataclass(slots=True)
class Seen:
    """What the observer has told, by pod key or execution name. Seconds of CLOCK_MONOTONIC."""

    added: dict[str, float] = field(default_factory=dict)
    ended: dict[str, float] = field(default_factory=dict)
    gone: dict[str, float] = field(default_factory=dict)
    finished: dict[str, tuple[str, float]] = field(default_factory=dict)  # name -> (phase, time)
    largest: int = 0  # bytes of the largest state of an Execution
    ready: bool = False
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def take(self, record: Sequence[Any]) -> None:
        """One line of the observer."""
        kind = record[0]
        if kind == "ready":
            self.ready = True
        elif kind == "execution":
            _, name, phase, at, size = record
            self.finished[name] = (phase, at)
            self.largest = max(self.largest, size)
        else:
            _, key, at = record
            {"added": self.added, "ended": self.ended, "gone": self.gone}[kind].setdefault(key, at)
        self._changed.set()

    async def until(self, condition: Callable[[], bool], *, patience: float) -> bool:
        """Waits for a condition on what was seen; False when nothing new was seen for `patience` seconds."""
        while not condition():
            self._changed.clear()
            try:
                async with asyncio.timeout(patience):
                    await self._changed.wait()
            except TimeoutError:
                return condition()
        return True


def successor_gaps(seen: Seen, parents: Mapping[str, frozenset[str]]) -> Iterator[float]:
    """For each task with dependencies, the seconds from the end of the last of them to the first sight of its pod."""
    for key, added in seen.added.items():
        execution, task, _ = split_key(key)
        ends = [seen.ended.get(f"{execution}/{name}/0") for name in parents.get(task, ())]
        known = [end for end in ends if end is not None]
        if known and len(known) == len(ends):
            yield added - max(known)


def first_pods(seen: Seen, created: Mapping[str, float]) -> list[float]:
    """Seconds from the creation of each execution to the first sight of its first pod."""
    first: dict[str, float] = {}
    for key, added in seen.added.items():
        execution, _, _ = split_key(key)
        first[execution] = min(added, first.get(execution, math.inf))
    return [first[name] - at for name, at in created.items() if name in first]


def split_key(key: str) -> tuple[str, str, str]:
    """Execution, task and index of a pod's key."""
    execution, task, index = key.split("/")
    return execution, task, index


def samples(text: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    """Labels and value of each sample of a metric in Prometheus' text format."""
    for line in text.splitlines():
        if line.startswith(name) and (found := _SAMPLE.match(line)) and found["name"] == name:
            yield dict(_LABEL.findall(found["labels"] or "")), float(found["value"])


def total(text: str, name: str, by: Sequence[str], **where: str) -> dict[str, float]:
    """The sum of a metric over samples whose labels are as `where` says, by the values of labels joined with `/`."""
    sums: dict[str, float] = {}
    for labels, value in samples(text, name):
        if all(labels.get(label) == wanted for label, wanted in where.items()):
            key = "/".join(labels.get(label, "") for label in by)
            sums[key] = sums.get(key, 0.0) + value
    return sums


def difference(after: Mapping[str, float], before: Mapping[str, float]) -> dict[str, float]:
    """How much each counter has grown; one that did not is left out."""
    grown = {key: value - before.get(key, 0.0) for key, value in after.items()}
    return {key: value for key, value in grown.items() if value > 0}


def per_task(counters: Mapping[str, float], tasks: int) -> dict[str, float]:
    """Each counter divided by the tasks."""
    return {key: round(value / tasks, 5) for key, value in counters.items()} if tasks else {}


def milliseconds(values: Sequence[float], prefix: str) -> dict[str, float]:
    """p50, p99 and the largest of seconds, as figures in milliseconds; no figures of no values."""
    if not values:
        return {}
    shares = {"p50": 0.5, "p99": 0.99, "max": 1.0}
    return {f"{prefix}_{name}_ms": round(percentile(values, share) * 1000, 1) for name, share in shares.items()}
