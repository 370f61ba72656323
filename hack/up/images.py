"""The project's images: named by the hash of what is in them, built with buildah, loaded into containerd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from . import base, oci, paths, tools
from .steps import Job

CONTEXT = paths.DEV / "context"
DOCKERFILE = CONTEXT / "operator" / "Dockerfile"
DOCKER_BASE = "docker.io/library/python:3.11-slim"
_BUILD_FILES = ("operator/Dockerfile", "operator/Dockerfile.dockerignore")
_INPUTS = {
    "operator": ("requirements/operator.txt", "ossa", "controllers", "operator/*.py", "agents"),
    "worker": ("requirements/worker.txt", "ossa", "agents"),
    "services": ("requirements/services.txt", "operator/services.sh"),
}
NAMES = tuple(_INPUTS)
OWN = ("operator", "worker")  # those that are to be had nowhere else
_RECORD = paths.DEV / "images.json"
_TIME = 1_000_000_000  # of every file in an image, because a layer's cache key holds it


def _requirements(name: str) -> Path:
    return paths.REPO / "requirements" / f"{name}.txt"


def sources_there() -> bool:
    patterns = {pattern for name in NAMES for pattern in _INPUTS[name]}
    return all(any(paths.REPO.glob(pattern)) for pattern in patterns)


def stage(base_key: str) -> dict[str, str]:
    """Copy what the images are made of, and name each image by it.

    A copy, so that the name belongs to the content even when someone saves a file during the build.
    """
    shutil.rmtree(CONTEXT, ignore_errors=True)
    if not sources_there():
        _RECORD.unlink(missing_ok=True)
        return {}
    for pattern in {*_BUILD_FILES, *(pattern for name in NAMES for pattern in _INPUTS[name])}:
        for source in paths.REPO.glob(pattern):
            for file in paths.files_of(source):
                copy = CONTEXT / file.relative_to(paths.REPO)
                copy.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, copy)
                copy.chmod(0o755 if file.stat().st_mode & 0o100 else 0o644)
                os.utime(copy, (_TIME, _TIME))
    found = {}
    for name in NAMES:
        inputs = [file for pattern in (*_BUILD_FILES, *_INPUTS[name]) for file in sorted(CONTEXT.glob(pattern))]
        found[name] = f"{paths.IMAGES}/{name}:{paths.digest(inputs, base_key)}"
    paths.write(_RECORD, json.dumps(found))
    return found


def from_environment() -> dict[str, str]:
    """Images that somebody else built and pushed; without one of `services` the charts' own defaults serve."""
    found = {name: os.environ.get(f"{name.upper()}_IMAGE", "") for name in NAMES}
    return {name: image for name, image in found.items() if image} if all(found[name] for name in OWN) else {}


def references() -> dict[str, str]:
    """The full references of the images that were staged last."""
    if from_environment():
        return from_environment()
    if not _RECORD.is_file():
        return {}
    record: dict[str, str] = json.loads(_RECORD.read_text())
    return record


# --- building without Docker -------------------------------------------------------------------------------


def _wheelhouse(name: str) -> Path:
    return paths.CACHE / "wheelhouse" / f"{name}-{paths.digest([_requirements(name)])}"


def download_wheels(job: Job) -> None:
    """Dependencies come by the machine's pip and its configuration; the build itself needs no network."""
    for name in NAMES:
        requirements = _requirements(name)
        house = _wheelhouse(name)
        if not requirements.is_file() or (house / ".complete").is_file():
            continue
        job.run(
            [
                tools.pip(),
                "download",
                "--quiet",
                "--require-hashes",
                "--only-binary=:all:",
                "-d",
                house,
                "-r",
                requirements,
            ],
            sentence=f"pip could not download what {requirements.name} names",
        )
        (house / ".complete").touch()
        job.note = f"{job.note} {name}".strip()
        for old in house.parent.glob(f"{name}-*"):
            if old != house:
                shutil.rmtree(old)
    job.note = job.note or "cached"


def build(job: Job) -> None:
    built = []
    for name, reference in stage(base.key()).items():
        if base.image_id(reference):
            continue
        job.run(
            base.buildah(
                "build",
                "--isolation",
                "chroot",
                "--layers",
                "--pull-never",
                "--format",
                "oci",
                "--target",
                name,
                "--build-arg",
                f"BASE={paths.BASE_IMAGE}",
                "--ignorefile",
                f"{DOCKERFILE}.dockerignore",
                "--volume",
                f"{_wheelhouse(name)}:/wheels:ro",
                "--file",
                str(DOCKERFILE),
                "--tag",
                reference,
                str(CONTEXT),
            ),
            sentence=f"the image {name} could not be built",
        )
        built.append(name)
    job.note = f"built {', '.join(built)}" if built else "cached" if sources_there() else "sources not there yet"


# --- loading -----------------------------------------------------------------------------------------------


def load_base(job: Job) -> None:
    from . import binary, config  # noqa: PLC0415 - only the devcluster's path needs them

    if config.PAUSE_IMAGE not in oci.loaded(job):
        oci.load_single_file(job, config.PAUSE_IMAGE, binary.home(tools.go(job)) / "pause")
    oci.load(job, paths.BASE_IMAGE)
    oci.tag(job, paths.BASE_IMAGE, paths.SAMPLE_IMAGE)


def load(job: Job) -> None:
    there = oci.loaded(job)
    missing = {name: ref for name, ref in references().items() if ref not in there}
    with ThreadPoolExecutor() as pool:  # each is half waiting for the disk
        list(pool.map(lambda reference: oci.load(job, reference), missing.values()))
    job.note = ", ".join(missing) or "current"


def forget_old(job: Job) -> None:
    """Images of earlier contents, from both stores: each code change would leave one."""
    current = set(references().values())
    if not paths.CONTAINERD_SOCKET.exists():
        return
    prefixes = tuple(f"{paths.IMAGES}/{name}:" for name in NAMES)
    for reference in oci.loaded(job):
        if reference.startswith(prefixes) and reference not in current:
            job.run([*oci.CTR, "images", "rm", reference])
    command = base.buildah("images", "--format", "{{.Name}}:{{.Tag}}")
    known = subprocess.run(command, capture_output=True, text=True, check=False).stdout.split()
    for reference in known:
        if reference.startswith(prefixes) and reference not in current:
            job.run(base.buildah("rmi", reference))
