"""The configuration files of the devcluster's daemons, and the objects that a cluster has from its birth."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from . import paths
from .certs import NODE_IP
from .leftovers import BRIDGE, NETWORK
from .machine import CGROUP

POD_CIDR = "10.244.0.0/16"
DNS_IP = "10.96.0.10"
DNS_PORT = 10053  # not 53: a resolver of the machine may listen there on every address
PAUSE_IMAGE = "localhost/ossa/pause:dev"
VOLUME_COUNT = 8


_KUBELET_LIMITS: dict[str, Any] = {
    # The images come from `make up` and from nowhere else: the kubelet must not collect them.
    "imageGCHighThresholdPercent": 100,
    "imageGCLowThresholdPercent": 99,
    "imageMinimumGCAge": "87600h",
    # A laptop's disk is often nearly full, and an eviction would look like a failure of the operator.
    "evictionHard": {
        "memory.available": "50Mi",
        "nodefs.available": "1%",
        "imagefs.available": "1%",
        "nodefs.inodesFree": "1%",
    },
    "registryPullQPS": 50,
    "registryBurst": 100,
    "eventRecordQPS": 100,
    "eventBurst": 200,
    "kubeAPIQPS": 100,
    "kubeAPIBurst": 200,
}


def containerd() -> str:
    return f"""\
version = 2
root = {json.dumps(str(paths.CONTAINERD_ROOT))}
state = {json.dumps(str(paths.CONTAINERD_STATE))}
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.internal.v1.tracing", "io.containerd.tracing.processor.v1.otlp"]

[grpc]
address = "{paths.CONTAINERD_SOCKET}"

[plugins."io.containerd.internal.v1.opt"]
path = {json.dumps(str(paths.CONTAINERD_ROOT / "opt"))}

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE_IMAGE}"
# Lowering a process's oom_score_adj needs CAP_SYS_RESOURCE, which containers and sandboxes often lack.
restrict_oom_score_adj = true
# Network namespaces under `state`, not /run/netns, so that they are found and removed with it.
netns_mounts_under_state_dir = true
max_concurrent_downloads = 4

[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "/usr/lib/cni"
conf_dir = {json.dumps(str(paths.CONFIG / "cni"))}

[plugins."io.containerd.grpc.v1.cri".containerd]
default_runtime_name = "runc"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
Root = "{paths.RUN}/runc"
SystemdCgroup = false
"""


def cni() -> str:
    bridge = {
        "type": "bridge",
        "bridge": BRIDGE,
        "isGateway": True,
        "ipMasq": True,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(paths.CONTAINERD_STATE / "cni"),
            "ranges": [[{"subnet": POD_CIDR, "gateway": NODE_IP}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    plugins = [bridge, {"type": "portmap", "capabilities": {"portMappings": True}}]
    return json.dumps({"cniVersion": "0.4.0", "name": NETWORK, "plugins": plugins}, indent=1)


def kubelet() -> str:
    settings: dict[str, Any] = {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": NODE_IP,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(paths.PKI / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(paths.PKI / "kubelet-server.crt"),
        "tlsPrivateKeyFile": str(paths.PKI / "kubelet-server.key"),
        "containerRuntimeEndpoint": f"unix://{paths.CONTAINERD_SOCKET}",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{CGROUP}",
        "enforceNodeAllocatable": [],
        "failSwapOn": False,
        "podLogsDir": str(paths.POD_LOGS),
        "volumePluginDir": str(paths.KUBELET / "volume-plugins"),
        "clusterDNS": [DNS_IP],
        "clusterDomain": "cluster.local",
        "maxPods": 110,
        "serializeImagePulls": False,
        "syncFrequency": "10s",
        "fileCheckFrequency": "0s",
        "httpCheckFrequency": "0s",
        **_KUBELET_LIMITS,
        "containerLogMaxSize": "10Mi",
        "containerLogMaxFiles": 2,
        "nodeStatusUpdateFrequency": "5s",
        "runtimeRequestTimeout": "5m",
        "shutdownGracePeriod": "0s",
        "healthzBindAddress": "127.0.0.1",
    }
    return json.dumps(settings, indent=1)


def corefile() -> str:
    resolvers = (
        [line for line in Path("/etc/resolv.conf").read_text().splitlines() if line.split()[:1] == ["nameserver"]]
        if Path("/etc/resolv.conf").is_file()
        else []
    )
    forward = "forward . /etc/resolv.conf" if resolvers else "# this machine has no resolver to forward to"
    return f"""\
.:{DNS_PORT} {{
    bind {NODE_IP}
    errors
    health 127.0.0.1:18080
    ready 127.0.0.1:18181
    kubernetes cluster.local in-addr.arpa ip6.arpa {{
        kubeconfig "{paths.CONFIG / "coredns.kubeconfig"}" ossa-dev
        pods insecure
        ttl 5
    }}
    {forward}
    cache 5
}}
"""


def _item(api: str, kind: str, name: str, namespace: str = "", **rest: Any) -> dict[str, Any]:
    metadata: dict[str, Any] = {"name": name, **rest.pop("metadata", {})}
    if namespace:
        metadata["namespace"] = namespace
    return {"apiVersion": api, "kind": kind, "metadata": metadata, **rest}


def _dns_objects() -> list[dict[str, Any]]:
    rbac = "rbac.authorization.k8s.io"
    watched = [
        {
            "apiGroups": [""],
            "resources": ["services", "namespaces", "pods", "endpoints"],
            "verbs": ["list", "watch"],
        },
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    ports = [{"name": f"dns-{p.lower()}", "port": 53, "protocol": p, "targetPort": DNS_PORT} for p in ("UDP", "TCP")]
    slice_ports = [{"name": port["name"], "port": DNS_PORT, "protocol": port["protocol"]} for port in ports]
    return [
        _item(f"{rbac}/v1", "ClusterRole", "system:coredns", rules=watched),
        _item(
            f"{rbac}/v1",
            "ClusterRoleBinding",
            "system:coredns",
            roleRef={"apiGroup": rbac, "kind": "ClusterRole", "name": "system:coredns"},
            subjects=[{"apiGroup": rbac, "kind": "User", "name": "system:coredns"}],
        ),
        _item("v1", "Service", "kube-dns", "kube-system", spec={"clusterIP": DNS_IP, "ports": ports}),
        _item(
            "discovery.k8s.io/v1",
            "EndpointSlice",
            "kube-dns-host",
            "kube-system",
            metadata={"labels": {"kubernetes.io/service-name": "kube-dns"}},
            addressType="IPv4",
            endpoints=[{"addresses": [NODE_IP], "conditions": {"ready": True}}],
            ports=slice_ports,
        ),
    ]


def _storage_objects() -> list[dict[str, Any]]:
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    # As kind's class: the scheduler binds. With Immediate a claim is bound while the scheduler looks at its pod, and
    # where the pod's try came too early, it was seen to wait for the next one for minutes.
    found = [
        _item(
            "storage.k8s.io/v1",
            "StorageClass",
            "standard",
            metadata={"annotations": default},
            provisioner="kubernetes.io/no-provisioner",
            reclaimPolicy="Retain",
            volumeBindingMode="WaitForFirstConsumer",
        )
    ]
    for number in range(VOLUME_COUNT):
        name = f"ossa-dev-{number}"
        found.append(
            _item(
                "v1",
                "PersistentVolume",
                name,
                spec={
                    "storageClassName": "standard",
                    "capacity": {"storage": "5Gi"},
                    "accessModes": ["ReadWriteOnce", "ReadWriteMany"],
                    "persistentVolumeReclaimPolicy": "Retain",
                    "hostPath": {"path": str(paths.VOLUMES / name), "type": "Directory"},
                },
            )
        )
    return found


def objects() -> str:
    """DNS, storage: what kind has and a bare control plane has not."""
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": _dns_objects() + _storage_objects()})
