"""What tests of the creation of pods start from."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from ossa.store.client import ArtifactClient
from tests.unit.controllers.creation.world import World, served


@pytest.fixture
async def world(token: Path) -> AsyncIterator[World]:
    async with served(ArtifactClient("http://127.0.0.1:9", token)) as made:
        yield made
