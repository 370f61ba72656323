"""Settings from the environment: every mistake names its variable."""

from __future__ import annotations

from pathlib import Path

import pytest

from controllers.settings import settings_from
from ossa.environment import BadSetting


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    key = tmp_path / "key"
    key.write_bytes(b"k" * 32)
    return {
        "OSSA_WORKER_IMAGE": "worker:1",
        "OSSA_ARTIFACTS_URL": "http://artifacts:8080",
        "OSSA_ARTIFACTS_KEY_FILE": str(key),
        "OSSA_ARTIFACTS_TOKEN_FILE": str(tmp_path / "token"),
        "OSSA_NAMESPACE": "ossa-system",
    }


def test_what_is_not_said_has_a_default(environment: dict[str, str]) -> None:
    settings = settings_from(environment)
    assert (settings.worker_image, settings.artifacts_url, settings.namespace) == (
        "worker:1",
        "http://artifacts:8080",
        "ossa-system",
    )
    assert settings.artifacts_key == b"k" * 32
    assert (settings.keep_completed_pods, settings.keep_failed_pods) == (600.0, 86400.0)
    assert settings.agents_path == Path("agents")
    assert settings.artifacts_operator_url == settings.artifacts_url
    assert settings.params_namespaces == {"ossa-system"}


def test_the_key_is_in_no_text(environment: dict[str, str]) -> None:
    assert "kkkk" not in repr(settings_from(environment))


def test_what_is_said_holds(environment: dict[str, str]) -> None:
    settings = settings_from(
        {**environment, "OSSA_KEEP_COMPLETED_PODS": "0", "OSSA_AGENTS_PATH": "/app/agents", "OSSA_METRICS_PORT": "0"}
    )
    assert settings.keep_completed_pods == 0
    assert settings.agents_path == Path("/app/agents")
    assert settings.metrics_port == 0
    assert settings.params_namespaces == {"ossa-system"}
    assert not settings.excluded_namespaces
    assert settings.native_policies == "Ignore"
    governed = settings_from(
        {
            **environment,
            "OSSA_PARAMS_NAMESPACES": '["ossa-system", "governance"]',
            "OSSA_EXCLUDED_NAMESPACES": '["kube-system"]',
            "OSSA_NATIVE_POLICIES": "Never",
            "OSSA_BREAK_GLASS_GROUPS": '["firefighters"]',
        }
    )
    assert governed.params_namespaces == {"ossa-system", "governance"}
    assert governed.excluded_namespaces == {"kube-system"}
    assert governed.break_glass_groups == {"firefighters"}
    assert governed.native_policies == "Never"
    with pytest.raises(BadSetting, match="OSSA_NATIVE_POLICIES: 'no' is none of Always, Ignore, Never"):
        settings_from({**environment, "OSSA_NATIVE_POLICIES": "no"})
    elsewhere = settings_from({**environment, "OSSA_ARTIFACTS_OPERATOR_URL": "http://127.0.0.1:9"})
    assert (elsewhere.artifacts_operator_url, elsewhere.artifacts_url) == (
        "http://127.0.0.1:9",
        "http://artifacts:8080",
    )


def test_lists_of_names_are_json(environment: dict[str, str]) -> None:
    settings = settings_from({**environment, "OSSA_PARAMS_NAMESPACES": '["ossa-system", "governance"]'})
    assert settings.params_namespaces == {"ossa-system", "governance"}
    with pytest.raises(BadSetting, match="OSSA_PARAMS_NAMESPACES: 'governance' is not JSON"):
        settings_from({**environment, "OSSA_PARAMS_NAMESPACES": "governance"})


@pytest.mark.parametrize(
    "name",
    [
        "OSSA_WORKER_IMAGE",
        "OSSA_ARTIFACTS_URL",
        "OSSA_ARTIFACTS_KEY_FILE",
        "OSSA_ARTIFACTS_TOKEN_FILE",
        "OSSA_NAMESPACE",
    ],
)
@pytest.mark.parametrize("value", [None, ""])
def test_a_missing_variable_is_named(environment: dict[str, str], name: str, value: str | None) -> None:
    without = {key: held for key, held in environment.items() if key != name}
    with pytest.raises(BadSetting, match=f"{name} must be set"):
        settings_from(without if value is None else {**without, name: value})


@pytest.mark.parametrize("value", ["ten", "-1", "nan", "inf"])
def test_seconds_that_are_none_are_refused(environment: dict[str, str], value: str) -> None:
    with pytest.raises(BadSetting, match="OSSA_KEEP_FAILED_PODS"):
        settings_from({**environment, "OSSA_KEEP_FAILED_PODS": value})


def test_a_key_that_is_too_short_is_refused(environment: dict[str, str]) -> None:
    Path(environment["OSSA_ARTIFACTS_KEY_FILE"]).write_bytes(b"short")
    with pytest.raises(BadSetting, match=r"OSSA_ARTIFACTS_KEY_FILE: .*at least 32"):
        settings_from(environment)


def test_a_key_that_is_not_there_is_refused(environment: dict[str, str]) -> None:
    with pytest.raises(BadSetting, match=r"OSSA_ARTIFACTS_KEY_FILE: .*cannot be read"):
        settings_from({**environment, "OSSA_ARTIFACTS_KEY_FILE": environment["OSSA_ARTIFACTS_KEY_FILE"] + ".gone"})


def test_where_workers_export_their_spans(environment: dict[str, str]) -> None:
    assert settings_from(environment).otlp_endpoint == ""
    said = {**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}
    assert settings_from(said).otlp_endpoint == "http://collector:4318"
    with pytest.raises(BadSetting, match=r"OTEL_EXPORTER_OTLP_ENDPOINT: 'collector:4317' is no http://"):
        settings_from({**environment, "OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"})
