"""Admission: refuses what an object itself proves wrong, and what policies refuse, at one webhook's path a kind.

/agents, /workflows and /executions check the object, and then ask the policies; the API server refuses what does not
reach them. /agentpolicies and /agentpolicyexceptions are for those who govern.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Self

from controllers.admission.denials import clean
from controllers.admission.judging import Answer, Judge
from controllers.admission.policyreviews import PolicyReviews
from controllers.admission.questions import Request
from ossa.governance.review import REVIEWS, Object, review
from ossa.kube.client import ApiError

__all__ = ["REVIEWS", "Admission", "Asked", "Refusal", "message", "review"]

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


class Refusal(Exception):
    """Why a request is refused, for a person; `code` is the HTTP status that they get."""

    def __init__(self, text: str, *, code: int) -> None:
        super().__init__(text)
        self.code = code


UNREACHED = "the API server did not answer the OSSA webhook; try again"


@dataclass(frozen=True)
class Admission:
    """What the handlers work with. `operators` are the users that the operator is."""

    judge: Judge
    policies: PolicyReviews
    operators: frozenset[str]

    async def look(self, path: str, asked: Asked) -> None:
        """Asks whoever is at the path, one of PATHS. Raises Refusal."""
        kind = PATHS[path]
        await (self.checked(kind, asked) if kind in REVIEWS else self.governing(kind, asked))

    async def checked(self, kind: str, asked: Asked) -> None:
        """The object itself first, then the policies. Raises Refusal."""
        by_operator = asked.userinfo.get("username") in self.operators
        if problems := review(kind, asked.body, asked.old, by_operator=by_operator):
            raise Refusal(message(problems), code=UNPROCESSABLE)
        try:
            answer = await self.judge.judge(asked.request(kind))
        except ApiError as error:
            raise Refusal(f"{UNREACHED}: {clean(str(error))}", code=UNAVAILABLE) from error
        _give(answer, asked.warnings)

    async def governing(self, kind: str, asked: Asked) -> None:
        """AgentPolicies and their exceptions. Raises Refusal."""
        look = self.policies.policy if kind == "agentpolicies" else self.policies.exception
        try:
            refusal = await look(asked.body, asked.old, asked.userinfo)
        except ApiError as error:
            raise Refusal(f"{UNREACHED}: {clean(str(error))}", code=UNAVAILABLE) from error
        if refusal is None:
            return
        if refusal.forbidden is not None:
            raise Refusal(clean(refusal.forbidden), code=FORBIDDEN)
        raise Refusal(message([clean(problem) for problem in refusal.problems]), code=UNPROCESSABLE)


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked in a review; `warnings` go to the user."""

    body: Object
    old: Object | None
    operation: Literal["CREATE", "UPDATE"]
    userinfo: Object
    dry_run: bool
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, request: Mapping[str, Any]) -> Self:
        """Of the `request` of an AdmissionReview of a whole object."""
        return cls(
            body=request["object"],
            old=request.get("oldObject"),
            operation=request["operation"],
            userinfo=request.get("userInfo") or {},
            dry_run=bool(request.get("dryRun")),
        )

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
        raise Refusal(answer.denial, code=FORBIDDEN)


# The kind of the reviews that come to a path.
PATHS: Mapping[str, str] = {
    **{kind: kind for kind in REVIEWS},
    **{kind: kind for kind in ("agentpolicies", "agentpolicyexceptions")},
}
