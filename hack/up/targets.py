"""Which cluster: one that CONTEXT names, kind where Docker answers, else the devcluster."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from . import base, binary, certs, devcluster, docker, images, install, leftovers, machine, paths, tools
from .steps import Failure, Job, Step, run_steps, say

CLIENTS = ("kubectl", "helm")
KIND_NAME = "ossa"


class Target(Protocol):
    def up(self) -> None: ...


def choose() -> Target:
    context = os.environ.get("CONTEXT", "")
    if context:
        say(f"using the cluster of the kube context {context}, as CONTEXT says")
        return ExistingCluster(context)
    if tools.docker_answers() and docker.kind_available():
        say("using kind, because Docker answers here (CONTEXT=NAME would name another cluster)")
        return Kind()
    if platform.system() != "Linux":
        raise Failure("there is no Docker here, and the devcluster needs Linux: start Docker, or name a CONTEXT")
    say("using the devcluster, because no CONTEXT is named and no Docker answers")
    return DevCluster()


@dataclass
class ExistingCluster:
    context: str

    def up(self) -> None:
        paths.LOGS.mkdir(parents=True, exist_ok=True)
        references = images.from_environment()
        if not references and not self.context.startswith("kind-"):
            raise Failure(
                "images cannot be loaded into a cluster that is not kind: push them, and name them in "
                "OPERATOR_IMAGE and WORKER_IMAGE (SERVICES_IMAGE, where PostgreSQL and Redis cannot be pulled either)"
            )
        steps = [
            Step("pip", tools.make_pip),
            Step("clients", tools.link_clients, ("pip",)),
            Step("kubeconfig", self.write_kubeconfig, ("clients",)),
        ]
        needs = ["kubeconfig"]
        if not references:
            name = self.context.removeprefix("kind-")
            steps += [
                Step("images", docker.build),
                Step("load", lambda job: docker.load(job, name), ("images",)),
            ]
            needs.append("load")
        steps.append(Step("install", install.charts, tuple(needs)))
        run_steps(steps, paths.LOGS)

    def write_kubeconfig(self, job: Job) -> None:
        kubectl = paths.BIN / "kubectl"
        text = job.run(
            [kubectl, "config", "view", "--raw", "--minify", "--flatten", f"--context={self.context}"],
            sentence=f"there is no kube context {self.context}",
        )
        paths.write(paths.KUBECONFIG, text, 0o600)


class Kind:
    def up(self) -> None:
        paths.LOGS.mkdir(parents=True, exist_ok=True)
        run_steps(
            [
                Step("pip", tools.make_pip),
                Step("clients", tools.link_clients, ("pip",)),
                Step("cluster", lambda job: docker.create(job, KIND_NAME)),
                Step("images", docker.build),
                Step("load", lambda job: docker.load(job, KIND_NAME), ("cluster", "images")),
                Step("install", install.charts, ("clients", "load")),
            ],
            paths.LOGS,
        )


class DevCluster:
    def up(self) -> None:
        devcluster.check()
        binary.check()
        if sys.version_info[:2] != (3, 11):
            raise Failure(
                "the images of the devcluster hold Python 3.11, so `make up` must run under Python 3.11 "
                "(make up PYTHON=/usr/bin/python3.11)"
            )
        with machine.machine_lock():
            devcluster.take_over()
            run_steps(self._steps(), paths.LOGS)

    def _steps(self) -> list[Step]:
        go = tools.machine_go()
        pip_after = ("packages",) if tools.pip_needs_apt() else ()
        go_after = ("pip",) if go is None else ()

        def program(job: Job) -> Path:
            return binary.home(tools.go(job)) / "devcluster"

        return [
            Step("pause", binary.build_pause, go_after),
            Step("compile", binary.build, ("pause",)),
            Step("packages", tools.install_packages),
            Step("pip", tools.make_pip, pip_after),
            Step("clients", tools.link_clients, ("pip",)),
            Step("wheels", images.download_wheels, ("pip",)),
            Step("base image", base.build, ("packages",)),
            Step("images", images.build, ("base image", "wheels")),
            Step("certificates", certs.make, ("packages",)),
            Step("network", devcluster.start_network, ("packages",)),
            Step("containerd", devcluster.start_containerd, ("packages",)),
            Step("load base", images.load_base, ("containerd", "pause", "base image")),
            Step("load", images.load, ("load base", "images")),
            Step(
                "control plane",
                lambda job: devcluster.start_control_plane(job, program(job)),
                ("compile", "certificates", "network"),
            ),
            Step("objects", install.cluster_objects, ("control plane", "clients")),
            Step("node", lambda job: devcluster.start_node(job, program(job)), ("control plane", "containerd")),
            Step("node ready", install.wait_for_node, ("node", "objects")),
            Step("install", install.charts, ("load", "node ready", "clients")),
        ]


def down() -> None:
    if shutil.which("docker") and shutil.which("kind") and docker.exists(KIND_NAME):
        subprocess.run(["kind", "delete", "cluster", "--name", KIND_NAME], check=False)
    if platform.system() == "Linux" and os.geteuid() == 0:
        with machine.machine_lock():
            machine.kill_orphaned_jobs()
            before = machine.owner()
            if before and before != paths.DEV:
                say(f"the cluster on this machine is of another checkout ({before.parent}): removing that one")
            for dev in {before or paths.DEV, paths.DEV}:
                machine.remove_all(dev)
            leftovers.unmount_below(paths.CACHE)
            leftovers.remove_strays()
            paths.LOCK.unlink(missing_ok=True)
    elif paths.OWNER.exists():
        raise Failure("a devcluster is on this machine, and removing it needs root")
    elif paths.DEV.exists():
        shutil.rmtree(paths.DEV)
    say("nothing of the cluster is left; the cache stays in " + str(paths.CACHE))
