"""The webhooks' entries, for marked objects in the one namespace that the installation's do not look at."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.e2e.harness.cluster import SYSTEM_NAMESPACE
from tests.e2e.harness.command import run
from tests.e2e.harness.namespace import Namespace
from tests.e2e.harness.objects import JSONObject

REPO = Path(__file__).parents[3]
UNSEEN = "kube-system"  # of the chart's value admission.excludedNamespaces
API = "admissionregistration.k8s.io/v1"
MARK = "e2e"


def path(kind: str, name: str = "") -> str:
    """Of a kind of configurations, or of one of them."""
    return f"/apis/{API}/{kind.lower()}s{name and '/'}{name}"


async def entry(namespace: Namespace, kind: str, name: str) -> JSONObject:
    """An entry of the kind's configuration, as the chart makes it for an API server that records no authors.

    It is about all objects, and not a share of them.
    """
    if kind == "ValidatingWebhookConfiguration":
        held = await namespace.cluster.api.get(path(kind, "ossa-admission"))
        hook = next(hook for hook in held["webhooks"] if hook["name"] == name)
        return {field: value for field, value in hook.items() if field != "matchConditions"}
    trusted = await entry(namespace, "ValidatingWebhookConfiguration", "agents-1.ossa.dev")
    (found,) = [
        hook for item in await _rendered() if item["kind"] == kind for hook in item["webhooks"] if hook["name"] == name
    ]
    bundle = {"caBundle": trusted["clientConfig"]["caBundle"]}
    return {**found, "clientConfig": found["clientConfig"] | bundle}


async def _rendered() -> list[dict[str, Any]]:
    helm = shutil.which("helm", path=f"{REPO}/.dev/bin:{os.environ['PATH']}")
    assert helm is not None, "these tests need helm: `make up` brings it into .dev/bin, or install it"
    options = ("--namespace", SYSTEM_NAMESPACE, "--set", "admission.recordAuthors=Webhook")
    answer = await run(helm, "template", "ossa", f"{REPO}/charts/ossa", *options, "-s", "templates/webhook.yaml")
    return [item for item in yaml.safe_load_all(answer.ok()) if item]


def configuration(namespace: Namespace, kind: str, *entries: JSONObject) -> JSONObject:
    """A configuration of entries for objects in UNSEEN that have the label MARK with the namespace's name."""
    selectors = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": UNSEEN}},
        "objectSelector": {"matchLabels": {MARK: namespace.name}},
    }
    made = [hook | selectors for hook in entries]
    return {"apiVersion": API, "kind": kind, "metadata": {"name": namespace.name}, "webhooks": made}


@asynccontextmanager
async def installed(namespace: Namespace, made: JSONObject) -> AsyncIterator[JSONObject]:
    """A configuration, as the API server holds it, for the time of the block."""
    api = namespace.cluster.api
    held = await api.post(path(made["kind"]), made)
    try:
        yield held
    finally:
        await api.delete(path(made["kind"], made["metadata"]["name"]))
