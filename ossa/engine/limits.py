"""How many units may run at once: of an Execution, of the platform, and of those that share a lock."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ossa.engine.revision import CompiledRevision, CompiledTask
from ossa.engine.snapshot import lock_holders
from ossa.engine.turn import Turn
from ossa.engine.units import Unit, held_locks


class Limits:
    """What room there is as one looks at what can start."""

    def __init__(self, turn: Turn, revision: CompiledRevision) -> None:
        self._turn = turn
        self._most = revision.revision.spec.parallelism
        self._runs = turn.running()
        self._held = _held(turn, revision)

    def have_room(self, unit: Unit, compiled: CompiledTask, locks: Sequence[str]) -> bool:
        """Whether one more may run. Where it may not, the turn has what it waits for."""
        turn = self._turn
        if self._most is not None and self._runs >= self._most:
            return False
        limits = {name: lock.limit for name, lock in zip(locks, compiled.spec.locks, strict=True)}
        taken = [name for name in locks if self._held.get(name, 0) >= limits[name]]
        if taken:
            turn.wants.update(taken)
            if unit.index is None:
                turn.ledger.set_unit(unit, message=f"waiting for the lock {taken[0]!r}")
            return False
        if compiled.agent is not None and turn.slots is not None and turn.slots <= 0:
            turn.starved = True
            return False
        return True

    def take(self, compiled: CompiledTask, locks: Sequence[str]) -> None:
        """One more runs."""
        if compiled.agent is not None and self._turn.slots is not None:
            self._turn.slots -= 1
        self._runs += 1
        for name in locks:
            self._held[name] = self._held.get(name, 0) + 1


def _held(turn: Turn, revision: CompiledRevision) -> Counter[str]:
    """How many holders the locks of the namespace have."""
    held = Counter(turn.snapshot.held_locks)
    if any(task.spec.locks for task in revision.tasks.values()):
        snapshot = turn.snapshot
        held += held_locks(turn.tasks, lock_holders(snapshot.pods.values(), snapshot.children.values()))
    return held
