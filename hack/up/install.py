"""What goes into a running cluster: its first objects, and the project's charts."""

from __future__ import annotations

import json
import subprocess
import time

from . import config, images, paths, tools
from .certs import NODE
from .steps import Failure, Job, say

CHARTS = paths.REPO / "charts"
_NODE_TIMEOUT = 90.0
_HELM_TIMEOUT = "240s"


def cluster_objects(job: Job) -> None:
    _kubectl(job, "apply", "--server-side", "--force-conflicts", "--field-manager=make-up", "-f", "-",
             stdin=config.objects())  # fmt: skip
    _free_released_volumes(job)


def _kubectl(job: Job, *arguments: str, stdin: str | None = None) -> str:
    return job.run([paths.BIN / "kubectl", "--kubeconfig", paths.KUBECONFIG, *arguments], stdin=stdin)


def _free_released_volumes(job: Job) -> None:
    """A retained volume stays bound to the claim that is gone; on a development machine the next claim may have it."""
    volumes = json.loads(_kubectl(job, "get", "persistentvolumes", "-o", "json"))["items"]
    for volume in volumes:
        if volume["status"].get("phase") == "Released":
            _kubectl(job, "patch", "persistentvolume", volume["metadata"]["name"], "--type=merge",
                     "-p", '{"spec":{"claimRef":null}}')  # fmt: skip


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
    settings = [f"--set={name}.image={reference}" for name, reference in references.items()]
    try:
        _helm(job, "ossa", "--wait", "--timeout", _HELM_TIMEOUT, *settings)
    except Failure:
        _explain(job)
        raise
    paths.write(record, wanted)
    images.forget_old(job)


def _helm(job: Job, release: str, *arguments: str) -> None:
    if _status(release).startswith("pending"):
        # A killed helm leaves its release pending, and refuses to touch it ever after.
        say(f"the helm release {release} was left half-done: rolling it forward from its last record")
        tools.kubectl("delete", "secret", "-n", paths.NAMESPACE, "-l", f"owner=helm,name={release},status in "
                      "(pending-install,pending-upgrade,pending-rollback)")  # fmt: skip
    job.run(
        [paths.BIN / "helm", "upgrade", "--install", release, CHARTS / release, "--kubeconfig", paths.KUBECONFIG,
         "--namespace", paths.NAMESPACE, "--create-namespace", *arguments],
        sentence=f"helm could not install the chart {release}",
    )  # fmt: skip


def _status(release: str) -> str:
    command = [str(paths.BIN / "helm"), "status", release, "--kubeconfig", str(paths.KUBECONFIG), "--namespace",
               paths.NAMESPACE, "-o", "json"]  # fmt: skip
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
