"""Pure: which requests a proxy answers wrongly, and how."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

from ossa.kube import paths

Wrong = Literal[
    "409", "429", "500", "dropped-before", "dropped-after", "500-after", "delayed", "watch-410", "watch-410-event",
    "watch-closed", "watch-stalled",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rates:
    """Parts of all requests, and of all watches."""

    conflict: float = 0.01
    too_many: float = 0.01
    error: float = 0.01
    dropped_before: float = 0.01
    dropped_after: float = 0.015
    error_after: float = 0.005
    delayed: float = 0.03
    watch_refused: float = 0.1
    watch_expired: float = 0.15
    watch_closed: float = 0.3
    watch_stalled: float = 0.3

    def storm(self) -> Rates:
        """Half of all requests go wrong."""
        many = {"conflict": 0.05, "too_many": 0.1, "error": 0.1, "dropped_before": 0.1, "dropped_after": 0.1}
        return replace(self, **many, error_after=0.05)


QUIET = Rates(*[0.0] * 11)


@dataclass(frozen=True, slots=True)
class Request:
    """What counts of a request."""

    method: str
    path: str
    watch: bool

    @property
    def lease(self) -> bool:
        """Whether it is about who leads."""
        return "/leases" in self.path

    @property
    def writes(self) -> bool:
        """Whether it changes something."""
        return self.method in ("POST", "PUT", "PATCH", "DELETE")


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes wrong. `seconds`: how long, or after which time."""

    wrong: Wrong
    seconds: float = 0.0


def drawn(rng: random.Random, request: Request, rates: Rates) -> Answer | None:
    """What goes wrong with a request; None: nothing. Always draws the same number of times."""
    chance, seconds = rng.random(), rng.random()
    table = _of_watch(rates, request) if request.watch else _of_call(rates, request)
    for wrong, (share, most) in table.items():
        if chance < share:
            return Answer(wrong, seconds * most)
        chance -= share
    return None


def _of_watch(rates: Rates, request: Request) -> Mapping[Wrong, tuple[float, float]]:
    # The API server says within the stream that a version is too old. kopf, which watches our own kinds but Approvals,
    # understands that, and ends for good where the answer itself is a 410.
    by_kopf = request.path.startswith(paths.OSSA) and not request.path.endswith("/approvals")
    return {
        "watch-410": (0.0 if by_kopf else rates.watch_refused, 0.0),
        "watch-410-event": (rates.watch_expired, 30.0),
        "watch-closed": (rates.watch_closed, 30.0),
        "watch-stalled": (rates.watch_stalled, 4.0),
    }


def _of_call(rates: Rates, request: Request) -> Mapping[Wrong, tuple[float, float]]:
    # Renewals are few, and one that goes wrong has an end of the leader's life to it: less often than others.
    part = 0.5 if request.lease else 1.0
    table: dict[Wrong, tuple[float, float]] = {
        "409": (rates.conflict * part if request.method in ("POST", "PUT", "PATCH") else 0.0, 0.0),
        "429": (rates.too_many * part, 0.0),
        "500": (rates.error * part, 0.0),
        "dropped-before": (rates.dropped_before * part, 0.0),
        "delayed": (rates.delayed * part, 2.0),
    }
    if request.writes:
        table |= {"dropped-after": (rates.dropped_after * part, 0.0), "500-after": (rates.error_after * part, 0.0)}
    return table


def message(wrong: Wrong) -> dict[str, object]:
    """The Status object of an answer, as the API server words it."""
    words = {
        "409": (
            409,
            "Conflict",
            'Operation cannot be fulfilled on resourcequotas "q": the object has been modified; please apply your '
            "changes to the latest version and try again",
        ),
        "429": (
            429,
            "TooManyRequests",
            "too many requests, please try again later",
        ),
        "500": (500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
        "500-after": (500, "InternalError", "Internal error occurred: etcdserver: leader changed"),
        "watch-410": (410, "Expired", "too old resource version: 1 (2)"),
        "watch-410-event": (410, "Expired", "The resourceVersion for the provided watch is too old."),
    }
    code, reason, text = words[wrong]
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": text,
        "reason": reason,
        "code": code,
    }
