"""`ossa policy explain` and `ossa policy hash`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from ossa.api.base import JSONObject
from ossa.cli.manifests import read_manifests
from ossa.cli.outcome import Exit, Stop
from ossa.cli.policytest import judgement_json
from ossa.cli.reading import Seen, world_of
from ossa.cli.view import columns, one_line
from ossa.governance.explain import explained
from ossa.governance.native import NotNative, native_of
from ossa.governance.objects import judge, kinds_of
from ossa.governance.policies import CompiledPolicy
from ossa.governance.verdict import Judgement
from ossa.governance.world import SUBJECTS, Object, World, judged_objects, key_of, subject_of

MOST_SHOWN = 20


@dataclass(frozen=True, slots=True)
class Hit:
    """An object, and what the policy says of it as it is now."""

    kind: str
    namespace: str
    name: str
    judgement: Judgement


def is_file(name: str) -> bool:
    """Whether the argument names a file or a folder, not a policy of the cluster."""
    return Path(name).exists() or Path(name).suffix in (".yaml", ".yml", ".json") or "/" in name


def explain(seen: Seen, name: str | None, *, as_json: bool) -> Exit:
    """Print what policies do, and what they would hit. name None: all that there are. FAILED for a broken one."""
    good, bad = seen.world.policies()
    chosen = [policy for policy in good if name is None or policy.name == name]
    broken = {held: texts for held, texts in bad.items() if name is None or held == name}
    if not chosen and not broken:
        raise Stop(_unknown(name, [policy.name for policy in good]))
    now = datetime.now(UTC)
    made = [(policy, list(hits(seen.world, policy, now))) for policy in chosen]
    if as_json:
        print(json.dumps([_json(seen.world, policy, found) for policy, found in made], indent=2))
    else:
        for policy, found in made:
            print("\n".join(one_line_each(_lines(seen.world, policy, found))))
        for note in seen.notes:
            print(one_line(f"note: {note}"))
    for held, texts in broken.items():
        raise Stop(one_line(f"policy {held!r} is judged by nobody: {'; '.join(texts)}"), Exit.FAILED)
    return Exit.OK


def hits(world: World, policy: CompiledPolicy, now: datetime) -> Iterator[Hit]:
    """The objects that a policy is about, each with what it says; those of its kinds that it leaves out are not."""
    policies = world.policy_set()
    for item in judged_objects(world):
        if not kinds_of(item).isdisjoint(policy.spec.match.kinds):
            verdict = judge(world, item, now, policies=policies, only=[policy.name])
            for judgement in verdict.judged:
                yield Hit(str(item["kind"]), *key_of(item), judgement)


def hash_specs(paths: Sequence[str], *, namespace: str, as_json: bool) -> Exit:
    """Print the hash of each Agent, Workflow and Execution, as an exception pins it."""
    found = read_manifests(paths)
    for held in found.unreadable:
        raise Stop(one_line(f"{held.file}:{held.number}: {held.problem}"), Exit.FAILED)
    world = world_of(found, namespace)
    items = [item for kind in SUBJECTS for item in world.all(kind)]
    if not items:
        raise Stop(f"There is no {', '.join(SUBJECTS[:-1])} or {SUBJECTS[-1]} in {', '.join(paths)}", Exit.USAGE)
    made = [_hashed(item) for item in items]
    if as_json:
        print(json.dumps(made, indent=2))
    else:
        for one in made:
            print(one_line(f"{one['specHash']}  {one['kind']} {one['namespace']}/{one['name']}"))
    return Exit.OK


def _hashed(item: Object) -> dict[str, str]:
    subject, (namespace, name) = subject_of(item), key_of(item)
    if subject is None:
        raise Stop(one_line(f"{item['kind']} {namespace}/{name} is none: `ossa lint` says why"), Exit.FAILED)
    return {"kind": subject.kind, "namespace": namespace, "name": name, "specHash": subject.spec_hash}


def _lines(world: World, policy: CompiledPolicy, found: Sequence[Hit]) -> Iterator[str]:
    yield f"AgentPolicy {policy.name}"
    for heading, lines in explained(policy.spec):
        for number, line in enumerate(lines):
            yield f"  {heading if number == 0 else '':<13}{line}"
    for heading, text in _status(world, policy):
        yield f"  {heading:<13}{text}"
    against = [hit for hit in found if hit.judgement.outcome != "pass"]
    if set(policy.spec.match.kinds) == {"Task"}:
        yield "Tasks are judged when they run; there is nothing to look at now."
        return
    yield f"It is about {len(found)} of the objects that are there; {len(against)} do not keep to it:"
    rows = [
        (f"{hit.kind} {hit.namespace}/{hit.name}", hit.judgement.outcome, one_line(_said(hit.judgement)))
        for hit in against[:MOST_SHOWN]
    ]
    if rows:
        yield from columns(("OBJECT", "OUTCOME", "WHY"), rows).splitlines()
    if len(against) > MOST_SHOWN:
        yield f"and {len(against) - MOST_SHOWN} more (-o json shows all)"


def one_line_each(lines: Iterator[str]) -> Iterator[str]:
    """Each made harmless for the terminal, its indentation kept."""
    for line in lines:
        indent = len(line) - len(line.lstrip(" "))
        yield " " * indent + one_line(line.lstrip(" "))


def _said(judgement: Judgement) -> str:
    said = "; ".join(held.message for held in judgement.violations)
    return f"excepted by {judgement.exception}: {said}" if judgement.exception else said


def _status(world: World, policy: CompiledPolicy) -> Iterator[tuple[str, str]]:
    """What the operator found, where the policy lies in a cluster; and whether the API server could hold it."""
    item = world.get("AgentPolicy", "", policy.name) or {}
    found = {str(held.get("type")): held for held in (item.get("status") or {}).get("conditions") or []}
    for kind in ("Ready", "Native"):
        if (held := found.get(kind)) is not None:
            said = f": {held['message']}" if held.get("message") else ""
            yield kind.lower(), f"{held.get('status')}{said}"
    if "Native" not in found:
        native = native_of(policy)
        possible = "possible: the API server can enforce it too, with the operator down"
        yield "native", f"not possible: {native.reason}" if isinstance(native, NotNative) else possible


def _json(world: World, policy: CompiledPolicy, found: Sequence[Hit]) -> JSONObject:
    return {
        "policy": policy.name,
        "explained": dict(explained(policy.spec)),
        "status": dict(_status(world, policy)),
        "objects": [
            {"kind": hit.kind, "namespace": hit.namespace, "name": hit.name, **judgement_json(hit.judgement)}
            for hit in found
        ],
    }


def _unknown(name: str | None, known: Sequence[str]) -> str:
    what = "There is no AgentPolicy" if name is None else f"There is no AgentPolicy {name!r}"
    return f"{what}. There are: {', '.join(sorted(known))}" if known else f"{what}, nor any other."
