"""Requests of all sorts, made from the published OpenAPI document: none brings the gateway down."""

from __future__ import annotations

import asyncio
from typing import Any

import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tests.unit.gateway.lab import lab
from tests.unit.gateway.rest.resources import EDITOR, execution, put

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
EXAMPLES = 12  # of each operation


def hammer(url: str) -> int:
    """How many operations were tried."""
    schema = schemathesis.openapi.from_url(f"{url}/openapi.json")
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    for operation in operations:

        @given(case=operation.as_strategy())
        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        )
        def check(case: schemathesis.Case[Any]) -> None:
            case.call_and_validate(
                base_url=url, headers={"Authorization": "Bearer alice"}, checks=list(CHECKS), timeout=10
            )

        check()
    return len(operations)


async def test_no_request_brings_it_down(records_url: str) -> None:
    async with lab(records_url) as gateway:
        gateway.people.add("alice", *EDITOR)
        put(gateway, execution("x1"))
        tried = await asyncio.to_thread(hammer, str(gateway.client.base_url).rstrip("/"))
        assert tried > 15
