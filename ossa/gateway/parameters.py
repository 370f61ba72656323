"""Parameters of routes. What names an object is checked as Kubernetes names it: nothing else can get into a path."""

from __future__ import annotations

from typing import Annotated

from fastapi import Header, Path, Query
from pydantic import BaseModel, ConfigDict, Field

from ossa.api.base import DNS_LABEL, DNS_SUBDOMAIN
from ossa.api.gateway import DEFAULT_LIMIT, IDEMPOTENCY_KEY, IDEMPOTENCY_KEY_PATTERN, MAX_LIMIT

Namespace = Annotated[str, Path(pattern=DNS_LABEL, max_length=63, description="The namespace.")]
Name = Annotated[str, Path(pattern=DNS_SUBDOMAIN, max_length=253, description="Name of the object.")]
TaskQuery = Annotated[
    str | None, Query(pattern=DNS_LABEL, max_length=63, description="The task; unset: the only one that there is.")
]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias=IDEMPOTENCY_KEY,
        pattern=IDEMPOTENCY_KEY_PATTERN,
        description="The same request with the same key leads to one Execution, however often it is sent.",
    ),
]


class Paging(BaseModel):
    """Which page of a list. A list that can be asked for some of its items alone adds what they are chosen by."""

    model_config = ConfigDict(frozen=True)

    limit: int = Field(
        default=DEFAULT_LIMIT, ge=1, le=MAX_LIMIT, description=f"Items of a page, {DEFAULT_LIMIT} by default."
    )
    cursor: str | None = Field(default=None, max_length=4096, description="`next` of the page before.")


PageQuery = Annotated[Paging, Query()]
