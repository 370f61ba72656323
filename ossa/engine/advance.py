"""Which units start now: what they depend on, and in which order there is room for them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ossa.api.base import JSONObject
from ossa.api.execution import AttemptStatus, TaskStatus
from ossa.engine.clock import from_text
from ossa.engine.graph import Graph
from ossa.engine.judging import judge_task
from ossa.engine.limits import Limits
from ossa.engine.observe import adopt_unit, end_groups, is_failing, is_handled, observe
from ossa.engine.retrying import is_over, pause
from ossa.engine.revision import CompiledRevision
from ossa.engine.start import (
    Bindings,
    CannotStart,
    Skip,
    Start,
    Unread,
    build_input,
    check_condition,
    evaluated_input,
    items_of,
    lock_names,
)
from ossa.engine.states import TASK_TERMINAL
from ossa.engine.takingover import gated
from ossa.engine.turn import Turn
from ossa.engine.units import Unit, made_attempts

# How deep workflows may run workflows.
MAX_NESTED = 8


@dataclass(frozen=True, slots=True)
class _Ready:
    """A unit that could start."""

    unit: Unit
    start: Start
    locks: tuple[str, ...]
    values: JSONObject  # item and index, in a forEach
    judged: tuple[str, ...] = ()


def advance(turn: Turn, revision: CompiledRevision, graph: Graph, bindings: Bindings) -> None:
    """Starts what can start of the tasks of a graph; what ends at once may let others start."""
    while True:
        ended = turn.ended_count()
        Advance(turn, revision, graph, bindings).run()
        end_groups(turn, revision)
        if turn.adopted:
            observe(turn, revision, bindings)
        elif turn.ended_count() == ended:
            return
        if turn.waits:
            return


class Advance:
    """One look at what can start of the tasks of a graph."""

    def __init__(self, turn: Turn, revision: CompiledRevision, graph: Graph, bindings: Bindings) -> None:
        self._turn = turn
        self._revision = revision
        self._graph = gated(turn, revision, graph)
        self._bindings = bindings
        self._fail_fast = revision.revision.spec.fail_fast and graph is revision.graph
        self._limits = Limits(turn, revision)

    def run(self) -> None:
        """Starts what can start. Nothing does where one of them cannot, and nothing is to start after a failure."""
        if self._is_over():
            return
        waiting = [name for name in self._graph.order if self._look_at(name)]
        if self._turn.adopted:
            # A forEach that has just got its items found some of them running: a status was lost in a crash. What they
            # have come to says what may start.
            return
        if self._is_over():
            return
        ready = list(self._ready(waiting))
        if self._is_over():
            return
        slots = self._turn.slots
        chosen = [found for one in ready if (found := self._chosen(one)) is not None]
        if self._is_over():  # a policy denies one of them
            self._turn.slots = slots
            return
        for one in chosen:
            self._start(one)

    def _is_over(self) -> bool:
        return self._fail_fast and is_failing(self._turn, self._revision)

    def _look_at(self, name: str) -> bool:
        """Whether a unit of the task may start, as far as its dependencies are concerned."""
        turn, task = self._turn, self._turn.tasks[name]
        if task.phase in TASK_TERMINAL:
            return False
        if any(turn.tasks[parent].phase not in TASK_TERMINAL for parent in self._graph.parents[name]):
            return False
        for parent in sorted(self._graph.needs[name]):
            why = self._unmet(parent)
            if why is not None:
                self._drop(name, f"task {parent!r}, on which it depends, {why}")
                return False
        if task.phase != "Pending":
            return True
        compiled = self._revision.tasks[name]
        match check_condition(compiled, self._bindings, turn.tasks):
            case Skip(message):
                turn.ledger.skip(name, message)
                return False
            case CannotStart() as failure:
                self._fail(Unit(name), failure)
                return False
        return compiled.spec.for_each is None or self._expand(name)

    def _drop(self, name: str, why: str) -> None:
        """Ends a task whose dependency has not ended as it must, once nothing of it runs.

        It may have been started by a reconciler that died before it wrote how the dependency ended, which then ended in
        another way.
        """
        turn, task = self._turn, self._turn.tasks[name]
        if task.phase == "Pending":
            turn.ledger.skip(name, why)
            return
        active = task.items.active if task.items is not None else {}
        if any(item.phase == "Running" for item in active.values()) or (task.phase == "Running" and task.items is None):
            return
        for index, item in active.items():
            self._fail(Unit(name, int(index)), CannotStart(item.reason or "PodLost", f"it is not tried again: {why}"))
        self._fail(Unit(name), CannotStart(task.reason or "PodLost", f"it is not tried again: {why}"))

    def _unmet(self, parent: str) -> str | None:
        task, spec = self._turn.tasks[parent], self._revision.tasks[parent].spec
        if task.phase == "Skipped" and spec.default_output is None:
            return "was skipped"
        if task.phase == "Failed" and not spec.continue_on_error:
            return "failed"
        return None

    def _expand(self, name: str) -> bool:
        turn, found = self._turn, self._items_of(name)
        if isinstance(found, CannotStart):
            self._fail(Unit(name), found)
        if found is None or isinstance(found, CannotStart):
            return False
        turn.ledger.expand(name, len(found))
        if not found:
            turn.ledger.end_group(name)
            return False
        for pod in sorted(turn.snapshot.pods.values(), key=lambda pod: (pod.index, -pod.attempt)):
            if pod.task == name:
                adopt_unit(turn, Unit(name, pod.index), pod)
        for child in sorted(turn.snapshot.children.values(), key=lambda child: (child.index, -child.attempt)):
            if child.task == name:
                adopt_unit(turn, Unit(name, child.index), child)
        return True

    def _ready(self, names: list[str]) -> Iterator[_Ready]:
        """Units that may start now, those of higher priority first; those that cannot are failed."""
        order = {name: place for place, name in enumerate(self._graph.order)}
        for name in sorted(names, key=lambda name: (-self._revision.tasks[name].spec.priority, order[name])):
            task = self._turn.tasks[name]
            units = self._items(name, task) if task.items is not None else self._single(name, task)
            for unit, values in units:
                built = self._build(unit, values)
                if built is not None:
                    yield built

    def _single(self, name: str, task: TaskStatus) -> Iterator[tuple[Unit, JSONObject]]:
        if task.phase == "Pending" or (task.phase == "Retrying" and self._is_due(name, task)):
            yield Unit(name), {}

    def _items(self, name: str, task: TaskStatus) -> Iterator[tuple[Unit, JSONObject]]:
        items, spec = task.items, self._revision.tasks[name].spec
        if items is None or spec.for_each is None:
            return
        if items.failed and not spec.continue_on_error:
            # Nothing new; what waits to be tried again is not.
            for index, item in items.active.items():
                if item.phase == "Retrying":
                    self._give_up(Unit(name, int(index)), item)
            return
        due = [
            int(index) for index, item in items.active.items() if item.phase == "Retrying" and self._is_due(name, item)
        ]
        running = sum(item.phase == "Running" for item in items.active.values())
        # Those that wait to be tried again keep their place: items start in order, and few are out at once.
        room = max(0, spec.for_each.parallelism - len(items.active))
        fresh = range(items.started, min(items.total, items.started + room))
        chosen = [*sorted(due)[: max(0, spec.for_each.parallelism - running)], *fresh]
        if not chosen:
            return
        values = self._items_of(name)
        if values is None:
            return
        for index in chosen:
            if isinstance(values, CannotStart):
                self._fail(Unit(name, index), values)
            elif index >= len(values):
                self._fail(Unit(name, index), CannotStart("InvalidInput", _fewer(len(values), items.total)))
            else:
                yield Unit(name, index), {"item": values[index], "index": index}

    def _items_of(self, name: str) -> Sequence[object] | CannotStart | None:
        """None where they are not there yet: they are asked for."""
        try:
            found = items_of(self._revision.tasks[name], self._bindings, self._turn.tasks)
        except Unread as missing:
            self._turn.want_items(name, missing)
            return None
        if self._turn.tasks[name].phase in ("Pending", "Running"):
            self._turn.ledger.set_unit(Unit(name), message=None)
        return found

    def _give_up(self, unit: Unit, item: AttemptStatus) -> None:
        message = f"{item.message or 'it failed'}; it is not tried again, because another item failed"
        failure = CannotStart(item.reason or "PodLost", message)
        self._turn.fail_unit(unit, failure, handled=is_handled(self._revision, unit.task))

    def _is_due(self, name: str, status: AttemptStatus) -> bool:
        policy = self._revision.tasks[name].spec.retry
        if status.retry_at is None or policy is None:
            return True
        at, length = from_text(status.retry_at), pause(policy.backoff, made_attempts(status), status.pod or "")
        if not is_over(at, length, self._turn.now):
            self._turn.wake(at)
            return False
        return True

    def _build(self, unit: Unit, values: JSONObject) -> _Ready | None:
        compiled = self._revision.tasks[unit.task]
        locks = lock_names(compiled, self._bindings, self._turn.tasks, **values)
        if isinstance(locks, CannotStart):
            self._fail(unit, locks)
            return None
        held = build_input(compiled, self._bindings, self._turn.tasks, **values)
        if isinstance(held, CannotStart):
            self._fail(unit, held)
            return None
        if compiled.spec.workflow is not None and self._turn.snapshot.depth >= MAX_NESTED:
            text = f"Executions are nested {MAX_NESTED} deep, and no deeper: does the workflow run itself?"
            self._fail(unit, CannotStart("InvalidInput", text))
            return None
        return _Ready(unit, held, locks, values)

    def _fail(self, unit: Unit, failure: CannotStart) -> None:
        self._turn.fail_unit(unit, failure, handled=is_handled(self._revision, unit.task))

    def _chosen(self, one: _Ready) -> _Ready | None:
        """The unit, with what policies say, where there is room for it; it takes that. One that is denied fails."""
        compiled = self._revision.tasks[one.unit.task]
        if compiled.spec.approval is not None:
            return one
        if not self._limits.have_room(one.unit, compiled, one.locks):
            return None
        ruling = judge_task(self._turn, self._revision, one.unit, lambda: self._whole_input(one))
        if isinstance(ruling, CannotStart):
            self._fail(one.unit, ruling)
            return None
        self._limits.take(compiled, one.locks)
        return replace(one, judged=ruling.versions)

    def _whole_input(self, one: _Ready) -> JSONObject:
        if not one.start.large:
            return one.start.input
        value = evaluated_input(self._revision.tasks[one.unit.task], self._bindings, self._turn.tasks, **one.values)
        return one.start.input if isinstance(value, CannotStart) else value

    def _start(self, one: _Ready) -> None:
        turn, compiled = self._turn, self._revision.tasks[one.unit.task]
        if compiled.spec.approval is not None:
            turn.ask(one.unit)
        elif compiled.spec.workflow is not None:
            turn.start_child(one.unit, one.start, one.locks, one.judged, compiled.spec)
        else:
            turn.start_unit(one.unit, one.start, one.locks, one.judged)


def _fewer(now: int, before: int) -> str:
    return f"forEach has {now} items in this attempt of the Execution, and had {before} in the one before"
