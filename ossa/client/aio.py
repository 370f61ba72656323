"""The asynchronous client, for one event loop. As the synchronous one, method by method."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Collection
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from ossa.api import gateway as api
from ossa.api.approval import Verdict
from ossa.bus.messages import BEGINNING, EventType
from ossa.client import requests
from ossa.client.backoff import Backoff
from ossa.client.credentials import Credentials
from ossa.client.errors import Unreachable
from ossa.client.exchange import (
    TIMEOUT,
    Authorize,
    Exchange,
    Received,
    Send,
    Sleep,
    deliver,
    exchange,
    prepare,
    renewed,
)
from ossa.client.following import EXECUTION_ALONE, Beat, Change, Following, has_ended, load_sockets, remaining
from ossa.client.requests import EVERYTHING, Request, Which
from ossa.httppool import LIMITS

T = TypeVar("T")


class AsyncGateway:
    """A gateway. Asynchronous context manager over one pool of connections.

    Methods raise GatewayError; what may pass by itself is tried again within `backoff.total` seconds. `http` replaces
    the HTTP client, e.g. for a CA of one's own; it is then the caller's to close.
    """

    def __init__(
        self,
        url: str,
        credentials: Credentials,
        *,
        backoff: Backoff | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials, self._backoff = credentials, backoff or Backoff()
        self._http, self._own = http or httpx.AsyncClient(timeout=TIMEOUT, limits=LIMITS), http is None
        self._renewing = asyncio.Lock()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Give the connections up."""
        if self._own:
            await self._http.aclose()

    # Whoever asks.

    async def who_am_i(self) -> api.WhoAmI:
        """Whoever is signed in."""
        return await self._do(requests.who_am_i())

    async def sign_out(self) -> None:
        """End the session."""
        await self._do(requests.sign_out())

    # Executions.

    async def accepted(self, id: str) -> api.Accepted:  # noqa: A002 - the API's word
        """What became of a request of one's own that was accepted."""
        return await self._do(requests.request(id))

    async def orchestrate(self, request: api.OrchestrateRequest, *, key: str | None = None) -> api.Accepted:
        """Run a workflow. With one `key`, of whichever process, there is one Execution."""
        return await self._do(requests.orchestrate(request, key=key))

    def executions(self, namespace: str = "", which: Which = EVERYTHING) -> AsyncIterator[api.ExecutionSummary]:
        """Executions, the newest first; of all namespaces where none is named. Asked for page by page."""
        return self._pages(lambda at: requests.executions(namespace, which, cursor=at))

    async def execution(self, namespace: str, name: str) -> api.ExecutionView:
        """One Execution."""
        return await self._do(requests.execution(namespace, name))

    def tasks(self, namespace: str, name: str) -> AsyncIterator[api.TaskView]:
        """An Execution's tasks."""
        return self._pages(lambda at: requests.tasks(namespace, name, cursor=at))

    async def logs(
        self, namespace: str, name: str, *, task: str | None = None, index: int | None = None, follow: bool = False
    ) -> AsyncIterator[str]:
        """Lines of a task's log, as they come where `follow`ed."""
        request = requests.logs(namespace, name, task=task, index=index, follow=follow)
        opened: list[httpx.Response] = []

        async def send(step: Send) -> Received | httpx.TransportError:
            return await self._send(step, opened)

        await self._run(deliver(request, self._credentials, self._backoff), send)
        async with contextlib.aclosing(opened[-1]) as answer:
            try:
                async for line in answer.aiter_lines():
                    yield line
            except httpx.TransportError as error:
                raise Unreachable(f"the log broke off: {error}") from error

    async def pause(self, namespace: str, name: str) -> api.ExecutionView:
        """Let what runs end, and start nothing new."""
        return await self._do(requests.steer(namespace, name, "pause"))

    async def resume(self, namespace: str, name: str) -> api.ExecutionView:
        """Go on."""
        return await self._do(requests.steer(namespace, name, "resume"))

    async def cancel(self, namespace: str, name: str) -> api.ExecutionView:
        """End it."""
        return await self._do(requests.steer(namespace, name, "cancel"))

    async def retry(self, namespace: str, name: str, *, key: str | None = None) -> api.Accepted:
        """Another Execution that goes on with what a failed one completed."""
        return await self._do(requests.again(namespace, name, "retry", key=key))

    async def rerun(self, namespace: str, name: str, *, key: str | None = None) -> api.Accepted:
        """Another Execution of the same, from its start."""
        return await self._do(requests.again(namespace, name, "rerun", key=key))

    async def approvals(self, namespace: str, name: str) -> list[api.ApprovalView]:
        """What an Execution waits for, or waited for."""
        return (await self._do(requests.approvals(namespace, name))).items

    async def approve(
        self, namespace: str, name: str, *, task: str | None = None, verdict: Verdict = "Approved", reason: str = ""
    ) -> api.ApprovalView:
        """Decide about what it waits for, in one's own name."""
        return await self._do(requests.approve(namespace, name, task=task, verdict=verdict, reason=reason))

    async def wait(self, namespace: str, name: str, *, seconds: float | None = None) -> api.ExecutionView:
        """Until it has ended. Raises TimeoutError."""
        if (view := await self.execution(namespace, name)).finished:
            return view
        deadline = None if seconds is None else time.monotonic() + seconds
        following = self._following(namespace, name, EXECUTION_ALONE, BEGINNING)
        async with contextlib.aclosing(self._follow(following, deadline)) as changes:
            async for change in changes:
                if isinstance(change, Beat) or has_ended(change, name):  # events may be late: look now and then
                    view = await self.execution(namespace, name)
                    if view.finished:
                        return view
        raise TimeoutError(f"{namespace}/{name} has not ended within {seconds} s; it is {view.phase}")

    # What there is to run.

    def workflows(self, namespace: str = "") -> AsyncIterator[api.WorkflowView]:
        """Workflows."""
        return self._pages(lambda at: requests.workflows(namespace, cursor=at))

    async def workflow(self, namespace: str, name: str) -> api.WorkflowView:
        """One workflow."""
        return await self._do(requests.workflow(namespace, name))

    def agents(
        self, namespace: str = "", *, kind: str | None = None, capability: str | None = None
    ) -> AsyncIterator[api.AgentView]:
        """Agents of a type, with a capability."""
        return self._pages(lambda at: requests.agents(namespace, kind=kind, capability=capability, cursor=at))

    async def agent(self, namespace: str, name: str) -> api.AgentView:
        """One agent."""
        return await self._do(requests.agent(namespace, name))

    # Events.

    async def events(
        self, namespace: str = "", execution: str = "", *, types: Collection[EventType] = (), after: str | None = None
    ) -> AsyncIterator[Change]:
        """Events for ever, each once, through every break of the connection.

        `after`: the position to resume at; BEGINNING tells first how things stand. Raises EventsClosed where the
        gateway ends them for good, Unreachable where it was not heard for `backoff.total` seconds.
        """
        following = self._following(namespace, execution, types, after)
        async with contextlib.aclosing(self._follow(following, None)) as changes:
            async for change in changes:
                if not isinstance(change, Beat):
                    yield change

    def _following(self, namespace: str, execution: str, types: Collection[EventType], after: str | None) -> Following:
        return Following(
            namespace=namespace, execution=execution, types=types, after=after, give_up=self._backoff.total
        )

    async def _follow(self, following: Following, deadline: float | None) -> AsyncGenerator[Change | Beat, None]:
        """Changes until the deadline; a Beat at each heartbeat, and after each break."""
        sockets = load_sockets()
        while (left := remaining(deadline)) > 0:
            token = await self._token()
            try:
                async with sockets.opening(self.url, left) as socket:
                    await socket.send(following.start(token))
                    while (left := remaining(deadline)) > 0:
                        async with asyncio.timeout(min(left, following.patience)):
                            text = await socket.recv()
                        change = following.take(text)
                        if isinstance(change, Beat) and (newer := following.renewed(await self._token())):
                            await socket.send(newer)
                        if change is not None:
                            yield change
                return
            except sockets.BREAKS as error:
                if remaining(deadline) <= 0:
                    return
                if following.closed(*sockets.reason_of(error)):
                    self._credentials.refused(token)
            await asyncio.sleep(min(remaining(deadline), self._backoff.delay(following.failures)))
            yield Beat(following.after or "")

    # Sending.

    async def _do(self, request: Request[T]) -> T:
        return await self._run(exchange(request, self._credentials, self._backoff), self._send)

    async def _pages(self, make: Callable[[str | None], Request[api.Page[T]]]) -> AsyncIterator[T]:
        cursor: str | None = None
        while True:
            page = await self._do(make(cursor))
            for item in page.items:
                yield item
            if (cursor := page.next) is None:
                return

    async def _run(self, steps: Exchange[T], transport: Callable[[Send], Awaitable[Any]]) -> T:
        answer: Any = None
        try:
            while True:
                match steps.send(answer):
                    case Authorize():
                        answer = await self._token()
                    case Sleep(seconds):
                        await asyncio.sleep(seconds)
                        answer = None
                    case Send() as step:
                        answer = await transport(step)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _token(self) -> str:
        if (token := self._credentials.current()) is not None:
            return token
        async with self._renewing:
            return await self._run(renewed(self._credentials, self._backoff), self._send)

    async def _send(self, step: Send, opened: list[httpx.Response] | None = None) -> Received | httpx.TransportError:
        """Where `opened` is given, a good answer's body is left to be read from there."""
        try:
            answer = await self._http.send(prepare(self._http, self.url, step), stream=True)
            if opened is not None and answer.is_success:
                opened.append(answer)
                return Received(answer.status_code, answer.headers, b"")
            async with contextlib.aclosing(answer):
                return Received(answer.status_code, answer.headers, await answer.aread())
        except httpx.TransportError as error:
            return error
