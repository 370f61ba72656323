"""Pure: what is run and what goes wrong, made from a seed. The same seed gives the same plan."""

from __future__ import annotations

import random
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any

JSONObject = dict[str, Any]

MAX_ATTEMPTS = 3  # of a task with a retry, in workloads.py
ROUNDS = 2  # attempts of an Execution of the workflow `again`
# How far the wall clock of a reconciler may be put forward or back, in seconds.
CLOCK_MOST = 240.0


@dataclass(frozen=True, slots=True)
class Step:
    """What the pods of one task do: wait `ms`, then give `add` and the sum of what the task was given.

    fail: so many attempts end badly first. rounds: in so many attempts of the Execution it ends badly.
    """

    add: int
    ms: int
    fail: int = 0
    rounds: int = 0

    def to_json(self) -> JSONObject:
        """As the input of a task holds it."""
        return {"add": self.add, "ms": self.ms, "fail": self.fail, "rounds": self.rounds}


@dataclass(frozen=True, slots=True)
class Steering:
    """What a user does with an Execution, in seconds after its creation; None: not at all."""

    suspend_at: float | None = None  # 0: it is so from its birth
    resume_at: float | None = None
    cancel_at: float | None = None


@dataclass(frozen=True, slots=True)
class Launch:
    """One Execution. `gap`: seconds after the one before."""

    name: str
    workflow: str
    inputs: JSONObject
    gap: float
    steering: Steering = field(default_factory=Steering)


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that goes wrong. What `pick` (0 to 1), `seconds` and `value` mean depends on its kind."""

    kind: str
    gap: float  # seconds after the one before
    pick: float
    seconds: float
    value: float


# kind -> (how often it is in a deck, seconds that it lasts: least, most)
FAULTS: dict[str, tuple[int, float, float]] = {
    "leader-killed": (2, 0, 0),
    "standby-killed": (1, 0, 0),
    "leader-stopped": (1, 12, 16),
    "leader-paused": (1, 1, 5),
    "leader-terminated": (1, 0, 0),
    "leader-cut-off": (1, 3, 14),
    "apiserver-restarted": (1, 0, 0),
    "pod-deleted": (5, 0, 0),
    "pod-deleted-by-force": (3, 0, 0),
    "finished-pod-deleted": (3, 0, 0),
    "answers-storm": (3, 2, 6),
    "watches-closed": (2, 0, 0),
    "watches-expired": (2, 0, 0),
    "clock-stepped": (3, 0, 0),
}
# Those of a node, one after the other: each takes as long as Kubernetes takes to notice.
NODE_FAULTS: dict[str, tuple[int, float, float]] = {
    "node-not-ready": (1, 8, 14),
    "node-silent": (1, 62, 70),
    "node-removed": (1, 65, 75),
}
API_SERVER_FAULTS = frozenset({"apiserver-restarted"})


def faults(seed: int, *, without: Collection[str] = (), mean_gap: float = 4.0) -> Iterator[Fault]:
    """For ever, from decks that hold each kind, so that a short run sees all of them."""
    return _dealt(random.Random(f"{seed}/faults"), FAULTS, without, mean_gap)  # noqa: S311 - a plan, no secret


def node_faults(seed: int, *, without: Collection[str] = ()) -> Iterator[Fault]:
    """Likewise, for the node that comes and goes."""
    return _dealt(random.Random(f"{seed}/node"), NODE_FAULTS, without, 5.0)  # noqa: S311


def _dealt(
    rng: random.Random, kinds: dict[str, tuple[int, float, float]], without: Collection[str], mean_gap: float
) -> Iterator[Fault]:
    deck = [kind for kind, (count, _, _) in kinds.items() for _ in range(count)]
    while deck:
        rng.shuffle(deck)
        for kind in deck:
            _, least, most = kinds[kind]
            # Drawn for those that are left out too: the rest of the plan stays as it is.
            fault = Fault(
                kind=kind,
                gap=rng.uniform(0.2, 1.8) * mean_gap,
                pick=rng.random(),
                seconds=rng.uniform(least, most),
                value=rng.uniform(-CLOCK_MOST, CLOCK_MOST),
            )
            if kind not in without:
                yield fault
        deck = [kind for kind in deck if kind not in without]


def launches(seed: int, *, mean_gap: float = 0.7) -> Iterator[Launch]:
    """For ever."""
    rng = random.Random(f"{seed}/load")  # noqa: S311
    number = 0
    while True:
        workflow = rng.choice(WORKFLOWS)
        yield Launch(
            name=f"{workflow}-{number:05}",
            workflow=workflow,
            inputs=_inputs(rng, workflow),
            gap=rng.expovariate(1 / mean_gap),
            steering=_steering(rng, cancel=0.3 if workflow == "locked" else 0.08),
        )
        number += 1


WORKFLOWS = ("chain", "diamond", "loop", "tolerant", "doomed", "nested", "locked", "locked", "again", "approved")


def _steering(rng: random.Random, *, cancel: float) -> Steering:
    drawn, at, pause = rng.random(), rng.uniform(0.0, 6.0), rng.uniform(0.5, 8.0)
    if drawn < 0.08:
        return Steering(suspend_at=at, resume_at=at + pause)
    if drawn < 0.12:
        return Steering(suspend_at=0.0, resume_at=pause)
    if drawn < 0.12 + cancel:
        return Steering(cancel_at=at)
    if drawn < 0.14 + cancel:
        return Steering(suspend_at=at, cancel_at=at + pause)
    return Steering()


def _step(rng: random.Random, *, fail: int | None = None, rounds: int = 0) -> Step:
    """Most are quick, and some run for seconds, so that there is always something to hit."""
    ms = int(rng.choice((100, 300, 800, 2000, 5000)) * rng.uniform(0.5, 1.5))
    drawn = rng.choice((0, 0, 0, 0, 1, 2))
    return Step(add=rng.randrange(1, 1000), ms=ms, fail=drawn if fail is None else fail, rounds=rounds)


def _inputs(rng: random.Random, workflow: str) -> JSONObject:
    def steps(*names: str, **fixed: Any) -> JSONObject:
        return {name: _step(rng, **fixed).to_json() for name in names}

    def items(least: int, most: int, **fixed: Any) -> list[JSONObject]:
        return [_step(rng, **fixed).to_json() for _ in range(rng.randint(least, most))]

    match workflow:
        case "chain":
            return {"steps": steps("a", "b", "c", "d")}
        case "diamond":
            return {"steps": steps("first", "left", "right", "last")}
        case "loop":
            return {"steps": steps("split", "join"), "items": items(0, 8)}
        case "tolerant":
            sure = steps("after", "mirror", "last")
            primary = _step(rng, fail=rng.choice((0, 9))).to_json()
            return {"steps": {**sure, "shaky": _step(rng, fail=9).to_json(), "primary": primary}}
        case "doomed":
            doom = _step(rng, fail=rng.choice((1, 2, 9, 9))).to_json()
            return {"steps": {**steps("a", "c"), "b": doom, "tell": _step(rng, fail=0).to_json()}}
        case "nested":
            return {"steps": steps("sum"), "chain": steps("a", "b", "c", "d"), "items": items(1, 3)}
        case "locked":
            alone = Step(add=rng.randrange(1, 1000), ms=rng.randrange(500, 4000), fail=rng.choice((0, 0, 1)))
            return {"steps": {"alone": alone.to_json()}, "lock": rng.choice("xxy"), "items": items(2, 4)}
        case "again":
            rounds = rng.choice((0, 1, 1, 9))
            held = [_step(rng, fail=0, rounds=rng.choice((0, rounds))).to_json() for _ in range(3)]
            sure = steps("a", "c", fail=0)
            return {"steps": {**sure, "b": _step(rng, fail=0, rounds=rounds).to_json()}, "items": held}
        case _:
            return {"steps": steps("a", "b")}
