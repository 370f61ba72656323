"""SIGKILL for the reconciler, from the outside: within its own container process 1 is spared by the kernel."""

from __future__ import annotations

from dataclasses import dataclass

from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness.cluster import RECONCILER, Cluster
from tests.e2e.harness.command import kubectl
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import SMALL, JSONObject
from tests.e2e.harness.waiting import wait_for

NAME = "executioner"
SELECTOR = f"app.kubernetes.io/name={RECONCILER}"
# The one process that runs the reconciler within the cgroup of one pod; cgroup drivers spell UIDs with - or _.
FIND = """
for folder in /proc/[0-9]*; do
  [ -r "$folder/cgroup" ] || continue
  grep -qsE "pod$1" "$folder/cgroup" || continue
  tr '\\0' ' ' < "$folder/cmdline" | grep -q reconciler.py && echo "${folder#/proc/}"
done
true
"""


@dataclass(frozen=True, slots=True)
class Aim:
    """The reconciler that runs now: its pod, and its process as the node counts."""

    pod: str
    process: str


@dataclass(frozen=True, slots=True)
class Executioner:
    """A pod in the test's namespace that sees the node's processes."""

    namespace: Namespace

    @property
    def cluster(self) -> Cluster:
        """Where it stands."""
        return self.namespace.cluster

    async def prepare(self) -> None:
        """Makes the pod, and waits until it can act."""
        main = {
            "name": "main",
            "image": self.cluster.worker_image,
            "command": ["/bin/sh", "-c", "sleep 3600"],
            "resources": SMALL,
            "securityContext": {"privileged": True, "runAsUser": 0},
        }
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": NAME},
            "spec": {
                "hostPID": True,
                "terminationGracePeriodSeconds": 0,
                "automountServiceAccountToken": False,
                "containers": [main],
            },
        }
        await self.cluster.api.post(paths.core("pods", self.namespace.name), pod)
        await self.namespace.wait(self._runs, "the pod that kills")

    async def aim(self) -> Aim:
        """Finds the reconciler; waits until there is one, and one alone, that is ready."""
        return await wait_for(self._found, "one reconciler that is ready")

    async def _found(self) -> Aim | None:
        pod = await self._ready()
        if pod is None:
            return None
        pattern = pod["metadata"]["uid"].replace("-", "[-_]")
        processes = (await self._exec("/bin/sh", "-c", FIND, "find", pattern)).split()
        # One that has just died is ready still, as long as nobody has looked.
        return Aim(pod["metadata"]["name"], processes[0]) if len(processes) == 1 else None

    async def kill(self, aim: Aim) -> None:
        """SIGKILL. Its Deployment starts another one; the dead pod is removed, so that no restart back-off counts."""
        # `kill` is the shell's own.
        done = await self.namespace.kubectl("exec", NAME, "--", "/bin/sh", "-c", f"kill -9 {aim.process}")
        if "No such process" in done.err:  # replaced in the meantime, by an upgrade or a test beside this one
            await self.kill(await self.aim())
            return
        done.ok()
        await kubectl(
            "-n", self.cluster.system_namespace, "delete", "pod", aim.pod, "--force", "--grace-period=0", "--wait=false"
        )

    async def _exec(self, *command: str) -> str:
        return (await self.namespace.kubectl("exec", NAME, "--", *command)).ok()

    async def _runs(self) -> bool:
        try:
            pod = await self.cluster.api.get(paths.core("pods", self.namespace.name, NAME))
        except NotFound:
            return False
        return bool((pod.get("status") or {}).get("phase") == "Running")

    async def _ready(self) -> JSONObject | None:
        listed = await self.cluster.api.get(
            paths.core("pods", self.cluster.system_namespace), {"labelSelector": SELECTOR}
        )
        ready = [
            item
            for item in listed["items"]
            if any(c["type"] == "Ready" and c["status"] == "True" for c in item["status"].get("conditions") or [])
        ]
        return ready[0] if len(ready) == len(listed["items"]) == 1 else None
