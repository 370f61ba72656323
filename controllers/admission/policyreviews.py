"""Requests about AgentPolicies and their exceptions: whether they make sense, and whether the user may do it."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from pydantic import ValidationError

from controllers.admission.authors import annotations_of
from controllers.admission.rights import may, without
from controllers.policycache import PolicyCache
from ossa.api.contract import ANNOTATION_SPEC_CHANGED_BY
from ossa.api.policyexception import AgentPolicyException
from ossa.engine.clock import from_text, to_text
from ossa.governance.exceptions import problem_of
from ossa.governance.policies import CompiledPolicy
from ossa.governance.review import exception_problems, policy_problems
from ossa.kube.client import ApiClient

Object = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a request is refused. problems: of the object; forbidden: what its user may not do."""

    problems: tuple[str, ...] = ()
    forbidden: str | None = None


def standing_problems(
    exception: AgentPolicyException, policy: CompiledPolicy | None, now: datetime, *, author: str
) -> list[str]:
    """Why a new exception would not hold. A policy that is not there is no problem: it may come later."""
    if from_text(exception.spec.expires_at) <= now:
        return [f"spec.expiresAt: {exception.spec.expires_at} is over; name a time to come"]
    if policy is None:
        return []
    made = exception.metadata.creation_timestamp or to_text(now)
    metadata = exception.metadata.model_copy(update={"creation_timestamp": made})
    problem = problem_of(exception.model_copy(update={"metadata": metadata}), policy, author=author)
    return [] if problem is None else [problem]


@dataclass(frozen=True)
class PolicyReviews:
    """The two kinds by which governors govern. Deletion of either never comes here."""

    api: ApiClient
    policies: PolicyCache
    params_namespaces: Collection[str]

    async def policy(self, body: Object, old: Object | None, userinfo: Object) -> Refusal | None:
        """Of an AgentPolicy: it compiles, and the user may `govern` it. Raises ApiError.

        What is being deleted passes, and a change of metadata alone.
        """
        if _is_let_pass(body, old):
            return None
        name = str(body["metadata"].get("name") or "")
        if not await may(self.api, userinfo, "govern", name):
            return Refusal(forbidden=without("govern", name))
        problems = policy_problems(body, self.params_namespaces)
        return Refusal(problems=tuple(problems)) if problems else None

    async def exception(self, body: Object, old: Object | None, userinfo: Object) -> Refusal | None:
        """Of an AgentPolicyException: a new one makes sense; who makes or confirms one may `except`. Raises ApiError.

        That people confirm for themselves alone is up to the policy ossa-exceptions, which holds with us down.
        """
        if body["metadata"].get("deletionTimestamp"):
            return None
        if old is not None and (body.get("confirmations") or {}) == (old.get("confirmations") or {}):
            return None  # its spec never changes: the API server sees to that
        if problems := exception_problems(body):
            return Refusal(problems=tuple(problems))
        try:
            exception = AgentPolicyException.model_validate(dict(body))
        except ValidationError as error:
            return Refusal(problems=(f"confirmations: {error.errors()[0]['msg']}",))
        wanted = exception.spec.policy
        if not await may(self.api, userinfo, "except", wanted):
            return Refusal(forbidden=without("except", wanted))
        if old is not None:
            return None
        policy = next((held for held in self.policies.current().policies if held.name == wanted), None)
        author = annotations_of(body).get(ANNOTATION_SPEC_CHANGED_BY, "")
        problems = standing_problems(exception, policy, datetime.now(UTC), author=author)
        return Refusal(problems=tuple(problems)) if problems else None


def _is_let_pass(body: Object, old: Object | None) -> bool:
    if body["metadata"].get("deletionTimestamp"):
        return True
    return old is not None and body.get("spec") == old.get("spec")
