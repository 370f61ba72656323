"""The kinds as the chart ossa-crds installs them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from ossa.api import crds
from ossa.governance.report import REPORT_API_VERSION
from tests.unit.charts.rendering import CRDS, OSSA, REPO, helm, render


@pytest.mark.parametrize("chart", [OSSA, CRDS], ids=lambda chart: chart.name)
def test_helm_finds_no_fault(chart: Path) -> None:
    helm("lint", "--strict", chart)
    for values in chart.glob("values-*.yaml"):
        helm("lint", "--strict", chart, "-f", values)


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
