"""The reconciler's settings: one documented tree, read from the environment once and passed in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, cast, get_args

from ossa.environment import BadSetting, checked, names, number, required
from ossa.store.records.pool import check_url
from ossa.store.signing import load_key
from ossa.tracing import ENV_ENDPOINT

NativePolicies = Literal["Always", "Ignore", "Never"]
KEY_FILE = "OSSA_ARTIFACTS_KEY_FILE"


@dataclass(frozen=True, slots=True)
class Settings:
    """How this installation runs."""

    worker_image: str  # the image of agents with a handler and no image of their own
    artifacts_url: str  # the artifact service as pods reach it
    artifacts_key: bytes = field(repr=False)  # verifies that the artifact service issued a reference
    agents_path: Path  # the shipped agents, as they are in the worker image
    namespace: str  # where the platform itself runs
    artifacts_token: Path  # file of a token of the reconciler's account for the artifact service
    artifacts_operator_url: str  # the artifact service as the reconciler reaches it
    artifacts_service: str = "ossa-artifacts"
    params_namespaces: frozenset[str] = frozenset()  # where the ConfigMaps lie that policies may name
    excluded_namespaces: frozenset[str] = frozenset()  # that admission does not look at
    break_glass_groups: frozenset[str] = frozenset()  # whose members policies do not refuse
    # Which policies the API server holds itself too, where it can: all, those of failurePolicy Ignore, or none.
    native_policies: NativePolicies = "Ignore"
    keep_completed_pods: float = 600.0  # seconds after the end of their execution
    keep_failed_pods: float = 86400.0
    workers: int = 8  # executions reconciled at once
    max_pods: int = 0  # worker pods that may run at once; 0: no limit
    otlp_endpoint: str = ""  # where workers export their spans by OTLP over HTTP; empty: nowhere
    liveness: str = "http://0.0.0.0:8081/healthz"
    metrics_port: int = 9090
    # PostgreSQL; it may hold a password. Without it Executions are deleted at their time, whether or not recorded.
    records_url: str = field(default="", repr=False)


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from OSSA_* variables.

    Raises:
        BadSetting: names the variable.
    """
    artifacts_url = required(environment, "OSSA_ARTIFACTS_URL")
    return Settings(
        worker_image=required(environment, "OSSA_WORKER_IMAGE"),
        artifacts_url=artifacts_url,
        artifacts_key=checked(KEY_FILE, required(environment, KEY_FILE), load_key),
        agents_path=Path(environment.get("OSSA_AGENTS_PATH", "agents")),
        namespace=required(environment, "OSSA_NAMESPACE"),
        artifacts_token=Path(required(environment, "OSSA_ARTIFACTS_TOKEN_FILE")),
        artifacts_operator_url=environment.get("OSSA_ARTIFACTS_OPERATOR_URL") or artifacts_url,
        artifacts_service=environment.get("OSSA_ARTIFACTS_SERVICE", "ossa-artifacts"),
        params_namespaces=frozenset(names(environment, "OSSA_PARAMS_NAMESPACES") or {environment["OSSA_NAMESPACE"]}),
        excluded_namespaces=frozenset(names(environment, "OSSA_EXCLUDED_NAMESPACES")),
        break_glass_groups=frozenset(names(environment, "OSSA_BREAK_GLASS_GROUPS")),
        native_policies=_native(environment, "OSSA_NATIVE_POLICIES"),
        keep_completed_pods=number(environment, "OSSA_KEEP_COMPLETED_PODS", 600.0),
        keep_failed_pods=number(environment, "OSSA_KEEP_FAILED_PODS", 86400.0),
        otlp_endpoint=_endpoint(environment, ENV_ENDPOINT),
        liveness=environment.get("OSSA_LIVENESS", "http://0.0.0.0:8081/healthz"),
        max_pods=int(number(environment, "OSSA_MAX_PODS", 0)),
        metrics_port=int(number(environment, "OSSA_METRICS_PORT", 9090)),
        records_url=_records(environment, "OSSA_RECORDS_URL"),
    )


def _endpoint(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "")
    if text and not text.startswith(("http://", "https://")):
        raise BadSetting(f"{name}: {text!r} is no http:// or https:// URL")
    return text


def _records(environment: Mapping[str, str], name: str) -> str:
    url = environment.get(name, "")
    return checked(name, url, check_url) if url else ""


def _native(environment: Mapping[str, str], name: str) -> NativePolicies:
    text = environment.get(name) or "Ignore"
    for known in get_args(NativePolicies):
        if text == known:
            return cast(NativePolicies, text)
    raise BadSetting(f"{name}: {text!r} is none of {', '.join(get_args(NativePolicies))}")
