"""`make demo`: the data pipeline on the cluster of `make up`, as a user runs it. Standard library only."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

REPO = Path(__file__).resolve().parents[1]
KUBECONFIG = REPO / ".dev" / "kubeconfig"
OSSA = REPO / ".venv" / "bin" / "ossa"
KUBECTL = REPO / ".dev" / "bin" / "kubectl"


def run(command: Sequence[str], why: str) -> None:
    """Say what is run and why, run it, and end with its exit code where it fails."""
    shown = " ".join([Path(command[0]).name, *command[1:]])
    print(f"\n# {why}\n$ {shown}", flush=True)
    code = subprocess.run(command, cwd=REPO, check=False).returncode
    if code != 0:
        print(f"\n`{shown}` ended with exit code {code}; see above.", file=sys.stderr)
        raise SystemExit(code)


def tool(path: Path, fallback: str, advice: str) -> str:
    """Where a tool is: the repo's own, else the one in $PATH."""
    found = str(path) if path.exists() else shutil.which(fallback)
    if found is None:
        raise SystemExit(f"{fallback} was found neither at {path.relative_to(REPO)} nor in $PATH; {advice}")
    return found


def main() -> None:
    """Apply the samples, run the pipeline, show where it stands, and fetch its report."""
    if not KUBECONFIG.exists():
        raise SystemExit("There is no .dev/kubeconfig; start the cluster first: make up")
    os.environ["KUBECONFIG"] = str(KUBECONFIG)
    kubectl = tool(KUBECTL, "kubectl", "`make up` brings it")
    ossa = tool(OSSA, "ossa", "`make venv` installs it")
    name = time.strftime("demo-%Y%m%d-%H%M%S", time.gmtime())
    reports = Path(".dev") / "reports" / name
    run([kubectl, "apply", "-f", "manifests/samples/"], "agents, workflows and two executions, in any order")
    run([ossa, "run", "data-pipeline", "--name", name, "--watch"], "one more execution, watched until it ends")
    run([kubectl, "get", "executions"], "what has run")
    run([ossa, "tasks", name], "its tasks")
    run([ossa, "download", name, "--to", str(reports)], "its report")
    print(f"\nThe report is in {reports}: open report.md and report.png.")


if __name__ == "__main__":
    main()
