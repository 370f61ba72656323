"""Rights: of each part no more than it uses, and of users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import yaml

from controllers.leading import LEASE
from ossa.api import crds
from ossa.api.contract import GROUP
from ossa.api.trail import TRAIL_STATUS
from ossa.environment import names
from tests.unit.charts.rendering import OSSA, TRIAL, environment, helm, of_kind, render


def test_nobody_has_more_rights_than_needed() -> None:
    for kind in ("ClusterRole", "Role"):
        for role in of_kind(kind, TRIAL):
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
            # What the monitor tells of the audit trail holds nothing of a user's.
            if "configmaps" in rule["resources"] and rule.get("resourceNames") != [TRAIL_STATUS]
        ]

    assert readers() == [("Role", "ossa-system", ["list", "watch"])]
    binding = render()["RoleBinding", "ossa-params"]
    assert [subject["name"] for subject in binding["subjects"]] == ["ossa-admission", "ossa-reconciler"]
    for component in ("admission", "reconciler"):
        assert set(names(environment(component), "OSSA_PARAMS_NAMESPACES")) == {"ossa-system"}
    more = 'governance.paramsNamespaces=["ossa-system","governance"]'
    text = helm("template", "ossa", OSSA, "-n", "ossa-system", "--set-json", more).stdout
    found = [item for item in yaml.safe_load_all(text) if item and item["metadata"]["name"] == "ossa-params"]
    places = ("governance", "ossa-system")
    assert {(item["kind"], item["metadata"]["namespace"]) for item in found} == {
        (kind, place) for kind in ("Role", "RoleBinding") for place in places
    }
    assert len(found) == 4


def test_who_makes_a_report_may_look_at_what_is_told_of_the_audit_trail() -> None:
    readers = {
        role["metadata"]["name"]
        for role in of_kind("ClusterRole", TRIAL)
        for rule in role["rules"]
        if rule.get("resourceNames") == [TRAIL_STATUS] and rule["verbs"] == ["get"]
    }
    assert readers == {"ossa-view", "ossa-governor"}


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


def test_only_the_reconciler_stores_artifacts_of_an_execution() -> None:
    """People read these: what they could store would pass for what the operator has computed."""
    verbs = {
        (kind, role["metadata"]["name"]): artifact_verbs(role)
        for kind in ("ClusterRole", "Role")
        for role in of_kind(kind, TRIAL)
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
