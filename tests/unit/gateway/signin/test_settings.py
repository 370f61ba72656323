"""Settings of sign-in: what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from ossa.environment import BadSetting
from ossa.gateway.ratelimit import Limit
from ossa.gateway.signin.settings import signin_settings_from

LEAST = {"OSSA_GATEWAY_KEY_FILE": "/etc/ossa/gateway/key"}
OIDC = {**LEAST, "OSSA_OIDC_ISSUER": "https://issuer.example.org", "OSSA_OIDC_CLIENT_ID": "ossa"}


def test_the_key_alone_is_required() -> None:
    settings = signin_settings_from(LEAST)
    assert settings.public_url == "http://ossa-gateway.ossa-system:8080"
    assert (settings.token_lifetime, settings.issuer, settings.first_password_file) == (600.0, None, None)
    assert settings.limits.user == Limit(50, 100)


def test_everything_may_be_set(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    settings = signin_settings_from(
        {
            **OIDC,
            "OSSA_GATEWAY_URL": "https://ossa.example.org/",
            "OSSA_GATEWAY_USER_RATE": "5",
            "OSSA_GATEWAY_USER_BURST": "7",
            "OSSA_GATEWAY_ADMIN_PASSWORD_FILE": "/etc/ossa/admin/password",
            "OSSA_OIDC_CLIENT_SECRET_FILE": str(secret),
            "OSSA_OIDC_USERNAME_CLAIM": "email",
        }
    )
    assert settings.public_url == "https://ossa.example.org"
    assert settings.limits.user == Limit(5, 7)
    assert settings.first_password_file == Path("/etc/ossa/admin/password")
    assert settings.claims.username == "email"
    assert settings.issuer is not None
    assert settings.issuer.client_secret == "s3cret"
    assert "s3cret" not in repr(settings)


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({}, "OSSA_GATEWAY_KEY_FILE"),
        ({**LEAST, "OSSA_GATEWAY_URL": "ossa.example.org"}, "OSSA_GATEWAY_URL"),
        ({**LEAST, "OSSA_GATEWAY_URL": "https://ossa.example.org/?a=b"}, "OSSA_GATEWAY_URL"),
        ({**LEAST, "OSSA_GATEWAY_TOKEN_LIFETIME": "ten"}, "OSSA_GATEWAY_TOKEN_LIFETIME"),
        ({**LEAST, "OSSA_GATEWAY_TOKEN_LIFETIME": "1"}, "OSSA_GATEWAY_TOKEN_LIFETIME"),
        ({**LEAST, "OSSA_GATEWAY_USER_RATE": "0"}, "OSSA_GATEWAY_USER_RATE"),
        ({**LEAST, "OSSA_GATEWAY_USER_BURST": "inf"}, "OSSA_GATEWAY_USER_BURST"),
        ({**OIDC, "OSSA_OIDC_ISSUER": "http://issuer.example.org"}, "OSSA_OIDC_ISSUER"),
        ({**OIDC, "OSSA_OIDC_CLIENT_ID": ""}, "OSSA_OIDC_CLIENT_ID"),
        ({**OIDC, "OSSA_OIDC_CLIENT_SECRET_FILE": "/nowhere/secret"}, "OSSA_OIDC_CLIENT_SECRET_FILE"),
        ({**OIDC, "OSSA_OIDC_PREFIX": "system"}, "OSSA_OIDC_PREFIX"),
        ({**OIDC, "OSSA_OIDC_SCOPES": "profile"}, "OSSA_OIDC_SCOPES"),
    ],
)
def test_what_makes_no_sense_is_named(environment: dict[str, str], named: str) -> None:
    with pytest.raises(BadSetting, match=f"^{named}"):
        signin_settings_from(environment)
