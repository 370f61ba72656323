"""Agents sign in with a token of their service account, made for this gateway's audience."""

from __future__ import annotations

import asyncio
import hashlib
import time
from http import HTTPStatus

from ossa.gateway.identity import Identity
from ossa.gateway.problems import Problem
from ossa.gateway.signin.names import is_agent
from ossa.gateway.signin.tokens import AUDIENCE, refused
from ossa.kube.client import ApiClient
from ossa.kube.errors import ApiError

TOKEN_REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"  # noqa: S105 - a path
# Seconds: a pod that is gone is known for this long still, and a token that was none is not asked about again.
GOOD_TTL, BAD_TTL = 60.0, 10.0
AT_ONCE = 8  # reviews; who sends rubbish must not keep the API server from its work
_REMEMBERED = 10_000


class Agents:
    """Asks the cluster whose token it is (TokenReview), and remembers for a moment."""

    def __init__(self, api: ApiClient) -> None:
        self._api = api
        self._known: dict[bytes, tuple[float, Identity | None]] = {}
        self._asking: dict[bytes, asyncio.Task[Identity | None]] = {}

    async def identify(self, token: str) -> Identity:
        """Raises Problem: 401 where it is no token of a service account for us, 503 where that cannot be asked."""
        key = hashlib.sha256(token.encode()).digest()
        until, identity = self._known.get(key, (0.0, None))
        if until <= time.monotonic():
            identity = await self._review(key, token)
        if identity is None:
            raise refused(
                f"the cluster does not know this token as one of a service account for the audience {AUDIENCE!r}; "
                "mount one with a projected volume, or sign in at /api/v1/auth/login"
            )
        return identity

    async def _review(self, key: bytes, token: str) -> Identity | None:
        """One question for all that bring the same token at once; it goes on where the first of them goes away."""
        task = self._asking.get(key)
        if task is None:
            if len(self._asking) >= AT_ONCE:
                raise _not_now("too many unknown tokens come in just now")
            task = asyncio.create_task(self._ask(key, token))
            self._asking[key] = task
            task.add_done_callback(lambda _: self._asking.pop(key, None))
        try:
            return await asyncio.shield(task)
        except ApiError as error:
            raise _not_now("the API server cannot be asked whose token this is") from error

    async def _ask(self, key: bytes, token: str) -> Identity | None:
        body = {
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": {"token": token, "audiences": [AUDIENCE]},
        }
        identity = reviewed((await self._api.post(TOKEN_REVIEWS, body)).get("status", {}))
        self._known.pop(key, None)
        self._known[key] = (time.monotonic() + (BAD_TTL if identity is None else GOOD_TTL), identity)
        while len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]
        return identity


def reviewed(status: dict[str, object]) -> Identity | None:
    """Who a TokenReview's status names: a service account with a token for our audience, else None."""
    audiences, user = status.get("audiences"), status.get("user")
    # An authenticator that knows no audiences leaves the list empty: its tokens are good for anything.
    if status.get("authenticated") is not True or not isinstance(audiences, list) or AUDIENCE not in audiences:
        return None
    if not isinstance(user, dict) or not is_agent(str(user.get("username", ""))):
        return None
    groups = tuple(str(group) for group in user.get("groups") or ())
    return Identity(user=str(user["username"]), groups=groups, kind="agent")


def _not_now(why: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, f"{why}; try again in a few seconds", headers={"Retry-After": "2"})
