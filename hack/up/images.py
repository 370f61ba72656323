"""The project's images: named by the hash of what is in them, built with buildah, loaded into containerd."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from . import base, oci, paths, tools
from .steps import Job

DOCKERFILE = paths.REPO / "operator" / "Dockerfile"
_CODE = {"operator": ("ossa", "controllers", "operator", "agents"), "worker": ("ossa", "agents")}
NAMES = tuple(_CODE)
DOCKER_BASE = "docker.io/library/python:3.11-slim"


def _requirements(name: str) -> Path:
    return paths.REPO / "requirements" / f"{name}.txt"


def _inputs(name: str) -> list[Path]:
    code = [paths.REPO / folder for folder in _CODE[name] if folder != "operator"]
    entries = sorted((paths.REPO / "operator").glob("*.py")) if "operator" in _CODE[name] else []
    return [DOCKERFILE, _requirements(name), *code, *entries]


def sources_there() -> bool:
    return all(path.exists() for name in NAMES for path in _inputs(name)) and any(
        (paths.REPO / "operator").glob("*.py")
    )


def from_environment() -> dict[str, str]:
    """Images that somebody else built and pushed."""
    found = {name: os.environ.get(f"{name.upper()}_IMAGE", "") for name in NAMES}
    return found if all(found.values()) else {}


def references(base_key: str = "") -> dict[str, str]:
    """The full references of the images that belong to the checkout's present content."""
    if from_environment():
        return from_environment()
    if not sources_there():
        return {}
    base_key = base_key or (paths.DEV / "base-key").read_text()
    return {name: f"{paths.IMAGES}/{name}:{paths.digest(_inputs(name), base_key)}" for name in NAMES}


# --- building without Docker ------------------------------------------------------------------------------------------


def _wheelhouse(name: str) -> Path:
    return paths.CACHE / "wheelhouse" / f"{name}-{paths.digest([_requirements(name)])}"


def download_wheels(job: Job) -> None:
    """Dependencies come through the machine's own pip and its configuration; the build itself needs no network."""
    for name in NAMES:
        requirements = _requirements(name)
        house = _wheelhouse(name)
        if not requirements.is_file() or (house / ".complete").is_file():
            continue
        job.run([tools.pip(), "download", "--quiet", "--require-hashes", "--only-binary=:all:", "-d", house,
                 "-r", requirements], sentence=f"pip could not download what {requirements.name} names")  # fmt: skip
        (house / ".complete").touch()
        job.note = f"{job.note} {name}".strip()
        for old in house.parent.glob(f"{name}-*"):
            if old != house:
                shutil.rmtree(old)
    job.note = job.note or "cached"


def build(job: Job) -> None:
    paths.write(paths.DEV / "base-key", base.key())
    built = []
    for name, reference in references(base.key()).items():
        if base.image_id(reference):
            continue
        job.run(
            base.buildah(
                "build", "--isolation", "chroot", "--layers", "--pull-never", "--format", "oci", "--target", name,
                "--build-arg", f"BASE={paths.BASE_IMAGE}", "--ignorefile", f"{DOCKERFILE}.dockerignore",
                "--volume", f"{_wheelhouse(name)}:/wheels:ro", "--file", str(DOCKERFILE), "--tag", reference,
                str(paths.REPO),
            ),
            sentence=f"the image {name} could not be built",
        )  # fmt: skip
        built.append(name)
    job.note = f"built {', '.join(built)}" if built else "cached" if sources_there() else "sources not there yet"


# --- loading ----------------------------------------------------------------------------------------------------------


def load_base(job: Job) -> None:
    from . import binary, config  # noqa: PLC0415 - only the devcluster's path needs them

    if config.PAUSE_IMAGE not in oci.loaded(job):
        oci.load_single_file(job, config.PAUSE_IMAGE, binary.home(tools.go(job)) / "pause")
    oci.load(job, paths.BASE_IMAGE)


def load(job: Job) -> None:
    there = oci.loaded(job)
    for name, reference in references().items():
        if reference not in there:
            oci.load(job, reference)
            job.note = f"{job.note} {name}".strip()
    job.note = job.note or "current"


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
