"""The charts as Helm renders them, without a cluster."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from controllers.admission import authors
from controllers.admission.handlers import PATHS, REVIEWS
from controllers.creation import EPOCH_POLICY
from controllers.leading import LEASE
from ossa.api import crds
from ossa.api.contract import (
    ANNOTATION_BREAK_GLASS,
    ANNOTATION_EPOCH,
    ARTIFACTS_AUDIENCE,
    GROUP,
    LABEL_MANAGED_BY,
    MANAGED_BY,
    VERSION,
)
from ossa.governance.report import REPORT_API_VERSION

REPO = Path(__file__).parents[3]
OSSA, CRDS = REPO / "charts/ossa", REPO / "charts/ossa-crds"
COMPONENTS = ("admission", "artifacts", "reconciler")
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
def render(*settings: str, chart: Path = OSSA) -> dict[tuple[str, str], dict[str, Any]]:
    """The objects by kind and name. `settings` are KEY=VALUE, the value in JSON."""
    options = [part for setting in settings for part in ("--set-json", setting)]
    text = helm("template", "ossa", chart, "--namespace", "ossa-system", *options).stdout
    objects = [item for item in yaml.safe_load_all(text) if item]
    found = {(item["kind"], item["metadata"]["name"]): item for item in objects}
    assert len(found) == len(objects)
    return found


def of_kind(kind: str, *settings: str) -> list[dict[str, Any]]:
    return [item for (k, _), item in render(*settings).items() if k == kind]


def pod_spec(component: str, *settings: str) -> dict[str, Any]:
    spec: dict[str, Any] = render(*settings)["Deployment", f"ossa-{component}"]["spec"]["template"]["spec"]
    return spec


def environment(component: str, *settings: str) -> Mapping[str, str]:
    (container,) = pod_spec(component, *settings)["containers"]
    return {item["name"]: item.get("value", "") for item in container["env"]}


@pytest.mark.parametrize("chart", [OSSA, CRDS], ids=lambda chart: chart.name)
def test_helm_finds_no_fault(chart: Path) -> None:
    helm("lint", "--strict", chart)


def test_the_kinds_are_those_of_the_models() -> None:
    found = render("policyReports.install=false", chart=CRDS)
    files = [yaml.safe_load(path.read_text()) for path in (REPO / "crds").glob("*.yaml")]
    assert len(found) == len(files) == len(crds.KINDS)
    for expected in files:
        name = expected["metadata"]["name"]
        assert found["CustomResourceDefinition", name] == expected
        assert expected["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


def test_the_kinds_of_policy_reports_come_along() -> None:
    names = {"policyreports.wgpolicyk8s.io", "clusterpolicyreports.wgpolicyk8s.io"}
    more = render(chart=CRDS).keys() - render("policyReports.install=false", chart=CRDS).keys()
    assert more == {("CustomResourceDefinition", name) for name in names}
    for key in more:
        held = render(chart=CRDS)[key]
        assert held["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"
        (version,) = held["spec"]["versions"]
        assert f"{held['spec']['group']}/{version['name']}" == REPORT_API_VERSION


@pytest.mark.parametrize("component", COMPONENTS)
def test_pods_are_hardened(component: str) -> None:
    spec = pod_spec(component)
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
        (handler,) = container[probe].keys() & {"httpGet", "tcpSocket"}
        assert container[probe][handler]["port"] in ports
    program = Path(container["command"][1]).relative_to("/app")
    assert (REPO / program).is_file()


@pytest.mark.parametrize("component", COMPONENTS)
def test_volumes_are_mounted_and_mounts_have_volumes(component: str) -> None:
    spec = pod_spec(component)
    volumes = {volume["name"] for volume in spec["volumes"]}
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
    for deployment in of_kind("Deployment"):
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
    assert authors.users_from("OSSA_EXCLUDED_NAMESPACES", reconciler) == {"kube-system", "infra"}
    artifacts = environment("artifacts", *settings)
    assert artifacts["OSSA_ARTIFACTS_STORE"] == "s3://bucket/prefix"
    assert artifacts["AWS_REGION"] == "x"
    for component in COMPONENTS:
        assert pod_spec(component, *settings)["containers"][0]["image"] == "example/operator:1"


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


# --- admission ---


def test_every_kind_has_a_webhook_at_its_handlers_paths() -> None:
    webhooks = render()["ValidatingWebhookConfiguration", "ossa-admission"]["webhooks"]
    assert {webhook["clientConfig"]["service"]["path"] for webhook in webhooks} == {f"/{path}" for path in PATHS}
    for webhook in webhooks:
        path = webhook["clientConfig"]["service"]["path"].removeprefix("/")
        (rule,) = webhook["rules"]
        assert rule["resources"] == [PATHS[path]]  # neither status nor another subresource
        assert rule["operations"] == ["CREATE", "UPDATE"]  # a deletion is never held up, nor that of a policy
        assert (rule["apiGroups"], rule["apiVersions"]) == ([GROUP], [VERSION])
        assert rule["scope"] == scope_of(PATHS[path])
        assert webhook["failurePolicy"] == "Fail"
        # A denial is an Event, but for a dry run.
        assert webhook["sideEffects"] == ("NoneOnDryRun" if PATHS[path] in REVIEWS else "None")
        assert webhook["timeoutSeconds"] == 5
        assert "kube-system" in str(webhook["namespaceSelector"])


def scope_of(plural: str) -> str:
    (kind,) = (kind for kind in crds.KINDS if kind.plural == plural)
    return kind.scope


def test_authors_are_recorded_at_the_handlers_paths_and_hold_nobody_up() -> None:
    webhooks = render()["MutatingWebhookConfiguration", "ossa-admission"]["webhooks"]
    validating = render()["ValidatingWebhookConfiguration", "ossa-admission"]["webhooks"]
    rules = {webhook["clientConfig"]["service"]["path"]: webhook["rules"] for webhook in validating}
    bundle = validating[0]["clientConfig"]["caBundle"]
    paths = {webhook["clientConfig"]["service"]["path"] for webhook in webhooks}
    assert paths == {f"/{authors.PREFIX}{kind}" for kind in authors.KINDS}
    for webhook in webhooks:
        kind = webhook["rules"][0]["resources"][0]
        assert webhook["rules"] == rules[f"/{kind}"]
        assert webhook["clientConfig"]["caBundle"] == bundle
        assert webhook["clientConfig"]["service"]["path"] == f"/{authors.PREFIX}{kind}"
        assert (webhook["failurePolicy"], webhook["reinvocationPolicy"]) == ("Ignore", "IfNeeded")
        assert webhook["sideEffects"] == "None"


def test_groups_that_break_glass_are_the_same_for_the_webhook_and_the_policy() -> None:
    settings = ('governance.breakGlassGroups=["emergency"]',)
    assert authors.users_from("OSSA_BREAK_GLASS_GROUPS", environment("admission", *settings)) == {"emergency"}
    assert authors.users_from("OSSA_BREAK_GLASS_GROUPS", environment("admission")) == frozenset()
    policy = str(render(*settings)["ValidatingAdmissionPolicy", "ossa-authors"])
    assert 'group in ["emergency"]' in policy
    assert ANNOTATION_BREAK_GLASS in policy


def test_delegates_are_the_same_for_the_webhook_and_the_policies() -> None:
    settings = ('delegates=["system:serviceaccount:argocd:argocd-application-controller"]', 'extraOperators=["me"]')
    found = environment("admission", *settings)
    told = found["OSSA_DELEGATES"]
    argo = "system:serviceaccount:argocd:argocd-application-controller"
    assert authors.users_from("OSSA_DELEGATES", found) == {OPERATOR, "me", argo}
    assert authors.users_from("OSSA_OPERATORS", found) == {OPERATOR, "me"}
    for name in ("ossa-authors", "ossa-approvals", "ossa-exceptions"):
        assert told in str(render(*settings)["ValidatingAdmissionPolicy", name])


def test_the_certificate_is_trusted_for_the_services_name(tmp_path: Path) -> None:
    found = render()
    secret = found["Secret", "ossa-admission-tls"]["data"]
    for webhook in found["ValidatingWebhookConfiguration", "ossa-admission"]["webhooks"]:
        (tmp_path / "ca.pem").write_bytes(base64.b64decode(webhook["clientConfig"]["caBundle"]))
        (tmp_path / "tls.crt").write_bytes(base64.b64decode(secret["tls.crt"]))
        options = ["-purpose", "sslserver", "-verify_hostname", "ossa-admission.ossa-system.svc"]
        command: list[str | Path] = [
            "openssl",
            "verify",
            "-CAfile",
            tmp_path / "ca.pem",
            *options,
            tmp_path / "tls.crt",
        ]
        subprocess.run(command, check=True, capture_output=True)
    key = subprocess.run(
        ["openssl", "pkey", "-pubout"], input=base64.b64decode(secret["tls.key"]), check=True, capture_output=True
    )
    crt = subprocess.run(
        ["openssl", "x509", "-pubkey", "-noout", "-in", tmp_path / "tls.crt"], check=True, capture_output=True
    )
    assert key.stdout == crt.stdout
    # The CA's own key is not where the webhook could lose it.
    assert "ossa-admission-ca" not in str(pod_spec("admission"))


def test_cert_manager_takes_over() -> None:
    settings = ("certificates.certManager.enabled=true",)
    found = render(*settings)
    assert ("Secret", "ossa-admission-tls") not in found
    assert ("Secret", "ossa-admission-ca") not in found
    for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"):
        configuration = found[kind, "ossa-admission"]
        injected = {"cert-manager.io/inject-ca-from": "ossa-system/ossa-admission"}
        assert configuration["metadata"]["annotations"] == injected
        assert "caBundle" not in configuration["webhooks"][0]["clientConfig"]
    certificate = found["Certificate", "ossa-admission"]["spec"]
    assert certificate["issuerRef"] == {"name": "ossa-admission", "kind": "Issuer"}
    assert "ossa-admission.ossa-system.svc" in certificate["dnsNames"]
    volumes = pod_spec("admission", *settings)["volumes"]
    assert certificate["secretName"] in [volume.get("secret", {}).get("secretName") for volume in volumes]
    own = render(*settings, 'certificates.certManager.issuerRef={"name":"mine","kind":"ClusterIssuer"}')
    assert own["Certificate", "ossa-admission"]["spec"]["issuerRef"]["name"] == "mine"
    assert ("Issuer", "ossa-admission") not in own


def test_a_certificate_of_ones_own() -> None:
    settings = ('certificates.existingSecret="mine"', 'certificates.caBundle="PEM"')
    webhook = render(*settings)["ValidatingWebhookConfiguration", "ossa-admission"]["webhooks"][0]
    assert base64.b64decode(webhook["clientConfig"]["caBundle"]) == b"PEM"
    assert ("Secret", "ossa-admission-tls") not in render(*settings)
    answer = helm("template", OSSA, "--set", "certificates.existingSecret=mine", check=False)
    assert "certificates.existingSecret needs certificates.caBundle" in answer.stderr


def test_policies_are_bound_and_deny() -> None:
    policies = {item["metadata"]["name"]: item["spec"] for item in of_kind("ValidatingAdmissionPolicy")}
    bindings = {item["spec"]["policyName"]: item["spec"] for item in of_kind("ValidatingAdmissionPolicyBinding")}
    names = {"approvals", "authors", "epoch", "exceptions", "executions", "pods", "revisions", "status", "triggers"}
    assert policies.keys() == bindings.keys() == {f"ossa-{name}" for name in names}
    for name, policy in policies.items():
        assert bindings[name]["validationActions"] == ["Deny"]
        assert policy["failurePolicy"] == "Fail"
        assert all(rule["message"] for rule in policy["validations"])
        if name not in FOR_ALL:
            assert f'["{OPERATOR}"]' in str(policy)


def test_an_operator_outside_the_cluster_can_be_named() -> None:
    for policy in of_kind("ValidatingAdmissionPolicy", 'extraOperators=["me"]'):
        if policy["metadata"]["name"] not in FOR_ALL:
            assert f'["{OPERATOR}","me"]' in str(policy)


def test_worker_pods_are_let_in_with_the_leaders_epoch_alone() -> None:
    policy = render()["ValidatingAdmissionPolicy", "ossa-epoch"]["spec"]
    binding = render()["ValidatingAdmissionPolicyBinding", "ossa-epoch"]["spec"]
    assert f"ValidatingAdmissionPolicy '{binding['policyName']}'" == EPOCH_POLICY
    assert policy["paramKind"] == {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    # An operator that has not made the Lease yet makes no pods.
    assert binding["paramRef"] == {"name": LEASE, "namespace": "ossa-system", "parameterNotFoundAction": "Deny"}
    assert policy["matchConstraints"]["objectSelector"]["matchLabels"] == {LABEL_MANAGED_BY: MANAGED_BY}
    # Of those who may create such pods at all nobody is exempt, and what is not looked at is what would be let in.
    operators, other_epochs = policy["matchConditions"]
    assert "system:serviceaccount:ossa-system:ossa-reconciler" in operators["expression"]
    assert other_epochs["expression"] == f"!({policy['validations'][0]['expression']})"
    assert ANNOTATION_EPOCH in policy["variables"][0]["expression"]
    # An upgrade would write an old epoch over the newest one, and an uninstallation would begin anew.
    assert of_kind("Lease") == []


# --- rights ---


def test_nobody_has_more_rights_than_needed() -> None:
    for kind in ("ClusterRole", "Role"):
        for role in of_kind(kind):
            for rule in role["rules"]:
                assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]], role["metadata"]["name"]
                assert not {"secrets", "pods/exec"} & set(rule["resources"])
                assert not {"impersonate", "bind", "escalate"} & set(rule["verbs"])


def test_configmaps_are_read_for_params_alone_and_where_the_values_say() -> None:
    def readers(*settings: str) -> list[tuple[str, str, list[str]]]:
        return [
            (kind, role["metadata"]["namespace"], rule["verbs"])
            for kind in ("ClusterRole", "Role")
            for role in of_kind(kind, *settings)
            for rule in role["rules"]
            if "configmaps" in rule["resources"]
        ]

    assert readers() == [("Role", "ossa-system", ["list", "watch"])]
    binding = render()["RoleBinding", "ossa-params"]
    assert [subject["name"] for subject in binding["subjects"]] == ["ossa-admission", "ossa-reconciler"]
    for component in ("admission", "reconciler"):
        assert authors.users_from("OSSA_PARAMS_NAMESPACES", environment(component)) == {"ossa-system"}
    more = 'governance.paramsNamespaces=["ossa-system","governance"]'
    text = helm("template", "ossa", OSSA, "-n", "ossa-system", "--set-json", more).stdout
    found = [item for item in yaml.safe_load_all(text) if item and item["metadata"]["name"] == "ossa-params"]
    places = ("governance", "ossa-system")
    assert {(item["kind"], item["metadata"]["namespace"]) for item in found} == {
        (kind, place) for kind in ("Role", "RoleBinding") for place in places
    }
    assert len(found) == 4


def test_admission_reads_what_policies_read_and_writes_events_of_policies_alone() -> None:
    """It asks whether a user may govern; nothing of a user's does it change."""
    roles = [
        (kind, binding["roleRef"]["name"])
        for kind in ("ClusterRole", "Role")
        for binding in of_kind(f"{kind}Binding")
        if "ossa-admission" in [subject["name"] for subject in binding["subjects"]]
    ]
    rights = {
        (resource, verb)
        for role in roles
        for rule in render()[role]["rules"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    read = ("agents", "workflows", "agentpolicies", "agentpolicyexceptions", "namespaces", "configmaps")
    assert rights == {
        *((kind, verb) for kind in read for verb in ("list", "watch")),
        ("namespaces", "get"),
        ("subjectaccessreviews", "create"),
        ("events", "create"),
    }
    assert render()["Role", "ossa-admission-events"]["metadata"]["namespace"] == "default"


def test_the_reconciler_writes_status_and_makes_and_ends_executions() -> None:
    rules = render()["ClusterRole", "ossa-reconciler"]["rules"]
    ours = {
        (resource, verb)
        for rule in rules
        if rule["apiGroups"] == [GROUP]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }
    writes = {(resource, verb) for resource, verb in ours if verb not in ("get", "list", "watch")}
    statuses = {(f"{kind.plural}/status", "patch") for kind in crds.KINDS}
    runs = {("executions", verb) for verb in ("create", "patch", "delete")}
    stores = {("executions/artifacts", "create")}
    assert writes == {*statuses, *runs, *stores, ("approvals", "create"), ("approvals", "delete")}


def test_the_reconciler_makes_native_policies_and_reports() -> None:
    rules = render()["ClusterRole", "ossa-reconciler"]["rules"]
    verbs = {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        if group in ("admissionregistration.k8s.io", "wgpolicyk8s.io")
    }
    kinds = ("validatingadmissionpolicies", "validatingadmissionpolicybindings")
    wanted = [*(("admissionregistration.k8s.io", kind) for kind in kinds), ("wgpolicyk8s.io", "policyreports")]
    assert verbs == {key: {"list", "create", "patch", "delete"} for key in wanted}


def test_the_reconciler_has_one_lease() -> None:
    rules = [rule for rule in render()["Role", "ossa-reconciler"]["rules"] if "leases" in rule["resources"]]
    assert [(rule["verbs"], rule.get("resourceNames")) for rule in rules] == [
        (["create"], None),
        (["get", "update"], [LEASE]),
    ]


def test_users_get_their_rights_through_the_clusters_roles() -> None:
    view, edit = render()["ClusterRole", "ossa-view"], render()["ClusterRole", "ossa-edit"]
    assert view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert "rbac.authorization.k8s.io/aggregate-to-view" not in edit["metadata"]["labels"]
    assert not [rule for rule in edit["rules"] for resource in rule["resources"] if resource.endswith("/status")]
    plain = render("rbac.aggregate=false")["ClusterRole", "ossa-edit"]["metadata"]["labels"]
    assert not [label for label in plain if "aggregate" in label]


def test_starting_and_approving_are_two_rights() -> None:
    def verbs(role: str) -> set[str]:
        rules = render()["ClusterRole", role]["rules"]
        return {verb for rule in rules if "approvals" in rule["resources"] for verb in rule["verbs"]}

    assert verbs("ossa-view") == verbs("ossa-edit") == {"get", "list", "watch"}
    assert verbs("ossa-approver") == {"get", "list", "watch", "patch"}
    approver = render()["ClusterRole", "ossa-approver"]
    assert not [label for label in approver["metadata"]["labels"] if "aggregate" in label]
    assert {r for rule in approver["rules"] for r in rule["resources"]} == {"approvals", "workflows", "executions"}


def test_governing_is_a_right_of_its_own() -> None:
    def verbs(role: str, resource: str) -> set[str]:
        rules = render()["ClusterRole", role]["rules"]
        return {verb for rule in rules if resource in rule["resources"] for verb in rule["verbs"]}

    reads, writes = {"get", "list", "watch"}, {"create", "update", "patch", "delete"}
    assert verbs("ossa-governor", "agentpolicies") == {*reads, *writes, "govern", "except"}
    assert verbs("ossa-governor", "agentpolicyexceptions") == {*reads, *writes}
    assert verbs("ossa-governor", "executions") == reads
    assert not [
        label for label in render()["ClusterRole", "ossa-governor"]["metadata"]["labels"] if "aggregate" in label
    ]
    for role in ("ossa-view", "ossa-edit"):
        assert not verbs(role, "agentpolicies") - reads


# --- values ---


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


def test_the_reconciler_has_a_token_for_the_artifact_service_alone() -> None:
    spec = pod_spec("reconciler")
    file = Path(environment("reconciler")["OSSA_ARTIFACTS_TOKEN_FILE"])
    (mount,) = (m for m in spec["containers"][0]["volumeMounts"] if m["mountPath"] == str(file.parent))
    (volume,) = (v for v in spec["volumes"] if v["name"] == mount["name"])
    (source,) = volume["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == ARTIFACTS_AUDIENCE
    assert source["serviceAccountToken"]["path"] == file.name


def test_only_the_reconciler_stores_artifacts_of_an_execution() -> None:
    """People read these: what they could store would pass for what the operator has computed."""
    verbs = {
        (kind, role["metadata"]["name"]): artifact_verbs(role)
        for kind in ("ClusterRole", "Role")
        for role in of_kind(kind)
    }
    assert {role: found for role, found in verbs.items() if found} == {
        ("ClusterRole", "ossa-reconciler"): {"create", "get"},
        ("ClusterRole", "ossa-view"): {"get"},
        ("ClusterRole", "ossa-edit"): {"get"},
    }


def artifact_verbs(role: Mapping[str, Any]) -> set[str]:
    groups, resources = {GROUP, "*"}, {"executions/artifacts", "*/artifacts", "*"}
    return {
        verb
        for rule in role["rules"]
        if groups & set(rule["apiGroups"]) and resources & set(rule["resources"])
        for verb in rule["verbs"]
    }
