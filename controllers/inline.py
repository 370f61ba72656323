"""The workflows that Executions hold themselves: resolved like a Workflow, and frozen in a revision like one.

Executions with the same workflow share a revision. It stays while one of them has not been forgotten, or names it in
its status.
"""

from __future__ import annotations

from collections.abc import Callable

from controllers.cache import Key, ObjectCache
from controllers.governance.judges import Defaults
from controllers.revisions import Revisions
from controllers.workflows import INLINE, resolve_agents
from ossa.api.base import JSONObject
from ossa.api.execution import Execution
from ossa.api.workflow import InlineWorkflow, WorkflowSpec
from ossa.engine.checks import workflow_problems
from ossa.engine.revision import Revision
from ossa.engine.snapshot import WorkflowView
from ossa.governance.inline import INLINE_NAME, workflow_of

MESSAGE_MAX = 1000


class InlineWorkflows:
    """One a reconciler. worker_image: the image of agents with a handler and no image of their own."""

    def __init__(
        self, agents: ObjectCache, revisions: Revisions, *, worker_image: str, defaults: Defaults | None = None
    ) -> None:
        self._agents = agents
        self._revisions = revisions
        self._worker_image = worker_image
        self._defaults = defaults
        self._problems: dict[str, tuple[str, ...]] = {}  # by UID: a spec does not change

    async def view(self, execution: Execution) -> WorkflowView:
        """Where the workflow of a Pending Execution stands, which has one of its own; publishes its revision."""
        inline, uid = execution.spec.workflow_spec, execution.metadata.uid
        if inline is None:
            raise TypeError(f"Execution {execution.metadata.name!r} names a Workflow")
        problems = self._problems.get(uid)
        if problems is None:
            problems = self._problems[uid] = tuple(map(str, workflow_problems(inline, INLINE)))
        if problems:
            # It came past the webhook.
            return WorkflowView("Draft", None, "; ".join(problems)[:MESSAGE_MAX], current=True, invalid=True)
        namespace = execution.metadata.namespace
        agents, unresolved = resolve_agents(inline, INLINE, self._agent_of(namespace), self._worker_image)
        if unresolved:
            return WorkflowView("Draft", None, "; ".join(unresolved)[:MESSAGE_MAX], current=True)
        revision = Revision(workflow=INLINE_NAME, version=inline.version, spec=_whole(inline), agents=agents)
        if self._defaults is not None:
            revision = self._defaults.fill(_item(execution), revision)
        name = await self._revisions.publish_inline(uid, namespace, revision)
        return WorkflowView("Published", name, None, current=True)

    def forget(self, uid: str) -> None:
        """The execution has ended or is gone."""
        self._problems.pop(uid, None)
        self._revisions.release(uid)

    def _agent_of(self, namespace: str) -> Callable[[str], JSONObject | None]:
        return lambda name: self._agents.get(Key(namespace, name))


def _whole(inline: InlineWorkflow) -> WorkflowSpec:
    """As a revision holds it."""
    return WorkflowSpec.model_construct(**{name: getattr(inline, name) for name in InlineWorkflow.model_fields})


def _item(execution: Execution) -> JSONObject:
    """The Workflow as which policies see it."""
    held = {
        "metadata": execution.metadata.model_dump(by_alias=True, exclude_none=True),
        "spec": execution.spec.to_json(),
    }
    made = workflow_of(held)
    if made is None:
        raise TypeError(f"Execution {execution.metadata.name!r} names a Workflow")
    return made
