"""Policies that the API server holds itself."""

from __future__ import annotations

from controllers.creation import EPOCH_POLICY
from controllers.leading import LEASE
from ossa.api.contract import ANNOTATION_EPOCH, LABEL_MANAGED_BY, MANAGED_BY
from tests.unit.charts.rendering import FOR_ALL, OPERATOR, of_kind, render


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
