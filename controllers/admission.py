"""Admission: refuses what an object itself proves wrong. A handler a kind, whose id is the webhook's path."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

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


def _agent(spec: Object, old: Object | None) -> list[str]:
    del old
    return agent_problems(parse_spec(AgentSpec, spec))


def _workflow(spec: Object, old: Object | None) -> list[str]:
    del old
    parsed = parse_spec(WorkflowSpec, spec)
    too_large = workflow_size_problems(parsed)
    return too_large or [str(problem) for problem in workflow_problems(parsed)]


def _execution(spec: Object, old: Object | None) -> list[str]:
    if old is not None:
        return unchanged_problems(old, spec)
    return execution_problems(parse_spec(ExecutionSpec, spec))


REVIEWS: Mapping[str, Callable[[Object, Object | None], list[str]]] = {
    "agents": _agent,
    "workflows": _workflow,
    "executions": _execution,
}


def review(kind: str, body: Object, old: Object | None) -> list[str]:
    """The problems of an object that is created, or changed from `old`; `kind` is the plural.

    What only changes metadata or is being deleted passes: an object that an earlier version took must be able
    to lose its finalizers and get its labels.
    """
    spec: Object = body.get("spec") or {}
    old_spec: Object | None = None if old is None else old.get("spec") or {}
    if body.get("metadata", {}).get("deletionTimestamp") or spec == old_spec:
        return []
    try:
        return REVIEWS[kind](spec, old_spec)
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


def _handler(kind: str) -> Callable[..., Awaitable[None]]:
    # A coroutine without an await: one review at a time, since expressions compile on one core anyway.
    async def handle(body: Object, old: Object | None, **_: Any) -> None:
        if problems := review(kind, body, old):
            raise kopf.AdmissionError(message(problems), code=UNPROCESSABLE)

    return handle


def register(registry: kopf.OperatorRegistry) -> None:
    """Add the handlers to a registry."""
    for kind in REVIEWS:
        kopf.on.validate(GROUP, VERSION, kind, id=kind, registry=registry)(_handler(kind))
