"""The wanted run."""

from __future__ import annotations

from pydantic import Field

from ossa.api.base import Duration, JSONObject, Model, ObjectName
from ossa.api.workflow import InlineWorkflow


class ExecutionSpec(Model):
    """The wanted run. Only `suspend`, `cancel`, `priority` and `ttlSecondsAfterFinished` may change."""

    workflow: ObjectName | None = Field(
        default=None, description="The Workflow, in the same namespace, that is run; or workflowSpec."
    )
    workflow_spec: InlineWorkflow | None = Field(
        default=None,
        description=(
            "A workflow that this Execution alone runs, written here instead of the name of a Workflow. It has neither "
            "triggers nor published."
        ),
    )
    inputs: JSONObject = Field(
        default_factory=dict, description="Inputs; checked against the workflow's schema when the run starts."
    )
    suspend: bool = Field(
        default=False, description="true pauses: what runs may end, nothing new starts. false goes on."
    )
    cancel: bool = Field(
        default=False,
        description="true ends it: running pods are stopped, `finally` is run, the phase is Failed. Cannot be undone.",
    )
    priority: int = Field(
        default=0,
        ge=-1000,
        le=1000,
        description="Where not all tasks may start at once, those of higher Executions go first.",
    )
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=315_360_000, description="Deleted so many seconds after it ended; unset: kept."
    )
    pending_timeout: Duration | None = Field(
        default=None, description="Fails where it could not start for so long, e.g. 1h; unset: it waits."
    )
    retry_of: ObjectName | None = Field(
        default=None,
        description=(
            "A failed Execution of the same workflow: its revision, inputs and the outputs of its Completed tasks are "
            "taken over, and the rest is run."
        ),
    )

    @property
    def workflow_name(self) -> str:
        """Name of the Workflow; '' where the workflow is written in the Execution itself."""
        return self.workflow or ""
