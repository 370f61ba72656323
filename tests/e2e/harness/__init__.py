"""What the end-to-end tests share: the cluster, a namespace a test, builders of objects, waits that explain."""

from tests.e2e.harness.cluster import Cluster
from tests.e2e.harness.command import Output, kubectl, ossa
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import execution, task, workflow
from tests.e2e.harness.waiting import NotYet, wait_for

__all__ = [
    "Cluster",
    "Namespace",
    "NotYet",
    "Output",
    "execution",
    "kubectl",
    "ossa",
    "task",
    "wait_for",
    "workflow",
]
