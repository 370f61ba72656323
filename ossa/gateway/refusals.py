"""What the API server and PostgreSQL say, as problems for the client."""

from __future__ import annotations

import re
from http import HTTPStatus

from ossa.gateway.problems import Problem
from ossa.kube.errors import ApiError, Conflict, NotFound, NotPermitted, Refused
from ossa.store.records.errors import RecordsUnavailable

RETRY_AFTER = {"Retry-After": "2"}
_WEBHOOK = re.compile(r'^admission webhook "[^"]+" denied the request: ')
_OBJECT = re.compile(r'^[a-z.]+ "[^"]*" is (forbidden|invalid): ')
_NATIVE = re.compile(r"ValidatingAdmissionPolicy '([^']+)' with binding '[^']+' denied request: ")
_POLICY = re.compile(r"policy '([^']+)'")
# As our admission begins: spec.inputs.dataset: …, or `2 problems:` and a line for each.
_FIELD = re.compile(r"^(?:\d+ problems:\s*- )?((?:spec|metadata)(?:[.\[][\w\-.\[\]]*)?): ")


def refusal(error: ApiError) -> Problem | None:
    """The problem where the API server says no for good; None where asking again may help.

    That we ourselves lack a right (NotPermitted) is no answer to the client's request, nor is a missing CRD.
    """
    match error:
        case NotPermitted():
            return None
        case Refused() | Conflict():
            return _refused(error)
        case NotFound() if error.reason == "NotFound":
            return Problem(HTTPStatus.NOT_FOUND, error.message)
        case ApiError(status=413):
            return Problem(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, error.message)
    return None


def problem_of(error: ApiError) -> Problem:
    """For a client that waits: `refusal`, or that it may ask again."""
    return refusal(error) or Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the API server does not answer as it should just now; try again in a few seconds",
        headers=RETRY_AFTER,
    )


def records_away(_: RecordsUnavailable) -> Problem:
    """PostgreSQL cannot be asked."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        "the records (PostgreSQL) cannot be asked just now; try again in a few seconds",
        headers=RETRY_AFTER,
    )


def _refused(error: ApiError) -> Problem:
    """With the message of the policy or the validation, without the API server's own words around it."""
    message, more = error.message, {}
    if native := _NATIVE.search(message):
        message, more["policy"] = message[native.end() :], native[1]
    else:
        message = _OBJECT.sub("", _WEBHOOK.sub("", message))
        if policy := _POLICY.search(message):
            more["policy"] = policy[1]
    found = _FIELD.match(message)
    field = found[1] if found else next(iter(error.fields), None)
    if field is not None:
        # The client's body has what is spec in the object.
        more["field"] = field.removeprefix("spec.")
    return Problem(HTTPStatus(error.status), message, more=more)
