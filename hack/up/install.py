"""What goes into a running cluster: its first objects, and the project's charts."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from . import config, images, paths, tools
from .certs import NODE
from .steps import Failure, Job, say

CHARTS = paths.REPO / "charts"
# Which of the chart's values an image is; without one of `services` its own defaults are pulled.
_IMAGE_VALUES = {
    "operator": ("operator.image",),
    "worker": ("worker.image",),
    "services": ("postgresql.image", "redis.image"),
}
# Auto would leave it to the webhook: in the API server that is made here it is a beta, which is turned on.
_AUTHORS = "--set=admission.recordAuthors=Policy"
_NODE_TIMEOUT = 90.0
_ROLLOUT_TIMEOUT = 240.0
_HOPELESS = {"ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName", "CreateContainerConfigError"}
_HOPELESS_RESTARTS = 3


def cluster_objects(job: Job) -> None:
    _kubectl(
        job,
        "apply",
        "--server-side",
        "--force-conflicts",
        "--field-manager=make-up",
        "-f",
        "-",
        stdin=config.objects(),
    )
    _free_released_volumes(job)


def _kubectl(job: Job, *arguments: str, stdin: str | None = None) -> str:
    return job.run([paths.BIN / "kubectl", "--kubeconfig", paths.KUBECONFIG, *arguments], stdin=stdin)


def _free_released_volumes(job: Job) -> None:
    """A retained volume stays with a claim that is gone; on a development machine the next may have it, and empty.

    What was left would be taken for the next one's own: a database whose password nobody has any more.
    """
    volumes = json.loads(_kubectl(job, "get", "persistentvolumes", "-o", "json"))["items"]
    for volume in volumes:
        if volume["status"].get("phase") == "Released":
            for left in (paths.VOLUMES / volume["metadata"]["name"]).iterdir():
                shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink()
            _kubectl(
                job,
                "patch",
                "persistentvolume",
                volume["metadata"]["name"],
                "--type=merge",
                "-p",
                '{"spec":{"claimRef":null}}',
            )


def wait_for_node(job: Job) -> None:
    deadline = time.monotonic() + _NODE_TIMEOUT
    template = '{.status.conditions[?(@.type=="Ready")].status} {.status.conditions[?(@.type=="Ready")].message}'
    answer = ""
    while time.monotonic() < deadline and not job.stopped:
        answer = tools.kubectl("get", "node", NODE, "-o", f"jsonpath={template}").stdout
        account = tools.kubectl("get", "serviceaccount", "default", "-n", "default").returncode == 0
        if answer.startswith("True") and account:  # without the account the first pods would be refused
            return
        time.sleep(0.2)
    raise Failure(f"the node is not ready after {_NODE_TIMEOUT:.0f} s: {answer or 'it is not registered'}")


def charts(job: Job) -> None:
    present = [name for name in ("ossa-crds", "ossa") if (CHARTS / name / "Chart.yaml").is_file()]
    references = images.references()
    if len(present) != len(("ossa-crds", "ossa")) or not references:
        job.note = "skipped: the charts or the images' sources are not all there yet"
        return
    wanted = paths.digest([CHARTS / name for name in present], *references.values())
    record = paths.DEV / "installed"
    if record.is_file() and record.read_text() == wanted and _deployed("ossa") and _deployed("ossa-crds"):
        job.note = "current"
        return
    record.unlink(missing_ok=True)
    _helm(job, "ossa-crds")
    _helm(job, "ossa", "--values", str(CHARTS / "ossa" / "values-trial.yaml"), _AUTHORS, *_settings(references))
    _wait(job)
    paths.write(record, wanted)
    images.forget_old(job)


def _settings(references: Mapping[str, str]) -> list[str]:
    values = [(value, reference) for name, reference in references.items() for value in _IMAGE_VALUES[name]]
    return [f"--set={value}={reference}" for value, reference in values]


def _wait(job: Job) -> None:
    """Wait until all that runs is rolled out. Unlike helm's own waiting, it ends at the first hopeless pod."""
    deadline = time.monotonic() + _ROLLOUT_TIMEOUT
    while not job.stopped:
        answer = tools.kubectl("get", "deployments,statefulsets,pods", "-n", paths.NAMESPACE, "-o", "json")
        items = json.loads(answer.stdout)["items"] if answer.returncode == 0 else []
        workloads = [item for item in items if item["kind"] != "Pod"]
        behind = [item["metadata"]["name"] for item in workloads if not _rolled_out(item)]
        if workloads and not behind:
            return
        for pod in (item for item in items if item["kind"] == "Pod"):
            _raise_if_hopeless(job, pod)
        if time.monotonic() > deadline:
            _explain(job)
            raise Failure(f"{', '.join(behind)} not rolled out after {_ROLLOUT_TIMEOUT:.0f} s")
        time.sleep(0.5)


def _rolled_out(workload: dict[str, Any]) -> bool:
    status, wanted = workload["status"], workload["spec"].get("replicas", 1)
    counts = [status.get(f"{kind}Replicas", 0) for kind in ("updated", "available")]
    seen = status.get("observedGeneration", 0) >= workload["metadata"]["generation"]
    return seen and counts == [wanted, wanted] and status.get("replicas", 0) == wanted


def _raise_if_hopeless(job: Job, pod: dict[str, Any]) -> None:
    name = pod["metadata"]["name"]
    if pod["metadata"].get("deletionTimestamp"):
        return
    for kind in ("initContainerStatuses", "containerStatuses"):
        for container in pod["status"].get(kind, []):
            reason = container["state"].get("waiting", {}).get("reason", "")
            crashing = reason == "CrashLoopBackOff" and container["restartCount"] >= _HOPELESS_RESTARTS
            if crashing or reason in _HOPELESS:
                _explain(job)
                log = tools.kubectl("logs", "-n", paths.NAMESPACE, name, "-c", container["name"], "--tail=15")
                with job.log.open("a") as own:
                    own.write(f"--- log of {name}\n{log.stdout}{log.stderr}")
                raise Failure(f"the pod {name} of the release does not come up: {reason}")


def _helm(job: Job, release: str, *arguments: str) -> None:
    if _status(release).startswith("pending"):
        # A killed helm leaves its release pending, and refuses to touch it ever after.
        say(f"the helm release {release} was left half-done: rolling it forward from its last record")
        tools.kubectl(
            "delete",
            "secret",
            "-n",
            paths.NAMESPACE,
            "-l",
            f"owner=helm,name={release},status in (pending-install,pending-upgrade,pending-rollback)",
        )
    job.run(
        [
            paths.BIN / "helm",
            "upgrade",
            "--install",
            release,
            CHARTS / release,
            "--kubeconfig",
            paths.KUBECONFIG,
            "--namespace",
            paths.NAMESPACE,
            "--create-namespace",
            # A killed benchmark or `make dev` has scaled the reconciler down, and owns that field since.
            "--server-side=true",
            "--force-conflicts",
            *arguments,
        ],
        sentence=f"helm could not install the chart {release}",
    )


def _status(release: str) -> str:
    command = [
        str(paths.BIN / "helm"),
        "status",
        release,
        "--kubeconfig",
        str(paths.KUBECONFIG),
        "--namespace",
        paths.NAMESPACE,
        "-o",
        "json",
    ]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    return str(json.loads(answer.stdout)["info"]["status"]) if answer.returncode == 0 else ""


def _deployed(release: str) -> bool:
    return _status(release) == "deployed"


def _explain(job: Job) -> None:
    """Put what a person would look at first into the step's log, whose tail is printed."""
    with job.log.open("a") as log:
        for query in (["get", "events", "--sort-by=.lastTimestamp"], ["get", "pods", "-o", "wide"]):
            lines = tools.kubectl(*query, "-n", paths.NAMESPACE).stdout.splitlines()
            log.write("\n".join(lines[:1] + lines[1:][-8:]) + "\n")
