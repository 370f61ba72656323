"""A policy as a ValidatingAdmissionPolicy, which the API server holds with the operator down.

Possible where both dialects of CEL say the same: for rules, conditions and variables that read `object` and
`variables` alone, with what ossa.governance.common lets through. Two limits differ: the operator gives up a rule that
loops over more than 1,000 items, the API server one that costs too much. Each of the two enforces such a policy, so
that a refusal of either holds.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION, GROUP, LABEL_MANAGED_BY, MANAGED_BY, VERSION
from ossa.api.labels import LabelRequirement, LabelSelector
from ossa.api.policy import DEFAULT_OPERATIONS, AgentPolicySpec, Exclude, JudgedKind, Operation
from ossa.engine.programs import Program
from ossa.engine.values import shorten
from ossa.governance.common import (
    ROOTS,
    Scope,
    differences,
    is_bool,
    is_text,
    may_leave_out,
    object_shape,
    tree_of,
    with_variables,
)
from ossa.governance.policies import CompiledPolicy, CompiledRule, sees_metadata

NAME_PREFIX = "ossa-policy-"
LABEL_POLICY = "ossa.dev/policy"
NAMESPACE_NAME = "kubernetes.io/metadata.name"
_NAME_MOST, _LABEL_MOST = 253, 63
_MESSAGE_MOST = 1024
_PLURALS: dict[JudgedKind, str] = {"Agent": "agents", "Workflow": "workflows", "Execution": "executions"}
_REQUESTS: tuple[Operation, ...] = ("CREATE", "UPDATE")
# What is denied is told in the API server's audit log, since it comes by no webhook.
_ACTIONS = {"Enforce": ["Deny", "Audit"], "Warn": ["Warn"], "Audit": ["Audit"]}

# What the webhook asks policies about of a change: one of the spec; one of labels or annotations where a policy reads
# these; the stopping of an Execution never, unless a policy names UPDATE.
_LABELS, _ANNOTATIONS = (
    f"((has(object.metadata.{field}) ? object.metadata.{field} : {{}}) != "
    f"(has(oldObject.metadata.{field}) ? oldObject.metadata.{field} : {{}}))"
    for field in ("labels", "annotations")
)
_SPEC_CHANGED = "request.operation != 'UPDATE' || object.spec != oldObject.spec"
_SEEN = f"{_SPEC_CHANGED} || {_LABELS} || {_ANNOTATIONS}"
_NO_STOP = (
    f"request.operation != 'UPDATE' || request.kind.kind != 'Execution' || {_LABELS} || {_ANNOTATIONS} || "
    "!(object.spec.all(k, (k in oldObject.spec && oldObject.spec[k] == object.spec[k]) || "
    "(k in ['cancel', 'suspend'] && object.spec[k] == true)) && "
    "oldObject.spec.all(k, k in object.spec || (k in ['cancel', 'suspend'] && oldObject.spec[k] == false)))"
)


@dataclass(frozen=True, slots=True)
class Native:
    """Both objects, as they are applied."""

    policy: JSONObject
    binding: JSONObject


@dataclass(frozen=True, slots=True)
class NotNative:
    """Why the API server cannot hold a policy, for a person."""

    reason: str


def native_name(policy: str) -> str:
    """Name of the ValidatingAdmissionPolicy of a policy, and of its binding."""
    return NAME_PREFIX + policy


def native_of(
    policy: CompiledPolicy, *, excluded_namespaces: Sequence[str] = (), break_glass: Sequence[str] = ()
) -> Native | NotNative:
    """What the API server can hold of a policy: all of it, or nothing.

    excluded_namespaces: those that no policy looks at, by name.
    break_glass: groups whose members no policy refuses.
    """
    reason = next(_reasons(policy), None)
    if reason is not None:
        return NotNative(reason)
    name, spec = native_name(policy.name), policy.spec
    wanted: JSONObject = {
        "failurePolicy": spec.failure_policy,
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": _namespaces(spec, excluded_namespaces),
            "resourceRules": [
                {
                    "apiGroups": [GROUP],
                    "apiVersions": [VERSION],
                    "resources": [_PLURALS[kind] for kind in sorted(spec.match.kinds)],
                    "operations": _operations(spec),
                    "scope": "Namespaced",
                }
            ],
        },
        "matchConditions": [*_conditions(policy), *_emergencies(spec, break_glass)],
        "variables": [
            {"name": name, "expression": _guarded(program, program.text, otherwise="dyn(null)")}
            for name, program in policy.variables.items()
        ],
        "validations": [_validation(policy, rule) for rule in policy.rules],
    }
    bound: JSONObject = {"policyName": name, "validationActions": _ACTIONS[spec.action]}
    return Native(
        _object("ValidatingAdmissionPolicy", policy, wanted),
        _object("ValidatingAdmissionPolicyBinding", policy, bound),
    )


def _object(kind: str, policy: CompiledPolicy, spec: JSONObject) -> JSONObject:
    owner = {"apiVersion": API_VERSION, "kind": "AgentPolicy", "name": policy.name, "uid": policy.uid}
    return {
        "apiVersion": "admissionregistration.k8s.io/v1",
        "kind": kind,
        "metadata": {
            "name": native_name(policy.name),
            "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_POLICY: policy.name[:_LABEL_MOST].rstrip("-.")},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": spec,
    }


def _reasons(policy: CompiledPolicy) -> Iterator[str]:
    """Why not, in the order of the fields."""
    spec = policy.spec
    if len(native_name(policy.name)) > _NAME_MOST:
        yield f"metadata.name: is longer than {_NAME_MOST - len(NAME_PREFIX)} characters"
    if policy.problems:
        yield f"it cannot be judged by: {policy.problems[0]}"
    elif not policy.rules:
        yield "spec.rules: there are none that the API server could hold"
    yield from _selection_reasons(spec)
    if spec.params is not None:
        yield "spec.params: the API server does not read them"
    if spec.exceptions is not None:
        yield "spec.exceptions: the API server does not know of exceptions"
    scopes = [] if "Task" in spec.match.kinds else _scopes(policy)
    for number, (_, program) in enumerate(policy.conditions):
        where = f"spec.matchConditions[{number}].expression"
        yield from _expression_reasons(program, where, scopes)
        if any(path[0] == "variables" for path in program.references.paths):
            yield f"{where}: reads `variables`, which the API server's own conditions do not know"
    for number, program in enumerate(policy.variables.values()):
        yield from _expression_reasons(program, f"spec.variables[{number}].expression", scopes)
    for number, rule in enumerate(policy.rules):
        yield from _expression_reasons(rule.program, f"spec.rules[{number}].expression", scopes)


def _scopes(policy: CompiledPolicy) -> list[Scope]:
    """What is known of the roots, for each kind."""
    kinds = sorted(policy.spec.match.kinds)
    return [with_variables({"object": object_shape(kind)}, policy.variables) for kind in kinds]


def _selection_reasons(spec: AgentPolicySpec) -> Iterator[str]:
    match, exclude = spec.match, spec.exclude or Exclude()
    if "Task" in match.kinds:
        yield "spec.match.kinds: a Task is no object that the API server could look at"
    if not _operations(spec):
        yield "spec.match.operations: neither CREATE nor UPDATE is among them"
    for path, held in (("spec.match", match), ("spec.exclude", exclude)):
        if held.users or held.groups:
            yield f"{path}: users and groups are the operator's to look at, which knows the author behind a delegate"
        if any("*" in name for name in held.namespaces):
            yield f"{path}.namespaces: the API server does not know `*`; use a namespaceSelector or whole names"
    if exclude.namespace_selector is not None:
        yield "spec.exclude.namespaceSelector: the API server selects namespaces alone, it does not leave any out"


def _expression_reasons(program: Program, path: str, scopes: Sequence[Scope]) -> Iterator[str]:
    others = sorted({str(read[0]) for read in program.references.paths} - ROOTS)
    if others:
        yield f"{path}: reads `{others[0]}`; the API server is given `object` and `variables` alone"
        return
    if any(path == ("variables",) for path in program.references.paths):
        yield f"{path}: reads `variables` as a whole, which the API server does not have"
    found = next((one for scope in scopes for one in differences(tree_of(program), scope)), None)
    if found is not None:
        yield f"{path}: uses {found}, which the API server does not have, or takes differently"


def _operations(spec: AgentPolicySpec) -> list[Operation]:
    return [one for one in _REQUESTS if one in (spec.match.operations or DEFAULT_OPERATIONS)]


def _namespaces(spec: AgentPolicySpec, excluded: Sequence[str]) -> JSONObject:
    """A label selector. Every namespace carries its own name as a label, which nobody can change."""
    match = spec.match
    selector = (match.namespace_selector or LabelSelector()).to_json()
    expressions = list(selector.get("matchExpressions", []))
    if match.namespaces:
        expressions.append({"key": NAMESPACE_NAME, "operator": "In", "values": list(match.namespaces)})
    if excluded:
        expressions.append({"key": NAMESPACE_NAME, "operator": "NotIn", "values": list(excluded)})
    return {"matchLabels": selector.get("matchLabels", {}), "matchExpressions": expressions}


def _conditions(policy: CompiledPolicy) -> Iterator[JSONObject]:
    """Those of the selection first: they always have a value."""
    spec = policy.spec
    yield {"name": "not-deleted", "expression": "!has(object.metadata.deletionTimestamp)"}
    yield {"name": "changed", "expression": _SEEN if sees_metadata(policy) else _SPEC_CHANGED}
    if "Execution" in spec.match.kinds and "UPDATE" not in spec.match.operations:
        yield {"name": "no-stop", "expression": _NO_STOP}
    if spec.match.object_selector is not None:
        # Not the API server's own selector, which is met where the old object had the labels.
        yield {"name": "selected", "expression": _both(_labels(spec.match.object_selector))}
    if spec.exclude is not None and any(spec.exclude.to_json().values()):
        yield {"name": "not-excluded", "expression": f"!({_both(_excluded(spec.exclude))})"}
    if policy.conditions:
        yield {"name": "conditions", "expression": _in_order([program for _, program in policy.conditions])}


def _emergencies(spec: AgentPolicySpec, groups: Sequence[str]) -> Iterator[JSONObject]:
    if groups and spec.action == "Enforce":
        among = f"request.userInfo.groups.exists(g, g in {_text(sorted(groups))})"
        yield {"name": "no-emergency", "expression": f"!(has(request.userInfo.groups) && {among})"}


def _in_order(programs: Sequence[Program]) -> str:
    """A condition after one that is false is not asked: the API server would take one without a value for an error."""
    text = f"({_closed(programs[-1])}) ? true : false" if len(programs) > 1 else _as_bool(programs[-1])
    for program in reversed(programs[:-1]):
        text = f"({_closed(program)}) ? ({text}) : false"
    return text


def _excluded(exclude: Exclude) -> Iterator[str]:
    if exclude.kinds:
        yield f"request.kind.kind in {_text(exclude.kinds)}"
    if exclude.operations:
        yield f"request.operation in {_text(exclude.operations)}"
    if exclude.namespaces:
        yield f"request.namespace in {_text(exclude.namespaces)}"
    if exclude.object_selector is not None:
        yield from _labels(exclude.object_selector)


def _labels(selector: LabelSelector) -> Iterator[str]:
    """One expression a requirement; `true` where there are none."""
    equal = [LabelRequirement(key=k, operator="In", values=[v]) for k, v in selector.match_labels.items()]
    for held in (*equal, *selector.match_expressions):
        key = _text(held.key)
        there = f"has(object.metadata.labels) && {key} in object.metadata.labels"
        among = f"({there} && object.metadata.labels[{key}] in {_text(held.values)})"
        match held.operator:
            case "In":
                yield among
            case "NotIn":
                yield f"!{among}"
            case "Exists":
                yield f"({there})"
            case "DoesNotExist":
                yield f"!({there})"


def _both(parts: Iterable[str]) -> str:
    return " && ".join(parts) or "true"


def _text(value: str | Sequence[str]) -> str:
    """A literal of CEL: texts are escaped as in JSON."""
    return json.dumps(value, ensure_ascii=False)


def _validation(policy: CompiledPolicy, rule: CompiledRule) -> JSONObject:
    # In the words of the webhook.
    prefix = f"policy {policy.name!r}: "
    said = rule.message or f"the rule {rule.label!r} is not met: {rule.program.text}"
    # The API server takes no line breaks here.
    held: JSONObject = {
        "expression": _guarded(rule.program, _as_bool(rule.program), otherwise="false"),
        "message": shorten(prefix + " ".join(said.split()), _MESSAGE_MOST),
        "reason": "Forbidden",
    }
    says = rule.message_program
    if says is not None and all(is_text(says, scope) for scope in _scopes(policy)):
        held["messageExpression"] = f"{_text(prefix)} + ({_closed(says)})"
    return held


def _as_bool(program: Program) -> str:
    """The expression, so that the API server sees that it is true or false; another value stays an error."""
    return program.text if is_bool(tree_of(program)) else f"({_closed(program)}) ? true : false"


def _guarded(program: Program, text: str, *, otherwise: str) -> str:
    """An expression whose variables must all have a value, as for the operator; else `false && variables.a` has one."""
    names = sorted({str(path[1]) for path in program.references.paths if path[0] == "variables" and len(path) > 1})
    if not names or not may_leave_out(tree_of(program)):
        return text
    values = " && ".join(f"variables.{name} == variables.{name}" for name in names)
    end = "\n" if "//" in text else ""
    return f"({values}) ? ({text}{end}) : {otherwise}"


def _closed(program: Program) -> str:
    """Ends a comment, which would go on over what follows. Not without need: warnings hold no line breaks."""
    return f"{program.text}\n" if "//" in program.text else program.text
