"""Where the API server is, and who we are: the user's kubeconfig, or the pod's service account."""

from __future__ import annotations

import math
import os
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

# A kubelet renews a token when a fifth of its life is left.
TOKEN_SECONDS = 5.0
SERVICE_ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")


class NoCluster(Exception):
    """No usable configuration was found."""


@dataclass(frozen=True, slots=True)
class KubeConfig:
    """What a client needs. `token` is asked for at each request, because projected tokens are renewed on disk."""

    server: str
    token: Callable[[], str | None]
    namespace: str
    ca_file: str | None = None
    cert_file: str | None = None
    key_file: str | None = None
    verify: bool = True

    def ssl_context(self) -> ssl.SSLContext:
        """For connections to `server`."""
        context = ssl.create_default_context(cafile=self.ca_file)
        if self.cert_file:
            context.load_cert_chain(self.cert_file, self.key_file)
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def _kept(read: Callable[[], str | None]) -> Callable[[], str | None]:
    """`read`, asked again when its answer is TOKEN_SECONDS old: each request needs it, and reading takes a while."""
    token: str | None = None
    until = -math.inf

    def kept() -> str | None:
        nonlocal token, until
        if (now := time.monotonic()) >= until:
            token, until = read(), now + TOKEN_SECONDS
        return token

    return kept


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
        ca_file=str(SERVICE_ACCOUNT / "ca.crt"),
        token=_kept(lambda: (SERVICE_ACCOUNT / "token").read_text().strip()),
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
        # The generated client has named it either way.
        header = found.api_key.get("authorization") or found.api_key.get("BearerToken")
        return str(header).removeprefix("Bearer ") if header else None

    return KubeConfig(
        server=str(found.host).rstrip("/"),
        ca_file=found.ssl_ca_cert,
        cert_file=found.cert_file,
        key_file=found.key_file,
        verify=bool(found.verify_ssl),
        token=_kept(token),
        namespace=str(chosen["context"].get("namespace") or "default"),
    )
