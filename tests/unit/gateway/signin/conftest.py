"""Replicas of the gateway's sign-in over a real PostgreSQL and a real server that speaks Redis' protocol."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack

import pytest

from tests.unit.gateway.signin.replicas import Replicas


@pytest.fixture
async def replicas(records_url: str, redis_url: str) -> AsyncIterator[Replicas]:
    """Makes one more replica each time that it is called."""
    async with AsyncExitStack() as stack:
        yield Replicas(records_url, redis_url, stack)
