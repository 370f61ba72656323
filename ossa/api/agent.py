"""Agent: what can be asked of it, and how it is run."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from ossa.api.base import Condition, JSONObject, Model, ObjectName, Resource, StatusModel, TaskName, Timestamp

AgentType = Literal["orchestrator", "worker", "critic", "judge", "trainer", "governor", "monitor", "integrator"]
# The risk that its use brings, as an assessment found it.
Risk = Literal["minimal", "limited", "high"]
# How far data may go, the least first.
Classification = Literal["public", "internal", "confidential", "restricted"]
CLASSIFICATIONS: tuple[Classification, ...] = get_args(Classification)
# module:function, the module may be dotted.
HANDLER = r"^[A-Za-z_][\w]*(\.[A-Za-z_][\w]*)*:[A-Za-z_]\w*$"
Image = Annotated[str, Field(min_length=1, max_length=512, pattern=r"^\S+$")]


class Capability(Model):
    """One thing that an agent can do, with the shape of what it takes and gives."""

    name: TaskName = Field(description="Name of the capability, unique within the agent.")
    description: str = Field(default="", max_length=1024, description="What it does, for a person.")
    input_schema: JSONObject | None = Field(
        default=None, description="JSON Schema (draft 2020-12) of the input. Without it any object is taken."
    )
    output_schema: JSONObject | None = Field(
        default=None, description="JSON Schema (draft 2020-12) of the output. Without it any object is given."
    )


class ResourceRequirements(Model):
    """Requests and limits of the container `main`, as in a Pod."""

    requests: dict[str, int | str] | None = Field(default=None, description="What is reserved, e.g. cpu: 100m.")
    limits: dict[str, int | str] | None = Field(default=None, description="What it may use, e.g. memory: 256Mi.")


class Container(Model):
    """A user's own image, in any language, that speaks the file contract."""

    image: Image = Field(description="The image that is run.")
    command: list[str] | None = Field(
        default=None, max_length=64, description="Entrypoint; the image's own where it is unset."
    )
    args: list[str] | None = Field(default=None, max_length=256, description="Arguments of the entrypoint.")


class PodTemplateMetadata(Model):
    """Labels and annotations that worker pods carry besides the operator's."""

    labels: dict[str, str] | None = Field(default=None, description="Labels; ossa.dev/* is the operator's.")
    annotations: dict[str, str] | None = Field(default=None, description="Annotations; ossa.dev/* is the operator's.")


class PodTemplate(Model):
    """Anything else that a worker pod may carry. The operator's labels, owners, volumes and OSSA_* win."""

    metadata: PodTemplateMetadata | None = Field(default=None, description="Labels and annotations to add.")
    spec: JSONObject | None = Field(
        default=None, description="A PodSpec to start from: nodeSelector, tolerations, volumes, container `main`, …"
    )


class Runtime(Model):
    """How the agent is run: exactly one of `handler` and `container`."""

    handler: str | None = Field(
        default=None,
        pattern=HANDLER,
        max_length=253,
        description="module:function that the SDK runs in the worker image.",
    )
    container: Container | None = Field(
        default=None, description="An image of one's own that reads $OSSA_INPUT and writes $OSSA_OUTPUT."
    )
    image: Image | None = Field(
        default=None, description="The worker image for `handler`; the operator's own where it is unset."
    )
    service_account_name: ObjectName | None = Field(
        default=None,
        description=(
            "Service account of the pods: `default`, or one that the namespace's annotation "
            "ossa.dev/service-accounts lists."
        ),
    )
    resources: ResourceRequirements | None = Field(default=None, description="Resources of the container `main`.")
    pod_template: PodTemplate | None = Field(default=None, description="Anything else a worker pod may carry.")


class AgentData(Model):
    """The data that the agent works on."""

    sources: list[Annotated[str, Field(min_length=1, max_length=512)]] = Field(
        default_factory=list, max_length=64, description="Where its data comes from: names or addresses of data sets."
    )
    classification: Classification | None = Field(
        default=None, description="How far what it gives may go: public, internal, confidential or restricted."
    )
    clearance: Classification | None = Field(
        default=None, description="The most confidential data that it may be given; unset: no data that is classified."
    )


class ImpactAssessment(Model):
    """The assessment of what the agent's use does to people."""

    url: str = Field(min_length=1, max_length=2048, description="Where it is kept.")
    expires_at: Timestamp | None = Field(default=None, description="When it has to be made anew.")


class AgentDocuments(Model):
    """What is written down about the agent elsewhere."""

    limits: str | None = Field(
        default=None, max_length=2048, description="Address of the document that states what it must not be used for."
    )
    impact_assessment: ImpactAssessment | None = Field(default=None, description="Its impact assessment.")


class AgentSpec(Model):
    """The wanted agent."""

    type: AgentType = Field(default="worker", description="Its place in the taxonomy of agents.")
    version: str = Field(default="0.0.0", min_length=1, max_length=64, description="Version of the agent.")
    description: str = Field(default="", max_length=1024, description="What it does, for a person.")
    owner: str = Field(default="", max_length=253, description="Who answers for it.")
    # Unset rather than empty: revisions made before there were these fields keep their hashes.
    purpose: str | None = Field(default=None, max_length=1024, description="What it is used for.")
    risk: Risk | None = Field(default=None, description="The risk of its use: minimal, limited or high.")
    user_facing: bool | None = Field(default=None, description="Whether people meet it directly.")
    disclosure: str | None = Field(
        default=None, max_length=2048, description="The words by which a user-facing agent says that it is an AI."
    )
    data: AgentData | None = Field(default=None, description="The data that it works on.")
    documents: AgentDocuments | None = Field(default=None, description="What is written down about it elsewhere.")
    capabilities: list[Capability] = Field(
        min_length=1,
        max_length=32,
        description="What it can do. A task names one, or takes the first.",
    )
    runtime: Runtime = Field(description="How it is run.")


class AgentStatus(StatusModel):
    """What was found of the agent."""

    observed_generation: int = Field(default=0, description="The metadata.generation that was looked at.")
    image: str | None = Field(default=None, description="The image that its pods run.")
    ready: str = Field(default="Unknown", description="Status of the condition Ready.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description="Accepted: the spec makes sense. Ready: a task can run on it now.",
    )


class Agent(Resource):
    """An agent: its capabilities with their schemas, and how it is run."""

    spec: AgentSpec = Field(description="The wanted agent.")
    status: AgentStatus = Field(default_factory=AgentStatus, description="What was found of the agent.")
