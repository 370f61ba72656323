"""What an object itself proves wrong, in words that name the field and say what to do.

What depends on other objects (an agent, a service account that the namespace allows) is no problem here but a
condition: it may be right tomorrow.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from ossa.api.agent import HANDLER, AgentSpec, Runtime
from ossa.api.artifact import REFERENCE_KEY
from ossa.api.base import DNS_LABEL, DNS_SUBDOMAIN, DURATION, JSONObject
from ossa.api.execution import ExecutionSpec
from ossa.api.paths import joined_path
from ossa.api.podtemplate import pod_template_problems
from ossa.api.schema import schema_problems

Spec = TypeVar("Spec", bound=BaseModel)

# Bytes of JSON. An Execution carries its inputs twice (as given, and with defaults filled in) and stays below
# 100 KiB; a Workflow shares a ControllerRevision with its agents, and etcd takes 1.5 MiB.
EXECUTION_INPUTS_LIMIT = 24 * 1024
# Of a workflow that is written in an Execution, and of its inputs, together.
EXECUTION_SPEC_LIMIT = 32 * 1024
# Fields of an Execution's spec that may change while it runs.
EXECUTION_STEERED = frozenset({"suspend", "cancel", "priority", "ttlSecondsAfterFinished"})
AGENT_LIMIT = 64 * 1024
WORKFLOW_LIMIT = 256 * 1024

_PATTERNS = {
    DNS_LABEL: "must be lower case letters, digits and '-', and begin and end with a letter or digit",
    DNS_SUBDOMAIN: "must be lower case letters, digits, '-' or '.', and begin and end with a letter or digit",
    DURATION: "must be a duration such as 30s, 5m or 1h30m",
    HANDLER: "must be module:function, e.g. rules:run",
}
_TYPES = {
    "string_type": "must be text; put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "int_type": "must be a whole number",
    "int_parsing": "must be a whole number",
    "list_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "missing": "is required; add it",
    "extra_forbidden": "is not a field that is known here; remove it",
}
# Fields of a Workflow that one in an Execution does not have.
_NOT_INLINE = frozenset({("workflowSpec", "triggers"), ("workflowSpec", "published")})
_OF_WORKFLOWS_ALONE = "is a field of Workflows alone: this one runs once, at once; remove it, or make a Workflow of it"


class InvalidSpecError(ValueError):
    """A spec that is not of its model; `problems` has one text a field."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def parse_spec(model: type[Spec], value: object) -> Spec:
    """A spec as its model. Raises `InvalidSpecError` with all that is wrong, one text a field."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        details = error.errors(include_url=False)
        raise InvalidSpecError(list(dict.fromkeys(map(_described, details)))) from error


def agent_problems(spec: AgentSpec) -> list[str]:
    """What is wrong with an Agent beyond the shape of its fields; empty where nothing is."""
    return [
        *_size_problem(spec, limit=AGENT_LIMIT),
        *_repeated([c.name for c in spec.capabilities], "spec.capabilities"),
        *_capability_problems(spec),
        *_runtime_problems(spec.runtime),
    ]


def workflow_size_problems(spec: BaseModel) -> list[str]:
    """Whether a Workflow is too large to be kept in a revision."""
    return list(_size_problem(spec, limit=WORKFLOW_LIMIT))


def execution_problems(spec: ExecutionSpec, *, references: bool = False) -> list[str]:
    """What is wrong with an Execution beyond the shape of its fields; empty where nothing is.

    references: whether its inputs may refer to artifacts: the operator makes it, for a task of another one.
    """
    problems = inputs_problems(spec.inputs, "spec.inputs", references=references)
    problems += _workflow_choice_problems(spec)
    if spec.retry_of is not None and spec.inputs:
        problems.append("spec.inputs: with retryOf they are those of the Execution that is resumed; leave them out")
    return problems


def _workflow_choice_problems(spec: ExecutionSpec) -> Iterator[str]:
    if (spec.workflow is None) == (spec.workflow_spec is None):
        yield ("spec: set exactly one of workflow (the name of a Workflow) and workflowSpec (a workflow written here)")
    if spec.workflow_spec is not None:
        size = _json_size(spec.workflow_spec.to_json()) + _json_size(spec.inputs)
        if size > EXECUTION_SPEC_LIMIT:
            yield (
                f"spec.workflowSpec: it and the inputs are {size} bytes of JSON, and at most {EXECUTION_SPEC_LIMIT} "
                "are taken; make a Workflow of it, and name that in spec.workflow"
            )


def inputs_problems(inputs: JSONObject, where: str, *, references: bool = False) -> list[str]:
    """What is wrong with the inputs of an Execution, which stand at `where`, whatever it runs."""
    problems = [
        f"{joined_path(path, where)}: an artifact may not come in from outside "
        f"({REFERENCE_KEY!r} is written by tasks alone); pass the value itself, or where it lies"
        for path in (() if references else _reference_paths(inputs))
    ]
    size = _json_size(inputs)
    if size > EXECUTION_INPUTS_LIMIT:
        problems.append(
            f"{where}: is {size} bytes of JSON, and at most {EXECUTION_INPUTS_LIMIT} are taken; "
            "pass where the data lies, and let the first task fetch it"
        )
    return problems


def unchanged_problems(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """An Execution's spec is what was asked for: it never changes, but for what steers the run."""
    problems = [
        f"spec.{name}: an Execution may not be changed; create another one"
        for name in sorted({*old, *new} - EXECUTION_STEERED)
        if old.get(name) != new.get(name)
    ]
    if old.get("cancel") and not new.get("cancel"):
        problems.append("spec.cancel: a cancelled Execution stays cancelled; create another one")
    return problems


def _capability_problems(spec: AgentSpec) -> Iterator[str]:
    for number, capability in enumerate(spec.capabilities):
        where = f"spec.capabilities[{number}]"
        for field, schema in (
            ("inputSchema", capability.input_schema),
            ("outputSchema", capability.output_schema),
        ):
            if schema is not None:
                yield from schema_problems(schema, f"{where}.{field}")


def _runtime_problems(runtime: Runtime) -> Iterator[str]:
    if (runtime.handler is None) == (runtime.container is None):
        yield ("spec.runtime: set exactly one of handler (module:function) and container (an image of your own)")
    if runtime.image is not None and runtime.handler is None:
        yield "spec.runtime.image: is the worker image of a handler; set spec.runtime.container.image instead"
    if runtime.pod_template is not None:
        yield from pod_template_problems(runtime.pod_template, "spec.runtime.podTemplate")


def _repeated(names: list[str], where: str) -> Iterator[str]:
    for number, name in enumerate(names):
        if name in names[:number]:
            yield f"{where}[{number}].name: '{name}' is there already; give each its own name"


def _json_size(value: object) -> int:
    return len(json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode())


def _size_problem(spec: BaseModel, *, limit: int) -> Iterator[str]:
    size = _json_size(spec.model_dump(by_alias=True, exclude_none=True, mode="json"))
    if size > limit:
        yield f"spec: is {size} bytes of JSON, and at most {limit} are taken; shorten schemas or inputs"


def _reference_paths(value: object) -> Iterator[tuple[str | int, ...]]:
    """Where objects claim to be a reference to an artifact, at any depth."""
    waiting: list[tuple[tuple[str | int, ...], object]] = [((), value)]
    while waiting:
        path, part = waiting.pop()
        if isinstance(part, dict):
            if REFERENCE_KEY in part:
                yield path
            waiting += [((*path, str(key)), item) for key, item in part.items()]
        elif isinstance(part, list):
            waiting += [((*path, index), item) for index, item in enumerate(part)]


def _described(error: ErrorDetails) -> str:
    location = list(error["loc"])
    if location and location[-1] in ("int", "str"):  # which member of a union it was tried as
        return f"{joined_path(['spec', *location[:-1]])}: must be a whole number, or text such as 500m or 256Mi"
    told = _OF_WORKFLOWS_ALONE if tuple(location) in _NOT_INLINE else _message(error)
    return f"{joined_path(['spec', *location])}: {told}"


def _message(error: ErrorDetails) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind in _TYPES:
        return _TYPES[kind]
    if kind == "literal_error":
        return _choice(str(context["expected"]), error["input"])
    if kind == "string_pattern_mismatch":
        wanted = _PATTERNS.get(str(context["pattern"]), f"must match {context['pattern']}")
        return f"{wanted}, not {_shown(error['input'])}"
    if kind == "string_too_long":
        return f"is {len(str(error['input']))} characters long, and at most {context['max_length']} are taken"
    if kind == "string_too_short":
        return f"must be at least {context['min_length']} characters long"
    if kind == "too_long":
        return f"has {context['actual_length']} items, and at most {context['max_length']} are taken"
    if kind == "too_short":
        return f"must have at least {context['min_length']} item"
    return error["msg"]


def _choice(expected: str, given: object) -> str:
    known = [name.strip(" '") for name in expected.replace(" or ", ",").split(",")]
    near = difflib.get_close_matches(str(given), known, n=1)
    hint = f"; did you mean '{near[0]}'?" if near else ""
    return f"must be one of {', '.join(known)}, not {_shown(given)}{hint}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:79]}…"
