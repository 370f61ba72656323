"""PostgreSQL away, as an answer."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from http import HTTPStatus

from ossa.gateway.problems import Problem
from ossa.store.records.errors import RecordsUnavailable

_log = logging.getLogger("ossa.gateway.signin")


@contextlib.contextmanager
def records_needed(wanted: str) -> Iterator[None]:
    """Raises Problem: 503 where the database cannot be asked; `wanted` says what for."""
    try:
        yield
    except RecordsUnavailable as error:
        _log.warning("the records do not answer", extra={"wanted": wanted, "error": repr(error)})
        raise Problem(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"the records are not there just now, without them nobody can {wanted}; try again in a few seconds",
            headers={"Retry-After": "5"},
        ) from error
