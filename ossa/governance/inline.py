"""A workflow that is written in an Execution, as policies about Workflows see it: no spelling dodges a rule.

Whoever asks policies about such an Execution asks those about Workflows too, of a Workflow with its spec, and with the
labels and annotations of the Execution.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ossa.api.base import JSONObject
from ossa.api.contract import API_VERSION

INLINE_NAME = ""  # of such a workflow in `plan.workflow`, in revisions and in labels: no Workflow has it


def workflow_of(execution: Mapping[str, Any] | None) -> JSONObject | None:
    """The Workflow as which an Execution with spec.workflowSpec is judged; None of another one.

    Its name is that of the Execution. It is no object that is there: nothing but the Execution may be excepted.
    """
    spec = (execution or {}).get("spec")
    inline = spec.get("workflowSpec") if isinstance(spec, Mapping) else None
    if execution is None or not isinstance(inline, Mapping):
        return None
    metadata = execution.get("metadata")
    return {
        "apiVersion": API_VERSION,
        "kind": "Workflow",
        "metadata": dict(metadata) if isinstance(metadata, Mapping) else {},
        "spec": {"published": True, **inline},
    }
