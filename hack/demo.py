"""`make demo`: pipeline, request flow and policies on the cluster of `make up`, as a user has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from hack import audittrail, requestflow

REPO = Path(__file__).resolve().parents[1]
KUBECONFIG = REPO / ".dev" / "kubeconfig"
OSSA = REPO / ".venv" / "bin" / "ossa"
PYTHON = REPO / ".venv" / "bin" / "python"
KUBECTL = REPO / ".dev" / "bin" / "kubectl"
PACK = "manifests/policies/eu-ai-act/"
POLICY = "eu-ai-act-human-oversight"
REFUSED = "manifests/samples/refused/unapproved-release.yaml"
WORKFLOW = "unapproved-release"
SEEN_SECONDS = 30.0  # until every replica of the admission process has seen a policy


def run(command: Sequence[str], why: str) -> None:
    """Say what is run and why, run it, and end with its exit code where it fails."""
    shown = " ".join([Path(command[0]).name, *command[1:]])
    print(f"\n# {why}\n$ {shown}", flush=True)
    code = subprocess.run(command, cwd=REPO, check=False).returncode
    if code != 0:
        print(f"\n`{shown}` ended with exit code {code}; see above.", file=sys.stderr)
        raise SystemExit(code)


def refused(command: Sequence[str], undo: Sequence[str], why: str) -> None:
    """Show how a policy refuses what the command applies. SystemExit where it lets it pass.

    It is tried again for a while, and undone before: the policy has only just been applied.
    """
    shown = " ".join([Path(command[0]).name, *command[1:]])
    print(f"\n# {why}\n$ {shown}", flush=True)
    deadline = time.monotonic() + SEEN_SECONDS
    while True:
        ended = subprocess.run(command, cwd=REPO, check=False, capture_output=True, text=True)
        said = ended.stdout + ended.stderr
        if ended.returncode != 0 and POLICY in said:
            print(said.strip(), flush=True)
            return
        if ended.returncode != 0 or time.monotonic() > deadline:
            print(f"{said}\nThe policy {POLICY} should have refused it.", file=sys.stderr)
            raise SystemExit(1)
        subprocess.run(undo, cwd=REPO, check=True, stdout=subprocess.DEVNULL)
        time.sleep(1)


def governance(kubectl: str, ossa: str, reports: Path) -> None:
    """Apply a pack of policies, show what it refuses and what is evidence, and take it away again."""
    run([kubectl, "apply", "-f", PACK], "policies for what the EU AI Act asks")
    try:
        run([kubectl, "wait", "--for=condition=Ready", "--timeout=60s", "-f", PACK], "the operator judges by them")
        refused(
            [kubectl, "apply", "-f", REFUSED],
            [kubectl, "delete", "workflow", WORKFLOW, "--ignore-not-found"],
            "an agent of high risk, and a workflow that asks nobody",
        )
        run([kubectl, "get", "agentpolicies"], "who keeps to them")
        run([ossa, "compliance", "report", "--summary"], "what is evidence, as counts")
        page = REPO / reports / "compliance.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        with page.open("wb") as file:
            subprocess.run([ossa, "compliance", "report", "-o", "html"], cwd=REPO, check=True, stdout=file)
    finally:
        # Whoever runs it again, or the tests, finds the cluster as it was.
        undo = [kubectl, "delete", "--ignore-not-found", "-f", PACK, "-f", REFUSED]
        subprocess.run(undo, cwd=REPO, check=False, stdout=subprocess.DEVNULL)
    print(f"\nThe evidence, control by control, is in {reports}/compliance.html. The policies are taken away again.")


def tool(path: Path, fallback: str, advice: str) -> str:
    """Where a tool is: the repo's own, else the one in $PATH."""
    found = str(path) if path.exists() else shutil.which(fallback)
    if found is None:
        raise SystemExit(f"{fallback} was found neither at {path.relative_to(REPO)} nor in $PATH; {advice}")
    return found


def main() -> None:
    """The pipeline and its report; the same through the gateway, with its rows and its audit trail; the policies."""
    if not KUBECONFIG.exists():
        raise SystemExit("There is no .dev/kubeconfig; start the cluster first: make up")
    os.environ["KUBECONFIG"] = str(KUBECONFIG)
    os.environ["PATH"] = f"{KUBECTL.parent}{os.pathsep}{os.environ['PATH']}"
    kubectl = tool(KUBECTL, "kubectl", "`make up` brings it")
    ossa = tool(OSSA, "ossa", "`make venv` installs it")
    name = time.strftime("demo-%Y%m%d-%H%M%S", time.gmtime())
    reports = Path(".dev") / "reports" / name
    run([kubectl, "apply", "-f", "manifests/samples/"], "agents, workflows and two executions, in any order")
    run([ossa, "run", "data-pipeline", "--name", name, "--watch"], "one more execution, watched until it ends")
    run([kubectl, "get", "executions"], "what has run")
    run([ossa, "tasks", name], "its tasks")
    run([ossa, "download", name, "--to", str(reports)], "its report")
    requestflow.show(kubectl, tool(PYTHON, "python3", "`make cli` installs it"))
    audittrail.verify(kubectl, ossa, REPO / reports / "audit")
    governance(kubectl, ossa, reports)
    print(f"\nThe report is in {reports}: open report.md and report.png.")


if __name__ == "__main__":
    main()
