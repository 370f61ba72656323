"""Pods of the operator: hardened, drained without harm, told their settings."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossa.api.contract import GROUP
from ossa.environment import names
from tests.unit.charts.rendering import (
    ALL,
    COMPONENTS,
    REPO,
    SERVERS,
    TRIAL,
    environment,
    of_kind,
    pod_spec,
    render,
    workload,
)


@pytest.mark.parametrize("component", [*ALL, *SERVERS])
def test_pods_are_hardened(component: str) -> None:
    spec = pod_spec(component, TRIAL)
    assert spec["serviceAccountName"] == f"ossa-{component}"
    assert spec["enableServiceLinks"] is False  # OSSA_ARTIFACTS_PORT would otherwise be a setting of the service
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == spec["securityContext"]["fsGroup"] == 65532
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert {"requests", "limits"} <= container["resources"].keys()
    assert {"startupProbe", "livenessProbe", "readinessProbe"} <= container.keys()
    ports = {port["name"] for port in container["ports"]}
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        (handler,) = container[probe].keys() & {"httpGet", "tcpSocket", "exec"}
        assert handler == "exec" or container[probe][handler]["port"] in ports


@pytest.mark.parametrize("component", ALL)
def test_the_programs_are_there(component: str) -> None:
    (container,) = pod_spec(component, TRIAL)["containers"]
    program = Path(container["command"][1]).relative_to("/app")
    assert (REPO / program).is_file()


@pytest.mark.parametrize("component", [*ALL, *SERVERS])
def test_volumes_are_mounted_and_mounts_have_volumes(component: str) -> None:
    spec = pod_spec(component, TRIAL)
    claims = workload(component, TRIAL)["spec"].get("volumeClaimTemplates", [])
    volumes = {volume["name"] for volume in spec["volumes"]} | {claim["metadata"]["name"] for claim in claims}
    assert {mount["name"] for mount in spec["containers"][0]["volumeMounts"]} == volumes


@pytest.mark.parametrize("component", COMPONENTS)
def test_every_component_survives_a_drain(component: str) -> None:
    budget = render()["PodDisruptionBudget", f"ossa-{component}"]["spec"]
    deployment = render()["Deployment", f"ossa-{component}"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    assert budget["selector"]["matchLabels"].items() <= labels.items()
    assert deployment["selector"]["matchLabels"].items() <= labels.items()
    # A budget of one that is always needed would block the drain of its node for ever.
    assert ("minAvailable" in budget) == (deployment["replicas"] > 1)
    assert (deployment["strategy"]["type"] == "Recreate") == (deployment["replicas"] == 1)


def test_one_replica_can_be_drained() -> None:
    budget = render("admission.replicas=1")["PodDisruptionBudget", "ossa-admission"]["spec"]
    assert "minAvailable" not in budget
    budget = render("reconciler.replicas=1")["PodDisruptionBudget", "ossa-reconciler"]["spec"]
    assert "minAvailable" not in budget
    assert of_kind("PodDisruptionBudget", "podDisruptionBudgets.enabled=false") == []


def test_our_own_pods_are_no_worker_pods() -> None:
    for deployment in [*of_kind("Deployment", TRIAL), *of_kind("StatefulSet", TRIAL)]:
        metadata = deployment["spec"]["template"]["metadata"]
        keys = [*metadata["labels"], *metadata.get("annotations", {})]
        assert not [key for key in keys if key.startswith(f"{GROUP}/")]
        assert metadata["labels"]["app.kubernetes.io/managed-by"] != "ossa"


def test_settings_reach_the_processes() -> None:
    settings = (
        'operator.image="example/operator:1"',
        'worker.image="example/worker:1"',
        "reconciler.keepFailedPods=10000000",
        "reconciler.maxPods=250",
        'admission.excludedNamespaces=["kube-system","infra"]',
        'reconciler.nativePolicies="Always"',
        'artifacts.store="s3://bucket/prefix"',
        'artifacts.env=[{"name":"AWS_REGION","value":"x"}]',
    )
    reconciler = environment("reconciler", *settings)
    assert reconciler["OSSA_WORKER_IMAGE"] == "example/worker:1"
    assert reconciler["OSSA_ARTIFACTS_URL"] == "http://ossa-artifacts.ossa-system.svc:8080"
    assert reconciler["OSSA_KEEP_COMPLETED_PODS"] == "600"
    assert reconciler["OSSA_KEEP_FAILED_PODS"] == "10000000"  # and not 1e+07
    assert reconciler["OSSA_MAX_PODS"] == "250"
    assert reconciler["OSSA_NATIVE_POLICIES"] == "Always"
    assert set(names(reconciler, "OSSA_EXCLUDED_NAMESPACES")) == {"kube-system", "infra"}
    artifacts = environment("artifacts", *settings)
    assert artifacts["OSSA_ARTIFACTS_STORE"] == "s3://bucket/prefix"
    assert artifacts["AWS_REGION"] == "x"
    for component in ALL:
        assert pod_spec(component, TRIAL, *settings)["containers"][0]["image"] == "example/operator:1"
