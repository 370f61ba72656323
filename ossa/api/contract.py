"""The task contract: the names, paths and limits that the operator, a worker and a user's own image share.

In: the file named by ``$OSSA_INPUT`` holds the task's input as JSON; ``$OSSA_TASK`` holds `TaskIdentity` as JSON.
Out: JSON written to the file named by ``$OSSA_OUTPUT``, and exit code 0.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

GROUP = "ossa.dev"
VERSION = "v1alpha1"
API_VERSION = f"{GROUP}/{VERSION}"

# Labels and annotations of pods. Reserved to the operator by a ValidatingAdmissionPolicy of the chart.
LABEL_MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGED_BY = "ossa"
LABEL_EXECUTION = "ossa.dev/execution"
LABEL_EXECUTION_UID = "ossa.dev/execution-uid"  # names come again, UIDs do not
LABEL_WORKFLOW = "ossa.dev/workflow"
LABEL_TASK = "ossa.dev/task"
LABEL_AGENT = "ossa.dev/agent"
LABEL_ATTEMPT = "ossa.dev/attempt"
LABEL_BATCH = "ossa.dev/batch"  # of the items of a forEach; its finished pods are removed together
ANNOTATION_IDENTITY = "ossa.dev/identity"  # `TaskIdentity` as JSON; compared when a pod's name is already taken
ANNOTATION_EPOCH = "ossa.dev/epoch"  # the life of the reconciler that made the pod; no other may make any by then
ANNOTATION_INPUT = "ossa.dev/input"  # the task's input as JSON; becomes the file $OSSA_INPUT
ANNOTATION_CAPABILITY = "ossa.dev/capability"  # {"inputSchema": …, "outputSchema": …} as JSON, for the SDK
# Of a child Execution whose inputs refer to artifacts: proves that the operator made it so.
ANNOTATION_INPUTS_SEAL = "ossa.dev/inputs-seal"
ANNOTATION_DEPTH = "ossa.dev/depth"  # of a child Execution: how many it is a child of, one of the other
# On a Namespace: how many worker pods may run there at once.
ANNOTATION_PARALLELISM = "ossa.dev/parallelism"
# On an Execution that a trigger made; the operator's own, like those of pods.
LABEL_TRIGGER = "ossa.dev/trigger"
ANNOTATION_SCHEDULED_AT = "ossa.dev/scheduled-at"  # RFC 3339, whole minutes
# Users, as the API server knows them: who made the last change of a spec, and for whom a delegate acts.
ANNOTATION_SPEC_CHANGED_BY = "ossa.dev/spec-changed-by"
ANNOTATION_AUTHOR = "ossa.dev/author"
# On a Namespace: comma separated names of the service accounts that agents there may run as.
ANNOTATION_SERVICE_ACCOUNTS = "ossa.dev/service-accounts"
DEFAULT_SERVICE_ACCOUNT = "default"
# On Agents, Workflows and Executions: users, as the API server knows them. Admission writes the first two, delegates
# (who act for others) the third; a ValidatingAdmissionPolicy of the chart keeps everybody else from them.
ANNOTATION_CREATED_BY = "ossa.dev/created-by"
ANNOTATION_SPEC_CHANGED_BY = "ossa.dev/spec-changed-by"  # the author: who made the last change of the spec
ANNOTATION_AUTHOR = "ossa.dev/author"  # for whom a delegate acts
# Of an Execution that the operator makes for several: their names as a JSON list, '' for one that nobody knows.
ANNOTATION_AUTHORS = "ossa.dev/authors"
# On an Execution: the request to the gateway that made it, and the trace that it belongs to (W3C Trace Context).
ANNOTATION_REQUEST_ID = "ossa.dev/request-id"
ANNOTATION_TRACEPARENT = "ossa.dev/traceparent"
ANNOTATION_SOURCE = "ossa.dev/source"  # `websocket` where the request came by one; else unset
# On an Execution that a member of a break-glass group made: that user. Policies are judged, and do not refuse.
ANNOTATION_BREAK_GLASS = "ossa.dev/break-glass"

# The environment of the container `main`.
ENV_INPUT = "OSSA_INPUT"
ENV_OUTPUT = "OSSA_OUTPUT"
ENV_TASK = "OSSA_TASK"
ENV_HANDLER = "OSSA_HANDLER"  # module:function, set for agents with `runtime.handler`
ENV_CAPABILITY = "OSSA_CAPABILITY"  # a file: {"inputSchema": …, "outputSchema": …}
ENV_ARTIFACTS_URL = "OSSA_ARTIFACTS_URL"
ENV_ARTIFACTS_TOKEN = "OSSA_ARTIFACTS_TOKEN"  # noqa: S105 - a file's path, not a secret
ENV_AGENTS_PATH = "OSSA_AGENTS_PATH"

MAIN_CONTAINER = "main"
POD_INFO_PATH = "/ossa/in"  # a projected volume: input.json, capability.json, and the token for the artifact service
TOKEN_FILE = "token"  # noqa: S105 - a file's name
OUTPUT_PATH = "/ossa/termination-log"
ARTIFACTS_AUDIENCE = "ossa-artifacts"
# Paths of the artifact service, for the pods of tasks and for everybody else; an ID follows where one is read.
ARTIFACTS_PATH = "/v1/artifacts"
EXECUTION_ARTIFACTS_PATH = "/v1/namespaces/{namespace}/executions/{uid}/artifacts"

# The kubelet keeps the last 4,096 bytes of a termination message, and 12 KiB over all containers of a pod.
OUTPUT_LIMIT = 4096
OUTPUT_LIMIT_ALL_CONTAINERS = 12 * 1024
# The SDK uploads a top-level field whose JSON is larger than this.
INLINE_FIELD_LIMIT = 1024
# All annotations of an object may hold 256 KiB; half of it is for the input. What is larger has its largest fields by
# reference.
INPUT_LIMIT = 128 * 1024
# Bytes of JSON of a value that the operator puts by reference, or looks into.
VALUE_LIMIT = 16 * 1024 * 1024

# Exit codes of the SDK, so that a failure keeps its reason (otherwise any code but 0 is `Error`).
EXIT_INVALID_INPUT = 65  # EX_DATAERR
EXIT_INVALID_OUTPUT = 76  # EX_PROTOCOL


class TaskIdentity(BaseModel):
    """Which attempt of which task a pod runs. `key` is a handler's idempotency key."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    namespace: str
    execution: str = Field(description="Name of the Execution.")
    uid: str = Field(description="UID of the Execution.")
    workflow: str
    task: str
    index: int = Field(default=0, description="Index in a forEach group; 0 elsewhere.")
    round: int = Field(default=1, description="Attempt of the Execution, counted from 1.")
    attempt: int = Field(default=1, description="Attempt of the task, counted from 1.")
    lost: int = Field(default=0, description="How many of the attempts before it were lost.")
    locks: tuple[str, ...] = Field(default=(), description="Locks that the attempt holds.")
    lineage: tuple[str, ...] = Field(
        default=(), description="UIDs of other Executions whose artifacts were taken over: resumed ones, and children."
    )
    judged: tuple[str, ...] = Field(
        default=(), exclude_if=lambda held: not held, description="Policies that judged its start, as name@generation."
    )
    epoch: int = Field(default=0, description="The life of the reconciler that started it: no two share a pod's name.")

    traceparent: str = Field(
        default="",
        exclude_if=lambda held: not held,
        description="W3C Trace Context: the span of the Execution, for those that the task makes.",
    )

    @property
    def key(self) -> str:
        """Delivery is at least once: the same key means the same attempt."""
        return f"{self.uid}/{self.task}/{self.index}/{self.attempt}"
