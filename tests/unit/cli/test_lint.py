"""`ossa lint`: what it finds, how it says so, and how it ends."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ossa.cli.__main__ import main
from ossa.cli.manifests import read_manifests
from ossa.cli.outcome import Exit, Stop

REPO = Path(__file__).resolve().parents[3]
AGENT = """\
apiVersion: ossa.dev/v1alpha1
kind: Agent
metadata: {name: %s}
spec: {risk: %s, capabilities: [{name: do}], runtime: {handler: "a:b"}}
"""
WORKFLOW = """\
apiVersion: ossa.dev/v1alpha1
kind: Workflow
metadata: {name: w}
spec: {tasks: [{name: a, agent: risky}]}
"""
EXECUTION = """\
apiVersion: ossa.dev/v1alpha1
kind: Execution
metadata: {name: x}
spec: {workflowSpec: {tasks: [{name: a, agent: risky}]}}
"""
POLICY = """\
apiVersion: ossa.dev/v1alpha1
kind: AgentPolicy
metadata: {name: no-high-risk}
spec:
  match: {kinds: [Workflow]}
  action: %s
  rules: [{name: risk, expression: "plan.tasks.all(t, t.agent.risk != 'high')", message: "take another agent"}]
"""


def lint(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str, **files: str) -> tuple[int, list[str]]:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)
    code = main(["lint", *(str(folder / f"{name}.yaml") for name in files), *arguments])
    return code, capsys.readouterr().out.replace(f"{folder}/", "").splitlines()


def test_what_is_shipped_is_right(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["lint", str(REPO / "manifests" / "samples"), str(REPO / "agents")]) == Exit.OK
    assert " 0 errors" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            WORKFLOW.replace("agent: risky", "agent: risky, tiemout: 3s"),
            "a.yaml:1: Workflow w: spec.tasks[0].tiemout: is not a field that is known here; remove it",
        ),
        (
            WORKFLOW.replace("agent: risky", "agent: risky, dependsOn: [b]"),
            "a.yaml:1: Workflow w: spec.tasks[0].dependsOn[0]: there is no task 'b'",
        ),
        (WORKFLOW.replace("v1alpha1", "v1"), "a.yaml:1: Workflow w: apiVersion: must be ossa.dev/v1alpha1, not 'o"),
        (WORKFLOW.replace("Workflow", "Workflo"), "a.yaml:1: Workflo w: kind: must be one of Agent, Workflow, Exec"),
        (WORKFLOW.replace("name: w", "name: W!"), "a.yaml:1: Workflow W!: metadata.name: must be lower case letters"),
        (WORKFLOW.replace("{name: w}", "{labels: {a: 1}}"), "a.yaml:1: Workflow: metadata.name: is required; add it"),
        (WORKFLOW + "tasks: []\n", "a.yaml:1: Workflow w: tasks: is not a field that is known here; remove it, or"),
        (WORKFLOW.replace("name: w", "name: w, name: v"), "a.yaml:1: line 3, column 21: the key 'name' stands there"),
        (WORKFLOW + "---\n- a\n", "a.yaml:2: it is no object; write apiVersion, kind, metadata, spec"),
        (POLICY % "Block", "a.yaml:1: AgentPolicy no-high-risk: spec.action: must be one of Enforce, Warn, Audit"),
        (
            (POLICY % "Warn").replace("plan.tasks", "output.tasks"),
            "a.yaml:1: AgentPolicy no-high-risk: spec.rules[0].expression: `output` is not in scope for Workflow",
        ),
        (
            EXECUTION.replace("agent: risky", "agent: risky, dependsOn: [b]"),
            "a.yaml:1: Execution x: spec.workflowSpec.tasks[0].dependsOn[0]: there is no task 'b'",
        ),
        (
            EXECUTION.replace("spec: {", "spec: {workflow: w, "),
            "a.yaml:1: Execution x: spec: set exactly one of workflow",
        ),
        ("a: [1, 2", "a.yaml:1: line 1, column 9: expected ',' or ']'"),
    ],
)
def test_what_is_wrong_is_told_with_file_document_object_and_field(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    code, lines = lint(tmp_path, capsys, a=text)
    assert code == Exit.FAILED
    assert lines[0].startswith(said)


def test_policies_judge_what_lies_in_the_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = WORKFLOW + "---\n" + AGENT % ("risky", "high")
    (tmp_path / "policies").mkdir()
    policies = tmp_path / "policies" / "p.yaml"
    policies.write_text(POLICY % "Enforce")
    code, lines = lint(tmp_path, capsys, "--policies", str(policies.parent), a=world)
    assert code == Exit.FAILED
    assert lines == [
        "a.yaml:1: Workflow w: rule risk: policy 'no-high-risk': take another agent",
        "2 objects, 1 errors, 0 warnings",
    ]
    policies.write_text(POLICY % "Warn")
    code, lines = lint(tmp_path, capsys, "--policies", str(policies), a=world)
    assert (code, lines[0]) == (
        Exit.OK,
        "a.yaml:1: Workflow w: warning: rule risk: policy 'no-high-risk': take another agent",
    )


def test_an_agent_that_is_in_no_file_leaves_the_answer_open(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p").write_text(POLICY % "Enforce")
    code, lines = lint(tmp_path, capsys, "--policies", str(tmp_path / "p"), a=WORKFLOW)
    assert code == Exit.OK
    assert "warning" in lines[0]


def test_exceptions_are_held_against_their_policies(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    exception = f"""\
apiVersion: ossa.dev/v1alpha1
kind: AgentPolicyException
metadata: {{name: e, namespace: team}}
spec:
  policy: no-high-risk
  target: {{kind: Workflow, name: w, specHash: "sha256:{"0" * 64}"}}
  owner: me
  reason: a trial
  expiresAt: 2026-01-31T00:00:00Z
"""
    assert lint(tmp_path, capsys, a=exception)[0] == Exit.OK
    (tmp_path / "p").write_text(POLICY % "Enforce")
    code, lines = lint(tmp_path, capsys, "--policies", str(tmp_path / "p"), a=exception)
    assert code == Exit.FAILED
    assert "honours no exceptions (it has no spec.exceptions)" in lines[0]
    code, lines = lint(tmp_path, capsys, "--policies", str(tmp_path / "p"), a=exception.replace("no-high", "some"))
    assert "spec.policy: there is no policy 'some-risk' in the files" in lines[0]


def test_json_is_for_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = lint(tmp_path, capsys, "-o", "json", a=WORKFLOW + "spex: {}\n")
    found = json.loads("\n".join(lines))
    assert (code, found["objects"], found["errors"]) == (Exit.FAILED, 1, 1)
    assert found["problems"][0]["field"] == "spex"
    assert found["problems"][0]["object"] == "Workflow w"


def test_the_same_name_twice_is_a_warning(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, lines = lint(tmp_path, capsys, a=WORKFLOW, b=WORKFLOW)
    assert (code, lines[0]) == (
        Exit.OK,
        "b.yaml:1: Workflow w: warning: metadata.name: a.yaml:1 has the same name, and the later one replaces it",
    )


def test_hostile_files_are_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bomb = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"{here}: &{here} [{', '.join([f'*{before}'] * 10)}]\n"
        for before, here in zip("abcdefgh", "bcdefghi", strict=True)
    )
    loop = "a: &a [*a]\n"
    escape = WORKFLOW.replace("name: w", 'name: "\\e[2Jw\\u202e\\n<script>"')
    code, lines = lint(tmp_path, capsys, bomb=bomb, loop=loop, escape=escape, deep="[" * 5000)
    assert code == Exit.FAILED
    text = "\n".join(lines)
    assert text.count("do not nest aliases") == 2
    assert "deep.yaml:1: it is nested too deeply" in text
    assert "\x1b" not in text
    assert "\u202e" not in text


def test_there_must_be_files(tmp_path: Path) -> None:
    with pytest.raises(Stop, match=r"there is no file \.yaml"):
        read_manifests([str(tmp_path)])
    with pytest.raises(Stop, match="there is no such file or folder"):
        read_manifests([str(tmp_path / "nowhere")])
    assert main(["lint", str(tmp_path)]) == Exit.USAGE


def test_a_policy_about_workflows_holds_for_those_in_executions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"agents": AGENT % ("risky", "high"), "x": EXECUTION, "rules": POLICY % "Enforce"}
    code, lines = lint(tmp_path, capsys, "--policies", str(tmp_path / "rules.yaml"), **files)
    assert code == Exit.FAILED
    assert "x.yaml:1: Execution x: rule risk: policy 'no-high-risk': take another agent" in lines
