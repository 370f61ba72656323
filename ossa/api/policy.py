"""AgentPolicy: rules of a governor over what is applied and over what runs.

The shape follows Kubernetes' ValidatingAdmissionPolicy (match, matchConditions, variables, validations) where it can,
with actions, params and exceptions in the resource itself, as in Kyverno.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from ossa.api.agent import ResourceRequirements
from ossa.api.base import Condition, Duration, Model, ObjectName, Resource, StatusModel
from ossa.api.labels import LabelSelector

# The kinds that are judged. A Task is no object: it is one attempt of a task of an Execution.
JudgedKind = Literal["Agent", "Workflow", "Execution", "Task"]
# When: a request about the object; the start of an Execution or of an attempt of a task; the end of the latter.
Operation = Literal["CREATE", "UPDATE", "START", "END"]
Action = Literal["Enforce", "Warn", "Audit"]
FailurePolicy = Literal["Fail", "Ignore"]
Severity = Literal["info", "low", "medium", "high", "critical"]

DEFAULT_OPERATIONS: tuple[Operation, ...] = ("CREATE", "UPDATE", "START")
MAX_RULES = 32
MAX_VARIABLES = 32
POLICY_EXPRESSION_MAX_LENGTH = 4096
# Bytes of JSON: what is larger is no rule but a program.
POLICY_LIMIT = 64 * 1024

Expression = Annotated[str, Field(min_length=1, max_length=POLICY_EXPRESSION_MAX_LENGTH)]
Identifier = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$", min_length=1, max_length=63)]
# A name in which * stands for any characters: team-*, *-prod.
Wildcard = Annotated[str, Field(min_length=1, max_length=512)]


class Governor(Model):
    """The Agent of type governor that answers for a policy."""

    namespace: ObjectName = Field(description="Namespace of the Agent.")
    name: ObjectName = Field(description="Name of the Agent.")


class Selection(Model):
    """What is selected: an object that meets all that is set. In lists one entry has to be met."""

    operations: list[Operation] = Field(
        default_factory=list,
        max_length=4,
        description=(
            "CREATE and UPDATE: requests; START: of an Execution or an attempt of a task; END: of an attempt, with "
            "`output`. Unset: all but END."
        ),
    )
    namespaces: list[Wildcard] = Field(
        default_factory=list, max_length=64, description="Names of namespaces; * stands for any characters."
    )
    namespace_selector: LabelSelector | None = Field(default=None, description="Labels of the namespace.")
    object_selector: LabelSelector | None = Field(
        default=None, description="Labels of the object; of a Task, those of its Execution."
    )
    users: list[Wildcard] = Field(
        default_factory=list,
        max_length=64,
        description=(
            "Who asks; at a start, and of what is there already, the recorded author. * stands for any characters."
        ),
    )
    groups: list[Wildcard] = Field(
        default_factory=list,
        max_length=64,
        description="Groups of who asks; nobody's are known at a start, and of what is there already.",
    )


class Match(Selection):
    """What a policy is about."""

    kinds: list[JudgedKind] = Field(min_length=1, max_length=4, description="Agent, Workflow, Execution or Task.")


class Exclude(Selection):
    """What a policy is not about, though it matches."""

    kinds: list[JudgedKind] = Field(
        default_factory=list, max_length=4, description="Agent, Workflow, Execution or Task; unset: any."
    )


class NamedExpression(Model):
    """A CEL expression with a name."""

    name: Identifier = Field(description="Its name, unique in the list.")
    expression: Expression = Field(description="CEL, without ${{ }}.")


class Rule(Model):
    """What must be true."""

    name: Identifier | None = Field(default=None, description="Its name in messages and reports.")
    expression: Expression = Field(
        description=(
            "CEL, without ${{ }}, that must be true. In scope: `object`, `oldObject`, `request`, `namespaceObject`, "
            "`params`, `plan`, `variables`, `now`; at a start also `execution`; of a Task `task`, `agent`, `input`, "
            "`output`, `history` instead of the objects."
        )
    )
    message: str = Field(default="", max_length=1024, description="What is wrong where it is not true, and what to do.")
    message_expression: Expression | None = Field(
        default=None, description="CEL that gives the message; where it has no value, `message` is taken."
    )


class ControlReference(Model):
    """A control of a framework for which the policy gives evidence."""

    framework: Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$", max_length=63)] = Field(
        description="Name of the framework: iso-42001, nist-ai-rmf, eu-ai-act, or one of your own."
    )
    id: str = Field(min_length=1, max_length=63, description="The control's own name: A.9.2, GOVERN 1.6.")


class ParamsReference(Model):
    """The ConfigMap whose `data` is `params`."""

    namespace: ObjectName = Field(description="Namespace of the ConfigMap.")
    name: ObjectName = Field(description="Name of the ConfigMap.")


class PolicyDefaults(Model):
    """Put into the revision of a Workflow, where it leaves them out; never into the user's own object."""

    timeout: Duration | None = Field(default=None, description="Of an Execution.")
    parallelism: int | None = Field(default=None, ge=1, le=1000, description="Pods of one Execution at once.")
    task_timeout: Duration | None = Field(default=None, description="Of an attempt of a task.")
    task_pending_timeout: Duration | None = Field(default=None, description="Of the time until a pod runs.")
    resources: ResourceRequirements | None = Field(
        default=None, description="Requests and limits of the container `main`, each where the Agent has none."
    )


class ExceptionRules(Model):
    """Which exceptions are honoured."""

    max_duration: Duration = Field(description="The longest time from an exception's creation to its end, e.g. 720h.")
    second_person: bool = Field(
        default=True, description="Whether somebody else than its author has to confirm it first."
    )


class AgentPolicySpec(Model):
    """The wanted policy."""

    description: str = Field(default="", max_length=2048, description="What it is for, for a person.")
    governor: Governor | None = Field(default=None, description="The Agent of type governor that answers for it.")
    match: Match = Field(description="What it is about.")
    exclude: Exclude | None = Field(default=None, description="What it is not about: what meets all of this.")
    match_conditions: list[NamedExpression] = Field(
        default_factory=list,
        max_length=16,
        description="Where one of them is not true, the policy does not apply.",
    )
    action: Action = Field(
        default="Enforce",
        description="Enforce refuses, or fails the task; Warn tells the user; Audit only records.",
    )
    failure_policy: FailurePolicy = Field(
        default="Fail",
        description=(
            "Where an expression has no value: Fail takes it for one that is not met, Ignore lets pass. With the "
            "webhook away, what cannot be checked is refused under either."
        ),
    )
    severity: Severity = Field(default="medium", description="How bad a violation is: info to critical.")
    controls: list[ControlReference] = Field(
        default_factory=list, max_length=64, description="The controls for which it gives evidence."
    )
    params: ParamsReference | None = Field(default=None, description="A ConfigMap whose data is `params`.")
    variables: list[NamedExpression] = Field(
        default_factory=list,
        max_length=MAX_VARIABLES,
        description="Values that rules share, as `variables.NAME`; each may read those before it.",
    )
    rules: list[Rule] = Field(
        default_factory=list, max_length=MAX_RULES, description="What must be true; all are judged."
    )
    defaults: PolicyDefaults | None = Field(
        default=None, description="What the revisions of matching Workflows and their Agents get where it is unset."
    )
    exceptions: ExceptionRules | None = Field(
        default=None, description="Which AgentPolicyExceptions are honoured; unset: none."
    )


class AgentPolicyStatus(StatusModel):
    """What was found of the policy."""

    observed_generation: int = Field(default=0, description="The metadata.generation that was looked at.")
    ready: str = Field(default="Unknown", description="Status of the condition Ready.")
    native: str = Field(default="Unknown", description="Status of the condition Native.")
    violations: int | None = Field(
        default=None, description="Objects that are there now and do not keep to it; unset: not scanned yet."
    )
    message: str | None = Field(default=None, max_length=4096, description="What is wrong with it, and what to do.")
    conditions: list[Condition] = Field(
        default_factory=list,
        max_length=16,
        description=(
            "Ready: its expressions compile and its params are there. Native: the API server enforces it too, by a "
            "ValidatingAdmissionPolicy, with the operator down; the message says why not. Scanned: what is there was "
            "looked at. Governed, where spec.governor is set: that Agent is there and of type governor."
        ),
    )


class AgentPolicy(Resource):
    """Rules of a governor over Agents, Workflows, Executions and the tasks that they run; cluster-wide."""

    spec: AgentPolicySpec = Field(description="The wanted policy.")
    status: AgentPolicyStatus = Field(default_factory=AgentPolicyStatus, description="What was found of the policy.")
