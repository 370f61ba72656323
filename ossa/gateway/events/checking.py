"""While sockets live: heartbeats, and whether their tokens and permissions still hold."""

from __future__ import annotations

import asyncio
from http import HTTPStatus

from ossa.bus.frames import Close, Start
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.subscriber import Subscriber
from ossa.gateway.identity import Access, Authenticator, Authorizer, Identity
from ossa.gateway.problems import Problem

# Sockets looked at together.
_AT_ONCE = 32
_CODES = {
    HTTPStatus.UNAUTHORIZED: Close.UNAUTHENTICATED,
    HTTPStatus.FORBIDDEN: Close.FORBIDDEN,
    HTTPStatus.TOO_MANY_REQUESTS: Close.TOO_MANY,
    HTTPStatus.BAD_REQUEST: Close.BAD_FRAME,
}


def close_code(problem: Problem) -> Close:
    """The code that says the same; what cannot be known now may be known later."""
    return _CODES.get(problem.status, Close.TRY_LATER)


def access_to(start: Start) -> Access:
    """What following events takes: `watch` on executions, of all namespaces where none is named."""
    return Access(verb="watch", resource="executions", namespace=start.namespace, name=start.execution)


class Checker:
    """Looks at each socket once in an interval, a few each second."""

    def __init__(self, hub: Hub, authenticator: Authenticator, authorizer: Authorizer) -> None:
        self._hub, self._authenticator, self._authorizer = hub, authenticator, authorizer
        self._tick = 0

    async def run(self) -> None:
        """Until cancelled."""
        clock = asyncio.get_running_loop()
        due = clock.time()
        while True:
            self._tick += 1
            await self._turn()
            # A turn that takes longer than a second makes the next ones later, not more.
            due = max(due + 1.0, clock.time())
            await asyncio.sleep(due - clock.time())

    async def _turn(self) -> None:
        limits = self._hub.limits
        everybody = list(self._hub.subscribers)
        for subscriber in _share(everybody, self._tick, limits.heartbeat):
            self._hub.ping(subscriber)
        due = _share(everybody, self._tick, limits.recheck)
        for begin in range(0, len(due), _AT_ONCE):
            await asyncio.gather(*(self.check(subscriber) for subscriber in due[begin : begin + _AT_ONCE]))

    async def identify(self, token: str) -> Identity:
        """Whoever has the token. Raises Problem."""
        return await self._authenticator.identify(token)

    async def require(self, identity: Identity, start: Start) -> None:
        """Raises Problem where they may not follow what they ask for."""
        await self._authorizer.require(identity, access_to(start))

    async def renew(self, subscriber: Subscriber, token: str) -> None:
        """Another token of the same user. Raises Problem; what cannot be known now leaves the old one."""
        identity = await self.identify(token)
        if identity.user != subscriber.identity.user:
            raise Problem(HTTPStatus.UNAUTHORIZED, "the new token is another user's: connect again")
        subscriber.token, subscriber.identity = token, identity

    async def check(self, subscriber: Subscriber) -> None:
        """Close it where its token or permission no longer holds, or was not known for too long."""
        now = asyncio.get_running_loop().time()
        try:
            identity = await self.identify(subscriber.token)
            await self.require(identity, subscriber.start)
        except Problem as problem:
            code = close_code(problem)
            if code is not Close.TRY_LATER or now - subscriber.checked > self._hub.limits.unknown:
                subscriber.close(code, str(problem))
            return
        subscriber.identity, subscriber.checked = identity, now


def _share(subscribers: list[Subscriber], tick: int, interval: float) -> list[Subscriber]:
    """Those whose turn it is in this second, so that in `interval` seconds each has had one."""
    rounds = max(1, int(interval))
    return [s for s in subscribers if s.number % rounds == tick % rounds]
