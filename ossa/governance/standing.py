"""Where an exception stands, for its status; `exceptions.holds` is what verdicts ask."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ossa.api.policyexception import AgentPolicyException, ExceptionState
from ossa.engine.authors import author_of
from ossa.engine.clock import to_text
from ossa.governance.exceptions import confirmed, covers, end_of, problem_of
from ossa.governance.policies import CompiledPolicy
from ossa.governance.question import Subject


@dataclass(frozen=True, slots=True)
class Standing:
    """reason: one CamelCase word. uid: of the object that it is bound to. until: when to look again, if at all."""

    state: ExceptionState
    reason: str
    message: str
    uid: str | None
    until: datetime | None


def standing(
    exception: AgentPolicyException, policy: CompiledPolicy | None, target: Subject | None, now: datetime
) -> Standing:
    """policy: the one that it names, None where there is none. target: the object of its target's name, likewise.

    The first object with that name and spec gives it its UID; afterwards none other is excepted.
    """
    spec, author = exception.spec, author_of(exception.kind, exception.metadata.annotations)
    bound = spec.target.uid or exception.status.uid
    ends = end_of(exception)
    if ends is None:
        said = f"spec.expiresAt: {spec.expires_at!r} is no time; write it as 2026-12-31T00:00:00Z"
        return Standing("Refused", "InvalidTime", said, bound, None)
    if ends <= now:
        return Standing("Expired", "Expired", f"it ended at {to_text(ends)}", bound, None)
    if policy is None:
        said = f"spec.policy: there is no policy {spec.policy!r}"
        return Standing("Pending", "NoPolicy", said, bound, ends)
    problem = problem_of(exception, policy, author=author)
    if problem is not None:
        return Standing("Refused", "NotHonoured", problem, bound, ends)
    if not confirmed(exception, policy, author=author):
        said = f"it waits for somebody else than {author!r} to confirm it, by an entry of their own in `confirmations`"
        return Standing("Pending", "NotConfirmed", said, bound, ends)
    return _active(exception, target, bound, ends)


def _active(exception: AgentPolicyException, target: Subject | None, bound: str | None, ends: datetime) -> Standing:
    held = exception.spec.target
    what = f"{held.kind} {held.name!r}"
    if target is None and bound is None:
        said = f"there is no {what} yet; the first one with the hash in spec.target is excepted"
        return Standing("Active", "NoObjectYet", said, None, ends)
    if target is None or bound not in (None, target.uid):
        said = f"the {what} that it is bound to is gone; one of that name that was made anew needs its own exception"
        return Standing("Refused", "ObjectGone", said, bound, ends)
    if not covers(exception, target):
        said = f"the spec of the {what} is another one than was excepted: its hash is {target.spec_hash}"
        return Standing("Refused", "SpecChanged", said, bound, ends)
    return Standing("Active", "Active", f"it holds until {to_text(ends)}", target.uid, ends)
