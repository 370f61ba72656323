"""A namespace of a test's own, and all that a test does in it."""

from __future__ import annotations

import textwrap
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from ossa.api.contract import API_VERSION, LABEL_MANAGED_BY, MANAGED_BY
from ossa.api.execution import Execution
from ossa.engine.states import EXECUTION_TERMINAL
from ossa.kube import paths
from ossa.kube.client import NotFound
from tests.e2e.harness import objects
from tests.e2e.harness.cluster import Cluster
from tests.e2e.harness.command import Output, kubectl, ossa
from tests.e2e.harness.diagnosis import diagnose
from tests.e2e.harness.objects import JSONObject
from tests.e2e.harness.waiting import PATIENCE, wait_for

APPLY_PATCH = "application/apply-patch+yaml"  # JSON is YAML
GROUPS: dict[str, Callable[..., str]] = {API_VERSION: paths.ossa, "v1": paths.core, "apps/v1": paths.apps}
T = TypeVar("T")
RBAC = "rbac.authorization.k8s.io/v1"


@dataclass(frozen=True, slots=True)
class Namespace:
    """One namespace of the shared cluster."""

    name: str
    cluster: Cluster

    # --- objects --------------------------------------------------------------------------------------------

    async def apply(self, *items: JSONObject) -> None:
        """Server-side apply, in the order given."""
        for item in items:
            await self.cluster.api.patch(
                self._path_of(item), item, content_type=APPLY_PATCH, params={"fieldManager": "e2e", "force": "true"}
            )

    async def get(self, plural: str, name: str) -> JSONObject:
        """An Agent, Workflow or Execution: `get("agents", "a")`."""
        return await self.cluster.api.get(paths.ossa(plural, self.name, name))

    async def delete(self, plural: str, name: str) -> None:
        """Deletes an Agent, Workflow or Execution."""
        await self.cluster.api.delete(paths.ossa(plural, self.name, name))

    async def kubectl(self, *arguments: str, objects: list[JSONObject] | None = None) -> Output:
        """`kubectl -n NAMESPACE ARGUMENTS`."""
        return await kubectl("-n", self.name, *arguments, objects=objects)

    async def kubectl_apply(self, *items: JSONObject) -> Output:
        """`kubectl apply` of the objects, as a user does it."""
        return await self.kubectl("apply", "-f", "-", objects=list(items))

    async def ossa(self, command: str, *arguments: str) -> Output:
        """`ossa COMMAND -n NAMESPACE ARGUMENTS`."""
        return await ossa(command, "-n", self.name, *arguments)

    # --- agents ---------------------------------------------------------------------------------------------

    def shell_agent(self, name: str, script: str, **more: Any) -> JSONObject:
        """An Agent that runs a shell script; `more`: takes, gives, image, resources, pod (a PodSpec to start from)."""
        runtime = {
            "container": {
                "image": more.pop("image", self.cluster.shell_image),
                "command": ["/bin/sh", "-euc"],
                "args": [textwrap.dedent(script)],
            },
            "resources": more.pop("resources", objects.SMALL),
            # A shell as process 1 ignores SIGTERM: without this each deletion takes half a minute.
            "podTemplate": {"spec": {"terminationGracePeriodSeconds": 1, **more.pop("pod", {})}},
        }
        return objects.agent(name, runtime, **more)

    async def publish_podless(self) -> None:
        """The Workflow `flow`, whose one task is skipped: an Execution needs no pod, and ends once that is decided."""
        flow = objects.workflow("flow", [objects.task("none", "worker", when="${{ false }}")])
        await self.apply(self.shell_agent("worker", "true"), flow)
        published = "to be published"
        await self.settles("workflows", "flow", lambda status: status["phase"] == "Published", published)

    def sdk_agent(self, name: str, source: str, **more: Any) -> list[JSONObject]:
        """An Agent whose handler is Python `source` with a function `run(task)`, and the ConfigMap that holds it.

        `more`: takes, gives, resources.
        """
        environment = {"OSSA_AGENTS_PATH": "/handlers", "OSSA_HANDLER": "custom:run"}
        main = {
            "name": "main",
            "env": [{"name": key, "value": value} for key, value in environment.items()],
            "volumeMounts": [{"name": "handlers", "mountPath": "/handlers", "readOnly": True}],
        }
        files = {"name": f"{name}-handler", "items": [{"key": "handler.py", "path": "custom/handler.py"}]}
        pod = {"containers": [main], "volumes": [{"name": "handlers", "configMap": files}]}
        held = {
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": {"name": files["name"]},
            "data": {"handler.py": textwrap.dedent(source)},
        }
        runtime = {
            "container": {"image": self.cluster.worker_image},
            "resources": more.pop(
                "resources", {"requests": {"cpu": "20m", "memory": "48Mi"}, "limits": {"memory": "256Mi"}}
            ),
            "podTemplate": {"spec": {"terminationGracePeriodSeconds": 1, **pod}},
        }
        return [held, objects.agent(name, runtime, **more)]

    # --- executions -----------------------------------------------------------------------------------------

    async def execution(self, name: str) -> Execution:
        """An Execution as it is now."""
        return Execution.model_validate(await self.get("executions", name))

    async def execution_names(self) -> set[str]:
        """Names of all Executions there are."""
        listed = await self.cluster.api.get(paths.ossa("executions", self.name))
        return {item["metadata"]["name"] for item in listed["items"]}

    async def start(self, of: str, inputs: JSONObject | None = None, *, name: str = "run") -> None:
        """Creates an Execution of the workflow `of`."""
        await self.cluster.api.post(paths.ossa("executions", self.name), objects.execution(name, of, inputs))

    async def reaches(
        self, name: str, reached: Callable[[Execution], bool], what: str, *, patience: float = PATIENCE
    ) -> Execution:
        """The Execution once it is there, and `reached` is true of it: what the gateway accepts may be made later."""

        async def look() -> Execution | None:
            try:
                found = await self.execution(name)
            except NotFound:
                return None
            return found if reached(found) else None

        return await self.wait(look, f"execution {name}: {what}", patience=patience)

    async def appears(self, name: str) -> Execution:
        """The Execution once it is there."""
        return await self.reaches(name, lambda _: True, "to be made")

    async def ends(self, name: str = "run", *, patience: float = PATIENCE) -> Execution:
        """The Execution once it has ended, well or not."""
        return await self.reaches(
            name, lambda found: found.status.phase in EXECUTION_TERMINAL, "to end", patience=patience
        )

    async def completes(self, name: str = "run", *, patience: float = PATIENCE) -> Execution:
        """The Execution once it is Completed. Raises AssertionError with all details where it Failed."""
        ended = await self.ends(name, patience=patience)
        assert ended.status.phase == "Completed", f"{ended.status.message}\n{await self.diagnosis()}"
        return ended

    async def fails(self, name: str = "run", *, reason: str, patience: float = PATIENCE) -> Execution:
        """The Execution once it has Failed for this reason. Raises AssertionError with all details otherwise."""
        ended = await self.ends(name, patience=patience)
        error = ended.status.error
        failed_so = error is not None and error.reason == reason
        assert ended.status.phase == "Failed", await self.diagnosis()
        assert failed_so, f"failed, but not for {reason}: {error}\n{await self.diagnosis()}"
        return ended

    async def run(self, *items: JSONObject, inputs: JSONObject | None = None, name: str = "run") -> None:
        """Applies agents and one Workflow, and starts an Execution of it; `ends` and the like wait for it."""
        await self.apply(*items)
        of = next(item["metadata"]["name"] for item in items if item["kind"] == "Workflow")
        await self.start(of, inputs, name=name)

    # --- what is to be seen ---------------------------------------------------------------------------------

    async def wait(self, look: Callable[[], Awaitable[T | None]], what: str, *, patience: float = PATIENCE) -> T:
        """`wait_for` that tells how things stand in this namespace where the time is over."""
        return await wait_for(look, what, timeout=patience, explain=self.diagnosis)

    async def settles(
        self, plural: str, name: str, settled: Callable[[JSONObject], bool], what: str, *, patience: float = PATIENCE
    ) -> JSONObject:
        """The status of an object once it is of the current generation and `settled` is true of it."""

        async def look() -> JSONObject | None:
            found = await self.get(plural, name)
            status: JSONObject = found.get("status") or {}
            current = status.get("observedGeneration") == found["metadata"]["generation"]
            return status if current and settled(status) else None

        return await self.wait(look, f"{plural}/{name}: {what}", patience=patience)

    async def pods(self) -> list[JSONObject]:
        """The worker pods here."""
        listed = await self.cluster.api.get(
            paths.core("pods", self.name), {"labelSelector": f"{LABEL_MANAGED_BY}={MANAGED_BY}"}
        )
        return list(listed["items"])

    async def events_of(self, kind: str, name: str) -> list[JSONObject]:
        """The Kubernetes Events of an object, oldest first."""
        selector = f"involvedObject.kind={kind},involvedObject.name={name}"
        listed = await self.cluster.api.get(paths.core("events", self.name), {"fieldSelector": selector})
        return sorted(listed["items"], key=lambda item: int(item["metadata"]["resourceVersion"]))

    async def event(self, kind: str, name: str, reason: str) -> str:
        """The message of the first Event of an object with this reason, once it is there."""

        async def look() -> str | None:
            found = (item for item in await self.events_of(kind, name) if item["reason"] == reason)
            return next((str(item["message"]) for item in found), None)

        return await self.wait(look, f"an Event {reason} of {kind} {name}", patience=30)

    async def is_gone(self, pod: str) -> None:
        """Waits until a pod is gone."""

        async def look() -> bool:
            try:
                await self.cluster.api.get(paths.core("pods", self.name, pod))
            except NotFound:
                return True
            return False

        await self.wait(look, f"pod {pod} to be gone")

    async def diagnosis(self) -> str:
        """How things stand here, for a person."""
        return await diagnose(self.cluster.api, self.name)

    def _path_of(self, item: JSONObject) -> str:
        plural, version = f"{item['kind'].lower()}s", item["apiVersion"]
        if version == RBAC:
            return f"/apis/{RBAC}/namespaces/{self.name}/{plural}/{item['metadata']['name']}"
        return GROUPS[version](plural, self.name, item["metadata"]["name"])
