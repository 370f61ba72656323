"""PostgreSQL and Redis of a trial, and who reaches whom."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.unit.charts.rendering import SERVERS, TRIAL, environment, of_kind, pod_spec, render, workload


def data(secret: str) -> dict[str, str]:
    """What a Secret of the trial holds."""
    found = render(TRIAL)["Secret", secret]["data"]
    return {key: base64.b64decode(value).decode() for key, value in found.items()}


@pytest.mark.parametrize(("server", "port"), [("postgresql", 5432), ("redis", 6382)])
def test_the_url_is_that_of_the_service_and_holds_the_password(server: str, port: int) -> None:
    held = data(f"ossa-{server}")
    url = urlsplit(held["url"])
    assert (url.hostname, url.port) == (f"ossa-{server}.ossa-system.svc", port)
    assert url.password == held["password"]
    assert len(held["password"]) == 40
    (offered,) = render(TRIAL)["Service", f"ossa-{server}"]["spec"]["ports"]
    (container,) = pod_spec(server, TRIAL)["containers"]
    assert offered["port"] == port
    assert {"name": offered["targetPort"], "containerPort": port} in container["ports"]


@pytest.mark.parametrize("server", SERVERS)
def test_passwords_are_in_files_alone(server: str) -> None:
    (container,) = pod_spec(server, TRIAL)["containers"]
    assert data(f"ossa-{server}")["password"] not in str(pod_spec(server, TRIAL))
    assert not [item for item in container.get("env", []) if "valueFrom" in item]


@pytest.mark.parametrize("server", SERVERS)
def test_data_and_passwords_outlive_the_release(server: str) -> None:
    assert render(TRIAL)["Secret", f"ossa-{server}"]["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
    spec = workload(server, TRIAL)["spec"]
    assert [claim["metadata"]["name"] for claim in spec["volumeClaimTemplates"]] == ["data"]
    assert "persistentVolumeClaimRetentionPolicy" not in spec  # Retain is the default
    lost = (TRIAL, f"{server}.persistence.enabled=false")
    assert "volumeClaimTemplates" not in workload(server, *lost)["spec"]
    assert {"name": "data", "emptyDir": {}} in pod_spec(server, *lost)["volumes"]


def test_redis_loses_nothing_that_was_written() -> None:
    (container,) = pod_spec("redis", TRIAL)["containers"]
    given = container["args"]
    options = dict(zip(given[1::2], given[2::2], strict=True))
    assert given[0].endswith(".conf")  # the entry points of the images start the server with it
    assert options["--maxmemory-policy"] == "noeviction"
    assert (options["--appendonly"], options["--appendfsync"]) == ("yes", "everysec")
    assert options["--port"] == "6382"
    assert data("ossa-redis")["auth.conf"] == f"requirepass {data('ossa-redis')['password']}\n"


def test_postgresql_is_set_up_as_its_official_image_understands() -> None:
    (container,) = pod_spec("postgresql", TRIAL, 'postgresql.parameters={"max_connections":"300"}')["containers"]
    found = environment("postgresql", TRIAL)
    assert container["args"][0] == "postgres"
    assert {"-cmax_connections=300", "-clisten_addresses=*"} <= set(container["args"])
    mounts = {mount["mountPath"] for mount in container["volumeMounts"]}
    assert any(found["PGDATA"].startswith(f"{path}/") for path in mounts)
    assert found["POSTGRES_PASSWORD_FILE"].rpartition("/")[0] in mounts
    assert {"/var/run/postgresql", "/tmp"} <= mounts  # the root file system is read-only
    assert "command" not in container


def test_images_can_be_others() -> None:
    assert pod_spec("postgresql", TRIAL)["containers"][0]["image"] == "docker.io/library/postgres:18"
    assert pod_spec("redis", TRIAL)["containers"][0]["image"] == "docker.io/valkey/valkey:9"
    own = (TRIAL, 'postgresql.image="mine:1"', 'redis.image="mine:1"')
    assert {pod_spec(server, *own)["containers"][0]["image"] for server in SERVERS} == {"mine:1"}


def peers(policy: dict[str, Any]) -> set[str]:
    """The parts that a policy lets in."""
    rules = [rule for rule in policy["spec"]["ingress"] if "from" in rule]
    selectors = [peer["podSelector"]["matchLabels"] for rule in rules for peer in rule["from"]]
    return {labels["app.kubernetes.io/name"].removeprefix("ossa-") for labels in selectors}


@pytest.mark.parametrize(
    ("server", "users"), [("postgresql", {"gateway", "monitor", "reconciler"}), ("redis", {"gateway", "monitor"})]
)
def test_servers_are_reached_by_those_that_use_them_and_reach_nobody(server: str, users: set[str]) -> None:
    policy = render(TRIAL)["NetworkPolicy", f"ossa-{server}"]
    assert peers(policy) == users
    assert [rule["ports"] for rule in policy["spec"]["ingress"]] == [[{"port": server}]]
    assert "Egress" in policy["spec"]["policyTypes"]
    assert "egress" not in policy["spec"]
    labels = workload(server, TRIAL)["spec"]["template"]["metadata"]["labels"]
    assert policy["spec"]["podSelector"]["matchLabels"].items() <= labels.items()


@pytest.mark.parametrize("component", ["gateway", "monitor"])
def test_processes_reach_what_they_use(component: str) -> None:
    def ports(*settings: str) -> set[int]:
        rules = render(*settings)["NetworkPolicy", f"ossa-{component}"]["spec"]["egress"]
        return {port["port"] for rule in rules for port in rule["ports"]}

    assert ports(TRIAL) == {53, 443, 6443, 5432, 6382}
    elsewhere = (
        f"{component}.enabled=true",
        'postgresql.external={"existingSecret":"a","port":6432}',
        'redis.external={"existingSecret":"b","port":6380}',
        'tracing.endpoint="http://c:4318"',
        "networkPolicies.httpsPorts=[443]",
    )
    assert ports(*elsewhere) == {53, 443, 6432, 6380, 4318}
    let_in = render(TRIAL)["NetworkPolicy", f"ossa-{component}"]["spec"]["ingress"]
    open_to_all = [rule["ports"] for rule in let_in if "from" not in rule]
    assert open_to_all == ([[{"port": "http"}]] if component == "gateway" else [])


def test_who_may_call_the_gateway_can_be_said() -> None:
    setting = 'networkPolicies.gatewayFrom=[{"namespaceSelector":{"matchLabels":{"a":"b"}}}]'
    rules = render(TRIAL, setting)["NetworkPolicy", "ossa-gateway"]["spec"]["ingress"]
    assert rules[0]["from"] == [{"namespaceSelector": {"matchLabels": {"a": "b"}}}]
    assert of_kind("NetworkPolicy", TRIAL, "networkPolicies.enabled=false") == []
