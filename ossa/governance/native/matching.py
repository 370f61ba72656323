"""What a policy is asked about, in the words of the API server."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from ossa.api.base import JSONObject
from ossa.api.labels import LabelRequirement, LabelSelector
from ossa.api.policy import DEFAULT_OPERATIONS, AgentPolicySpec, Exclude, Operation
from ossa.governance.native.cel import all_of, in_order, text_of
from ossa.governance.policies import CompiledPolicy, sees_metadata

NAMESPACE_NAME = "kubernetes.io/metadata.name"
_REQUESTS: tuple[Operation, ...] = ("CREATE", "UPDATE")

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


def operations(spec: AgentPolicySpec) -> list[Operation]:
    """What is done to an object as the policy looks at it."""
    return [one for one in _REQUESTS if one in (spec.match.operations or DEFAULT_OPERATIONS)]


def namespaces(spec: AgentPolicySpec, excluded: Sequence[str]) -> JSONObject:
    """A label selector. Every namespace carries its own name as a label, which nobody can change."""
    match = spec.match
    selector = (match.namespace_selector or LabelSelector()).to_json()
    expressions = list(selector.get("matchExpressions", []))
    if match.namespaces:
        expressions.append({"key": NAMESPACE_NAME, "operator": "In", "values": list(match.namespaces)})
    if excluded:
        expressions.append({"key": NAMESPACE_NAME, "operator": "NotIn", "values": list(excluded)})
    return {"matchLabels": selector.get("matchLabels", {}), "matchExpressions": expressions}


def conditions(policy: CompiledPolicy) -> Iterator[JSONObject]:
    """Those of the selection first: they always have a value."""
    spec = policy.spec
    yield {"name": "not-deleted", "expression": "!has(object.metadata.deletionTimestamp)"}
    yield {"name": "changed", "expression": _SEEN if sees_metadata(policy) else _SPEC_CHANGED}
    if "Execution" in spec.match.kinds and "UPDATE" not in spec.match.operations:
        yield {"name": "no-stop", "expression": _NO_STOP}
    if spec.match.object_selector is not None:
        # Not the API server's own selector, which is met where the old object had the labels.
        yield {"name": "selected", "expression": all_of(_labels(spec.match.object_selector))}
    if spec.exclude is not None and any(spec.exclude.to_json().values()):
        yield {"name": "not-excluded", "expression": f"!({all_of(_excluded(spec.exclude))})"}
    if policy.conditions:
        yield {"name": "conditions", "expression": in_order([program for _, program in policy.conditions])}


def emergencies(spec: AgentPolicySpec, groups: Sequence[str]) -> Iterator[JSONObject]:
    """What lets a change of one of these groups pass."""
    if groups and spec.action == "Enforce":
        among = f"request.userInfo.groups.exists(g, g in {text_of(sorted(groups))})"
        yield {"name": "no-emergency", "expression": f"!(has(request.userInfo.groups) && {among})"}


def _excluded(exclude: Exclude) -> Iterator[str]:
    if exclude.kinds:
        yield f"request.kind.kind in {text_of(exclude.kinds)}"
    if exclude.operations:
        yield f"request.operation in {text_of(exclude.operations)}"
    if exclude.namespaces:
        yield f"request.namespace in {text_of(exclude.namespaces)}"
    if exclude.object_selector is not None:
        yield from _labels(exclude.object_selector)


def _labels(selector: LabelSelector) -> Iterator[str]:
    """One expression a requirement; `true` where there are none."""
    equal = [LabelRequirement(key=k, operator="In", values=[v]) for k, v in selector.match_labels.items()]
    for held in (*equal, *selector.match_expressions):
        key = text_of(held.key)
        there = f"has(object.metadata.labels) && {key} in object.metadata.labels"
        among = f"({there} && object.metadata.labels[{key}] in {text_of(held.values)})"
        match held.operator:
            case "In":
                yield among
            case "NotIn":
                yield f"!{among}"
            case "Exists":
                yield f"({there})"
            case "DoesNotExist":
                yield f"!({there})"
