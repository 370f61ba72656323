"""Signals for our processes, from outside: within its own container process 1 is spared by the kernel."""

from __future__ import annotations

from dataclasses import dataclass, replace

from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness.cluster import Cluster, is_ready
from tests.e2e.harness.command import UNREACHED, Output, kubectl
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import SMALL, JSONObject
from tests.e2e.harness.waiting import wait_for

NAME = "executioner"
# The processes that run an entry file within the cgroup of one pod; cgroup drivers spell UIDs with - or _.
FIND = """
for folder in /proc/[0-9]*; do
  [ -r "$folder/cgroup" ] || continue
  grep -qsE "pod$1" "$folder/cgroup" || continue
  tr '\\0' ' ' < "$folder/cmdline" | grep -qF "$2" && echo "${folder#/proc/}"
done
true
"""


@dataclass(frozen=True, slots=True)
class Aim:
    """A pod of the installation, and its process as the node counts."""

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
        """Finds the reconciler that leads; waits until there is one, and it is ready."""
        return await wait_for(self._found, "a reconciler that leads and is ready")

    async def _found(self) -> Aim | None:
        pod = await self._leader()
        return await self._aim_at(pod, "reconciler.py") if pod is not None else None

    async def aim_at_gateway(self) -> Aim:
        """Finds a gateway; waits until one is ready."""

        async def found() -> Aim | None:
            query = {"labelSelector": "app.kubernetes.io/name=ossa-gateway"}
            listed = await self.cluster.api.get(paths.core("pods", self.cluster.system_namespace), query)
            aims = [await self._aim_at(pod, "gateway.py") for pod in listed["items"]]
            return next((aim for aim in aims if aim is not None), None)

        return await wait_for(found, "a gateway that is ready")

    async def _aim_at(self, pod: JSONObject, entry: str) -> Aim | None:
        if not is_ready(pod):
            return None
        pattern = pod["metadata"]["uid"].replace("-", "[-_]")
        processes = (await self._exec("/bin/sh", "-c", FIND, "find", pattern, entry)).split()
        # One that has just died is ready still, as long as nobody has looked.
        return Aim(pod["metadata"]["name"], processes[0]) if len(processes) == 1 else None

    async def kill(self, aim: Aim) -> None:
        """SIGKILL. Its Deployment starts another one; the dead pod is removed, so that no restart back-off counts."""
        await self.signal(aim, "KILL")
        await kubectl(
            "-n", self.cluster.system_namespace, "delete", "pod", aim.pod, "--force", "--grace-period=0", "--wait=false"
        )

    async def signal(self, aim: Aim, name: str) -> None:
        """STOP, CONT and the like."""
        # `kill` is the shell's own.
        await self._exec("/bin/sh", "-c", f"kill -{name} {aim.process}", done="No such process")

    async def _exec(self, *command: str, done: str = "") -> str:
        """done: an error by which a command that is tried again shows that it was carried out the first time."""
        unreached = False

        async def tried() -> Output | None:
            nonlocal unreached
            answer = await self.namespace.kubectl("exec", NAME, "--", *command)
            if UNREACHED in answer.err:
                unreached = True
                return None
            return replace(answer, code=0) if unreached and done and done in answer.err else answer

        return (await self.namespace.wait(tried, f"{NAME} to be reached", patience=30)).ok()

    async def _runs(self) -> bool:
        try:
            pod = await self.cluster.api.get(paths.core("pods", self.namespace.name, NAME))
        except NotFound:
            return False
        return bool((pod.get("status") or {}).get("phase") == "Running")

    async def _leader(self) -> JSONObject | None:
        name = await self.cluster.leader()
        try:
            return await self.cluster.api.get(paths.core("pods", self.cluster.system_namespace, name)) if name else None
        except NotFound:
            return None
