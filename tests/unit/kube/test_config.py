"""Who we are: the token of a kubeconfig, or of the pod's service account."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossa.kube import config


@pytest.fixture
def account(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of a pod's service account."""
    for name, text in {"token": "first\n", "namespace": "lab", "ca.crt": ""}.items():
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(config, "SERVICE_ACCOUNT", tmp_path)
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", "10.0.0.1")
    return tmp_path


def test_a_renewed_token_is_taken_soon(account: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config, "TOKEN_SECONDS", 0.0)
    found = config.load_config()
    assert (found.server, found.namespace, found.token()) == ("https://10.0.0.1:443", "lab", "first")
    (account / "token").write_text("second")
    assert found.token() == "second"


def test_a_token_is_not_read_at_each_request(account: Path) -> None:
    found = config.load_config()
    assert found.token() == "first"
    (account / "token").unlink()
    assert found.token() == "first"
