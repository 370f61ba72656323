"""Whether a task starts, and with which input."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from ossa.api.artifact import REFERENCE_KEY, ArtifactRef, find_references, is_reference, value_media_type
from ossa.api.base import JSONObject
from ossa.api.contract import INPUT_LIMIT, VALUE_LIMIT
from ossa.api.execution import Execution, Reason, TaskStatus
from ossa.api.schema import violations
from ossa.api.task import MAX_ITEMS
from ossa.api.validation import EXECUTION_INPUTS_LIMIT
from ossa.engine.byreference import fields_to_move, json_size
from ossa.engine.decision import LargeField
from ossa.engine.expressions import EvalError, Template
from ossa.engine.revision import CompiledRevision, CompiledTask
from ossa.engine.rulings import Finding
from ossa.engine.snapshot import ListValue
from ossa.engine.units import error_of, output_of
from ossa.engine.values import shorten

LOCK_NAME_MAX = 253
_FORGED = (
    "it holds an artifact reference that no task of this Execution gave; pass artifacts on with "
    "${{ tasks.NAME.output.FIELD }}"
)
# A field at the start of a violation's text: records[3].age, ['a b'].c
_FIELD = re.compile(r"^(?:[A-Za-z_$][\w$-]*|\[(?:\d+|'[^']*')\])(?:\.[\w$-]+|\[(?:\d+|'[^']*')\])*: ")


@dataclass(frozen=True, slots=True)
class Start:
    """It can start, with this input; what is in `large` goes by reference."""

    input: JSONObject
    large: Mapping[str, LargeField] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Skip:
    """It will not run, and that is no failure."""

    message: str


@dataclass(frozen=True, slots=True)
class CannotStart:
    """It failed before it had a pod."""

    reason: Reason
    message: str
    denied_by: Finding | None = None  # with reason PolicyDenied


class Unread(Exception):
    """A list in the artifact service that is to be gone over, and was not read. `waits` says why, if it was tried."""

    def __init__(self, reference: ArtifactRef, waits: str | None) -> None:
        super().__init__(f"the artifact {reference.id} was not read: {waits}")
        self.reference = reference
        self.waits = waits


class Bindings:
    """What the expressions of one Execution see. Only the tasks that an expression refers to are bound.

    `values` are those of the snapshot: what lies in the artifact service and was read.
    """

    def __init__(
        self,
        execution: Execution,
        revision: CompiledRevision,
        *,
        inputs: JSONObject,
        attempt: int,
        values: Mapping[str, ListValue] | None = None,
        **more: object,
    ) -> None:
        held = execution.metadata
        self.values = values or {}
        self._revision = revision
        self._roots: dict[str, object] = {
            "inputs": inputs,
            "execution": {"name": held.name, "namespace": held.namespace, "uid": held.uid, "attempt": attempt},
            "workflow": {"name": revision.revision.workflow, "version": revision.revision.version},
            **more,
        }

    def with_roots(self, **more: object) -> Bindings:
        """The same with further roots."""
        made = copy.copy(self)
        made._roots = {**self._roots, **more}
        return made

    def of(self, names: frozenset[str], tasks: Mapping[str, TaskStatus], **more: object) -> dict[str, object]:
        """The bindings of an expression that refers to the tasks `names`; `more` are roots of its own."""
        bound = {
            name: {
                "output": output_of(tasks[name], self._revision.tasks.get(name)),
                "phase": tasks[name].phase,
                "error": error_of(tasks[name]),
            }
            for name in sorted(names)
        }
        return {**self._roots, "tasks": bound, **more}

    def are_forged(
        self, value: object, templates: Sequence[Template], tasks: Mapping[str, TaskStatus], within: object = None
    ) -> bool:
        """Whether a value made from templates holds references that nobody gave.

        That are the inputs, which hold some only where the operator gave them, the tasks to which the templates refer,
        and what is `within`.
        """
        held = list(find_references(value))
        if not held:
            return False
        given = {_spelled(found) for template in templates for found in self._given(template, tasks)}
        given.update(_spelled(found) for found in find_references(within))
        return any(_spelled(reference) not in given for reference in held)

    def are_live(self, items: Template, tasks: Mapping[str, TaskStatus]) -> bool:
        """Whether references in the items of a forEach are a part of a value that the operator has stored."""
        live = {name for name, found in self.values.items() if found.references}
        return bool(live) and any(found[REFERENCE_KEY] in live for found in self._given(items, tasks))

    def _given(self, template: Template, tasks: Mapping[str, TaskStatus]) -> Iterator[JSONObject]:
        yield from find_references(self._roots["inputs"])
        for name in sorted(template.tasks):
            yield from find_references(output_of(tasks[name], None))


def check_condition(
    task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus]
) -> Skip | CannotStart | None:
    """None where a task all of whose dependencies have ended as they must is to run."""
    condition = task.templates.when
    try:
        if condition is not None and not condition.test(bindings.of(condition.tasks, tasks)):
            return Skip(f"its condition is not true: {condition.text}"[:1024])
    except EvalError as error:
        return CannotStart("EvalError", str(error))
    return None


def items_of(task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus]) -> Sequence[object] | CannotStart:
    """The items of a forEach. Raises Unread where they lie in the artifact service and are not there yet."""
    each, held = task.spec.for_each, task.templates
    if each is None:
        raise TypeError(f"task {task.spec.name!r} is no forEach")
    template = held.items or held.count
    if template is None:
        return CannotStart("InvalidInput", "forEach has neither items nor a range")
    try:
        value = template.evaluate(bindings.of(template.tasks, tasks))
    except EvalError as error:
        return CannotStart("EvalError", str(error))
    if each.range is not None:
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= MAX_ITEMS:
            return CannotStart("InvalidInput", f"forEach.range.count is {_shown(value)}; it must be 0 to {MAX_ITEMS}")
        # Not a list of ten thousand numbers: the range itself.
        start, step = each.range.start, each.range.step
        return range(start, start + step * value, step) if step else [start] * value
    if is_reference(value):
        return _items_behind(value, template, bindings, tasks)
    if not isinstance(value, list):
        return CannotStart("InvalidInput", f"forEach.items is {_shown(value)}; it must be a list")
    if len(value) > MAX_ITEMS:
        return CannotStart("InvalidInput", f"forEach.items has {len(value)} items; at most {MAX_ITEMS} are taken")
    return value


def _items_behind(
    reference: object, template: Template, bindings: Bindings, tasks: Mapping[str, TaskStatus]
) -> Sequence[object] | CannotStart:
    if bindings.are_forged(reference, (template,), tasks):
        return CannotStart("InvalidInput", f"forEach.items: {_FORGED}")
    held = ArtifactRef.model_validate(reference)
    found = bindings.values.get(held.id)
    if found is None or found.waits is not None:
        raise Unread(held, found.waits if found is not None else None)
    if found.problem is not None:
        return CannotStart("InvalidInput", f"forEach.items: {found.problem}")
    return found.items


def build_input(
    task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus], **item: object
) -> Start | CannotStart:
    """The input of a task or of one `item` of it, checked."""
    value = evaluated_input(task, bindings, tasks, **item)
    if isinstance(value, CannotStart):
        return value
    template, items = task.templates.input, task.templates.items
    sources = (template,) if items is None else (template, items)
    within = item if items is not None and bindings.are_live(items, tasks) else None
    if bindings.are_forged(value, sources, tasks, within):
        return CannotStart("InvalidInput", f"the input: {_FORGED}")
    broken = _input_violations(task, value)
    if broken is not None:
        return CannotStart("InvalidInput", broken)
    return _split(value, INPUT_LIMIT if task.agent is not None else EXECUTION_INPUTS_LIMIT)


def evaluated_input(
    task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus], **item: object
) -> JSONObject | CannotStart:
    """The input of a task or of one `item` of it, with all values in it, unchecked."""
    template = task.templates.input
    try:
        value = template.evaluate(bindings.of(template.tasks, tasks, **item))
    except EvalError as error:
        return CannotStart("EvalError", str(error))
    return value if isinstance(value, dict) else CannotStart("InvalidInput", "the input is not an object")


def _split(value: JSONObject, limit: int) -> Start | CannotStart:
    """The input, its largest fields by reference where they have to be."""
    size = json_size(value)
    moved = fields_to_move(value, limit) if size > limit else ()
    if moved is None:
        what = f"the input has {size} bytes of JSON, and {limit} are the limit"
        text = "small fields do not go by reference: put them together into one object or list"
        return CannotStart("InvalidInput", f"{what}: {text}")
    large: dict[str, LargeField] = {}
    for name in moved:
        body = json.dumps(value[name], ensure_ascii=False, separators=(",", ":")).encode()
        if len(body) > VALUE_LIMIT:
            text = f"has {len(body)} bytes of JSON, and no more than {VALUE_LIMIT} go by reference"
            advice = "let the task that makes it return it, or a File, in a field of its own, and pass that on"
            return CannotStart("InvalidInput", f"{prefixed('input', f'{name}: {text}')}: {advice}")
        large[name] = LargeField(body, value_media_type(value[name]))
    return Start({name: held for name, held in value.items() if name not in large} if large else value, large)


def lock_names(
    task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus], **item: object
) -> tuple[str, ...] | CannotStart:
    """The names of the locks that an attempt needs."""
    names: list[str] = []
    for number, template in enumerate(task.templates.locks):
        try:
            value = template.evaluate(bindings.of(template.tasks, tasks, **item))
        except EvalError as error:
            return CannotStart("EvalError", str(error))
        if not isinstance(value, str | int) or isinstance(value, bool) or not 0 < len(str(value)) <= LOCK_NAME_MAX:
            return CannotStart("InvalidInput", f"locks[{number}].name is {_shown(value)}; it must be a short text")
        names.append(str(value))
    return tuple(names)


def _input_violations(task: CompiledTask, value: JSONObject) -> str | None:
    if task.capability is None or task.agent is None:
        return None  # the child Execution checks its own inputs
    broken = violations(task.capability.input_schema, value)
    if not broken:
        return None
    whose = f"the inputSchema of capability {task.capability.name!r} of Agent {task.agent.name!r}"
    fields = "; ".join(prefixed("input", text) for text in broken)
    return f"{fields}: this breaks {whose}"


def _shown(value: object) -> str:
    return shorten(json.dumps(value, ensure_ascii=False), 100)


def _spelled(reference: JSONObject) -> str:
    return json.dumps(reference, sort_keys=True)


def prefixed(field: str, violation: str) -> str:
    """A violation's text with the field that holds the value: inputs.records[3].age: …"""
    if not _FIELD.match(violation):
        return f"{field}: {violation}"
    return f"{field}{violation}" if violation.startswith("[") else f"{field}.{violation}"
