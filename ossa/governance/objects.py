"""What policies say of an object as it is, or as it is asked for.

Of an Execution with a workflow of its own those about Workflows are asked too.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import cast

from ossa.governance.inline import workflow_of
from ossa.governance.policyset import PolicySet
from ossa.governance.question import Question, SubjectKind
from ossa.governance.verdict import Verdict, worst_of
from ossa.governance.world import Asked, Object, World, question_of

AS_IT_IS = Asked()


def judge(  # noqa: PLR0913 - more than the object by name
    world: World,
    item: Object,
    now: datetime,
    *,
    policies: PolicySet,
    asked: Asked = AS_IT_IS,
    only: Iterable[str] | None = None,
) -> Verdict:
    """What policies say of an Agent, a Workflow or an Execution; `only` those of these names."""
    names = None if only is None else frozenset(only)
    return worst_of([policies.judge(question, now, only=names) for question in questions_of(world, item, asked)])


def kinds_of(item: Object) -> frozenset[SubjectKind]:
    """The kinds as which policies are asked of an object."""
    kind = cast(SubjectKind, item["kind"])
    return frozenset({kind, "Workflow"} if kind == "Execution" and workflow_of(item) is not None else {kind})


def questions_of(world: World, item: Object, asked: Asked) -> list[Question]:
    """What policies are asked of an object: one question, two of an Execution with a workflow of its own."""
    questions = [question_of(world, item, asked)]
    inline = workflow_of(item) if item["kind"] == "Execution" else None
    if inline is not None:
        made = question_of(world, inline, replace(asked, old=workflow_of(asked.old)))
        plan, subjects = questions[0].bindings["plan"], questions[0].subjects
        questions.append(replace(made, bindings={**made.bindings, "plan": plan}, subjects=subjects))
    return questions
