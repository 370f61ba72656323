"""Who made the last change of a spec is recorded, and nobody writes another's name."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator

import pytest

from ossa.kube import paths
from ossa.kube.client import ApiError, NotFound
from tests.e2e.harness import Cluster, Namespace, execution, task, wait_for, webhooks, workflow
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.people import OPERATOR, Person

CREATED, CHANGED, AUTHOR = "ossa.dev/created-by", "ossa.dev/spec-changed-by", "ossa.dev/author"
DELEGATES_ALONE = "only delegates may write it"
RECORDED = "is recorded by the platform, and nobody may set, change or remove it"
NAMES_ANOTHER = "must name who makes this change"
AGAIN = "was not reached just now: try again"


def flow(name: str = "flow", **annotations: str) -> JSONObject:
    """A workflow whose agent is not there; annotations as author="x" for ossa.dev/author."""
    item = workflow(name, [task("a", "absent")])
    item["metadata"]["annotations"] = {f"ossa.dev/{key.replace('_', '-')}": value for key, value in annotations.items()}
    return item


def spec(text: str) -> JSONObject:
    """A change of the spec."""
    return {"spec": {"description": text}}


def annotated(**annotations: str | None) -> JSONObject:
    """A change of annotations alone."""
    return {"metadata": {"annotations": {f"ossa.dev/{k.replace('_', '-')}": v for k, v in annotations.items()}}}


async def names(namespace: Namespace, name: str = "flow", plural: str = "workflows") -> tuple[str | None, str | None]:
    """Who created an object, and who changed its spec; an empty name is nobody's."""
    held = (await namespace.get(plural, name))["metadata"].get("annotations") or {}
    return held.get(CREATED) or None, held.get(CHANGED) or None


async def test_whoever_changes_the_spec_is_its_author(namespace: Namespace) -> None:
    alice, bob = Person("alice", namespace), Person("system:serviceaccount:team:bob", namespace)
    (await alice.create(flow())).ok()
    assert await names(namespace) == ("alice", "alice")
    (await bob.patch("workflow", "flow", spec("other"))).ok()
    assert await names(namespace) == ("alice", bob.name)
    # Labels, and a spec that stays as it is, make no author.
    (await alice.kubectl("label", "workflow", "flow", "team=a")).ok()
    (await alice.patch("workflow", "flow", spec("other"))).ok()
    assert await names(namespace) == ("alice", bob.name)
    (await bob.create(execution("run", "flow"))).ok()
    assert await names(namespace, "run", "executions") == (bob.name, bob.name)


async def test_apply_and_replace_keep_what_was_recorded(namespace: Namespace) -> None:
    alice, bob = Person("alice", namespace), Person("bob", namespace)
    for person in (alice, bob, alice):
        (await person.kubectl("apply", "-f", "-", objects=[flow()])).ok()
        (await person.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", objects=[flow()])).ok()
        (await person.kubectl("replace", "-f", "-", objects=[flow()])).ok()
        assert await names(namespace) == ("alice", "alice")
    (await alice.patch("workflow", "flow", annotated(spec_changed_by=None, created_by=None))).ok()
    assert await names(namespace) == ("alice", "alice")


async def test_nobody_writes_another_s_name(namespace: Namespace) -> None:
    alice, mallory = Person("alice", namespace), Person("mallory", namespace)
    assert RECORDED in (await mallory.create(flow(created_by="alice"))).refused()
    assert NAMES_ANOTHER in (await mallory.create(flow(spec_changed_by="alice"))).refused()
    assert DELEGATES_ALONE in (await mallory.create(flow(author="alice"))).refused()
    (await alice.create(flow())).ok()
    for change, words in [
        (annotated(created_by="mallory"), RECORDED),
        (annotated(spec_changed_by="mallory"), RECORDED),
        (annotated(spec_changed_by="mallory") | spec("x") | annotated(created_by="mallory"), RECORDED),
        (annotated(spec_changed_by="bob") | spec("x"), NAMES_ANOTHER),
        (annotated(author="alice"), DELEGATES_ALONE),
        (annotated(author="alice") | spec("x"), DELEGATES_ALONE),
    ]:
        said = (await mallory.patch("workflow", "flow", change)).refused()
        assert words in said, (change, said)
    assert await names(namespace) == ("alice", "alice")
    # The old author's name left in place, as an edited copy of the object has it, is no forgery.
    (await mallory.patch("workflow", "flow", spec("x") | annotated(spec_changed_by="alice"))).ok()
    assert await names(namespace) == ("alice", "mallory")
    # Nor is the own name.
    (await alice.patch("workflow", "flow", spec("y") | annotated(spec_changed_by="alice"))).ok()
    assert await names(namespace) == ("alice", "alice")


async def test_a_delegate_names_the_author_or_nobody(namespace: Namespace) -> None:
    delegate, bob = Person(OPERATOR, namespace), Person("bob", namespace)
    (await delegate.create(flow(author="alice"))).ok()
    assert await names(namespace) == ("alice", "alice")
    (await delegate.patch("workflow", "flow", spec("x") | annotated(author=None))).ok()
    assert await names(namespace) == ("alice", None)
    (await bob.patch("workflow", "flow", spec("y"))).ok()
    assert await names(namespace) == ("alice", "bob")
    (await delegate.patch("workflow", "flow", spec("z") | annotated(author="carol"))).ok()
    assert await names(namespace) == ("alice", "carol")
    # What it brings itself, such as a backup, counts for nothing.
    (await delegate.create(flow("restored", created_by="alice", spec_changed_by="alice"))).ok()
    assert await names(namespace, "restored") == (None, None)
    assert DELEGATES_ALONE in (await bob.patch("workflow", "flow", annotated(author=None))).refused()


async def test_what_is_not_of_its_schema_is_refused_in_the_schemas_words(namespace: Namespace) -> None:
    """Whatever records authors is asked before the schema, and may not hide what it says."""
    mistyped, twice = flow(), flow()
    mistyped["spec"]["tasks"] = "a"
    twice["spec"]["tasks"] *= 2
    for item, told in (
        (mistyped, "spec.tasks in body must be of type array"),
        (twice, "spec.tasks[1]: Duplicate value"),
    ):
        with pytest.raises(ApiError) as refused:
            await namespace.cluster.api.post(paths.ossa("workflows", namespace.name), item)
        assert told in str(refused.value)


@pytest.fixture
async def unseen(cluster: Cluster, namespace: Namespace) -> AsyncIterator[tuple[Namespace, str]]:
    """A namespace that the webhook does not look at, as if it could not be reached, and a workflow's name there."""
    name = f"flow-{namespace.name}"
    yield Namespace("kube-system", cluster), name
    with contextlib.suppress(NotFound):
        await cluster.api.delete(paths.ossa("workflows", "kube-system", name))


async def test_without_the_webhook_the_author_is_unknown_and_none_is_forged(unseen: tuple[Namespace, str]) -> None:
    namespace, name = unseen
    alice, mallory = Person("alice", namespace), Person("mallory", namespace)
    assert RECORDED in (await mallory.create(flow(name, created_by="alice"))).refused()
    assert NAMES_ANOTHER in (await mallory.create(flow(name, spec_changed_by="alice"))).refused()
    (await alice.create(flow(name))).ok()
    assert await names(namespace, name) == (None, None)
    (await mallory.patch("workflow", name, spec("x"))).ok()
    assert await names(namespace, name) == (None, None)
    assert RECORDED in (await mallory.patch("workflow", name, annotated(spec_changed_by="mallory"))).refused()
    assert RECORDED in (await mallory.patch("workflow", name, annotated(created_by="alice"))).refused()


async def test_without_the_webhook_a_changed_spec_does_not_keep_the_old_author(unseen: tuple[Namespace, str]) -> None:
    namespace, name = unseen
    alice, mallory, delegate = (Person(user, namespace) for user in ("alice", "mallory", OPERATOR))
    (await alice.create(flow(name, created_by="alice", spec_changed_by="alice"))).ok()
    assert AGAIN in (await mallory.patch("workflow", name, spec("x"))).refused()
    assert AGAIN in (await mallory.patch("workflow", name, spec("x") | annotated(spec_changed_by=None))).refused()
    assert AGAIN in (await delegate.patch("workflow", name, spec("x"))).refused()
    assert RECORDED in (await mallory.patch("workflow", name, annotated(spec_changed_by=None))).refused()
    assert RECORDED in (await alice.patch("workflow", name, annotated(created_by=None))).refused()
    (await alice.patch("workflow", name, spec("y"))).ok()
    assert await names(namespace, name) == ("alice", "alice")


@pytest.fixture
async def by_webhook(namespace: Namespace, unseen: tuple[Namespace, str]) -> AsyncIterator[JSONObject]:
    """A workflow for whose like the webhook records authors, as it does where the API server itself does not."""
    kind = "MutatingWebhookConfiguration"
    entry = await webhooks.entry(namespace, kind, "authors-workflows.ossa.dev")
    item = flow(unseen[1])
    item["metadata"]["labels"] = {webhooks.MARK: namespace.name}
    async with webhooks.installed(namespace, webhooks.configuration(namespace, kind, entry)):

        async def asked() -> bool:
            answer = await Person("alice", unseen[0]).kubectl(
                "create", "--dry-run=server", "-o", "json", "-f", "-", objects=[item]
            )
            return CREATED in answer.ok()

        await wait_for(asked, "the API server to ask the webhook")
        yield item


async def test_the_webhook_records_what_the_api_server_would(
    unseen: tuple[Namespace, str], by_webhook: JSONObject
) -> None:
    namespace, name = unseen
    alice, bob, delegate = (Person(user, namespace) for user in ("alice", "bob", OPERATOR))
    forged = by_webhook["metadata"] | {"annotations": {CREATED: "bob"}}
    assert RECORDED in (await alice.create(by_webhook | {"metadata": forged})).refused()
    (await alice.create(by_webhook)).ok()
    assert await names(namespace, name) == ("alice", "alice")
    (await bob.patch("workflow", name, spec("x"))).ok()
    assert await names(namespace, name) == ("alice", "bob")
    same = by_webhook["spec"] | spec("x")["spec"]
    (await alice.kubectl("replace", "-f", "-", objects=[by_webhook | {"spec": same}])).ok()
    assert await names(namespace, name) == ("alice", "bob")
    (await delegate.patch("workflow", name, spec("y") | annotated(author="carol"))).ok()
    assert await names(namespace, name) == ("alice", "carol")
