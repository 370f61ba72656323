"""The charts as Helm renders them, without a cluster."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

REPO = Path(__file__).parents[3]
OSSA, CRDS = REPO / "charts/ossa", REPO / "charts/ossa-crds"
COMPONENTS = ("admission", "artifacts", "reconciler")
# A file of values of the chart, as a setting: with it there are these too.
TRIAL = "values-trial.yaml"
ALL = (*COMPONENTS, "gateway", "monitor")
SERVERS = ("postgresql", "redis")
# These hold for everybody, the operator too.
FOR_ALL = ("ossa-epoch", "ossa-executions")
OPERATOR = "system:serviceaccount:ossa-system:ossa-reconciler"


def helm(*arguments: str | Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    program = shutil.which("helm", path=f"{REPO}/.dev/bin:{os.environ['PATH']}")
    if program is None:
        pytest.fail("these tests need helm: `make up` brings it into .dev/bin, or install it")
    answer = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    if check and answer.returncode != 0:
        pytest.fail(f"helm {arguments[0]} failed: {answer.stderr}")
    return answer


@cache
def render(*settings: str, chart: Path = OSSA, apis: tuple[str, ...] = ()) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects by kind and name. `settings` are KEY=VALUE, the value in JSON, or files of values in the chart.

    apis: what the API server has besides what every one has, as GROUP/VERSION/KIND.
    """
    options: list[str | Path] = [f"--api-versions={api}" for api in apis]
    for setting in settings:
        options += ["-f", chart / setting] if setting.endswith(".yaml") else ["--set-json", setting]
    text = helm("template", "ossa", chart, "--namespace", "ossa-system", *options).stdout
    objects = [item for item in yaml.safe_load_all(text) if item]
    found = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    assert len(found) == len(objects)
    return found


def of_kind(kind: str, *settings: str) -> list[dict[str, Any]]:
    return [item for (k, _), item in render(*settings).items() if k == kind]


def workload(component: str, *settings: str) -> dict[str, Any]:
    kind = "StatefulSet" if component in SERVERS else "Deployment"
    return render(*settings)[kind, f"ossa-{component}"]


def pod_spec(component: str, *settings: str) -> dict[str, Any]:
    spec: dict[str, Any] = workload(component, *settings)["spec"]["template"]["spec"]
    return spec


def environment(component: str, *settings: str) -> Mapping[str, str]:
    (container,) = pod_spec(component, *settings)["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


def rights_of(component: str, *settings: str) -> set[tuple[str, str]]:
    """Resources (with their group, where there is one) and verbs that a part's account has, in whatever namespace."""
    account = f"ossa-{component}"
    found = render(*settings)
    roles = [
        (binding["roleRef"]["kind"], binding["roleRef"]["name"])
        for binding in [*of_kind("ClusterRoleBinding", *settings), *of_kind("RoleBinding", *settings)]
        if account in [subject["name"] for subject in binding["subjects"]]
    ]
    return {
        (f"{resource}.{group}" if group else resource, verb)
        for role in roles
        for rule in found[role]["rules"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
