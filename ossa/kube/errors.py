"""What the API server may answer, as one tree of exceptions."""

from __future__ import annotations

import re
from typing import Any

import orjson


class ApiError(Exception):
    """A call that did not succeed. `status` is the HTTP code, 0 where no answer came.

    `fields` are those of the object that the API server's own validation blames, such as spec.workflow.
    """

    def __init__(self, status: int, reason: str, message: str, fields: tuple[str, ...] = ()) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message
        self.fields = fields

    @property
    def transient(self) -> bool:
        """Whether the same call may succeed later. It may also have taken effect already."""
        return self.status in (0, 408, 429) or self.status >= 500

    @property
    def blames_nobody(self) -> bool:
        """Whether the operator should ask again and again: what it asked for is not what was wrong."""
        return self.transient


class NotFound(ApiError):
    """404."""


class Conflict(ApiError):
    """409: the name is taken, or the object has changed since it was read."""


class Gone(ApiError):
    """410: the resourceVersion is too old to watch from."""


class Refused(ApiError):
    """400, 403 or 422: decoding, admission, quota or validation said no."""


class NotPermitted(ApiError):
    """403 of the authorizer: nothing is wrong with the object, and an administrator can grant the right.

    An API server that has just started says so too, until it has read the cluster's roles and policies.
    """

    @property
    def blames_nobody(self) -> bool:
        return True


_BY_STATUS: dict[int, type[ApiError]] = {
    400: Refused,
    403: Refused,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Refused,
}


# As the API server's authorization filter words a refusal; what admission refuses is forbidden in other words.
_AUTHORIZER = re.compile(r' is forbidden: User "[^"]*" cannot [a-z]+ resource ')
# As parts of its admission say that have not read yet what they judge by.
_STARTING = "not yet ready to handle request"


def error_from(status: int, body: bytes) -> ApiError:
    """The exception for an answer: its Status object where it is one, its text where not."""
    reason, message = "", body[:2000].decode(errors="replace")
    fields: tuple[str, ...] = ()
    try:
        answer: Any = orjson.loads(body)
    except orjson.JSONDecodeError:
        answer = None
    if isinstance(answer, dict) and answer.get("kind") == "Status":
        reason, message = str(answer.get("reason", "")), str(answer.get("message", ""))
        causes = (answer.get("details") or {}).get("causes") or ()
        fields = tuple(str(cause["field"]) for cause in causes if cause.get("field"))
    if status == 403 and (_AUTHORIZER.search(message) or message.endswith(_STARTING)):
        return NotPermitted(status, reason, message, fields)
    return _BY_STATUS.get(status, ApiError)(status, reason, message, fields)
