"""What policies are asked about: objects as large as the API server takes, and workflows that Executions hold."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.harness import Namespace, execution, task, workflow
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.policies import NOT_BAD, Policies, an_agent, bad, dry, is_refused, is_taken

LARGE = 1_000_000  # bytes of an object
# Characters of an answer, whatever was asked.
ANSWER_MOST = 6_000


def labelled(item: JSONObject, **more: str) -> JSONObject:
    """With so many labels that these alone are of that size."""
    labels = {f"label-{number:05}": "x" * 60 for number in range(LARGE // 78)}
    return {**item, "metadata": {**item["metadata"], "labels": {**labels, **more}}}


def kinds() -> list[JSONObject]:
    return [an_agent(), workflow("flow", [task("a", "absent")]), execution("run", "flow")]


async def test_a_megabyte_of_labels_is_judged_as_any_other_object(namespace: Namespace, policies: Policies) -> None:
    name = await policies.apply("p", NOT_BAD)
    for item in kinds():
        await is_refused(namespace, policies, bad(item))  # every replica knows the policy
        said = (await dry(namespace, labelled(item, bad="yes"))).refused()
        assert f"policy '{name}': it is bad" in said
        assert len(said) < ANSWER_MOST
        (await namespace.kubectl("create", "-f", "-", objects=[labelled(item)])).ok()
        # A review of an update holds it twice.
        kind, named = item["kind"].lower(), item["metadata"]["name"]
        assert name in (await namespace.kubectl("label", kind, named, "bad=yes")).refused()
        (await namespace.kubectl("label", kind, named, "good=yes")).ok()


async def test_a_rule_that_looks_at_each_of_too_many_labels_refuses_and_says_so(
    namespace: Namespace, policies: Policies
) -> None:
    rule = {"expression": "object.metadata.labels.all(key, key != 'bad')"}
    name = await policies.apply("p", rule, kinds=["Agent"])
    await is_refused(namespace, policies, bad(an_agent()))
    said = (await dry(namespace, labelled(an_agent()))).refused()
    assert f"policy '{name}'" in said
    assert "it loops more than 10,000 times" in said
    await is_taken(namespace, policies, {**an_agent(), "metadata": {"name": "few", "labels": {"a": "b"}}})


@pytest.mark.parametrize(
    ("item", "says"),
    [
        (an_agent(description="x" * LARGE), "spec.description"),
        (workflow("flow", [task("a", "absent", give={"text": "x" * LARGE})]), "bytes of JSON, and at most"),
        (execution("run", "flow", {"text": "x" * LARGE}), "spec.inputs: is 1000"),
    ],
    ids=["agent", "workflow", "execution"],
)
async def test_a_megabyte_of_spec_is_refused_by_its_size(
    namespace: Namespace, policies: Policies, item: JSONObject, says: str
) -> None:
    await policies.apply("p", NOT_BAD)
    said = (await dry(namespace, item)).refused()
    assert says in said
    assert len(said) < ANSWER_MOST


async def test_nothing_of_a_large_text_is_interpreted_or_repeated_whole(
    namespace: Namespace, policies: Policies
) -> None:
    rule = {"expression": "false", "messageExpression": "object.metadata.annotations.text"}
    name = await policies.apply("p", rule, kinds=["Agent"])
    item = an_agent()
    item["metadata"]["annotations"] = {"text": "\x1b[2J${{ x }}\u202e%s\r\n" * 12_000}
    said = await is_refused(namespace, policies, item)
    assert f"policy '{name}': \\x1b[2J${{{{ x }}}}" in said
    assert len(said) < ANSWER_MOST
    assert not {"\x1b", "\u202e", "\r"} & set(said)


async def test_a_policy_about_workflows_holds_for_one_that_an_execution_holds(
    namespace: Namespace, policies: Policies
) -> None:
    rule = {"expression": "plan.tasks.size() < 2", "message": "it has too many tasks"}
    name = await policies.apply("p", rule, kinds=["Workflow"])
    tasks: list[dict[str, Any]] = [task("a", "absent"), task("b", "absent")]
    assert name in await is_refused(namespace, policies, workflow("flow", tasks))
    assert f"policy '{name}': it has too many tasks" in (await dry(namespace, inline(tasks))).refused()
    in_finally = inline(tasks[:1])
    in_finally["spec"]["workflowSpec"]["finally"] = tasks[1:]
    assert name in (await dry(namespace, in_finally)).refused()
    await is_taken(namespace, policies, inline(tasks[:1]))


def inline(tasks: list[dict[str, Any]]) -> JSONObject:
    """An Execution with a workflow of its own."""
    item = execution("run", "flow")
    item["spec"] = {"workflowSpec": {"tasks": tasks}}
    return item
