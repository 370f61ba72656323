"""What policies are asked about: a request, the start of an Execution, an attempt of a task, or what is there."""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal

from ossa.api.base import JSONObject, Model
from ossa.api.policy import DEFAULT_OPERATIONS, AgentPolicySpec, JudgedKind, Operation, Selection

SubjectKind = Literal["Agent", "Workflow", "Execution"]


@dataclass(frozen=True, slots=True)
class Plain:
    """A root whose value is as the runtime takes it, so that no judgement has to look through it again."""

    value: object


@dataclass(frozen=True, slots=True)
class Subject:
    """An object that an exception may name. uid: empty where it is about to be created."""

    kind: SubjectKind
    namespace: str
    name: str
    uid: str
    spec_hash: str


@dataclass(frozen=True, slots=True)
class Question:
    """One thing to judge.

    operation: None where what is there already is looked at, which no policy's `operations` leaves out.
    labels: of the object; of a Task, those of its Execution.
    user, groups: who asks, or the recorded author, whose groups nobody knows. Empty: unknown.
    bindings: the roots that are in scope for the kind, but `params`, `variables` and `now`.
    complete: whether all that the plan refers to is there. Where it is not, the answer is an early one, and a rule
        without a value is left to the binding one.
    subjects: what an exception may name: the object, and what it runs.
    """

    kind: JudgedKind
    operation: Operation | None
    namespace: str
    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    namespace_labels: Mapping[str, str] = field(default_factory=dict)
    user: str = ""
    groups: Sequence[str] = ()
    bindings: Mapping[str, object] = field(default_factory=dict)
    complete: bool = True
    subjects: tuple[Subject, ...] = ()


def spec_hash(spec: Model) -> str:
    """sha256:… of a spec: the same for a user's file, the object in the API server with its defaults, a revision."""
    canonical = json.dumps(spec.to_json(), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"


def request_of(question: Question, *, dry_run: bool = False) -> JSONObject:
    """The root `request`, in the words of an AdmissionReview; operation is SCAN for what is there already."""
    return {
        "kind": question.kind,
        "operation": question.operation or "SCAN",
        "namespace": question.namespace,
        "name": question.name,
        "userInfo": {"username": question.user, "groups": list(question.groups)},
        "dryRun": dry_run,
    }


def applies(spec: AgentPolicySpec, question: Question) -> bool:
    """Whether a policy is about what is asked, by its match and its exclude."""
    if question.kind not in spec.match.kinds:
        return False
    operations = spec.match.operations or DEFAULT_OPERATIONS
    if question.operation is not None and question.operation not in operations:
        return False
    if not _meets(spec.match, question):
        return False
    exclude = spec.exclude
    if exclude is None:
        return True
    if exclude.kinds and question.kind not in exclude.kinds:
        return True
    if exclude.operations and question.operation not in exclude.operations:
        return True
    return not (_is_set(exclude) and _meets(exclude, question))


def _is_set(held: Selection) -> bool:
    """An exclude that says nothing excludes nothing."""
    return any(held.to_json().values())


def _meets(held: Selection, question: Question) -> bool:
    """All that is set but the kinds and the operations."""
    return (
        _one_of(held.namespaces, (question.namespace,))
        and (held.namespace_selector is None or held.namespace_selector.matches(question.namespace_labels))
        and (held.object_selector is None or held.object_selector.matches(question.labels))
        and _one_of(held.users, (question.user,))
        and _one_of(held.groups, question.groups)
    )


def _one_of(wanted: Sequence[str], found: Sequence[str]) -> bool:
    """Whether one of the texts is wanted; whatever it is where nothing is said."""
    return not wanted or any(_pattern(one).fullmatch(text) for one in wanted for text in found)


@lru_cache(maxsize=1024)
def _pattern(wildcard: str) -> re.Pattern[str]:
    """Where * alone stands for any characters."""
    return re.compile(fnmatch.translate(wildcard.replace("[", "[[]").replace("?", "[?]")))
