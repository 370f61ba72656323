"""The command lines of Kubernetes' programs."""

from __future__ import annotations

from pathlib import Path

from . import certs, config, paths
from .certs import API_PORT, NODE, NODE_IP

Flags = dict[str, object]


def apiserver() -> Flags:
    pki = paths.PKI
    return {
        "etcd-servers": "http://127.0.0.1:12379",
        "bind-address": "0.0.0.0",
        "secure-port": API_PORT,
        "advertise-address": NODE_IP,
        "service-cluster-ip-range": certs.SERVICE_CIDR,
        "allow-privileged": "true",
        "authorization-mode": "Node,RBAC",
        "enable-admission-plugins": "NodeRestriction",
        # On by default from Kubernetes 1.36 on. With it the API server records authors itself.
        "feature-gates": "MutatingAdmissionPolicy=true",
        "runtime-config": "admissionregistration.k8s.io/v1beta1=true",
        "client-ca-file": pki / "ca.crt",
        "tls-cert-file": pki / "apiserver.crt",
        "tls-private-key-file": pki / "apiserver.key",
        "kubelet-certificate-authority": pki / "ca.crt",
        "kubelet-client-certificate": pki / "kubelet-client.crt",
        "kubelet-client-key": pki / "kubelet-client.key",
        "kubelet-preferred-address-types": "InternalIP",
        "service-account-issuer": "https://kubernetes.default.svc",
        "service-account-key-file": pki / "sa.key",
        "service-account-signing-key-file": pki / "sa.key",
        "requestheader-client-ca-file": pki / "ca.crt",
        "requestheader-allowed-names": "front-proxy-client",
        "requestheader-username-headers": "X-Remote-User",
        "requestheader-group-headers": "X-Remote-Group",
        "requestheader-extra-headers-prefix": "X-Remote-Extra-",
        "proxy-client-cert-file": pki / "front-proxy-client.crt",
        "proxy-client-key-file": pki / "front-proxy-client.key",
        "profiling": "false",
        "event-ttl": "1h",
    }


def controller_manager() -> Flags:
    pki = paths.PKI
    return {
        **_client("controller-manager"),
        **_serving("controller-manager"),
        "service-account-private-key-file": pki / "sa.key",
        "root-ca-file": pki / "ca.crt",
        "use-service-account-credentials": "true",
        "leader-elect": "false",
        "cluster-signing-cert-file": pki / "ca.crt",
        "cluster-signing-key-file": pki / "ca.key",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "concurrent-gc-syncs": 20,
        "controllers": "*",
        "bind-address": "127.0.0.1",
        "flex-volume-plugin-dir": paths.KUBELET / "volume-plugins",
        "profiling": "false",
    }


def scheduler() -> Flags:
    return {
        **_client("scheduler"),
        **_serving("scheduler"),
        "leader-elect": "false",
        "kube-api-qps": 200,
        "kube-api-burst": 400,
        "bind-address": "127.0.0.1",
        "profiling": "false",
    }


def kubelet(settings: Path) -> Flags:
    return {
        "config": settings,
        "kubeconfig": paths.CONFIG / "kubelet.kubeconfig",
        "root-dir": paths.KUBELET_ROOT,
        "hostname-override": NODE,
        "node-ip": NODE_IP,
    }


def proxy() -> Flags:
    return {
        "kubeconfig": paths.CONFIG / "proxy.kubeconfig",
        "hostname-override": NODE,
        "proxy-mode": "iptables",
        "cluster-cidr": config.POD_CIDR,
        "conntrack-max-per-core": 0,
        "iptables-min-sync-period": "100ms",
        "healthz-bind-address": "127.0.0.1:10256",
        "metrics-bind-address": "127.0.0.1:10249",
    }


def _client(name: str) -> Flags:
    kubeconfig = paths.CONFIG / f"{name}.kubeconfig"
    return {
        "kubeconfig": kubeconfig,
        "authentication-kubeconfig": kubeconfig,
        "authorization-kubeconfig": kubeconfig,
    }


def _serving(name: str) -> Flags:
    return {"tls-cert-file": paths.PKI / f"{name}.crt", "tls-private-key-file": paths.PKI / f"{name}.key"}
