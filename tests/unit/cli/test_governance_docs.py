"""The examples of docs/governance.md: each is checked, judged or run."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from ossa.cli.__main__ import main
from ossa.cli.compliance import load_framework
from ossa.cli.lint import manifest_problems
from ossa.cli.manifests import Found, read_manifests, read_yaml
from ossa.cli.outcome import Exit
from ossa.governance.framework import SHIPPED
from tests.pages import blocks, text_of

REPO = Path(__file__).resolve().parents[3]
TEXT = text_of("governance.md")
EXAMPLES = blocks(TEXT, "yaml")


def example(word: str) -> str:
    (found,) = (one for one in EXAMPLES if word in one)
    return found


def parsed(folder: Path, text: str) -> Found:
    (folder / "example.yaml").write_text(text)
    return read_manifests([str(folder / "example.yaml")])


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = main(arguments)
    said = capsys.readouterr()
    return code, said.out + said.err


@pytest.mark.parametrize("text", EXAMPLES, ids=lambda text: text.split("name: ")[1].split("\n")[0].strip("}"))
def test_each_example_is_right(tmp_path: Path, text: str) -> None:
    if text.startswith("name: "):
        (tmp_path / "framework.yaml").write_text(text)
        assert load_framework(str(tmp_path / "framework.yaml")).controls
        return
    found = parsed(tmp_path, text)
    assert (found.unreadable, len(found.manifests) > 0) == ((), True)
    assert [problem.text for held in found.manifests for problem in manifest_problems(held)] == []


def test_the_example_of_a_test_passes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(example("name: high-risk-needs-approval}"))
    (tmp_path / "test.yaml").write_text(example("kind: PolicyTest"))
    code, out = run(capsys, "policy", "test", str(tmp_path))
    assert (code, out.splitlines()[-1]) == (Exit.OK, "2 cases: 2 passed, 0 failed")


def test_params_give_the_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(example("name: known-owners"))
    agent = example("name: advisor").replace("{name: advisor}", "{name: advisor, namespace: team-a}")
    (tmp_path / "agent.yaml").write_text(agent)
    code, out = run(capsys, "lint", str(tmp_path / "agent.yaml"), "--policies", str(tmp_path / "policy.yaml"))
    assert code == Exit.FAILED
    assert "policy 'known-owners': set spec.owner to one of data-team,ml-team" in out
    (tmp_path / "agent.yaml").write_text(agent.replace("credit-team", "ml-team"))
    assert run(capsys, "lint", str(tmp_path / "agent.yaml"), "--policies", str(tmp_path / "policy.yaml"))[0] == Exit.OK


def test_the_command_that_is_shown_says_what_is_shown(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (found,) = re.findall(r"^```\n\$ ossa (lint .*)\n((?:.*\n)*?)```$", TEXT, re.M)
    command, shown = found[0].split(), found[1].splitlines()
    spec = {"tasks": [{"name": "deploy", "agent": "advisor"}]}
    flow = {"apiVersion": "ossa.dev/v1alpha1", "kind": "Workflow", "metadata": {"name": "release"}, "spec": spec}
    (tmp_path / "flow.yaml").write_text(f"{json.dumps(flow)}\n---\n{example('name: advisor')}")
    (tmp_path / "manifests").symlink_to(REPO / "manifests")
    monkeypatch.chdir(tmp_path)
    code, out = run(capsys, *command)
    assert code == Exit.FAILED
    said = out.splitlines()
    assert len(said) == len(shown)
    for line, wanted in zip(said, shown, strict=True):
        begin, _, cut = wanted.partition("…")
        assert line.startswith(begin) if not cut else line == wanted


def test_the_exception_is_one_that_its_policy_honours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = example("name: no-foreign-images").replace("2026-02-01", "2020-02-01")  # in the past: short enough
    (tmp_path / "both.yaml").write_text(text)
    code, out = run(capsys, "lint", str(tmp_path), "--policies", str(tmp_path))
    assert (code, out.splitlines()[-1]) == (Exit.OK, "2 objects, 0 errors, 0 warnings")


def test_the_agent_keeps_to_all_packs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "agent.yaml").write_text(example("name: advisor"))
    folders = [str(REPO / "manifests" / "policies" / pack) for pack in ("baseline", *SHIPPED)]
    packs = [word for folder in folders for word in ("--policies", folder)]
    code, out = run(capsys, "lint", str(tmp_path / "agent.yaml"), *packs)
    assert (code, out.splitlines()[-1]) == (Exit.OK, "1 objects, 0 errors, 0 warnings")
    files = [word for folder in folders for word in ("-f", folder)]
    code, out = run(capsys, "policy", "explain", str(tmp_path / "agent.yaml"), *files, "-o", "json")
    outcomes = [(one["policy"], held["outcome"]) for one in json.loads(out) for held in one["objects"]]
    assert len(outcomes) > 20  # Audit tells nobody: here it is seen
    assert {outcome for _, outcome in outcomes} == {"pass"}


def test_the_table_of_packs_is_what_they_do() -> None:
    actions: dict[str, set[str]] = {}
    for pack in ("baseline", *SHIPPED):
        for held in read_manifests([str(REPO / "manifests/policies" / pack)]).manifests:
            spec: dict[str, Any] = held.item["spec"]
            actions.setdefault(held.item["metadata"]["name"].removeprefix(f"{pack}-"), set()).add(
                f"{pack} {spec['action']}"
            )
    rows = {
        cells[0]: dict(zip(("baseline", *SHIPPED), cells[1:], strict=True))
        for line in TEXT.splitlines()
        if line.count("|") == 6 and (cells := [cell.strip() for cell in line.strip("|").split("|")])[0]
    }
    named = {
        "owner, purpose and risk are set": "accountability",
        "people approve before high risk": "human-oversight",
        "data sources and classification are declared": "data",
        "a document of limits": "limits-document",
        "who meets people says that it is an AI": "disclosure",
        "an impact assessment of high risk that has not expired": "impact-assessment",
    }
    for row, name in named.items():
        said = {f"{pack} {cell.split(',')[0]}" for pack, cell in rows[row].items() if cell}
        assert said == actions[name], row


def test_the_framework_of_ones_own_makes_a_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "framework.yaml").write_text(example("name: house-rules"))
    (tmp_path / "objects").mkdir()
    (tmp_path / "objects" / "agent.yaml").write_text(example("name: advisor"))
    arguments = ("--framework", str(tmp_path / "framework.yaml"), "--files", str(tmp_path / "objects"))
    code, out = run(capsys, "compliance", "report", *arguments)
    assert code == Exit.OK
    assert "0 enforced, 0 evidence-present, 0 not-met, 2 unavailable, 1 organisational" in out
    assert isinstance(read_yaml(example("name: house-rules")), dict)
