"""The artifact service over HTTP.

PUT /v1/artifacts stores a body and answers with its reference; GET /v1/artifacts/ID hands it out, to pods
of tasks. PUT /v1/namespaces/NAMESPACE/executions/UID/artifacts and GET …/artifacts/ID do so to whom the cluster
allows it: the operator stores, persons read.
Nothing is ever written over. Errors are problem objects (RFC 9457) whose `detail` says what to do.
"""

from __future__ import annotations

import asyncio
import json
import logging
import os
import re
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from aiohttp import web

from ossa.api.artifact import VALUE_MEDIA_TYPE, ArtifactRef
from ossa.api.contract import ARTIFACTS_PATH, EXECUTION_ARTIFACTS_PATH, VALUE_LIMIT
from ossa.logs import log_about
from ossa.store.access import OPERATOR, Access, Identities, Remembered, TaskPod, Verb, is_safe_name, referred
from ossa.store.blobs import Blobs, Folder, Record
from ossa.store.errors import BadRequest, Forbidden, NotFound, TimedOut, TooLarge, Unavailable, WrittenOver
from ossa.store.http import InFlight, middleware
from ossa.store.metrics import Metrics
from ossa.store.signing import NONCE_SIZE, Signer, Writer, nonce_of

CHUNK_SIZE = 1 << 20
# A caller that sends nothing for so long has died without saying so. Seconds.
BODY_TIMEOUT = 120.0
# Seconds, and values, of which the service keeps what they refer to: a task reads all of it one after the other.
VALUE_TTL, VALUES_KEPT = 60.0, 8
DEFAULT_MEDIA_TYPE = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w!#$&^.+-]+/[\w!#$&^.+-]+( *; *[\w-]+=(\"[^\"\\]*\"|[\w!#$&^.+-]+))*")
# What `curl --data-binary` says when it is told nothing; nobody stores a form.
_UNSAID = ("", "application/x-www-form-urlencoded")
TOKEN_HEADER = "X-Ossa-Token"  # noqa: S105 - a header's name; the API server's proxy takes Authorization away

_log = logging.getLogger("ossa.store.service")


@dataclass(slots=True, kw_only=True)
class Service:
    """The handlers and what they need. `max_size` in bytes; `draining` makes it not ready."""

    blobs: Blobs
    access: Access
    signer: Signer
    max_size: int
    metrics: Metrics = field(default_factory=Metrics)
    body_timeout: float = BODY_TIMEOUT
    draining: bool = False
    in_flight: InFlight = field(default_factory=InFlight)
    _identities: Identities = field(init=False)
    _ids: Remembered[frozenset[str]] = field(init=False)

    def __post_init__(self) -> None:
        self._identities = Identities(self.access)
        self._ids = Remembered(VALUE_TTL, time.monotonic, size=VALUES_KEPT)
        self.metrics.in_flight.set_function(lambda: len(self.in_flight))

    def app(self) -> web.Application:
        """The aiohttp application."""
        app = web.Application(middlewares=[middleware(self.metrics, self.in_flight)])
        for path, put, get in (
            (ARTIFACTS_PATH, self._put, self._get),
            (EXECUTION_ARTIFACTS_PATH, self._put_for_execution, self._get_of_execution),
        ):
            one = path + "/{id}"
            app.router.add_put(path, put)
            app.router.add_get(one, get, allow_head=False)
            for method in ("PUT", "POST", "PATCH", "DELETE"):
                app.router.add_route(method, one, self._refuse_change)
        app.router.add_get("/healthz", self._healthz)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics)
        return app

    async def _put(self, request: web.Request) -> web.Response:
        pod = await self._pod(request)
        return await self._store(request, pod.writer, pod=pod.name, task=pod.task)

    async def _put_for_execution(self, request: web.Request) -> web.Response:
        folder = await self._folder_for(request, "create")
        writer = Writer(namespace=folder.namespace, execution_uid=folder.execution_uid, pod_uid=OPERATOR)
        return await self._store(request, writer, pod="", task="")

    async def _store(self, request: web.Request, writer: Writer, *, pod: str, task: str) -> web.Response:
        media_type = _media_type(request)
        if request.content_length is not None and request.content_length > self.max_size:
            raise TooLarge(f"an artifact may have {self.max_size} bytes, and this one has {request.content_length}")
        folder = Folder(writer.namespace, writer.execution_uid)
        nonce = os.urandom(NONCE_SIZE)
        written = await self.blobs.write(folder, nonce, self._body(request), max_size=self.max_size)
        if request.content_length is not None and written.size != request.content_length:
            raise BadRequest(f"{request.content_length} bytes were announced and {written.size} came")
        ref = self.signer.issue(writer, nonce=nonce, size=written.size, sha256=written.sha256, media_type=media_type)
        record = Record(
            pod_uid=writer.pod_uid,
            pod=pod,
            task=task,
            size=ref.size,
            sha256=ref.sha256,
            media_type=ref.media_type,
        )
        await self.blobs.commit(folder, nonce, record)
        self.metrics.bytes.labels("in").inc(ref.size)
        whose = f"the task {task}" if task else "the operator"
        _log.info("stored %d bytes of %s in %s as %s", ref.size, whose, folder.path(), ref.id)
        return web.json_response(ref.to_json(), status=201)

    async def _within(self, pod: TaskPod, artifact_id: str) -> bool:
        """Whether a value that the pod was given by reference holds a reference to the artifact."""
        for outer in pod.values:
            ids = self._ids.get(outer)
            if ids is None:
                ids = await self._ids_of(pod, outer)
                self._ids.put(outer, ids)
            if artifact_id in ids:
                return True
        return False

    async def _ids_of(self, pod: TaskPod, artifact_id: str) -> frozenset[str]:
        nonce = _nonce(artifact_id)
        folder, found = await self._find(nonce, pod.writer.namespace, pod.writer.execution_uid, pod.lineage)
        record = self._issued(artifact_id, folder, found)
        # Of what a task has written anything may be said to be a value.
        if record.pod_uid != OPERATOR or record.media_type != VALUE_MEDIA_TYPE or record.size > VALUE_LIMIT:
            return frozenset()
        content = b"".join([chunk async for chunk in self.blobs.read(folder, nonce)])
        return await asyncio.to_thread(lambda: referred(json.loads(content)))

    async def _get(self, request: web.Request) -> web.StreamResponse:
        pod = await self._pod(request)
        artifact_id = request.match_info["id"]
        nonce = _nonce(artifact_id)
        folder, record = await self._find(nonce, pod.writer.namespace, pod.writer.execution_uid, pod.lineage)
        # Whether it exists is nobody's business who may not read it.
        mine = record is not None and record.pod_uid == pod.writer.pod_uid
        if artifact_id not in pod.received and not mine and not await self._within(pod, artifact_id):
            raise Forbidden(
                f"the task {pod.task!r} neither wrote the artifact {artifact_id} nor has it in its input; "
                "pass its reference on in the workflow"
            )
        return await self._send(request, folder, nonce, self._issued(artifact_id, folder, record))

    async def _get_of_execution(self, request: web.Request) -> web.StreamResponse:
        own = await self._folder_for(request, "get")
        namespace, uid = own.namespace, own.execution_uid
        artifact_id = request.match_info["id"]
        nonce = _nonce(artifact_id)
        folder, record = await self._find(nonce, namespace, uid, self._identities.known_lineage(namespace, uid))
        if record is None:
            others = await self._identities.lineage(namespace, uid)
            folder, record = await self._find(nonce, namespace, uid, others)
        return await self._send(request, folder, nonce, self._issued(artifact_id, folder, record))

    async def _folder_for(self, request: web.Request, verb: Verb) -> Folder:
        """The Execution that the path names, where the cluster lets the caller do this to its artifacts."""
        caller = await self._identities.caller(_token(request))
        namespace, uid = request.match_info["namespace"], request.match_info["uid"]
        if not (is_safe_name(namespace) and is_safe_name(uid)):
            raise BadRequest("the path has no namespace, or no UID of an execution")
        await self._identities.require(caller, verb, namespace)
        log_about({"namespace": namespace, "uid": uid})
        return Folder(namespace, uid)

    async def _find(
        self, nonce: bytes, namespace: str, uid: str, lineage: tuple[str, ...]
    ) -> tuple[Folder, Record | None]:
        """Where an artifact of an Execution lies: in its own folder, or in one that it has taken over."""
        own = Folder(namespace, uid)
        record = await self.blobs.record(own, nonce)
        for other in lineage:
            if record is not None:
                break
            folder = Folder(namespace, other)
            record = await self.blobs.record(folder, nonce)
            if record is not None:
                return folder, record
        return own, record

    async def _refuse_change(self, request: web.Request) -> web.Response:
        raise WrittenOver(
            f"artifacts are never written over: {request.method} is not possible here; store a new one with "
            "PUT /v1/artifacts"
        )

    async def _healthz(self, _: web.Request) -> web.Response:
        return web.Response(text="ok")

    async def _readyz(self, _: web.Request) -> web.Response:
        if self.draining:
            raise Unavailable("shutting down")
        await self.blobs.check()
        return web.Response(text="ok")

    async def _metrics(self, _: web.Request) -> web.Response:
        return web.Response(body=self.metrics.text(), headers={"Content-Type": "text/plain; version=0.0.4"})

    async def _pod(self, request: web.Request) -> TaskPod:
        pod = await self._identities.task_pod(await self._identities.caller(_token(request)))
        log_about(pod.about)
        return pod

    async def _body(self, request: web.Request) -> AsyncIterator[bytes]:
        while True:
            try:
                async with asyncio.timeout(self.body_timeout):
                    chunk = await request.content.read(CHUNK_SIZE)
            except TimeoutError as error:
                raise TimedOut(f"no byte came for {self.body_timeout:g} s") from error
            if not chunk:
                return
            yield chunk

    def _issued(self, artifact_id: str, folder: Folder, record: Record | None) -> Record:
        if record is None:
            raise NotFound(f"there is no artifact {artifact_id} in the execution {folder.path()}")
        ref = ArtifactRef(id=artifact_id, size=record.size, sha256=record.sha256, media_type=record.media_type)
        if not self.signer.verify(
            ref, namespace=folder.namespace, execution_uid=folder.execution_uid, pod_uid=record.pod_uid
        ):
            raise Forbidden(f"the ID {artifact_id} was not issued by this service")
        return record

    async def _send(self, request: web.Request, folder: Folder, nonce: bytes, record: Record) -> web.StreamResponse:
        chunks = self.blobs.read(folder, nonce)
        first = await anext(chunks, b"")
        response = web.StreamResponse(headers={"Content-Type": record.media_type, "ETag": f'"{record.sha256}"'})
        # A task chose the type: no browser is to run it.
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Content-Disposition"] = "attachment"
        response.content_length = record.size
        await response.prepare(request)
        await response.write(first)
        async for chunk in chunks:
            await response.write(chunk)
        await response.write_eof()
        self.metrics.bytes.labels("out").inc(record.size)
        return response


def _token(request: web.Request) -> str | None:
    if TOKEN_HEADER in request.headers:
        return request.headers[TOKEN_HEADER]
    scheme, _, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else None


def _nonce(artifact_id: str) -> bytes:
    nonce = nonce_of(artifact_id)
    if nonce is None:
        raise BadRequest(f"{artifact_id[:64]!r} is no ID of an artifact; take the one in `$artifact` of a reference")
    return nonce


def _media_type(request: web.Request) -> str:
    said = request.headers.get("Content-Type", "").strip()
    if said in _UNSAID:
        return DEFAULT_MEDIA_TYPE
    if len(said) > 128 or _MEDIA_TYPE.fullmatch(said) is None:
        raise BadRequest(f"Content-Type {said[:64]!r} is no media type of at most 128 characters")
    return said
