"""The gateway's settings: one documented tree, read from the environment once and passed in."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import ip_network
from pathlib import Path

from ossa.bus.connection import check_url as check_bus_url
from ossa.environment import checked, names, number, required
from ossa.store.records.pool import check_url as check_records_url


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this installation runs. Sizes in bytes, times in seconds."""

    records_url: str = field(repr=False)  # postgresql://…; it may hold a password
    bus_url: str = field(repr=False)  # redis://…
    namespace: str = "ossa-system"  # where the platform itself runs
    audit_key_file: Path = Path("/etc/ossa/audit/key.pem")  # Ed25519: signs the heads of the audit trail
    host: str = "0.0.0.0"
    port: int = 8080
    metrics_port: int = 9090
    origins: tuple[str, ...] = ()  # web pages that may call from a browser (CORS); none by default
    trusted_proxies: tuple[str, ...] = ()  # addresses and networks whose X-Forwarded-For is believed
    max_body: int = 1 << 20  # of a request; an object of the cluster may have 1.5 MiB
    max_depth: int = 64  # of the JSON in it
    max_headers: int = 32 << 10  # of a request, with its first line
    header_timeout: float = 10.0  # from the first byte of a request to the last of its headers
    body_timeout: float = 30.0  # from there to the last of its body
    write_timeout: float = 30.0  # that a client may leave an answer unread
    linger: float = 5.0  # that a refused body may go on coming; closed at once, many clients would see a reset
    keep_alive: float = 75.0  # that a connection may be idle between two requests
    max_open_requests: int = 1000  # accepted with the API server away, and not carried out yet
    carry_interval: float = 1.0  # between two looks for accepted requests that nobody carries out
    keep_requests: float = 7 * 86400.0  # that an Idempotency-Key is known after its request was carried out
    drain_delay: float = 3.0  # between not being ready and not listening any more
    drain_timeout: float = 25.0  # that requests may take to end


def settings_from(environment: Mapping[str, str] = os.environ) -> Settings:
    """Settings from OSSA_* variables.

    Raises:
        BadSetting: names the variable.
    """
    default = Settings(records_url="", bus_url="")

    return Settings(
        records_url=checked("OSSA_RECORDS_URL", required(environment, "OSSA_RECORDS_URL"), check_records_url),
        bus_url=checked("OSSA_BUS_URL", required(environment, "OSSA_BUS_URL"), check_bus_url),
        namespace=environment.get("OSSA_NAMESPACE") or default.namespace,
        audit_key_file=Path(environment.get("OSSA_AUDIT_KEY_FILE") or default.audit_key_file),
        host=environment.get("OSSA_GATEWAY_HOST") or default.host,
        port=int(number(environment, "OSSA_GATEWAY_PORT", default.port)),
        metrics_port=int(number(environment, "OSSA_METRICS_PORT", default.metrics_port)),
        origins=names(environment, "OSSA_GATEWAY_ORIGINS"),
        trusted_proxies=_networks(environment, "OSSA_GATEWAY_TRUSTED_PROXIES"),
        max_body=int(number(environment, "OSSA_GATEWAY_MAX_BODY", default.max_body, least=1)),
        max_depth=int(number(environment, "OSSA_GATEWAY_MAX_DEPTH", default.max_depth, least=1)),
        max_headers=int(number(environment, "OSSA_GATEWAY_MAX_HEADERS", default.max_headers, least=1024)),
        header_timeout=number(environment, "OSSA_GATEWAY_HEADER_TIMEOUT", default.header_timeout, least=0.1),
        body_timeout=number(environment, "OSSA_GATEWAY_BODY_TIMEOUT", default.body_timeout, least=0.1),
        write_timeout=number(environment, "OSSA_GATEWAY_WRITE_TIMEOUT", default.write_timeout, least=0.1),
        linger=number(environment, "OSSA_GATEWAY_LINGER", default.linger),
        keep_alive=number(environment, "OSSA_GATEWAY_KEEP_ALIVE", default.keep_alive),
        max_open_requests=int(number(environment, "OSSA_GATEWAY_MAX_OPEN_REQUESTS", default.max_open_requests)),
        carry_interval=number(environment, "OSSA_GATEWAY_CARRY_INTERVAL", default.carry_interval, least=0.01),
        keep_requests=number(environment, "OSSA_GATEWAY_KEEP_REQUESTS", default.keep_requests),
        drain_delay=number(environment, "OSSA_GATEWAY_DRAIN_DELAY", default.drain_delay),
        drain_timeout=number(environment, "OSSA_GATEWAY_DRAIN_TIMEOUT", default.drain_timeout),
    )


def _networks(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    """Addresses and networks: uvicorn would take what is neither for the name of somebody who never comes."""
    found = names(environment, name)
    for one in found:
        checked(name, one, ip_network)
    return found
