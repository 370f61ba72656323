"""One request until it is answered: tokens, further tries, errors. The steps are data; two transports take them."""

from __future__ import annotations

import time
from collections.abc import Generator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx
from pydantic import ValidationError

from ossa.api.gateway import ProblemDocument
from ossa.api.problem import problem_detail
from ossa.client.backoff import Backoff
from ossa.client.credentials import Credentials
from ossa.client.errors import GatewayError, UnexpectedAnswer, Unreachable, refusal
from ossa.client.requests import Request

T = TypeVar("T")
TIMEOUT = httpx.Timeout(30.0, connect=5.0)
# What may be different next time, though nothing changes at the client.
_AGAIN = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Authorize:
    """Get a token: the answer is the token."""


@dataclass(frozen=True, slots=True)
class Sleep:
    """Wait."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Send:
    """Send a request: the answer is a Received, or the httpx.TransportError that it met."""

    request: Request[Any]
    headers: dict[str, str]


@dataclass(frozen=True, slots=True)
class Received:
    """An answer."""

    status: int
    headers: httpx.Headers
    body: bytes


Step = Authorize | Sleep | Send
Exchange = Generator[Step, Any, T]


def exchange(request: Request[T], credentials: Credentials, backoff: Backoff) -> Exchange[T]:
    """Send until there is an answer that counts. Raises GatewayError."""
    received = yield from deliver(request, credentials, backoff)
    try:
        return request.parse(received.body)
    except ValidationError as error:
        raise UnexpectedAnswer(f"{request.method} {request.path}: the answer is not understood: {error}") from error


def deliver(request: Request[Any], credentials: Credentials, backoff: Backoff) -> Exchange[Received]:
    """The answer, where it is a good one. Raises GatewayError."""
    began, tries, renewed = time.monotonic(), 0, False
    while True:
        headers = dict(request.headers)
        token = ""
        if request.signed_in:
            token = yield Authorize()
            headers["Authorization"] = f"Bearer {token}"
        outcome: Received | httpx.TransportError = yield Send(request, headers)
        if isinstance(outcome, Received) and outcome.status < 300:
            return outcome
        tries += 1
        if isinstance(outcome, Received) and outcome.status == 401 and token and not renewed:
            renewed = True  # it ended on its way, or its key was taken out of use
            credentials.refused(token)
            continue
        pause = _pause(outcome, tries, backoff)
        if pause is None or time.monotonic() + pause > began + backoff.total:
            raise error_of(outcome, request)
        yield Sleep(pause)


def renewed(credentials: Credentials, backoff: Backoff) -> Exchange[str]:
    """A new token. Raises GatewayError."""
    renewal = credentials.renewal()
    try:
        request = next(renewal)
        while True:
            try:
                tokens = yield from exchange(request, credentials, backoff)
            except GatewayError as error:
                request = renewal.throw(error)
            else:
                request = renewal.send(tokens)
    except StopIteration as done:
        token: str = done.value
        return token


def error_of(outcome: Received | httpx.TransportError, request: Request[Any]) -> GatewayError:
    """What the caller is told."""
    what = f"{request.method} {request.path}"
    if isinstance(outcome, httpx.TransportError):
        return Unreachable(f"{what}: {outcome or type(outcome).__name__}")
    if outcome.status < 400:
        return UnexpectedAnswer(f"{what}: HTTP status {outcome.status}; is this the address of a gateway?")
    return refusal(outcome.status, problem_in(outcome))


def problem_in(received: Received) -> ProblemDocument:
    """The problem of an answer; of a proxy's, its first words."""
    try:
        return ProblemDocument.model_validate_json(received.body)
    except ValidationError:
        return ProblemDocument(status=received.status, detail=problem_detail(received.body))


def _pause(outcome: Received | httpx.TransportError, tries: int, backoff: Backoff) -> float | None:
    """Seconds until it makes sense to try again; None: never."""
    if isinstance(outcome, httpx.TransportError):
        wrong = isinstance(outcome, httpx.UnsupportedProtocol | httpx.LocalProtocolError)
        return None if wrong else backoff.delay(tries)
    if outcome.status not in _AGAIN:
        return None
    return backoff.delay(tries, least=retry_after(outcome.headers.get("retry-after")))


def retry_after(header: str | None) -> float:
    """Seconds that an answer asks to wait for: given as such, or as a date. 0 where it says nothing usable."""
    if not header:
        return 0.0
    if header.strip().isdecimal():
        return float(header)
    try:
        return max(0.0, parsedate_to_datetime(header).timestamp() - time.time())
    except ValueError:
        return 0.0


def prepare(http: httpx.Client | httpx.AsyncClient, url: str, step: Send) -> httpx.Request:
    """What httpx sends."""
    request = step.request
    # A followed log may be silent for as long as its task is.
    timeout = httpx.Timeout(30.0, connect=5.0, read=None) if request.params.get("follow") else http.timeout
    return http.build_request(
        request.method,
        url + request.path,
        params=request.params,
        json=request.body,
        headers=step.headers,
        timeout=timeout,
    )
