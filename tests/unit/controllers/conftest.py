"""What several tests of controllers start from."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.unit.store.running import RECONCILER


@pytest.fixture
def token(tmp_path: Path) -> Path:
    """The file of the reconciler's token for the artifact service."""
    file = tmp_path / "token"
    file.write_text(RECONCILER)
    return file
