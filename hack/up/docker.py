"""kind and Docker: the way where Docker answers."""

from __future__ import annotations

import shutil
import subprocess

from . import images, paths
from .steps import Job, say

KIND_CONFIG = paths.REPO / "kind-config.yaml"


def kind_available() -> bool:
    if shutil.which("kind"):
        return True
    say("Docker answers, but there is no kind on the PATH")
    return False


def exists(name: str) -> bool:
    answer = subprocess.run(["kind", "get", "clusters"], capture_output=True, text=True, check=False)
    return name in answer.stdout.split()


def create(job: Job, name: str) -> None:
    if exists(name):
        job.run(["kind", "export", "kubeconfig", "--name", name, "--kubeconfig", paths.KUBECONFIG])
        job.note = "is there"
        return
    job.run(
        [
            "kind",
            "create",
            "cluster",
            "--name",
            name,
            "--config",
            KIND_CONFIG,
            "--kubeconfig",
            paths.KUBECONFIG,
            "--wait",
            "120s",
        ],
        sentence="kind could not make a cluster",
    )


def build(job: Job) -> None:
    for name, reference in images.stage(images.DOCKER_BASE).items():
        known = subprocess.run(["docker", "image", "inspect", reference], capture_output=True, check=False)
        if known.returncode != 0:
            job.run(
                [
                    "docker",
                    "build",
                    "--target",
                    name,
                    "--tag",
                    reference,
                    "--file",
                    images.DOCKERFILE,
                    images.CONTEXT,
                ],
                env={"DOCKER_BUILDKIT": "1"},
                sentence=f"the image {name} could not be built",
            )
    job.run(["docker", "pull", "--quiet", images.DOCKER_BASE])
    job.run(["docker", "tag", images.DOCKER_BASE, paths.BASE_IMAGE])


def load(job: Job, cluster: str) -> None:
    wanted = [paths.BASE_IMAGE, *images.references().values()]
    job.run(
        ["kind", "load", "docker-image", "--name", cluster, *wanted],
        sentence="the images could not be loaded into kind",
    )
