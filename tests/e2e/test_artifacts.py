"""Large values by reference, and what a pod with its own token may not do with those of others."""

from __future__ import annotations

import asyncio
import base64
import json
import os
from typing import Any

import pytest

from ossa.api.artifact import ArtifactRef
from ossa.api.execution import Execution
from ossa.kube import paths
from tests.e2e.harness import Namespace, kubectl, task, wait_for, workflow
from tests.e2e.harness.gate import WAIT, open_gate
from tests.e2e.harness.objects import JSONObject, schema
from tests.e2e.harness.recorder import recorded

SIZE = 20_000_000  # bytes
ROOM = {"requests": {"cpu": "20m", "memory": "64Mi"}, "limits": {"memory": "768Mi"}}
SERVICE = "ossa-artifacts"

MAKE = f"""
import hashlib, random
from ossa.worker import File

def run(task):
    text = "".join(random.Random(task.identity.uid).choices("abcdefghijklmnop", k={SIZE}))
    raw = random.Random(7).randbytes({SIZE})
    digest = lambda content: hashlib.sha256(content).hexdigest()
    return {{"text": text, "textDigest": digest(text.encode()),
            "raw": File(raw, media_type="application/x-noise"), "rawDigest": digest(raw)}}
"""
READ = """
import hashlib

def run(task):
    text, raw = task.input["text"], task.input["raw"]
    return {"size": len(text), "textDigest": hashlib.sha256(text.encode()).hexdigest(),
            "rawDigest": hashlib.sha256(raw.read()).hexdigest(), "mediaType": raw.media_type}
"""
# What any program can do with one HTTP request and no SDK.
PUT = """
import json, os, time, urllib.error, urllib.request
with open(os.environ["OSSA_ARTIFACTS_TOKEN"]) as file:
    token = file.read()
request = urllib.request.Request(
    os.environ["OSSA_ARTIFACTS_URL"] + "/v1/artifacts",
    data=b"id,value\\n1,2\\n" * 1000,
    method="PUT",
    headers={"Authorization": "Bearer " + token, "Content-Type": "text/csv"},
)
while True:
    try:
        with urllib.request.urlopen(request) as answer:
            reference = json.load(answer)
        break
    except urllib.error.HTTPError:
        raise
    except urllib.error.URLError:  # the service is away for a moment
        time.sleep(0.5)
"""
GIVE = """
with open(os.environ["OSSA_OUTPUT"], "w") as file:
    json.dump({"table": reference}, file)
"""
OPEN = """
def run(task):
    table = task.input["table"]
    return {"lines": len(table.read().splitlines()), "mediaType": table.media_type}
"""


def python(source: str) -> str:
    """A shell script that runs Python of the standard library alone, as one in the image `python` would."""
    return f"python3 - <<'END'\n{source}\nEND\n"


def without_sdk(namespace: Namespace, name: str, *sources: str) -> JSONObject:
    """An Agent that speaks the file contract by itself."""
    script = "cat > /tmp/task.py <<'END'\n" + "\n".join(sources) + "\nEND\nexec python3 -S /tmp/task.py\n"
    found = namespace.shell_agent(name, "")
    found["spec"]["runtime"]["container"]["args"] = [script]
    return found


async def test_twenty_megabytes_by_reference(namespace: Namespace) -> None:
    output = "${{ tasks.make.output.%s }}"
    await namespace.run(
        *namespace.sdk_agent("maker", MAKE, resources=ROOM),
        *namespace.sdk_agent("reader", READ, resources=ROOM),
        workflow(
            "flow",
            [
                task("make", "maker"),
                task("read", "reader", give={"text": output % "text", "raw": output % "raw"}),
            ],
        ),
    )
    ended = await namespace.completes()
    made, read = ended.status.tasks["make"].output or {}, ended.status.tasks["read"].output or {}
    assert read["size"] == SIZE
    assert (read["textDigest"], read["rawDigest"]) == (made["textDigest"], made["rawDigest"])
    text, raw = ArtifactRef.model_validate(made["text"]), ArtifactRef.model_validate(made["raw"])
    assert text.size == SIZE + 2  # as JSON
    assert (raw.size, raw.sha256) == (SIZE, made["rawDigest"])
    assert (raw.media_type, read["mediaType"]) == ("application/x-noise", "application/x-noise")
    assert len(json.dumps(await namespace.get("executions", "run"))) < 10_000


async def test_a_put_without_the_sdk(namespace: Namespace) -> None:
    await namespace.run(
        without_sdk(namespace, "writer", PUT, GIVE),
        *namespace.sdk_agent("reader", OPEN),
        workflow(
            "flow",
            [task("write", "writer"), task("read", "reader", give={"table": "${{ tasks.write.output.table }}"})],
        ),
    )
    ended = await namespace.completes()
    assert ended.status.tasks["read"].output == {"lines": 2000, "mediaType": "text/csv"}


# --- what is refused ---

TRY = """
import json, os, time, urllib.error, urllib.request
base = os.environ["OSSA_ARTIFACTS_URL"] + "/v1/artifacts"
victim = json.load(open(os.environ["OSSA_INPUT"]))["victim"]
with open(os.environ["OSSA_ARTIFACTS_TOKEN"]) as file:
    token = file.read()

def ask(method, path, token=token):
    headers = {"Authorization": "Bearer " + token} if token else {}
    data = b"overwritten" if method != "GET" else None
    request = urllib.request.Request(base + path, data=data, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request) as answer:
            return [answer.status, ""]
    except urllib.error.HTTPError as error:
        return [error.code, json.load(error)["detail"]]
    except urllib.error.URLError:  # the service is away for a moment
        time.sleep(0.5)
        return ask(method, path, token)

forged = ("A" if victim[0] != "A" else "B") + victim[1:]
report = {
    "read": ask("GET", "/" + victim),
    "guess": ask("GET", "/" + forged),
    "nonsense": ask("GET", "/nonsense"),
    "put": ask("PUT", "/" + victim),
    "post": ask("POST", "/" + victim),
    "delete": ask("DELETE", "/" + victim),
    "nobody": ask("PUT", "", token=None),
    "garbage": ask("PUT", "", token="x.y.z"),
    "own": ask("PUT", ""),
}
with open(os.environ["OSSA_OUTPUT"], "w") as file:
    json.dump(report, file)
"""
LURE = "def run(task):\n    return {'secret': 'x' * 5000}\n"


async def an_artifact_of_another(namespace: Namespace) -> ArtifactRef:
    """What the execution `victim` has stored, in the same namespace."""
    await namespace.run(*namespace.sdk_agent("keeper", LURE), workflow("keep", [task("keep", "keeper")]), name="victim")
    ended = await namespace.completes("victim")
    return ArtifactRef.model_validate((ended.status.tasks["keep"].output or {})["secret"])


async def test_a_pod_gets_at_nothing_that_is_not_its_own(namespace: Namespace) -> None:
    victim = await an_artifact_of_another(namespace)
    await namespace.run(
        without_sdk(namespace, "thief", TRY),
        workflow("steal", [task("steal", "thief", give={"victim": "${{ inputs.id }}"})], inputs=schema(id={})),
        inputs={"id": victim.id},
    )
    ended = await namespace.completes()
    report: dict[str, list[Any]] = ended.status.tasks["steal"].output or {}
    assert {what: code for what, (code, _) in report.items()} == {
        "read": 403,
        "guess": 403,
        "nonsense": 400,
        "put": 405,
        "post": 405,
        "delete": 405,
        "nobody": 401,
        "garbage": 401,
        "own": 201,
    }
    said = {what: words for what, (_, words) in report.items()}
    assert "neither wrote the artifact" in said["read"]
    assert "pass its reference on" in said["read"]
    assert said["guess"].startswith("the task 'steal' neither wrote")  # no word about whether it exists
    assert "never written over" in said["put"]
    assert "PUT /v1/artifacts" in said["delete"]
    assert "$OSSA_ARTIFACTS_TOKEN" in said["nobody"]
    assert "audience 'ossa-artifacts'" in said["garbage"]


async def test_a_pod_of_no_task_gets_at_nothing(namespace: Namespace) -> None:
    """It has a good token for the service, but it is a user's own pod."""
    source = TRY.replace('json.load(open(os.environ["OSSA_INPUT"]))["victim"]', '"A" * 43')
    token = {"path": "token", "audience": "ossa-artifacts", "expirationSeconds": 3600}
    service = "http://ossa-artifacts.ossa-system.svc:8080"
    environment = {
        "OSSA_ARTIFACTS_URL": service,
        "OSSA_ARTIFACTS_TOKEN": "/token/token",
        "OSSA_OUTPUT": "/dev/termination-log",
    }
    main = {
        "name": "main",
        "image": namespace.cluster.worker_image,
        "command": ["/bin/sh", "-euc", python(source)],
        "env": [{"name": name, "value": value} for name, value in environment.items()],
        "volumeMounts": [{"name": "token", "mountPath": "/token"}],
    }
    spec = {
        "restartPolicy": "Never",
        "containers": [main],
        "volumes": [{"name": "token", "projected": {"sources": [{"serviceAccountToken": token}]}}],
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stranger"}, "spec": spec}
    (await namespace.kubectl_apply(pod)).ok()

    async def ended() -> JSONObject | None:
        status = (await namespace.cluster.api.get(paths.core("pods", namespace.name, "stranger")))["status"]
        state = (status.get("containerStatuses") or [{}])[0].get("state") or {}
        return state.get("terminated")

    last = await namespace.wait(ended, "the stranger to end")
    assert last["exitCode"] == 0, (await namespace.kubectl("logs", "stranger")).out
    report = json.loads(last["message"])
    assert {what: report[what][0] for what in ("read", "own", "put")} == {"read": 403, "own": 403, "put": 405}
    assert report["own"][1].endswith("is no pod of a task")


RETURN = """
forge = json.load(open(os.environ["OSSA_INPUT"]))
if forge["from"] == "own":
    reference[forge["field"]] = forge["value"]
else:
    reference = json.loads(forge["value"])
"""


async def test_a_forged_reference_is_an_invalid_output(namespace: Namespace) -> None:
    victim = await an_artifact_of_another(namespace)
    made_up = {**victim.to_json(), "$artifact": base64.urlsafe_b64encode(os.urandom(32)).rstrip(b"=").decode()}
    forgeries = {
        "made-up": ("given", "", json.dumps(made_up)),
        "of-another": ("given", "", json.dumps(victim.to_json())),
        "size": ("own", "size", 5),
        "digest": ("own", "sha256", "0" * 64),
        "type": ("own", "mediaType", "text/html"),
    }
    give = {"from": "${{ inputs.from }}", "field": "${{ inputs.field }}", "value": "${{ inputs.value }}"}
    await namespace.apply(
        without_sdk(namespace, "forger", PUT, RETURN, GIVE),
        workflow("forge", [task("forge", "forger", give=give)], inputs={"type": "object"}),
    )
    for name, (source, field, value) in forgeries.items():
        await namespace.start("forge", {"from": source, "field": field, "value": value}, name=name)
    for name in forgeries:
        ended = await namespace.fails(name, reason="InvalidOutput")
        assert ended.status.error is not None
        assert "is forged: this task neither uploaded that artifact nor received it" in ended.status.error.message


async def test_a_malformed_reference_names_the_field(namespace: Namespace) -> None:
    await namespace.run(
        without_sdk(namespace, "forger", PUT, 'reference["size"] = -1', GIVE),
        workflow("forge", [task("forge", "forger")]),
    )
    ended = await namespace.fails(reason="InvalidOutput")
    assert ended.status.error is not None
    assert "malformed at 'size'" in ended.status.error.message


# --- the service is down ---


async def scale(replicas: int) -> None:
    """The artifact service, with so many replicas: none or one."""
    (await kubectl("-n", "ossa-system", "scale", "deployment", SERVICE, f"--replicas={replicas}")).ok()


async def ready_endpoints(namespace: Namespace) -> int:
    listed = await namespace.cluster.api.get(
        f"/apis/discovery.k8s.io/v1/namespaces/{namespace.cluster.system_namespace}/endpointslices",
        {"labelSelector": f"kubernetes.io/service-name={SERVICE}"},
    )
    endpoints = [endpoint for item in listed["items"] for endpoint in item.get("endpoints") or []]
    return sum(bool(endpoint["conditions"].get("ready")) for endpoint in endpoints)


async def is_down(namespace: Namespace) -> bool:
    """No pod of it is left: one that is told to end still answers those whose connection it has."""
    selector = {"labelSelector": f"app.kubernetes.io/name={SERVICE}"}
    pods = await namespace.cluster.api.get(paths.core("pods", namespace.cluster.system_namespace), selector)
    return not pods["items"]


def waits_for_the_service(found: Execution) -> bool:
    said = "its timeout does not run while the artifact service is down"
    return all(found.status.tasks[name].message == said for name in ("upload", "download"))


@pytest.mark.usefixtures("alone")
async def test_tasks_wait_while_the_service_is_down(namespace: Namespace) -> None:
    """An outage of 30 s: one task has something to upload, another one to download, and each may run for 20 s."""
    keep = "def run(task):\n    return {'text': 'x' * 5000, 'seen': len(task.input.get('text', ''))}\n"
    text = "${{ tasks.before.output.text }}"
    await namespace.run(
        *namespace.sdk_agent("keeper", keep),
        namespace.shell_agent("gate", WAIT),
        workflow(
            "flow",
            [
                task("before", "keeper"),
                task("gate", "gate", after=["before"]),
                task("upload", "keeper", after=["gate"], timeout="20s"),
                task("download", "keeper", after=["gate"], give={"text": text}, timeout="20s"),
            ],
        ),
    )
    async with recorded(namespace.cluster.api, namespace.name) as recorder:
        await recorder.until(lambda seen: any(pod.task == "gate" for pod in seen.running()), "the gate")
        await scale(0)
        try:
            await wait_for(lambda: is_down(namespace), "the service to be down")
            await open_gate(namespace, recorder.of_task("gate")[0].name)
            await recorder.until(lambda seen: {pod.task for pod in seen.running()} == {"upload", "download"}, "both")
            waiting = await namespace.reaches("run", waits_for_the_service, "to wait for the service")
            assert waiting.status.phase == "Running"
            await _stays_down(namespace, 30)
        finally:
            await scale(1)
        ended = await namespace.completes()
    assert (ended.status.tasks["download"].output or {})["seen"] == 5000
    assert {name: held.attempt for name, held in ended.status.tasks.items()} == dict.fromkeys(
        ("before", "gate", "upload", "download"), 1
    )


async def _stays_down(namespace: Namespace, seconds: float) -> None:
    """Waits, and sees to it that nobody brings the service back meanwhile."""
    loop = asyncio.get_running_loop()
    until = loop.time() + seconds
    while loop.time() < until:
        assert await ready_endpoints(namespace) == 0
        await asyncio.sleep(1)
