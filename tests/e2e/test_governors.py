"""Those who govern: nobody locks them out, they meet each other, and what breaks glass is told."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from ossa.governance.native import native_name
from ossa.kube import paths
from tests.e2e.harness import Namespace, execution, kubectl, task, wait_for, workflow
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.people import Person
from tests.e2e.harness.policies import NOT_BAD, OWNED, Policies, an_agent, bad, is_refused
from tests.e2e.harness.rights import WRITES_POLICIES, bind, governs, unbind

NEVER = {"expression": "false", "message": "nothing is let in"}
# Of governance.breakGlassGroups, as charts/ossa/values-trial.yaml has it.
EMERGENCY = "ossa-emergency"


@pytest.fixture
async def governors(namespace: Namespace) -> AsyncIterator[tuple[Person, Person]]:
    """Two who govern the policy p of the namespace, and may do nothing else."""
    names = [f"{user}-{namespace.name}" for user in ("gwen", "gus")]
    for name in names:
        await bind(namespace.cluster, name, name, [WRITES_POLICIES, governs(f"{namespace.name}-p")])
    first, second = (Person(name, namespace, almighty=False) for name in names)
    yield first, second
    for name in names:
        await unbind(namespace.cluster, name)


async def apply(person: Person, item: JSONObject, *more: str) -> str:
    """Server-side apply; what it says."""
    answer = await person.kubectl(
        "apply", "--server-side", f"--field-manager={person.name}", *more, "-f", "-", objects=[item]
    )
    return answer.err if answer.code else answer.out


async def test_a_policy_that_refuses_all_does_not_lock_out_its_governor(
    namespace: Namespace, policies: Policies, governors: tuple[Person, Person]
) -> None:
    """Neither in force nor before: the policy is changed, gone and back again while nothing else gets in."""
    gwen, _ = governors
    name = policies.name("p")
    item = policies.resource("p", NEVER, kinds=["Agent", "Workflow", "Execution", "Task"])
    try:
        assert "serverside-applied" in await apply(gwen, item)
        flow = workflow("flow", [task("a", "absent")])
        for held in (an_agent(), flow, execution("run", "flow")):
            assert NEVER["message"] in await is_refused(namespace, policies, held)
        (await gwen.patch("agentpolicy", name, {"metadata": {"labels": {"seen": "yes"}}})).ok()
        (await gwen.patch("agentpolicy", name, {"spec": {"description": "of an emergency"}})).ok()
        (await gwen.kubectl("delete", "agentpolicy", name)).ok()
        assert "serverside-applied" in await apply(gwen, item)
        (await gwen.patch("agentpolicy", name, {"spec": {"action": "Audit"}})).ok()
        await policies.settle(lambda: namespace.kubectl_apply(flow), lambda answer: answer.code == 0, "an end of it")
    finally:
        await policies.remove(name)


async def test_two_governors_meet_and_who_insists_is_recorded(
    policies: Policies, governors: tuple[Person, Person]
) -> None:
    gwen, gus = governors
    name = policies.name("p")
    try:
        assert "serverside-applied" in await apply(gwen, policies.resource("p", OWNED, action="Enforce"))
        assert (await recorded(policies)) == gwen.name
        weaker = policies.resource("p", OWNED, action="Audit")
        said = await apply(gus, weaker)
        assert "conflict" in said
        assert gwen.name in said
        assert ".spec.action" in said
        assert (await policies.get("p"))["spec"]["action"] == "Enforce"
        # What both say is both's.
        assert "serverside-applied" in await apply(gus, policies.resource("p", OWNED, action="Enforce"))
        assert (await recorded(policies)) == gwen.name
        assert "serverside-applied" in await apply(gus, weaker, "--force-conflicts")
        assert (await recorded(policies)) == gus.name
        assert (await policies.get("p"))["metadata"]["generation"] == 2
        assert "conflict" in await apply(gwen, policies.resource("p", OWNED, action="Enforce"))
        assert (await policies.get("p"))["spec"]["action"] == "Audit"
    finally:
        await policies.remove(name)


async def recorded(policies: Policies) -> str:
    """Who is said to have changed the spec last."""
    said: str = (await policies.get("p"))["metadata"]["annotations"]["ossa.dev/spec-changed-by"]
    return said


async def test_break_glass_passes_policies_of_both_kinds_and_is_told(namespace: Namespace, policies: Policies) -> None:
    name = await policies.apply("p", NOT_BAD)
    native = await policies.apply("native", OWNED, kinds=["Agent"], failurePolicy="Ignore")
    (await kubectl("wait", "--for=condition=Native", "--timeout=60s", f"agentpolicy/{native}")).ok()
    await is_refused(namespace, policies, bad(an_agent(owner="team")))

    async def held() -> bool:
        return native_name(native) in (await alice.create(an_agent())).err

    alice, hero = Person("alice", namespace), Person("hero", namespace, (EMERGENCY,))
    await wait_for(held, "the API server to hold the policy")
    refused = (await alice.create(bad(an_agent(owner="team")))).refused()
    assert f"policy '{name}'" in refused
    passed = await hero.create(bad(an_agent()))
    passed.ok()
    assert f"break-glass: it would be refused by policy '{name}': it is bad" in passed.err
    flow, run = workflow("flow", [task("a", "absent")]), execution("run", "flow")
    for item in (flow, run):
        (await hero.create(bad(item))).ok()
    annotations = (await namespace.get("executions", "run"))["metadata"]["annotations"]
    assert annotations["ossa.dev/break-glass"] == hero.name
    assert (
        await alice.patch("execution", "run", {"metadata": {"annotations": {"ossa.dev/break-glass": "x"}}})
    ).refused()

    async def told() -> set[str]:
        selector = {"fieldSelector": f"involvedObject.name={name},reason=BreakGlass"}
        events = (await namespace.cluster.api.get(paths.core("events", "default"), selector))["items"]
        found = {kind for kind in ("Agent", "Workflow", "Execution") for e in events if f" of {kind} " in e["message"]}
        return found if len(found) == 3 else set()

    await wait_for(told, "an Event of each", timeout=30)
