"""How people sign in: read from the environment once and passed in."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from ossa.environment import BadSetting, checked, number
from ossa.gateway.ratelimit import Limit, Limits
from ossa.gateway.signin.issuer import Client, check_url
from ossa.gateway.signin.login import LOGIN_LIMITS, LoginLimits
from ossa.gateway.signin.oidc import Claims

_PREFIX = re.compile(r"[a-z0-9-]{1,32}:")


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInSettings:
    """Times in seconds."""

    public_url: (
        str  # the gateway's own, as clients reach it: issuer of its tokens, where an issuer sends browsers back to
    )
    key_file: Path  # at least 32 random bytes: seals the signing keys
    token_lifetime: float = 600.0  # of an access token
    session_lifetime: float = 12 * 3600.0  # however often it is refreshed
    rotate_every: float = 7 * 86400.0  # a signing key
    password_threads: int = 2  # that hash at once; each takes 19 MiB
    limits: Limits = Limits(user=Limit(50, 100), address=Limit(100, 200))  # noqa: RUF009 - frozen
    login_limits: LoginLimits = LOGIN_LIMITS
    first_password_file: Path | None = None  # of the user `admin`, where there is none at all
    issuer: Client | None = None  # OpenID Connect
    claims: Claims = Claims()  # noqa: RUF009 - frozen


def signin_settings_from(environment: Mapping[str, str] = os.environ) -> SignInSettings:
    """Settings from OSSA_* variables.

    Raises:
        BadSetting: names the variable.
    """
    inside = f"http://ossa-gateway.{environment.get('OSSA_NAMESPACE') or 'ossa-system'}:8080"
    url, key_file = environment.get("OSSA_GATEWAY_URL") or inside, environment.get("OSSA_GATEWAY_KEY_FILE", "")
    if not re.fullmatch(r"https?://[^\s/?#]+(/[^\s?#]*)?", url):
        raise BadSetting(f"OSSA_GATEWAY_URL: {url!r} is not the http(s) URL that clients reach the gateway at")
    if not key_file:
        raise BadSetting("OSSA_GATEWAY_KEY_FILE must be set: a file with at least 32 random bytes")

    def gateways(name: str, otherwise: float, *, least: float) -> float:
        return number(environment, f"OSSA_GATEWAY_{name}", otherwise, least=least)

    def limit(name: str, otherwise: Limit) -> Limit:
        rate = gateways(f"{name}_RATE", otherwise.rate, least=0.001)
        return Limit(rate, int(gateways(f"{name}_BURST", otherwise.burst, least=1)))

    default = SignInSettings(public_url=url, key_file=Path(key_file))
    return SignInSettings(
        public_url=url.rstrip("/"),
        key_file=Path(key_file),
        token_lifetime=gateways("TOKEN_LIFETIME", default.token_lifetime, least=30),
        session_lifetime=gateways("SESSION_LIFETIME", default.session_lifetime, least=60),
        # A key is written down five minutes before it signs.
        rotate_every=gateways("KEY_ROTATION", default.rotate_every, least=3600),
        password_threads=int(gateways("PASSWORD_THREADS", default.password_threads, least=1)),
        limits=Limits(user=limit("USER", default.limits.user), address=limit("ADDRESS", default.limits.address)),
        login_limits=LoginLimits(
            address=limit("LOGIN_ADDRESS", default.login_limits.address),
            account=limit("LOGIN_ACCOUNT", default.login_limits.account),
            known=default.login_limits.known,
            refresh=default.login_limits.refresh,
        ),
        first_password_file=_path(environment, "OSSA_GATEWAY_ADMIN_PASSWORD_FILE"),
        issuer=_issuer(environment),
        claims=_claims(environment),
    )


def rotation(settings: SignInSettings) -> tuple[timedelta, timedelta]:
    """How often keys change, and how long a token lives."""
    return timedelta(seconds=settings.rotate_every), timedelta(seconds=settings.token_lifetime)


def _issuer(environment: Mapping[str, str]) -> Client | None:
    url = environment.get("OSSA_OIDC_ISSUER", "")
    if not url:
        return None
    checked("OSSA_OIDC_ISSUER", url, lambda it: check_url(it, "the issuer"))
    client_id = environment.get("OSSA_OIDC_CLIENT_ID", "")
    if not client_id:
        raise BadSetting("OSSA_OIDC_CLIENT_ID must be set where OSSA_OIDC_ISSUER is")
    secret_file = _path(environment, "OSSA_OIDC_CLIENT_SECRET_FILE")
    secret = None
    if secret_file is not None:
        try:
            secret = secret_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise BadSetting(f"OSSA_OIDC_CLIENT_SECRET_FILE: {error}") from error
    return Client(
        issuer=url, client_id=client_id, client_secret=secret, ca_file=_path(environment, "OSSA_OIDC_CA_FILE")
    )


def _claims(environment: Mapping[str, str]) -> Claims:
    default = Claims()
    prefix = environment.get("OSSA_OIDC_PREFIX") or default.prefix
    if _PREFIX.fullmatch(prefix) is None:
        raise BadSetting(f"OSSA_OIDC_PREFIX: {prefix!r} must be lower-case letters, digits and -, and end with a colon")
    scopes = environment.get("OSSA_OIDC_SCOPES") or default.scopes
    if "openid" not in scopes.split():
        raise BadSetting(f"OSSA_OIDC_SCOPES: {scopes!r} must have openid among them")
    return Claims(
        username=environment.get("OSSA_OIDC_USERNAME_CLAIM") or default.username,
        groups=environment.get("OSSA_OIDC_GROUPS_CLAIM") or default.groups,
        prefix=prefix,
        scopes=scopes,
    )


def _path(environment: Mapping[str, str], name: str) -> Path | None:
    text = environment.get(name, "")
    return Path(text) if text else None
