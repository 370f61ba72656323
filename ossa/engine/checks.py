"""What is wrong with a workflow, as far as it can be told without looking at other objects."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from ossa.api.artifact import REFERENCE_KEY
from ossa.api.base import JSONObject
from ossa.api.schema import schema_problems
from ossa.api.task import MAX_ITEMS, ApprovalTask, Task
from ossa.api.workflow import InlineWorkflow, WorkflowSpec
from ossa.engine.cel.references import Path
from ossa.engine.clock import parse_duration
from ossa.engine.expressions import CompileError, Condition, Template, child_path, parse_template
from ossa.engine.graph import TaskTemplates, cycle_text, parse_task, topological_order
from ossa.engine.triggercheck import trigger_problems
from ossa.engine.values import is_deep


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong with a field of a resource, and what to do."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


@dataclass(frozen=True, slots=True)
class _Scope:
    """What the expressions of a task may refer to: `known` tasks, itself (`own`), and some names besides."""

    spec: InlineWorkflow
    where: str  # where the workflow stands: spec
    known: frozenset[str]
    own: str | None = None
    later: frozenset[str] = frozenset()  # tasks of `finally`, for those that run before them
    names: frozenset[str] = frozenset()  # of item, index, status, error


def workflow_problems(spec: InlineWorkflow, where: str = "spec") -> list[Problem]:
    """All that makes a workflow impossible to run, which stands at `where`."""
    problems = [*_input_problems(spec, where), *_name_problems(spec, where)]
    main, final = frozenset(task.name for task in spec.tasks), frozenset(task.name for task in spec.finally_)
    problems += _group_problems(spec.tasks, "tasks", _Scope(spec, where, main, later=final))
    names = frozenset({"status", "error"})
    problems += _group_problems(spec.finally_, "finally", _Scope(spec, where, main | final, names=names))
    problems += _outputs_problems(spec, where)
    problems += _duration_problems(spec.timeout, f"{where}.timeout")
    if spec.retry is not None:
        problems += _backoff_problems(spec.retry.backoff.initial, spec.retry.backoff.max, f"{where}.retry.backoff")
    if isinstance(spec, WorkflowSpec):
        problems += [Problem(field, message) for field, message in trigger_problems(spec)]
    return problems


def _group_problems(tasks: list[Task], group: str, scope: _Scope) -> Iterator[Problem]:
    where = f"{scope.where}.{group}"
    own = {task.name for task in tasks}
    parents: dict[str, frozenset[str]] = {}
    for number, task in enumerate(tasks):
        found, edges = _task_problems(task, f"{where}[{number}]", replace(scope, own=task.name))
        yield from found
        parents[task.name] = parents.get(task.name, frozenset()) | (edges & own)
    # A task that waits for itself has been reported where it says so.
    others = {name: above - {name} for name, above in parents.items()}
    if len(topological_order(others)) < len(others):
        yield Problem(where, cycle_text(others))


def _input_problems(spec: InlineWorkflow, where: str) -> Iterator[Problem]:
    if spec.inputs is None:
        return
    if is_deep(spec.inputs):
        yield Problem(f"{where}.inputs", "it is nested too deeply")
        return
    for text in schema_problems(spec.inputs, f"{where}.inputs"):
        path, _, message = text.partition(": ")
        yield Problem(path, message)
    if spec.inputs.get("type") != "object":
        yield Problem(f"{where}.inputs.type", "inputs are an object: write type: object")


def _name_problems(spec: InlineWorkflow, where: str) -> Iterator[Problem]:
    first: dict[str, str] = {}
    for group, tasks in (("tasks", spec.tasks), ("finally", spec.finally_)):
        for number, task in enumerate(tasks):
            path = f"{where}.{group}[{number}]"
            earlier = first.setdefault(task.name, path)
            if earlier != path:
                message = f"the name {task.name!r} is taken by {earlier}; give each task a name of its own"
                yield Problem(f"{path}.name", message)


def _task_problems(task: Task, path: str, scope: _Scope) -> tuple[list[Problem], frozenset[str]]:
    problems = [*_shape_problems(task, path)]
    edges = set(task.depends_on)
    for index, name in enumerate(task.depends_on):
        problems += _reference_problems(name, f"{path}.dependsOn[{index}]", scope)
    problems += [Problem(where, _LITERAL_REFERENCE) for where in _literal_references(task.input, f"{path}.input")]
    # One field at a time, so that each that does not compile is told.
    for part, names in _parts(task):
        try:
            held = parse_task(part, path)
        except CompileError as error:
            problems.append(_problem(error))
            continue
        edges |= held.needs | held.sees
        allowed = replace(scope, names=scope.names | names)
        for template in _templates(held):
            problems += _read_problems(template.reads, allowed)
    return problems, frozenset(edges)


def _parts(task: Task) -> Iterator[tuple[Task, frozenset[str]]]:
    """The task with the expressions of one field alone, and the names that these may use besides."""
    none: JSONObject = {"input": {}, "when": None, "for_each": None, "retry": None, "locks": [], "approval": None}
    bare = task.model_copy(update=none)
    item = frozenset({"item", "index"}) if task.for_each is not None else frozenset()
    yield bare.model_copy(update={"input": task.input}), item
    yield bare.model_copy(update={"when": task.when}), frozenset()
    yield bare.model_copy(update={"for_each": task.for_each}), frozenset()
    yield bare.model_copy(update={"retry": task.retry}), item | {"error"}
    yield bare.model_copy(update={"locks": task.locks}), item
    yield bare.model_copy(update={"approval": task.approval}), frozenset()


def _templates(held: TaskTemplates) -> Iterator[Template | Condition]:
    for part in (held.input, held.when, held.items, held.count, held.retry_when, held.message, *held.locks):
        if part is not None:
            yield part


def _shape_problems(task: Task, path: str) -> Iterator[Problem]:
    if [task.agent, task.workflow, task.approval].count(None) != 2:
        what = "agent (who does it), workflow and approval (people who must approve)"
        yield Problem(path, f"set exactly one of {what}")
    if task.capability is not None and task.workflow is not None:
        yield Problem(f"{path}.capability", "it is one of an agent; remove it, or name an agent")
    if task.approval is not None:
        yield from _approval_problems(task, task.approval, path)
    yield from _duration_problems(task.timeout, f"{path}.timeout")
    yield from _duration_problems(task.pending_timeout, f"{path}.pendingTimeout")
    if task.retry is not None:
        yield from _backoff_problems(task.retry.backoff.initial, task.retry.backoff.max, f"{path}.retry.backoff")
    each = task.for_each
    if each is None:
        return
    if (each.items is None) == (each.range is None):
        yield Problem(f"{path}.forEach", "set exactly one of items (a list) and range (numbers)")
    count = each.range.count if each.range is not None else 0
    if isinstance(count, int) and not 0 <= count <= MAX_ITEMS:
        yield Problem(f"{path}.forEach.range.count", f"is {count}; it must be from 0 to {MAX_ITEMS}")
    if isinstance(count, str) and not count.startswith("${{"):
        yield Problem(f"{path}.forEach.range.count", "must be a whole number, or ${{ … }} that gives one")


def _approval_problems(task: Task, approval: ApprovalTask, path: str) -> Iterator[Problem]:
    others = {
        "capability": task.capability,
        "input": task.input,
        "timeout": task.timeout,
        "forEach": task.for_each,
        "retry": task.retry,
        "locks": task.locks,
    }
    for field, given in others.items():
        if given:
            hint = "; set approval.timeout" if field == "timeout" else ""
            yield Problem(f"{path}.{field}", f"it belongs to a task with an agent, and not to an approval{hint}")
    yield from _duration_problems(approval.timeout, f"{path}.approval.timeout", "leave it out for 24h")
    if not (approval.approver_groups or approval.approver_users):
        yield Problem(f"{path}.approval", "name who may approve: set approverGroups, approverUsers or both")
    elif not approval.approver_groups and len(set(approval.approver_users)) < approval.count:
        why = f"{approval.count} must approve, and approverUsers names only {len(set(approval.approver_users))}"
        yield Problem(f"{path}.approval.count", f"{why}; lower it, or name more who may approve")


def _duration_problems(text: str | None, path: str, advice: str = "leave it out for no limit") -> Iterator[Problem]:
    if text is None:
        return
    try:
        limit = parse_duration(text)
    except ValueError as error:
        yield Problem(path, str(error))
        return
    if limit.total_seconds() <= 0:
        yield Problem(path, f"it must be more than zero; {advice}")


def _backoff_problems(initial: str, longest: str, path: str) -> Iterator[Problem]:
    for text, name in ((initial, "initial"), (longest, "max")):
        try:
            parse_duration(text)
        except ValueError as error:
            yield Problem(f"{path}.{name}", str(error))


def _outputs_problems(spec: InlineWorkflow, where: str) -> list[Problem]:
    field = f"{where}.outputs"
    try:
        template = parse_template(spec.outputs, field)
    except CompileError as error:
        return [_problem(error)]
    later = frozenset(task.name for task in spec.finally_)
    scope = _Scope(spec, where, frozenset(task.name for task in spec.tasks), later=later)
    literal = [Problem(found, _LITERAL_REFERENCE) for found in _literal_references(spec.outputs, field)]
    return literal + _read_problems(template.reads, scope)


def _read_problems(reads: Iterable[tuple[str, Path]], scope: _Scope) -> list[Problem]:
    problems: list[Problem] = []
    for where, path in reads:
        root = str(path[0])
        if root == "tasks":
            problems += _reference_problems(str(path[1]), where, scope)
            if len(path) > 2 and path[2] not in _TASK_FIELDS:
                held = ", ".join(f"`{name}`" for name in _TASK_FIELDS)
                problems.append(Problem(where, f"a task has {held}, not {str(path[2])!r}"))
        elif root in _WHERE and root not in scope.names:
            problems.append(Problem(where, f"`{root}` is {_WHERE[root].format(where=scope.where)}"))
        elif root == "inputs" and len(path) > 1:
            problems += _input_read_problems(str(path[1]), where, scope)
        elif len(path) > 1 and root in _FIELDS and path[1] not in _FIELDS[root]:
            held = ", ".join(_FIELDS[root])
            problems.append(Problem(where, f"`{root}` has no {str(path[1])!r}; it has {held}"))
    return problems


def _input_read_problems(name: str, where: str, scope: _Scope) -> Iterator[Problem]:
    schema = scope.spec.inputs
    # Only a closed schema says that an input can never be there.
    if schema is None or schema.get("additionalProperties") is not False or "patternProperties" in schema:
        return
    properties = schema.get("properties", {})
    if isinstance(properties, dict) and name not in properties:
        yield Problem(where, f"{scope.where}.inputs has no property {name!r}{_did_you_mean(name, properties)}")


def _reference_problems(name: str, where: str, scope: _Scope) -> Iterator[Problem]:
    if name == scope.own:
        yield Problem(where, f"the task {name!r} waits for itself; take this reference out")
    elif name in scope.later:
        yield Problem(where, f"the task {name!r} is one of {scope.where}.finally, which runs after everything else")
    elif name not in scope.known:
        yield Problem(where, f"there is no task {name!r}{_did_you_mean(name, scope.known)}")


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


_TASK_FIELDS = ("output", "phase", "error")
_FIELDS: Mapping[str, tuple[str, ...]] = {
    "execution": ("name", "namespace", "uid", "attempt"),
    "workflow": ("name", "version"),
    "error": ("task", "reason", "message", "exitCode", "attempt"),
}
_WHERE = {
    "item": "the item of a forEach; it is known in the input, the locks and the retry of such a task",
    "index": "the index in a forEach; it is known in the input, the locks and the retry of such a task",
    "status": "how the Execution ended; it is known in {where}.finally",
    "error": "what went wrong; it is known in {where}.finally and in a task's retry.when",
}
_LITERAL_REFERENCE = (
    f"the key {REFERENCE_KEY} is the artifact service's own; "
    "pass an artifact on with ${{ tasks.NAME.output.FIELD }}"
)
