"""What only the operator may write. The cluster's administrator is refused too, and told what to do instead."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.e2e.harness import Namespace, task, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject, says
from tests.e2e.harness.recorder import recorded

LABELS = "labels that begin with ossa.dev/ are written by the OSSA operator alone"
ANNOTATIONS = "annotations that begin with ossa.dev/ are written by the OSSA operator alone"
MANAGED = "the label app.kubernetes.io/managed-by=ossa marks the OSSA operator's worker pods"
STATUS = "status is written by the OSSA operator alone; change spec"


def pod(namespace: Namespace, **metadata: Any) -> JSONObject:
    """A pod of a user's own."""
    main = {"name": "main", "image": namespace.cluster.worker_image, "command": ["true"]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "mine", **metadata},
        "spec": {"restartPolicy": "Never", "containers": [main]},
    }


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"labels": {"app.kubernetes.io/managed-by": "ossa"}}, [MANAGED, "another value"]),
        ({"labels": {"ossa.dev/execution-uid": "x"}}, [LABELS, "create an Execution"]),
        ({"labels": {"ossa.dev/anything": "x"}}, [LABELS]),
        ({"annotations": {"ossa.dev/identity": "{}"}}, [ANNOTATIONS, "annotations of your own"]),
        ({"annotations": {"ossa.dev/input": '{"$artifact": "A"}'}}, [ANNOTATIONS]),
    ],
    ids=["managed-by", "execution-uid", "any label", "identity", "input"],
)
async def test_a_user_s_pod_may_not_pass_for_a_worker(
    namespace: Namespace, metadata: dict[str, Any], words: list[str]
) -> None:
    said = (await namespace.kubectl_apply(pod(namespace, **metadata))).refused()
    assert [word for word in words if word not in said] == [], said


async def test_a_user_s_pod_may_become_none_later(namespace: Namespace) -> None:
    (await namespace.kubectl_apply(pod(namespace, labels={"app.kubernetes.io/managed-by": "helm"}))).ok()
    said = (await namespace.kubectl("label", "pod", "mine", "ossa.dev/task=x")).refused()
    assert LABELS in said
    said = (await namespace.kubectl("annotate", "pod", "mine", "ossa.dev/input={}")).refused()
    assert ANNOTATIONS in said
    said = (
        await namespace.kubectl("label", "--overwrite", "pod", "mine", "app.kubernetes.io/managed-by=ossa")
    ).refused()
    assert MANAGED in said


@pytest.fixture
async def worker(namespace: Namespace) -> AsyncIterator[str]:
    """A worker pod of the execution `run` that stands at its gate."""
    script = f"{WAIT}; {says({'ok': True})}"
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        await namespace.run(namespace.shell_agent("gate", script), workflow("flow", [task("gate", "gate")]))
        await recorder.until(lambda seen: bool(seen.running()), "the worker pod")
        yield recorder.running()[0].name


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (("label", "--overwrite", "pod", "{pod}", "ossa.dev/task=other"), LABELS),
        (("label", "pod", "{pod}", "ossa.dev/task-"), LABELS),
        (("label", "pod", "{pod}", "ossa.dev/new=x"), LABELS),
        (("label", "--overwrite", "pod", "{pod}", "app.kubernetes.io/managed-by=me"), MANAGED),
        (("label", "pod", "{pod}", "app.kubernetes.io/managed-by-"), MANAGED),
        (("annotate", "--overwrite", "pod", "{pod}", 'ossa.dev/input={"x": 1}'), ANNOTATIONS),
        (("annotate", "pod", "{pod}", "ossa.dev/identity-"), ANNOTATIONS),
        (
            (
                "patch",
                "execution",
                "run",
                "--type=merge",
                "--subresource=status",
                "-p",
                '{"status": {"phase": "Completed"}}',
            ),
            STATUS,
        ),
        (
            (
                "patch",
                "workflow",
                "flow",
                "--type=merge",
                "--subresource=status",
                "-p",
                '{"status": {"phase": "Draft"}}',
            ),
            STATUS,
        ),
        (
            ("patch", "agent", "gate", "--type=merge", "--subresource=status", "-p", '{"status": {"ready": "False"}}'),
            STATUS,
        ),
        (
            ("patch", "execution", "run", "--type=merge", "-p", '{"spec": {"inputs": {"x": 1}}}'),
            "is immutable; create another Execution instead of changing this one",
        ),
    ],
    ids=lambda value: " ".join(value)[:60] if isinstance(value, tuple) else "",
)
async def test_what_runs_may_not_be_meddled_with(
    namespace: Namespace, worker: str, command: tuple[str, ...], words: str
) -> None:
    said = (await namespace.kubectl(*(part.replace("{pod}", worker) for part in command))).refused()
    assert words in said


async def test_what_is_a_user_s_own_stays_free(namespace: Namespace, worker: str) -> None:
    (await namespace.kubectl("label", "pod", worker, "team=data")).ok()
    (await namespace.kubectl("annotate", "pod", worker, "note=looked at")).ok()
    (await namespace.kubectl("label", "execution", "run", "team=data")).ok()
    await open_gate(namespace, worker)
    ended = await namespace.completes()
    assert ended.metadata.labels == {"team": "data"}


async def test_a_revision_is_the_operator_s(namespace: Namespace, worker: str) -> None:
    assert worker
    name = (await namespace.execution("run")).status.revision or ""
    words = "is what an Execution runs and is written by the OSSA operator alone; change the Workflow or its Agents"
    for change in ('{"revision": 77}', '{"metadata": {"ownerReferences": null}}'):
        said = (await namespace.kubectl("patch", "controllerrevision", name, "--type=merge", "-p", change)).refused()
        assert words in said
    forged = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {"name": "flow-0000000000", "labels": {"app.kubernetes.io/managed-by": "ossa"}},
        "data": {},
        "revision": 1,
    }
    said = (await namespace.kubectl_apply(forged)).refused()
    assert words in said
