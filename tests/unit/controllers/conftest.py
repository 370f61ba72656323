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


@pytest.fixture
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in the background is waited for: a machine that stands still for a second is not what the test is about."""
    monkeypatch.setattr("controllers.background.PATIENCE", 30.0)
