"""The policies in manifests/policies: each has cases that pass and fail, and controls that there are."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossa.api.policy import AgentPolicy
from ossa.cli.compliance import load_framework
from ossa.cli.lint import manifest_problems
from ossa.cli.manifests import Manifest, read_manifests
from ossa.cli.policytest import run_file
from ossa.governance.framework import SHIPPED
from ossa.governance.policies import compile_policy
from ossa.governance.policytest import API_VERSION, PolicyTestFile
from ossa.governance.review import policy_problems
from ossa.governance.verdict import Outcome

POLICIES = Path(__file__).resolve().parents[3] / "manifests" / "policies"
PACKS = ("baseline", *SHIPPED)


def manifests(folder: str) -> list[Manifest]:
    found = read_manifests([str(POLICIES / folder)])
    assert found.unreadable == ()
    return list(found.manifests)


TESTS = [held for held in manifests("tests") if held.item.get("apiVersion") == API_VERSION]


@pytest.mark.parametrize("test", TESTS, ids=lambda test: Path(test.file).stem)
def test_each_case_is_as_expected(test: Manifest) -> None:
    result = run_file(test)
    assert result.problems == ()
    assert [(one.name, one.differences) for one in result.results if not one.passed] == []


@pytest.mark.parametrize("pack", PACKS)
def test_each_policy_has_a_case_that_passes_and_for_each_rule_one_that_fails(pack: str) -> None:
    seen: set[tuple[str, str, Outcome]] = set()
    for test in TESTS:
        cases = PolicyTestFile.model_validate(test.item).cases
        for result, case in zip(run_file(test).results, cases, strict=True):
            expected = {one.policy for one in case.expect}
            for held in result.verdict.judged:
                if held.policy in expected:
                    seen.add((held.policy, "", held.outcome))
                    seen |= {(held.policy, one.rule, one.outcome) for one in held.violations}
    for manifest in manifests(pack):
        policy = compile_policy(AgentPolicy.model_validate(manifest.item))
        assert (policy.name, "", "pass") in seen
        assert [rule.label for rule in policy.rules if (policy.name, rule.label, "fail") not in seen] == []


@pytest.mark.parametrize("pack", PACKS)
def test_policies_say_whose_they_are_and_what_to_do(pack: str) -> None:
    found = manifests(pack)
    assert found
    for held in found:
        assert (held.kind, policy_problems(held.item), manifest_problems(held)) == ("AgentPolicy", [], [])
        policy = AgentPolicy.model_validate(held.item)
        assert policy.metadata.name == f"{pack}-{Path(held.file).stem}"
        assert policy.spec.description
        assert all(rule.name and ": " in rule.message for rule in policy.spec.rules)
        assert {one.framework for one in policy.spec.controls} == ({pack} if pack in SHIPPED else set())


def test_all_packs_can_be_applied_together() -> None:
    names = [str(held.item["metadata"]["name"]) for pack in PACKS for held in manifests(pack)]
    assert len(names) == len(set(names)) == 34


@pytest.mark.parametrize("name", SHIPPED)
def test_frameworks_and_packs_agree(name: str) -> None:
    framework = load_framework(name)
    ids = [control.id for control in framework.controls]
    assert len(ids) == len(set(ids))
    technical = {control.id for control in framework.controls if control.kind == "technical"}
    policies = [AgentPolicy.model_validate(held.item) for held in manifests(name)]
    named = {one.id for policy in policies for one in policy.spec.controls}
    assert named <= technical
    assert [
        one.id for one in framework.controls if one.id in technical - named and not (one.records or one.unavailable)
    ] == []
    assert all(bool(control.looks_at) == (control.id in technical) for control in framework.controls)
    assert {one for date in framework.dates for one in date.controls} <= set(ids)
    assert [date.date for date in framework.dates] == sorted(date.date for date in framework.dates)
