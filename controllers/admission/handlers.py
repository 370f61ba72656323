"""Admission: refuses what an object itself proves wrong, and what policies refuse. A handler's id is a webhook's path.

/agents, /workflows and /executions check the object, and then ask the policies; the API server refuses what does not
reach them. /agentpolicies and /agentpolicyexceptions are for those who govern.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import kopf

from controllers.admission.denials import clean
from controllers.admission.judging import Answer, Judge
from controllers.admission.policyreviews import PolicyReviews
from controllers.admission.questions import Request
from ossa.api.contract import GROUP, VERSION
from ossa.governance.review import REVIEWS, Object, review
from ossa.kube.client import ApiError

__all__ = ["REVIEWS", "Admission", "message", "register", "review"]

logger = logging.getLogger("ossa.admission")

SHOWN_PROBLEMS = 10
FORBIDDEN, UNPROCESSABLE, UNAVAILABLE = 403, 422, 503


def message(problems: list[str]) -> str:
    """The problems as the one text that an answer holds."""
    if len(problems) == 1:
        return problems[0]
    shown = problems[:SHOWN_PROBLEMS]
    if len(problems) > len(shown):
        shown.append(f"and {len(problems) - len(shown)} more")
    return f"{len(problems)} problems:\n" + "\n".join(f"- {problem}" for problem in shown)


UNREACHED = "the API server did not answer the OSSA webhook; try again"


@dataclass(frozen=True)
class Admission:
    """What the handlers work with. `operators` are the users that the operator is."""

    judge: Judge
    policies: PolicyReviews
    operators: frozenset[str]

    async def checked(self, kind: str, asked: Asked) -> None:
        """The object itself first, then the policies. Raises kopf.AdmissionError."""
        by_operator = asked.userinfo.get("username") in self.operators
        if problems := review(kind, asked.body, asked.old, by_operator=by_operator):
            raise kopf.AdmissionError(message(problems), code=UNPROCESSABLE)
        try:
            answer = await self.judge.judge(asked.request(kind))
        except ApiError as error:
            raise kopf.AdmissionError(f"{UNREACHED}: {clean(str(error))}", code=UNAVAILABLE) from error
        _give(answer, asked.warnings)

    async def governing(self, kind: str, asked: Asked) -> None:
        """AgentPolicies and their exceptions. Raises kopf.AdmissionError."""
        look = self.policies.policy if kind == "agentpolicies" else self.policies.exception
        try:
            refusal = await look(asked.body, asked.old, asked.userinfo)
        except ApiError as error:
            raise kopf.AdmissionError(f"{UNREACHED}: {clean(str(error))}", code=UNAVAILABLE) from error
        if refusal is None:
            return
        if refusal.forbidden is not None:
            raise kopf.AdmissionError(clean(refusal.forbidden), code=FORBIDDEN)
        raise kopf.AdmissionError(message([clean(problem) for problem in refusal.problems]), code=UNPROCESSABLE)


@dataclass(frozen=True, slots=True)
class Asked:
    """What kopf tells of a review; `warnings` go to the user."""

    body: Object
    old: Object | None
    operation: Literal["CREATE", "UPDATE"]
    userinfo: Object
    dry_run: bool
    warnings: list[str]

    def request(self, kind: str) -> Request:
        """For the policies; `kind` is the plural."""
        return Request(
            plural=kind,
            operation=self.operation,
            body=self.body,
            old=self.old,
            user=str(self.userinfo.get("username", "")),
            groups=tuple(self.userinfo.get("groups") or ()),
            dry_run=self.dry_run,
        )


def _give(answer: Answer, warnings: list[str]) -> None:
    warnings += answer.warnings
    if answer.denial is not None:
        raise kopf.AdmissionError(answer.denial, code=FORBIDDEN)


def _handler(kind: str, does: Callable[[str, Asked], Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    # It waits for the API server at most, and not for other reviews: expressions are evaluated on one core anyway.
    async def handle(  # noqa: PLR0913 - kopf's names
        *,
        body: Object,
        old: Object | None,
        operation: Literal["CREATE", "UPDATE"],
        userinfo: Object,
        dryrun: bool,
        warnings: list[str],
        **_: Any,
    ) -> None:
        before = None if old is None else dict(old)
        await does(kind, Asked(dict(body), before, operation, userinfo, dryrun, warnings))

    return handle


# The kind of the reviews that come to a path.
PATHS: Mapping[str, str] = {
    **{kind: kind for kind in REVIEWS},
    **{kind: kind for kind in ("agentpolicies", "agentpolicyexceptions")},
}


def register(registry: kopf.OperatorRegistry, admission: Admission) -> None:
    """Add the handlers to a registry."""
    for path, kind in PATHS.items():
        does = admission.checked if kind in REVIEWS else admission.governing
        kopf.on.validate(GROUP, VERSION, kind, id=path, registry=registry)(_handler(kind, does))
