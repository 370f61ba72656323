"""The cluster's certificate authority, its certificates, and the kubeconfig files that carry them."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from . import paths
from .steps import Job

NODE = "ossa-dev"
NODE_IP = "10.244.0.1"  # the bridge's own address: it is there whatever network the machine is in, or in none
SERVICE_CIDR = "10.96.0.0/16"
KUBERNETES_IP = "10.96.0.1"
API_PORT = 16443  # not 6443, which another cluster on this machine may hold

# name: (subject, subject alternative names)
_CERTIFICATES = {
    "apiserver": (
        "/CN=kube-apiserver",
        "DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,"
        f"DNS:localhost,IP:127.0.0.1,IP:{NODE_IP},IP:{KUBERNETES_IP}",
    ),
    "kubelet-server": (f"/CN={NODE}", f"DNS:{NODE},IP:{NODE_IP},IP:127.0.0.1"),
    "kubelet": (f"/O=system:nodes/CN=system:node:{NODE}", ""),
    "kubelet-client": ("/O=system:masters/CN=kube-apiserver-kubelet-client", ""),
    "controller-manager": ("/CN=system:kube-controller-manager", "IP:127.0.0.1"),
    "scheduler": ("/CN=system:kube-scheduler", "IP:127.0.0.1"),
    "proxy": ("/CN=system:kube-proxy", ""),
    "coredns": ("/CN=system:coredns", ""),
    "admin": ("/O=system:masters/CN=ossa-dev-admin", ""),
    "front-proxy-client": ("/CN=front-proxy-client", ""),
}
_DAYS = "3650"


def make(job: Job) -> None:
    """Make what is missing. A certificate is renamed into place last: a killed run leaves no half pair."""
    paths.PKI.mkdir(parents=True, exist_ok=True)
    paths.PKI.chmod(0o700)
    if not (paths.PKI / "ca.crt").is_file():
        for stale in paths.PKI.iterdir():
            stale.unlink()
        _key(job, "ca")
        _openssl(
            job,
            "req",
            "-x509",
            "-new",
            "-key",
            _file("ca.key"),
            "-subj",
            "/CN=ossa-dev",
            "-days",
            _DAYS,
            "-out",
            _file("ca.new"),
        )
        _file("ca.new").rename(_file("ca.crt"))
    specification = json.dumps(_CERTIFICATES)
    if not _file("specification").is_file() or _file("specification").read_text() != specification:
        for name in _CERTIFICATES:  # an earlier version of this program wanted other ones
            _file(f"{name}.crt").unlink(missing_ok=True)
        paths.write(_file("specification"), specification)
    if not _file("sa.key").is_file():
        _openssl(job, "genrsa", "-out", _file("sa.new"), "2048")
        _file("sa.new").rename(_file("sa.key"))
    for name, (subject, names) in _CERTIFICATES.items():
        if not _file(f"{name}.crt").is_file():
            _issue(job, name, subject, names)
    for name in ("admin", "kubelet", "controller-manager", "scheduler", "proxy", "coredns"):
        target = paths.KUBECONFIG if name == "admin" else paths.CONFIG / f"{name}.kubeconfig"
        paths.write(target, _kubeconfig(name), 0o600)


def _file(name: str) -> Path:
    return paths.PKI / name


def _openssl(job: Job, *arguments: str | Path) -> None:
    job.run(["openssl", *arguments])


def _key(job: Job, name: str) -> None:
    _openssl(job, "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", _file(f"{name}.key"))


def _issue(job: Job, name: str, subject: str, names: str) -> None:
    _key(job, name)
    _openssl(job, "req", "-new", "-key", _file(f"{name}.key"), "-subj", subject, "-out", _file(f"{name}.csr"))
    extensions = "extendedKeyUsage=serverAuth,clientAuth\nkeyUsage=digitalSignature\n"
    if names:
        extensions += f"subjectAltName={names}\n"
    _file(f"{name}.ext").write_text(extensions)
    _openssl(
        job,
        "x509",
        "-req",
        "-in",
        _file(f"{name}.csr"),
        "-CA",
        _file("ca.crt"),
        "-CAkey",
        _file("ca.key"),
        "-CAcreateserial",
        "-days",
        _DAYS,
        "-extfile",
        _file(f"{name}.ext"),
        "-out",
        _file(f"{name}.new"),
    )
    _file(f"{name}.new").rename(_file(f"{name}.crt"))
    _file(f"{name}.csr").unlink()
    _file(f"{name}.ext").unlink()


def _kubeconfig(name: str) -> str:
    def inline(file: str) -> str:
        return base64.b64encode(_file(file).read_bytes()).decode()

    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "ossa-dev",
            "clusters": [
                {
                    "name": "ossa-dev",
                    "cluster": {
                        # A loopback address, because proxy settings of the machine never apply to it.
                        "server": f"https://127.0.0.1:{API_PORT}",
                        "certificate-authority-data": inline("ca.crt"),
                    },
                }
            ],
            "users": [
                {
                    "name": name,
                    "user": {
                        "client-certificate-data": inline(f"{name}.crt"),
                        "client-key-data": inline(f"{name}.key"),
                    },
                }
            ],
            "contexts": [{"name": "ossa-dev", "context": {"cluster": "ossa-dev", "user": name}}],
        },
        indent=1,
    )
