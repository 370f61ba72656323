"""Where the API server is, and who we are: the user's kubeconfig, or the pod's service account."""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCluster(Exception):
    """No usable configuration was found."""


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """What a client needs. `token` is asked for at each request, because projected tokens are renewed on disk."""

    server: str
    ssl: ssl.SSLContext | bool
    token: Callable[[], str | None]
    namespace: str


def load_config(context: str | None = None) -> KubeConfig:
    """The in-cluster configuration where there is one and no `context` is asked for, else the kubeconfig.

    Raises:
        NoCluster: neither is there; says what to do.
    """
    if context is None and "KUBERNETES_SERVICE_HOST" in os.environ and (SERVICE_ACCOUNT / "token").exists():
        return _in_cluster()
    return _from_kubeconfig(context)


def _in_cluster() -> KubeConfig:
    host, port = os.environ["KUBERNETES_SERVICE_HOST"], os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    host = f"[{host}]" if ":" in host else host
    return KubeConfig(
        server=f"https://{host}:{port}",
        ssl=ssl.create_default_context(cafile=str(SERVICE_ACCOUNT / "ca.crt")),
        token=lambda: (SERVICE_ACCOUNT / "token").read_text().strip(),
        namespace=(SERVICE_ACCOUNT / "namespace").read_text().strip(),
    )


def _from_kubeconfig(context: str | None) -> KubeConfig:
    from kubernetes import client, config  # noqa: PLC0415 - half a second that in-cluster processes need not pay

    found = client.Configuration()
    try:
        contexts, active = config.list_kube_config_contexts()
        config.load_kube_config(context=context, client_configuration=found)
    except config.ConfigException as error:
        raise NoCluster(f"no usable kubeconfig: {error}; `make kubeconfig` says how to get one") from error
    chosen = next((c for c in contexts if c["name"] == context), active)

    def token() -> str | None:
        if found.refresh_api_key_hook is not None:
            found.refresh_api_key_hook(found)
        header = found.api_key.get("authorization")
        return str(header).removeprefix("Bearer ") if header else None

    return KubeConfig(
        server=str(found.host).rstrip("/"),
        ssl=_ssl_context(found.ssl_ca_cert, found.cert_file, found.key_file, verify=bool(found.verify_ssl)),
        token=token,
        namespace=str(chosen["context"].get("namespace") or "default"),
    )


def _ssl_context(ca: str | None, cert: str | None, key: str | None, *, verify: bool) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca)
    if cert:
        context.load_cert_chain(cert, key)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
