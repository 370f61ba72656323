"""What a policy does, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from ossa.api.labels import LabelSelector
from ossa.api.policy import DEFAULT_OPERATIONS, Action, AgentPolicySpec, FailurePolicy, Operation, Selection

WHEN: Mapping[Operation, str] = {
    "CREATE": "when it is created",
    "UPDATE": "when it is changed",
    "START": "when it starts",
    "END": "when it ends",
}
ACTIONS: Mapping[Action, str] = {
    "Enforce": "Enforce: what does not keep to it is refused; a task that does not fails with PolicyDenied",
    "Warn": "Warn: it passes, and who applies it is told",
    "Audit": "Audit: it passes, and is recorded",
}
FAILURES: Mapping[FailurePolicy, str] = {
    "Fail": "Fail: where a rule has no value, the action is taken",
    "Ignore": "Ignore: where a rule has no value, it passes",
}


def explained(spec: AgentPolicySpec) -> list[tuple[str, list[str]]]:
    """Headings, each with its lines. Texts are the policy's own: whoever prints them has to make them harmless."""
    parts: list[tuple[str, list[str]]] = [
        ("for", [spec.description] if spec.description else []),
        ("judges", [f"{', '.join(spec.match.kinds)}: {_when(spec)}", *_selected(spec.match)]),
        ("but not", _excluded(spec)),
        ("only where", [f"{held.name}: {held.expression}" for held in spec.match_conditions]),
        ("with", [f"variables.{held.name} = {held.expression}" for held in spec.variables]),
        ("params", [f"the data of ConfigMap {spec.params.namespace}/{spec.params.name}"] if spec.params else []),
        ("must be true", list(_rules(spec))),
        ("action", [ACTIONS[spec.action]]),
        ("failure", [FAILURES[spec.failure_policy]]),
        ("severity", [spec.severity]),
        ("defaults", _defaults(spec)),
        ("exceptions", [_exceptions(spec)]),
        ("controls", [f"{held.framework} {held.id}" for held in spec.controls]),
        ("governor", [f"Agent {spec.governor.namespace}/{spec.governor.name}"] if spec.governor else []),
    ]
    return [(heading, lines) for heading, lines in parts if lines]


def selector_text(selector: LabelSelector) -> str:
    """As kubectl takes it: tier=prod, team in (a, b), !legacy."""
    parts = [f"{key}={value}" for key, value in selector.match_labels.items()]
    for held in selector.match_expressions:
        values = ", ".join(held.values)
        parts.append(
            {
                "In": f"{held.key} in ({values})",
                "NotIn": f"{held.key} notin ({values})",
                "Exists": held.key,
                "DoesNotExist": f"!{held.key}",
            }[held.operator]
        )
    return ", ".join(parts) or "anything"


def _when(spec: AgentPolicySpec) -> str:
    """The operations that the kinds know."""
    run = {"Execution", "Task"} & set(spec.match.kinds)
    asked = {"Agent", "Workflow", "Execution"} & set(spec.match.kinds)
    held = spec.match.operations or DEFAULT_OPERATIONS
    return ", ".join(WHEN[one] for one in held if (run if one in ("START", "END") else asked))


def _selected(held: Selection) -> Iterator[str]:
    """What is set but the kinds and the operations."""
    if held.namespaces:
        yield f"in the namespaces {', '.join(held.namespaces)}"
    if held.namespace_selector is not None:
        yield f"in namespaces with the labels {selector_text(held.namespace_selector)}"
    if held.object_selector is not None:
        yield f"with the labels {selector_text(held.object_selector)}"
    if held.users:
        yield f"asked for by {', '.join(held.users)}"
    if held.groups:
        yield f"asked for by a member of {', '.join(held.groups)}"


def _excluded(spec: AgentPolicySpec) -> list[str]:
    if spec.exclude is None:
        return []
    lines = [", ".join(spec.exclude.kinds)] if spec.exclude.kinds else []
    if spec.exclude.operations:
        lines.append(", ".join(WHEN[one] for one in spec.exclude.operations))
    return [*lines, *_selected(spec.exclude)]


def _rules(spec: AgentPolicySpec) -> Iterator[str]:
    for number, rule in enumerate(spec.rules):
        yield f"{rule.name or f'rules[{number}]'}: {rule.expression}"
        if rule.message:
            yield f"  else: {rule.message}"


def _defaults(spec: AgentPolicySpec) -> list[str]:
    if spec.defaults is None:
        return []
    return [f"{name}: {value}" for name, value in spec.defaults.to_json().items()]


def _exceptions(spec: AgentPolicySpec) -> str:
    if spec.exceptions is None:
        return "none are honoured"
    person = ", once a second person has confirmed it" if spec.exceptions.second_person else ""
    return f"honoured for at most {spec.exceptions.max_duration}{person}"
