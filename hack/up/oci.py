"""Images from buildah's store into containerd's: layers that are there already are not copied again."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import tarfile
from pathlib import Path
from typing import Any

from . import base, layers, paths
from .steps import Job, say

CTR = ("ctr", "--address", str(paths.CONTAINERD_SOCKET), "--namespace", "k8s.io")
_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"


def loaded(job: Job) -> dict[str, str]:
    """The images that containerd has, each with its digest."""
    lines = job.run([*CTR, "images", "ls"]).splitlines()[1:]
    return {fields[0]: fields[2] for fields in (line.split() for line in lines) if fields}


def load(job: Job, reference: str) -> None:
    """Bring an image over, unless containerd has exactly it."""
    if _has(job, reference, base.image_id(reference)):
        job.note = job.note or "current"
        return
    folder = paths.DEV / f"image-{reference.rpartition('/')[2].replace(':', '-')}"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    try:
        content = layers.export(base.image_id(reference), folder, _present(job))
    except layers.UnknownStoreError as error:
        say(f"layers of {reference} are not to be had one by one ({error}): copying all of them")
        # Uncompressed, into a folder: a push to an OCI layout compresses all of it anew, in thrice the time.
        push = ("push", "--quiet", "--disable-compression", "--format", "oci", reference, f"dir:{folder}")
        shutil.rmtree(folder)
        job.run(base.buildah(*push))
        content = (folder / "manifest.json").read_bytes()
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    manifest = {"mediaType": _MANIFEST, "digest": digest, "size": len(content)}
    _import(job, reference, manifest, {digest: content}, folder)
    shutil.rmtree(folder)


def tag(job: Job, reference: str, alias: str) -> None:
    """Give an image a second name."""
    known = loaded(job)
    if known.get(alias) != known[reference]:
        job.run([*CTR, "images", "tag", "--force", reference, alias])


def _present(job: Job) -> set[str]:
    return set(job.run([*CTR, "content", "ls", "--quiet"]).split())


def _has(job: Job, reference: str, image_id: str) -> bool:
    """Whether containerd's image is buildah's: the id of an image is the hash of its configuration."""
    digest = loaded(job).get(reference)
    if not digest:
        return False
    manifest = json.loads(job.run([*CTR, "content", "get", digest]))
    return bool(manifest["config"]["digest"] == f"sha256:{image_id}")


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
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Entrypoint": [f"/{program.name}"]},
        "rootfs": {"type": "layers", "diff_ids": [layer_blob["digest"]]},
    }
    body = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": blob(_CONFIG, json.dumps(config).encode()),
        "layers": [layer_blob],
    }
    _import(job, reference, blob(_MANIFEST, json.dumps(body).encode()), blobs, paths.DEV)


def _import(job: Job, reference: str, manifest: dict[str, Any], blobs: dict[str, bytes], folder: Path) -> None:
    """Hand containerd an archive of the image that leaves out the layers that it has."""
    body = json.loads(blobs[manifest["digest"]])
    there = _present(job)
    needed = [body["config"]["digest"], *(layer["digest"] for layer in body["layers"])]
    annotated = {**manifest, "annotations": {"io.containerd.image.name": reference}}
    archive = folder / "image.tar"
    with tarfile.open(archive, "w") as tar:
        _add(tar, "oci-layout", b'{"imageLayoutVersion":"1.0.0"}')
        _add(tar, "index.json", json.dumps({"schemaVersion": 2, "manifests": [annotated]}).encode())
        for digest in dict.fromkeys([manifest["digest"], *needed]):
            name = f"blobs/{digest.replace(':', '/')}"
            if digest in blobs:
                _add(tar, name, blobs[digest])
            elif digest not in there:
                tar.add(folder / digest.removeprefix("sha256:"), name)
    job.run([*CTR, "images", "import", archive], sentence=f"containerd could not import {reference}")
    archive.unlink()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    tar.addfile(entry, io.BytesIO(content))
