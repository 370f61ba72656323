"""`ossa compliance report` from files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ossa.cli.__main__ import main
from ossa.cli.outcome import Exit

REPO = Path(__file__).resolve().parents[3]
PACKS = REPO / "manifests" / "policies"
GOOD = """\
apiVersion: ossa.dev/v1alpha1
kind: Agent
metadata: {name: assistant}
spec:
  type: monitor
  owner: data-team
  purpose: tests
  risk: high
  userFacing: true
  disclosure: You are talking to a machine.
  data: {sources: [orders], classification: internal}
  documents: {limits: "https://docs.example.org/l", impactAssessment: {url: "https://docs.example.org/i"}}
  capabilities: [{name: do}]
  runtime: {handler: "a:b", resources: {limits: {memory: 64Mi}}}
---
apiVersion: ossa.dev/v1alpha1
kind: Workflow
metadata: {name: careful}
spec:
  timeout: 1h
  tasks:
  - {name: ask, approval: {message: "Go on?", approverGroups: [board]}}
  - {name: act, agent: assistant, dependsOn: [ask]}
"""
GOLDEN = {
    "9": "evidence-present",
    "10": "enforced",
    "11": "enforced",
    "12": "unavailable",
    "13": "enforced",
    "14": "enforced",
    "14(4)(e)": "unavailable",
    "15": "evidence-present",
    "17": "organisational",
    "19": "unavailable",
    "26": "evidence-present",
    "27": "enforced",
    "50": "enforced",
    "72": "evidence-present",
}


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(["compliance", "report", *arguments])
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.fixture
def good(tmp_path: Path) -> str:
    (tmp_path / "good.yaml").write_text(GOOD)
    return str(tmp_path)


def test_what_keeps_to_the_pack_is_enforced(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    files = ("--files", good, "--files", str(PACKS / "eu-ai-act"))
    code, out = run(capsys, "--framework", "eu-ai-act", *files, "-o", "json")
    assert code == Exit.OK
    (framework,) = json.loads(out)["frameworks"]
    found = {held["id"]: held["status"] for held in framework["controls"]}
    assert {control: found[control] for control in GOLDEN} == GOLDEN


def test_what_does_not_is_named(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    bad = Path(good) / "good.yaml"
    bad.write_text(GOOD.replace("dependsOn: [ask]", "dependsOn: []"))
    code, out = run(capsys, "--framework", "eu-ai-act", "--files", good, "--files", str(PACKS / "eu-ai-act"))
    assert code == Exit.OK
    line = next(one for one in out.splitlines() if one.startswith("14 "))
    assert "not-met" in line
    assert "Workflow default/careful" in line


@pytest.mark.parametrize("form", ["text", "json", "html"])
def test_each_form_shows_all_frameworks(good: str, capsys: pytest.CaptureFixture[str], form: str) -> None:
    code, out = run(capsys, "--files", good, "-o", form)
    assert code == Exit.OK
    assert all(title in out for title in ("ISO/IEC 42001", "NIST AI Risk Management", "EU AI Act"))
    assert "complian" not in out.lower()


def test_the_summary_is_short(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    _, out = run(capsys, "--files", good, "--summary")
    assert len(out.splitlines()) < 15
    assert "organisational" in out


def test_a_framework_of_ones_own(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    own = Path(good) / "own.txt"
    own.write_text("name: own\ntitle: Our rules\ncontrols: [{id: a, title: Something, kind: technical}]\n")
    _, out = run(capsys, "--files", good, "--framework", str(own))
    assert "no policy of this control is there" in out
    own.write_text("name: own\ntitle: Our rules\ncontrols: []\n")
    code, out = run(capsys, "--files", good, "--framework", str(own))
    assert code == Exit.USAGE
    assert "controls" in out


def test_a_framework_that_is_not_known(good: str, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = run(capsys, "--files", good, "--framework", "soc-2")
    assert code == Exit.USAGE
    assert "There are iso-42001, nist-ai-rmf, eu-ai-act" in out
