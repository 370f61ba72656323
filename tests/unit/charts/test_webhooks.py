"""The admission webhook: its paths, its certificate, and whom it asks about."""

from __future__ import annotations

import base64
import subprocess
from collections import Counter
from pathlib import Path

import pytest
from cel_expr_python import cel

from controllers.admission import authors
from controllers.admission.handlers import PATHS, REVIEWS
from ossa.api import crds
from ossa.api.contract import ANNOTATION_BREAK_GLASS, GROUP, VERSION
from ossa.environment import names
from tests.unit.charts.rendering import OPERATOR, OSSA, environment, helm, pod_spec, render

CEL = cel.NewEnv(variables={"object": cel.Type.DYN})


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


@pytest.mark.parametrize("kind", REVIEWS)
def test_each_object_is_reviewed_once_at_one_of_the_ports(kind: str) -> None:
    found = render()
    webhooks = found["ValidatingWebhookConfiguration", "ossa-admission"]["webhooks"]
    entries = [hook for hook in webhooks if hook["clientConfig"]["service"]["path"] == f"/{kind}"]
    ports = {port["port"]: port["targetPort"] for port in found["Service", "ossa-admission"]["spec"]["ports"]}
    by_port = {hook["clientConfig"]["service"]["port"]: hook for hook in entries}
    assert len(by_port) == len(entries) == 4
    assert {ports[port] for port in by_port} == {"webhook"}
    conditions = {port: CEL.compile(hook["matchConditions"][0]["expression"]) for port, hook in by_port.items()}

    def asked(metadata: dict[str, str]) -> list[int]:
        data = {"object": {"metadata": metadata}}
        return [port for port, condition in conditions.items() if condition.eval(data=data).value() is True]

    of = {digit: asked({"uid": f"{digit}aa1c9b2-0000-4000-8000-000000000000"}) for digit in "0123456789abcdef"}
    assert all(len(one) == 1 for one in of.values())
    assert Counter(one[0] for one in of.values()) == dict.fromkeys(by_port, 4)
    for odd in ({}, {"uid": ""}, {"uid": "4"}, {"uid": "c"}, {"uid": "Z"}, {"uid": "z"}, {"uid": "ä"}):
        assert len(asked(odd)) == 1


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


RECORDS = "MutatingAdmissionPolicy"
BY_OPERATION = {"CREATE": "ossa-authors-create", "UPDATE": "ossa-authors-update"}
STABLE, BETA = (f"admissionregistration.k8s.io/{version}/{RECORDS}" for version in ("v1", "v1beta1"))
BY_POLICY = 'admission.recordAuthors="Policy"'


@pytest.mark.parametrize(
    ("settings", "apis", "expected"),
    [
        ((), (), None),
        ((), (BETA,), None),  # which the API server may have without acting on it
        ((), (BETA, STABLE), STABLE),
        ((BY_POLICY,), (BETA,), BETA),
        ((BY_POLICY,), (BETA, STABLE), STABLE),
        (('admission.recordAuthors="Webhook"',), (BETA, STABLE), None),
    ],
)
def test_authors_are_recorded_by_one(settings: tuple[str, ...], apis: tuple[str, ...], expected: str | None) -> None:
    found = render(*settings, apis=apis)
    assert (("MutatingWebhookConfiguration", "ossa-admission") in found) == (expected is None)
    recording = {key: item for key, item in found.items() if key[0] in (RECORDS, f"{RECORDS}Binding")}
    wanted = {(f"{RECORDS}{kind}", name) for kind in ("", "Binding") for name in BY_OPERATION.values()}
    assert set(recording) == (set() if expected is None else wanted)
    for item in recording.values():
        assert f"{item['apiVersion']}/{RECORDS}" == expected


def test_a_policy_that_the_api_server_does_not_know_is_not_installed() -> None:
    answer = helm("template", "ossa", OSSA, "--set-json", BY_POLICY, check=False)
    assert answer.returncode != 0
    assert "admission.recordAuthors is Policy, and the API server has no MutatingAdmissionPolicies" in answer.stderr


@pytest.mark.parametrize(("operation", "name"), BY_OPERATION.items())
def test_the_policies_that_record_authors_look_where_the_webhook_does(operation: str, name: str) -> None:
    found = render(apis=(STABLE,))
    spec, binding = found[RECORDS, name]["spec"], found[f"{RECORDS}Binding", name]["spec"]
    assert binding["policyName"] == name
    held = spec["failurePolicy"], spec["reinvocationPolicy"]
    assert held == {"CREATE": ("Ignore", "Never"), "UPDATE": ("Fail", "IfNeeded")}[operation]
    (rule,) = spec["matchConstraints"]["resourceRules"]
    assert set(rule["resources"]) == set(authors.KINDS)
    assert rule["operations"] == [operation]
    webhooks = found["ValidatingWebhookConfiguration", "ossa-admission"]["webhooks"]
    assert {str(webhook["namespaceSelector"]) for webhook in webhooks} == {
        str(binding["matchResources"]["namespaceSelector"])
    }


def test_groups_that_break_glass_are_the_same_for_the_webhook_and_the_policies() -> None:
    settings = ('governance.breakGlassGroups=["emergency"]',)
    assert set(names(environment("admission", *settings), "OSSA_BREAK_GLASS_GROUPS")) == {"emergency"}
    assert set(names(environment("admission"), "OSSA_BREAK_GLASS_GROUPS")) == frozenset()
    for key in (("ValidatingAdmissionPolicy", "ossa-authors"), (RECORDS, BY_OPERATION["CREATE"])):
        policy = str(render(*settings, apis=(STABLE,))[key])
        assert 'group in ["emergency"]' in policy
        assert ANNOTATION_BREAK_GLASS in policy


def test_delegates_are_the_same_for_the_webhook_and_the_policies() -> None:
    settings = ('delegates=["system:serviceaccount:argocd:argocd-application-controller"]', 'extraOperators=["me"]')
    found = environment("admission", *settings)
    told = found["OSSA_DELEGATES"]
    argo = "system:serviceaccount:argocd:argocd-application-controller"
    assert set(names(found, "OSSA_DELEGATES")) == {OPERATOR, "me", argo}
    assert set(names(found, "OSSA_OPERATORS")) == {OPERATOR, "me"}
    policies = render(*settings, apis=(STABLE,))
    for name in BY_OPERATION.values():
        assert told in str(policies[RECORDS, name])
    for name in ("ossa-authors", "ossa-approvals", "ossa-exceptions"):
        assert told in str(policies["ValidatingAdmissionPolicy", name])


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
