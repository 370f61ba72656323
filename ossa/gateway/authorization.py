"""What somebody may do: Kubernetes is asked (SubjectAccessReview), and the answer remembered for a moment."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import replace
from http import HTTPStatus
from typing import Final, TypeVar

from ossa.api.contract import GROUP
from ossa.gateway.identity import Access, Identity
from ossa.gateway.problems import Problem
from ossa.kube.client import ApiClient
from ossa.kube.errors import ApiError

ACCESS_REVIEWS: Final = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
# Seconds. A right that was taken away is used for ALLOWED_TTL still; one that was given works after DENIED_TTL.
ALLOWED_TTL, DENIED_TTL = 10.0, 2.0
# Seconds after the last yes that `seen_lately` holds; a no ends it at once.
SEEN_TTL = 600.0
# Seconds that the API server may take to say it: whoever was seen to be allowed need not wait for one that hangs.
ANSWER = 5.0
# Seconds that an API server which was ready is taken to be still: one that is started anew takes longer.
READY_TTL = 1.0
READY = "/readyz"
SIZE = 20_000  # answers; the oldest go first
_Question = tuple[str, tuple[str, ...], Access]
_Value = TypeVar("_Value")
_log = logging.getLogger("ossa.gateway")


class SubjectAccess:
    """`ossa.gateway.identity.Authorizer` over a connected ApiClient.

    The gateway asks as its own service account, and never impersonates: that right would be the right to be anybody.
    Whether somebody may do it to one object is asked first of all objects there are: that is one answer for all names,
    also for those that are asked for while the API server is away. What is remembered is this replica's alone.

    An API server that has just started denies everything until it has read the cluster's roles: what it denies counts
    once it says that it is ready.
    """

    def __init__(self, api: ApiClient, *, clock: Callable[[], float] = time.monotonic, size: int = SIZE) -> None:
        self._api, self._clock, self._size = api, clock, size
        self._answers: dict[_Question, tuple[float, bool]] = {}
        self._seen: dict[_Question, float] = {}
        self._asking: dict[_Question, asyncio.Task[bool]] = {}
        self._ready_until = 0.0

    async def require(self, identity: Identity, access: Access) -> None:
        """Raises Problem: 403 with what is missing, 503 where the API server cannot be asked."""
        questions = _questions(identity, access)
        if any(self._remembered(question) for question in questions):
            return
        for question in questions:
            # What one that was asked meanwhile remembers counts as well.
            known = self._remembered(question)
            if known or (known is None and await self._review(question)):
                return
        raise _missing(identity, access)

    def seen_lately(self, identity: Identity, access: Access) -> bool:
        """Whether the last answer was yes, for this name or for all, and came within `SEEN_TTL`."""
        asked = [self._seen.get(question) for question in _questions(identity, access)]
        return any(when is not None and self._clock() < when + SEEN_TTL for when in asked)

    def _remembered(self, question: _Question) -> bool | None:
        until, allowed = self._answers.get(question, (0.0, False))
        return allowed if self._clock() < until else None

    async def _review(self, question: _Question) -> bool:
        """One question for all that ask the same at once; it goes on where the first of them goes away."""
        task = self._asking.get(question)
        if task is None:
            task = asyncio.create_task(self._ask(question))
            self._asking[question] = task
            task.add_done_callback(lambda _: self._asking.pop(question, None))
        try:
            return await asyncio.shield(task)
        except (ApiError, TimeoutError) as error:
            _log.warning("the API server does not say who may do what", extra={"error": str(error) or "no answer"})
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the API server cannot be asked whether you may do this; try again in a few seconds",
                headers={"Retry-After": "2"},
            ) from error

    async def _ask(self, question: _Question) -> bool:
        async with asyncio.timeout(ANSWER):
            asked, allowed = self._clock(), await self._allows(question)
            if not allowed and asked >= self._ready_until and await self._is_ready():
                asked, allowed = self._clock(), await self._allows(question)
        # From when it was asked: what happened since may not be in the answer.
        _put(self._answers, question, (asked + (ALLOWED_TTL if allowed else DENIED_TTL), allowed), self._size)
        if allowed:
            _put(self._seen, question, asked, self._size)
        else:
            self._seen.pop(question, None)
        return allowed

    async def _allows(self, question: _Question) -> bool:
        answer = await self._api.post(ACCESS_REVIEWS, _review_of(question))
        return answer.get("status", {}).get("allowed") is True

    async def _is_ready(self) -> bool:
        """Whether the API server says so; false where it does not tell us. Raises ApiError where it is not."""
        asked = self._clock()
        try:
            await self._api.text(READY)
        except ApiError as error:
            if error.transient:
                raise
            return False
        self._ready_until = asked + READY_TTL
        return True


def _questions(identity: Identity, access: Access) -> list[_Question]:
    """Each of which allows it; what allows most comes first. To the API server no name means all of them."""
    asked = [replace(access, name=""), access] if access.name else [access]
    return [(identity.user, identity.groups, one) for one in asked]


def _put(into: dict[_Question, _Value], question: _Question, value: _Value, size: int) -> None:
    into.pop(question, None)
    into[question] = value
    while len(into) > size:
        del into[next(iter(into))]


def _review_of(question: _Question) -> dict[str, object]:
    user, groups, access = question
    attributes = {
        "group": GROUP,
        "verb": access.verb,
        "resource": access.resource,
        "subresource": access.subresource,
        "namespace": access.namespace,
        "name": access.name,
    }
    return {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {"user": user, "groups": list(groups), "resourceAttributes": attributes},
    }


def _missing(identity: Identity, access: Access) -> Problem:
    what = f"{access.resource}/{access.subresource}" if access.subresource else access.resource
    one = f" {access.name!r}" if access.name else ""
    where = f"in namespace {access.namespace!r}" if access.namespace else "in the whole cluster"
    kind = "Role" if access.namespace else "ClusterRole"
    return Problem(
        HTTPStatus.FORBIDDEN,
        f"{identity.user} may not {access.verb} {what} ({GROUP}){one} {where}; "
        f"an administrator can bind a {kind} with this verb to them or to one of their groups",
        more={
            "verb": access.verb,
            "resource": what,
            "group": GROUP,
            "namespace": access.namespace,
            "name": access.name,
        },
    )
