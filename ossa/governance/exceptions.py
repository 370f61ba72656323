"""Whether an exception holds: for whom, until when, and who had to confirm it."""

from __future__ import annotations

from datetime import datetime

from ossa.api.policyexception import AgentPolicyException
from ossa.engine.authors import author_of
from ossa.engine.clock import from_text, parse_duration
from ossa.governance.policies import CompiledPolicy
from ossa.governance.question import Question, Subject


def problem_of(exception: AgentPolicyException, policy: CompiledPolicy, *, author: str) -> str | None:
    """Why a policy never honours an exception; None where it may. author: who made it; '' where unknown."""
    rules = policy.spec.exceptions
    if rules is None:
        return f"policy {policy.name!r} honours no exceptions (it has no spec.exceptions)"
    longest = parse_duration(rules.max_duration)
    end = end_of(exception)
    if end is None:
        return f"spec.expiresAt: {exception.spec.expires_at!r} is no time; write it as 2026-12-31T00:00:00Z"
    lasts = end - from_text(exception.metadata.creation_timestamp)
    if lasts > longest:
        return f"spec.expiresAt: it would hold for {lasts}, and policy {policy.name!r} allows {rules.max_duration}"
    if rules.second_person and not author:
        return "nobody knows who made it, so that nobody can be a second person; create it anew"
    return None


def confirmed(exception: AgentPolicyException, policy: CompiledPolicy, *, author: str) -> bool:
    """Whether a second person has confirmed it, where the policy wants one."""
    rules = policy.spec.exceptions
    if rules is None or not rules.second_person:
        return rules is not None
    return bool(author) and any(user != author for user in exception.confirmations)


def holds(exception: AgentPolicyException, policy: CompiledPolicy, now: datetime) -> bool:
    """Whether it holds at this moment, whatever its target."""
    if exception.spec.policy != policy.name or exception.metadata.deletion_timestamp is not None:
        return False
    author, end = author_of(exception.kind, exception.metadata.annotations), end_of(exception)
    return (
        end is not None
        and end > now
        and problem_of(exception, policy, author=author) is None
        and confirmed(exception, policy, author=author)
    )


def covers(exception: AgentPolicyException, subject: Subject) -> bool:
    """Whether a subject is its target: by UID where it is bound to one, and always by the spec's hash."""
    target, held = exception.spec.target, exception.metadata
    bound = target.uid or exception.status.uid
    return (target.kind, target.name, held.namespace, target.spec_hash) == (
        subject.kind,
        subject.name,
        subject.namespace,
        subject.spec_hash,
    ) and (bound is None or bound == subject.uid)


def excepts(exception: AgentPolicyException, policy: CompiledPolicy, question: Question, now: datetime) -> bool:
    """Whether it holds now for one of the subjects of a question."""
    return any(covers(exception, subject) for subject in question.subjects) and holds(exception, policy, now)


def end_of(exception: AgentPolicyException) -> datetime | None:
    """When it ends; None where nobody can tell: the API server takes times that are none, such as a 61st second."""
    try:
        return from_text(exception.spec.expires_at)
    except ValueError:
        return None
