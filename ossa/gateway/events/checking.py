"""While sockets live: heartbeats, and whether their tokens and permissions still hold."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection
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

    async def run(self) -> None:
        """Until cancelled. Heartbeats come in time, however long it takes to ask who may still follow what."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(_each_second(self._beat))
            tasks.create_task(_each_second(self._look))

    async def _beat(self, tick: int) -> None:
        limits, now = self._hub.limits, asyncio.get_running_loop().time()
        for subscriber in _share(self._hub.subscribers, tick, limits.heartbeat):
            # Where many wait to be looked at, by an API server that hangs, the turn of one may come too late.
            if now - subscriber.checked > limits.recheck + limits.unknown:
                subscriber.close(Close.TRY_LATER, "it was not known for too long whether you may follow this")
            else:
                self._hub.ping(subscriber)

    async def _look(self, tick: int) -> None:
        due = _share(self._hub.subscribers, tick, self._hub.limits.recheck)
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
        now, token = asyncio.get_running_loop().time(), subscriber.token
        try:
            identity = await self.identify(token)
            await self.require(identity, subscriber.start)
        except Problem as problem:
            code = close_code(problem)
            renewed = code is Close.UNAUTHENTICATED and subscriber.token != token  # meanwhile, by one that holds
            unknown = code is Close.TRY_LATER and now - subscriber.checked <= self._hub.limits.unknown
            if not renewed and not unknown and subscriber in self._hub.subscribers:
                subscriber.close(code, str(problem))
            return
        subscriber.checked = now
        if subscriber.token == token:
            subscriber.identity = identity


def _share(subscribers: Collection[Subscriber], tick: int, interval: float) -> list[Subscriber]:
    """Those whose turn it is in this second, so that in `interval` seconds each has had one."""
    rounds = max(1, int(interval))
    return [s for s in subscribers if s.number % rounds == tick % rounds]


async def _each_second(work: Callable[[int], Awaitable[None]]) -> None:
    """Until cancelled; what takes longer than a second makes the next ones later, not more."""
    clock, tick = asyncio.get_running_loop(), 0
    due = clock.time()
    while True:
        tick += 1
        await work(tick)
        due = max(due + 1.0, clock.time())
        await asyncio.sleep(due - clock.time())
