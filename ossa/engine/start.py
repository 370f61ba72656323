"""Whether a task starts, and with which input."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from ossa.api.artifact import find_references
from ossa.api.base import JSONObject
from ossa.api.contract import INPUT_LIMIT
from ossa.api.execution import Execution, Reason, TaskStatus
from ossa.api.schema import violations
from ossa.engine.expressions import EvalError, Template
from ossa.engine.revision import CompiledRevision, CompiledTask

# A field at the start of a violation's text: records[3].age, ['a b'].c
_FIELD = re.compile(r"^(?:[A-Za-z_$][\w$-]*|\[(?:\d+|'[^']*')\])(?:\.[\w$-]+|\[(?:\d+|'[^']*')\])*: ")


@dataclass(frozen=True, slots=True)
class Start:
    """It can start, with this input."""

    input: JSONObject


@dataclass(frozen=True, slots=True)
class Skip:
    """It will not run, and that is no failure."""

    message: str


@dataclass(frozen=True, slots=True)
class CannotStart:
    """It failed before it had a pod."""

    reason: Reason
    message: str


class Bindings:
    """What the expressions of one Execution see. Only the tasks that an expression refers to are bound."""

    def __init__(self, execution: Execution, revision: CompiledRevision, inputs: JSONObject) -> None:
        held = execution.metadata
        self._roots: dict[str, object] = {
            "inputs": inputs,
            "execution": {
                "name": held.name,
                "namespace": held.namespace,
                "uid": held.uid,
                "attempt": execution.status.attempt,
            },
            "workflow": {"name": revision.revision.workflow, "version": revision.revision.version},
        }

    def of(self, names: frozenset[str], tasks: Mapping[str, TaskStatus]) -> dict[str, object]:
        """The bindings of an expression that refers to the tasks `names`."""
        bound = {name: {"output": tasks[name].output or {}, "phase": tasks[name].phase} for name in sorted(names)}
        return {**self._roots, "tasks": bound}


def prepare(task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus]) -> Start | Skip | CannotStart:
    """What becomes of a task all of whose dependencies are Completed."""
    condition = task.templates.when
    try:
        if condition is not None and not condition.test(bindings.of(condition.tasks, tasks)):
            return Skip(f"its condition is not true: {condition.text}"[:1024])
    except EvalError as error:
        return CannotStart("EvalError", str(error))
    return build_input(task, bindings, tasks)


def build_input(task: CompiledTask, bindings: Bindings, tasks: Mapping[str, TaskStatus]) -> Start | CannotStart:
    """The input of a task, checked."""
    template = task.templates.input
    try:
        value = template.evaluate(bindings.of(template.tasks, tasks))
    except EvalError as error:
        return CannotStart("EvalError", str(error))
    if not isinstance(value, dict):
        return CannotStart("InvalidInput", "the input is not an object")
    if forged_references(value, template, tasks):
        return CannotStart(
            "InvalidInput",
            "the input holds an artifact reference that no task of this Execution gave; "
            "pass artifacts on with ${{ tasks.NAME.output.FIELD }}",
        )
    broken = violations(task.capability.input_schema, value)
    if broken:
        whose = f"the inputSchema of capability {task.capability.name!r} of Agent {task.agent.name!r}"
        fields = "; ".join(prefixed("input", text) for text in broken)
        return CannotStart("InvalidInput", f"{fields}: this breaks {whose}")
    size = len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())
    if size > INPUT_LIMIT:
        return CannotStart(
            "InvalidInput",
            f"the input has {size} bytes of JSON, and {INPUT_LIMIT} are the limit: pass large values as "
            "artifacts, that is as fields of a task's output, which the SDK uploads by itself",
        )
    return Start(value)


def forged_references(value: object, template: Template, tasks: Mapping[str, TaskStatus]) -> bool:
    """Whether a value made from a template holds references that no task to which it refers gave."""
    held = list(find_references(value))
    if not held:
        return False
    given = [found for name in template.tasks for found in find_references(tasks[name].output)]
    return any(reference not in given for reference in held)


def prefixed(field: str, violation: str) -> str:
    """A violation's text with the field that holds the value: inputs.records[3].age: …"""
    if not _FIELD.match(violation):
        return f"{field}: {violation}"
    return f"{field}{violation}" if violation.startswith("[") else f"{field}.{violation}"
