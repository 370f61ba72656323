"""One socket, from its handshake to its end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Awaitable, Callable, Collection, Mapping
from http import HTTPStatus
from typing import Any, Protocol

from pydantic import ValidationError
from starlette.types import Receive, Scope
from starlette.types import Send as ASGISend

from ossa.audit.entry import REFUSALS
from ossa.bus.frames import CLIENT_FRAMES, Answer, Close, Command, Start, Token
from ossa.gateway.events.checking import Checker, close_code
from ossa.gateway.events.handshake import Handshake, explain, read_handshake
from ossa.gateway.events.hub import Hub
from ossa.gateway.events.protocol import ABORT
from ossa.gateway.events.subscriber import Subscriber
from ossa.gateway.identity import Identity, RateLimiter
from ossa.gateway.problems import MEDIA_TYPE, Problem

# Bytes of a close frame's reason (RFC 6455).
_REASON = 123
_log = logging.getLogger("ossa.gateway.events")


class Commands(Protocol):
    """Carries commands out, by the same functions as REST's, and keeps the audit trail of sockets."""

    async def __call__(self, identity: Identity, address: str, command: Command) -> tuple[int, Mapping[str, Any]]:
        """Status and body as the REST request would have. Raises Problem."""

    async def refused(self, identity: Identity | None, address: str, asked: Start | Command, problem: Problem) -> None:
        """A socket or a command was refused, to somebody unknown where there is no identity. Raises Problem."""


class _Refused(Exception):
    """The socket is to be closed; says how."""

    def __init__(self, code: Close, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class _Gone(Exception):
    """The client is gone."""


class Events:
    """The ASGI application of the events' path."""

    def __init__(
        self, *, hub: Hub, checker: Checker, limiter: RateLimiter, commands: Commands, origins: Collection[str]
    ) -> None:
        self._hub, self._checker, self._limiter, self._commands = hub, checker, limiter, commands
        self._origins = frozenset(origins)
        self._unstarted = 0
        self._running: set[asyncio.Future[Answer]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: ASGISend) -> None:
        """Serve one socket until it ends."""
        handshake = read_handshake(scope)
        abort: Callable[[], None] | None = (scope.get("extensions") or {}).get(ABORT)
        await receive()  # websocket.connect
        try:
            self._let_in(handshake)
        except Problem as problem:
            await _deny(send, problem)
            return
        await send({"type": "websocket.accept", "subprotocol": handshake.subprotocol, "headers": []})
        try:
            await self._follow(handshake, receive, send)
        except _Gone:
            return
        except _Refused as refused:
            await self._close(send, refused.code, str(refused), abort)

    def _let_in(self, handshake: Handshake) -> None:
        """What is refused before there is a socket. A browser sends an Origin always, anybody else never."""
        if handshake.origin is not None and handshake.origin not in self._origins:
            raise Problem(HTTPStatus.FORBIDDEN, "pages of this origin may not open sockets here")
        if self._hub.draining:
            raise _away("this replica ends: connect again", 1)
        full = len(self._hub.subscribers) >= self._hub.limits.sockets
        if full or self._unstarted >= self._hub.limits.unstarted:
            raise _away("this replica holds no more sockets: connect again", 5)

    async def _follow(self, handshake: Handshake, receive: Receive, send: ASGISend) -> None:
        self._unstarted += 1
        try:
            subscriber = await self._started(handshake, receive, send)
        except Problem as problem:
            raise _Refused(close_code(problem), str(problem)) from problem
        finally:
            self._unstarted -= 1
        owner = asyncio.current_task()
        if owner is None:  # for the type checker: a coroutine that runs has a task
            raise RuntimeError("no task")
        self._hub.add(subscriber)
        try:
            subscriber.begin(owner)
            while True:
                await self._take(subscriber, handshake.address, await _frame(receive))
        except asyncio.CancelledError:
            if subscriber.closed is None:
                raise
            owner.uncancel()  # `close` was what interrupted it
            code, reason = subscriber.closed
            raise _Refused(code, reason) from None
        finally:
            self._hub.remove(subscriber)

    async def _started(self, handshake: Handshake, receive: Receive, send: ASGISend) -> Subscriber:
        """Whoever may follow what they ask for. Raises Problem, _Refused, _Gone."""
        if handshake.token is None:
            start = await self._first_frame(receive)
            token = start.token
        else:
            start, token = handshake.start(), handshake.token
        token = token or ""
        identity = await self._admit(token, handshake.address, start)
        if not self._hub.ready:
            raise _Refused(Close.TRY_LATER, "events cannot be read now: connect again")
        if not self._hub.admits(identity.user):
            raise _Refused(Close.TOO_MANY, f"a user may have {self._hub.limits.sockets_a_user} sockets")

        async def send_text(text: str) -> None:
            await send({"type": "websocket.send", "text": text})

        return Subscriber(
            feed=self._hub,
            send=send_text,
            limits=self._hub.limits,
            start=start.model_copy(update={"token": None}),
            token=token,
            identity=identity,
            checked=asyncio.get_running_loop().time(),
        )

    async def _admit(self, token: str, address: str, start: Start) -> Identity:
        """Whoever has the token, where they may follow what they ask for, and do not come too often."""
        identity: Identity | None = None
        try:
            if not token:
                raise Problem(HTTPStatus.UNAUTHORIZED, "a token is needed: in the first frame, or in the handshake")
            identity = await self._checker.identify(token)
            await self._limiter.take(identity, address)
            await self._checker.require(identity, start)
        except Problem as problem:
            await self._refuse(identity, address, start, problem)
            raise
        return identity

    async def _refuse(self, identity: Identity | None, address: str, asked: Start | Command, problem: Problem) -> None:
        """What every refusal leads to. Raises Problem."""
        if problem.status is HTTPStatus.UNAUTHORIZED:
            await self._limiter.take(None, address)
        if isinstance(asked, Command) or problem.status in REFUSALS:
            await self._commands.refused(identity, address, asked, problem)

    async def _first_frame(self, receive: Receive) -> Start:
        try:
            async with asyncio.timeout(self._hub.limits.start):
                frame = _parse(await _frame(receive))
        except TimeoutError as error:
            raise _Refused(Close.NO_START, "a `start` frame was expected") from error
        except ValidationError as error:
            raise _Refused(Close.BAD_FRAME, explain(error)) from error
        if not isinstance(frame, Start):
            raise _Refused(Close.BAD_FRAME, "the first frame has to be of type `start`")
        return frame

    async def _take(self, subscriber: Subscriber, address: str, text: str) -> None:
        """One frame of a client that follows events."""
        try:
            frame = _parse(text)
        except ValidationError as error:
            if (name := _command_id(text)) is None:
                raise _Refused(Close.BAD_FRAME, explain(error)) from error
            problem = Problem(HTTPStatus.BAD_REQUEST, explain(error))
            subscriber.offer(Answer(id=name, status=int(problem.status), body=problem.document()).model_dump_json())
            return
        match frame:
            case Start():
                raise _Refused(Close.BAD_FRAME, "`start` comes once: open another socket")
            case Token():
                await self._renew(subscriber, frame)
            case Command():
                answer = await self._shielded(self._run(subscriber.token, address, frame))
                subscriber.offer(answer.model_dump_json())

    async def _renew(self, subscriber: Subscriber, frame: Token) -> None:
        try:
            await self._checker.renew(subscriber, frame.token)
        except Problem as problem:
            code = close_code(problem)
            if code is not Close.TRY_LATER:  # what cannot be known now leaves the old token, while that holds
                raise _Refused(code, str(problem)) from problem

    async def _run(self, token: str, address: str, command: Command) -> Answer:
        """As a REST request with this token: its session may be over, though the socket was not looked at yet."""
        try:
            identity = await self._caller(token, address, command)
            status, body = await self._commands(identity, address, command)
        except Problem as problem:
            status, body = int(problem.status), problem.document()
        return Answer(id=command.id, status=status, body=dict(body))

    async def _caller(self, token: str, address: str, command: Command) -> Identity:
        """Whose command it is. Raises Problem."""
        identity: Identity | None = None
        try:
            identity = await self._checker.identify(token)
            await self._limiter.take(identity, address)
        except Problem as problem:
            await self._refuse(identity, address, command, problem)
            raise
        return identity

    async def _shielded(self, work: Awaitable[Answer]) -> Answer:
        """A socket that is closed meanwhile does not interrupt what its client asked for."""
        task = asyncio.ensure_future(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)

    async def _close(self, send: ASGISend, code: Close, reason: str, abort: Callable[[], None] | None) -> None:
        self._hub.metrics.closed.labels(int(code)).inc()
        text = reason.encode()[:_REASON].decode(errors="ignore")
        try:
            async with asyncio.timeout(self._hub.limits.close):
                await send({"type": "websocket.close", "code": int(code), "reason": text})
        except OSError:  # it hung up; or, as a TimeoutError, takes nothing any more
            if abort is not None:
                abort()


async def _frame(receive: Receive) -> str:
    message = await receive()
    if message["type"] == "websocket.disconnect":
        raise _Gone
    text: str | None = message.get("text")
    if text is None:
        raise _Refused(Close.BAD_FRAME, "frames are text, not binary")
    return text


def _parse(text: str) -> Start | Token | Command:
    return CLIENT_FRAMES.validate_json(text)


def _command_id(text: str) -> str | None:
    """The id to answer with, where a frame is meant as a command."""
    with contextlib.suppress(ValueError, RecursionError):
        frame = json.loads(text)
        if isinstance(frame, dict) and frame.get("type") == "command" and isinstance(frame.get("id"), str):
            name: str = frame["id"]
            return name[:64]
    return None


def _away(detail: str, seconds: int) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, detail, headers={"Retry-After": str(seconds)})


async def _deny(send: ASGISend, problem: Problem) -> None:
    headers = {"Content-Type": MEDIA_TYPE, **problem.headers}
    await send(
        {
            "type": "websocket.http.response.start",
            "status": int(problem.status),
            "headers": [(name.lower().encode(), value.encode("latin-1")) for name, value in headers.items()],
        }
    )
    await send({"type": "websocket.http.response.body", "body": json.dumps(problem.document()).encode()})
