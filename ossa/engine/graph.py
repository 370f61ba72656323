"""The graph of a workflow: who waits for whom, and what is wrong with it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from ossa.api.artifact import REFERENCE_KEY
from ossa.api.schema import schema_problems
from ossa.api.workflow import Task, WorkflowSpec
from ossa.engine.clock import parse_duration
from ossa.engine.expressions import (
    CompileError,
    Condition,
    Template,
    child_path,
    parse_condition,
    parse_template,
)
from ossa.engine.references import Path
from ossa.engine.values import is_deep


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a field of a resource, and what to do."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class TaskTemplates:
    """The compiled expressions of one task; `message` is an approval's."""

    input: Template
    when: Condition | None
    message: Template | None = None

    @property
    def tasks(self) -> frozenset[str]:
        """The tasks that they refer to."""
        parts = (self.input, self.when, self.message)
        return frozenset().union(*(part.tasks for part in parts if part is not None))


@dataclass(frozen=True, slots=True)
class Graph:
    """Tasks in an order in which each comes after all that it depends on."""

    order: tuple[str, ...]
    parents: Mapping[str, frozenset[str]]
    children: Mapping[str, frozenset[str]]


def parse_task(task: Task, number: int) -> TaskTemplates:
    """The expressions of the task at spec.tasks[number]. Raises CompileError."""
    path = f"spec.tasks[{number}]"
    return TaskTemplates(
        parse_template(task.input, f"{path}.input"),
        parse_condition(task.when, f"{path}.when") if task.when is not None else None,
        parse_template(task.approval.message, f"{path}.approval.message") if task.approval is not None else None,
    )


def build_graph(spec: WorkflowSpec, templates: Mapping[str, TaskTemplates]) -> Graph:
    """The graph of a workflow without problems. Raises CompileError at a cycle or an unknown task."""
    parents = {task.name: frozenset(task.depends_on) | templates[task.name].tasks for task in spec.tasks}
    unknown = sorted(name for names in parents.values() for name in names if name not in parents)
    if unknown:
        raise CompileError(f"spec.tasks: there is no task {unknown[0]!r}")
    order = _order(parents)
    if len(order) < len(parents):
        raise CompileError(f"spec.tasks: {_cycle_text(parents)}")
    children: dict[str, set[str]] = {name: set() for name in parents}
    for name, above in parents.items():
        for parent in above:
            children[parent].add(name)
    return Graph(tuple(order), parents, {name: frozenset(below) for name, below in children.items()})


def workflow_problems(spec: WorkflowSpec) -> list[Problem]:
    """What makes a workflow impossible to run, as far as it can be told without looking at other objects."""
    problems = [*_input_problems(spec), *_name_problems(spec)]
    names = [task.name for task in spec.tasks]
    parents: dict[str, frozenset[str]] = {}
    for number, task in enumerate(spec.tasks):
        found, edges = _task_problems(task, number, spec)
        problems += found
        problems += _timeout_problems(task, number)
        parents.setdefault(task.name, frozenset())
        parents[task.name] |= edges & set(names)
    problems += _outputs_problems(spec)
    # A task that waits for itself has been reported where it says so.
    others = {name: above - {name} for name, above in parents.items()}
    if len(_order(others)) < len(others):
        problems.append(Problem("spec.tasks", _cycle_text(others)))
    return problems


def _input_problems(spec: WorkflowSpec) -> Iterator[Problem]:
    if spec.inputs is None:
        return
    if is_deep(spec.inputs):
        yield Problem("spec.inputs", "it is nested too deeply")
        return
    for text in schema_problems(spec.inputs, "spec.inputs"):
        path, _, message = text.partition(": ")
        yield Problem(path, message)
    if spec.inputs.get("type") != "object":
        yield Problem("spec.inputs.type", "inputs are an object: write type: object")


def _name_problems(spec: WorkflowSpec) -> Iterator[Problem]:
    first: dict[str, int] = {}
    for number, task in enumerate(spec.tasks):
        earlier = first.setdefault(task.name, number)
        if earlier != number:
            message = f"the name {task.name!r} is taken by spec.tasks[{earlier}]; give each task a name of its own"
            yield Problem(f"spec.tasks[{number}].name", message)


def _timeout_problems(task: Task, number: int) -> Iterator[Problem]:
    path = f"spec.tasks[{number}]"
    if task.timeout is not None:
        yield from _duration_problems(task.timeout, f"{path}.timeout", "leave it out for no limit")
    if task.approval is not None:
        yield from _duration_problems(task.approval.timeout, f"{path}.approval.timeout", "leave it out for 24h")


def _duration_problems(text: str, path: str, advice: str) -> Iterator[Problem]:
    try:
        limit = parse_duration(text)
    except ValueError as error:
        yield Problem(path, str(error))
        return
    if limit.total_seconds() <= 0:
        yield Problem(path, f"it must be more than zero; {advice}")


def _kind_problems(task: Task, path: str) -> Iterator[Problem]:
    """Who does it: an agent, or people who approve."""
    approval = task.approval
    if (task.agent is None) == (approval is None):
        yield Problem(path, "set exactly one of agent (who does it) and approval (people who must approve)")
    if approval is None:
        return
    for field, given in (("capability", task.capability), ("input", task.input), ("timeout", task.timeout)):
        if given:
            hint = "; set approval.timeout" if field == "timeout" else ""
            yield Problem(f"{path}.{field}", f"it belongs to a task with an agent, and not to an approval{hint}")
    if not (approval.approver_groups or approval.approver_users):
        yield Problem(f"{path}.approval", "name who may approve: set approverGroups, approverUsers or both")
    elif not approval.approver_groups and len(set(approval.approver_users)) < approval.count:
        why = f"{approval.count} must approve, and approverUsers names only {len(set(approval.approver_users))}"
        yield Problem(f"{path}.approval.count", f"{why}; lower it, or name more who may approve")


def _task_problems(task: Task, number: int, spec: WorkflowSpec) -> tuple[list[Problem], frozenset[str]]:
    path = f"spec.tasks[{number}]"
    known = {other.name for other in spec.tasks}
    problems = [*_kind_problems(task, path)]
    edges = set(task.depends_on)
    for index, name in enumerate(task.depends_on):
        problems += _reference_problems(name, f"{path}.dependsOn[{index}]", task.name, known)
    parsed: list[Template | Condition] = []
    try:
        problems += [Problem(where, _LITERAL_REFERENCE) for where in _literal_references(task.input, f"{path}.input")]
        parsed.append(parse_template(task.input, f"{path}.input"))
    except CompileError as error:
        problems.append(_problem(error))
    try:
        if task.when is not None:
            parsed.append(parse_condition(task.when, f"{path}.when"))
    except CompileError as error:
        problems.append(_problem(error))
    try:
        if task.approval is not None:
            parsed.append(parse_template(task.approval.message, f"{path}.approval.message"))
    except CompileError as error:
        problems.append(_problem(error))
    for held in parsed:
        edges |= held.tasks
        problems += _read_problems(held.reads, task.name, known, spec)
    return problems, frozenset(edges)


def _outputs_problems(spec: WorkflowSpec) -> list[Problem]:
    try:
        template = parse_template(spec.outputs, "spec.outputs")
    except CompileError as error:
        return [_problem(error)]
    known = {task.name for task in spec.tasks}
    literal = [Problem(where, _LITERAL_REFERENCE) for where in _literal_references(spec.outputs, "spec.outputs")]
    return literal + _read_problems(template.reads, None, known, spec)


def _read_problems(
    reads: Iterable[tuple[str, Path]], own: str | None, known: set[str], spec: WorkflowSpec
) -> list[Problem]:
    problems: list[Problem] = []
    for where, path in reads:
        if path[0] == "tasks":
            problems += _reference_problems(str(path[1]), where, own, known)
            if len(path) > 2 and path[2] not in ("output", "phase"):
                problems.append(Problem(where, f"a task has `output` and `phase`, not {str(path[2])!r}"))
        elif path[0] == "inputs" and len(path) > 1:
            problems += _input_read_problems(str(path[1]), where, spec)
        elif len(path) > 1 and path[0] in _FIELDS and path[1] not in _FIELDS[path[0]]:
            held = ", ".join(_FIELDS[path[0]])
            problems.append(Problem(where, f"`{path[0]}` has no {str(path[1])!r}; it has {held}"))
    return problems


def _input_read_problems(name: str, where: str, spec: WorkflowSpec) -> Iterator[Problem]:
    schema = spec.inputs
    # Only a closed schema says that an input can never be there.
    if schema is None or schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return
    properties = schema.get("properties", {})
    if isinstance(properties, dict) and name not in properties:
        yield Problem(where, f"spec.inputs has no property {name!r}{_did_you_mean(name, properties)}")


def _reference_problems(name: str, where: str, own: str | None, known: set[str]) -> Iterator[Problem]:
    if name == own:
        yield Problem(where, f"the task {name!r} waits for itself; take this reference out")
    elif name not in known:
        yield Problem(where, f"there is no task {name!r}{_did_you_mean(name, known)}")


def _did_you_mean(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, sorted(known), n=1)
    return f"; did you mean {close[0]!r}?" if close else ""


def _literal_references(value: object, path: str) -> list[str]:
    if is_deep(value):
        return []  # the template reports it
    if isinstance(value, dict):
        own = [child_path(path, REFERENCE_KEY)] if REFERENCE_KEY in value else []
        return own + [
            found for key, item in value.items() for found in _literal_references(item, child_path(path, key))
        ]
    if isinstance(value, list):
        return [found for i, item in enumerate(value) for found in _literal_references(item, child_path(path, i))]
    return []


def _problem(error: CompileError) -> Problem:
    path, _, message = str(error).partition(": ")
    return Problem(path, message)


def _order(parents: Mapping[str, frozenset[str]]) -> list[str]:
    """The names in topological order, and otherwise as they come; without those on or behind a cycle."""
    order: list[str] = []
    placed: set[str] = set()
    waiting = list(parents)
    while ready := [name for name in waiting if parents[name] <= placed]:
        order += ready
        placed.update(ready)
        waiting = [name for name in waiting if name not in placed]
    return order


def _cycle_text(parents: Mapping[str, frozenset[str]]) -> str:
    stuck = set(parents) - set(_order(parents))
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


_FIELDS = {"execution": ("name", "namespace", "uid", "attempt"), "workflow": ("name", "version")}
_LITERAL_REFERENCE = (
    f"the key {REFERENCE_KEY} is the artifact service's own; "
    "pass an artifact on with ${{ tasks.NAME.output.FIELD }}"
)
