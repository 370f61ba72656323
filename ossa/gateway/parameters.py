"""Parameters of routes. What names an object is checked as Kubernetes names it: nothing else can get into a path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query

from ossa.api.base import DNS_LABEL, DNS_SUBDOMAIN
from ossa.api.gateway import DEFAULT_LIMIT, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_PATTERN, MAX_LIMIT

Namespace = Annotated[str, Path(pattern=DNS_LABEL, max_length=63, description="The namespace.")]
Name = Annotated[str, Path(pattern=DNS_SUBDOMAIN, max_length=253, description="Name of the object.")]
TaskQuery = Annotated[
    str | None, Query(pattern=DNS_LABEL, max_length=63, description="The task; unset: the only one that there is.")
]
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT, description=f"Items of a page, {DEFAULT_LIMIT} by default.")]
Cursor = Annotated[str | None, Query(max_length=4096, description="`next` of the page before.")]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_KEY,
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="The same request with the same key leads to one Execution, however often it is sent.",
    ),
]
