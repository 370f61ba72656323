"""What the artifact service answers when it does not do what was asked, as HTTP problems (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus


class Problem(Exception):
    """An answer that is not the wanted one; `detail` says what to do."""

    status = HTTPStatus.INTERNAL_SERVER_ERROR

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


class BadRequest(Problem):
    """The request itself is wrong."""

    status = HTTPStatus.BAD_REQUEST


class Unauthenticated(Problem):
    """No token, or none that the cluster knows for this audience."""

    status = HTTPStatus.UNAUTHORIZED


class Forbidden(Problem):
    """Known, and not allowed."""

    status = HTTPStatus.FORBIDDEN


class NotFound(Problem):
    """There is no such artifact."""

    status = HTTPStatus.NOT_FOUND


class WrittenOver(Problem):
    """Artifacts never change."""

    status = HTTPStatus.METHOD_NOT_ALLOWED


class TimedOut(Problem):
    """The body did not come in time."""

    status = HTTPStatus.REQUEST_TIMEOUT


class TooLarge(Problem):
    """More bytes than one artifact may have."""

    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE


class Unavailable(Problem):
    """The API server or the storage does not answer: the caller tries again."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class Damaged(Problem):
    """What came is not what its reference says: asked again, it would be the same."""

    status = HTTPStatus.BAD_GATEWAY


class StorageFull(Problem):
    """No space is left: trying again does not help."""

    status = HTTPStatus.INSUFFICIENT_STORAGE


_TRY_AGAIN = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})
_BY_STATUS: dict[int, type[Problem]] = {
    kind.status: kind for kind in (BadRequest, Unauthenticated, Forbidden, NotFound, TooLarge)
}


def problem_of(status: int, detail: str) -> Problem:
    """What to raise for an answer of the service: Unavailable for all that may change, a full storage too."""
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in _TRY_AGAIN:
        return Unavailable(f"{status}: {detail}")
    return _BY_STATUS.get(status, BadRequest)(detail)
