"""Paths of the API."""

from __future__ import annotations

from ossa.api.contract import GROUP, VERSION

OSSA = f"/apis/{GROUP}/{VERSION}"


def ossa(plural: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """Of our own kinds: `agents`, `workflows`, `executions`."""
    return _path(OSSA, plural, namespace, name, sub)


def core(plural: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """Of the core group: `pods`, `events`, `namespaces`."""
    return _path("/api/v1", plural, namespace, name, sub)


def apps(plural: str, namespace: str | None = None, name: str | None = None, sub: str | None = None) -> str:
    """Of the group apps: `controllerrevisions`."""
    return _path("/apis/apps/v1", plural, namespace, name, sub)


def leases(namespace: str, name: str | None = None) -> str:
    """Of the group coordination.k8s.io."""
    return _path("/apis/coordination.k8s.io/v1", "leases", namespace, name, None)


def admission(plural: str, name: str | None = None) -> str:
    """Of the group admissionregistration.k8s.io: `validatingadmissionpolicies` and their bindings."""
    return _path("/apis/admissionregistration.k8s.io/v1", plural, None, name, None)


def reports(namespace: str | None = None, name: str | None = None) -> str:
    """Of the group wgpolicyk8s.io: PolicyReports."""
    return _path("/apis/wgpolicyk8s.io/v1alpha2", "policyreports", namespace, name, None)


def _path(root: str, plural: str, namespace: str | None, name: str | None, sub: str | None) -> str:
    parts = [root]
    if namespace is not None:
        parts += ["namespaces", namespace]
    parts.append(plural)
    if name is not None:
        parts.append(name)
    if sub is not None:
        parts.append(sub)
    return "/".join(parts)
