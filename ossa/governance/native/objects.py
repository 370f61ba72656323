"""The two objects that the API server holds a policy by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION, GROUP, LABEL_MANAGED_BY, MANAGED_BY, VERSION
from ossa.api.policy import JudgedKind
from ossa.engine.values import shorten
from ossa.governance.common import is_text
from ossa.governance.native.cel import as_bool, closed, guarded, text_of
from ossa.governance.native.matching import conditions, emergencies, namespaces, operations
from ossa.governance.native.names import LABEL_POLICY, native_name
from ossa.governance.native.reasons import reasons, scopes_of
from ossa.governance.policies import CompiledPolicy, CompiledRule

_LABEL_MOST = 63
_MESSAGE_MOST = 1024
_PLURALS: dict[JudgedKind, str] = {"Agent": "agents", "Workflow": "workflows", "Execution": "executions"}
# What is denied is told in the API server's audit log, since it comes by no webhook.
_ACTIONS = {"Enforce": ["Deny", "Audit"], "Warn": ["Warn"], "Audit": ["Audit"]}


@dataclass(frozen=True, slots=True)
class Native:
    """Both objects, as they are applied."""

    policy: JSONObject
    binding: JSONObject


@dataclass(frozen=True, slots=True)
class NotNative:
    """Why the API server cannot hold a policy, for a person."""

    reason: str


def native_of(
    policy: CompiledPolicy, *, excluded_namespaces: Sequence[str] = (), break_glass: Sequence[str] = ()
) -> Native | NotNative:
    """What the API server can hold of a policy: all of it, or nothing.

    excluded_namespaces: those that no policy looks at, by name.
    break_glass: groups whose members no policy refuses.
    """
    reason = next(reasons(policy), None)
    if reason is not None:
        return NotNative(reason)
    name, spec = native_name(policy.name), policy.spec
    wanted: JSONObject = {
        "failurePolicy": spec.failure_policy,
        "matchConstraints": {
            "matchPolicy": "Equivalent",
            "namespaceSelector": namespaces(spec, excluded_namespaces),
            "resourceRules": [
                {
                    "apiGroups": [GROUP],
                    "apiVersions": [VERSION],
                    "resources": [_PLURALS[kind] for kind in sorted(spec.match.kinds)],
                    "operations": operations(spec),
                    "scope": "Namespaced",
                }
            ],
        },
        "matchConditions": [*conditions(policy), *emergencies(spec, break_glass)],
        "variables": [
            {"name": name, "expression": guarded(program, program.text, otherwise="dyn(null)")}
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


def _validation(policy: CompiledPolicy, rule: CompiledRule) -> JSONObject:
    # In the words of the webhook.
    prefix = f"policy {policy.name!r}: "
    said = rule.message or f"the rule {rule.label!r} is not met: {rule.program.text}"
    # The API server takes no line breaks here.
    held: JSONObject = {
        "expression": guarded(rule.program, as_bool(rule.program), otherwise="false"),
        "message": shorten(prefix + " ".join(said.split()), _MESSAGE_MOST),
        "reason": "Forbidden",
    }
    says = rule.message_program
    if says is not None and all(is_text(says, scope) for scope in scopes_of(policy)):
        held["messageExpression"] = f"{text_of(prefix)} + ({closed(says)})"
    return held
