"""The graph of a workflow: the expressions of its tasks, and who waits for whom."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from ossa.api.task import Task
from ossa.engine.expressions import CompileError, Condition, Template, parse_condition, parse_template

# What a `when` may read of a task that need not be Completed: its end, however it was.
ENDINGS = frozenset({"phase", "error"})


@dataclass(frozen=True, slots=True)
class TaskTemplates:
    """The compiled expressions of one task. `items` or `count` is set for a forEach."""

    input: Template
    when: Condition | None = None
    items: Template | None = None
    count: Template | None = None
    retry_when: Condition | None = None
    locks: tuple[Template, ...] = ()
    message: Template | None = None  # of an approval

    @property
    def sees(self) -> frozenset[str]:
        """Tasks of which its condition reads how they ended."""
        return frozenset(str(path[1]) for path in _task_reads([self.when]) if path[2:] and path[2] in ENDINGS)

    @property
    def needs(self) -> frozenset[str]:
        """Tasks that must be Completed, because it reads what they gave."""
        others = (self.input, self.items, self.count, self.retry_when, self.message, *self.locks)
        read = [path for path in _task_reads([self.when]) if not (path[2:] and path[2] in ENDINGS)]
        return frozenset(str(path[1]) for path in (*read, *_task_reads(others)))


@dataclass(frozen=True, slots=True)
class Graph:
    """Tasks in an order in which each comes after all that it waits for.

    `parents` must have ended, `needs` are those of them that must have ended well. `handled` are those whose failure
    another task's condition asks about.
    """

    order: tuple[str, ...]
    parents: Mapping[str, frozenset[str]]
    needs: Mapping[str, frozenset[str]]
    handled: frozenset[str]


def parse_task(task: Task, path: str) -> TaskTemplates:
    """The expressions of the task in the field `path`. Raises CompileError."""
    each, retry, asked = task.for_each, task.retry, task.approval
    count = each.range.count if each is not None and each.range is not None else None
    return TaskTemplates(
        input=parse_template(task.input, f"{path}.input"),
        when=parse_condition(task.when, f"{path}.when") if task.when is not None else None,
        items=parse_template(each.items, f"{path}.forEach.items") if each is not None and each.items else None,
        count=parse_template(count, f"{path}.forEach.range.count") if count is not None else None,
        retry_when=parse_condition(retry.when, f"{path}.retry.when") if retry is not None and retry.when else None,
        locks=tuple(parse_template(lock.name, f"{path}.locks[{i}].name") for i, lock in enumerate(task.locks)),
        message=parse_template(asked.message, f"{path}.approval.message") if asked is not None else None,
    )


def build_graph(tasks: Iterable[Task], templates: Mapping[str, TaskTemplates], *, ended: frozenset[str]) -> Graph:
    """The graph of tasks without problems; `ended` are others that have ended before any of these starts.

    Raises CompileError at a cycle or an unknown task.
    """
    needs, parents = {}, {}
    for task in tasks:
        held = templates[task.name]
        needs[task.name] = (frozenset(task.depends_on) | held.needs) - ended
        parents[task.name] = needs[task.name] | (held.sees - ended)
    unknown = sorted(name for names in parents.values() for name in names if name not in parents)
    if unknown:
        raise CompileError(f"spec.tasks: there is no task {unknown[0]!r}")
    order = topological_order(parents)
    if len(order) < len(parents):
        raise CompileError(f"spec.tasks: {cycle_text(parents)}")
    return Graph(
        order=tuple(order),
        parents=parents,
        needs=needs,
        handled=frozenset(name for held in templates.values() for name in held.sees if name in parents),
    )


def topological_order(parents: Mapping[str, frozenset[str]]) -> list[str]:
    """The names in topological order, and otherwise as they come; without those on or behind a cycle."""
    order: list[str] = []
    placed: set[str] = set()
    waiting = list(parents)
    while ready := [name for name in waiting if parents[name] <= placed]:
        order += ready
        placed.update(ready)
        waiting = [name for name in waiting if name not in placed]
    return order


def cycle_text(parents: Mapping[str, frozenset[str]]) -> str:
    """Names a cycle that there is."""
    stuck = set(parents) - set(topological_order(parents))
    # From any task that never becomes ready, going up through such tasks ends in a cycle.
    at = min(stuck)
    seen: list[str] = []
    while at not in seen:
        seen.append(at)
        at = min(parents[at] & stuck)
    cycle = [*reversed(seen[seen.index(at) :])]
    start = cycle.index(min(cycle))
    cycle = cycle[start:] + cycle[:start]
    return f"these tasks wait for each other: {' -> '.join([*cycle, cycle[0]])}; take one of the references out"


def _task_reads(parts: Iterable[Template | Condition | None]) -> Iterable[tuple[str | int, ...]]:
    return (path for part in parts if part is not None for _, path in part.reads if path[0] == "tasks")
