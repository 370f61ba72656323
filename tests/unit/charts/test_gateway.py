"""The gateway and the monitor: how they are reached, what they may do, what they are told."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_private_key, load_pem_public_key

from ossa.api.contract import GROUP
from ossa.environment import names
from ossa.gateway.identity import PREFIX
from tests.unit.charts.rendering import (
    ALL,
    OSSA,
    SERVERS,
    TRIAL,
    environment,
    helm,
    of_kind,
    pod_spec,
    render,
    rights_of,
    workload,
)

GATEWAY = "system:serviceaccount:ossa-system:ossa-gateway"
EXTERNAL = (
    "gateway.enabled=true",
    "monitor.enabled=true",
    'postgresql.external.existingSecret="records"',
    'redis.external={"existingSecret":"bus","key":"address","port":6380}',
)
PUBLIC = (
    "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAFnI9SA/pLSRvphLo1bb62fSjgywj5GhOI8rx5G/gTD4=\n-----END PUBLIC KEY-----"
)
READ = ("get", "list", "watch")


def source(component: str, variable: str, *settings: str) -> dict[str, Any]:
    """Where a process has a variable from."""
    (container,) = pod_spec(component, *settings)["containers"]
    (found,) = (item["valueFrom"]["secretKeyRef"] for item in container["env"] if item["name"] == variable)
    return dict(found)


def test_the_operator_alone_is_the_default() -> None:
    """It needs neither PostgreSQL nor Redis, and nobody who installs it pays for them."""
    assert not [name for _, name in render() if any(part in name for part in ("gateway", "monitor", *SERVERS))]
    assert of_kind("StatefulSet") == of_kind("NetworkPolicy") == []
    assert "OSSA_RECORDS_URL" not in environment("reconciler")
    assert set(names(environment("admission"), "OSSA_DELEGATES")).isdisjoint({GATEWAY})


@pytest.mark.parametrize("component", ["gateway", "monitor"])
def test_they_know_where_the_records_and_the_bus_are(component: str) -> None:
    assert source(component, "OSSA_RECORDS_URL", TRIAL) == {"name": "ossa-postgresql", "key": "url"}
    assert source(component, "OSSA_BUS_URL", TRIAL) == {"name": "ossa-redis", "key": "url"}
    assert source(component, "OSSA_RECORDS_URL", *EXTERNAL) == {"name": "records", "key": "url"}
    assert source(component, "OSSA_BUS_URL", *EXTERNAL) == {"name": "bus", "key": "address"}
    url = (*EXTERNAL[:2], 'postgresql.external.url="postgresql://u@h/d"', 'redis.external.url="rediss://h"')
    assert source(component, "OSSA_RECORDS_URL", *url) == {"name": "ossa-postgresql-external", "key": "url"}
    assert {"ossa-postgresql-external", "ossa-redis-external"} <= {name for _, name in render(*url)}


def test_the_reconciler_asks_the_records_before_it_deletes() -> None:
    assert source("reconciler", "OSSA_RECORDS_URL", TRIAL) == source("monitor", "OSSA_RECORDS_URL", TRIAL)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["gateway.enabled=true"], "need postgresql.enabled (a trial), postgresql.external.existingSecret or"),
        (["monitor.enabled=true", "postgresql.enabled=true"], "need redis.enabled"),
        ([*EXTERNAL, "redis.enabled=true"], "redis.enabled is a server of the chart and redis.external one of yours"),
        ([*EXTERNAL, 'audit.existingKeySecret="mine"'], "audit.existingKeySecret needs audit.publicKeys"),
        ([*EXTERNAL, "gateway.ingress.enabled=true"], "needs gateway.ingress.host"),
        ([*EXTERNAL, "gateway.ingress.enabled=true", 'gateway.ingress.host="a.b"'], "needs gateway.ingress.tlsSecret"),
    ],
)
def test_what_is_missing_is_said(settings: list[str], said: str) -> None:
    options = [part for setting in settings for part in ("--set-json", setting)]
    answer = helm("template", OSSA, *options, check=False)
    assert answer.returncode != 0
    assert said in answer.stderr


def test_the_gateway_may_no_more_than_it_does_for_others() -> None:
    assert rights_of("gateway", TRIAL) == {
        ("tokenreviews.authentication.k8s.io", "create"),
        ("subjectaccessreviews.authorization.k8s.io", "create"),
        *((f"{kind}.{GROUP}", verb) for kind in ("agents", "workflows", "executions") for verb in READ),
        (f"executions.{GROUP}", "create"),
        (f"executions.{GROUP}", "patch"),
        *((f"approvals.{GROUP}", verb) for verb in ("get", "list", "patch")),
        ("pods/log", "get"),
    }


def test_the_monitor_reads_and_has_one_lease() -> None:
    kinds = ("agents", "workflows", "executions", "approvals", "agentpolicies")
    assert rights_of("monitor", TRIAL) == {
        *((f"{kind}.{GROUP}", verb) for kind in kinds for verb in READ),
        ("controllerrevisions.apps", "get"),
        *(("leases.coordination.k8s.io", verb) for verb in ("create", "get", "update")),
        *(("configmaps", verb) for verb in ("create", "patch")),
    }
    rules = render(TRIAL)["Role", "ossa-monitor"]["rules"]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["create"], None),
        (["get", "update"], ["ossa-monitor"]),
        (["create", "patch"], ["ossa-audit"]),
    ]


def test_the_gateway_is_a_delegate_and_alone_writes_decisions_of_its_users() -> None:
    assert GATEWAY in set(names(environment("admission", TRIAL), "OSSA_DELEGATES"))
    assert GATEWAY not in set(names(environment("admission", TRIAL), "OSSA_OPERATORS"))
    policy = render(TRIAL)["ValidatingAdmissionPolicy", "ossa-approvals"]["spec"]
    variables = {item["name"]: item["expression"] for item in policy["variables"]}
    assert variables["isGateway"] == f'request.userInfo.username in ["{GATEWAY}"]'
    (own,) = [rule["expression"] for rule in policy["validations"] if "decides for another" in rule["message"]]
    assert f"variables.isGateway && user.startsWith('{PREFIX}')" in own
    lean = render()["ValidatingAdmissionPolicy", "ossa-approvals"]["spec"]
    assert "request.userInfo.username in []" in {item["expression"] for item in lean["variables"]}


def test_the_gateway_has_three_replicas_and_scales_by_what_it_uses() -> None:
    assert "replicas" not in workload("gateway", *EXTERNAL)["spec"]  # or an upgrade would undo what the autoscaler did
    scaler = render(*EXTERNAL)["HorizontalPodAutoscaler", "ossa-gateway"]["spec"]
    assert (scaler["minReplicas"], scaler["maxReplicas"]) == (3, 10)
    wanted = {item["resource"]["name"]: item["resource"]["target"]["averageUtilization"] for item in scaler["metrics"]}
    assert wanted == {"cpu": 70, "memory": 80}
    assert {"cpu", "memory"} <= pod_spec("gateway", *EXTERNAL)["containers"][0]["resources"]["requests"].keys()
    fixed = (*EXTERNAL, "gateway.autoscaling.enabled=false")
    assert workload("gateway", *fixed)["spec"]["replicas"] == 3
    assert of_kind("HorizontalPodAutoscaler", *fixed) == []


@pytest.mark.parametrize("component", ["gateway", "monitor"])
def test_one_goes_at_a_time(component: str) -> None:
    budget = render(TRIAL)["PodDisruptionBudget", f"ossa-{component}"]["spec"]
    assert budget["maxUnavailable"] == 1
    assert workload(component, TRIAL)["spec"]["strategy"]["rollingUpdate"] == {"maxUnavailable": 0, "maxSurge": 1}


def test_metrics_are_not_where_the_world_comes_in() -> None:
    settings = (
        *EXTERNAL,
        'gateway.service={"type":"LoadBalancer","port":80,"loadBalancerSourceRanges":["192.0.2.0/24"]}',
        'gateway.ingress={"enabled":true,"host":"a.example.org","tlsSecret":"t","className":"nginx"}',
    )
    service = render(*settings)["Service", "ossa-gateway"]["spec"]
    assert (service["type"], service["loadBalancerSourceRanges"]) == ("LoadBalancer", ["192.0.2.0/24"])
    assert [(port["port"], port["targetPort"]) for port in service["ports"]] == [(80, "http")]
    metrics = render(*settings)["Service", "ossa-gateway-metrics"]["spec"]
    assert [port["targetPort"] for port in metrics["ports"]] == ["metrics"]
    assert "type" not in metrics
    ingress = render(*settings)["Ingress", "ossa-gateway"]["spec"]
    assert ingress["tls"] == [{"hosts": ["a.example.org"], "secretName": "t"}]
    assert ingress["ingressClassName"] == "nginx"
    assert of_kind("Ingress", *EXTERNAL) == []


def test_settings_reach_the_monitor() -> None:
    found = environment("monitor", TRIAL, "monitor.keepDays.tasks=0")
    days = {name: found[f"OSSA_KEEP_{name}_DAYS"] for name in ("EXECUTIONS", "TASKS", "METRICS")}
    assert days == {"EXECUTIONS": "365", "TASKS": "0", "METRICS": "30"}
    assert found["OSSA_KEEP_AUDIT_DAYS"] == "183"


def test_settings_reach_the_gateway() -> None:
    settings = (
        TRIAL,
        'gateway.origins=["https://console.example.org"]',
        'gateway.trustedProxies=["10.0.0.0/8"]',
        "gateway.maxBody=10000000",
        'tracing.endpoint="http://collector:4318"',
    )
    found = environment("gateway", *settings)
    assert json.loads(found["OSSA_GATEWAY_ORIGINS"]) == ["https://console.example.org"]
    assert json.loads(found["OSSA_GATEWAY_TRUSTED_PROXIES"]) == ["10.0.0.0/8"]
    assert found["OSSA_GATEWAY_MAX_BODY"] == "10000000"
    for component in ("gateway", "monitor", "reconciler"):
        assert environment(component, *settings)["OTEL_EXPORTER_OTLP_ENDPOINT"] == "http://collector:4318"
        assert "OTEL_EXPORTER_OTLP_ENDPOINT" not in environment(component, TRIAL)


def test_the_gateway_knows_how_clients_reach_it() -> None:
    def url(*settings: str) -> str:
        return environment("gateway", TRIAL, *settings)["OSSA_GATEWAY_URL"]

    ingress = 'gateway.ingress={"enabled":true,"host":"a.example.org","tlsSecret":"t"}'
    assert url() == "http://ossa-gateway.ossa-system.svc:8080"
    assert url(ingress) == "https://a.example.org"
    assert url(ingress, 'gateway.url="https://b.example.org/ossa"') == "https://b.example.org/ossa"


def test_people_can_sign_in_by_openid_connect() -> None:
    assert "OSSA_OIDC_ISSUER" not in environment("gateway", TRIAL)
    settings = (TRIAL, 'gateway.oidc={"issuer":"https://id.example.org","clientId":"ossa","existingSecret":"mine"}')
    found = environment("gateway", *settings)
    assert (found["OSSA_OIDC_ISSUER"], found["OSSA_OIDC_CLIENT_ID"]) == ("https://id.example.org", "ossa")
    spec = pod_spec("gateway", *settings)
    folder, _, file = found["OSSA_OIDC_CLIENT_SECRET_FILE"].rpartition("/")
    assert {"name": "oidc", "mountPath": folder, "readOnly": True} in spec["containers"][0]["volumeMounts"]
    (volume,) = [volume for volume in spec["volumes"] if volume["name"] == "oidc"]
    assert volume["secret"]["secretName"] == "mine"
    assert volume["secret"]["items"] == [{"key": file, "path": file}]
    answer = helm("template", OSSA, "-f", OSSA / TRIAL, "--set", "gateway.oidc.issuer=https://a", check=False)
    assert "gateway.oidc.issuer needs gateway.oidc.clientId" in answer.stderr


@pytest.mark.parametrize(
    ("variable", "setting", "name"),
    [
        ("OSSA_GATEWAY_KEY_FILE", "gateway.existingKeySecret", "ossa-gateway-key"),
        ("OSSA_GATEWAY_ADMIN_PASSWORD_FILE", "gateway.admin.existingSecret", "ossa-gateway-admin"),
        ("OSSA_AUDIT_KEY_FILE", "audit.existingKeySecret", "ossa-audit-key"),
    ],
)
def test_keys_are_files_of_secrets_that_stay(variable: str, setting: str, name: str) -> None:
    spec = pod_spec("gateway", TRIAL)
    folder, _, file = environment("gateway", TRIAL)[variable].rpartition("/")
    (mount,) = (item for item in spec["containers"][0]["volumeMounts"] if item["mountPath"] == folder)
    (volume,) = (item for item in spec["volumes"] if item["name"] == mount["name"])
    assert volume["secret"]["secretName"] == name
    assert file in render(TRIAL)["Secret", name]["data"]
    assert render(TRIAL)["Secret", name]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    own = (TRIAL, f'{setting}="mine"', f"audit.publicKeys={json.dumps([PUBLIC])}")
    assert ("Secret", name) not in render(*own)
    assert "mine" in [item.get("secret", {}).get("secretName") for item in pod_spec("gateway", *own)["volumes"]]


def test_the_monitor_has_the_public_half_of_the_audit_key_alone() -> None:
    private = load_pem_private_key(base64.b64decode(render(TRIAL)["Secret", "ossa-audit-key"]["data"]["key"]), None)
    public = render(TRIAL)["ConfigMap", "ossa-audit-keys"]["data"]
    assert load_pem_public_key(public["own.pem"].encode()) == private.public_key()
    folder = environment("monitor", TRIAL)["OSSA_AUDIT_KEYS"]
    spec = pod_spec("monitor", TRIAL)
    assert {"name": "audit-keys", "mountPath": folder, "readOnly": True} in spec["containers"][0]["volumeMounts"]
    assert {"name": "audit-keys", "configMap": {"name": "ossa-audit-keys"}} in spec["volumes"]
    assert not [volume for volume in spec["volumes"] if "secret" in volume]
    more = render(TRIAL, f"audit.publicKeys={json.dumps([PUBLIC])}")["ConfigMap", "ossa-audit-keys"]["data"]
    assert more.keys() == {"own.pem", "0.pem"}
    assert more["0.pem"].strip() == PUBLIC


def test_whoever_may_see_executions_may_read_their_logs_through_the_gateway() -> None:
    for role in ("ossa-view", "ossa-edit"):
        rules = render()["ClusterRole", role]["rules"]
        assert {"apiGroups": [GROUP], "resources": ["executions/logs"], "verbs": ["get"]} in rules


def test_administering_users_is_a_right_of_its_own() -> None:
    assert render(TRIAL)["ClusterRole", "ossa-users"]["rules"] == [
        {"apiGroups": [GROUP], "resources": ["users"], "verbs": ["get", "list", "create", "update", "delete"]}
    ]

    def bound(*settings: str) -> set[str]:
        bindings = of_kind("ClusterRoleBinding", *settings)
        admins = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Group", "name": f"{PREFIX}admins"}
        return {binding["roleRef"]["name"] for binding in bindings if admins in binding["subjects"]}

    assert bound(*EXTERNAL) == {"ossa-users"}
    assert bound(TRIAL) == {"ossa-users", "ossa-edit"}


def test_the_audit_archive_lies_on_a_volume_that_stays_or_in_a_bucket() -> None:
    assert environment("monitor", TRIAL)["OSSA_AUDIT_STORE"] == "file:///audit"
    assert {"name": "audit", "persistentVolumeClaim": {"claimName": "ossa-audit"}} in pod_spec("monitor", TRIAL)[
        "volumes"
    ]
    claim = render(TRIAL)["PersistentVolumeClaim", "ossa-audit"]
    assert claim["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    # A volume of one node holds all replicas there; else they keep apart.
    assert "podAffinity" in pod_spec("monitor", TRIAL)["affinity"]
    bucket = (TRIAL, 'audit.store="s3://bucket/audit"')
    assert "podAntiAffinity" in pod_spec("monitor", *bucket)["affinity"]
    assert ("PersistentVolumeClaim", "ossa-audit") not in render(*bucket)
    shared = (TRIAL, 'audit.persistence.accessMode="ReadWriteMany"')
    assert "podAntiAffinity" in pod_spec("monitor", *shared)["affinity"]


def test_every_part_has_an_account_of_its_own() -> None:
    accounts = {account["metadata"]["name"]: account for account in of_kind("ServiceAccount", TRIAL)}
    assert {f"ossa-{part}" for part in (*ALL, *SERVERS)} == accounts.keys()
    for server in SERVERS:
        assert accounts[f"ossa-{server}"]["automountServiceAccountToken"] is False
        assert pod_spec(server, TRIAL)["automountServiceAccountToken"] is False
