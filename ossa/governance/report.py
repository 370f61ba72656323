"""PolicyReports (wgpolicyk8s.io/v1alpha2): what a policy says of the objects of a namespace.

One report a policy and namespace: it goes with its policy, and neither many policies nor many namespaces make it large.
It counts all objects, and lists those first that do not keep to the policy.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION, LABEL_MANAGED_BY, MANAGED_BY
from ossa.engine.values import shorten
from ossa.governance.findings import Finding
from ossa.governance.native import LABEL_POLICY
from ossa.governance.policies import CompiledPolicy
from ossa.governance.verdict import Judgement

REPORT_API_VERSION = "wgpolicyk8s.io/v1alpha2"
SOURCE = "ossa"
# Objects that are listed in one report, and characters of what is said of one.
MOST_RESULTS, MESSAGE_MOST = 100, 512
ANNOTATION_NOT_LISTED = "ossa.dev/results-not-listed"  # how many are counted in the summary alone
_RESULTS = ("fail", "error", "warn", "skip", "pass")
_NAME_MOST, _LABEL_MOST = 253, 63


def report_name(policy: str) -> str:
    """Name of the reports of a policy."""
    return f"ossa-{policy}"[:_NAME_MOST].rstrip("-.")


def report_of(policy: CompiledPolicy, namespace: str, findings: Iterable[Finding]) -> JSONObject:
    """The same for the same findings, whatever their order."""
    ranked = sorted((_RESULTS.index(result_of(held.judgement)), held.object, held) for held in findings)
    counts = Counter(_RESULTS[rank] for rank, _, _ in ranked)
    listed = [_result(policy, held) for _, _, held in ranked[:MOST_RESULTS]]
    metadata: JSONObject = {
        "name": report_name(policy.name),
        "namespace": namespace,
        "labels": {LABEL_MANAGED_BY: MANAGED_BY, LABEL_POLICY: policy.name[:_LABEL_MOST].rstrip("-.")},
        "annotations": {"ossa.dev/policy-version": policy.version},
        "ownerReferences": [{"apiVersion": API_VERSION, "kind": "AgentPolicy", "name": policy.name, "uid": policy.uid}],
    }
    if len(ranked) > len(listed):
        metadata["annotations"][ANNOTATION_NOT_LISTED] = str(len(ranked) - len(listed))
    return {
        "apiVersion": REPORT_API_VERSION,
        "kind": "PolicyReport",
        "metadata": metadata,
        "scope": {"apiVersion": "v1", "kind": "Namespace", "name": namespace},
        "summary": {result: counts[result] for result in _RESULTS},
        "results": listed,
    }


def result_of(judgement: Judgement) -> str:
    """In the words of a PolicyReport. A policy that only warns gives `warn`; what is excepted is skipped."""
    match judgement.outcome:
        case "excepted" | "deferred":
            return "skip"
        case "fail":
            return "warn" if judgement.action == "Warn" else "fail"
        case other:
            return other


def _result(policy: CompiledPolicy, finding: Finding) -> JSONObject:
    kind, namespace, name = finding.object
    held = finding.judgement
    result: JSONObject = {
        "source": SOURCE,
        "policy": policy.name,
        "result": result_of(held),
        "scored": held.action != "Audit",
        "severity": policy.spec.severity,
        "resources": [
            {"apiVersion": API_VERSION, "kind": kind, "namespace": namespace, "name": name, "uid": finding.uid}
        ],
        "properties": dict(_properties(policy, held)),
    }
    if held.violations:
        result["rule"] = shorten(", ".join(one.rule for one in held.violations if one.rule), 253)
        result["message"] = shorten("; ".join(one.message for one in held.violations), MESSAGE_MOST)
    return {key: value for key, value in result.items() if value != ""}


def _properties(policy: CompiledPolicy, held: Judgement) -> Mapping[str, str]:
    found = {"action": held.action, "version": held.version}
    if policy.spec.controls:
        found["controls"] = ", ".join(f"{control.framework}/{control.id}" for control in policy.spec.controls)
    if held.exception is not None:
        found["exception"] = held.exception
    if held.outcome == "deferred":
        found["deferred"] = "what the plan refers to is not there yet"
    return found
