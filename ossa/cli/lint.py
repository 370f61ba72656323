"""`ossa lint`: manifests checked offline as admission would."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from ossa.api.approval import Approval
from ossa.api.base import DNS_SUBDOMAIN, JSONObject
from ossa.api.contract import API_VERSION
from ossa.api.policyexception import AgentPolicyException
from ossa.cli.manifests import Found, Manifest, read_manifests, with_namespace
from ossa.cli.outcome import Exit
from ossa.cli.view import one_line
from ossa.engine.clock import to_text
from ossa.governance import policytest
from ossa.governance.exceptions import problem_of
from ossa.governance.objects import judge
from ossa.governance.policyset import PolicySet
from ossa.governance.review import exception_problems, policy_problems, review
from ossa.governance.world import SUBJECTS, Asked, World, key_of, metadata_of
from ossa.governance.written import written

PLURALS = {"Agent": "agents", "Workflow": "workflows", "Execution": "executions"}
TOP = frozenset({"apiVersion", "kind", "metadata", "spec", "status"})
MORE_TOP = {"AgentPolicyException": {"confirmations"}, "Approval": {"decisions"}}
KINDS = (*PLURALS, "Approval", "AgentPolicy", "AgentPolicyException")


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where. document: counted from 1; 0: the whole file. policy: '' where no policy says so."""

    file: str
    document: int
    object: str
    field: str
    message: str
    policy: str = ""
    level: str = "error"

    @property
    def text(self) -> str:
        """One line for a person: file:document: object: field: message."""
        head = f"{self.file}:{self.document}" if self.document else self.file
        level = "" if self.level == "error" else f"{self.level}: "
        parts = [head, self.object, f"{level}{self.field}" if self.field else level.rstrip(": "), self.message]
        return one_line(": ".join(part for part in parts if part))


def lint(  # noqa: PLR0913 - each by name
    paths: Sequence[str],
    *,
    policies: Sequence[Path],
    namespace: str,
    user: str,
    groups: Sequence[str],
    as_json: bool,
) -> Exit:
    """Print what is wrong with manifests. FAILED where there is an error; warnings are none."""
    now = datetime.now(UTC)
    found, beside = read_manifests(paths), read_manifests([str(path) for path in policies])
    problems = [*_unreadable(found), *_unreadable(beside), *_repeated(found.manifests, namespace)]
    for held in (*found.manifests, *beside.manifests):
        problems += manifest_problems(held)
    if policies:
        both = [with_namespace(held.item, namespace) for held in (*beside.manifests, *found.manifests)]
        world = World.of(written(item) for item in both)
        problems += _judged(found, world, Asked("CREATE", user, groups), namespace=namespace, now=now)
    errors = [problem for problem in problems if problem.level == "error"]
    checked = [held for held in found.manifests if held.is_ours]
    if as_json:
        made = {
            "objects": len(checked),
            "otherKinds": len(found.manifests) - len(checked),
            "errors": len(errors),
            "problems": [asdict(problem) for problem in problems],
        }
        print(json.dumps(made, indent=2))
    else:
        for problem in problems:
            print(problem.text)
        others = len(found.manifests) - len(checked)
        more = f"; {others} of other kinds were not looked at" if others else ""
        print(f"{len(checked)} objects, {len(errors)} errors, {len(problems) - len(errors)} warnings{more}")
    return Exit.FAILED if errors else Exit.OK


def manifest_problems(held: Manifest) -> list[Problem]:
    """What one document itself proves wrong; nothing of kinds that are not ours."""
    if held.item.get("apiVersion") == policytest.API_VERSION:
        return [_problem(held, text) for text in _test_problems(held.item)]
    if not held.is_ours:
        return []
    said = list(_head_problems(held.item))
    if not said:
        said = list(_spec_problems(held.item))
    return [_problem(held, text) for text in said]


def _test_problems(item: JSONObject) -> list[str]:
    try:
        policytest.PolicyTestFile.model_validate(item)
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in held['loc'])}: {held['msg']}" for held in error.errors()]
    return []


def _head_problems(item: JSONObject) -> Iterator[str]:
    """Of what all kinds share: without these an object is not looked at further."""
    if item.get("apiVersion") != API_VERSION:
        yield f"apiVersion: must be {API_VERSION}, not {item.get('apiVersion')!r}"
    kind = item.get("kind")
    if kind not in KINDS:
        yield f"kind: must be one of {', '.join(KINDS)}, not {kind!r}"
        return
    metadata = item.get("metadata")
    if not isinstance(metadata, dict):
        yield "metadata: is required, with a name"
        return
    name, prefix = metadata.get("name"), metadata.get("generateName")
    if name is None and prefix is None:
        yield "metadata.name: is required; add it, or generateName"
    elif name is not None and (not isinstance(name, str) or not re.fullmatch(DNS_SUBDOMAIN, name) or len(name) > 253):
        yield (
            "metadata.name: must be lower case letters, digits, '-' or '.', begin and end with a letter or digit, "
            f"and have at most 253 characters, not {one_line(repr(name))[:80]}"
        )
    for field in ("labels", "annotations"):
        values = metadata.get(field) or {}
        if not isinstance(values, dict) or not all(isinstance(value, str) for value in values.values()):
            yield f"metadata.{field}: must be texts; put numbers, true and false in quotes"
    if not isinstance(item.get("spec"), dict):
        yield "spec: is required, and an object"
    for name in sorted(item.keys() - TOP - MORE_TOP.get(kind, set())):
        yield f"{name}: is not a field that is known here; remove it, or move it below spec"


def _spec_problems(item: JSONObject) -> list[str]:
    kind = item["kind"]
    if kind in PLURALS:
        return review(PLURALS[kind], item, None)
    if kind == "AgentPolicy":
        return policy_problems(item)
    if kind == "AgentPolicyException":
        return exception_problems(item)
    try:
        Approval.model_validate(item)
    except ValidationError as error:
        return [f"{'.'.join(str(part) for part in held['loc'])}: {held['msg']}" for held in error.errors()]
    return ["kind: nobody but the operator makes an Approval; remove it"]


def _judged(found: Found, world: World, asked: Asked, *, namespace: str, now: datetime) -> Iterator[Problem]:
    """What the policies that are there say of the objects, and of the exceptions."""
    held_set = world.policy_set()
    for held in found.manifests:
        item = written(with_namespace(held.item, namespace))
        if not held.is_ours or manifest_problems(held):
            continue
        if held.kind in SUBJECTS:
            verdict = judge(world, item, now, policies=held_set, asked=asked)
            for level, judgements in (("error", verdict.denials), ("warning", verdict.warnings)):
                for judgement in judgements:
                    for violation in judgement.violations:
                        rule = f"rule {violation.rule}" if violation.rule else ""
                        said = f"policy {judgement.policy!r}: {violation.message}"
                        yield _problem(held, said, field=rule, policy=judgement.policy, level=level)
        elif held.kind == "AgentPolicyException" and (why := _exception_problem(item, held_set, now)) is not None:
            yield _problem(held, why)


def _exception_problem(item: JSONObject, held_set: PolicySet, now: datetime) -> str | None:
    """Why the policy that an exception names would not honour it, were it made now by somebody."""
    stamped = {**item, "metadata": {"creationTimestamp": to_text(now), **metadata_of(item)}}
    exception = AgentPolicyException.model_validate(stamped)
    policy = next((one for one in held_set.policies if one.name == exception.spec.policy), None)
    if policy is None:
        return f"spec.policy: there is no policy {exception.spec.policy!r} in the files"
    said = problem_of(exception, policy, author="somebody")
    return said if said is None or said.startswith("spec.") else f"spec.policy: {said}"


def _unreadable(found: Found) -> Iterator[Problem]:
    for held in found.unreadable:
        yield Problem(held.file, held.number, "", "", held.problem)


def _repeated(manifests: Iterable[Manifest], namespace: str) -> Iterator[Problem]:
    """Objects that are there twice: the later one would silently replace the other."""
    seen: dict[tuple[str, str, str], Manifest] = {}
    for held in manifests:
        item = with_namespace(held.item, namespace)
        if not held.is_ours or not metadata_of(item).get("name"):
            continue
        key = (held.kind, *key_of(item))
        if key in seen:
            text = f"metadata.name: {seen[key].place} has the same name, and the later one replaces it"
            yield _problem(held, text, level="warning")
        seen.setdefault(key, held)


def _problem(held: Manifest, text: str, *, field: str | None = None, policy: str = "", level: str = "error") -> Problem:
    """field None: the text begins with it."""
    message = text
    if field is None:
        field, separator, message = text.partition(": ")
        if not separator or " " in field:
            field, message = "", text
    namespace, name = key_of(held.item)
    shown = f"{held.kind} {namespace}/{name}" if namespace else f"{held.kind} {name}"
    return Problem(held.file, held.number, shown.strip(), field, message, policy, level)
