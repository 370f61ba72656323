"""`ossa policy test`, `explain` and `hash`, offline."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from ossa.api.agent import AgentSpec
from ossa.cli.__main__ import main
from ossa.cli.outcome import Exit
from ossa.governance.question import spec_hash

POLICY = """\
apiVersion: ossa.dev/v1alpha1
kind: AgentPolicy
metadata: {name: owners}
spec:
  description: Somebody answers for each agent
  match: {kinds: [Agent], namespaces: ["team-*"]}
  exclude: {users: ["system:*"]}
  controls: [{framework: iso-42001, id: A.4.2}]
  params: {namespace: governance, name: owners}
  exceptions: {maxDuration: 720h}
  rules:
  - name: owner
    expression: "has(object.spec.owner) && object.spec.owner in params.owners.split(',')"
    message: set spec.owner to one of the known owners
  - name: purpose
    expression: "has(object.spec.purpose)"
    message: set spec.purpose
---
apiVersion: v1
kind: ConfigMap
metadata: {name: owners, namespace: governance}
data: {owners: "data-team,ml-team"}
"""
OBJECTS = """\
apiVersion: ossa.dev/v1alpha1
kind: Agent
metadata: {name: good, namespace: team-a}
spec: {owner: data-team, purpose: tests, capabilities: [{name: do}], runtime: {handler: "a:b"}}
---
apiVersion: ossa.dev/v1alpha1
kind: Agent
metadata: {name: bad, namespace: team-a}
spec: {owner: nobody, purpose: tests, capabilities: [{name: do}], runtime: {handler: "a:b"}}
"""
HEAD = """\
apiVersion: cli.ossa.dev/v1alpha1
kind: PolicyTest
metadata: {name: owners}
cases:
"""
GOOD = """\
- name: an owner that is known
  object: {kind: Agent, namespace: team-a, name: good}
  admitted: true
  expect: [{policy: owners, outcome: pass, rules: {owner: pass, purpose: pass}}]
- name: an owner that is not
  object: {kind: Agent, namespace: team-a, name: bad}
  admitted: false
  expect: [{policy: owners, outcome: fail, rules: {owner: fail, purpose: pass}, message: one of the known owners}]
- name: params of the case win
  object: {kind: Agent, namespace: team-a, name: bad}
  params: {governance/owners: {owners: nobody}}
  expect: [{policy: owners, outcome: pass}]
- name: another namespace, and the system's users
  object: {kind: Agent, metadata: {name: x, namespace: other}, spec: {}}
  expect: [{policy: owners, outcome: skip}]
- name: the system's users
  object: {kind: Agent, namespace: team-a, name: bad}
  user: system:apiserver
  expect: [{policy: owners, outcome: skip}]
"""


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = main(["policy", *arguments])
    said = capsys.readouterr()
    return code, said.out, said.err


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "policy.yaml").write_text(POLICY)
    (tmp_path / "objects.yaml").write_text(OBJECTS)
    (tmp_path / "test.yaml").write_text(HEAD + GOOD)
    return tmp_path


def test_cases_that_are_as_expected(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "test", str(folder))
    assert out.splitlines()[-1] == "5 cases: 5 passed, 0 failed"
    assert code == Exit.OK


@pytest.mark.parametrize(
    ("case", "lines"),
    [
        (
            "object: {kind: Agent, namespace: team-a, name: bad}, expect: [{policy: owners, outcome: pass}]",
            ["- owners: pass", "+ owners: fail (policy 'owners': set spec.owner to one of the known owners)"],
        ),
        (
            "object: {kind: Agent, namespace: team-a, name: bad}, "
            "expect: [{policy: owners, outcome: fail, rules: {purpose: fail}}]",
            ["- owners/purpose: fail", "+ owners/purpose: pass (policy 'owners': set spec.owner to one of the known"],
        ),
        (
            "object: {kind: Agent, namespace: team-a, name: good}, admitted: false",
            ["- refused", "+ admitted"],
        ),
        (
            "object: {kind: Agent, namespace: team-a, name: bad}, "
            "expect: [{policy: owners, outcome: fail, message: purpose}]",
            ["- owners message: purpose", "+ owners message: policy 'owners': set spec.owner to one of"],
        ),
        (
            "object: {kind: Agent, namespace: team-a, name: good}, expect: [{policy: owner, outcome: pass}]",
            ["- owner: pass", "+ owner: there is no such policy that compiles"],
        ),
        (
            "object: {kind: Agent, namespace: team-a, name: none}, expect: [{policy: owners, outcome: pass}]",
            ["- object: Agent team-a/none", "+ object: is in none of the files"],
        ),
    ],
)
def test_what_is_otherwise_is_shown_as_a_diff(
    folder: Path, capsys: pytest.CaptureFixture[str], case: str, lines: list[str]
) -> None:
    (folder / "test.yaml").write_text(f"{HEAD}- {{name: a case, {case}}}\n")
    code, out, _ = run(capsys, "test", str(folder))
    found = [line.strip() for line in out.splitlines()]
    assert code == Exit.FAILED
    assert found[1] == "FAIL  a case"
    assert found[2:4] == [lines[0], found[3]]
    assert found[3].startswith(lines[1])
    assert found[-1] == "1 cases: 0 passed, 1 failed"


def test_a_policy_that_does_not_compile_fails_the_run(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("has(object.spec.purpose)", "object.spec.purpose ="))
    code, out, _ = run(capsys, "test", str(folder))
    assert code == Exit.FAILED
    assert "ERROR policy 'owners': spec.rules[1].expression: " in out


def test_json_holds_what_was_judged(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "test", str(folder), "-o", "json")
    found: dict[str, Any] = json.loads(out)
    assert (code, found["passed"], found["failed"]) == (Exit.OK, 5, 0)
    (judged,) = found["tests"][0]["cases"][1]["judged"]
    assert judged["violations"][0]["rule"] == "owner"
    assert judged["refuses"]


def test_a_folder_without_tests_is_a_usage_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "policy.yaml").write_text(POLICY)
    code, _, err = run(capsys, "test", str(tmp_path))
    assert code == Exit.USAGE
    assert "There is no PolicyTest" in err


def test_tasks_are_judged_with_what_the_case_gives(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    policy = POLICY.split("---", maxsplit=1)[0].replace("[Agent]", "[Task]")
    policy = (
        policy[: policy.index("  params:")] + "  rules: [{expression: \"input.size < 10 && agent.risk == 'high'\"}]\n"
    )
    (tmp_path / "p.yaml").write_text(policy)
    (tmp_path / "o.yaml").write_text(
        OBJECTS.split("---", maxsplit=1)[0].replace("owner:", "risk: high, owner:")
        + """---
apiVersion: ossa.dev/v1alpha1
kind: Workflow
metadata: {name: w, namespace: team-a}
spec: {tasks: [{name: t, agent: good}]}
---
apiVersion: ossa.dev/v1alpha1
kind: Execution
metadata: {name: e, namespace: team-a}
spec: {workflow: w}
"""
    )
    case = (
        "- {name: n, object: {kind: Execution, namespace: team-a, name: e}, task: t, operation: START, "
        "bindings: {input: {size: %d}}, expect: [{policy: owners, outcome: %s}]}\n"
    )
    (tmp_path / "t.yaml").write_text(HEAD + case % (3, "pass") + case % (30, "fail"))
    code, out, _ = run(capsys, "test", str(tmp_path))
    assert (code, out.splitlines()[-1]) == (Exit.OK, "2 cases: 2 passed, 0 failed")


def test_explain_says_what_a_policy_does_and_what_it_hits(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "explain", str(folder / "policy.yaml"), "-f", str(folder / "objects.yaml"))
    assert code == Exit.OK
    lines = [line.strip() for line in out.splitlines()]
    assert "for          Somebody answers for each agent" in lines
    assert "judges       Agent: when it is created, when it is changed" in lines
    assert "in the namespaces team-*" in lines
    assert "but not      asked for by system:*" in lines
    assert "params       the data of ConfigMap governance/owners" in lines
    assert "exceptions   honoured for at most 720h, once a second person has confirmed it" in lines
    assert "controls     iso-42001 A.4.2" in lines
    assert any(line.startswith("native       not possible: spec.") for line in lines)
    assert "It is about 2 of the objects that are there; 1 do not keep to it:" in lines
    assert lines[-1] == "Agent team-a/bad   fail      set spec.owner to one of the known owners"


def test_explain_says_what_the_api_server_could_hold(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = "{match: {kinds: [Agent]}, rules: [{expression: has(object.spec.owner)}]}"
    head = "apiVersion: ossa.dev/v1alpha1\nkind: AgentPolicy\nmetadata: {name: plain}\n"
    (tmp_path / "p.yaml").write_text(f"{head}spec: {spec}\n")
    code, out, _ = run(capsys, "explain", str(tmp_path / "p.yaml"))
    assert code == Exit.OK
    assert "native       possible: the API server can enforce it too, with the operator down" in out


def test_explain_of_a_broken_file(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "policy.yaml").write_text(POLICY.replace("has(object.spec.purpose)", "object.spec.purpose ="))
    code, _, err = run(capsys, "explain", str(folder / "policy.yaml"))
    assert code == Exit.FAILED
    assert "policy 'owners' is judged by nobody: spec.rules[1].expression" in err


def test_the_hash_is_that_which_exceptions_pin(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "hash", str(folder / "objects.yaml"))
    spec = {"owner": "data-team", "purpose": "tests", "capabilities": [{"name": "do"}], "runtime": {"handler": "a:b"}}
    assert code == Exit.OK
    assert f"{spec_hash(AgentSpec.model_validate(spec))}  Agent team-a/good" in out.splitlines()
    code, out, _ = run(capsys, "hash", str(folder / "objects.yaml"), "-o", "json")
    assert [one["name"] for one in json.loads(out)] == ["bad", "good"]
    assert run(capsys, "hash", str(folder / "policy.yaml"))[0] == Exit.USAGE
