"""What only Kubernetes can say of a field: list types, rules in CEL, bounds that a rule's cost is estimated by.

`structural` adds it to the schema that it makes from the models.
"""

from __future__ import annotations

from collections.abc import Mapping

from ossa.api.approval import USER_MAX_LENGTH
from ossa.api.base import JSONObject
from ossa.api.task import MAX_FINALLY, MAX_TASKS
from ossa.api.trigger import CRON_WORDS, MAX_TRIGGERS

# As apimachinery's resource.Quantity is written.
QUANTITY = r"^(\+|-)?(([0-9]+(\.[0-9]*)?)|(\.[0-9]+))(([KMGTPE]i)|[numkMGTPE]|([eE](\+|-)?[0-9]+))?$"

RULES = "x-kubernetes-validations"


def _rule(rule: str, message: str, **more: str) -> JSONObject:
    return {"rule": rule, "message": message, **more}


def _map_list(key: str) -> JSONObject:
    return {"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": [key]}


def _probe(*names: str, why: str) -> JSONObject:
    """Declares fields of a free object, since a CEL rule sees declared fields alone."""
    return {"properties": {name: {"type": "string", "description": why} for name in names}}


_ATOMIC = {"x-kubernetes-list-type": "atomic"}
_SET = {"x-kubernetes-list-type": "set"}
_CONDITIONS = _map_list("type")
_APPROVERS = _rule(
    "(has(self.approverGroups) && size(self.approverGroups) > 0) || "
    "(has(self.approverUsers) && size(self.approverUsers) > 0)",
    "name who may approve: set approverGroups, approverUsers or both",
)

_INPUTS: JSONObject = {
    **_probe("type", why="object."),
    RULES: [
        _rule(
            "has(self.type) && self.type == 'object'",
            "must be a JSON Schema of type object; add `type: object`",
        )
    ],
}


def _of_both(field: str, more: JSONObject) -> dict[str, JSONObject]:
    """Of a field of workflows, whether they stand in a Workflow or in an Execution."""
    return {f"{model}.{field}": more for model in ("WorkflowSpec", "InlineWorkflow")}


# What is added to a field, by the name of its model and its own.
FIELDS: Mapping[str, JSONObject] = {
    "AgentSpec.capabilities": _map_list("name"),
    "AgentStatus.conditions": _CONDITIONS,
    "Capability.inputSchema": {"maxProperties": 64},
    "Capability.outputSchema": {"maxProperties": 64},
    "Container.command": _ATOMIC,
    "Container.args": _ATOMIC,
    "ResourceRequirements.requests": {"maxProperties": 16},
    "ResourceRequirements.limits": {"maxProperties": 16},
    "PodTemplateMetadata.labels": {"maxProperties": 64},
    "PodTemplateMetadata.annotations": {"maxProperties": 64},
    "PodTemplate.spec": {
        **_probe("serviceAccountName", "serviceAccount", why="Refused: set spec.runtime.serviceAccountName."),
        RULES: [
            _rule(
                "!has(self.serviceAccountName) && !has(self.serviceAccount)",
                "may not name a service account here; set spec.runtime.serviceAccountName instead",
            )
        ],
    },
    **_of_both("inputs", _INPUTS),
    **_of_both("tasks", _map_list("name")),
    **_of_both("finally", _map_list("name")),
    **_of_both("outputs", {"maxProperties": 100}),
    "WorkflowSpec.triggers": _map_list("name"),
    "WorkflowStatus.triggers": {"maxProperties": MAX_TRIGGERS},
    "WorkflowStatus.conditions": _CONDITIONS,
    "Trigger.cron": {
        RULES: [
            _rule(
                rf"self.matches('^\\s*\\S+(\\s+\\S+){{4}}\\s*$') || self in [{', '.join(map(repr, CRON_WORDS))}]",
                "must be five fields: minute, hour, day of the month, month and day of the week, such as 0 2 * * *; "
                f"or one of {', '.join(CRON_WORDS)}",
            )
        ]
    },
    "Trigger.inputs": {"maxProperties": 256},
    "Task.dependsOn": {"x-kubernetes-list-type": "set"},
    "Task.input": {"maxProperties": 256},
    "Task.defaultOutput": {"maxProperties": 256},
    "Task.locks": _map_list("name"),
    "Retry.reasons": {"x-kubernetes-list-type": "set"},
    "AttemptStatus.locks": _ATOMIC,
    "ExecutionStatus.lineage": _ATOMIC,
    "TaskStatus.locks": _ATOMIC,
    # A list of free objects, in which null stands for what has not ended.
    "ItemsStatus.outputs": {
        "items": {"type": "object", "nullable": True, "x-kubernetes-preserve-unknown-fields": True},
        "x-kubernetes-list-type": "atomic",
    },
    "ExecutionSpec.inputs": {"maxProperties": 256},
    "ExecutionSpec.workflowSpec": {"x-kubernetes-map-type": "atomic"},
    "ExecutionStatus.tasks": {"maxProperties": MAX_TASKS + MAX_FINALLY},
    "ArchiveStatus.outputs": _ATOMIC,
    "ExecutionStatus.conditions": _CONDITIONS,
    "Execution.spec": {
        RULES: [
            *(
                _rule(
                    f"has(self.{name}) == has(oldSelf.{name}) && (!has(self.{name}) || self.{name} == oldSelf.{name})",
                    "is immutable; create another Execution instead of changing this one",
                    fieldPath=f".{name}",
                )
                for name in ("workflow", "workflowSpec", "inputs", "pendingTimeout", "retryOf")
            ),
            _rule(
                "!(has(oldSelf.cancel) && oldSelf.cancel) || (has(self.cancel) && self.cancel)",
                "a cancelled Execution stays cancelled; create another one",
                fieldPath=".cancel",
            ),
        ]
    },
    "ApprovalTask.approverGroups": _SET,
    "ApprovalTask.approverUsers": _SET,
    "ApprovalSpec.approverGroups": _SET,
    "ApprovalSpec.approverUsers": _SET,
    "ApprovalStatus.approvedBy": _ATOMIC,
    "ApprovalStatus.conditions": _CONDITIONS,
    "Approval.spec": {
        RULES: [_rule("self == oldSelf", "is immutable; the operator makes another Approval where one is needed")]
    },
    "Approval.decisions": {
        # So that a JSON patch may add an entry without making the map first.
        "default": {},
        RULES: [
            _rule(
                "oldSelf.all(user, user in self && self[user] == oldSelf[user])",
                "what somebody decided is final: entries may be added, but not changed or removed",
            ),
            _rule(
                f"self.all(user, size(user) > 0 && size(user) <= {USER_MAX_LENGTH})",
                f"the keys are user names of 1 to {USER_MAX_LENGTH} characters",
            ),
        ],
    },
    "AgentData.sources": _SET,
    "Match.kinds": _SET,
    "Match.operations": _SET,
    "Match.namespaces": _SET,
    "Match.users": _SET,
    "Match.groups": _SET,
    "Exclude.kinds": _SET,
    "Exclude.operations": _SET,
    "Exclude.namespaces": _SET,
    "Exclude.users": _SET,
    "Exclude.groups": _SET,
    "LabelRequirement.values": _SET,
    "LabelSelector.matchExpressions": _ATOMIC,
    "LabelSelector.matchLabels": {"maxProperties": 64},
    "AgentPolicySpec.matchConditions": _map_list("name"),
    "AgentPolicySpec.variables": _map_list("name"),
    "AgentPolicySpec.rules": _ATOMIC,
    "AgentPolicySpec.controls": {
        "x-kubernetes-list-type": "map",
        "x-kubernetes-list-map-keys": ["framework", "id"],
    },
    "AgentPolicyStatus.conditions": _CONDITIONS,
    "AgentPolicyExceptionStatus.conditions": _CONDITIONS,
    "AgentPolicyException.spec": {
        RULES: [_rule("self == oldSelf", "is immutable; create another exception instead of changing this one")]
    },
    "AgentPolicyException.confirmations": {
        "default": {},
        RULES: [
            _rule(
                "oldSelf.all(user, user in self && self[user] == oldSelf[user])",
                "what somebody confirmed is final: entries may be added, but not changed or removed",
            ),
            _rule(
                f"self.all(user, size(user) > 0 && size(user) <= {USER_MAX_LENGTH})",
                f"the keys are user names of 1 to {USER_MAX_LENGTH} characters",
            ),
        ],
    },
    "AgentPolicy.status": {"default": {"ready": "Unknown"}},
    "AgentPolicyException.status": {"default": {"state": "Pending"}},
    # So that a new object shows a phase before, or without, the operator.
    "Agent.status": {"default": {"ready": "Unknown"}},
    "Workflow.status": {"default": {"phase": "Draft"}},
    # Written by one process, and as a whole it costs the API server half of what it does merged by field.
    "Execution.status": {"default": {"phase": "Pending"}, "x-kubernetes-map-type": "atomic"},
    "Approval.status": {"default": {"state": "Pending"}},
}

# What is added to a model, by its name.
MODELS: Mapping[str, JSONObject] = {
    "Runtime": {
        RULES: [
            _rule(
                "has(self.handler) != has(self.container)",
                "set exactly one of handler (module:function) and container (an image of your own)",
            ),
            _rule(
                "!has(self.image) || has(self.handler)",
                "image is the worker image of a handler; with a container set container.image instead",
            ),
        ]
    },
    "ForEach": {
        RULES: [
            _rule(
                "has(self.items) != has(self.range)",
                "set exactly one of items (a list) and range (numbers)",
            )
        ]
    },
    "ExecutionSpec": {
        RULES: [
            _rule(
                "has(self.workflow) != has(self.workflowSpec)",
                "set exactly one of workflow (the name of a Workflow) and workflowSpec (a workflow written here)",
            ),
        ]
    },
    "Task": {
        RULES: [
            _rule(
                "[has(self.agent), has(self.workflow), has(self.approval)].filter(x, x).size() == 1",
                "set exactly one of agent (who does it), workflow and approval (people who must approve)",
            ),
            _rule(
                "!has(self.capability) || has(self.agent)",
                "capability is one of an agent; remove it, or name an agent",
                fieldPath=".capability",
            ),
            _rule(
                "!has(self.dependsOn) || !(self.name in self.dependsOn)",
                "a task may not depend on itself; remove its own name from dependsOn",
                fieldPath=".dependsOn",
            ),
            _rule(
                "!has(self.approval) || !(has(self.capability) || has(self.input) || has(self.timeout) || "
                "has(self.forEach) || has(self.retry) || has(self.locks))",
                "capability, input, timeout, forEach, retry and locks belong to a task that runs something; the time "
                "limit of an approval is approval.timeout",
            ),
        ]
    },
    "ApprovalTask": {
        RULES: [
            _APPROVERS,
            _rule(
                "(has(self.approverGroups) && size(self.approverGroups) > 0) || !has(self.approverUsers) || "
                "size(self.approverUsers) >= (has(self.count) ? self.count : 1)",
                "count is more than there are approverUsers; lower it, or name more who may approve",
            ),
        ]
    },
    "ApprovalSpec": {RULES: [_APPROVERS]},
    "AgentPolicySpec": {
        RULES: [
            _rule(
                "(has(self.rules) && size(self.rules) > 0) || has(self.defaults)",
                "it does nothing; give it rules, defaults or both",
            ),
            _rule(
                "!has(self.defaults) || 'Workflow' in self.match.kinds",
                "defaults go into the revisions of Workflows; add Workflow to match.kinds",
                fieldPath=".defaults",
            ),
        ]
    },
    "LabelRequirement": {
        RULES: [
            _rule(
                "(self.operator in ['In', 'NotIn']) == (has(self.values) && size(self.values) > 0)",
                "In and NotIn need values, Exists and DoesNotExist take none",
                fieldPath=".values",
            )
        ]
    },
}
