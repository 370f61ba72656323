"""As much of an API server as controllers need: objects with versions, optimistic locks, watches. No kubelet.

What the cluster's own does is the end-to-end tests' part; here a test decides at which request a controller dies.
"""

from __future__ import annotations

import asyncio
import copy
import itertools
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from ossa.kube.config import KubeConfig

JSONObject = dict[str, Any]


def failure(code: int, reason: str, message: str = "") -> web.Response:
    """A Status object, as the API server answers."""
    body = {"kind": "Status", "status": "Failure", "code": code, "reason": reason, "message": message or reason}
    return web.json_response(body, status=code)


class ApiServer:
    """Objects by their paths. `created` is called with the collection and each new object."""

    def __init__(self) -> None:
        self.objects: dict[str, JSONObject] = {}
        self.created: Callable[[str, JSONObject], None] = lambda _, __: None
        self._versions = itertools.count(1)
        self._version = 0
        self._events: list[tuple[int, str, str, JSONObject]] = []  # version, collection, type, object
        self._news = asyncio.Event()

    def put(self, collection: str, item: JSONObject, kind: str = "MODIFIED") -> JSONObject:
        """Keeps an object as it is now, with a new version."""
        item = copy.deepcopy(item)
        self._version = next(self._versions)
        item["metadata"]["resourceVersion"] = str(self._version)
        self.objects[f"{collection}/{item['metadata']['name']}"] = item
        self._tell(collection, kind, item)
        return item

    def create(self, collection: str, item: JSONObject) -> JSONObject:
        """Keeps a new object."""
        metadata = {
            "uid": f"uid-{item['metadata']['name']}-{len(self._events)}",
            "generation": 1,
            "creationTimestamp": "2026-01-01T12:00:00Z",
            **item["metadata"],
        }
        made = self.put(collection, {**item, "metadata": metadata}, "ADDED")
        self.created(collection, made)
        return made

    def remove(self, path: str) -> JSONObject | None:
        """Drops an object; None where there is none."""
        item = self.objects.pop(path, None)
        if item is not None:
            self._version = next(self._versions)
            item["metadata"]["resourceVersion"] = str(self._version)
            self._tell(path.rsplit("/", 1)[0], "DELETED", item)
        return item

    def of(self, collection: str) -> list[JSONObject]:
        """All objects of a collection; for all namespaces where it names none."""
        return [item for path, item in self.objects.items() if _holds(collection, path.rsplit("/", 1)[0])]

    @asynccontextmanager
    async def served(self) -> AsyncIterator[KubeConfig]:
        """On a local port."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        host, port = runner.addresses[0][:2]
        try:
            yield KubeConfig(server=f"http://{host}:{port}", token=lambda: "token", namespace="lab")
        finally:
            await runner.cleanup()

    def _tell(self, collection: str, kind: str, item: JSONObject) -> None:
        self._events.append((self._version, collection, kind, copy.deepcopy(item)))
        self._news.set()
        self._news = asyncio.Event()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        path = request.path
        match request.method:
            case "GET" if request.query.get("watch"):
                return await self._watch(request)
            case "GET" if path in self.objects:
                return web.json_response(self.objects[path])
            case "GET" if _is_collection(path):
                return web.json_response(self._list(path))
            case "POST":
                return self._post(path, await request.json())
            case "PUT" if path in self.objects:
                item = await request.json()
                if item["metadata"]["resourceVersion"] != self.objects[path]["metadata"]["resourceVersion"]:
                    return failure(409, "Conflict")
                return web.json_response(self.put(path.rsplit("/", 1)[0], item))
            case "PATCH" if request.content_type == "application/apply-patch+yaml":
                return self._apply(path, await request.json())
            case "PATCH":
                return self._patch(path, await request.json())
            case "DELETE":
                return self._delete(path, await request.json() if request.can_read_body else {})
        return failure(404, "NotFound", path)

    def _list(self, path: str) -> JSONObject:
        items = self.of(path)
        kind = {"apiVersion": items[0]["apiVersion"], "kind": f"{items[0]['kind']}List"} if items else {}
        return {**kind, "metadata": {"resourceVersion": str(self._version)}, "items": items}

    async def _watch(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        seen = int(request.query["resourceVersion"])
        while True:
            news = self._news
            for version, collection, kind, item in self._events:
                if version > seen and _holds(request.path, collection):
                    await response.write(json.dumps({"type": kind, "object": item}).encode() + b"\n")
            seen = self._version
            await news.wait()

    def _post(self, path: str, item: JSONObject) -> web.Response:
        if f"{path}/{item['metadata']['name']}" in self.objects:
            return failure(409, "AlreadyExists")
        return web.json_response(self.create(path, item), status=201)

    def _apply(self, path: str, item: JSONObject) -> web.Response:
        """All of an object is applied by one; the generation counts changes of its spec."""
        collection, old = path.rsplit("/", 1)[0], self.objects.get(path)
        if old is None:
            return web.json_response(self.create(collection, item), status=201)
        kept = {field: old["metadata"][field] for field in ("uid", "creationTimestamp", "resourceVersion")}
        generation = old["metadata"]["generation"] + (old.get("spec") != item.get("spec"))
        made = {**old, **item, "metadata": {**item["metadata"], **kept, "generation": generation}}
        return web.json_response(old if made == old else self.put(collection, made))

    def _delete(self, path: str, options: JSONObject) -> web.Response:
        wanted = (options.get("preconditions") or {}).get("uid")
        if path in self.objects and wanted not in (None, self.objects[path]["metadata"]["uid"]):
            return failure(409, "Conflict")
        return web.json_response({}) if self.remove(path) else failure(404, "NotFound")

    def _patch(self, path: str, operations: list[JSONObject]) -> web.Response:
        """RFC 6902, the only kind of patch that is asked for here; the first operation is the lock, or a test."""
        path = path.removesuffix("/status")
        if path not in self.objects:
            return failure(404, "NotFound")
        item = copy.deepcopy(self.objects[path])
        lock = operations[0]
        field = lock["path"].removeprefix("/metadata/")
        if lock["value"] != item["metadata"][field]:
            return failure(409, "Conflict") if field == "resourceVersion" else failure(422, "Invalid")
        for operation in operations[1:]:
            _apply(item, operation)
        return web.json_response(self.put(path.rsplit("/", 1)[0], item))


def _apply(item: JSONObject, operation: JSONObject) -> None:
    *folders, last = [part.replace("~1", "/").replace("~0", "~") for part in operation["path"].split("/")[1:]]
    target = item
    for folder in folders:
        target = target[folder]
    if operation["op"] == "remove":
        del target[last]
    else:
        target[last] = operation["value"]


def _is_collection(path: str) -> bool:
    """Whether it ends with a kind, in a namespace or in the whole cluster, and not with a name."""
    group, *rest = path.strip("/").split("/")
    rest = rest[2 if group == "apis" else 1 :]
    return len(rest[2:] if len(rest) > 2 and rest[0] == "namespaces" else rest) == 1


def _holds(asked: str, collection: str) -> bool:
    """Whether a request for a collection, of one namespace or of all, is about this one."""
    if asked == collection:
        return True
    root, _, rest = collection.partition("/namespaces/")
    return bool(rest) and asked == f"{root}/{rest.split('/', 1)[1]}"


def succeeded(pod: dict[str, Any], output: dict[str, Any]) -> dict[str, Any]:
    """A pod whose container `main` has given this output."""
    state = {"terminated": {"exitCode": 0, "reason": "Completed", "message": json.dumps(output)}}
    return {**pod, "status": {"phase": "Succeeded", "containerStatuses": [{"name": "main", "state": state}]}}
