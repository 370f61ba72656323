"""What an object itself proves wrong, whatever else there is: what admission refuses, and `ossa lint` tells."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from pydantic import ValidationError

from ossa.api.agent import AgentSpec
from ossa.api.execution import ExecutionSpec
from ossa.api.policy import AgentPolicy, AgentPolicySpec
from ossa.api.policyexception import AgentPolicyExceptionSpec
from ossa.api.validation import (
    InvalidSpecError,
    agent_problems,
    execution_problems,
    parse_spec,
    unchanged_problems,
    workflow_size_problems,
)
from ossa.api.workflow import WorkflowSpec
from ossa.engine.checks import workflow_problems
from ossa.engine.clock import from_text
from ossa.governance.policies import InvalidPolicyError, compile_policy, params_problems

Object = Mapping[str, Any]


def _agent(spec: Object, old: Object | None, *, by_operator: bool) -> list[str]:
    del old, by_operator
    return agent_problems(parse_spec(AgentSpec, spec))


def _workflow(spec: Object, old: Object | None, *, by_operator: bool) -> list[str]:
    del old, by_operator
    parsed = parse_spec(WorkflowSpec, spec)
    too_large = workflow_size_problems(parsed)
    return too_large or [str(problem) for problem in workflow_problems(parsed)]


def _execution(spec: Object, old: Object | None, *, by_operator: bool) -> list[str]:
    if old is not None:
        return unchanged_problems(old, spec)
    parsed = parse_spec(ExecutionSpec, spec)
    problems = execution_problems(parsed, references=by_operator)
    inline = parsed.workflow_spec
    if problems or inline is None:
        return problems
    return [str(problem) for problem in workflow_problems(inline, "spec.workflowSpec")]


class Review(Protocol):
    """The problems of a spec. `old` is the one before a change."""

    def __call__(self, spec: Object, old: Object | None, *, by_operator: bool) -> list[str]: ...


REVIEWS: Mapping[str, Review] = {
    "agents": _agent,
    "workflows": _workflow,
    "executions": _execution,
}


def review(kind: str, body: Object, old: Object | None, *, by_operator: bool = False) -> list[str]:
    """The problems of an object that is created, or changed from `old`; `kind` is the plural.

    The operator alone makes Executions whose inputs refer to artifacts. Its seal is for the reconciler to check.

    What only changes metadata or is being deleted passes: an object that an earlier version took must be able
    to lose its finalizers and get its labels.
    """
    spec: Object = body.get("spec") or {}
    old_spec: Object | None = None if old is None else old.get("spec") or {}
    if body.get("metadata", {}).get("deletionTimestamp") or spec == old_spec:
        return []
    try:
        return REVIEWS[kind](spec, old_spec, by_operator=by_operator)
    except InvalidSpecError as error:
        return error.problems


def policy_problems(body: Object, params_namespaces: Collection[str] | None = None) -> list[str]:
    """What is wrong with an AgentPolicy: its shape, its expressions with their positions, where its params lie.

    params_namespaces: where the operator may read ConfigMaps; None where nobody knows.
    """
    try:
        spec = parse_spec(AgentPolicySpec, body.get("spec") or {})
        policy = AgentPolicy.model_validate({**body, "spec": spec})
    except InvalidSpecError as error:
        return error.problems
    except ValidationError as error:  # of the metadata: the API server's own to refuse
        return [f"{'.'.join(str(part) for part in held['loc'])}: {held['msg']}" for held in error.errors()]
    problems = [] if params_namespaces is None else params_problems(policy, params_namespaces)
    try:
        compile_policy(policy)
    except InvalidPolicyError as error:
        return [*error.problems, *problems]
    return problems


def exception_problems(body: Object) -> list[str]:
    """What is wrong with an AgentPolicyException whatever the policy that it names says."""
    try:
        spec = parse_spec(AgentPolicyExceptionSpec, body.get("spec") or {})
    except InvalidSpecError as error:
        return error.problems
    try:
        from_text(spec.expires_at)
    except ValueError:
        return [f"spec.expiresAt: {spec.expires_at!r} is not a time; write 2026-01-31T00:00:00Z"]
    return []
