"""Images from buildah's store into containerd's, layer by layer: what is there already is not copied again."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

from . import base, paths
from .steps import Failure, Job

CTR = ("ctr", "--address", str(paths.CONTAINERD_SOCKET), "--namespace", "k8s.io")
_LAYOUT = paths.CACHE / "oci"
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def loaded(job: Job) -> dict[str, str]:
    """The images that containerd has, each with its digest."""
    lines = job.run([*CTR, "images", "ls"]).splitlines()[1:]
    return {fields[0]: fields[2] for fields in (line.split() for line in lines) if fields}


def load(job: Job, reference: str) -> None:
    """Bring an image over, unless containerd has exactly it."""
    # Uncompressed, so that a layer's digest is known before it is written, and neither side packs or unpacks for nothing.
    job.run(base.buildah("push", "--quiet", "--disable-compression", "--format", "oci", reference,
                         f"oci:{_LAYOUT}:{reference}"))  # fmt: skip
    manifest = _manifest(reference)
    if loaded(job).get(reference) == manifest["digest"]:
        job.note = job.note or "current"
        return
    _import(job, reference, manifest, {})
    _prune()


def load_single_file(job: Job, reference: str, program: Path) -> None:
    """An image that holds one static program and nothing else."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as archive:
        entry = tarfile.TarInfo(program.name)
        entry.size, entry.mode = program.stat().st_size, 0o755
        with program.open("rb") as content:
            archive.addfile(entry, content)
    blobs: dict[str, bytes] = {}

    def blob(kind: str, content: bytes) -> dict[str, Any]:
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        blobs[digest] = content
        return {"mediaType": kind, "digest": digest, "size": len(content)}

    layer_blob = blob(_LAYER, layer.getvalue())
    config = {"architecture": "amd64", "os": "linux", "config": {"Entrypoint": [f"/{program.name}"]},
              "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]}}  # fmt: skip
    body = {"schemaVersion": 2, "mediaType": _MANIFEST, "config": blob(_CONFIG, json.dumps(config).encode()),
            "layers": [layer_blob]}  # fmt: skip
    _import(job, reference, blob(_MANIFEST, json.dumps(body).encode()), blobs)


def _manifest(reference: str) -> dict[str, Any]:
    index = json.loads((_LAYOUT / "index.json").read_text())
    for entry in index["manifests"]:
        if entry.get("annotations", {}).get("org.opencontainers.image.ref.name") == reference:
            found: dict[str, Any] = entry
            return found
    raise Failure(f"buildah wrote no image {reference}")


def _blob(digest: str) -> Path:
    return _LAYOUT / "blobs" / "sha256" / digest.removeprefix("sha256:")


def _import(job: Job, reference: str, manifest: dict[str, Any], blobs: dict[str, bytes]) -> None:
    """Hand containerd an archive of the image that leaves out the layers that it has."""
    content = blobs.get(manifest["digest"]) or _blob(manifest["digest"]).read_bytes()
    body = json.loads(content)
    there = set(job.run([*CTR, "content", "ls", "--quiet"]).split())
    needed = [body["config"]["digest"], *(layer["digest"] for layer in body["layers"])]
    annotated = {**manifest, "annotations": {"io.containerd.image.name": reference}}
    archive = paths.DEV / "image.tar"
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [annotated]}).encode())
        _add(tar, f"blobs/{manifest['digest'].replace(':', '/')}", content)
        for digest in dict.fromkeys(needed):
            name = f"blobs/{digest.replace(':', '/')}"
            if digest in blobs:
                _add(tar, name, blobs[digest])
            elif digest not in there:
                tar.add(_blob(digest), name)
    try:
        job.run([*CTR, "images", "import", archive], sentence=f"containerd could not import {reference}")
    finally:
        archive.unlink()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))


def _prune() -> None:
    """Keep the newest image of each name; layers that no image names go."""
    index_file = _LAYOUT / "index.json"
    newest: dict[str, dict[str, Any]] = {}
    for entry in json.loads(index_file.read_text())["manifests"]:
        name = entry.get("annotations", {}).get("org.opencontainers.image.ref.name", "").rpartition(":")[0]
        newest[name] = entry  # buildah appends
    used = set()
    for entry in newest.values():
        body = json.loads(_blob(entry["digest"]).read_bytes())
        used |= {entry["digest"], body["config"]["digest"], *(layer["digest"] for layer in body["layers"])}
    paths.write(index_file, json.dumps({"schemaVersion": 2, "manifests": list(newest.values())}))
    for blob in (_LAYOUT / "blobs" / "sha256").iterdir():
        if f"sha256:{blob.name}" not in used:
            blob.unlink()
