"""PolicyReports of what was found."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from ossa.governance.findings import Finding
from ossa.governance.report import ANNOTATION_NOT_LISTED, MESSAGE_MOST, MOST_RESULTS, report_name, report_of
from tests.unit.governance.conftest import Made
from tests.unit.governance.test_findings import said

CRDS = Path(__file__).parents[3] / "charts/ossa-crds/reports"
CONTROLS = [{"framework": "iso-42001", "id": "A.9.2"}, {"framework": "eu-ai-act", "id": "14"}]


def finding(name: str, outcome: Any = "pass", **more: Any) -> Finding:
    return Finding(("Agent", "team-a", name), f"uid-{name}", said("a-policy", outcome, **more))


def report(made: Made, *findings: Finding, **spec: Any) -> dict[str, Any]:
    return report_of(made.policy("true", **spec), "team-a", findings)


def test_everything_is_counted_and_the_worst_comes_first(made: Made) -> None:
    found = report(
        made,
        finding("good"),
        finding("bad", "fail"),
        finding("broken", "error"),
        finding("spared", "fail", exception="team-a/e"),
        finding("early", "deferred"),
        severity="high",
        controls=CONTROLS,
    )
    assert found["summary"] == {"fail": 1, "error": 1, "warn": 0, "skip": 2, "pass": 1}
    assert [(held["resources"][0]["name"], held["result"]) for held in found["results"]] == [
        ("bad", "fail"),
        ("broken", "error"),
        ("early", "skip"),
        ("spared", "skip"),
        ("good", "pass"),
    ]
    bad, _, early, spared, good = found["results"]
    assert (bad["severity"], bad["rule"], bad["message"]) == ("high", "r", "fail of a-policy")
    assert bad["properties"] == {
        "action": "Enforce",
        "version": "a-policy@1",
        "controls": "iso-42001/A.9.2, eu-ai-act/14",
    }
    assert spared["properties"]["exception"] == "team-a/e"
    assert "deferred" in early["properties"]
    assert "message" not in good
    assert found["metadata"]["labels"] == {"app.kubernetes.io/managed-by": "ossa", "ossa.dev/policy": "a-policy"}
    assert found["scope"] == {"apiVersion": "v1", "kind": "Namespace", "name": "team-a"}


def test_a_policy_that_warns_gives_warnings(made: Made) -> None:
    judgement = said("a-policy", "fail")
    warned = Finding(("Agent", "team-a", "a"), "u", type(judgement)(**{**_fields(judgement), "action": "Warn"}))
    assert report(made, warned)["summary"]["warn"] == 1


def _fields(judgement: Any) -> dict[str, Any]:
    return {name: getattr(judgement, name) for name in judgement.__slots__}


def test_a_report_stays_small_and_says_so(made: Made) -> None:
    many = [finding(f"good-{number:04d}") for number in range(2000)]
    bad = [finding(f"bad-{number:04d}", "fail") for number in range(MOST_RESULTS - 1)]
    found = report(made, *many, *bad, controls=[{"framework": "x", "id": "y" * 63}] * 64)
    assert found["summary"]["pass"] == 2000
    assert [held["result"] for held in found["results"]] == ["fail"] * (MOST_RESULTS - 1) + ["pass"]
    assert found["metadata"]["annotations"][ANNOTATION_NOT_LISTED] == "1999"
    assert len(json.dumps(found)) < 1_400_000
    assert ANNOTATION_NOT_LISTED not in report(made, *bad)["metadata"]["annotations"]


def test_messages_are_cut(made: Made) -> None:
    held = said("a-policy", "fail")
    long = type(held)(
        **{**_fields(held), "violations": tuple(type(held.violations[0])("r", "fail", "x" * 900) for _ in range(9))}
    )
    (result,) = report(made, Finding(("Agent", "team-a", "a"), "u", long))["results"]
    assert len(result["message"]) == MESSAGE_MOST


def test_the_same_findings_make_the_same_report(made: Made) -> None:
    findings = [finding(f"a-{number}", ("pass", "fail", "error")[number % 3]) for number in range(50)]
    first = report(made, *findings)
    random.shuffle(findings)
    assert report(made, *findings) == first


def test_names_of_reports_fit() -> None:
    assert report_name("a-policy") == "ossa-a-policy"
    assert len(report_name("a" * 253)) == 253


@pytest.mark.parametrize("kind", ["PolicyReport", "ClusterPolicyReport"])
def test_reports_are_of_the_kind_that_is_installed(made: Made, kind: str) -> None:
    crds = [yaml.safe_load(path.read_text()) for path in CRDS.glob("*.yaml")]
    crd = next(held for held in crds if held["spec"]["names"]["kind"] == kind)
    (version,) = crd["spec"]["versions"]
    assert (crd["spec"]["group"], version["name"]) == ("wgpolicyk8s.io", "v1alpha2")
    schema = _closed(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}
    found = report(made, finding("a", "fail"), finding("b", "fail", exception="e"), finding("c"), controls=CONTROLS)
    jsonschema.validate(found, schema)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    """With a complaint of each field that the API server would drop."""
    held = {
        name: _closed(part) if isinstance(part, dict) and name != "properties" else part
        for name, part in schema.items()
    }
    if "properties" in schema:
        held["properties"] = {name: _closed(part) for name, part in schema["properties"].items()}
        held["additionalProperties"] = False
    return held
