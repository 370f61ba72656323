"""Values: what is refused, and that all are described."""

from __future__ import annotations

import json
from typing import Any

import pytest
import yaml

from tests.unit.charts.rendering import OSSA, helm


@pytest.mark.parametrize(
    "setting",
    [
        'operator.image=""',
        "operator.imge=1",
        "admission.replicas=0",
        "reconciler.replicas=0",
        "reconciler.keepFailedPods=-1",
        "reconciler.maxPods=-1",
        'reconciler.nativePolicies="no"',
        'artifacts.store="/data"',
        'imagePullPolicy="Sometimes"',
        "governance.breakGlassGroups=[1]",
        'governance.paramsNamespaces=["Not a name"]',
        "gateway.replicas=0",
        'gateway.service.type="ExternalName"',
        'gateway.origins=["*"]',
        'audit.store="/audit"',
        'redis.external.url="http://redis"',
        'redis.maxMemory="256Mi"',
        'postgresql.external.url="mysql://db"',
        "postgresql.external.port=0",
        "networkPolicies.httpsPorts=[]",
        "nonsense=1",
    ],
)
def test_nonsense_is_refused(setting: str) -> None:
    answer = helm("template", OSSA, "--set-json", setting, check=False)
    assert answer.returncode != 0
    assert "values don't meet the specifications of the schema" in answer.stderr


def test_every_setting_is_in_the_schema() -> None:
    schema = json.loads((OSSA / "values.schema.json").read_text())
    values = yaml.safe_load((OSSA / "values.yaml").read_text())

    def compare(value: Any, node: dict[str, Any], path: str) -> None:
        if isinstance(value, dict) and "properties" in node:
            assert value.keys() | {"global"} == node["properties"].keys() | {"global"}, path
            for name, item in value.items():
                compare(item, node["properties"][name], f"{path}.{name}")

    compare(values, schema, "values")
