"""Who is the author of an object, and whose an Execution is: those may not approve it. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence

from ossa.api.contract import ANNOTATION_AUTHORS, ANNOTATION_CREATED_BY, ANNOTATION_SPEC_CHANGED_BY
from ossa.api.execution import MAX_APPROVERS

# Stands in a list of authors for somebody whom nobody knows.
UNKNOWN = ""


def author_of(kind: str, annotations: Mapping[str, str]) -> str:
    """The author of an object by what admission recorded; empty where unknown.

    Who made the last change of its spec. Of an Execution who created it: what it runs never changes, and pausing it
    makes it nobody else's.
    """
    return annotations.get(ANNOTATION_CREATED_BY if kind == "Execution" else ANNOTATION_SPEC_CHANGED_BY, UNKNOWN)


def authors_of(annotations: Mapping[str, str], known: Sequence[str] | None) -> tuple[str, ...]:
    """All who had a hand in an Execution until now; its author first. known: status.authors.

    Those that last, and who made the last change of its spec: whoever paused it, say.
    """
    return united(lasting_authors(annotations, known), (annotations.get(ANNOTATION_SPEC_CHANGED_BY, UNKNOWN),))


def lasting_authors(annotations: Mapping[str, str], known: Sequence[str] | None) -> tuple[str, ...]:
    """Whose an Execution stays, whoever changes it; its author first. known: status.authors.

    Who created it, and what was known when it started: who had changed it by then, and whose that is of which it is a
    child, or which it retries.
    """
    return united((author_of("Execution", annotations),), _given(annotations) if known is None else known)


def workflow_authors(annotations: Mapping[str, str]) -> tuple[str, ...]:
    """Whose an Execution is that a trigger of a Workflow makes: who changed the Workflow last, and who created it.

    One that was created before authors were recorded has a known author once it is changed.
    """
    return united((author_of("Workflow", annotations),), filter(None, (annotations.get(ANNOTATION_CREATED_BY),)))


def given_authors(names: Iterable[str]) -> dict[str, str]:
    """The annotation by which the operator hands authors on to an Execution that it makes; none where there is one."""
    held = united(names)
    return {ANNOTATION_AUTHORS: json.dumps(held, ensure_ascii=False)} if len(held) > 1 else {}


def approvers_of(*lists: Iterable[str]) -> list[str]:
    """Who approved, in alphabetical order; with UNKNOWN for those that are too many to be told."""
    names = sorted(united(*lists))
    return names if len(names) <= MAX_APPROVERS else sorted({UNKNOWN, *names[:MAX_APPROVERS]})[:MAX_APPROVERS]


def united(*lists: Iterable[str]) -> tuple[str, ...]:
    """Each name once, in the order in which they come."""
    return tuple(dict.fromkeys(name for names in lists for name in names))


def _given(annotations: Mapping[str, str]) -> tuple[str, ...]:
    text = annotations.get(ANNOTATION_AUTHORS)
    if text is None:
        return ()
    try:
        held = json.loads(text)
    except ValueError:
        held = None
    if not isinstance(held, list) or not all(isinstance(name, str) for name in held):
        return (UNKNOWN,)  # of a newer operator
    return tuple(held)
