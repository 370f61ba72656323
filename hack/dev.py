"""`make dev`: the reconciler from the checkout against the cluster of `make up`, started again at each change.

The reconcilers in the cluster are scaled down meanwhile, and the one here takes their Lease. It has the same service
account, so it may do no more than the one that is shipped.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hack.forward import forwarded
from ossa.api.contract import ARTIFACTS_AUDIENCE
from ossa.kube.elector import EXIT_LOST

REPO = Path(__file__).resolve().parents[1]
DEV = REPO / ".dev" / "run"
NAMESPACE, DEPLOYMENT, ACCOUNT = "ossa-system", "ossa-reconciler", "ossa-reconciler"
ARTIFACTS, ARTIFACTS_PORT = "ossa-artifacts", 8080
WATCHED = ("ossa", "controllers", "operator", "agents")
REPLICAS, SELECTOR = 2, f"app.kubernetes.io/name={DEPLOYMENT}"
TOKEN_LIFE = "12h"  # noqa: S105 - a duration


def kubectl(*arguments: str) -> str:
    """What kubectl prints. Ends the program with kubectl's own words where it fails."""
    done = subprocess.run(["kubectl", *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
    return done.stdout


def read(*arguments: str) -> dict[str, Any]:
    """An object."""
    found: dict[str, Any] = json.loads(kubectl("-n", NAMESPACE, "get", *arguments, "-o", "json"))
    return found


def write_private(path: Path, content: bytes) -> None:
    """A file that only its owner reads."""
    path.touch(mode=0o600)
    path.write_bytes(content)


def account_token(*options: str, account: str = ACCOUNT) -> str:
    """A token of a service account, where none is named of the reconciler's."""
    return kubectl("-n", NAMESPACE, "create", "token", account, f"--duration={TOKEN_LIFE}", *options).strip()


def kubeconfig(account: str = ACCOUNT) -> Path:
    """A kubeconfig with a token of a service account, where none is named of the reconciler's."""
    current = json.loads(kubectl("config", "view", "--raw", "--minify", "--flatten", "-o", "json"))
    path = DEV / ("kubeconfig" if account == ACCOUNT else f"kubeconfig-{account}")
    entry = {"cluster": current["clusters"][0]["name"], "user": account, "namespace": NAMESPACE}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": current["clusters"],
        "users": [{"name": account, "user": {"token": account_token(account=account)}}],
        "contexts": [{"name": "dev", "context": entry}],
        "current-context": "dev",
    }
    write_private(path, json.dumps(config).encode())
    return path


@contextmanager
def environment() -> Iterator[dict[str, str]]:
    """The settings of the Deployment, with what is a path or an address in a pod put right for here.

    The address of the artifact service is good while the block runs.
    """
    container = read("deployment", DEPLOYMENT)["spec"]["template"]["spec"]["containers"][0]
    settings = {entry["name"]: entry["value"] for entry in container["env"] if "value" in entry}
    volumes = read("deployment", DEPLOYMENT)["spec"]["template"]["spec"]["volumes"]
    secret = next(volume["secret"]["secretName"] for volume in volumes if volume["name"] == "artifacts-key")
    key = DEV / "artifacts-key"
    write_private(key, base64.b64decode(read("secret", secret)["data"]["key"]))
    token = DEV / "artifacts-token"
    write_private(token, account_token(f"--audience={ARTIFACTS_AUDIENCE}").encode())
    with forwarded(NAMESPACE, ARTIFACTS, ARTIFACTS_PORT) as artifacts_url:
        yield {
            **os.environ,
            **settings,
            "KUBECONFIG": str(kubeconfig()),
            "OSSA_NAMESPACE": NAMESPACE,
            "OSSA_ARTIFACTS_KEY_FILE": str(key),
            "OSSA_ARTIFACTS_TOKEN_FILE": str(token),
            "OSSA_ARTIFACTS_OPERATOR_URL": artifacts_url,
            "OSSA_AGENTS_PATH": str(REPO / "agents"),
            "OSSA_LIVENESS": "http://127.0.0.1:18081/healthz",
            "OSSA_METRICS_PORT": "19090",
            "PYTHONPATH": str(REPO),
        }


@contextmanager
def scaled_down() -> Iterator[None]:
    """Without the reconcilers in the cluster."""
    replicas = read("deployment", DEPLOYMENT)["spec"]["replicas"] or REPLICAS  # 0: left so by a run that was killed
    kubectl("-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, "--replicas=0")
    # A pod that is on its way out may still take the Lease.
    kubectl("-n", NAMESPACE, "wait", "--for=delete", "pod", f"--selector={SELECTOR}", "--timeout=60s")
    try:
        yield
    finally:
        kubectl("-n", NAMESPACE, "scale", "deployment", DEPLOYMENT, f"--replicas={replicas}")
        print("\nthe reconcilers in the cluster are back", flush=True)


def newest(folders: Sequence[str] = WATCHED) -> float:
    """When a source was last changed."""
    return max(path.stat().st_mtime for folder in folders for path in (REPO / folder).rglob("*.py"))


def run(env: dict[str, str]) -> None:
    """Runs until interrupted."""
    while True:
        seen = newest()
        process = subprocess.Popen([sys.executable, str(REPO / "operator" / "reconciler.py")], env=env, cwd=DEV)
        try:
            while process.poll() is None and newest() == seen:
                time.sleep(0.5)
            lost = process.poll() == EXIT_LOST  # this machine slept, or the API server was away
            again = lost or process.poll() is None
            print("--- starting again" if again else "--- it ended; waiting for a change")
        finally:
            process.terminate()
            process.wait(timeout=20)
        while not lost and newest() == seen:
            time.sleep(0.5)


def main() -> None:
    """Scale down, run, scale up again."""
    os.environ["KUBECONFIG"] = str(REPO / ".dev" / "kubeconfig")
    os.environ["PATH"] = f"{REPO / '.dev' / 'bin'}{os.pathsep}{os.environ['PATH']}"
    DEV.mkdir(parents=True, exist_ok=True)
    with environment() as env, scaled_down():
        try:
            run(env)
        except KeyboardInterrupt:
            return


if __name__ == "__main__":
    main()
