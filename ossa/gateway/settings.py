"""The gateway's settings: one documented tree, read from the environment once and passed in."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field


class BadSetting(ValueError):
    """A setting is missing or makes no sense; names the variable."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How this installation runs. Sizes in bytes, times in seconds."""

    records_url: str = field(repr=False)  # postgresql://…; it may hold a password
    bus_url: str = field(repr=False)  # redis://…
    namespace: str = "ossa-system"  # where the platform itself runs
    host: str = "0.0.0.0"
    port: int = 8080
    metrics_port: int = 9090
    origins: tuple[str, ...] = ()  # web pages that may call from a browser (CORS); none by default
    trusted_proxies: tuple[str, ...] = ()  # addresses whose X-Forwarded-For is believed
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

    def number(name: str, otherwise: float, *, least: float = 0.0) -> float:
        return _number(environment, name, otherwise, least=least)

    return Settings(
        records_url=_required(environment, "OSSA_RECORDS_URL"),
        bus_url=_required(environment, "OSSA_BUS_URL"),
        namespace=environment.get("OSSA_NAMESPACE") or default.namespace,
        host=environment.get("OSSA_GATEWAY_HOST") or default.host,
        port=int(number("OSSA_GATEWAY_PORT", default.port)),
        metrics_port=int(number("OSSA_METRICS_PORT", default.metrics_port)),
        origins=_names(environment, "OSSA_GATEWAY_ORIGINS"),
        trusted_proxies=_names(environment, "OSSA_GATEWAY_TRUSTED_PROXIES"),
        max_body=int(number("OSSA_GATEWAY_MAX_BODY", default.max_body, least=1)),
        max_depth=int(number("OSSA_GATEWAY_MAX_DEPTH", default.max_depth, least=1)),
        max_headers=int(number("OSSA_GATEWAY_MAX_HEADERS", default.max_headers, least=1024)),
        header_timeout=number("OSSA_GATEWAY_HEADER_TIMEOUT", default.header_timeout, least=0.1),
        body_timeout=number("OSSA_GATEWAY_BODY_TIMEOUT", default.body_timeout, least=0.1),
        write_timeout=number("OSSA_GATEWAY_WRITE_TIMEOUT", default.write_timeout, least=0.1),
        linger=number("OSSA_GATEWAY_LINGER", default.linger),
        keep_alive=number("OSSA_GATEWAY_KEEP_ALIVE", default.keep_alive),
        max_open_requests=int(number("OSSA_GATEWAY_MAX_OPEN_REQUESTS", default.max_open_requests)),
        carry_interval=number("OSSA_GATEWAY_CARRY_INTERVAL", default.carry_interval, least=0.01),
        keep_requests=number("OSSA_GATEWAY_KEEP_REQUESTS", default.keep_requests),
        drain_delay=number("OSSA_GATEWAY_DRAIN_DELAY", default.drain_delay),
        drain_timeout=number("OSSA_GATEWAY_DRAIN_TIMEOUT", default.drain_timeout),
    )


def _required(environment: Mapping[str, str], name: str) -> str:
    value = environment.get(name, "")
    if not value:
        raise BadSetting(f"{name} must be set")
    return value


def _names(environment: Mapping[str, str], name: str) -> tuple[str, ...]:
    text = environment.get(name) or "[]"
    try:
        found = json.loads(text)
    except ValueError as error:
        raise BadSetting(f"{name}: {text!r} is not JSON: {error}") from error
    if not isinstance(found, list) or not all(isinstance(item, str) for item in found):
        raise BadSetting(f"{name}: {text!r} is not a JSON list of strings")
    return tuple(found)


def _number(environment: Mapping[str, str], name: str, otherwise: float, *, least: float) -> float:
    text = environment.get(name, "")
    try:
        value = float(text) if text else otherwise
    except ValueError as error:
        raise BadSetting(f"{name}: {text!r} is not a number") from error
    if not least <= value < math.inf:
        raise BadSetting(f"{name}: {text} must be a number from {least:g} on")
    return value
