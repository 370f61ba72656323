"""The artifact service: its key, its volume, and who has a token for it."""

from __future__ import annotations

import base64
import hashlib
from pathlib import Path
from typing import Any

import pytest

from ossa.api.contract import ARTIFACTS_AUDIENCE
from tests.unit.charts.rendering import environment, of_kind, pod_spec, render


@pytest.mark.parametrize("component", ["reconciler", "artifacts"])
def test_the_key_file_is_where_the_setting_says(component: str) -> None:
    spec = pod_spec(component)
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == "/etc/ossa/artifacts")
    (volume,) = (v for v in spec["volumes"] if v["name"] == mount["name"])
    secret = render()["Secret", volume["secret"]["secretName"]]
    assert environment(component)["OSSA_ARTIFACTS_KEY_FILE"] == "/etc/ossa/artifacts/key"
    assert len(base64.b64decode(base64.b64decode(secret["data"]["key"]))) == 32
    # The same key in all places of one rendering, and pods that restart when it changes.
    template = render()["Deployment", f"ossa-{component}"]["spec"]["template"]["metadata"]
    digest = hashlib.sha256(secret["data"]["key"].encode()).hexdigest()
    assert template["annotations"]["checksum/artifacts-key"] == digest


def test_artifacts_and_their_key_outlive_the_release() -> None:
    for kind, name in [("PersistentVolumeClaim", "ossa-artifacts"), ("Secret", "ossa-artifacts-key")]:
        assert render()[kind, name]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


@pytest.mark.parametrize(
    ("setting", "volume"),
    [
        ('artifacts.persistence.size="1Gi"', {"persistentVolumeClaim": {"claimName": "ossa-artifacts"}}),
        ('artifacts.persistence.existingClaim="mine"', {"persistentVolumeClaim": {"claimName": "mine"}}),
        ("artifacts.persistence.enabled=false", {"emptyDir": {}}),
    ],
)
def test_where_artifacts_lie(setting: str, volume: dict[str, Any]) -> None:
    assert {"name": "data", **volume} in pod_spec("artifacts", setting)["volumes"]
    claims = of_kind("PersistentVolumeClaim", setting)
    assert len(claims) == (1 if "size" in setting else 0)


def test_a_key_of_ones_own() -> None:
    found = render('artifacts.existingKeySecret="mine"')
    assert ("Secret", "ossa-artifacts-key") not in found
    for component in ("reconciler", "artifacts"):
        volumes = pod_spec(component, 'artifacts.existingKeySecret="mine"')["volumes"]
        assert "mine" in [volume.get("secret", {}).get("secretName") for volume in volumes]


def test_the_reconciler_has_a_token_for_the_artifact_service_alone() -> None:
    spec = pod_spec("reconciler")
    file = Path(environment("reconciler")["OSSA_ARTIFACTS_TOKEN_FILE"])
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == str(file.parent))
    (volume,) = (v for v in spec["volumes"] if v["name"] == mount["name"])
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == ARTIFACTS_AUDIENCE
    assert source["serviceAccountToken"]["path"] == file.name
