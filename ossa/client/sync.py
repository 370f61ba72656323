"""The synchronous client. Several threads may share one."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Collection, Generator, Iterator
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


class Gateway:
    """A gateway. Context manager over one pool of connections.

    Methods raise GatewayError; what may pass by itself is tried again within `backoff.total` seconds. `http` replaces
    the HTTP client, e.g. for a CA of one's own; it is then the caller's to close.
    """

    def __init__(
        self, url: str, credentials: Credentials, *, backoff: Backoff | None = None, http: httpx.Client | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self._credentials, self._backoff = credentials, backoff or Backoff()
        self._http, self._own = http or httpx.Client(timeout=TIMEOUT, limits=LIMITS), http is None
        self._renewing = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connections up."""
        if self._own:
            self._http.close()

    # Whoever asks.

    def who_am_i(self) -> api.WhoAmI:
        """Whoever is signed in."""
        return self._do(requests.who_am_i())

    def sign_out(self) -> None:
        """End the session."""
        self._do(requests.sign_out())

    # Executions.

    def accepted(self, id: str) -> api.Accepted:  # noqa: A002 - the API's word
        """What became of a request of one's own that was accepted."""
        return self._do(requests.request(id))

    def orchestrate(self, request: api.OrchestrateRequest, *, key: str | None = None) -> api.Accepted:
        """Run a workflow. With one `key`, of whichever process, there is one Execution."""
        return self._do(requests.orchestrate(request, key=key))

    def executions(self, namespace: str = "", which: Which = EVERYTHING) -> Iterator[api.ExecutionSummary]:
        """Executions, the newest first; of all namespaces where none is named. Asked for page by page."""
        return self._pages(lambda at: requests.executions(namespace, which, cursor=at))

    def execution(self, namespace: str, name: str) -> api.ExecutionView:
        """One Execution."""
        return self._do(requests.execution(namespace, name))

    def tasks(self, namespace: str, name: str) -> Iterator[api.TaskView]:
        """An Execution's tasks."""
        return self._pages(lambda at: requests.tasks(namespace, name, cursor=at))

    def logs(
        self, namespace: str, name: str, *, task: str | None = None, index: int | None = None, follow: bool = False
    ) -> Iterator[str]:
        """Lines of a task's log, as they come where `follow`ed."""
        request = requests.logs(namespace, name, task=task, index=index, follow=follow)
        opened: list[httpx.Response] = []

        def send(step: Send) -> Received | httpx.TransportError:
            return self._send(step, opened)

        self._run(deliver(request, self._credentials, self._backoff), send)
        with contextlib.closing(opened[-1]) as answer:
            try:
                yield from answer.iter_lines()
            except httpx.TransportError as error:
                raise Unreachable(f"the log broke off: {error}") from error

    def pause(self, namespace: str, name: str) -> api.ExecutionView:
        """Let what runs end, and start nothing new."""
        return self._do(requests.steer(namespace, name, "pause"))

    def resume(self, namespace: str, name: str) -> api.ExecutionView:
        """Go on."""
        return self._do(requests.steer(namespace, name, "resume"))

    def cancel(self, namespace: str, name: str) -> api.ExecutionView:
        """End it."""
        return self._do(requests.steer(namespace, name, "cancel"))

    def retry(self, namespace: str, name: str, *, key: str | None = None) -> api.Accepted:
        """Another Execution that goes on with what a failed one completed."""
        return self._do(requests.again(namespace, name, "retry", key=key))

    def rerun(self, namespace: str, name: str, *, key: str | None = None) -> api.Accepted:
        """Another Execution of the same, from its start."""
        return self._do(requests.again(namespace, name, "rerun", key=key))

    def approvals(self, namespace: str, name: str) -> list[api.ApprovalView]:
        """What an Execution waits for, or waited for."""
        return self._do(requests.approvals(namespace, name)).items

    def approve(
        self, namespace: str, name: str, *, task: str | None = None, verdict: Verdict = "Approved", reason: str = ""
    ) -> api.ApprovalView:
        """Decide about what it waits for, in one's own name."""
        return self._do(requests.approve(namespace, name, task=task, verdict=verdict, reason=reason))

    def wait(self, namespace: str, name: str, *, seconds: float | None = None) -> api.ExecutionView:
        """Until it has ended. Raises TimeoutError."""
        if (view := self.execution(namespace, name)).finished:
            return view
        deadline = None if seconds is None else time.monotonic() + seconds
        following = self._following(namespace, name, EXECUTION_ALONE, BEGINNING)
        with contextlib.closing(self._follow(following, deadline)) as changes:
            for change in changes:
                if isinstance(change, Beat) or has_ended(change, name):  # events may be late: look now and then
                    view = self.execution(namespace, name)
                    if view.finished:
                        return view
        raise TimeoutError(f"{namespace}/{name} has not ended within {seconds} s; it is {view.phase}")

    # What there is to run.

    def workflows(self, namespace: str = "") -> Iterator[api.WorkflowView]:
        """Workflows."""
        return self._pages(lambda at: requests.workflows(namespace, cursor=at))

    def workflow(self, namespace: str, name: str) -> api.WorkflowView:
        """One workflow."""
        return self._do(requests.workflow(namespace, name))

    def agents(
        self, namespace: str = "", *, kind: str | None = None, capability: str | None = None
    ) -> Iterator[api.AgentView]:
        """Agents of a type, with a capability."""
        return self._pages(lambda at: requests.agents(namespace, kind=kind, capability=capability, cursor=at))

    def agent(self, namespace: str, name: str) -> api.AgentView:
        """One agent."""
        return self._do(requests.agent(namespace, name))

    # Events.

    def events(
        self, namespace: str = "", execution: str = "", *, types: Collection[EventType] = (), after: str | None = None
    ) -> Iterator[Change]:
        """Events for ever, each once, through every break of the connection.

        `after`: the position to resume at; BEGINNING tells first how things stand. Raises EventsClosed where the
        gateway ends them for good, Unreachable where it was not heard for `backoff.total` seconds.
        """
        following = self._following(namespace, execution, types, after)
        with contextlib.closing(self._follow(following, None)) as changes:
            for change in changes:
                if not isinstance(change, Beat):
                    yield change

    def _following(self, namespace: str, execution: str, types: Collection[EventType], after: str | None) -> Following:
        return Following(
            namespace=namespace, execution=execution, types=types, after=after, give_up=self._backoff.total
        )

    def _follow(self, following: Following, deadline: float | None) -> Generator[Change | Beat, None, None]:
        """Changes until the deadline; a Beat at each heartbeat, and after each break."""
        sockets = load_sockets()
        while (left := remaining(deadline)) > 0:
            token = self._token()
            try:
                with sockets.connect(self.url, left) as socket:
                    socket.send(following.start(token))
                    while (left := remaining(deadline)) > 0:
                        change = following.take(socket.recv(min(left, following.patience)))
                        if isinstance(change, Beat) and (newer := following.renewed(self._token())):
                            socket.send(newer)
                        if change is not None:
                            yield change
                return
            except sockets.BREAKS as error:
                if remaining(deadline) <= 0:
                    return
                if following.closed(*sockets.reason_of(error)):
                    self._credentials.refused(token)
            time.sleep(min(remaining(deadline), self._backoff.delay(following.failures)))
            yield Beat(following.after or "")

    # Sending.

    def _do(self, request: Request[T]) -> T:
        return self._run(exchange(request, self._credentials, self._backoff), self._send)

    def _pages(self, make: Callable[[str | None], Request[api.Page[T]]]) -> Iterator[T]:
        cursor: str | None = None
        while True:
            page = self._do(make(cursor))
            yield from page.items
            if (cursor := page.next) is None:
                return

    def _run(self, steps: Exchange[T], transport: Callable[[Send], Any]) -> T:
        answer: Any = None
        try:
            while True:
                match steps.send(answer):
                    case Authorize():
                        answer = self._token()
                    case Sleep(seconds):
                        time.sleep(seconds)
                        answer = None
                    case Send() as step:
                        answer = transport(step)
        except StopIteration as done:
            result: T = done.value
            return result

    def _token(self) -> str:
        if (token := self._credentials.current()) is not None:
            return token
        with self._renewing:
            return self._run(renewed(self._credentials, self._backoff), self._send)

    def _send(self, step: Send, opened: list[httpx.Response] | None = None) -> Received | httpx.TransportError:
        """Where `opened` is given, a good answer's body is left to be read from there."""
        try:
            answer = self._http.send(prepare(self._http, self.url, step), stream=True)
            if opened is not None and answer.is_success:
                opened.append(answer)
                return Received(answer.status_code, answer.headers, b"")
            with contextlib.closing(answer):
                return Received(answer.status_code, answer.headers, answer.read())
        except httpx.TransportError as error:
            return error
