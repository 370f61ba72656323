"""Admission: refuses what an object itself proves wrong. A handler a kind, whose id is the webhook's path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Protocol

import kopf

from ossa.api.agent import AgentSpec
from ossa.api.contract import GROUP, VERSION
from ossa.api.execution import ExecutionSpec
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

SHOWN_PROBLEMS = 10
UNPROCESSABLE = 422
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
    return execution_problems(parse_spec(ExecutionSpec, spec), references=by_operator)


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


def message(problems: list[str]) -> str:
    """The problems as the one text that an answer holds."""
    if len(problems) == 1:
        return problems[0]
    shown = problems[:SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return f"{len(problems)} problems:\n" + "\n".join(f"- {problem}" for problem in shown)


def _handler(kind: str, operators: frozenset[str]) -> Callable[..., Awaitable[None]]:
    # A coroutine without an await: one review at a time, since expressions compile on one core anyway.
    async def handle(body: Object, old: Object | None, userinfo: Object, **_: Any) -> None:
        by_operator = userinfo.get("username") in operators
        if problems := review(kind, body, old, by_operator=by_operator):
            raise kopf.AdmissionError(message(problems), code=UNPROCESSABLE)

    return handle


def register(registry: kopf.OperatorRegistry, operators: frozenset[str]) -> None:
    """Add the handlers to a registry. `operators` are the users that the operator is."""
    for kind in REVIEWS:
        kopf.on.validate(GROUP, VERSION, kind, id=kind, registry=registry)(_handler(kind, operators))
