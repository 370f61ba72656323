"""The terminal that tests of the command type in."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.unit.cli.terminal import (
    Cluster,
    Terminal,
    kubeconfig,
)


@pytest.fixture
async def terminal(tmp_path: Path) -> AsyncIterator[Terminal]:
    cluster = Cluster()
    typed = Terminal(tmp_path / "kubeconfig", cluster)
    await typed.start()
    (tmp_path / "kubeconfig").write_text(kubeconfig(str(typed.server.make_url("")).rstrip("/")))
    yield typed
    await typed.server.close()
