"""`ossa download`: fetches what an Execution's outputs refer to from the artifact service."""

from __future__ import annotations

import json
import mimetypes
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from ossa.api.artifact import ArtifactRef, is_reference
from ossa.api.contract import ARTIFACTS_AUDIENCE, EXECUTION_ARTIFACTS_PATH
from ossa.api.problem import problem_detail
from ossa.cli.outcome import Stop
from ossa.cli.session import Session, get_execution
from ossa.kube.errors import ApiError
from ossa.kube.paths import core

TOKEN_SECONDS = 600
# What the platform's own agents write, independent of the mime tables of the machine.
EXTENSIONS = {
    "application/json": ".json",
    "text/markdown": ".md",
    "image/png": ".png",
    "text/plain": ".txt",
    "text/csv": ".csv",
    "application/octet-stream": ".bin",
}


@dataclass(frozen=True, slots=True)
class Source:
    """Where the artifact service is, and as whom it is read."""

    system_namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class Found:
    """An artifact reference, and the keys that lead to it in the outputs."""

    keys: tuple[str, ...]
    ref: ArtifactRef


async def download(session: Session, name: str, *, to: Path, source: Source, as_json: bool) -> None:
    """Write every artifact of the outputs to a file in `to`, and print the paths.

    Raises Stop where there are no outputs, the service refuses, or the content is not what was promised.
    """
    execution = await get_execution(session, name)
    outputs = execution.status.outputs
    if outputs is None:
        raise Stop(
            f"Execution '{name}' has no outputs: it is {execution.status.phase}. They are there once it is "
            f"Completed: ossa watch {name}"
        )
    found = list(references(outputs))
    if not found and not as_json:
        print(f"The outputs of '{name}' refer to no artifacts; they are all in its status.")
    token = await _token(session, source.service_account) if found else ""
    written = []
    for file_name, item in zip(file_names(found), found, strict=True):
        artifacts = EXECUTION_ARTIFACTS_PATH.format(namespace=session.namespace, uid=execution.metadata.uid)
        content = await _fetch(session, f"{artifacts}/{item.ref.id}", token=token, source=source)
        _check(content, item)
        target = _write(to / file_name, content)
        written.append({"path": str(target), "output": ".".join(item.keys), **item.ref.to_json()})
        if not as_json:
            print(target, flush=True)
    if as_json:
        print(json.dumps(written, indent=2))


def references(value: Any, keys: tuple[str, ...] = ()) -> Iterator[Found]:
    """Every artifact reference within outputs. Raises Stop for a malformed one."""
    if is_reference(value):
        try:
            yield Found(keys, ArtifactRef.model_validate(value))
        except ValidationError as error:
            first = error.errors()[0]
            raise Stop(
                f"outputs.{'.'.join(keys)} is no well-formed reference: {first['loc']}: {first['msg']}"
            ) from error
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from references(inner, (*keys, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from references(inner, (*keys, str(index)))


def file_names(found: Sequence[Found]) -> list[str]:
    """A file name each: the output's key and the extension of the media type, `report.md`.

    Where two would be the same all keys that lead there are in it: `report-draft.md`, `report-final.md`.
    """
    short = [_file_name(item.keys[:1], item.ref) for item in found]
    long = [_file_name(item.keys, item.ref) for item in found]
    times = Counter(short)
    names = [short[i] if times[short[i]] == 1 else long[i] for i in range(len(found))]
    taken: Counter[str] = Counter()
    unique = []
    for name in names:
        taken[name] += 1
        path = Path(name)
        unique.append(name if taken[name] == 1 else f"{path.stem}-{taken[name]}{path.suffix}")
    return unique


def _file_name(keys: tuple[str, ...], ref: ArtifactRef) -> str:
    # Keys come from the cluster: nothing in them may lead out of the folder, or hide the file.
    stem = re.sub(r"[^A-Za-z0-9_.-]+", "_", "-".join(keys)).strip(".") or "output"
    media_type = ref.media_type.partition(";")[0].strip().lower()
    return stem + (EXTENSIONS.get(media_type) or mimetypes.guess_extension(media_type) or ".bin")


async def _token(session: Session, service_account: str) -> str:
    """A short-lived token of the service account that is good for the artifact service alone."""
    path = core("serviceaccounts", session.namespace, service_account, "token")
    body = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"audiences": [ARTIFACTS_AUDIENCE], "expirationSeconds": TOKEN_SECONDS},
    }
    try:
        answer = await session.api.post(path, body)
    except ApiError as error:
        if error.status != 404:
            raise
        raise Stop(
            f"Service account '{service_account}' was not found in namespace '{session.namespace}'. Make one "
            f"that has the ClusterRole ossa-view (as manifests/samples/30-report-reader.yaml does), or name "
            f"another with --as-service-account"
        ) from error
    return str(answer["status"]["token"])


async def _fetch(session: Session, path: str, *, token: str, source: Source) -> bytes:
    service = core("services", source.system_namespace, "http:ossa-artifacts:8080", "proxy") + path
    try:
        # The proxy keeps the Authorization header to itself, so the token travels in one of its own.
        return b"".join([part async for part in session.api.stream(service, headers={"X-Ossa-Token": token})])
    except ApiError as error:
        advice = ""
        if error.status == 403:
            advice = f". Service account '{source.service_account}' needs the ClusterRole ossa-view"
        if error.status in (404, 503):
            advice = f". Is the artifact service up? kubectl -n {source.system_namespace} get pods"
        words = problem_detail(error.message).rstrip(".")
        raise Stop(f"The artifact service did not give the artifact ({error.status}): {words}{advice}") from error


def _check(content: bytes, item: Found) -> None:
    if not item.ref.describes(content):
        raise Stop(
            f"outputs.{'.'.join(item.keys)}: the size or digest of what the artifact service gave is not that of the "
            f"reference; it was not written"
        )


def _write(target: Path, content: bytes) -> Path:
    """The file is there whole or not at all."""
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.part")
    temporary.write_bytes(content)
    temporary.replace(target)
    return target
