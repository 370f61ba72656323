"""How many pods may run, and who holds which lock: shared by all executions, derived from their statuses.

Nothing is stored: a lock is held by a unit that runs, and by a pod or child that runs on though its task has given it
up, so that it can neither leak nor be lost in a restart.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from ossa.api.execution import TaskStatus
from ossa.engine.snapshot import PodView
from ossa.engine.units import active_units, held_locks

# The name of a pod or child, and its locks.
Holder = tuple[str, Sequence[str]]


@dataclass(slots=True)
class _Share:
    """What one execution takes of what is shared."""

    namespace: str
    pods: int = 0
    locks: Counter[str] = field(default_factory=Counter)


class Limits:
    """For one event loop. `wake` is told of an execution for which there may be room now."""

    def __init__(self, *, most: int, namespace_most: Callable[[str], int | None], wake: Callable[[str], None]) -> None:
        self._most = most
        self._namespace_most = namespace_most
        self._wake = wake
        self._shares: dict[str, _Share] = {}
        self._pods: Counter[str] = Counter()  # by namespace
        self._locks: dict[str, Counter[str]] = defaultdict(Counter)  # likewise
        self._starving: dict[str, tuple[float, ...]] = {}
        self._waiting: dict[str, frozenset[tuple[str, str]]] = {}

    def seed(  # noqa: PLR0913 - each by name
        self,
        uid: str,
        namespace: str,
        *,
        tasks: Mapping[str, TaskStatus],
        pods: Iterable[PodView],
        children: Collection[str] = (),
        holders: Iterable[Holder] = (),
    ) -> None:
        """What a reconciler that starts finds: units that the status says run, and pods that it does not know of."""
        running = [(unit, status) for unit, status in active_units(tasks) if status.phase == "Running"]
        units = {(unit.task, unit.index or 0) for unit, _ in running}
        units |= {(pod.task, pod.index) for pod in pods if not pod.ended and not pod.deleting}
        without_pod = sum(status.pod in children for _, status in running)
        self._put(uid, _Share(namespace, len(units) - without_pod, held_locks(tasks, holders)))

    def update(
        self,
        uid: str,
        namespace: str,
        tasks: Mapping[str, TaskStatus],
        children: Collection[str] = (),
        holders: Iterable[Holder] = (),
    ) -> None:
        """What an execution takes by now; whoever waits for what it gave back is woken.

        `children` are the names of its child Executions: these hold locks, but are no pods. Counted as pods they
        would keep the place that their own tasks wait for.
        """
        running = [status for _, status in active_units(tasks) if status.phase == "Running"]
        locks = held_locks(tasks, holders)
        self._put(uid, _Share(namespace, sum(status.pod not in children for status in running), locks))

    def holds(self, uid: str) -> bool:
        """Whether an execution holds a lock, as far as was told."""
        return uid in self._shares and bool(self._shares[uid].locks)

    def ended(self, uid: str, namespace: str, holders: Iterable[Holder]) -> None:
        """The execution has ended; what of it has not yet keeps its locks. Called again when that changes."""
        locks = held_locks({}, holders)
        if locks:
            self._starving.pop(uid, None)
            self._waiting.pop(uid, None)
            self._put(uid, _Share(namespace, 0, locks))
        else:
            self.forget(uid)

    def forget(self, uid: str) -> None:
        """The execution is gone."""
        self._starving.pop(uid, None)
        self._waiting.pop(uid, None)
        share = self._shares.get(uid)
        if share is not None:
            self._put(uid, _Share(share.namespace))
            del self._shares[uid]

    def slots(self, uid: str, namespace: str) -> int | None:
        """How many pods an execution may start now. Where others wait too, one at a time."""
        free = self._free(namespace)
        if free is None:
            return None
        others = any(other != uid for other in self._starving)
        return max(0, min(free, 1) if others else free)

    def held_locks(self, uid: str, namespace: str) -> dict[str, int]:
        """How many holders the locks of a namespace have in other executions."""
        held = self._locks[namespace]
        share = self._shares.get(uid)
        return dict(held - share.locks if share is not None else held)

    def waits(self, uid: str, namespace: str, *, starved: bool, rank: tuple[float, ...], locks: frozenset[str]) -> None:
        """What an execution waits for after a decision; lower `rank` goes first among the starved."""
        if starved:
            self._starving[uid] = rank
        else:
            self._starving.pop(uid, None)
        if locks:
            self._waiting[uid] = frozenset((namespace, name) for name in locks)
        else:
            self._waiting.pop(uid, None)
        if starved and self._free(namespace) != 0:
            self._feed()

    @property
    def starving(self) -> int:
        """How many executions wait for room."""
        return len(self._starving)

    @property
    def waiting_for_locks(self) -> int:
        """How many executions wait for a lock."""
        return len(self._waiting)

    @property
    def locks_held(self) -> int:
        """How many locks are held, each holder counted."""
        return sum(held.total() for held in self._locks.values())

    def _free(self, namespace: str) -> int | None:
        """Pods that may still start in a namespace; None where there is no limit."""
        most = self._namespace_most(namespace)
        free = [] if most is None else [most - self._pods[namespace]]
        if self._most:
            free.append(self._most - self._pods.total())
        return max(0, min(free)) if free else None

    def _put(self, uid: str, share: _Share) -> None:
        before = self._shares.get(uid)
        self._shares[uid] = share
        self._pods[share.namespace] += share.pods - (before.pods if before is not None else 0)
        if share.locks:
            self._locks[share.namespace].update(share.locks)
        if before is None:
            return
        if before.locks:
            self._locks[share.namespace].subtract(before.locks)
        if share.pods < before.pods and self._starving:
            self._feed()
        released = {(share.namespace, name) for name in before.locks if share.locks[name] < before.locks[name]}
        if released:
            for other in [other for other, wanted in self._waiting.items() if wanted & released]:
                self._wake(other)

    def _feed(self) -> None:
        """Wakes those that wait for room, as many as there may be room for, by rank and by how much each has."""

        def place(uid: str) -> tuple[float, ...]:
            rank = self._starving[uid]
            return (*rank[:1], float(self._running(uid)), *rank[1:])

        order = sorted(self._starving, key=place)
        room: dict[str, int] = defaultdict(int)
        for uid in order:
            share = self._shares.get(uid)
            free = self._free(share.namespace) if share is not None else None
            if share is not None and (free is None or room[share.namespace] < free):
                room[share.namespace] += 1
                self._wake(uid)

    def _running(self, uid: str) -> int:
        share = self._shares.get(uid)
        return share.pods if share is not None else 0
