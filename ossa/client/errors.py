"""What can go wrong at the gateway: one tree.

GatewayError
├── Unreachable          no answer, also after further tries
├── UnexpectedAnswer     whoever answered is no gateway, or one that is not understood
├── EventsClosed         the gateway ended the events, and to connect again makes no sense
└── Refused              the gateway answered with an error; `problem` has its words
    ├── Invalid          400, 413, 415, 422: the request is wrong; `problem.field` names the field
    ├── Unauthenticated  401
    ├── Forbidden        403: not allowed, or refused by a policy
    ├── NotFound         404
    ├── Conflict         409: the thing is not, or no longer, so that this could be done
    ├── RateLimited      429, also after further tries
    └── Unavailable      5xx, also after further tries
"""

from __future__ import annotations

from ossa.api.gateway import ProblemDocument


class GatewayError(Exception):
    """Whatever went wrong."""


class Unreachable(GatewayError):
    """There was no answer. Whether the request arrived is not known."""


class UnexpectedAnswer(GatewayError):
    """The answer is not one of a gateway's."""


class EventsClosed(GatewayError):
    """The gateway closed the events for a reason that lasts."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{reason or 'the gateway closed the events'} (code {code})")
        self.code, self.reason = code, reason


class Refused(GatewayError):
    """The gateway said no."""

    def __init__(self, status: int, problem: ProblemDocument) -> None:
        super().__init__(problem.detail or problem.title or f"HTTP status {status}")
        self.status, self.problem = status, problem


class Invalid(Refused):
    """The request is wrong."""


class Unauthenticated(Refused):
    """Nobody is signed in."""


class Forbidden(Refused):
    """Whoever is signed in may not do this, or a policy refuses it."""


class NotFound(Refused):
    """There is no such thing."""


class Conflict(Refused):
    """Things are not so that this could be done."""


class RateLimited(Refused):
    """Too many requests."""


class Unavailable(Refused):
    """The gateway cannot now."""


_BY_STATUS: dict[int, type[Refused]] = {
    400: Invalid,
    401: Unauthenticated,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: Invalid,
    415: Invalid,
    422: Invalid,
    429: RateLimited,
}


def refusal(status: int, problem: ProblemDocument) -> Refused:
    """The error that a status means."""
    kind = _BY_STATUS.get(status, Unavailable if status >= 500 else Refused)
    return kind(status, problem)
