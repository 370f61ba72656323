"""What an upgrade does about the webhook's certificate, by what lies in the cluster."""

from __future__ import annotations

import base64
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import yaml
from cryptography import x509

from tests.unit.charts.rendering import OSSA, helm, render

JSONObject = dict[str, Any]
CERTIFICATE, CA = "ossa-admission-tls", "ossa-admission-ca"
NAMES = (CERTIFICATE, CA)
END = "ossa.dev/certificate-not-after"
# What Helm writes to what it has installed.
OURS = {"meta.helm.sh/release-name": "ossa", "meta.helm.sh/release-namespace": "ossa-system"}
DAY = 86400


def discovery() -> dict[str, JSONObject]:
    """What an API server with the kinds of the chart says of them."""
    kinds: dict[str, set[str]] = {"v1": {"Secret"}}
    for item in render().values():
        kinds.setdefault(item["apiVersion"], set()).add(item["kind"])
    said: dict[str, JSONObject] = {"/version": {"major": "1", "minor": "34", "gitVersion": "v1.34.0"}}
    for version, names in kinds.items():
        resources = [
            {
                "name": f"{name.lower()}s",
                "singularName": name.lower(),
                "namespaced": True,
                "kind": name,
                "verbs": ["get"],
            }
            for name in sorted(names)
        ]
        path = "/api/v1" if version == "v1" else f"/apis/{version}"
        said[path] = {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
    groups = []
    for version in sorted(kinds.keys() - {"v1"}):
        held = {"groupVersion": version, "version": version.split("/")[1]}
        groups.append({"name": version.split("/")[0], "versions": [held], "preferredVersion": held})
    said["/api"] = {"kind": "APIVersions", "versions": ["v1"]}
    said["/apis"] = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
    return said


@contextmanager
def holding(secrets: dict[str, JSONObject]) -> Iterator[str]:
    """As much of an API server as Helm's `lookup` asks; its URL."""

    answers = discovery()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.split("?")[0]
            found = answers.get(path) or secrets.get(path.removeprefix("/api/v1/namespaces/ossa-system/secrets/"))
            missing = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404}
            text = json.dumps(found or missing).encode()
            self.send_response(200 if found else 404)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class Rendered:
    """The two Secrets, and the CAs that the webhooks trust."""

    def __init__(self, objects: list[JSONObject]) -> None:
        found = {(item["kind"], item["metadata"]["name"]): item for item in objects}
        self.secrets = {name: found["Secret", name] for name in NAMES}
        bundles = {
            hook["clientConfig"]["caBundle"]
            for kind in ("ValidatingWebhookConfiguration", "MutatingWebhookConfiguration")
            for hook in found[kind, "ossa-admission"]["webhooks"]
        }
        (bundle,) = bundles
        self.trusted = x509.load_pem_x509_certificates(base64.b64decode(bundle))

    def certificate(self, name: str) -> x509.Certificate:
        """What a Secret holds."""
        return x509.load_pem_x509_certificate(base64.b64decode(self.secrets[name]["data"]["tls.crt"]))

    def ending(self, **days: int) -> dict[str, JSONObject]:
        """The Secrets as if each ended in so many days."""
        held = {CERTIFICATE: days["certificate"], CA: days["ca"]}
        made = {}
        for name, item in self.secrets.items():
            annotations = {**OURS, END: str(int(time.time()) + held[name] * DAY)}
            made[name] = {**item, "metadata": {**item["metadata"], "annotations": annotations}}
        return made


def upgraded(secrets: dict[str, JSONObject], *settings: str) -> Rendered:
    with holding(secrets) as url:
        options = [part for setting in settings for part in ("--set", setting)]
        server = ("--dry-run=server", "--kube-apiserver", url, "--disable-openapi-validation")
        text = helm("template", "ossa", OSSA, "--namespace", "ossa-system", *server, *options).stdout
    return Rendered([item for item in yaml.safe_load_all(text) if item])


@pytest.fixture(scope="module")
def installed() -> Rendered:
    return upgraded({})


def test_an_installation_makes_a_ca_and_a_certificate_of_it(installed: Rendered) -> None:
    ca, certificate = installed.certificate(CA), installed.certificate(CERTIFICATE)
    certificate.verify_directly_issued_by(ca)
    assert installed.trusted == [ca]
    for name in NAMES:
        said = int(installed.secrets[name]["metadata"]["annotations"][END])
        assert abs(said - installed.certificate(name).not_valid_after_utc.timestamp()) < DAY


def test_an_upgrade_keeps_both(installed: Rendered) -> None:
    again = upgraded(installed.ending(certificate=366, ca=366))
    assert [again.secrets[name]["data"] for name in NAMES] == [installed.secrets[name]["data"] for name in NAMES]
    assert again.trusted == installed.trusted


def test_a_certificate_that_ends_soon_is_renewed_by_the_same_ca(installed: Rendered) -> None:
    again = upgraded(installed.ending(certificate=364, ca=3650))
    ca, certificate = again.certificate(CA), again.certificate(CERTIFICATE)
    assert certificate != installed.certificate(CERTIFICATE)
    certificate.verify_directly_issued_by(ca)
    assert again.secrets[CA]["data"] == installed.secrets[CA]["data"]
    # Nobody is cut off: what is still served and what will be are of one CA.
    assert again.trusted == [ca] == installed.trusted
    said = int(again.secrets[CERTIFICATE]["metadata"]["annotations"][END])
    assert abs(said - certificate.not_valid_after_utc.timestamp()) < DAY
    kept = upgraded(installed.ending(certificate=364, ca=3650), "certificates.renewBeforeDays=30")
    assert kept.certificate(CERTIFICATE) == installed.certificate(CERTIFICATE)


def test_a_ca_that_ends_soon_is_renewed_and_the_old_one_trusted_for_a_while(installed: Rendered) -> None:
    again = upgraded(installed.ending(certificate=3650, ca=364))
    ca, certificate = again.certificate(CA), again.certificate(CERTIFICATE)
    old = installed.certificate(CA)
    assert ca != old
    certificate.verify_directly_issued_by(ca)
    assert again.trusted == [ca, old]
