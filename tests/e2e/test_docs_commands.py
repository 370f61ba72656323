"""The commands of docs/governance.md and docs/approvals.md that change something, as they stand there."""

from __future__ import annotations

import json
import re
import shlex
from datetime import UTC, datetime, timedelta
from pathlib import Path

from ossa.cli.manifests import read_manifests
from ossa.engine.clock import to_text
from tests.e2e.harness import Namespace
from tests.e2e.harness.command import ossa
from tests.e2e.harness.objects import JSONObject, agent
from tests.e2e.harness.people import BOARD, Person, ask
from tests.e2e.harness.policies import is_refused, is_taken, policies_of
from tests.pages import blocks, text_of


def shown(document: str, begin: str) -> list[list[str]]:
    """The arguments of each `kubectl` command of a document that begins so."""
    found = re.findall(rf"(?:^|`)kubectl ({re.escape(begin)}[^`\n]*)", text_of(document), re.M)
    assert found, f"docs/{document} shows no `kubectl {begin}`"
    return [shlex.split(command) for command in found]


def manifests(folder: Path, document: str, word: str) -> list[JSONObject]:
    """The objects of the one example of a document that has the word in it."""
    (text,) = (one for one in blocks(text_of(document), "yaml") if word in one)
    (folder / "example.yaml").write_text(text)
    return [dict(held.item) for held in read_manifests([str(folder / "example.yaml")]).manifests]


async def test_an_exception_of_the_guide_is_confirmed_by_a_second_person(namespace: Namespace, tmp_path: Path) -> None:
    policy, exception = manifests(tmp_path, "governance.md", "name: trial-of-parser")
    parser = agent("parser", {"container": {"image": "ghcr.io/else/parser:1"}})
    (tmp_path / "parser.yaml").write_text(json.dumps(parser))
    hashed = (await ossa("policy", "hash", str(tmp_path / "parser.yaml"))).ok().split()[0]
    alice, bob = Person("alice", namespace), Person("bob", namespace)
    async with policies_of(namespace) as policies:
        spec = {key: held for key, held in policy["spec"].items() if key not in {"match", "rules"}}
        name = await policies.apply("images", *policy["spec"]["rules"], kinds=policy["spec"]["match"]["kinds"], **spec)
        assert "its image is from elsewhere" in await is_refused(namespace, policies, parser)
        exception["spec"] |= {"policy": name, "expiresAt": to_text(datetime.now(UTC) + timedelta(hours=1))}
        exception["spec"]["target"]["specHash"] = hashed
        exception["metadata"] |= {"namespace": namespace.name}

        (await alice.create(exception)).ok()
        assert "its image is from elsewhere" in (await namespace.kubectl_apply(parser)).refused()
        (command,) = shown("governance.md", "patch apolex")
        command[command.index("-n") + 1] = namespace.name
        (await bob.kubectl(*command)).ok()
        await is_taken(namespace, policies, parser)
        (await namespace.kubectl_apply(parser)).ok()


async def test_approvers_decide_by_the_commands_that_are_shown(namespace: Namespace) -> None:
    (binding,) = shown("approvals.md", "create rolebinding")
    binding[binding.index("-n") + 1] = namespace.name
    (await namespace.kubectl(*binding)).ok()
    asked: str = (await ask(namespace, count=2))["metadata"]["name"]
    merge, patch = shown("approvals.md", "patch approval")
    for user, command in (("bob", merge), ("a/b@example.com", patch)):
        command[command.index("NAME")] = asked
        (await Person(user, namespace, groups=(BOARD,), almighty=False).kubectl(*command)).ok()
    decided = (await namespace.get("approvals", asked))["decisions"]
    assert {user: entry["verdict"] for user, entry in decided.items()} == {
        "bob": "Approved",
        "a/b@example.com": "Approved",
    }
    assert "bob" in (await namespace.kubectl(*shown("approvals.md", "get approvals")[0], "-o", "json")).ok()
