"""What the gateway takes and gives as JSON, and where: the models that the gateway and its client share.

Requests are strict: a field that nobody knows is refused. Answers are read leniently, because a newer gateway may say
more. Names are camelCase, as in the resources; times are RFC 3339 with their zone.
"""

from __future__ import annotations

from typing import Any, Generic, Literal, Self, TypeVar

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, model_validator

from ossa.api.agent import AgentType, Capability, Risk
from ossa.api.approval import ApprovalState, Verdict
from ossa.api.base import JSONObject, Model, ObjectName, StatusModel, TaskName
from ossa.api.execution import ExecutionError, ExecutionPhase, TaskPhase
from ossa.api.workflow import WorkflowSpec

# Paths. Whatever is of one namespace lies below it; a list over all namespaces leaves the namespace out.
PREFIX = "/api/v1"
ORCHESTRATE = "/orchestrate"  # POST
REQUEST = f"{PREFIX}/requests/{{id}}"  # GET: what became of an accepted request
EVENTS = f"{PREFIX}/events"  # WebSocket
AGENTS = f"{PREFIX}/agents"  # GET, over all namespaces; likewise the two below
WORKFLOWS = f"{PREFIX}/workflows"
EXECUTIONS = f"{PREFIX}/executions"
NAMESPACED = PREFIX + "/namespaces/{namespace}"
NAMESPACE_AGENTS = f"{NAMESPACED}/agents"
NAMESPACE_WORKFLOWS = f"{NAMESPACED}/workflows"
NAMESPACE_EXECUTIONS = f"{NAMESPACED}/executions"
AGENT = f"{NAMESPACE_AGENTS}/{{name}}"
WORKFLOW = f"{NAMESPACE_WORKFLOWS}/{{name}}"
EXECUTION = f"{NAMESPACE_EXECUTIONS}/{{name}}"
TASKS = f"{EXECUTION}/tasks"  # GET
LOGS = f"{EXECUTION}/logs"  # GET, text/plain, streamed; ?task= &index= &follow=
APPROVALS = f"{EXECUTION}/approvals"  # GET
APPROVE = f"{EXECUTION}/approve"  # POST
STEER = f"{EXECUTION}/{{action}}"  # POST, pause, resume, cancel, retry or rerun
AUDIT_EVENTS = f"{PREFIX}/audit/events"  # POST: what the API server notes, for the audit trail
AUTH = f"{PREFIX}/auth"
SIGN_IN, REFRESH = f"{AUTH}/login", f"{AUTH}/refresh"  # POST
SIGN_OUT, WHO_AM_I = f"{AUTH}/logout", f"{AUTH}/whoami"  # POST, GET
USERS = f"{PREFIX}/users"

IDEMPOTENCY_KEY = "Idempotency-Key"
# Printable ASCII, as in the draft of the header's standard; quotes are part of the key.
IDEMPOTENCY_KEY_PATTERN = r"^[!-~]{1,128}$"
# Items of one page.
DEFAULT_LIMIT, MAX_LIMIT = 50, 500

Action = Literal["pause", "resume", "cancel", "retry", "rerun"]
RequestState = Literal["Accepted", "Created", "Refused"]
# An RFC 1123 label.
Namespace = TaskName
T = TypeVar("T")


class OrchestrateRequest(Model):
    """Run a workflow: one that is there, by its name, or an inline one."""

    namespace: Namespace = Field(default="default", description="Where it is run.")
    workflow: ObjectName | None = Field(default=None, description="Name of a Workflow in the namespace.")
    workflow_spec: WorkflowSpec | None = Field(default=None, description="A workflow of its own, instead of a name.")
    inputs: JSONObject = Field(default_factory=dict, description="Inputs; the workflow's schema says which.")
    priority: int = Field(default=0, ge=-1000, le=1000, description="Those of higher Executions go first.")
    suspend: bool = Field(default=False, description="true: it starts paused.")
    ttl_seconds_after_finished: int | None = Field(
        default=None, ge=0, le=315_360_000, description="Deleted so many seconds after it ended; unset: kept."
    )

    @model_validator(mode="after")
    def _one_workflow(self) -> Self:
        if (self.workflow is None) == (self.workflow_spec is None):
            raise ValueError("give either `workflow`, a name, or `workflowSpec`, an inline workflow")
        return self


class Accepted(StatusModel):
    """The answer to an orchestrate request: it is written down, and leads to exactly one Execution."""

    id: str = Field(description="Of the request; the Execution has it in the annotation ossa.dev/request-id.")
    namespace: str = Field(description="Where the Execution is, or will be.")
    execution: str = Field(description="Name of the Execution.")
    uid: str | None = Field(default=None, description="UID of the Execution; unset until it is created.")
    state: RequestState = Field(
        default="Accepted", description="Accepted: to be created. Created: it is. Refused: not allowed after all."
    )
    trace_id: str | None = Field(default=None, description="Of its trace: 32 hex digits.")


class ExecutionSummary(StatusModel):
    """A row of a list of Executions."""

    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    uid: str = Field(description="Its UID: names come again, UIDs do not.")
    workflow: str = Field(default="", description="The Workflow that it runs; empty where it is inline.")
    phase: ExecutionPhase = Field(
        default="Pending", description="Pending, Running, Paused, Retrying, Completed, Failed."
    )
    finished: bool = Field(default=False, description="Whether it ended: a Failed one may be tried again.")
    progress: str = Field(default="", description="Tasks that ended well of all tasks, e.g. 3/7.")
    message: str | None = Field(default=None, description="What it waits for, or why it failed.")
    author: str | None = Field(default=None, description="Who asked for it.")
    attempt: int = Field(default=1, description="Attempt of the Execution, counted from 1.")
    created_at: AwareDatetime = Field(description="When it was created.")
    started_at: AwareDatetime | None = Field(default=None, description="When it started to run.")
    completed_at: AwareDatetime | None = Field(default=None, description="When it ended.")
    request_id: str | None = Field(default=None, description="The orchestrate request that it came from.")
    trace_id: str | None = Field(default=None, description="Of its trace: 32 hex digits.")


class ExecutionView(ExecutionSummary):
    """One Execution."""

    inputs: JSONObject = Field(default_factory=dict, description="The inputs that it runs with.")
    outputs: JSONObject | None = Field(default=None, description="What it gave; large values by reference.")
    error: ExecutionError | None = Field(default=None, description="What went wrong first.")
    suspend: bool = Field(default=False, description="Whether a pause was asked for.")
    cancel: bool = Field(default=False, description="Whether its end was asked for.")
    retry_of: str | None = Field(default=None, description="The failed Execution that it goes on with.")
    resource_version: str = Field(default="", description="Of the object that this was read from; grows.")


class TaskView(StatusModel):
    """One task of an Execution, or one item of a forEach: its current or last attempt."""

    name: str = Field(description="Name of the task.")
    index: int | None = Field(default=None, description="Of the item of a forEach.")
    phase: TaskPhase = Field(description="Pending, Waiting, Running, Retrying, Completed, Failed or Skipped.")
    round: int = Field(default=1, description="Attempt of the Execution.")
    attempt: int = Field(default=0, description="Attempt of the task, counted from 1; 0: not started.")
    agent: str | None = Field(default=None, description="Name of the Agent that runs it.")
    pod: str | None = Field(default=None, description="Name of the pod, or child Execution.")
    started_at: AwareDatetime | None = Field(default=None, description="When the attempt was started.")
    completed_at: AwareDatetime | None = Field(default=None, description="When the task ended.")
    reason: str | None = Field(default=None, description="Why it failed or waits, in one word.")
    exit_code: int | None = Field(default=None, description="Of the last attempt that failed.")
    message: str | None = Field(default=None, description="Why it failed, waits or was skipped.")
    output: JSONObject | None = Field(default=None, description="What it gave; large values by reference.")


class AgentView(StatusModel):
    """One agent of the registry."""

    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    uid: str = Field(default="", description="Its UID.")
    type: AgentType = Field(description="Its place in the taxonomy.")
    version: str = Field(default="", description="Its version.")
    description: str = Field(default="", description="What it does.")
    owner: str = Field(default="", description="Who answers for it.")
    risk: Risk | None = Field(default=None, description="The risk of its use.")
    capabilities: list[Capability] = Field(default_factory=list, description="What it can do, with schemas.")
    ready: Literal["True", "False", "Unknown"] = Field(default="Unknown", description="Whether a task can run on it.")
    message: str | None = Field(default=None, description="Why it is not ready.")


class WorkflowView(StatusModel):
    """One workflow."""

    namespace: str = Field(description="Its namespace.")
    name: str = Field(description="Its name.")
    uid: str = Field(default="", description="Its UID.")
    version: str = Field(default="", description="Its version.")
    description: str = Field(default="", description="What it is for.")
    phase: Literal["Draft", "Published"] = Field(default="Draft", description="Published: Executions can start.")
    revision: str | None = Field(default=None, description="What Executions started now will run.")
    tasks: int = Field(default=0, description="How many tasks it has.")
    inputs: JSONObject | None = Field(default=None, description="JSON Schema of its inputs.")
    message: str | None = Field(default=None, description="Why it is a Draft, and what to do.")


class ApprovalView(StatusModel):
    """One approval that an Execution waits for, or waited for."""

    name: str = Field(description="Name of the Approval.")
    execution: str = Field(description="Name of the Execution.")
    task: str = Field(description="The task that waits.")
    attempt: int = Field(default=1, description="Attempt of the task, counted from 1.")
    message: str = Field(default="", description="What is asked.")
    state: ApprovalState = Field(default="Pending", description="Pending, Approved, Rejected or Expired.")
    approved: str = Field(default="", description="Approvals given of those needed, e.g. 1/2.")
    approver_groups: list[str] = Field(default_factory=list, description="Groups whose members may decide.")
    approver_users: list[str] = Field(default_factory=list, description="Users who may decide.")
    expires_at: AwareDatetime | None = Field(default=None, description="When it is given up.")


class ApproveRequest(Model):
    """Decide about an approval, in one's own name. It is final."""

    task: TaskName | None = Field(default=None, description="The task that waits; unset: the only one that does.")
    verdict: Verdict = Field(default="Approved", description="Approved or Rejected.")
    reason: str = Field(default="", max_length=1024, description="Why, in words.")


class Page(StatusModel, Generic[T]):
    """A part of a list. What is created meanwhile makes no page skip or repeat an item."""

    items: list[T] = Field(description="The items, the newest first where they have a time.")
    next: str | None = Field(default=None, description="`cursor` of the next page; unset on the last one.")


class SignInRequest(BaseModel):
    """A local user signs in."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=128, description="Name of the user, without a prefix.")
    password: str = Field(min_length=1, repr=False, description="Their password.")


class RefreshRequest(BaseModel):
    """New tokens for those that end soon. A refresh token is good for one use."""

    model_config = ConfigDict(extra="forbid")

    refresh_token: str = Field(min_length=1, repr=False, description="Of the last answer.")


class Tokens(BaseModel):
    """What a sign-in gives; named as in RFC 6749."""

    model_config = ConfigDict(extra="ignore")

    access_token: str = Field(repr=False, description="Goes into the header Authorization: Bearer …")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - the kind of it
    expires_in: int = Field(description="Seconds until the access token ends.")
    refresh_token: str | None = Field(default=None, repr=False, description="For one refresh.")
    user: str = Field(default="", description="Whose they are, e.g. ossa:alice.")


class WhoAmI(StatusModel):
    """Whoever asks, as Kubernetes' rules must name them."""

    user: str = Field(description="e.g. ossa:alice.")
    groups: list[str] = Field(default_factory=list, description="e.g. ossa:team.")
    kind: Literal["person", "agent"] = Field(default="person", description="agent: a service account.")


class ProblemDocument(BaseModel):
    """Every error (RFC 9457, application/problem+json). Members beside these may say more."""

    model_config = ConfigDict(extra="allow")

    type: str = "about:blank"
    title: str = Field(default="", description="What the status means.")
    status: int = Field(default=0, description="The HTTP status.")
    detail: str = Field(default="", description="What is wrong, and what to do.")
    field: str | None = Field(default=None, description="The field that is wrong, e.g. inputs.dataset.")
    instance: str | None = Field(default=None, description="Of this occurrence: the request's id.")

    @property
    def more(self) -> dict[str, Any]:
        """Members beside the standard ones."""
        return dict(self.model_extra or {})
